#include "src/net/pcap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "src/base/io.h"
#include "src/base/util.h"

enum { BUFFER = 256 * 1024, SNAP_LEN = 65535, LINK_ETHERNET = 1, MAGIC_NS = 0xa1b23c4d };

struct file_header {
    uint32_t magic;
    uint16_t major, minor;
    int32_t zone;
    uint32_t accuracy, snap_len, link;
};
struct frame_header {
    uint32_t seconds, nanoseconds, kept, length;
};
_Static_assert(sizeof(struct file_header) == 24 && sizeof(struct frame_header) == 16, "the format's layout");

struct pcap {
    int fd;
    char *path;
    struct err failed;
    size_t used;
    uint8_t buf[BUFFER];
};

void pcap_flush(struct pcap *p)
{
    if (p->used && !p->failed.code)
        io_write_full(p->fd, p->buf, p->used, p->path, &p->failed);
    p->used = 0;
}

static void add(struct pcap *p, const void *data, size_t len)
{
    memcpy(p->buf + p->used, data, len);
    p->used += len;
}

int pcap_open(const char *path, struct pcap **ret_pcap, struct err *e)
{
    const struct file_header h = {
        .magic = MAGIC_NS, .major = 2, .minor = 4, .snap_len = SNAP_LEN, .link = LINK_ETHERNET};
    struct pcap *p = calloc(1, sizeof *p);
    int r;

    if (!p || !(p->path = strdup(path))) {
        free(p);
        return err_set(e, VT_FAIL, "out of memory");
    }
    r = io_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600, &p->fd, e);
    if (r < 0) {
        free(p->path);
        free(p);
        return r;
    }
    add(p, &h, sizeof h);
    pcap_flush(p); /* a reader of a pipe waits for it */
    *ret_pcap = p;
    return 0;
}

void pcap_write(struct pcap *p, const void *frame, size_t len)
{
    size_t kept = MIN(len, (size_t)SNAP_LEN);
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    const struct frame_header h = {(uint32_t)now.tv_sec, (uint32_t)now.tv_nsec, (uint32_t)kept, (uint32_t)len};
    if (p->used + sizeof h + kept > sizeof p->buf)
        pcap_flush(p);
    add(p, &h, sizeof h);
    add(p, frame, kept);
}

int pcap_close(struct pcap *p, struct err *e)
{
    if (!p)
        return 0;
    pcap_flush(p);
    if (close(p->fd) < 0 && !p->failed.code)
        err_set(&p->failed, VT_IO, "%s: %m", p->path);
    int r = p->failed.code ? err_set(e, p->failed.code, "%s", p->failed.msg) : 0;
    free(p->path);
    free(p);
    return r;
}
