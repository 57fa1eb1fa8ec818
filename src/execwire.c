#include "src/execwire.h"

#include <string.h>
#include "src/base/banned.h"
#include "src/base/util.h"

static void put32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

uint32_t execwire_u32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put_head(uint8_t head[EW_HEAD], uint8_t type, uint32_t session, uint32_t len)
{
    put32(head, EW_MARK | (uint32_t)type << 16);
    put32(head + 4, session);
    put32(head + 8, len);
}

void execwire_put(struct buf *b, uint8_t type, uint32_t session, const void *payload, size_t len)
{
    uint8_t head[EW_HEAD], tail[EW_TAIL];

    vt_assert(len <= EW_PAYLOAD);
    put_head(head, type, session, (uint32_t)len);
    put32(tail, EW_TAIL_MARK);
    buf_add(b, head, sizeof head);
    if (len)
        buf_add(b, payload, len);
    buf_add(b, tail, sizeof tail);
}

void execwire_put_hello(struct buf *b, const uint8_t nonce[EW_NONCE])
{
    void *zeros = buf_reserve(b, EW_SYNC_ZEROS);

    if (!zeros)
        return;
    memset(zeros, 0, EW_SYNC_ZEROS);
    b->len += EW_SYNC_ZEROS;
    execwire_put(b, EW_HELLO, 0, nonce, EW_NONCE);
}

int execwire_next(const void *data, size_t len, struct execwire_frame *ret_frame, size_t *ret_used, struct err *e)
{
    const uint8_t *p = data;
    uint32_t n;

    if (len < EW_HEAD)
        return 0;
    n = execwire_u32(p + 8);
    if ((execwire_u32(p) & 0xff00ffff) != EW_MARK || n > EW_PAYLOAD)
        return err_set(e, VT_CORRUPT, "what is no frame");
    if (len < EW_HEAD + n + EW_TAIL)
        return 0;
    if (execwire_u32(p + EW_HEAD + n) != EW_TAIL_MARK)
        return err_set(e, VT_CORRUPT, "a frame without an end");
    *ret_frame = (struct execwire_frame){.type = p[2], .session = execwire_u32(p + 4), .len = n, .data = p + EW_HEAD};
    *ret_used = EW_HEAD + n + EW_TAIL;
    return 1;
}

int execwire_seek(const void *data, size_t len, const uint8_t nonce[EW_NONCE], size_t *ret_used, uint32_t *ret_version)
{
    uint8_t want[EW_HEAD + EW_NONCE];
    const uint8_t *p;

    put_head(want, EW_HELLO, 0, EW_NONCE + 4);
    memcpy(want + EW_HEAD, nonce, EW_NONCE);
    p = len >= sizeof want ? memmem(data, len, want, sizeof want) : NULL;
    if (!p) {
        *ret_used = len >= sizeof want ? len - sizeof want + 1 : 0;
        return 0;
    }
    *ret_used = (size_t)(p - (const uint8_t *)data);
    if (len - *ret_used < sizeof want + 4 + EW_TAIL)
        return 0;
    *ret_used += sizeof want + 4 + EW_TAIL;
    *ret_version = execwire_u32(p + sizeof want);
    return 1;
}
