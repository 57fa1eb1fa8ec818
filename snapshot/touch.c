#include "snapshot/touch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "src/base/buf.h"
#include "src/base/io.h"
#include "src/base/util.h"
#include "snapshot/format.h"
#include "snapshot/store.h"
#include "snapshot/template.h"

#define ORDER_MAGIC 0x3144524f54545600ull /* "\0VTTORD1" */
#define HEADER      40
#define ORDER_MAX   65536u /* pages: at most a frame each */

struct touch {
    struct store *s;
    char name[48];
    uint8_t head[HEADER];
    uint64_t pages;
    int (*fill)(void *opaque, uint64_t page);
    void *opaque;
    struct buf order; /* header, then 4 bytes a page: what is followed */
    pthread_t thread;
    bool follows;
    atomic_bool stop;
    pthread_mutex_t lock; /* of noted */
    struct buf noted;
};

static void *follow(void *opaque)
{
    struct touch *t = opaque;

    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 5); /* who waits for a page goes first */
    for (size_t at = HEADER; at + 4 <= t->order.len && !atomic_load(&t->stop); at += 4) {
        uint64_t page = get32((const uint8_t *)t->order.data + at);
        if (page < t->pages && t->fill(t->opaque, page) != 0)
            break;
    }
    return NULL;
}

struct touch *touch_begin(struct store *s, const struct template_of *of, int (*fill)(void *opaque, uint64_t page),
                          void *opaque)
{
    struct touch *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->s = s;
    t->pages = of->pages;
    t->fill = fill;
    t->opaque = opaque;
    pthread_mutex_init(&t->lock, NULL);
    template_order_name(of->snapshot, t->name, sizeof t->name);
    put64(t->head, ORDER_MAGIC);
    memcpy(t->head + 8, s->uuid_bytes, 16);
    put64(t->head + 24, (uint64_t)of->snapshot);
    put64(t->head + 32, of->root);
    if (io_read_file(s->io.dirfd, t->name, HEADER + 4 * ORDER_MAX, &t->order, NULL) == 0 && t->order.len >= HEADER &&
        memcmp(t->order.data, t->head, HEADER) == 0)
        t->follows = pthread_create(&t->thread, NULL, follow, t) == 0;
    return t;
}

void touch_note(struct touch *t, uint64_t page)
{
    uint8_t word[4];

    if (t->follows)
        return;
    put32(word, (uint32_t)page);
    pthread_mutex_lock(&t->lock);
    if (t->noted.len < 4 * ORDER_MAX)
        buf_add(&t->noted, word, sizeof word);
    pthread_mutex_unlock(&t->lock);
}

void touch_end(struct touch *t)
{
    struct buf file cleanup(buf_release) = {0};

    if (!t)
        return;
    atomic_store(&t->stop, true);
    if (t->follows)
        pthread_join(t->thread, NULL);
    buf_add(&file, t->head, HEADER);
    buf_add(&file, t->noted.data, t->noted.len);
    if (!t->follows && t->noted.len && !t->noted.failed && !file.failed)
        io_replace_file(t->s->io.dirfd, t->name, file.data, file.len, 0600, NULL);
    buf_release(&t->order);
    buf_release(&t->noted);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
