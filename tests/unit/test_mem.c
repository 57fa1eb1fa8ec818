/* The door to guest memory over a template: where a page's bytes are, when they move, and what the TLB is told. */
#include "tests/unit/unit.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vmcore/dev/dev.h"
#include "vmcore/mem.h"

#define RAM   (1u << 20)
#define PAGES (RAM / VT_PAGE_SIZE)
#define PAGE  VT_PAGE_SIZE

/* A snapshot whose page p is filled with first + p. Pages from `missing` on cannot be shared. */
struct source {
    struct pagesrc src;
    uint8_t first;
    uint64_t missing;
    unsigned fills, shares;
};

static int fill(struct pagesrc *s, uint64_t page, uint32_t n, void *dst, struct err *e)
{
    struct source *x = (struct source *)s;

    for (uint32_t k = 0; k < n; k++)
        memset((uint8_t *)dst + (size_t)k * PAGE, (uint8_t)(x->first + page + k), PAGE);
    x->fills++;
    return 0;
}

static bool is_zero(struct pagesrc *s, uint64_t page)
{
    return false;
}

static bool share(struct pagesrc *s, uint64_t page)
{
    struct source *x = (struct source *)s;
    uint8_t data[PAGE];

    x->shares++;
    if (page >= x->missing)
        return false;
    memset(data, (uint8_t)(x->first + page), PAGE);
    assert_int_equal(pwrite(s->template_fd, data, PAGE, (off_t)(s->template_at + page * PAGE)), PAGE);
    return true;
}

static struct source source_make(uint8_t first)
{
    struct source x = {{.pages = PAGES, .fill = fill, .is_zero = is_zero, .share = share, .template_at = 2 * PAGE},
                       .first = first,
                       .missing = PAGES};

    x.src.template_fd = memfd_create("template", MFD_CLOEXEC);
    assert_int_equal(ftruncate(x.src.template_fd, 2 * PAGE + RAM), 0);
    return x;
}

struct tlb { /* what the vCPU was told to forget */
    unsigned drops, flushes, code_writes;
    uint32_t last;
    const uint8_t *host; /* where the page was, when it was told */
    struct mem *m;
};

static void drop(void *opaque, uint32_t bpn, bool writes_only)
{
    struct tlb *t = opaque;

    if (bpn == MEM_NONE) {
        t->flushes++;
        return;
    }
    assert_false(writes_only);
    t->drops++;
    t->last = bpn;
    t->host = t->m->host[bpn];
}

static void code_write(void *opaque, uint32_t bpn, uint32_t off, uint32_t len)
{
    struct tlb *t = opaque;

    t->code_writes++;
}

static void flush_writes(void *opaque)
{
}

static int load(void *opaque, struct pagesrc *src, uint32_t page, uint8_t *dst)
{
    return dst ? src->fill(src, page, 1, dst, NULL) : !src->share(src, page);
}

static struct mem *mem_make(struct tlb *t)
{
    struct err err = {0};
    struct mem *m = NULL;

    assert_int_equal(mem_new(RAM, 0, 0, &m, &err), 0);
    *t = (struct tlb){.m = m};
    m->opaque = t;
    m->drop = drop;
    m->code_write = code_write;
    m->flush_writes = flush_writes;
    m->load = load;
    return m;
}

static bool in_template(const struct mem *m, const uint8_t *p)
{
    return p >= m->shared && p < m->shared + RAM;
}

static void assert_filled(const uint8_t *p, uint8_t v)
{
    uint8_t want[PAGE];

    memset(want, v, PAGE);
    assert_memory_equal(p, want, PAGE);
}

static void reads_are_shared_and_writes_are_not(void **state)
{
    struct source a = source_make(10);
    struct tlb t;
    struct mem *m = mem_make(&t);
    uint8_t *r, *w;

    mem_restore(&m->image[MEM_IMAGE_RAM], &a.src);
    r = mem_read_ptr(m, 5);
    assert_true(in_template(m, r));
    assert_filled(r, 15);
    assert_ptr_equal(mem_read_ptr(m, 5), r);
    assert_int_equal(a.shares, 1);
    w = mem_write_ptr(m, 5);
    assert_false(in_template(m, w));
    assert_filled(w, 15);
    assert_int_equal(t.drops, 1); /* while the page's address still was the template's: entries are found by it */
    assert_int_equal(t.last, 5);
    assert_ptr_equal(t.host, r);
    memset(w, 0xee, PAGE);
    assert_filled(r, 15);
    assert_ptr_equal(mem_read_ptr(m, 5), w);
    assert_ptr_equal(mem_write_ptr(m, 5), w);
    assert_int_equal(t.drops, 1);
    assert_filled(mem_write_ptr(m, 6), 16); /* nobody has its address: nothing to forget */
    assert_int_equal(t.drops, 1);
    assert_int_equal(a.fills, 0);
    assert_int_equal(m->copies, 2);
    mem_free(m);
    close(a.src.template_fd);
}

static void what_cannot_be_shared_is_loaded(void **state)
{
    struct source a = source_make(10);
    struct tlb t;
    struct mem *m = mem_make(&t);

    a.missing = 8;
    mem_restore(&m->image[MEM_IMAGE_RAM], &a.src);
    assert_true(in_template(m, mem_read_ptr(m, 7)));
    assert_false(in_template(m, mem_read_ptr(m, 8)));
    assert_filled(mem_read_ptr(m, 8), 18);
    assert_int_equal(a.fills, 1);
    a.src.share = NULL; /* and one without any template */
    mem_restore(&m->image[MEM_IMAGE_RAM], &a.src);
    assert_false(in_template(m, mem_read_ptr(m, 7)));
    assert_filled(mem_read_ptr(m, 7), 17);
    mem_free(m);
    close(a.src.template_fd);
}

/* Pages that two snapshots share are not in the list of a revert, and are the second one's from then on. */
static void a_revert_leaves_the_other_template(void **state)
{
    struct source a = source_make(10), b = source_make(10);
    const uint64_t list[] = {1, 2};
    struct tlb t;
    struct mem *m = mem_make(&t);

    mem_restore(&m->image[MEM_IMAGE_RAM], &a.src);
    for (uint32_t p = 0; p < 4; p++)
        mem_read_ptr(m, p);
    memset(mem_write_ptr(m, 2), 0xee, PAGE);
    mem_revert(&m->image[MEM_IMAGE_RAM], &b.src, list, 2);
    for (uint32_t p = 0; p < 4; p++) {
        assert_true(in_template(m, mem_read_ptr(m, p)));
        assert_filled(mem_read_ptr(m, p), (uint8_t)(10 + p));
    }
    assert_int_equal(a.shares, 4);
    assert_int_equal(b.shares, 4);
    memset(mem_write_ptr(m, 3), 0xee, PAGE);
    mem_revert(&m->image[MEM_IMAGE_RAM], &b.src, (const uint64_t[]){3}, 1); /* the same again: nothing is loaded anew */
    assert_filled(mem_read_ptr(m, 3), 13);
    mem_read_ptr(m, 1);
    assert_int_equal(b.shares, 5);
    mem_free(m);
    close(a.src.template_fd);
    close(b.src.template_fd);
}

/* A capture has pages as they were, whether they are in the template, were copied out of it, or nowhere yet. */
static void a_capture_reads_through_it(void **state)
{
    struct source a = source_make(10);
    struct tlb t;
    struct mem *m = mem_make(&t);
    struct pagetrack *track = &m->image[MEM_IMAGE_RAM].track;
    uint8_t page[PAGE];
    uint64_t e, at = 0;

    mem_restore(&m->image[MEM_IMAGE_RAM], &a.src);
    mem_read_ptr(m, 1);
    mem_read_ptr(m, 2);
    memset(mem_write_ptr(m, 3), 0xcc, PAGE);
    e = track->capture(track);
    memset(mem_write_ptr(m, 2), 0xee, PAGE);
    memset(mem_write_ptr(m, 3), 0xdd, PAGE);
    for (uint64_t p = 1; p < 5; p++) {
        struct err err = {0};
        assert_int_equal(track->copy(track, e, p, page, &err), 0);
        assert_filled(page, p == 3 ? 0xcc : (uint8_t)(10 + p));
    }
    assert_true(track->next_changed(track, 0, e, &at)); /* since the restore, only page 3 */
    assert_int_equal(at, 3);
    at++;
    assert_false(track->next_changed(track, 0, e, &at));
    track->done(track, e);
    assert_filled(mem_read_ptr(m, 2), 0xee);
    mem_free(m);
    close(a.src.template_fd);
}

/* How many 4 KiB of the host's memory the machine's own has. */
static uint64_t own_pages(const struct mem *m)
{
    struct stat st;

    assert_int_equal(fstat(m->fd, &st), 0);
    return (uint64_t)st.st_blocks * 512 / PAGE;
}

static void copies_as(struct pagetrack *track, uint64_t e, uint64_t p, uint8_t v)
{
    struct err err = {0};
    uint8_t page[PAGE];

    assert_int_equal(track->copy(track, e, p, page, &err), 0);
    assert_filled(page, v);
}

/* Whether its own, the template's, in neither yet, or never touched. */
static void discarded_pages_cost_nothing(void **state)
{
    struct source a = source_make(10);
    struct tlb t;
    struct mem *m = mem_make(&t);
    struct pagetrack *track = &m->image[MEM_IMAGE_RAM].track;
    uint64_t e, at = 0;
    uint8_t *w;

    for (uint32_t p = 0; p < 64; p++)
        memset(mem_write_ptr(m, p), 0xee, PAGE);
    assert_int_equal(own_pages(m), 64);
    mem_discard(m, 8, 100);
    assert_int_equal(m->discarded, 56);
    assert_int_equal(own_pages(m), 8);
    assert_int_equal(t.flushes, 1);
    mem_discard(m, 8, PAGES - 8); /* nothing is there */
    assert_int_equal(m->discarded, 56);
    assert_int_equal(t.flushes, 1);
    for (uint32_t p = 8; p < 64; p++)
        assert_filled(mem_read_ptr(m, p), 0);
    assert_filled(mem_read_ptr(m, 7), 0xee);
    assert_true(mem_is_written(m, 7));
    assert_false(mem_is_written(m, 9)); /* though in this epoch: its pointer is not one for writing */
    assert_int_equal(own_pages(m), 8);
    w = mem_write_ptr(m, 9); /* its own again */
    assert_int_equal(t.last, 9);
    assert_filled(w, 0);
    memset(w, 0xdd, PAGE);
    assert_filled(mem_read_ptr(m, 10), 0);
    assert_ptr_equal(mem_read_ptr(m, 9), w);
    assert_int_equal(own_pages(m), 9);

    mem_restore(&m->image[MEM_IMAGE_RAM], &a.src);
    assert_filled(mem_read_ptr(m, 9), 19); /* of the snapshot, all of them */
    assert_filled(mem_read_ptr(m, 10), 20);
    memset(mem_write_ptr(m, 11), 0xee, PAGE);
    mem_discard(m, 10, 3); /* the template's, its own, and one that is in neither: it costs nothing as it is */
    for (uint32_t p = 10; p < 12; p++)
        assert_filled(mem_read_ptr(m, p), 0);
    assert_int_equal(own_pages(m), 0);
    assert_int_equal(a.fills, 0);
    e = track->capture(track);
    for (uint64_t p = 10; p < 12; p++, at++) {
        assert_true(track->next_changed(track, 0, e, &at)); /* since the restore */
        assert_int_equal(at, p);
        copies_as(track, e, p, 0);
    }
    assert_false(track->next_changed(track, 0, e, &at));
    assert_int_equal(own_pages(m), 0); /* nor does a snapshot bring them back */
    track->done(track, e);
    mem_free(m);
    close(a.src.template_fd);
}

static void a_capture_keeps_what_is_discarded(void **state)
{
    struct source a = source_make(10);
    struct tlb t;
    struct mem *m = mem_make(&t);
    struct pagetrack *track = &m->image[MEM_IMAGE_RAM].track;
    uint64_t e, f, at = 0;

    mem_restore(&m->image[MEM_IMAGE_RAM], &a.src);
    mem_read_ptr(m, 1);
    memset(mem_write_ptr(m, 2), 0xcc, PAGE);
    memset(mem_write_ptr(m, 4), 0xcc, PAGE);
    e = track->capture(track);
    memset(mem_write_ptr(m, 4), 0xdd, PAGE);
    mem_discard(m, 1, 4);
    assert_int_equal(m->discarded, 3); /* but for 3, which nobody has asked for */
    f = track->capture(track);
    memset(mem_write_ptr(m, 3), 0xbb, PAGE);
    mem_discard(m, 3, 1);
    for (uint64_t p = 1; p < 5; p++) {
        copies_as(track, e, p, p == 2 || p == 4 ? 0xcc : (uint8_t)(10 + p));
        copies_as(track, f, p, p == 3 ? 13 : 0);
        assert_filled(mem_read_ptr(m, (uint32_t)p), 0);
    }
    assert_true(track->next_changed(track, e, f, &at));
    assert_int_equal(at, 1);
    assert_int_equal(own_pages(m), 0);
    track->done(track, f);
    track->retain(track, e);
    mem_revert(&m->image[MEM_IMAGE_RAM], &a.src, (const uint64_t[]){1, 2, 3, 4}, 4);
    assert_filled(mem_read_ptr(m, 1), 11);
    assert_filled(mem_read_ptr(m, 3), 13);
    mem_free(m);
    close(a.src.template_fd);
}

static void code_in_discarded_pages_is_forgotten(void **state)
{
    struct tlb t;
    struct mem *m = mem_make(&t);

    memset(mem_write_ptr(m, 3), 0x90, PAGE);
    m->code[3].lines = 1;
    mem_discard(m, 2, 1);
    assert_int_equal(t.code_writes, 0);
    mem_discard(m, 3, 1);
    assert_int_equal(t.code_writes, 1);
    mem_free(m);
}

/* A device names physical addresses: only RAM, only whole pages. */
static void a_device_discards_ram_alone(void **state)
{
    struct tlb t;
    struct mem *m = mem_make(&t);

    for (uint32_t p = 0; p < PAGES; p++)
        memset(mem_write_ptr(m, p), 0xee, PAGE);
    dma_discard(m, PAGE - 1, PAGE + 1); /* page 1, of which all is in it */
    assert_int_equal(m->discarded, 1);
    assert_filled(mem_read_ptr(m, 1), 0);
    assert_filled(mem_read_ptr(m, 0), 0xee);
    dma_discard(m, 2 * PAGE + 1, 2 * PAGE - 2);
    dma_discard(m, RAM, UINT64_MAX);
    dma_discard(m, 0, PAGE - 1);
    dma_discard(m, UINT64_MAX - PAGE, PAGE);
    dma_discard(m, 0xa0000, 0x60000); /* video RAM's window, ROM */
    assert_int_equal(m->discarded, 1);
    dma_discard(m, 0x9f000, UINT64_MAX);
    assert_int_equal(m->discarded, 2);
    assert_filled(mem_read_ptr(m, 0x9e), 0xee);
    mem_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_are_shared_and_writes_are_not),  cmocka_unit_test(what_cannot_be_shared_is_loaded),
        cmocka_unit_test(a_revert_leaves_the_other_template),   cmocka_unit_test(a_capture_reads_through_it),
        cmocka_unit_test(discarded_pages_cost_nothing),         cmocka_unit_test(a_capture_keeps_what_is_discarded),
        cmocka_unit_test(code_in_discarded_pages_is_forgotten), cmocka_unit_test(a_device_discards_ram_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
