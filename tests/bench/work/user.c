/* Jobs that only compute. Built without SSE arithmetic, so floating point here is the x87's. */
#include <stdlib.h>
#include <string.h>
#include "work.h"

static uint32_t xorshift(uint32_t x)
{
    x ^= x << 13;
    x ^= x >> 17;
    return x ^ x << 5;
}

/* Shifts, rotates, 32 and 64-bit multiplications and divisions. */
uint32_t work_integer(uint32_t n)
{
    uint32_t x = 2463534242u, sum = 0;
    uint64_t wide = 88172645463325252ull;
    for (uint32_t i = 0; i < n * 100; i++) {
        x = xorshift(x);
        wide = wide * 6364136223846793005ull + x;
        sum += (x % 1009) + (uint32_t)(wide >> 40) + (x / ((sum & 255) + 3));
        sum = sum << 7 | sum >> 25;
    }
    return sum;
}

/* Sorts numbers by insertion into a heap, then walks Collatz sequences: branches that no predictor learns. */
uint32_t work_branches(uint32_t n)
{
    uint32_t heap[64], sum = 0, x = 1;
    for (uint32_t r = 0; r < n; r++) {
        int count = 0;
        for (int i = 0; i < 64; i++) {
            x = xorshift(x);
            int at = count++;
            while (at > 0 && heap[(at - 1) / 2] > x) {
                heap[at] = heap[(at - 1) / 2];
                at = (at - 1) / 2;
            }
            heap[at] = x;
        }
        sum += heap[0] + heap[63];
        for (uint32_t v = (x & 1023) + 1; v != 1; sum++)
            v = v & 1 ? 3 * v + 1 : v / 2;
    }
    return sum;
}

static __attribute__((noinline)) uint32_t fib(uint32_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
static __attribute__((noinline)) uint32_t add1(uint32_t x)
{
    return x + 1;
}
static __attribute__((noinline)) uint32_t twice(uint32_t x)
{
    return x * 2;
}
static __attribute__((noinline)) uint32_t flip(uint32_t x)
{
    return ~x;
}
static __attribute__((noinline)) uint32_t half(uint32_t x)
{
    return x / 2;
}

/* Direct calls, deep returns, and calls through a table. */
uint32_t work_calls(uint32_t n)
{
    static uint32_t (*const table[])(uint32_t) = {add1, twice, flip, half};
    uint32_t sum = 0, x = 1;
    for (uint32_t i = 0; i < n; i++) {
        sum += fib(10);
        for (int k = 0; k < 64; k++) {
            x = xorshift(x);
            sum = table[x & 3](sum);
        }
    }
    return sum;
}

#define WORDS (1u << 20) /* 4 MiB: larger than the nearer caches */

/* Random reads and writes, and a walk in order. Each word keeps its value. */
uint32_t work_memory(uint32_t n)
{
    static uint32_t *words;
    if (!words) {
        words = malloc(WORDS * sizeof *words);
        if (!words)
            abort();
        for (uint32_t i = 0; i < WORDS; i++)
            words[i] = i * 2654435761u;
    }
    uint32_t x = 1, sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        for (int k = 0; k < 64; k++) {
            x = xorshift(x);
            uint32_t at = x % WORDS;
            sum += words[at];
            words[at ^ 1] = (at ^ 1) * 2654435761u;
        }
        for (uint32_t k = 0; k < 256; k++)
            sum ^= words[(i * 256 + k) % WORDS];
    }
    return sum;
}

/* The library's copying, filling, comparing and searching. */
uint32_t work_strings(uint32_t n)
{
    static char a[8192], b[8192];
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        memset(a, 'a' + i % 26, sizeof a - 1);
        memcpy(b, a, sizeof b);
        b[i % 8000 + 100] = '!';
        sum += (uint32_t)strlen(a) + (memcmp(a, b, sizeof a) != 0) + (uint32_t)((char *)memchr(b, '!', sizeof b) - b);
        memmove(b + 1, b, sizeof b - 1);
        __asm__ volatile("cld; rep movsl" : : "D"(a), "S"(b), "c"(64) : "memory");
    }
    return sum;
}

static long double root(long double v)
{
    __asm__("fsqrt" : "+t"(v));
    return v;
}

/* Three bodies under gravity, in the x87's own width. */
uint32_t work_x87(uint32_t n)
{
    long double x[3] = {0, 1, -1.5L}, y[3] = {0, 0.5L, 1}, vx[3] = {0, 0.1L, -0.2L}, vy[3] = {0.05L, -0.3L, 0.1L};
    for (uint32_t r = 0; r < n * 10; r++) {
        for (int i = 0; i < 3; i++) {
            for (int k = 0; k < 3; k++) {
                if (i == k)
                    continue;
                long double dx = x[k] - x[i], dy = y[k] - y[i], d2 = dx * dx + dy * dy + 0.01L;
                long double f = 0.001L / (d2 * root(d2));
                vx[i] += dx * f;
                vy[i] += dy * f;
            }
        }
        for (int i = 0; i < 3; i++) {
            x[i] += vx[i] * 0.001L;
            y[i] += vy[i] * 0.001L;
        }
    }
    uint32_t sum = 0;
    for (int i = 0; i < 3; i++)
        sum = sum * 31 + (uint32_t)(int32_t)(x[i] * 1e6L) + (uint32_t)(int32_t)(y[i] * 1e6L);
    return sum;
}
