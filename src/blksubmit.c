#include "src/blksubmit.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include "vmcore/rt.h"

void blkinbox_wake(struct blkinbox *b)
{
    __atomic_add_fetch(&b->count, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&b->sleeping, __ATOMIC_SEQ_CST))
        rt_syscall3(SYS_futex, (long)&b->count, FUTEX_WAKE_PRIVATE, 1);
}

void blksubmit(void *opaque, struct blk_req *r)
{
    struct blkinbox *b = opaque;

    reqlist_push(&b->list, r);
    blkinbox_wake(b);
}

void blkinbox_wait(struct blkinbox *b, uint32_t seen)
{
    __atomic_store_n(&b->sleeping, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&b->count, __ATOMIC_SEQ_CST) == seen)
        rt_syscall6(SYS_futex, (long)&b->count, FUTEX_WAIT_PRIVATE, (long)seen, 0, 0, 0);
    __atomic_store_n(&b->sleeping, 0, __ATOMIC_SEQ_CST);
}
