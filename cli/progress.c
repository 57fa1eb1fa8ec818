#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#define AFTER_NS (500 * NS_PER_MS) /* what takes less shows nothing */

void progress_show(struct progress *p, uint64_t done, uint64_t total)
{
    struct cli *c = p->c;
    char part[UNITS_MAX], all[UNITS_MAX];

    if (p->asked && c->json) {
        printf("{\"progress\":{\"pages\":%llu,\"of\":%llu}}\n", (unsigned long long)done, (unsigned long long)total);
        fflush(stdout);
        return;
    }
    if (c->json || c->quiet || !total ||
        (!p->asked && (!isatty(STDERR_FILENO) || clock_mono_ns() - c->started < AFTER_NS)))
        return;
    size_format(part, done * VT_PAGE_SIZE);
    size_format(all, total * VT_PAGE_SIZE);
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%s: %3llu %% (%s of %s)\033[K", p->what, (unsigned long long)(done * 100 / total), part,
                all);
        p->drawn = true;
    } else {
        fprintf(stderr, "%s: %s of %s\n", p->what, part, all);
    }
}

void progress_end(struct progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}
