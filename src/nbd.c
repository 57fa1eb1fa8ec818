/* See nbd.h. Numbers on the wire are big-endian. Keeps: each client's message is answered in full before the next is
 * looked at; a length is checked before anything is kept or allocated for it. */
#include "src/nbd.h"

#include <endian.h>
#include <string.h>
#include "src/base/util.h"

#define OPTION_MAX (32u << 10) /* less than half of NBD_IN_MAX */

static const uint64_t nbd_magic = 0x4e42444d41474943, option_magic = 0x49484156454f5054, reply_magic = 0x3e889045565a9;

enum { REQUEST_MAGIC = 0x25609513, SIMPLE_MAGIC = 0x67446698, CHUNK_MAGIC = 0x668e33ef };
enum { FIXED_NEWSTYLE = 1, NO_ZEROES = 2 };
enum { STAGE_FLAGS, STAGE_OPTIONS, STAGE_SERVING };
enum { OPT_EXPORT_NAME = 1, OPT_ABORT, OPT_LIST, OPT_INFO = 6, OPT_GO, OPT_STRUCTURED, OPT_LIST_META, OPT_SET_META };
#define REP_ACK          1u
#define REP_SERVER       2u
#define REP_INFO         3u
#define REP_META_CONTEXT 4u
#define REP_ERR_UNSUP    0x80000001u
#define REP_ERR_INVALID  0x80000003u
#define REP_ERR_UNKNOWN  0x80000006u
enum { INFO_EXPORT = 0, INFO_BLOCK_SIZE = 3 };
enum { FLAG_HAS = 1, FLAG_READ_ONLY = 2, FLAG_SEND_DF = 0x80, FLAG_MULTI_CONN = 0x100 };
enum { CMD_READ, CMD_WRITE, CMD_DISC, CMD_BLOCK_STATUS = 7, CMD_FLAG_REQ_ONE = 8 };
enum { CHUNK_DONE = 1, CHUNK_DATA = 1, CHUNK_HOLE = 2, CHUNK_STATUS = 5, CHUNK_ERROR = 0x8001 };
enum { ERR_PERM = 1, ERR_IO = 5, ERR_INVAL = 22, ERR_OVERFLOW = 75 };
enum { ALLOCATION_ID = 1, STATE_HOLE_ZERO = 3 };

static const char allocation[] = "base:allocation";

static void add16(struct buf *b, uint16_t v)
{
    v = htobe16(v);
    buf_add(b, &v, sizeof v);
}
static void add32(struct buf *b, uint32_t v)
{
    v = htobe32(v);
    buf_add(b, &v, sizeof v);
}
static void add64(struct buf *b, uint64_t v)
{
    v = htobe64(v);
    buf_add(b, &v, sizeof v);
}
static uint16_t get16(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return be16toh(v);
}
static uint32_t get32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}
static uint64_t get64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return be64toh(v);
}

void nbd_conn_init(struct nbd_conn *c, const struct nbd_export *x)
{
    *c = (struct nbd_conn){.x = x};
    add64(&c->out, nbd_magic);
    add64(&c->out, option_magic);
    add16(&c->out, FIXED_NEWSTYLE | NO_ZEROES);
}

void nbd_conn_release(struct nbd_conn *c)
{
    buf_release(&c->in);
    buf_release(&c->out);
}

bool nbd_conn_serving(const struct nbd_conn *c)
{
    return c->stage == STAGE_SERVING && !c->closed;
}

/* ---- options ---- */

static void reply(struct nbd_conn *c, uint32_t option, uint32_t type, const void *data, size_t len)
{
    add64(&c->out, reply_magic);
    add32(&c->out, option);
    add32(&c->out, type);
    add32(&c->out, (uint32_t)len);
    buf_add(&c->out, data, len);
}

/* A string within data, len bytes: its length first. *ret_used: with the length. */
static bool get_string(const char *data, size_t len, const char **ret, uint32_t *ret_len, size_t *ret_used)
{
    if (len < 4 || get32(data) > len - 4)
        return false;
    *ret = data + 4;
    *ret_len = get32(data);
    *ret_used = 4 + *ret_len;
    return true;
}

static bool is_export(const struct nbd_conn *c, const char *name, uint32_t len)
{
    return !len || (len == strlen(c->x->name) && !memcmp(name, c->x->name, len));
}

static uint16_t transmission_flags(const struct nbd_conn *c)
{
    return (uint16_t)(FLAG_HAS | FLAG_READ_ONLY | FLAG_MULTI_CONN | (c->structured ? FLAG_SEND_DF : 0));
}

static void opt_export_name(struct nbd_conn *c, const char *data, uint32_t len)
{
    static const char zeroes[124];

    if (!is_export(c, data, len)) { /* there is no way to say so */
        c->closed = true;
        return;
    }
    add64(&c->out, c->x->size);
    add16(&c->out, transmission_flags(c));
    if (!c->no_zeroes)
        buf_add(&c->out, zeroes, sizeof zeroes);
    c->stage = STAGE_SERVING;
}

static void opt_list(struct nbd_conn *c, uint32_t len)
{
    struct buf b = {0};

    if (len) {
        reply(c, OPT_LIST, REP_ERR_INVALID, NULL, 0);
        return;
    }
    add32(&b, (uint32_t)strlen(c->x->name));
    buf_str(&b, c->x->name);
    c->closed |= b.failed;
    reply(c, OPT_LIST, REP_SERVER, b.data, b.len);
    reply(c, OPT_LIST, REP_ACK, NULL, 0);
    buf_release(&b);
}

static void opt_info(struct nbd_conn *c, uint32_t option, const char *data, uint32_t len)
{
    struct buf b = {0};
    const char *name;
    uint32_t name_len;
    size_t used;

    if (!get_string(data, len, &name, &name_len, &used) || len - used < 2 ||
        len - used - 2 != 2u * get16(data + used)) {
        reply(c, option, REP_ERR_INVALID, NULL, 0);
        return;
    }
    if (!is_export(c, name, name_len)) {
        reply(c, option, REP_ERR_UNKNOWN, NULL, 0);
        return;
    }
    add16(&b, INFO_EXPORT);
    add64(&b, c->x->size);
    add16(&b, transmission_flags(c));
    reply(c, option, REP_INFO, b.data, b.len);
    buf_clear(&b);
    add16(&b, INFO_BLOCK_SIZE);
    add32(&b, 1);
    add32(&b, VT_PAGE_SIZE);
    add32(&b, NBD_READ_MAX);
    c->closed |= b.failed;
    reply(c, option, REP_INFO, b.data, b.len);
    reply(c, option, REP_ACK, NULL, 0);
    buf_release(&b);
    if (option == OPT_GO)
        c->stage = STAGE_SERVING;
}

/* Does a query mean the one context that we have? For a list, "base:" means all of its namespace. */
static bool means_allocation(uint32_t option, const char *q, uint32_t len)
{
    return (len == sizeof allocation - 1 && !memcmp(q, allocation, len)) ||
           (option == OPT_LIST_META && len == 5 && !memcmp(q, "base:", 5));
}

static void opt_meta(struct nbd_conn *c, uint32_t option, const char *data, uint32_t len)
{
    const char *name, *q;
    uint32_t name_len, q_len, queries;
    size_t used, at;
    bool found = false;
    char context[4 + sizeof allocation - 1];

    if (!get_string(data, len, &name, &name_len, &used) || len - used < 4 ||
        (option == OPT_SET_META && !c->structured)) {
        reply(c, option, REP_ERR_INVALID, NULL, 0);
        return;
    }
    queries = get32(data + used);
    at = used + 4;
    found = option == OPT_LIST_META && !queries;
    for (; queries && get_string(data + at, len - at, &q, &q_len, &used); queries--, at += used)
        found |= means_allocation(option, q, q_len);
    if (queries || at != len) {
        reply(c, option, REP_ERR_INVALID, NULL, 0);
        return;
    }
    if (!is_export(c, name, name_len)) {
        reply(c, option, REP_ERR_UNKNOWN, NULL, 0);
        return;
    }
    if (option == OPT_SET_META)
        c->allocation = found;
    if (found) {
        uint32_t id = htobe32(option == OPT_SET_META ? ALLOCATION_ID : 0);
        memcpy(context, &id, 4);
        memcpy(context + 4, allocation, sizeof allocation - 1);
        reply(c, option, REP_META_CONTEXT, context, sizeof context);
    }
    reply(c, option, REP_ACK, NULL, 0);
}

static void do_option(struct nbd_conn *c, uint32_t option, const char *data, uint32_t len)
{
    switch (option) {
    case OPT_EXPORT_NAME:
        opt_export_name(c, data, len);
        break;
    case OPT_ABORT:
        reply(c, option, REP_ACK, NULL, 0);
        c->closed = true;
        break;
    case OPT_LIST:
        opt_list(c, len);
        break;
    case OPT_INFO:
    case OPT_GO:
        opt_info(c, option, data, len);
        break;
    case OPT_STRUCTURED:
        reply(c, option, len ? REP_ERR_INVALID : REP_ACK, NULL, 0);
        c->structured |= !len;
        break;
    case OPT_LIST_META:
    case OPT_SET_META:
        opt_meta(c, option, data, len);
        break;
    default:
        reply(c, option, REP_ERR_UNSUP, NULL, 0);
    }
}

/* ---- requests ---- */

struct request {
    uint16_t flags, type;
    uint64_t cookie, off;
    uint32_t len;
};

static void chunk(struct nbd_conn *c, const struct request *q, uint16_t flags, uint16_t type, uint32_t len)
{
    add32(&c->out, CHUNK_MAGIC);
    add16(&c->out, flags);
    add16(&c->out, type);
    add64(&c->out, q->cookie);
    add32(&c->out, len);
}

/* The answer to a request that failed, or to one that says no more than that it was done (error 0). */
static void answer(struct nbd_conn *c, const struct request *q, uint32_t error, const char *why)
{
    if (c->structured && error) {
        uint16_t n = (uint16_t)MIN(strlen(why), (size_t)1024);
        chunk(c, q, CHUNK_DONE, CHUNK_ERROR, 6u + n);
        add32(&c->out, error);
        add16(&c->out, n);
        buf_add(&c->out, why, n);
        return;
    }
    add32(&c->out, SIMPLE_MAGIC);
    add32(&c->out, error);
    add64(&c->out, q->cookie);
}

static void do_read(struct nbd_conn *c, const struct request *q)
{
    struct err e = {0};
    bool zero = false;
    uint64_t run = 0;
    size_t begun = c->out.len;
    void *dst;
    int r = 0;

    if (c->structured)
        r = c->x->extent(c->x->opaque, q->off, q->len, &run, &zero, &e);
    if (!r && zero && run == q->len) {
        chunk(c, q, CHUNK_DONE, CHUNK_HOLE, 12);
        add64(&c->out, q->off);
        add32(&c->out, q->len);
        return;
    }
    if (c->structured) {
        chunk(c, q, CHUNK_DONE, CHUNK_DATA, 8 + q->len);
        add64(&c->out, q->off);
    } else {
        answer(c, q, 0, "");
    }
    dst = buf_reserve(&c->out, q->len);
    if (!r)
        r = dst ? c->x->read(c->x->opaque, dst, q->len, q->off, &e) : err_set(&e, VT_FAIL, "out of memory");
    if (!r) {
        c->out.len += q->len;
        return;
    }
    if (!dst) { /* a failed buffer takes nothing more */
        c->closed = true;
        return;
    }
    c->out.len = begun;
    answer(c, q, ERR_IO, e.msg);
}

static void do_status(struct nbd_conn *c, const struct request *q)
{
    uint64_t end = q->off + q->len, at = q->off;
    struct err e = {0};
    struct buf b = {0};
    unsigned n = 0;
    int r = 0;

    add32(&b, ALLOCATION_ID);
    while (!r && at < end && n < (q->flags & CMD_FLAG_REQ_ONE ? 1u : NBD_EXTENTS_MAX)) {
        uint64_t run = 0;
        bool zero = false;
        r = c->x->extent(c->x->opaque, at, end - at, &run, &zero, &e);
        if (r)
            break;
        add32(&b, (uint32_t)run);
        add32(&b, zero ? STATE_HOLE_ZERO : 0);
        at += run;
        n++;
    }
    if (r || b.failed) {
        answer(c, q, ERR_IO, r ? e.msg : "out of memory");
    } else {
        chunk(c, q, CHUNK_DONE, CHUNK_STATUS, (uint32_t)b.len);
        buf_add(&c->out, b.data, b.len);
    }
    buf_release(&b);
}

static void do_request(struct nbd_conn *c, const struct request *q)
{
    bool reads = q->type == CMD_READ || q->type == CMD_BLOCK_STATUS;

    if (q->type == CMD_DISC) {
        c->closed = true;
    } else if (q->type == CMD_WRITE) {
        c->skip = q->len;
        answer(c, q, ERR_PERM, "a snapshot's disk cannot be written");
    } else if (!reads) {
        answer(c, q, q->type <= CMD_BLOCK_STATUS ? ERR_PERM : ERR_INVAL, "no such request on a snapshot's disk");
    } else if (!q->len || q->off > c->x->size || q->len > c->x->size - q->off) {
        answer(c, q, ERR_INVAL, "not within the disk");
    } else if (q->type == CMD_READ && q->len > NBD_READ_MAX) {
        answer(c, q, ERR_OVERFLOW, "more than may be read at once");
    } else if (q->type == CMD_READ) {
        do_read(c, q);
    } else if (!c->allocation) {
        answer(c, q, ERR_INVAL, "no context was negotiated");
    } else {
        do_status(c, q);
    }
}

/* ---- one message ---- */

static bool step_flags(struct nbd_conn *c)
{
    uint32_t flags;

    if (c->in.len < 4)
        return false;
    flags = get32(c->in.data);
    buf_drop(&c->in, 4);
    c->closed = !(flags & FIXED_NEWSTYLE) || flags & ~(uint32_t)(FIXED_NEWSTYLE | NO_ZEROES);
    c->no_zeroes = flags & NO_ZEROES;
    c->stage = STAGE_OPTIONS;
    return true;
}

static bool step_option(struct nbd_conn *c)
{
    uint32_t len;

    if (c->in.len < 16)
        return false;
    len = get32(c->in.data + 12);
    if (get64(c->in.data) != option_magic || len > OPTION_MAX) {
        c->closed = true;
        return true;
    }
    if (c->in.len < 16 + (size_t)len)
        return false;
    do_option(c, get32(c->in.data + 8), c->in.data + 16, len);
    buf_drop(&c->in, 16 + (size_t)len);
    return true;
}

static bool step_request(struct nbd_conn *c)
{
    const char *p = c->in.data;
    struct request q;

    if (c->in.len < 28)
        return false;
    q = (struct request){get16(p + 4), get16(p + 6), get64(p + 8), get64(p + 16), get32(p + 24)};
    if (get32(p) != REQUEST_MAGIC) {
        c->closed = true;
        return true;
    }
    buf_drop(&c->in, 28);
    do_request(c, &q);
    return true;
}

bool nbd_conn_step(struct nbd_conn *c)
{
    if (c->in.failed || c->out.failed)
        c->closed = true;
    if (c->closed)
        return false;
    if (c->skip) {
        size_t n = (size_t)MIN(c->skip, (uint64_t)c->in.len);
        buf_drop(&c->in, n);
        c->skip -= n;
        return n;
    }
    switch (c->stage) {
    case STAGE_FLAGS:
        return step_flags(c);
    case STAGE_OPTIONS:
        return step_option(c);
    default:
        return step_request(c);
    }
}
