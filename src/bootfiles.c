#include "src/bootfiles.h"

#include <fcntl.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/util.h"

#define KERNEL_MAX (256u << 20)

void bootfiles_release(struct bootfiles *f)
{
    buf_release(&f->kernel);
    for (unsigned i = 0; i < f->n; i++) {
        buf_release(&f->data[i]);
        free(f->args[i]);
    }
    f->n = 0;
}

static int add(struct bootfiles *f, const char *path, char *args, size_t max, struct err *e)
{
    int r;

    if (f->n == VM_MAX_MODULES) {
        free(args);
        return err_set(e, VT_USAGE, "more than %d modules", VM_MAX_MODULES);
    }
    f->args[f->n] = args;
    f->n++;
    r = io_read_file(AT_FDCWD, path, max, &f->data[f->n - 1], e);
    f->module[f->n - 1] = (struct vm_module){f->data[f->n - 1].data, f->data[f->n - 1].len, args};
    return r;
}

static int add_list(struct bootfiles *f, const char *list, size_t max, struct err *e)
{
    int r = 0;

    while (!r && *list) {
        size_t len = strcspn(list, ",");
        char *args = strndup(list, len);
        cleanup(cleanup_free) char *path = strndup(list, MIN(len, strcspn(list, " ")));

        if (!args || !path) {
            free(args);
            return err_set(e, VT_FAIL, "out of memory");
        }
        if (!*path) {
            free(args);
            return err_set(e, VT_USAGE, "a module without a file in the list of modules");
        }
        r = add(f, path, args, max, e);
        list += len + (list[len] == ',');
    }
    return r;
}

int bootfiles_read(const char *kernel, const char *initrd, uint64_t mem, struct bootfiles *ret, struct err *e)
{
    size_t max = (size_t)mem;
    int r = io_read_file(AT_FDCWD, kernel, KERNEL_MAX, &ret->kernel, e);

    if (r || !initrd)
        return r;
    if (vm_kernel_kind(ret->kernel.data, ret->kernel.len) == VM_KERNEL_LINUX)
        return add(ret, initrd, NULL, max, e);
    return add_list(ret, initrd, max, e);
}
