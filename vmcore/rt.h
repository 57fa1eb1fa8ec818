/* The little libc of the vCPU thread: code there uses general registers only, and libc's memcpy uses vectors.
 * Compilers still emit calls to the names memcpy, memset, memmove and memcmp: vmcore's objects have their own,
 * renamed at link time. Include this instead of <string.h> in everything that is built with -mgeneral-regs-only. */
#ifndef VT_RT_H
#define VT_RT_H

#include <stddef.h>
#include <stdint.h>

void *rt_memcpy(void *dst, const void *src, size_t n);
void *rt_memset(void *dst, int c, size_t n);
void *rt_memmove(void *dst, const void *src, size_t n);
int rt_memcmp(const void *a, const void *b, size_t n);
#ifndef VT_RT_NO_RENAME
#define memcpy  rt_memcpy
#define memset  rt_memset
#define memmove rt_memmove
#define memcmp  rt_memcmp
#endif

/* A log line from the vCPU thread, kept in a ring and printed by the host side; fmt knows %s %u %x %llx only. */
struct vm;
void rt_log(struct vm *vm, const char *fmt, ...);

/* Raw system call: returns the result or -errno. */
static inline long rt_syscall3(long nr, long a, long b, long c)
{
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "0"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return r;
}
static inline long rt_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
    long r;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}

#endif
