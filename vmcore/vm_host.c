/* Making a machine, loading it, its state and its images. On the host's side: libc is welcome. */
#include "vmcore/vm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "src/base/util.h"
#include "vmcore/cpuid.h"
#include "vmcore/tb.h"
#include "vmcore/tlb.h"

#define CODE_BYTES (384u << 20)
#define VRAM_PAGES 4096u /* 16 MiB */
#define ROM_PAGES  64u   /* 256 KiB, where no more is asked for */
#define ROM_MAX    (16u << 20)

/* ---- hooks */

static void on_intr(void *opaque, unsigned n, int level)
{
    struct vm *vm = opaque;

    vm->cpu->intr_level = level != 0;
    cpu_update_intr(vm->cpu);
}

static void on_nmi(void *opaque, unsigned n, int level)
{
    struct vm *vm = opaque;

    if (level) {
        vm->cpu->nmi_pending = 1;
        cpu_set_attn(vm->cpu, ATTN_NMI);
    }
}

static void on_reset(void *opaque)
{
    struct vm *vm = opaque;

    vm->want_reset = 1;
    cpu_set_attn(vm->cpu, ATTN_EXIT);
}

static void on_poweroff(void *opaque)
{
    struct vm *vm = opaque;

    vm->want_poweroff = 1;
    cpu_set_attn(vm->cpu, ATTN_EXIT);
}

static void on_exit_code(void *opaque, uint32_t code)
{
    struct vm *vm = opaque;

    vm->want_exit = 1;
    vm->exit_code = code;
    cpu_set_attn(vm->cpu, ATTN_EXIT);
}

static void on_a20(void *opaque, unsigned n, int level)
{
    mem_a20(((struct vm *)opaque)->mem, level);
}

static void on_pam(void *opaque, const uint8_t pam[7])
{
    mem_pam(((struct vm *)opaque)->mem, pam);
}

static int ack_irq(void *board)
{
    return board_ack_irq(board);
}

static void on_apic_base(void *board, uint64_t v)
{
    lapic_set_base(&((struct board *)board)->lapic, v);
}

static void on_ferr(void *board)
{
    board_ferr(board);
}

static int on_tpr(void *board, int v)
{
    struct lapic *l = &((struct board *)board)->lapic;

    if (v >= 0)
        lapic_write(l, 0x80, (uint32_t)v << 4);
    return (int)(lapic_read(l, 0x80) >> 4 & 15);
}

static uint64_t on_deadline(void *board, const uint64_t *tsc)
{
    struct lapic *l = &((struct board *)board)->lapic;

    if (tsc)
        lapic_set_deadline(l, *tsc);
    return l->tsc_deadline;
}

static void on_tsc(void *board)
{
    lapic_tsc_changed(&((struct board *)board)->lapic);
}

static uint64_t tsc_left(void *cpu, uint64_t tsc)
{
    const struct cpu *c = cpu;
    uint64_t now = cpu_tsc(c);

    return now < tsc ? MAX(mul_div(tsc - now, NS_PER_S, c->tsc_hz), 1u) : 0;
}

static void on_drop(void *opaque, uint32_t bpn, bool writes_only)
{
    mmu_drop_host_page(((struct vm *)opaque)->cpu, bpn, writes_only);
}

static void on_code_write(void *opaque, uint32_t bpn, uint32_t off, uint32_t len)
{
    cache_write(((struct vm *)opaque)->cache, bpn, off, len);
}

/* Only the guest waits for the store, and not while it is to stop. */
static bool on_hurried(void *opaque)
{
    const struct vm *vm = opaque;

    return !vm->runs || __atomic_load_n(&vm->kicked, __ATOMIC_SEQ_CST);
}

static void on_flush_writes(void *opaque)
{
    mmu_flush_writes(((struct vm *)opaque)->cpu);
}

/* A page's first touch after a restore: the store's code uses vector registers. */
static int on_load(void *opaque, struct pagesrc *src, uint32_t page, uint8_t *dst)
{
    struct vm *vm = opaque;
    struct xarea x = {.in_use = 0}; /* XSAVE changes the rest of the header, and checks it, never */
    int r;

    vector_save(vm->cpu->model, &x);
    r = dst ? src->fill(src, page, 1, dst, &vm->failure) : !src->share(src, page);
    if (r && dst) {
        vm->failed = true;
        cpu_set_attn(vm->cpu, ATTN_EXIT);
    }
    vector_load(vm->cpu->model, &x);
    return r;
}

static void add_state(struct devctx *c, struct state_entry *e, const char *instance, const struct state_table *t,
                      void *dev)
{
    state_add(&((struct vm *)c->opaque)->states, e, instance, t, dev);
}

/* ---- life */

void vm_free(struct vm *vm)
{
    if (!vm)
        return;
    if (vm->ticker_on) {
        pthread_cancel(vm->ticker);
        pthread_join(vm->ticker, NULL);
    }
    if (vm->timer_fd >= 0)
        close(vm->timer_fd);
    if (vm->board) {
        board_release(vm->board);
        free(vm->board);
    }
    bios_files_free(vm->bios_files);
    if (vm->cache) {
        free(vm->cache->tb);
        cache_free(vm->cache);
    }
    mem_free(vm->mem);
    if (vm->cpu)
        munmap(vm->cpu, CPU_REGION_SIZE);
    if (vm->alt_stack)
        munmap(vm->alt_stack, vm->alt_size);
    vm_boot_release(vm);
    free(vm);
}

static int no_model(const char *name, struct err *e)
{
    char list[256] = "";
    const struct cpu_model *m;

    for (unsigned i = 0; (m = cpu_model_at(i)); i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", m->name);
    return err_set(e, VT_USAGE, "no such CPU model: %s (there are: %s)", name, list);
}

/* A feature is the host's instructions: without them there is none. */
static int fit_to_host(struct cpu_model *m, struct err *e)
{
    uint32_t have = m->features ? cpu_features_of_host() : 0;
    char text[256];

    if (m->as_host)
        m->features &= have;
    cpu_features_text(m->features & ~have, text, sizeof text);
    cpu_model_lacks(m, cpu_host_cpuid, text, sizeof text);
    return text[0] ? err_set(e, VT_FAIL, "CPU model %s: this host's processor lacks %s", m->name, text) : 0;
}

static int cpu_init(struct vm *vm, const char *model, struct err *e)
{
    struct cpu *c =
        mmap(NULL, CPU_REGION_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint32_t id[4];
    int r;

    if (c == MAP_FAILED)
        return err_set(e, VT_FAIL, "cannot map the processor's tables: %s", strerror(errno));
    vm->cpu = c;
    c->self = c;
    c->stub = vcpu_stub;
    c->kinds = site_kind_table;
    for (unsigned i = 0; i < TLB_SETS; i++)
        c->mixed[i].bpn = MEM_NONE;
    c->vm = vm;
    c->mem = vm->mem;
    c->bus = &vm->bus;
    c->ram_base = (uint64_t)vm->mem->ram;
    c->ram_last = mem_reach(vm->mem) - 1;
    if (!cpu_model_find(model))
        return no_model(model, e);
    c->own_model = *cpu_model_find(model);
    c->model = &c->own_model;
    r = fit_to_host(&c->own_model, e);
    if (r)
        return r;
    cpuid_query(c->model, 1, 0, id);
    c->model_signature = id[0];
    c->stub64 = vcpu_stub64;
    tlb_init(c);
    return 0;
}

static int init(struct vm *vm, struct err *e)
{
    struct board_hooks hooks = {.intr = {on_intr, vm, 0},
                                .nmi = {on_nmi, vm, 0},
                                .a20 = {on_a20, vm, 0},
                                .pam = on_pam,
                                .pam_opaque = vm,
                                .power = {on_reset, on_poweroff, on_exit_code, vm}};
    bool pc = vm->config.board == VM_BOARD_PC;
    uint32_t id[4];
    uint32_t rom_pages = vm->config.rom_bytes ? vm->config.rom_bytes >> VT_PAGE_SHIFT : ROM_PAGES;
    int r = mem_new(vm->config.ram_bytes, pc ? VRAM_PAGES : 0, pc ? rom_pages : 0, &vm->mem, e);

    if (r)
        return r;
    vm->mem->opaque = vm;
    vm->mem->drop = on_drop;
    vm->mem->code_write = on_code_write;
    vm->mem->flush_writes = on_flush_writes;
    vm->mem->load = on_load;
    vm->mem->hurried = on_hurried;
    bus_init(&vm->bus);
    state_list_init(&vm->states);
    rt_log_init(&vm->log);
    r = cpu_init(vm, vm->config.cpu_model, e);
    if (r)
        return r;
    r = cache_new(vm->cpu, CODE_BYTES, &vm->cache, e);
    if (r)
        return r;
    vm->cpu->cache = vm->cache;
    vm->cache->tb = calloc(1, sizeof(struct tb));
    if (!vm->cache->tb)
        return err_set(e, VT_FAIL, "out of memory");
    vm->ctx = (struct devctx){&vm->bus, &vm->clock, vm->mem, add_state, vm};
    vclock_init(&vm->clock, &vm->ctx, (int64_t)vm->config.wall_start);
    vm->clock.armed = vm_arm_timer;
    vm->clock.opaque = vm;
    state_add(&vm->states, &vm->cpu_state, "cpu0", &cpu_state_table, vm->cpu);
    cpu_reset(vm->cpu);
    if (vm->config.board == VM_BOARD_PC) {
        vm->board = calloc(1, sizeof *vm->board);
        if (!vm->board || board_init(vm->board, &vm->ctx, &vm->config, &hooks) != 0) {
            free(steal(&vm->board));
            return err_set(e, VT_FAIL, "out of memory");
        }
        vm->cpu->board = vm->board;
        vm->cpu->ack_irq = ack_irq;
        vm->cpu->apic_base_hook = on_apic_base;
        vm->cpu->tpr_hook = on_tpr;
        vm->cpu->deadline_hook = on_deadline;
        vm->cpu->tsc_hook = on_tsc;
        vm->board->lapic.tsc_left = tsc_left;
        vm->board->lapic.tsc_opaque = vm->cpu;
        vm->cpu->ferr_hook = on_ferr;
        cpuid_query(vm->cpu->model, 1, 0, id);
        vm->board->lapic.absent = !(id[3] & 1u << 9);
        board_reset(vm->board);
        return bios_files_new(vm->board, &vm->config, id, &vm->bios_files, e);
    }
    return 0;
}

int vm_new(const struct vm_config *c, struct vm **ret_vm, struct err *e)
{
    struct vm *vm;
    int r;

    if (c->ram_bytes < (1u << 20) || c->ram_bytes > (64ull << 30) || c->ram_bytes % (1u << 20))
        return err_set(e, VT_USAGE, "memory of %llu bytes: 1 MiB to 64 GiB, in whole MiB, will do",
                       (unsigned long long)c->ram_bytes);
    if (c->rom_bytes % 65536 || c->rom_bytes > ROM_MAX)
        return err_set(e, VT_USAGE, "a ROM of %u bytes: whole 64 KiB up to 16 MiB will do", c->rom_bytes);
    vm = calloc(1, sizeof *vm);
    if (!vm)
        return err_set(e, VT_FAIL, "out of memory");
    vm->timer_fd = -1;
    vm->config = *c;
    r = init(vm, e);
    if (r) {
        vm_free(vm);
        return r;
    }
    *ret_vm = vm;
    return 0;
}

int vm_load_bios(struct vm *vm, const void *bios, size_t len, struct err *e)
{
    struct mem *m = vm->mem;
    size_t rom = (size_t)m->rom_pages << VT_PAGE_SHIFT;

    if (len < 65536 || len > rom || len % 65536)
        return err_set(e, VT_CORRUPT, "a BIOS of %zu bytes: whole 64 KiB up to %zu KiB will do", len, rom >> 10);
    for (size_t at = 0; at < len; at += VT_PAGE_SIZE)
        memcpy(mem_write_ptr(m, m->rom_bpn + (uint32_t)((rom - len + at) >> VT_PAGE_SHIFT)), (const uint8_t *)bios + at,
               VT_PAGE_SIZE);
    vm_reset(vm);
    return vm->failed ? err_set(e, VT_FAIL, "the machine does not reset") : 0;
}

void vm_reset(struct vm *vm)
{
    cpu_reset(vm->cpu);
    vm->cpu->triple = 0;
    if (vm->board)
        board_reset(vm->board);
    if (vm->boot.files.kernel && vm_boot_again(vm, &vm->failure) != 0)
        vm->failed = true;
}

static void press(struct vm_event *ev)
{
    struct vm *vm = ev->opaque;

    if (vm->board)
        board_power_button(vm->board);
}

void vm_power_button(struct vm *vm)
{
    vm->power_event.fn = press;
    vm->power_event.opaque = vm;
    vm_post(vm, &vm->power_event);
}

bool vm_nmi(struct vm *vm)
{
    uint32_t id[4];

    cpuid_query(vm->cpu->model, 1, 0, id);
    if (vm->board && (id[3] & 1u << 9)) /* what has no local APIC has a pin */
        return board_nmi(vm->board);
    on_nmi(vm, 0, 1);
    return true;
}

bool vm_change_disc(struct vm *vm, unsigned slot, const struct blkport *port)
{
    return vm->board && ide_change_disc(&vm->board->ide, slot, port);
}

bool vm_change_floppy(struct vm *vm, unsigned drive, const struct blkport *port)
{
    if (!vm->board || drive >= FLOPPY_DRIVES || !vm->board->floppy.drive[drive].present)
        return false;
    floppy_change(&vm->board->floppy, drive, port);
    return true;
}

/* ---- clock, state, images */

uint64_t vm_clock_ns(struct vm *vm)
{
    return vclock_now(&vm->clock);
}

void vm_set_wall(struct vm *vm, int64_t seconds_since_1970)
{
    vclock_set_wall(&vm->clock, seconds_since_1970);
}

int vm_state_save(struct vm *vm, uint8_t **ret_data, size_t *ret_len, struct err *e)
{
    return state_save(&vm->states, ret_data, ret_len, e);
}

int vm_state_load(struct vm *vm, const uint8_t *data, size_t len, struct err *e)
{
    int r = state_load(&vm->states, data, len, e);

    vm->want_reset = vm->want_poweroff = vm->want_exit = 0;
    debug_other_state(&vm->debug);
    return r;
}

void vm_cpu_features(const struct vm *vm, char *out, size_t size)
{
    const struct cpu_model *m = vm->cpu->model;
    int n = snprintf(out, size, "%s%s", m->name, m->features ? " " : "");

    if (n >= 0 && (size_t)n < size)
        cpu_features_text(m->features, out + n, size - (size_t)n);
}

int vm_cpu_check(const char *features, struct err *e)
{
    char text[256];

    cpu_features_missing(features, cpu_features_of_host(), text, sizeof text);
    cpu_models_lack(features, cpu_host_cpuid, text, sizeof text);
    return text[0] ? err_set(e, VT_FAIL, "this host's processor lacks %s", text) : 0;
}

char *vm_state_dump(struct vm *vm)
{
    return state_dump(&vm->states);
}

unsigned vm_images(struct vm *vm)
{
    return vm->mem->image[MEM_IMAGE_VRAM].pages ? 2 : 1;
}

const char *vm_image_name(struct vm *vm, unsigned image)
{
    return image == MEM_IMAGE_RAM ? "ram" : "vram";
}

struct pagetrack *vm_image_track(struct vm *vm, unsigned image)
{
    return &vm->mem->image[image].track;
}

static int check_size(struct vm *vm, unsigned image, const struct pagesrc *src, struct err *e)
{
    if (!src || src->pages == vm->mem->image[image].pages)
        return 0;
    return err_set(e, VT_CORRUPT, "the snapshot's %s is %llu pages, the machine's %u", vm_image_name(vm, image),
                   (unsigned long long)src->pages, vm->mem->image[image].pages);
}

int vm_image_restore(struct vm *vm, unsigned image, struct pagesrc *src, struct err *e)
{
    int r = check_size(vm, image, src, e);

    if (!r)
        mem_restore(&vm->mem->image[image], src);
    return r;
}

int vm_image_revert(struct vm *vm, unsigned image, struct pagesrc *src, const uint64_t *list, size_t n, struct err *e)
{
    int r = check_size(vm, image, src, e);

    if (!r)
        mem_revert(&vm->mem->image[image], src, list, n);
    return r;
}

void vm_image_bound(struct vm *vm, unsigned image, uint64_t most)
{
    vm->mem->image[image].held_most = (uint32_t)MIN(most, UINT32_MAX);
}

bool vm_image_leave(struct vm *vm, unsigned image, const uint64_t *list, size_t n, uint64_t most)
{
    return mem_leave(&vm->mem->image[image], list, n, (uint32_t)MIN(most, UINT32_MAX));
}

bool vm_image_left(struct vm *vm, unsigned image)
{
    return vm->mem->image[image].left.on;
}

void vm_image_drop_left(struct vm *vm, unsigned image)
{
    mem_left_drop(&vm->mem->image[image]);
}

void vm_image_back(struct vm *vm, unsigned image)
{
    mem_left_back(&vm->mem->image[image]);
}

bool vm_phys_read(struct vm *vm, uint64_t pa, void *dst, size_t len)
{
    return dma_read(vm->mem, pa, dst, len);
}

bool vm_phys_write(struct vm *vm, uint64_t pa, const void *src, size_t len)
{
    return dma_write(vm->mem, pa, src, len);
}

char *vm_log_line(struct vm *vm)
{
    char line[RT_LOG_LINE];

    return rt_log_take(&vm->log, line) ? strdup(line) : NULL;
}

char *vm_stats(struct vm *vm)
{
    static const char *const kinds[K_COUNT] = {"mem",   "span",  "seg",      "post", "helper",
                                               "chain", "xpage", "indirect", "poll", "next"};
    static const char *const helpers[] = {
#define HELPER(n) #n,
#include "vmcore/helpers.def"
#undef HELPER
    };
    const struct cpu *c = vm->cpu;
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return NULL;
    for (unsigned i = 0; i < K_COUNT; i++)
        if (c->exits[i])
            fprintf(f, "exit.%s %llu\n", kinds[i], (unsigned long long)c->exits[i]);
#define STAT(name, v) fprintf(f, name " %llu\n", (unsigned long long)(v))
    STAT("tlb.fills", c->fills);
    STAT("tlb.walks", c->walks);
    STAT("tlb.cr3_writes", c->cr3_writes);
    STAT("mem.twins", c->twins);
    STAT("mem.loads", vm->mem->loads);
    STAT("mem.versions", vm->mem->versions);
    STAT("mem.held_peak", vm->mem->held_peak);
    STAT("mem.stalls", vm->mem->stalls);
    STAT("mem.left_copies", vm->mem->left_copies);
    STAT("mem.copies", vm->mem->copies);
    STAT("mem.discarded", vm->mem->discarded);
    STAT("code.blocks", c->blocks_made);
    STAT("code.plain_blocks", c->plain_blocks);
    STAT("code.verified", c->verified);
    STAT("code.writes", c->code_writes);
    STAT("code.invalidations", c->invalidations);
    STAT("code.flushes", c->flushes);
    STAT("code.hot_bytes", vm->cache->hot);
    STAT("code.cold_bytes", vm->cache->cold - vm->cache->base_cold);
    STAT("cpu.page_faults", c->page_faults);
    STAT("cpu.exceptions", c->exceptions);
    STAT("cpu.interrupts", c->interrupts);
    STAT("cpu.halts", vm->halts);
    STAT("cpu.halted_ns", vm->halted_ns);
#undef STAT
    for (unsigned i = 0; i < ARRAY_LEN(helpers); i++)
        if (c->helper_calls[i])
            fprintf(f, "helper.%s %llu\n", helpers[i], (unsigned long long)c->helper_calls[i]);
    fclose(f);
    return text;
}

int vm_code_save(struct vm *vm, struct buf *out, struct err *e)
{
    return cache_save(vm->cache, out, e);
}

bool vm_code_load(struct vm *vm, const void *data, size_t len)
{
    return cache_load(vm->cache, data, len);
}
