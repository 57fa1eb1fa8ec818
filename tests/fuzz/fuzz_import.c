/* Members of an exported machine as anybody may write them: whatever came, the store is sound afterwards, and holds no
 * machine or a whole one. An input is members in a row: a name that ends with NUL, its length (32 bits), its bytes.
 * Checksums are put right before they are read, since no fuzzer would ever find one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "snapshot/format.h"
#include "snapshot/move.h"
#include "src/base/util.h"
#include "tests/store/fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The next member; a copy of its bytes is malloc'ed, with its checksum put right. */
static bool next(const uint8_t **at, const uint8_t *end, const char **ret_name, uint8_t **ret, size_t *ret_len,
                 struct move_sum *sum)
{
    const uint8_t *nul = memchr(*at, 0, (size_t)(end - *at));
    char text[160], hex[33];
    uint8_t *copy;
    size_t n;

    if (!nul || end - nul < 5)
        return false;
    *ret_name = (const char *)*at;
    n = MIN((size_t)get32(nul + 1), (size_t)(end - nul - 5));
    copy = malloc(n + 200);
    vt_assert(copy);
    memcpy(copy, nul + 5, n);
    *at = nul + 5 + n;
    if (!strcmp(*ret_name, "end.json") && n > 8 && n < 80 &&
        memchr(copy, '#', n)) { /* {"members":1,"pages":0,"sum":"#"} */
        char *mark = memchr(copy, '#', n);
        move_sum_text(sum, hex);
        n = (size_t)snprintf(text, sizeof text, "%.*s%s\"}", (int)(mark - (char *)copy), (char *)copy, hex);
        memcpy(copy, text, n);
    } else if (n >= MOVE_HEADER && !strstr(*ret_name, "json")) {
        struct move_head h = {get32(copy), get32(copy + 4), get64(copy + 8), get64(copy + 16)};
        move_head_put(copy, &h, copy + MOVE_HEADER, n - MOVE_HEADER);
    }
    move_sum_add(sum, *ret_name, copy, n);
    *ret = copy;
    *ret_len = n;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const uint8_t *at = data, *end = data + len;
    char *dir = tmpdir_new();
    struct store *s = NULL;
    struct store_report rep;
    struct move_sum *sum = move_sum_new();
    struct import *im;
    const char *name;
    uint8_t *member;
    size_t n;
    int64_t id;
    int r;

    vt_assert(sum && !store_open(dir, STORE_CREATE, &s, NULL));
    vt_assert(!import_begin(s, "fuzzed", &im, NULL));
    for (r = 0; !r && next(&at, end, &name, &member, &n, sum); free(member))
        r = import_put(im, name, member, n, NULL);
    if (r)
        import_abort(im);
    else
        r = import_commit(im, &id, NULL, NULL);
    vt_assert(machine_find(s, "fuzzed", true, &id, NULL) == (r ? VT_NOENT : 0));
    vt_assert(!store_check(s, true, NULL, NULL, &rep, NULL) && !rep.problems);
    vt_assert(!store_maintain(s, NULL) && !store_gc(s, NULL, NULL));
    vt_assert(!store_check(s, true, NULL, NULL, &rep, NULL) && !rep.problems && (!r || !rep.packs));
    move_sum_free(sum);
    store_close(s);
    rmtree(dir);
    free(dir);
    return 0;
}
