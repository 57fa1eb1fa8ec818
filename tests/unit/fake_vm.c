#include "tests/unit/fake_vm.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "src/base/util.h"
#include "vmcore/vmcore.h"

#define MAX_EPOCH 4096

struct fake_track {
    struct pagetrack track;
    struct vm *vm;
};

struct vm {
    struct vm_config config;
    char *text;
    size_t at;
    uint64_t clock;
    int exit_code;
    atomic_int kicked;
    int wake_fd;
    _Atomic(struct vm_event *) events;
    struct vm_event button;
    uint8_t *ram, *left;
    uint64_t pages, epoch;
    uint64_t *born;               /* epoch in which the page's content began; 0: all zero */
    uint8_t *versions[MAX_EPOCH]; /* a whole copy of RAM for each capture: simple beats clever in a test */
    uint64_t *born_at[MAX_EPOCH];
    struct fake_track track;
    char screen[25][80]; /* what was shown */
    unsigned lines;
    bool graphics;
    struct blk_req req;
    atomic_int req_done;
    bool req_busy; /* submitted, not answered: a kicked guest waits on when it runs again */
    uint8_t sector[512];
    struct vm_debug_regs regs; /* but rip, which is `at` */
    uint64_t breaks[8];        /* lines to stop in front of, by `at`; 0: none */
    bool step, told;           /* told: the stop at this line was told */
    struct vm_debug_stop why;
};

/* ---- events and ports */

/* The host takes back keys that nobody read. */
static void input_event(struct vm_event *ev)
{
    struct inputport *in = ev->opaque;

    if (__atomic_load_n(&in->withdraw, __ATOMIC_ACQUIRE)) {
        byteq_drop(&in->keys, UINT32_MAX);
        __atomic_store_n(&in->withdraw, 0, __ATOMIC_RELEASE);
    }
}

static void wake(struct vm *vm)
{
    host_kick(&(struct host_kick){.fd = vm->wake_fd});
}

void vm_post(struct vm *vm, struct vm_event *ev)
{
    struct vm_event *head = atomic_load(&vm->events);

    if (__atomic_exchange_n(&ev->pending, 1, __ATOMIC_ACQ_REL))
        return;
    do
        ev->next = head;
    while (!atomic_compare_exchange_weak(&vm->events, &head, ev));
    wake(vm);
}

static void run_events(struct vm *vm)
{
    struct vm_event *ev = atomic_exchange(&vm->events, NULL);

    while (ev) {
        struct vm_event *next = ev->next;
        __atomic_store_n(&ev->pending, 0, __ATOMIC_RELEASE);
        if (ev->fn)
            ev->fn(ev);
        ev = next;
    }
}

/* ---- memory */

static bool track_room(struct pagetrack *t)
{
    (void)t;
    return true;
}

static uint64_t track_capture(struct pagetrack *t)
{
    struct vm *vm = ((struct fake_track *)t)->vm;
    uint64_t e = vm->epoch;

    if (e >= MAX_EPOCH)
        abort();
    vm->versions[e] = malloc(vm->pages * 4096);
    vm->born_at[e] = malloc(vm->pages * sizeof(uint64_t));
    memcpy(vm->versions[e], vm->ram, vm->pages * 4096);
    memcpy(vm->born_at[e], vm->born, vm->pages * sizeof(uint64_t));
    vm->epoch++;
    return e;
}

static bool track_next(struct pagetrack *t, uint64_t since, uint64_t e, uint64_t *page)
{
    struct vm *vm = ((struct fake_track *)t)->vm;

    for (; *page < vm->pages; (*page)++)
        if (vm->born_at[e][*page] > since)
            return true;
    return false;
}

static int track_copy(struct pagetrack *t, uint64_t e, uint64_t page, void *dst, struct err *err)
{
    struct vm *vm = ((struct fake_track *)t)->vm;

    (void)err;
    memcpy(dst, vm->versions[e] + page * 4096, 4096);
    return 0;
}

static void track_done(struct pagetrack *t, uint64_t e)
{
    struct vm *vm = ((struct fake_track *)t)->vm;

    free(vm->versions[e]);
    free(vm->born_at[e]);
    vm->versions[e] = NULL;
    vm->born_at[e] = NULL;
}

static void track_forget(struct pagetrack *t)
{
    (void)t;
}

unsigned vm_images(struct vm *vm)
{
    (void)vm;
    return 1;
}

const char *vm_image_name(struct vm *vm, unsigned image)
{
    (void)vm;
    (void)image;
    return "ram";
}

struct pagetrack *vm_image_track(struct vm *vm, unsigned image)
{
    (void)image;
    return &vm->track.track;
}

int vm_image_restore(struct vm *vm, unsigned image, struct pagesrc *src, struct err *e)
{
    (void)image;
    for (uint64_t p = 0; p < vm->pages; p++)
        vm->born[p] = vm->epoch;
    if (!src)
        memset(vm->ram, 0, vm->pages * 4096);
    return src ? src->fill(src, 0, (uint32_t)vm->pages, vm->ram, e) : 0;
}

int vm_image_revert(struct vm *vm, unsigned image, struct pagesrc *src, const uint64_t *list, size_t n, struct err *e)
{
    int rc = 0;

    (void)image;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = src->fill(src, list[i], 1, vm->ram + list[i] * 4096, e);
        vm->born[list[i]] = vm->epoch;
    }
    return rc;
}

/* A guest without a clock to lose does not wait. */
void vm_image_bound(struct vm *vm, unsigned image, uint64_t most)
{
    (void)vm;
    (void)image;
    (void)most;
}

/* A whole copy of what was left. */
bool vm_image_leave(struct vm *vm, unsigned image, const uint64_t *list, size_t n, uint64_t most)
{
    (void)image;
    vm_image_drop_left(vm, 0);
    if (n > most)
        return false;
    vm->left = malloc(vm->pages * 4096);
    memcpy(vm->left, vm->ram, vm->pages * 4096);
    return true;
}

bool vm_image_left(struct vm *vm, unsigned image)
{
    (void)image;
    return vm->left;
}

void vm_image_drop_left(struct vm *vm, unsigned image)
{
    (void)image;
    free(vm->left);
    vm->left = NULL;
}

void vm_image_back(struct vm *vm, unsigned image)
{
    for (uint64_t p = 0; p < vm->pages; p++) {
        if (memcmp(vm->ram + p * 4096, vm->left + p * 4096, 4096) == 0)
            continue;
        memcpy(vm->ram + p * 4096, vm->left + p * 4096, 4096);
        vm->born[p] = vm->epoch;
    }
    vm_image_drop_left(vm, image);
}

bool vm_phys_read(struct vm *vm, uint64_t pa, void *dst, size_t len)
{
    if (pa > vm->pages * 4096 || len > vm->pages * 4096 - pa)
        return false;
    memcpy(dst, vm->ram + pa, len);
    return true;
}

bool vm_phys_write(struct vm *vm, uint64_t pa, const void *src, size_t len)
{
    if (pa > vm->pages * 4096 || len > vm->pages * 4096 - pa)
        return false;
    memcpy(vm->ram + pa, src, len);
    for (uint64_t p = pa / 4096; p <= (pa + len - 1) / 4096; p++)
        vm->born[p] = vm->epoch;
    return true;
}

/* ---- life */

int vm_new(const struct vm_config *c, struct vm **ret_vm, struct err *e)
{
    struct vm *vm;

    if (c->ram_bytes / 4096 > FAKE_RAM_PAGES_MAX)
        return err_set(e, VT_USAGE, "a fake machine has at most %d pages", FAKE_RAM_PAGES_MAX);
    vm = calloc(1, sizeof *vm);
    vm->config = *c;
    vm->pages = c->ram_bytes / 4096;
    vm->ram = calloc(vm->pages, 4096);
    vm->born = calloc(vm->pages, sizeof *vm->born);
    vm->epoch = 1;
    vm->track.vm = vm;
    vm->track.track = (struct pagetrack){vm->pages,  track_room, track_capture, track_next,
                                         track_copy, track_done, track_done,    track_forget};
    vm->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (c->input) {
        c->input->rx_event.fn = input_event;
        c->input->rx_event.opaque = c->input;
    }
    *ret_vm = vm;
    return 0;
}

void vm_free(struct vm *vm)
{
    if (!vm)
        return;
    for (int i = 0; i < MAX_EPOCH; i++) {
        free(vm->versions[i]);
        free(vm->born_at[i]);
    }
    close(vm->wake_fd);
    free(vm->text);
    free(vm->ram);
    free(vm->left);
    free(vm->born);
    free(vm);
}

enum vm_kernel vm_kernel_kind(const void *kernel, size_t len)
{
    return VM_KERNEL_LINUX;
}

bool vm_kernel_64(const struct vm *vm)
{
    (void)vm;
    return false;
}

int vm_load_kernel(struct vm *vm, const void *kernel, size_t kernel_len, const struct vm_module *modules,
                   unsigned nmodules, const char *cmdline, struct err *e)
{
    (void)modules;
    (void)nmodules;
    (void)cmdline;
    if (kernel_len < 7 || memcmp(kernel, "fakevm\n", 7) != 0)
        return err_set(e, VT_CORRUPT, "not a fake kernel");
    free(vm->text);
    vm->text = strndup(kernel, kernel_len);
    vm->at = 7;
    return 0;
}

/* A BIOS is the same text, padded with zeros to a ROM's size. */
int vm_load_bios(struct vm *vm, const void *bios, size_t len, struct err *e)
{
    return vm_load_kernel(vm, bios, len, NULL, 0, NULL, e);
}

int vm_thread_init(struct vm *vm, struct err *e)
{
    (void)vm;
    (void)e;
    return 0;
}

/* Waits for events; false when kicked. */
static bool stand(struct vm *vm)
{
    struct pollfd p = {.fd = vm->wake_fd, .events = POLLIN};
    uint64_t v;

    run_events(vm);
    if (atomic_load(&vm->kicked))
        return false;
    poll(&p, 1, -1);
    if (read(vm->wake_fd, &v, sizeof v) < 0 && errno != EAGAIN)
        abort();
    run_events(vm);
    return !atomic_load(&vm->kicked);
}

static bool say(struct vm *vm, const char *text)
{
    struct chrport *p = vm->config.serial[0];
    char line[300];
    int n = snprintf(line, sizeof line, "%s\n", text);

    if (!p)
        return true;
    while (byteq_space(&p->to_host) < (uint32_t)n)
        if (!stand(vm))
            return false;
    byteq_put(&p->to_host, line, (uint32_t)n);
    host_kick(&p->kick);
    return true;
}

static bool echo(struct vm *vm)
{
    struct chrport *p = vm->config.serial[0];
    char line[256];

    for (;;) {
        uint32_t n = byteq_peek(&p->to_guest, line, sizeof line - 1);
        char *nl;

        line[n] = 0;
        nl = strchr(line, '\n');
        if (nl) {
            *nl = 0;
            if (!say(vm, line))
                return false;
            byteq_drop(&p->to_guest, (uint32_t)(nl - line) + 1);
            host_kick(&p->kick);
            return true;
        }
        if (!stand(vm))
            return false;
    }
}

/* Takes so many presses and releases, and says them, "1e+1e-". */
static bool keys(struct vm *vm, unsigned n)
{
    struct inputport *in = vm->config.input;
    char text[256] = "";

    n = n < 64 ? n : 64;
    while (byteq_used(&in->keys) < n * sizeof(struct input_key))
        if (!stand(vm))
            return false;
    for (unsigned i = 0; i < n; i++) {
        struct input_key k;
        byteq_peek(&in->keys, &k, sizeof k);
        byteq_drop(&in->keys, sizeof k);
        snprintf(text + 3 * i, 4, "%02x%c", k.code, k.down ? '+' : '-');
    }
    host_kick(&in->kick);
    return say(vm, text);
}

/* The same of the mouse: "dx,dy,dz,buttons " each. */
static bool mouse(struct vm *vm, unsigned n)
{
    struct inputport *in = vm->config.input;
    char text[256] = "";
    size_t len = 0;

    n = n < 8 ? n : 8;
    while (byteq_used(&in->mouse) < n * sizeof(struct input_mouse))
        if (!stand(vm))
            return false;
    for (unsigned i = 0; i < n; i++) {
        struct input_mouse m;
        byteq_peek(&in->mouse, &m, sizeof m);
        byteq_drop(&in->mouse, sizeof m);
        len += (size_t)snprintf(text + len, sizeof text - len, "%d,%d,%d,%u ", m.dx, m.dy, m.dz, m.buttons);
    }
    return say(vm, text);
}

static void disk_done(struct vm_event *ev)
{
    struct vm *vm = ev->opaque;

    atomic_store(&vm->req_done, 1);
}

/* A disk request, waited for as a device would; false when kicked. */
static bool disk(struct vm *vm, enum blk_op op, uint64_t off, int byte)
{
    struct blkport *port = &vm->config.disk[0].port;
    char line[40];

    if (!vm->req_busy) {
        memset(vm->sector, byte, sizeof vm->sector);
        atomic_store(&vm->req_done, 0);
        vm->req = (struct blk_req){.op = (uint8_t)op, .off = off, .len = op == BLK_FLUSH ? 0 : 512, .buf = vm->sector};
        vm->req.done = (struct vm_event){.fn = disk_done, .opaque = vm};
        vm->req_busy = true;
        port->submit(port->opaque, &vm->req);
    }
    while (!atomic_load(&vm->req_done))
        if (!stand(vm) && !atomic_load(&vm->req_done))
            return false;
    vm->req_busy = false;
    if (vm->req.result < 0)
        return say(vm, "io error");
    if (op != BLK_READ)
        return true;
    snprintf(line, sizeof line, "disk %u", vm->sector[0]);
    return say(vm, line);
}

/* One step; *ret_stop is VM_STOP_KICK where the guest goes on. False: kicked before it was done. */
static bool step(struct vm *vm, const char *line, enum vm_stop *ret_stop, struct err *e)
{
    unsigned long long page;
    unsigned byte;
    uint8_t data[4096];
    char text[40];

    *ret_stop = VM_STOP_KICK;
    if (strncmp(line, "say ", 4) == 0)
        return say(vm, line + 4);
    if (strcmp(line, "echo") == 0)
        return echo(vm);
    if (sscanf(line, "keys %u", &byte) == 1)
        return keys(vm, byte);
    if (sscanf(line, "mouse %u", &byte) == 1)
        return mouse(vm, byte);
    if (strcmp(line, "spin") == 0) {
        while (stand(vm))
            ;
        return false;
    }
    if (sscanf(line, "poke %llu %u", &page, &byte) == 2) {
        memset(data, (int)byte, sizeof data);
        vm_phys_write(vm, page * 4096, data, sizeof data);
    } else if (sscanf(line, "peek %llu", &page) == 1) {
        vm_phys_read(vm, page * 4096, data, 1);
        snprintf(text, sizeof text, "page %llu is %u", page, data[0]);
        return say(vm, text);
    } else if (sscanf(line, "write %llu %u", &page, &byte) == 2) {
        return disk(vm, BLK_WRITE, page, (int)byte);
    } else if (sscanf(line, "read %llu", &page) == 1) {
        return disk(vm, BLK_READ, page, 0);
    } else if (strcmp(line, "flush") == 0) {
        return disk(vm, BLK_FLUSH, 0, 0);
    } else if (strcmp(line, "poweroff") == 0) {
        *ret_stop = VM_STOP_POWEROFF;
    } else if (strncmp(line, "show ", 5) == 0) {
        memset(vm->screen[vm->lines], 0, 80);
        snprintf(vm->screen[vm->lines], 80, "%s", line + 5);
        vm->lines = (vm->lines + 1) % 25;
    } else if (strcmp(line, "graphics") == 0) {
        vm->graphics = true;
    } else if (strcmp(line, "reset") == 0) {
        if (vm->config.no_reboot)
            *ret_stop = VM_STOP_RESET;
        else
            vm->at = 0; /* the caller moves past the first line */
    } else if (sscanf(line, "exit %u", &byte) == 1) {
        vm->exit_code = (int)byte;
        *ret_stop = VM_STOP_EXIT;
    } else if (strcmp(line, "triple") == 0) {
        *ret_stop = VM_STOP_TRIPLE;
    } else if (strncmp(line, "fail ", 5) == 0) {
        err_set(e, VT_FAIL, "%s", line + 5);
        *ret_stop = VM_STOP_FAIL;
    }
    return true;
}

/* ---- debugging: a line is an instruction */

int vm_debug_break(struct vm *vm, unsigned kinds, uint64_t lin, uint32_t len, bool add, struct err *e)
{
    for (size_t i = 0; kinds == VM_BREAK_EXEC && i < ARRAY_LEN(vm->breaks); i++)
        if (vm->breaks[i] == (add ? 0 : lin)) {
            vm->breaks[i] = add ? lin : 0;
            return 0;
        }
    return err_set(e, VT_FAIL, "a fake machine has a few breakpoints and no more");
}

void vm_debug_step(struct vm *vm)
{
    vm->step = true;
}

void vm_debug_clear(struct vm *vm)
{
    memset(vm->breaks, 0, sizeof vm->breaks);
    vm->step = false;
}

struct vm_debug_stop vm_debug_why(const struct vm *vm)
{
    return vm->why;
}

size_t vm_debug_read(struct vm *vm, uint64_t lin, void *dst, size_t len)
{
    return vm_phys_read(vm, lin, dst, len) ? len : 0;
}

size_t vm_debug_write(struct vm *vm, uint64_t lin, const void *src, size_t len)
{
    return vm_phys_write(vm, lin, src, len) ? len : 0;
}

void vm_debug_get_regs(struct vm *vm, struct vm_debug_regs *ret)
{
    *ret = vm->regs;
    ret->rip = vm->at;
    ret->code_bits = 32;
}

void vm_debug_set_regs(struct vm *vm, const struct vm_debug_regs *r)
{
    vm->regs = *r;
    if (r->rip <= strlen(vm->text))
        vm->at = r->rip;
}

static bool breaks_here(struct vm *vm)
{
    for (size_t i = 0; i < ARRAY_LEN(vm->breaks); i++)
        if (vm->breaks[i] && vm->breaks[i] == vm->at && !vm->told) {
            vm->why = (struct vm_debug_stop){VM_BREAK_EXEC, vm->at};
            return vm->told = true;
        }
    vm->told = false;
    return false;
}

enum vm_stop vm_run(struct vm *vm, struct err *e)
{
    while (!atomic_exchange(&vm->kicked, 0)) {
        char line[256];
        const char *from = vm->text + vm->at, *end = strchr(from, '\n');
        size_t was = vm->at;
        enum vm_stop stop;

        run_events(vm);
        if (!vm->step && breaks_here(vm))
            return VM_STOP_DEBUG;
        if (!end) {
            return VM_STOP_POWEROFF; /* the text has ended */
        }
        snprintf(line, sizeof line, "%.*s", (int)(end - from), from);
        vm->clock += 1000;
        if (!step(vm, line, &stop, e))
            continue;
        vm->at = vm->at == was ? was + (size_t)(end - from) + 1 : 7;
        if (stop != VM_STOP_KICK)
            return stop;
        if (vm->step) {
            vm->step = false;
            vm->why = (struct vm_debug_stop){0};
            return VM_STOP_DEBUG;
        }
    }
    return VM_STOP_KICK;
}

void vm_kick(struct vm *vm)
{
    atomic_store(&vm->kicked, 1);
    wake(vm);
}

int vm_exit_code(const struct vm *vm)
{
    return vm->exit_code;
}

void vm_reset(struct vm *vm)
{
    vm->at = 7;
}

static void pressed(struct vm_event *ev)
{
    say(ev->opaque, "power button");
}

void vm_power_button(struct vm *vm) /* a guest that tells of it, and goes on */
{
    vm->button.fn = pressed;
    vm->button.opaque = vm;
    vm_post(vm, &vm->button);
}

bool vm_nmi(struct vm *vm) /* a guest that tells of it, but for one that has its screen in graphics mode */
{
    if (!vm->graphics)
        say(vm, "nmi");
    return !vm->graphics;
}

bool vm_change_disc(struct vm *vm, unsigned slot, const struct blkport *port) /* one that looks at its disc at once */
{
    char text[64];

    if (slot >= VM_IDE_SLOTS || !vm->config.ide[slot].cdrom)
        return false;
    if (port)
        snprintf(text, sizeof text, "a disc of %llu bytes", (unsigned long long)port->size);
    say(vm, port ? text : "no disc");
    return true;
}

bool vm_change_floppy(struct vm *vm, unsigned drive, const struct blkport *port)
{
    char text[64];

    if (drive >= VM_FLOPPIES || !vm->config.floppy[drive].present)
        return false;
    if (port)
        snprintf(text, sizeof text, "drive %u: a floppy of %llu bytes%s", drive, (unsigned long long)port->size,
                 port->read_only ? ", write-protected" : "");
    else
        snprintf(text, sizeof text, "drive %u: no floppy", drive);
    say(vm, text);
    return true;
}

uint64_t vm_clock_ns(struct vm *vm)
{
    return vm->clock;
}

void vm_set_wall(struct vm *vm, int64_t seconds_since_1970)
{
    (void)vm;
    (void)seconds_since_1970;
}

void vm_cpu_features(const struct vm *vm, char *out, size_t size)
{
    snprintf(out, size, "x86-64-v2");
}

int vm_cpu_check(const char *features, struct err *e)
{
    return 0;
}

int vm_state_save(struct vm *vm, uint8_t **ret_data, size_t *ret_len, struct err *e)
{
    char *text = NULL;
    int n = asprintf(&text, "fakestate %zu %llu\n%s", vm->at, (unsigned long long)vm->clock, vm->text);

    if (n < 0)
        return err_set(e, VT_FAIL, "out of memory");
    *ret_data = (uint8_t *)text;
    *ret_len = (size_t)n;
    return 0;
}

int vm_state_load(struct vm *vm, const uint8_t *data, size_t len, struct err *e)
{
    char *text = strndup((const char *)data, len), *nl = strchr(text, '\n');
    unsigned long long clock;
    size_t at;

    if (!nl || sscanf(text, "fakestate %zu %llu", &at, &clock) != 2 || at > strlen(nl + 1)) {
        free(text);
        return err_set(e, VT_CORRUPT, "not a fake machine's state");
    }
    free(vm->text);
    vm->text = strdup(nl + 1);
    vm->at = at;
    vm->clock = clock;
    vm->req_busy = false;
    free(text);
    return 0;
}

char *vm_state_dump(struct vm *vm)
{
    char *text = NULL;

    return asprintf(&text, "fake.at %zu\n", vm->at) < 0 ? NULL : text;
}

int vm_display(struct vm *vm, struct display *ret, struct err *e)
{
    static const uint8_t palette[] = {[3 * 7] = 42, [3 * 7 + 1] = 42, [3 * 7 + 2] = 42};
    struct display d = {.vram_len = 4 * VGA_PLANE_BYTES, .vram = calloc(4, VGA_PLANE_BYTES)};
    struct vga_regs *r = &d.regs;

    if (!d.vram)
        return err_set(e, VT_FAIL, "out of memory");
    if (vm->graphics) {
        r->vbe[VBE_ENABLE] = VBE_ENABLED;
        r->vbe[VBE_BPP] = 32;
        r->vbe[VBE_XRES] = r->vbe[VBE_VIRT_WIDTH] = 64;
        r->vbe[VBE_YRES] = 32;
        for (unsigned i = 0; i < 64 * 32; i++)
            d.vram[4 * i + 2] = 0xff;
        *ret = d;
        return 0;
    }
    r->attr_index = ATTR_PAS;
    r->seq[0] = 3;
    r->dac_mask = 0xff;
    memcpy(r->palette, palette, sizeof palette);
    for (unsigned i = 0; i < 16; i++)
        r->attr[i] = (uint8_t)i;
    r->attr[ATTR_PLANES] = 15;
    r->crtc[CRTC_HDE] = 79;
    r->crtc[CRTC_OVERFLOW] = 0x1f;
    r->crtc[CRTC_VDE] = 0x8f;
    r->crtc[CRTC_MAX_SCAN] = 0x4f;
    r->crtc[CRTC_OFFSET] = 40;
    r->crtc[CRTC_MODE] = 0xa3;
    r->crtc[CRTC_LINE_COMPARE] = 0xff;
    r->crtc[CRTC_CURSOR_START] = 14;
    r->crtc[CRTC_CURSOR_END] = 15;
    r->crtc[CRTC_CURSOR_LOW] = 5;
    for (unsigned i = 0; i < 25 * 80; i++) { /* words: a cell is two addresses, its planes four bytes each */
        d.vram[8 * i] = (uint8_t)vm->screen[i / 80][i % 80];
        d.vram[8 * i + 1] = 7;
    }
    *ret = d;
    return 0;
}

void display_release(struct display *d)
{
    free(d->vram);
    d->vram = NULL;
}

char *vm_stats(struct vm *vm)
{
    char *text = NULL;

    return asprintf(&text, "steps %llu\n", (unsigned long long)vm->clock / 1000) < 0 ? NULL : text;
}

char *vm_log_line(struct vm *vm)
{
    (void)vm;
    return NULL;
}
