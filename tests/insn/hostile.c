/* The hostile guest: random code in a random machine, in every mode of the processor, for a time. The guest may die or
 * hang as it likes; the monitor must not crash, fail an assertion, name memory outside of the guest's, emit what the
 * verifier rejects, change its own tables, or be deaf to vm_kick for a second of processor time; and whatever state
 * the guest reached must save, load and save again as the same bytes.
 *
 * A case depends on (seed, case) alone. Cases run in batches, each in a process of its own; a case that fails is run
 * again alone, to tell whether it needs those before it. */
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile_world.h"
#include "src/base/util.h"
#include "vmcore/vm.h"

enum { BATCH = 64, SLICE_MS = 12, RAM = 16 << 20, CANARY = 1 << 20 };
enum status { PASSED, FAILED };

struct options {
    uint64_t seed, first, seconds;
    bool one, all, verbose;
    int start; /* -1: any */
};

struct shared { /* between a batch's process and its parent */
    uint64_t now, done;
    uint64_t stops[16];
    uint64_t cases[START_COUNT], blocks[START_COUNT], exceptions[START_COUNT]; /* how far guests got */
    char why[512];
};

struct runner {
    struct vm *vm;
    int begin, end; /* eventfds: a slice began, it ended */
    clockid_t clock;
    struct shared *shared;
    struct netport net[2];
    struct chrport serial;
    struct inputport input;
};

static uint64_t thread_ms(clockid_t clock)
{
    struct timespec t = {0, 0};

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool ended(const struct runner *r, int ms)
{
    struct pollfd p = {.fd = r->end, .events = POLLIN};

    return poll(&p, 1, ms) == 1;
}

/* Ends each slice after its time, and the process where that does not help. */
static void *kicker(void *opaque)
{
    struct runner *r = opaque;
    uint64_t n;

    while (read(r->begin, &n, sizeof n) == (ssize_t)sizeof n) {
        if (!ended(r, SLICE_MS)) {
            uint64_t t = thread_ms(r->clock);
            int polls = 0;
            vm_kick(r->vm);
            while (!ended(r, 100)) /* waiting without using the processor is the host's fault, or a lost wake-up */
                if (thread_ms(r->clock) - t > 1000 || ++polls > 100) {
                    snprintf(r->shared->why, sizeof r->shared->why, "deaf to vm_kick");
                    abort();
                }
        }
        if (read(r->end, &n, sizeof n) != (ssize_t)sizeof n)
            break;
    }
    return NULL;
}

static void tell(int fd)
{
    if (write(fd, &(uint64_t){1}, sizeof(uint64_t)) != (ssize_t)sizeof(uint64_t))
        abort();
}

static uint64_t sum(const uint8_t *p, size_t len)
{
    uint64_t h = 0xcbf29ce484222325ull;

    for (size_t i = 0; i + 8 <= len; i += 8) {
        uint64_t v;
        memcpy(&v, p + i, sizeof v);
        h = (h ^ v) * 0x100000001b3ull;
        h ^= h >> 29;
    }
    return h;
}

/* The program itself, its code and constants. */
static uint64_t program_sum(void)
{
    extern const uint8_t __executable_start[], etext[];

    return sum(__executable_start, (size_t)(etext - __executable_start));
}

static void fail(struct runner *r, const char *what, const char *detail)
{
    snprintf(r->shared->why, sizeof r->shared->why, "%s: %s", what, detail);
    abort();
}

/* Points *ret_a and *ret_b at the first lines that differ, each with its end cut off. */
static void first_difference(char *a, char *b, char **ret_a, char **ret_b)
{
    do {
        *ret_a = strsep(&a, "\n");
        *ret_b = strsep(&b, "\n");
    } while (a && b && !strcmp(*ret_a, *ret_b));
}

/* What was saved must load, and be the same. */
static void check_state(struct runner *r)
{
    cleanup(cleanup_free) uint8_t *a = NULL, *b = NULL;
    cleanup(cleanup_free) char *before = NULL, *after = NULL;
    char line[256], *was, *is;
    size_t alen, blen;
    struct err e = {0};

    memset(r->vm->cpu->fx + 6, 0, 18); /* x87 pointers of the host's, which a load clears */
    before = vm_state_dump(r->vm);
    if (vm_state_save(r->vm, &a, &alen, &e))
        fail(r, "the state does not save", e.msg);
    if (vm_state_load(r->vm, a, alen, &e))
        fail(r, "the state that was saved does not load", e.msg);
    if (vm_state_save(r->vm, &b, &blen, &e))
        fail(r, "the state does not save again", e.msg);
    if (alen == blen && !memcmp(a, b, alen))
        return;
    after = vm_state_dump(r->vm);
    if (!before || !after)
        fail(r, "the state is another after a load", "no memory to tell where");
    first_difference(before, after, &was, &is);
    size_t same = 0;
    while (is[same] && is[same] == was[same])
        same++;
    snprintf(line, sizeof line, "%.40s, from its character %zu: %.60s, was %.60s", is, same, is + same, was + same);
    fail(r, "the state is another after a load", line);
}

static void run_case(struct runner *r, const struct options *o, uint64_t n)
{
    struct rng rng = rng_for(o->seed, 1, n);
    enum start start = rng_below(&rng, START_COUNT);
    struct err e = {0};
    enum vm_stop stop;
    char *line;

    if (o->start >= 0)
        start = (enum start)o->start;
    uint64_t blocks = r->vm->cpu->blocks_made, exceptions = r->vm->cpu->exceptions;
    world_make(r->vm, &rng, start);
    for (unsigned slices = 1 + rng_below(&rng, 2); slices > 0; slices--) {
        tell(r->begin);
        stop = vm_run(r->vm, &e);
        tell(r->end);
        r->shared->stops[stop & 15]++;
        if (stop == VM_STOP_FAIL)
            fail(r, "vm_run", e.msg);
        check_state(r);
        while ((line = vm_log_line(r->vm))) {
            if (o->verbose)
                printf("  %s\n", line);
            free(line);
        }
        if (stop == VM_STOP_TRIPLE || stop == VM_STOP_RESET)
            break;
    }
    r->shared->cases[start]++;
    r->shared->blocks[start] += r->vm->cpu->blocks_made - blocks;
    r->shared->exceptions[start] += r->vm->cpu->exceptions - exceptions;
}

/* A disk of one byte's value, that takes no time. Called with the guest's vector registers live. */
static __attribute__((target("general-regs-only"))) void submit(void *opaque, struct blk_req *q)
{
    struct runner *r = opaque;

    if (q->op == BLK_READ) {
        uint8_t *to = q->buf;
        size_t len = q->len;
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(len) : "a"(0xa5) : "memory");
    }
    q->result = 0;
    vm_post(r->vm, &q->done);
}

/* A machine with one of everything. */
static void add_devices(struct vm_config *c, struct runner *r)
{
    struct vm_disk_config disk = {.present = true,
                                  .port = {.size = 1 << 20, .serial = "x", .submit = submit, .opaque = r}};

    c->ndisks = 1;
    c->disk[0] = c->ide[0] = c->ide[2] = c->floppy[0] = disk;
    c->floppy[0].port.size = 1440 << 10;
    c->ide[2].cdrom = c->ide[2].port.read_only = true;
    c->nnics = 2;
    c->nic[0] = (struct vm_nic_config){.model = VM_NIC_VIRTIO, .port = &r->net[0]};
    c->nic[1] = (struct vm_nic_config){.model = VM_NIC_NE2K_PCI, .port = &r->net[1]};
    c->serial[0] = &r->serial;
    c->input = &r->input;
    if (netport_init(&r->net[0], 1 << 16) || netport_init(&r->net[1], 1 << 16) ||
        chrport_init(&r->serial, "serial0", 1 << 12, 1 << 12) || inputport_init(&r->input))
        fail(r, "setting up", "no memory");
}

/* In a process of its own. */
static void run_batch(const struct options *o, struct shared *shared, uint64_t first, uint64_t count)
{
    struct vm_config config = {
        .board = VM_BOARD_PC, .ram_bytes = RAM, .cpu_model = "host", .no_reboot = true, .wall_start = 1700000000};
    struct runner r = {.begin = eventfd(0, EFD_SEMAPHORE), .end = eventfd(0, EFD_SEMAPHORE), .shared = shared};
    cleanup(cleanup_free) uint8_t *canary = malloc(CANARY);
    struct err e = {0};
    pthread_t thread;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!canary || pthread_getcpuclockid(pthread_self(), &r.clock))
        fail(&r, "setting up", "no memory or no clock");
    memset(canary, 0x5a, CANARY);
    add_devices(&config, &r);
    uint64_t program = program_sum(), heap = sum(canary, CANARY);
    if (vm_new(&config, &r.vm, &e) || vm_thread_init(r.vm, &e) || pthread_create(&thread, NULL, kicker, &r))
        fail(&r, "setting up", e.msg);
    for (uint64_t n = first; n < first + count; n++) {
        shared->now = n;
        run_case(&r, o, n);
        if (program_sum() != program || sum(canary, CANARY) != heap)
            fail(&r, "the monitor's memory", "changed");
        shared->done++;
    }
    _exit(0);
}

static enum status batch(const struct options *o, struct shared *shared, uint64_t first, uint64_t count)
{
    int wait_status = 0;
    pid_t pid;

    fflush(NULL);
    shared->why[0] = 0;
    pid = fork();
    if (pid == 0)
        run_batch(o, shared, first, count);
    if (pid < 0 || waitpid(pid, &wait_status, 0) != pid) {
        perror("hostile: fork");
        exit(1);
    }
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)
        return PASSED;
    printf("case %llu of seed %llu: %s", (unsigned long long)shared->now, (unsigned long long)o->seed,
           shared->why[0] ? shared->why : "the monitor died");
    if (WIFSIGNALED(wait_status))
        printf(" (signal %d)", WTERMSIG(wait_status));
    printf("\n");
    return FAILED;
}

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;

    *ret = strtoull(text, &end, 0);
    return *text && !*end;
}

static int usage(void)
{
    fprintf(stderr, "usage: hostile [--seed S] [--seconds N] [--case N] [--start MODE] [--all] [--verbose]\n");
    return 64;
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},
        {"case", required_argument, NULL, 'c'},
        {"start", required_argument, NULL, 'm'},
        {"all", no_argument, NULL, 'a'},
        {"verbose", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    int opt;

    *o = (struct options){.seed = 1, .seconds = 10, .start = -1};
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        bool ok = true;
        if (opt == 's')
            ok = parse_number(optarg, &o->seed);
        else if (opt == 't')
            ok = parse_number(optarg, &o->seconds);
        else if (opt == 'c')
            ok = o->one = parse_number(optarg, &o->first);
        else if (opt == 'm') {
            for (o->start = START_COUNT - 1; o->start >= 0; o->start--)
                if (!strcmp(optarg, start_name((enum start)o->start)))
                    break;
            ok = o->start >= 0;
        } else if (opt == 'a')
            o->all = true;
        else if (opt == 'v')
            o->verbose = true;
        else
            ok = false;
        if (!ok)
            return usage();
    }
    return optind == argc ? 0 : usage();
}

int main(int argc, char **argv)
{
    struct options o;
    struct shared *shared;
    uint64_t begin = thread_ms(CLOCK_MONOTONIC), failures = 0;
    int r = parse(argc, argv, &o);

    if (r)
        return r;
    setvbuf(stdout, NULL, _IOLBF, 0);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("hostile: mmap");
        return 1;
    }
    if (o.one)
        return batch(&o, shared, o.first, 1) == PASSED ? 0 : 1;
    for (uint64_t n = 0; thread_ms(CLOCK_MONOTONIC) - begin < o.seconds * 1000 && (o.all || !failures); n += BATCH)
        for (uint64_t from = n; from < n + BATCH && batch(&o, shared, from, n + BATCH - from) == FAILED;) {
            failures++;
            uint64_t bad = shared->now;
            printf("%s",
                   batch(&o, shared, bad, 1) == PASSED ? "  ... only after the cases before it\n" : "  ... alone\n");
            from = bad + 1;
        }
    bool idle = false; /* a mode in which no guest got anywhere */
    for (enum start i = 0; i < START_COUNT; i++) {
        idle = idle || (o.start < 0 && !shared->blocks[i]);
        printf("%-7s %llu cases, %llu blocks of code, %llu exceptions\n", start_name(i),
               (unsigned long long)shared->cases[i], (unsigned long long)shared->blocks[i],
               (unsigned long long)shared->exceptions[i]);
    }
    printf("%llu cases, %llu failures; ended by kick %llu, power %llu, reset %llu, exit %llu, triple fault %llu\n",
           (unsigned long long)shared->done, (unsigned long long)failures,
           (unsigned long long)shared->stops[VM_STOP_KICK], (unsigned long long)shared->stops[VM_STOP_POWEROFF],
           (unsigned long long)shared->stops[VM_STOP_RESET], (unsigned long long)shared->stops[VM_STOP_EXIT],
           (unsigned long long)shared->stops[VM_STOP_TRIPLE]);
    return failures || !shared->done || idle ? 1 : 0;
}
