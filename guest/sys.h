/* The system calls of Linux that the helper makes, on i386 and amd64. Each returns what the kernel did: a negative
 * errno where it failed. */
#ifndef GUEST_SYS_H
#define GUEST_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __x86_64__
enum {
    SYS_read = 0,
    SYS_write = 1,
    SYS_open = 2,
    SYS_close = 3,
    SYS_poll = 7,
    SYS_rt_sigaction = 13,
    SYS_rt_sigprocmask = 14,
    SYS_ioctl = 16,
    SYS_dup2 = 33,
    SYS_nanosleep = 35,
    SYS_socket = 41,
    SYS_fork = 57,
    SYS_execve = 59,
    SYS_wait4 = 61,
    SYS_kill = 62,
    SYS_fcntl = 72,
    SYS_chdir = 80,
    SYS_unlink = 87,
    SYS_fchmod = 91,
    SYS_fchown = 93,
    SYS_umask = 95,
    SYS_setuid = 105,
    SYS_setgid = 106,
    SYS_setsid = 112,
    SYS_setgroups = 116,
    SYS_getdents64 = 217,
    SYS_clock_settime = 227,
    SYS_clock_gettime = 228,
    SYS_exit_group = 231,
    SYS_signalfd4 = 289,
    SYS_pipe2 = 293,
};

static inline long sys4(long n, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long ret;

    __asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return ret;
}
#else
enum {
    SYS_fork = 2,
    SYS_read = 3,
    SYS_write = 4,
    SYS_open = 5,
    SYS_close = 6,
    SYS_unlink = 10,
    SYS_execve = 11,
    SYS_chdir = 12,
    SYS_kill = 37,
    SYS_ioctl = 54,
    SYS_umask = 60,
    SYS_dup2 = 63,
    SYS_setsid = 66,
    SYS_fchmod = 94,
    SYS_wait4 = 114,
    SYS_nanosleep = 162,
    SYS_poll = 168,
    SYS_rt_sigaction = 174,
    SYS_rt_sigprocmask = 175,
    SYS_setgroups = 206,
    SYS_fchown = 207,
    SYS_setuid = 213,
    SYS_setgid = 214,
    SYS_getdents64 = 220,
    SYS_fcntl = 221,
    SYS_exit_group = 252,
    SYS_clock_settime32 = 264,
    SYS_clock_gettime = 265,
    SYS_signalfd4 = 327,
    SYS_pipe2 = 331,
    SYS_socket = 359,        /* Linux 4.3 */
    SYS_clock_settime = 404, /* 64-bit seconds; Linux 5.1 */
};

static inline long sys4(long n, long a, long b, long c, long d)
{
    long ret;

    __asm__ volatile("int $0x80" : "=a"(ret) : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
    return ret;
}
#endif

#define sys(n, a, b, c) sys4(n, (long)(a), (long)(b), (long)(c), 0)

enum {
    ENOENT = 2,
    EINTR = 4,
    EIO = 5,
    ENOEXEC = 8,
    EAGAIN = 11,
    ENOMEM = 12,
    EACCES = 13,
    EBUSY = 16,
    ENOTDIR = 20,
    EINVAL = 22,

    O_RDONLY = 0,
    O_WRONLY = 1,
    O_RDWR = 2,
    O_NOCTTY = 0400,
    O_NONBLOCK = 04000,
    O_DIRECTORY = 0200000,
    O_CLOEXEC = 02000000,
    F_SETFD = 2,
    F_GETFL = 3,
    F_SETFL = 4,

    POLLIN = 1,
    POLLOUT = 4,
    POLLERR = 8,
    POLLHUP = 16,

    SIGKILL = 9,
    SIGPIPE = 13,
    SIGCHLD = 17,
    SIG_SETMASK = 2,
    NSIG = 64,
    WNOHANG = 1,

    TIOCSCTTY = 0x540e,
    TIOCSWINSZ = 0x5414,
    FIONREAD = 0x541b,
    TIOCGPTN = (int)0x80045430,
    TIOCSPTLCK = 0x40045431,
    RNDADDENTROPY = 0x40085203,
    RNDRESEEDCRNG = 0x5207,

    AF_INET = 2,
    SOCK_DGRAM = 2,
    IFF_UP = 1,
    SIOCGIFNAME = 0x8910,
    SIOCGIFFLAGS = 0x8913,
    SIOCSIFFLAGS = 0x8914,
    SIOCSIFHWADDR = 0x8924,
    SIOCGIFHWADDR = 0x8927,
};

struct pollfd {
    int fd;
    short events, revents;
};
struct timespec { /* as clock_gettime has it */
    long sec, nsec;
};

void sys_exit(int status) __attribute__((noreturn));
/* Reads once, or writes once, again where a signal came between. */
long sys_read(int fd, void *dst, size_t len);
long sys_write(int fd, const void *src, size_t len);
int sys_open(const char *path, int flags);
void sys_close(int *fd); /* -1 is fine, and what it is afterwards */
void sys_nonblock(int fd);
uint32_t sys_ms(void); /* CLOCK_MONOTONIC, wraps around */

#endif
