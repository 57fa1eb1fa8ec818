/* The rule: a batch counts if its header verifies, follows the one before (sequence and checksum), and, where nothing
 * proves that it was durable, its pages verify too. Each header says up to which sequence all was durable when it was
 * written; so damage below the greatest such number is corruption, and above it a torn tail. */
#include "snapshot/replay.h"

#include <string.h>

static int add(struct replay *r, struct batch *b, struct err *e)
{
    struct batch **v = realloc(r->v, (r->n + 1) * sizeof *v);

    if (!v)
        return err_set(e, VT_FAIL, "out of memory");
    r->v = v;
    r->v[r->n++] = b;
    return 0;
}

static void cut(struct replay *r, size_t n)
{
    while (r->n > n)
        batch_unref(r->v[--r->n]);
}

void replay_release(struct replay *r)
{
    cut(r, 0);
    free(r->v);
    r->v = NULL;
}

static bool follows(const struct replay *r, const struct batch_head *h, uint64_t from)
{
    if (r->n)
        return h->seq == r->next_seq && h->prev == r->prev;
    return h->seq <= from; /* the log before it may be gone */
}

/* A log that took over from one whose sync had failed: it repeats what was not durable. */
static bool restarts(struct replay *r, const struct batch_head *h)
{
    for (size_t i = 0; i < r->n; i++) {
        if (r->v[i]->seq != h->seq || (i && r->v[i - 1]->checksum != h->prev))
            continue;
        cut(r, i);
        return true;
    }
    return r->n && h->seq == r->next_seq && h->prev == r->prev;
}

static int read_log(struct hlog *l, struct replay *r, uint64_t from, struct err *e)
{
    uint64_t size = 0, off = LOG_HEADER;
    bool first = true;
    int rc = sio_size(&l->f, &size, e);

    while (!rc) {
        struct batch_head h = {0};
        struct batch *b;
        rc = hlog_read_batch(l, off, size, &b, &h, e);
        if (rc || !b)
            break;
        if (!(first && (h.flags & BATCH_RESTART) ? restarts(r, &h) || follows(r, &h, from) : follows(r, &h, from))) {
            batch_unref(b);
            break;
        }
        first = false;
        rc = add(r, b, e);
        if (rc) {
            batch_unref(b);
            break;
        }
        r->next_seq = h.seq + 1;
        r->prev = b->checksum;
        r->synced = MAX(r->synced, h.synced);
        off += batch_size(b);
    }
    l->end = off;
    return rc;
}

static int verify(struct batch *b, bool *ret_good, struct err *e)
{
    uint8_t page[VT_PAGE_SIZE];

    *ret_good = true;
    for (uint32_t i = 0; i < b->n_pages && *ret_good; i++) {
        struct err mine = {0};
        int r = batch_page(b, i, page, &mine);
        if (r && r != VT_CORRUPT)
            return err_set(e, r, "%s", mine.msg);
        *ret_good = !r;
    }
    return 0;
}

/* Past the end of what counts: does anything say that more than that was durable? */
static int look_beyond(struct hlog *l, uint64_t off, uint64_t next_seq, struct err *e)
{
    uint8_t buf[64 << 10];
    uint64_t size = 0;
    int r = sio_size(&l->f, &size, e);

    for (uint64_t at = off; !r && at + BATCH_HEADER <= size; at += sizeof buf) {
        size_t n = MIN(sizeof buf, size - at);
        r = sio_pread(&l->f, buf, n, at, e);
        for (size_t i = 0; !r && i + BATCH_HEADER <= n; i += BATCH_ALIGN) {
            struct batch_head h = {0};
            struct batch *b;
            if (get32(buf + i) != BATCH_MAGIC)
                continue;
            r = hlog_read_batch(l, at + i, size, &b, &h, NULL);
            if (r || !b) { /* such bytes may be a guest's page */
                r = 0;
                continue;
            }
            batch_unref(b);
            if (h.synced > next_seq)
                return err_set(e, VT_CORRUPT, "%s: offset %llu: batch %llu is damaged, though it had been flushed",
                               l->f.path, (unsigned long long)off, (unsigned long long)next_seq);
        }
    }
    return r;
}

static int cut_torn(struct hlog *const *logs, size_t n, uint64_t from, struct replay *r, struct err *e)
{
    size_t keep = 0, last = 0;
    bool good = true;
    int rc = 0;

    while (keep < r->n && good && !rc) {
        if (r->v[keep]->seq >= r->synced)
            rc = verify(r->v[keep], &good, e);
        keep += good;
    }
    if (rc)
        return rc;
    if (keep < r->n) {
        uint64_t seq = r->v[keep]->seq;
        for (size_t i = 0; i < n; i++)
            if (logs[i] == r->v[keep]->log)
                logs[i]->end = r->v[keep]->off;
        cut(r, keep);
        r->next_seq = seq;
        r->prev = keep ? r->v[keep - 1]->checksum : 0;
    }
    /* Logs after the one where it ends hold nothing that counts. */
    for (size_t i = 0; i < n; i++)
        if (r->n && logs[i] == r->v[r->n - 1]->log)
            last = i;
    for (size_t i = r->n ? last : 0; i < n && !rc; i++) {
        if (i > last)
            logs[i]->end = LOG_HEADER;
        rc = look_beyond(logs[i], logs[i]->end, MAX(r->next_seq, from), e);
    }
    return rc;
}

int replay_logs(struct hlog *const *logs, size_t n, uint64_t from, struct replay *ret, struct err *e)
{
    struct replay r = {.next_seq = from, .synced = 0};
    size_t skip = 0;
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++)
        rc = read_log(logs[i], &r, from, e);
    if (!rc)
        rc = cut_torn(logs, n, from, &r, e);
    if (rc) {
        replay_release(&r);
        return rc;
    }
    if (r.next_seq < from) { /* all that remains is in a snapshot already; what followed was never flushed */
        r.spent = r.n;
        cut(&r, 0);
        r.next_seq = from;
        r.prev = 0;
        for (size_t i = 0; i < n && !r.spent; i++) /* else the past may need what was flushed to them */
            logs[i]->end = LOG_HEADER;
    }
    while (skip < r.n && r.v[skip]->seq < from)
        batch_unref(r.v[skip++]);
    r.n -= skip;
    if (skip)
        memmove(r.v, r.v + skip, r.n * sizeof *r.v);
    for (size_t i = 0; i < r.n; i++)
        r.v[i]->log->next_seq = MAX(r.v[i]->log->next_seq, r.v[i]->seq + 1);
    *ret = r;
    return 0;
}

/* A later batch that names the sequence after this one as durable says that it was flushed, as its own flag does: a
 * flush that finds nothing left to write leaves only the former. */
int replay_until(struct replay *r, int64_t when, struct err *e)
{
    bool *flushed cleanup(cleanup_free) = calloc(r->n ? r->n : 1, sizeof *flushed);
    size_t keep = r->n;

    if (!flushed)
        return err_set(e, VT_FAIL, "out of memory");
    for (size_t i = 0; i < r->n; i++) {
        uint64_t at = r->v[i]->synced - 1 - r->v[0]->seq;
        if (r->v[i]->synced > r->v[0]->seq && at < r->n)
            flushed[at] = true;
        flushed[i] |= r->v[i]->flags & (BATCH_FLUSHED | BATCH_CLEAN);
    }
    while (keep && (!flushed[keep - 1] || r->v[keep - 1]->time > when))
        keep--;
    if (keep < r->n)
        r->next_seq = r->v[keep]->seq;
    cut(r, keep);
    return 0;
}
