/* work [SECONDS [JOB...]]: runs each job for about that long and prints a line for it:
 *     NAME GROUP ROUNDS_PER_SECOND CHECKSUM
 * The checksum is of a fixed number of rounds. Time is CLOCK_MONOTONIC's. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "work.h"

static const struct job jobs[] = {
    {"integer", "user", work_integer}, {"branches", "user", work_branches}, {"calls", "user", work_calls},
    {"memory", "user", work_memory},   {"strings", "user", work_strings},   {"x87", "user", work_x87},
    {"sse", "user", work_sse},         {"double", "user", work_double},     {"syscall", "kernel", work_syscall},
    {"read", "kernel", work_read},     {"write", "kernel", work_write},     {"pagefault", "kernel", work_pagefault},
    {"switch", "kernel", work_switch}, {"fork", "kernel", work_fork},       {"exec", "kernel", work_exec},
};

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Rounds a second: batches grow until one takes a twentieth of the time, then the best of as many as fit in. */
static double rate(const struct job *job, double seconds)
{
    uint32_t n = 1;
    double took;
    for (;;) {
        double begin = now();
        job->run(n);
        took = now() - begin;
        if (took >= seconds / 20 || n >= 1u << 30)
            break;
        n *= 2;
    }
    double best = n / took;
    for (double end = now() + seconds; now() < end;) {
        double begin = now();
        job->run(n);
        took = now() - begin;
        if (n / took > best)
            best = n / took;
    }
    return best;
}

static int wanted(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(names[i], name))
            return 1;
    return count == 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--nothing"))
        return 0; /* what the exec job starts */
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    int names = argc > 2 ? argc - 2 : 0;
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
        if (!wanted(jobs[i].name, names, argv + 2))
            continue;
        uint32_t check = jobs[i].run(jobs[i].group[0] == 'u' ? 2000 : 20);
        printf("%s %s %.1f %08x\n", jobs[i].name, jobs[i].group, rate(&jobs[i], seconds), check);
        fflush(stdout);
    }
    return 0;
}
