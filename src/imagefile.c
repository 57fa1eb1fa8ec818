#include "src/imagefile.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "src/base/buf.h"
#include "src/base/io.h"
#include "src/base/json.h"
#include "src/base/util.h"
#include "src/ova.h"

extern char **environ;

#define SECTOR 512u

/* Formats that qemu-img reads, by what their files begin with; qemu-img is always told the format, so that a guest
 * cannot choose it by what it writes into a raw disk's first sector. */
static const struct {
    const char *format;
    size_t offset;
    const char *magic;
    size_t len;
} formats[] = {
    {"qcow2", 0, "QFI\xfb", 4},         {"vmdk", 0, "KDMV", 4},     {"vmdk", 0, "# Disk DescriptorFile", 21},
    {"vdi", 64, "\x7f\x10\xda\xbe", 4}, {"vhdx", 0, "vhdxfile", 8}, {"vpc", 0, "conectix", 8},
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static uint32_t get32(const uint8_t *p)
{
    return get16(p) | (uint32_t)get16(p + 2) << 16;
}

/* A raw image that a partition table or an ext file system says is longer than it is. */
static int check_whole(const char *path, const uint8_t *head, size_t got, uint64_t bytes, struct err *e)
{
    const uint8_t *super = head + 1024;

    if (got >= 512 && get16(head + 510) == 0xaa55) {
        for (unsigned i = 0; i < 4; i++) {
            const uint8_t *p = head + 446 + 16 * i;
            uint64_t end = ((uint64_t)get32(p + 8) + get32(p + 12)) * SECTOR;

            /* 0xee guards a GPT and may say "all that can be said" */
            if ((p[0] == 0 || p[0] == 0x80) && p[4] && p[4] != 0xee && get32(p + 12) && end > bytes)
                return err_set(e, VT_CORRUPT,
                               "%s: cut short: partition %u ends at byte %" PRIu64 ", the file has %" PRIu64, path,
                               i + 1, end, bytes);
        }
    }
    if (got >= 2048 && get16(super + 56) == 0xef53 && get32(super + 24) <= 6) {
        uint64_t end = (uint64_t)get32(super + 4) << (10 + get32(super + 24));

        if (end > bytes)
            return err_set(e, VT_CORRUPT, "%s: cut short: its file system has %" PRIu64 " bytes, the file has %" PRIu64,
                           path, end, bytes);
    }
    return 0;
}

/* The last line of what a tool wrote, for our own message. */
static void last_line(struct buf *b)
{
    char *nl;

    while (b->len && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == ' '))
        b->data[--b->len] = 0;
    nl = b->data ? strrchr(b->data, '\n') : NULL;
    if (nl)
        buf_drop(b, (size_t)(nl + 1 - b->data));
}

/* Runs qemu-img with its standard error kept. */
static int run_tool(char *const argv[], const char *path, struct err *e)
{
    cleanup(buf_release) struct buf said = {0};
    cleanup(cleanup_close) int in = -1;
    posix_spawn_file_actions_t fa;
    int fds[2], status, r;
    char chunk[512];
    ssize_t n;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return err_set(e, VT_FAIL, "cannot make a pipe: %m");
    in = fds[0];
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&fa, fds[1], 2);
    r = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    close(fds[1]);
    if (r == ENOENT)
        return err_set(e, VT_FAIL, "%s: is not a raw image, and %s to convert it is not installed (package qemu-utils)",
                       path, argv[0]);
    if (r)
        return err_set(e, VT_FAIL, "cannot start %s: %s", argv[0], strerror(r));
    while ((n = read(in, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            buf_add(&said, chunk, (size_t)n);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status == 0)
        return 0;
    last_line(&said);
    return err_set(e, VT_CORRUPT, "%s: cannot be converted: %s", path,
                   said.len ? buf_cstr(&said) : "qemu-img ended without a word");
}

/* What qemu-img is to read: the file, or the disk that lies in it. malloc'ed. */
static int source_of(const struct imagefile *f, const char *path, char **ret, struct err *e)
{
    cleanup(cleanup_json) json_t *j = NULL;
    cleanup(cleanup_free) char *text = NULL;
    uint64_t off = 0, len = 0;
    int r;

    if (strcmp(f->format, "ova") != 0) {
        *ret = strdup(f->path);
        return *ret ? 0 : err_set(e, VT_FAIL, "out of memory");
    }
    r = ova_find_disk(f->fd, f->bytes, path, &off, &len, e);
    if (r)
        return r;
    j = json_pack("{s:s, s:{s:s, s:I, s:I, s:{s:s, s:s}}}", "driver", "vmdk", "file", "driver", "raw", "offset",
                  (json_int_t)off, "size", (json_int_t)len, "file", "driver", "file", "filename", f->path);
    text = j ? json_text(j) : NULL;
    *ret = text ? str_printf("json:%s", text) : NULL;
    return *ret ? 0 : err_set(e, VT_USAGE, "%s: its path is not UTF-8", path);
}

static int convert(struct imagefile *f, const char *path, const char *scratch_dir, struct err *e)
{
    cleanup(cleanup_free) char *tmp = str_printf("%s/import-XXXXXX", scratch_dir);
    cleanup(cleanup_free) char *from = NULL;
    int fd, r;

    if (!tmp)
        return err_set(e, VT_FAIL, "out of memory");
    r = source_of(f, path, &from, e);
    if (r)
        return r;
    fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", tmp);
    close(fd);
    {
        bool plain = strcmp(f->format, "ova") != 0; /* else `from` says the format */
        char *const argv[] = {"qemu-img", "convert", "-O", "raw", "-S", "4k", from, tmp, NULL};
        char *const told[] = {"qemu-img", "convert", "-f", (char *)f->format, "-O", "raw", "-S", "4k", from, tmp, NULL};

        r = run_tool(plain ? told : argv, path, e);
    }
    close(steal_fd(&f->fd));
    if (!r)
        r = io_open(tmp, O_RDONLY, 0, &f->fd, e);
    unlink(tmp);
    f->converted = true;
    return r;
}

/* A readable regular file or block device, and its size. */
static int open_file(const char *path, int *ret_fd, uint64_t *ret_bytes, struct err *e)
{
    struct stat st;
    off_t end;
    int fd, r;

    r = io_open(path, O_RDONLY, 0, &fd, e);
    if (r)
        return r;
    if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))) {
        close(fd);
        return err_set(e, VT_USAGE, "%s: is not a file", path);
    }
    end = lseek(fd, 0, SEEK_END);
    if (end <= 0) {
        close(fd);
        return err_set(e, VT_CORRUPT, "%s: is empty", path);
    }
    *ret_fd = fd;
    *ret_bytes = (uint64_t)end;
    return 0;
}

static int open_image(const char *path, const char *scratch_dir, struct imagefile *f, struct err *e)
{
    uint8_t head[4096];
    size_t got;
    off_t end;
    int r;

    r = open_file(path, &f->fd, &f->bytes, e);
    if (!r && !(f->path = realpath(path, NULL)))
        r = err_set(e, err_from_errno(errno), "%s: %m", path);
    if (!r)
        r = io_pread_full(f->fd, head, sizeof head, 0, &got, path, e);
    if (r)
        return r;
    f->format = "raw";
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (got >= formats[i].offset + formats[i].len &&
            !memcmp(head + formats[i].offset, formats[i].magic, formats[i].len)) {
            f->format = formats[i].format;
            break;
        }
    if (ova_is(head, got) && !strcmp(f->format, "raw"))
        f->format = "ova";
    if (strcmp(f->format, "raw") != 0) {
        r = convert(f, path, scratch_dir, e);
        if (r)
            return r;
        end = lseek(f->fd, 0, SEEK_END);
        f->bytes = end > 0 ? (uint64_t)end : 0;
    }
    if (f->bytes % SECTOR || f->bytes == 0)
        return err_set(e, VT_CORRUPT, "%s: %" PRIu64 " bytes are not whole sectors of 512; is it cut short?", path,
                       f->bytes);
    return f->converted ? 0 : check_whole(path, head, got, f->bytes, e);
}

int imagefile_open(const char *path, const char *scratch_dir, struct imagefile *ret, struct err *e)
{
    struct imagefile f = {.fd = -1};
    int r = open_image(path, scratch_dir, &f, e);

    if (r)
        imagefile_release(&f);
    else
        *ret = f;
    return r;
}

void imagefile_release(struct imagefile *f)
{
    cleanup_close(&f->fd);
    free(f->path);
    *f = (struct imagefile){.fd = -1};
}

/* A Multiboot 1 header lies in the first 8 KiB, at a multiple of 4: magic, flags, and what makes their sum 0. */
static bool has_multiboot(const uint8_t *head, size_t got)
{
    for (size_t at = 0; at + 12 <= got; at += 4)
        if (get32(head + at) == 0x1badb002 && get32(head + at) + get32(head + at + 4) + get32(head + at + 8) == 0)
            return true;
    return false;
}

/* The Linux/x86 boot protocol: the setup header at 0x1f1, "HdrS" from protocol 2.00 on. */
static int check_linux(const char *path, const uint8_t *head, uint64_t bytes, struct err *e)
{
    uint64_t need = ((head[0x1f1] ? head[0x1f1] : 4u) + 1) * (uint64_t)SECTOR + (uint64_t)get32(head + 0x1f4) * 16;

    if (get16(head + 0x206) < 0x202 || !(head[0x211] & 1))
        return err_set(e, VT_CORRUPT, "%s: a kernel too old to be loaded directly", path);
    /* The last paragraph may be cut: the size in the header is rounded up. */
    if (bytes + 15 < need)
        return err_set(e, VT_CORRUPT, "%s: cut short: the kernel has %" PRIu64 " bytes, the file has %" PRIu64, path,
                       need, bytes);
    return 0;
}

int imagefile_check_kernel(const char *path, bool *ret_linux, struct err *e)
{
    cleanup(cleanup_close) int fd = -1;
    uint8_t head[8192] = {0};
    uint64_t bytes;
    size_t got;
    int r;

    r = open_file(path, &fd, &bytes, e);
    if (!r)
        r = io_pread_full(fd, head, sizeof head, 0, &got, path, e);
    if (r)
        return r;
    *ret_linux = get16(head + 0x1fe) == 0xaa55 && memcmp(head + 0x202, "HdrS", 4) == 0;
    if (*ret_linux)
        return check_linux(path, head, bytes, e);
    if (memcmp(head,
               "\x7f"
               "ELF",
               4) != 0 &&
        !has_multiboot(head, got))
        return err_set(e, VT_CORRUPT, "%s: is not a kernel (Linux bzImage, Multiboot 1 or PVH)", path);
    return 0;
}

bool imagefile_is_bios_size(uint64_t bytes)
{
    return bytes && bytes <= 16 << 20 && bytes % (64 << 10) == 0;
}

int imagefile_check_bios(const char *path, uint64_t *ret_bytes, struct err *e)
{
    cleanup(cleanup_close) int fd = -1;
    uint64_t bytes;
    int r = open_file(path, &fd, &bytes, e);

    if (!r && !imagefile_is_bios_size(bytes))
        r = err_set(e, VT_CORRUPT, "%s: is not a BIOS image: those have whole 64 KiB, and 16 MiB at most", path);
    if (!r)
        *ret_bytes = bytes;
    return r;
}

int imagefile_check_initrd(const char *path, struct err *e)
{
    cleanup(cleanup_close) int fd = -1;
    uint64_t bytes;

    return open_file(path, &fd, &bytes, e);
}

bool imagefile_is_iso(const char *path)
{
    cleanup(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t id[6]; /* of a volume descriptor: its type, and whose standard it is (ECMA-119, 8.1) */

    return fd >= 0 && pread(fd, id, sizeof id, 16 * 2048) == sizeof id && memcmp(id + 1, "CD001", 5) == 0;
}

int imagefile_check_disc(const char *path, struct err *e)
{
    cleanup(cleanup_close) int fd = -1;
    uint64_t bytes;
    int r = open_file(path, &fd, &bytes, e);

    if (!r && bytes % 2048)
        r = err_set(e, VT_CORRUPT, "%s: not a CD image, or cut short: its size is not whole sectors of 2048 bytes",
                    path);
    return r;
}
