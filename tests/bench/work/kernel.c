/* Jobs that ask the kernel for something each round. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "work.h"

static int open_or_die(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        abort();
    return fd;
}

uint32_t work_syscall(uint32_t n)
{
    uint32_t bad = 0;
    for (uint32_t i = 0; i < n; i++)
        bad += syscall(SYS_getppid) < 0;
    return bad;
}

uint32_t work_read(uint32_t n)
{
    char c;
    uint32_t sum = 0;
    int fd = open_or_die("/dev/zero", O_RDONLY);
    for (uint32_t i = 0; i < n; i++)
        sum += (uint32_t)read(fd, &c, 1);
    close(fd);
    return sum;
}

uint32_t work_write(uint32_t n)
{
    uint32_t sum = 0;
    int fd = open_or_die("/dev/null", O_WRONLY);
    for (uint32_t i = 0; i < n; i++)
        sum += (uint32_t)write(fd, "x", 1);
    close(fd);
    return sum;
}

/* A round is a fresh page: mapped, touched, unmapped 256 at a time. */
uint32_t work_pagefault(uint32_t n)
{
    enum { PAGES = 256 };
    uint32_t sum = 0;
    while (n) {
        uint32_t pages = n < PAGES ? n : PAGES;
        char *p = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            abort();
        for (uint32_t i = 0; i < pages; i++)
            sum += (uint32_t)(p[i * 4096] += 1);
        munmap(p, PAGES * 4096);
        n -= pages;
    }
    return sum;
}

static void reap(pid_t pid, uint32_t *sum)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        abort();
    *sum += 1 + (uint32_t)WEXITSTATUS(status);
}

/* A byte to another process and back: two switches a round. */
uint32_t work_switch(uint32_t n)
{
    int there[2], back[2];
    char c = 0;
    uint32_t sum = 0;
    if (pipe(there) || pipe(back))
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        close(there[1]);
        while (read(there[0], &c, 1) == 1)
            if (write(back[1], &c, 1) != 1)
                _exit(1);
        _exit(0);
    }
    for (uint32_t i = 0; i < n; i++)
        if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
            abort();
    close(there[0]);
    close(there[1]);
    close(back[0]);
    close(back[1]);
    reap(pid, &sum);
    return sum;
}

uint32_t work_fork(uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        reap(pid, &sum);
    }
    return sum;
}

static pid_t start_nothing(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/proc/self/exe", "work", "--nothing", (char *)0);
        _exit(1);
    }
    return pid;
}

uint32_t work_exec(uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        reap(start_nothing(), &sum);
    return sum;
}
