/* Code memory and its two mappings: made before the guest runs. See cache.h. */
#include "vmcore/cache.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "src/base/util.h"

void cache_free(struct cache *c)
{
    if (!c)
        return;
    if (c->w)
        munmap(c->w, c->size);
    if (c->x)
        munmap(c->x, c->size);
    if (c->arena)
        munmap(c->arena, c->arena_size);
    if (c->fd >= 0)
        close(c->fd);
    free(c->order);
    free(c->hash);
    free(c);
}

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* An executable file without a name: a memfd, or an unlinked file where a policy denies those. */
static int code_fd(void)
{
    static const char *const dirs[] = {"/dev/shm", "/tmp", "/var/tmp"};
    int fd = memfd_create("code", MFD_CLOEXEC | MFD_EXEC);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("code", MFD_CLOEXEC);
    for (unsigned i = 0; fd < 0 && i < ARRAY_LEN(dirs); i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/vmtest-code-XXXXXX", dirs[i]);
        fd = mkostemp(path, 02000000 /* O_CLOEXEC */);
        if (fd >= 0)
            unlink(path);
    }
    return fd;
}

int cache_new(struct cpu *cpu, size_t size, struct cache **ret, struct err *e)
{
    struct cache *c = calloc(1, sizeof *c);

    if (!c)
        return err_set(e, VT_FAIL, "out of memory");
    c->cpu = cpu;
    c->size = size;
    c->hot_end = size / 3 & ~(size_t)4095;
    c->cold_end = size;
    c->hot = c->base_hot = 64;
    c->cold = c->base_cold = c->hot_end;
    c->arena_size = size;
    c->max_blocks = (uint32_t)(size / 128);
    c->fd = code_fd();
    c->order = malloc(c->max_blocks * sizeof *c->order);
    c->hash = calloc(1u << CACHE_HASH_BITS, sizeof *c->hash);
    if (c->fd >= 0 && ftruncate(c->fd, (off_t)size) == 0) {
        void *w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, c->fd, 0);
        void *x = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_NORESERVE, c->fd, 0);
        c->w = w == MAP_FAILED ? NULL : w;
        c->x = x == MAP_FAILED ? NULL : x;
    }
    void *arena = mmap(NULL, c->arena_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    c->arena = arena == MAP_FAILED ? NULL : arena;
    if (!c->w || !c->x || !c->arena || !c->order || !c->hash) {
        bool denied = c->fd >= 0 && c->w && !c->x;
        cache_free(c);
        return err_set(e, VT_FAIL,
                       denied
                           ? "this host forbids executable mappings of unnamed files (memfd noexec or SELinux execmem)"
                           : "cannot map %zu MiB of code memory",
                       size >> 20);
    }
    *ret = c;
    return 0;
}
