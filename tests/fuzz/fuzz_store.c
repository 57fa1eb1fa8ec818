/* What the store reads back from its files: a frame, and a head's log. The input is what stands after the headers; its
 * checksums are put right first, as one would who can write the files, so that what lies behind them is reached. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>
#include "snapshot/format.h"
#include "snapshot/frame.h"
#include "snapshot/hlog.h"
#include "snapshot/replay.h"
#include "snapshot/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_frame(const uint8_t *data, size_t size)
{
    struct frame_ref ref = {.pack = 1, .len = (uint32_t)size};
    uint8_t *stored, *raw;

    if (size < FRAME_HEADER || size > 1 << 17)
        return;
    stored = malloc(size);
    memcpy(stored, data, size);
    put32(stored, FRAME_MAGIC);
    put64(stored + 16, 0);
    put64(stored + 16, XXH3_64bits(stored, size));
    ref.pages = get16(stored + 6) % (FRAME_PAGES + 1);
    ref.raw_len = get32(stored + 8) % (FRAME_PAGES * VT_PAGE_SIZE + 1);
    raw = malloc(ref.raw_len ? ref.raw_len : 1);
    frame_decode(stored, &ref, raw, "frame", NULL);
    free(raw);
    free(stored);
}

/* Puts the checksum of a batch right that begins at p, where it fits. */
static void fix_batch(uint8_t *p, size_t room)
{
    size_t len;

    if (room < BATCH_HEADER)
        return;
    len = BATCH_HEADER + (size_t)(get32(p + 4) % BATCH_ENTRIES_MAX) * BATCH_ENTRY;
    if (len > room)
        return;
    put32(p, BATCH_MAGIC);
    put64(p + 16, 0); /* the nonce of the log below */
    put64(p + 48, 0);
    put64(p + 48, XXH3_64bits(p, len));
}

static void try_log(const uint8_t *data, size_t size)
{
    struct store s = {.io.dirfd = -1};
    struct hlog *l = calloc(1, sizeof *l);
    uint8_t *file = calloc(1, LOG_HEADER + size);
    struct replay r;

    pthread_mutex_init(&s.batches, NULL);
    *l = (struct hlog){.s = &s, .refs = 1, .id = 1, .f = {&s.io, memfd_create("log", MFD_CLOEXEC), "heads/1.log"}};
    memcpy(file + LOG_HEADER, data, size);
    for (size_t at = LOG_HEADER; at < LOG_HEADER + size; at += BATCH_ALIGN)
        if (at == LOG_HEADER || (LOG_HEADER + size - at >= 4 && get32(file + at) == BATCH_MAGIC))
            fix_batch(file + at, LOG_HEADER + size - at);
    if (l->f.fd >= 0 && write(l->f.fd, file, LOG_HEADER + size) == (ssize_t)(LOG_HEADER + size) &&
        !replay_logs(&l, 1, 0, &r, NULL))
        replay_release(&r);
    hlog_unref(l);
    free(file);
    pthread_mutex_destroy(&s.batches);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    if (data[0] & 1)
        try_frame(data + 1, size - 1);
    else
        try_log(data + 1, size - 1);
    return 0;
}
