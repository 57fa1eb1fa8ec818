/* Small jobs that say how fast a machine is. A job does n rounds and returns a checksum that depends on n alone, so
 * that two machines can be compared for results as well as for time. */
#ifndef WORK_H
#define WORK_H

#include <stdint.h>

struct job {
    const char *name;
    const char *group; /* "user": computes only; "kernel": asks the kernel for something each round */
    uint32_t (*run)(uint32_t n);
};

uint32_t work_integer(uint32_t n);
uint32_t work_branches(uint32_t n);
uint32_t work_calls(uint32_t n);
uint32_t work_memory(uint32_t n);
uint32_t work_strings(uint32_t n);
uint32_t work_x87(uint32_t n);
uint32_t work_sse(uint32_t n);
uint32_t work_double(uint32_t n);

uint32_t work_syscall(uint32_t n);
uint32_t work_read(uint32_t n);
uint32_t work_write(uint32_t n);
uint32_t work_pagefault(uint32_t n);
uint32_t work_switch(uint32_t n);
uint32_t work_fork(uint32_t n);
uint32_t work_exec(uint32_t n);

#endif
