/* The host side's part of the ports: making and freeing their queues. */
#include <stdlib.h>
#include <string.h>

#include "src/base/err.h"
#include "vmcore/port.h"

static int byteq_init(struct byteq *q, uint32_t size)
{
    vt_assert(size && !(size & (size - 1)));
    *q = (struct byteq){.buf = malloc(size), .size = size};
    return q->buf ? 0 : -1;
}

static void byteq_release(struct byteq *q)
{
    free(q->buf);
    q->buf = NULL;
}

int chrport_init(struct chrport *p, const char *name, uint32_t to_host_size, uint32_t to_guest_size)
{
    memset(p, 0, sizeof *p);
    p->name = name;
    p->kick.fd = -1;
    if (byteq_init(&p->to_host, to_host_size))
        return -1;
    if (byteq_init(&p->to_guest, to_guest_size)) {
        byteq_release(&p->to_host);
        return -1;
    }
    return 0;
}

void chrport_release(struct chrport *p)
{
    byteq_release(&p->to_host);
    byteq_release(&p->to_guest);
}

int inputport_init(struct inputport *p)
{
    memset(p, 0, sizeof *p);
    p->kick.fd = -1;
    if (byteq_init(&p->keys, 1024 * sizeof(struct input_key)))
        return -1;
    if (byteq_init(&p->mouse, 1024 * sizeof(struct input_mouse))) {
        byteq_release(&p->keys);
        return -1;
    }
    return 0;
}

void inputport_release(struct inputport *p)
{
    byteq_release(&p->keys);
    byteq_release(&p->mouse);
}

int netport_init(struct netport *p, uint32_t size)
{
    memset(p, 0, sizeof *p);
    p->kick.fd = -1;
    if (byteq_init(&p->to_host, size))
        return -1;
    if (byteq_init(&p->to_guest, size)) {
        byteq_release(&p->to_host);
        return -1;
    }
    return 0;
}

void netport_release(struct netport *p)
{
    byteq_release(&p->to_host);
    byteq_release(&p->to_guest);
}
