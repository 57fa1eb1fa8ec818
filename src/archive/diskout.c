#include "src/archive/diskout.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "src/archive/newfile.h"
#include "src/base/buf.h"
#include "src/base/io.h"
#include "src/base/util.h"

extern char **environ;

#define RUN_PAGES 256
#define NBD_FD    3 /* in qemu-img */

/* ---- an image as an NBD export ---- */

static int nbd_read(void *opaque, void *dst, uint32_t len, uint64_t off, struct err *e)
{
    struct blockdev *b = image_blockdev(opaque);

    return b->ops->pread(b, dst, len, off, e);
}

static int nbd_extent(void *opaque, uint64_t off, uint64_t max, uint64_t *ret_len, bool *ret_zero, struct err *e)
{
    uint64_t page = off / VT_PAGE_SIZE, end = (off + max + VT_PAGE_SIZE - 1) / VT_PAGE_SIZE, next = page;
    bool found;
    int r = image_next_data(opaque, &next, &found, e);

    if (r)
        return r;
    *ret_zero = !found || next > page;
    if (!found)
        next = end;
    while (!*ret_zero && next < end) { /* data: to the first page that is none */
        uint64_t after = next + 1;
        r = image_next_data(opaque, &after, &found, e);
        if (r)
            return r;
        next++;
        if (!found || after > next)
            break;
    }
    *ret_len = MIN(max, next * VT_PAGE_SIZE - off);
    return 0;
}

void diskout_nbd(struct image *i, const char *name, struct nbd_export *ret)
{
    *ret = (struct nbd_export){name, image_bytes(i), nbd_read, nbd_extent, i};
}

/* ---- files ---- */

static const struct {
    const char *format, *suffix;
} formats[] = {{"raw", ".raw"}, {"raw", ".img"}, {"qcow2", ".qcow2"}, {"vmdk", ".vmdk"}};

const char *diskout_format(const char *path)
{
    const char *dot = strrchr(path, '.');

    for (size_t i = 0; dot && i < ARRAY_LEN(formats); i++)
        if (!strcmp(dot, formats[i].suffix))
            return formats[i].format;
    return NULL;
}

bool diskout_known(const char *format)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (!strcmp(format, formats[i].format))
            return true;
    return false;
}

static bool all_zero(const uint64_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes / 8; i++)
        if (p[i])
            return false;
    return true;
}

/* Writes runs of data where there is some; what is left out is a hole. */
static int write_raw(struct image *i, int fd, const char *path, struct err *e)
{
    uint64_t *buf cleanup(cleanup_free) = malloc(RUN_PAGES * VT_PAGE_SIZE);
    uint64_t bytes = image_bytes(i);
    bool found = true;
    int r = buf ? 0 : err_set(e, VT_FAIL, "out of memory");

    if (!r && ftruncate(fd, (off_t)bytes))
        r = err_set(e, VT_IO, "%s: %m", path);
    for (uint64_t p = 0; !r;) {
        uint64_t off, len;
        r = image_next_data(i, &p, &found, e);
        if (r || !found)
            break;
        off = p * VT_PAGE_SIZE;
        len = MIN((uint64_t)RUN_PAGES * VT_PAGE_SIZE, bytes - off);
        r = image_read(i, p, RUN_PAGES, buf, e);
        for (uint64_t at = 0; at < len && !r; at += VT_PAGE_SIZE) {
            size_t n = (size_t)MIN((uint64_t)VT_PAGE_SIZE, len - at);
            if (!all_zero(buf + at / 8, n))
                r = io_pwrite_full(fd, (uint8_t *)buf + at, n, off + at, path, e);
        }
        p += RUN_PAGES;
    }
    return r;
}

static int start_convert(const char *format, const char *file, int sock, int errors, pid_t *ret_pid, struct err *e)
{
    static const char source[] = "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"nbd\",\"export\":\"\","
                                 "\"server\":{\"type\":\"fd\",\"str\":\"3\"}}}";
    cleanup(cleanup_free) char *target = str_printf("%s", file);
    char *const argv[] = {"qemu-img", "convert", "-O", (char *)format, (char *)source, target, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t set;
    int r;

    if (!target)
        return err_set(e, VT_FAIL, "out of memory");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, sock, NBD_FD);
    posix_spawnattr_init(&attr);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    posix_spawnattr_setsigdefault(&attr, &set);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    r = posix_spawnp(ret_pid, argv[0], &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    if (r == ENOENT)
        return err_set(e, VT_FAIL, "a %s file is made by qemu-img, which is not installed (package qemu-utils)",
                       format);
    return r ? err_set(e, VT_FAIL, "cannot start qemu-img: %s", strerror(r)) : 0;
}

/* The last line of what it said. */
static void read_complaint(int fd, char *ret, size_t size)
{
    cleanup(buf_release) struct buf said = {0};
    char data[1024], *line, *nl;
    ssize_t n;

    while ((n = read(fd, data, sizeof data)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && said.len < 65536)
            buf_add(&said, data, (size_t)n);
    while (said.len && said.data[said.len - 1] == '\n')
        said.data[--said.len] = 0;
    line = (char *)buf_cstr(&said);
    nl = strrchr(line, '\n');
    snprintf(ret, size, "%s", nl ? nl + 1 : *line ? line : "qemu-img ended without a word");
}

/* qemu-img reads from us over a pair of sockets; nobody else can. */
static int run_convert(struct image *i, const char *format, const char *file, const char *path, struct err *e)
{
    int pair[2], said[2] = {-1, -1}, status = 0, r;
    struct nbd_export x;
    struct err mine = {0};
    char complaint[512];
    pid_t pid;

    diskout_nbd(i, "", &x);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(e, VT_FAIL, "socketpair: %m");
    if (pipe2(said, O_CLOEXEC) < 0) {
        close(pair[0]);
        close(pair[1]);
        return err_set(e, VT_FAIL, "pipe: %m");
    }
    r = start_convert(format, file, pair[1], said[1], &pid, e);
    close(pair[1]);
    close(said[1]);
    if (r) {
        close(pair[0]);
        close(said[0]);
        return r;
    }
    r = nbd_serve(&x, -1, pair[0], -1, true, &mine);
    read_complaint(said[0], complaint, sizeof complaint);
    close(said[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (r)
        return err_set(e, r, "%s", mine.msg);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGINT)
        return err_set(e, VT_FAIL, "interrupted");
    return status ? err_set(e, VT_IO, "%s: cannot be written: %s", path, complaint) : 0;
}

/* A Ctrl-C ends qemu-img, and we live on to clear up after it. */
static int convert(struct image *i, const char *format, const char *file, const char *path, struct err *e)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, was;
    int r;

    sigaction(SIGINT, &ignore, &was);
    r = run_convert(i, format, file, path, e);
    sigaction(SIGINT, &was, NULL);
    return r;
}

int diskout_write(struct image *i, const char *format, const char *path, struct err *e)
{
    cleanup(newfile_release) struct newfile f = {.fd = -1};
    bool raw = !strcmp(format, "raw");
    int r = newfile_begin(path, !raw, &f, e);

    if (!r)
        r = raw ? write_raw(i, f.fd, path, e) : convert(i, format, f.tmp, path, e);
    return r ? r : newfile_commit(&f, e);
}
