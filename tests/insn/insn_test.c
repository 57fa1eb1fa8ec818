/* The differential test: the same bytes, registers, flags, vector state and memory on the host CPU and in the
 * translator.
 *
 * Options: --mode 64|32|16, --cpu MODEL, --seed S, --cases N, --exhaustive (the walk alone), --only MNEMONIC,
 * --case N with --count K (cases again), --native-only, --pointers (x87's too), --runner PROGRAM, --verbose.
 *
 * Without options: 32-bit code, the exhaustive walk, then a million random cases (a long run: --cases 10000000).
 * --native-only runs each case twice on the host, in two processes and in opposite order: what differs then is no
 * property of the instruction. Exit 77: not on this host.
 */
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "compare.h"
#include "cover.h"
#include "gen.h"
#include "guest.h"
#include "host.h"
#include "options.h"
#include "src/base/util.h"
#include "state.h"

#define EXIT_SKIP 77
#define REPORTED  400 /* failures told in full; the rest is counted, unless --verbose */
#define PER_NAME  3   /* of one mnemonic, unless --verbose */

struct run {
    struct options opt;
    struct decoder dec;
    struct gen gen;
    struct stems stems;
    struct host host, second;
    struct guest guest;
    struct cover cover;
    bool walking;
    uint64_t n_cases, n_native, n_faults, n_failed, n_reported;
};

/* ---- reports ---- */

static unsigned name_of(struct run *r, const struct insn_case *c, const struct insn_result *res, struct dec *d)
{
    unsigned at = 0;
    if (c->n_insn == 0)
        return ZYDIS_MNEMONIC_MAX_VALUE + 1;
    for (unsigned k = 0; k < c->n_insn; k++)
        if (res->out.rip == c->in.rip + c->off[k])
            at = k; /* where it stopped; else the first */
    decode(&r->dec, c->code + c->off[at], CODE_MAX - c->off[at], d);
    return d->i.mnemonic;
}

/* The code, what it starts from, and how the host left it. */
static void print_case(struct run *r, const struct insn_case *c, const struct insn_result *native)
{
    char text[512], state[2048];
    decode_print(&r->dec, c->code, c->len, c->in.rip, text, sizeof(text));
    describe_input(r->dec.mode, c, state, sizeof(state));
    printf("%s\n    bytes", text);
    for (unsigned i = 0; i < c->len; i++)
        printf(" %02x", c->code[i]);
    printf("\n    in: %s\n    native end: vector %d error %#x cr2 %#" PRIx64 " rip %08" PRIx64
           ", %u lines of memory written\n",
           state, native->fault.vector, native->fault.error, native->fault.cr2, native->out.rip, native->n_lines);
}

static void report(struct run *r, const struct insn_case *c, const struct insn_result *native, const char *why)
{
    struct dec d;
    unsigned name = name_of(r, c, native, &d);
    r->n_failed++;
    if (r->cover.failed[name]++ >= PER_NAME && !r->opt.verbose)
        return;
    if (r->n_reported++ >= REPORTED && !r->opt.verbose)
        return;
    printf("FAIL %s: ", name > ZYDIS_MNEMONIC_MAX_VALUE ? "(bad)" : ZydisMnemonicGetString(name));
    print_case(r, c, native);
    printf("    native/translated:%s\n    again: insn_test --mode %s%s%s%s --seed %llu --case %llu\n", why,
           r->dec.mode->name, r->opt.model ? " --cpu " : "", r->opt.model ? r->opt.model : "",
           r->walking ? " --exhaustive" : "", (unsigned long long)r->opt.seed, (unsigned long long)c->id);
}

static void note_coverage(struct run *r, const struct insn_case *c, const struct insn_result *res)
{
    bool completed = result_completed(c, res);
    if (r->opt.one && r->opt.verbose)
        print_case(r, c, res);
    for (unsigned k = 0; k < c->n_insn; k++) {
        struct dec d;
        if (decode(&r->dec, c->code + c->off[k], CODE_MAX - c->off[k], &d) == DEC_COMPARE)
            cover_add(&r->cover, &d, completed);
    }
    r->n_faults += res->fault.vector != 3;
}

/* ---- batches ---- */

static void fill_base(struct run *r, uint64_t id, uint8_t *base)
{
    struct rng rng = rng_for(r->opt.seed, r->walking ? 3 : 4, id / BATCH);
    random_memory(&rng, base, PAGE_SMC * INSN_PAGE);
    memset(base + PAGE_SMC * INSN_PAGE, 0xcc, (MEM_PAGES - PAGE_SMC) * INSN_PAGE);
}

static void check_native_only(struct run *r, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct insn_case *c = &r->host.shm->cases[i];
        char why[4096];
        if (c->skip_native)
            continue;
        note_coverage(r, c, &r->host.shm->results[i]);
        if (!compare_results(&r->dec, c, &r->host.shm->results[i], &r->second.shm->results[i], r->host.shm->base,
                             r->opt.pointers, why, sizeof(why)))
            report(r, c, &r->host.shm->results[i], why);
    }
}

/* Natively a case ends in a jump, in the translator in an INT3, and some of the host's bytes are not the guest's. Code
 * that reads itself or its neighbours sees that, and 16-bit code may go on there: runs the case again with an INT3
 * behind each on both sides, and says whether the results agree then. as_guest: with the guest's bytes, too. */
static bool agrees_with_int3(struct run *r, uint32_t i, uint32_t n, bool as_guest, const struct insn_result *guest,
                             char *why, size_t size)
{
    struct insn_shm *shm = r->host.shm;
    struct insn_result kept = shm->results[i];
    struct err e = {0};
    bool skip[BATCH], int3[BATCH];
    uint8_t native[BATCH][CODE_MAX];
    for (uint32_t k = 0; k < n; k++) { /* the code of the whole batch, as the translated side had it; one case runs */
        skip[k] = shm->cases[k].skip_native;
        int3[k] = shm->cases[k].int3_end;
        shm->cases[k].skip_native = k != i;
        shm->cases[k].int3_end = true;
        memcpy(native[k], shm->cases[k].native, CODE_MAX);
        if (k != i && as_guest)
            memcpy(shm->cases[k].native, shm->cases[k].code, CODE_MAX);
    }
    host_submit(&r->host, n);
    bool same = host_wait(&r->host, &e) == 0 && compare_results(&r->dec, &shm->cases[i], &shm->results[i], guest,
                                                                shm->base, r->opt.pointers, why, size);
    for (uint32_t k = 0; k < n; k++) {
        shm->cases[k].skip_native = skip[k];
        shm->cases[k].int3_end = int3[k];
        memcpy(shm->cases[k].native, native[k], CODE_MAX);
    }
    shm->results[i] = kept;
    return same;
}

static void check_translated(struct run *r, struct insn_result *results, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct insn_case *c = &r->host.shm->cases[i];
        char why[4096];
        bool same;
        if (!c->skip_native) {
            note_coverage(r, c, &r->host.shm->results[i]);
            same = compare_results(&r->dec, c, &r->host.shm->results[i], &results[i], r->host.shm->base,
                                   r->opt.pointers, why, sizeof(why));
        } else {
            same = compare_refused(c, &results[i], why, sizeof(why));
        }
        if (!same && !c->skip_native)
            same = agrees_with_int3(r, i, n, false, &results[i], why, sizeof(why)) ||
                   agrees_with_int3(r, i, n, true, &results[i], why, sizeof(why));
        if (!same)
            report(r, c, c->skip_native ? &results[i] : &r->host.shm->results[i], why);
    }
}

/* Runs the n cases in the host's shared memory on both sides and compares. */
static int run_batch(struct run *r, uint32_t n, struct err *e)
{
    struct insn_shm *shm = r->host.shm;
    fill_base(r, shm->cases[0].id, shm->base);
    for (uint32_t i = 0; i < n; i++)
        r->n_native += !shm->cases[i].skip_native;
    host_submit(&r->host, n);
    if (r->opt.native_only) {
        struct insn_shm *other = r->second.shm;
        memcpy(other->base, shm->base, sizeof(shm->base));
        memcpy(other->cases, shm->cases, n * sizeof(shm->cases[0]));
        other->reverse = 1;
        host_submit(&r->second, n);
    }
    if (!r->opt.native_only) {
        guest_submit(&r->guest, n);
    }
    int ret = host_wait(&r->host, e);
    if (ret == 0 && r->opt.native_only)
        ret = host_wait(&r->second, e);
    if (ret == 0 && !r->opt.native_only)
        ret = guest_wait(&r->guest, e);
    if (ret)
        return ret;
    r->n_cases += n;
    if (r->opt.native_only) {
        check_native_only(r, n);
        return 0;
    }
    check_translated(r, r->guest.shm->results, n);
    return 0;
}

static int run_walk(struct run *r, uint64_t first, uint64_t count, struct err *e)
{
    struct walk w = {0};
    struct insn_case *cases = r->host.shm->cases;
    uint32_t n = 0;
    r->walking = true;
    for (uint64_t id = 0; id < first + count; id++) {
        if (!gen_walk(&r->gen, &w, id, id % BATCH, &cases[n]))
            break;
        if (id < first)
            continue;
        if (++n == BATCH || id % BATCH == BATCH - 1) {
            int ret = run_batch(r, n, e);
            if (ret)
                return ret;
            n = 0;
        }
    }
    return n ? run_batch(r, n, e) : 0;
}

static int run_random(struct run *r, uint64_t first, uint64_t count, struct err *e)
{
    uint32_t n = 0;
    r->walking = false;
    for (uint64_t id = first; id < first + count; id++) {
        gen_random(&r->gen, &r->stems, id, id % BATCH, &r->host.shm->cases[n]);
        if (++n == BATCH || id % BATCH == BATCH - 1) {
            int ret = run_batch(r, n, e);
            if (ret)
                return ret;
            n = 0;
        }
    }
    return n ? run_batch(r, n, e) : 0;
}

/* ---- the whole ---- */

static int find_mnemonic(const char *name, ZydisMnemonic *ret)
{
    for (unsigned m = 1; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
        if (strcasecmp(ZydisMnemonicGetString(m), name) == 0) {
            *ret = m;
            return 0;
        }
    return VT_NOENT;
}

static bool row_offered(const struct run *r, const char *name)
{
    ZydisMnemonic m;
    if (find_mnemonic(name, &m)) /* an SSE2 row that shares its mnemonic */
        return decode_offered(&r->dec, ZYDIS_ISA_SET_SSE2);
    return r->cover.seen[m];
}

/* COPY rows that this mode and this model offer and that no case used. What they offer is what the walk decoded. */
static unsigned list_uncovered_rows(struct run *r)
{
    unsigned missing = 0;
    for (unsigned i = 0; !r->opt.native_only && i < cpu_test_rows(); i++) {
        if (!cpu_test_row_is_copy(i) || r->guest.shm->covered[i])
            continue;
        if (!row_offered(r, cpu_test_row_name(i))) {
            if (r->opt.verbose)
                printf("not offered in this mode: %s\n", cpu_test_row_name(i));
            continue;
        }
        printf("%s%s", missing++ ? ", " : "COPY rows never run: ", cpu_test_row_name(i));
    }
    if (missing)
        printf("\n");
    return missing;
}

static void list_failures(const struct run *r)
{
    for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE + 1; m++)
        if (r->cover.failed[m])
            printf("  %-12s %llu\n", m > ZYDIS_MNEMONIC_MAX_VALUE ? "(bad)" : ZydisMnemonicGetString(m),
                   (unsigned long long)r->cover.failed[m]);
}

static int finish(struct run *r, double seconds)
{
    unsigned mnemonics = 0, finished = 0;
    for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++) {
        mnemonics += r->cover.seen[m];
        finished += r->cover.finished[m];
        if (r->opt.verbose && r->cover.seen[m] && !r->cover.finished[m])
            printf("always faults: %s\n", ZydisMnemonicGetString(m));
    }
    bool whole = !r->opt.only && !r->opt.one;
    unsigned missing = whole ? list_uncovered_rows(r) : 0;
    if (r->n_failed) {
        printf("failures by mnemonic:\n");
        list_failures(r);
    }
    printf("%llu cases in %.1f s (%llu on the host, %llu ended in a fault), seed %llu\n",
           (unsigned long long)r->n_cases, seconds, (unsigned long long)r->n_native, (unsigned long long)r->n_faults,
           (unsigned long long)r->opt.seed);
    printf("covered: %u mnemonics (%u ran to their end), %u forms of (mnemonic, operands, width, prefix) (%u ran to "
           "their end)\n",
           mnemonics, finished, r->cover.n, r->cover.n_completed);
    printf("%llu differ%s\n", (unsigned long long)r->n_failed, missing ? "; COPY rows are not covered" : "");
    return r->n_failed || missing ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_all(struct run *r, struct err *e)
{
    const struct options *o = &r->opt;
    int ret = 0;
    if (o->one)
        return o->exhaustive ? run_walk(r, o->first, o->count, e) : run_random(r, o->first, o->count, e);
    ret = run_walk(r, 0, UINT64_MAX, e);
    if (ret == 0 && !o->exhaustive && r->stems.n)
        ret = run_random(r, 0, o->cases, e);
    return ret;
}

static int start(struct run *r, const char *argv0, struct err *e)
{
    char path[4096];
    if (r->opt.runner) {
        snprintf(path, sizeof(path), "%s", r->opt.runner);
    } else {
        cleanup(cleanup_free) char *copy = strdup(argv0);
        snprintf(path, sizeof(path), "%s/insn_native", copy ? dirname(copy) : ".");
    }
    int ret = host_start(&r->host, path, r->opt.mode, e);
    if (ret == 0 && r->opt.native_only)
        ret = host_start(&r->second, path, r->opt.mode, e);
    if (ret)
        return ret;
    const struct insn_shm *shm = r->host.shm;
    r->gen = (struct gen){.dec = &r->dec,
                          .seed = r->opt.seed,
                          .pages = {.low = shm->low, .edge = shm->edge, .wrap = shm->wrap, .smc = shm->smc}};
    if (r->opt.only && find_mnemonic(r->opt.only, &r->gen.only))
        return err_set(e, VT_USAGE, "no mnemonic '%s'", r->opt.only);
    ret = cover_init(&r->cover);
    if (ret == 0 && stems_init(&r->stems, &r->gen) && !r->opt.only)
        ret = VT_FAIL;
    if (ret)
        return err_set(e, ret, "out of memory");
    if (!r->opt.native_only)
        ret = guest_start(&r->guest, r->host.shm, r->opt.model, e);
    return ret;
}

static void stop(struct run *r)
{
    guest_stop(&r->guest);
    host_stop(&r->host);
    host_stop(&r->second);
    stems_release(&r->stems);
    cover_release(&r->cover);
}

int main(int argc, char **argv)
{
    cleanup(cleanup_free) struct run *r = calloc(1, sizeof(*r));
    struct err e = {0};
    struct timespec a, b;
    if (!r)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    int ret = parse_options(argc, argv, &r->opt);
    if (ret)
        return ret;
    decoder_init(&r->dec, r->opt.mode, r->opt.model, r->opt.native_only);
    clock_gettime(CLOCK_MONOTONIC, &a);
    ret = start(r, argv[0], &e);
    if (ret == 0)
        ret = run_all(r, &e);
    clock_gettime(CLOCK_MONOTONIC, &b);
    if (ret == VT_GONE)
        printf("skipped: %s\n", e.msg);
    else if (ret)
        fprintf(stderr, "insn_test: %s\n", e.msg);
    else
        ret = finish(r, (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
    stop(r);
    return ret == VT_GONE ? EXIT_SKIP : ret < 0 ? 2 : ret;
}
