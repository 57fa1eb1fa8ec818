/* The fake machine translates nothing. */
#include "vmcore/vmcore.h"

int vm_code_save(struct vm *vm, struct buf *out, struct err *e)
{
    (void)vm;
    (void)out;
    return err_set(e, VT_FAIL, "no translations");
}

bool vm_code_load(struct vm *vm, const void *data, size_t len)
{
    (void)vm;
    (void)data;
    (void)len;
    return false;
}
