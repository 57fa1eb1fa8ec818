#include "snapshot/mark.h"

#include <string.h>
#include <xxhash.h>
#include "snapshot/format.h"
#include "snapshot/store.h"

#define UUID_TEXT 36
#define MARK_SUM  (MARK_SIZE - 8)

static const char name[] = "store.db-mark";

/* Under marks. */
static int open_for_writing(struct store *s, struct err *e)
{
    int r;

    if (s->mark.fd >= 0)
        return 0;
    r = sio_open(&s->io, name, true, &s->mark, NULL);
    if (r == VT_NOENT)
        r = sio_create(&s->io, name, &s->mark, NULL);
    return r == VT_EXISTS ? sio_open(&s->io, name, true, &s->mark, e) : r;
}

static int write_mark(struct store *s, uint64_t commit, struct err *e)
{
    uint8_t b[MARK_SIZE];
    int r = open_for_writing(s, e);

    put64(b, MARK_MAGIC);
    put64(b + 8, commit);
    memcpy(b + 16, s->uuid, UUID_TEXT);
    memset(b + 16 + UUID_TEXT, 0, MARK_SUM - 16 - UUID_TEXT);
    put64(b + MARK_SUM, XXH3_64bits(b, MARK_SUM));
    return r ? r : sio_pwrite(&s->mark, b, sizeof b, 0, e);
}

void mark_read(struct store *s, struct mark *ret)
{
    struct sfile f = SFILE_NONE;
    uint8_t b[MARK_SIZE];
    int r = sio_open(&s->io, name, false, &f, NULL);

    if (!r)
        r = sio_pread(&f, b, sizeof b, 0, NULL);
    sio_close(&f);
    *ret = (struct mark){0};
    if (r || get64(b) != MARK_MAGIC || get64(b + MARK_SUM) != XXH3_64bits(b, MARK_SUM))
        return;
    ret->commit = get64(b + 8);
    memcpy(ret->uuid, b + 16, UUID_TEXT);
}

void mark_put(struct store *s, uint64_t commit)
{
    pthread_mutex_lock(&s->marks);
    if (*s->uuid && commit > s->marked && !write_mark(s, commit, NULL))
        s->marked = commit;
    pthread_mutex_unlock(&s->marks);
}

int mark_back(struct store *s, uint64_t commit, struct err *e)
{
    int r;

    pthread_mutex_lock(&s->marks);
    r = write_mark(s, commit, e);
    if (!r)
        s->marked = commit;
    pthread_mutex_unlock(&s->marks);
    return r;
}

int mark_remove(struct store *s, struct err *e)
{
    pthread_mutex_lock(&s->marks);
    sio_close(&s->mark);
    s->marked = UINT64_MAX; /* what is committed from now on is not noted */
    pthread_mutex_unlock(&s->marks);
    return sio_unlink(&s->io, name, e);
}
