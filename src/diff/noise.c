#include "src/diff/noise.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/util.h"

/* fnmatch patterns in which '*' matches '/' too. */
static const char *const noisy[] = {
    "/run/*",
    "/var/run/*",
    "/proc/*",
    "/sys/*",
    "/dev/*",
    "/tmp/*",
    "/var/tmp/*",
    "/var/cache/*",
    "/var/lock/*",
    "/var/log/journal/*",
    "/var/log/wtmp",
    "/var/log/btmp",
    "/var/log/lastlog",
    "/var/log/faillog",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/timers/*",
    "/var/lib/systemd/timesync/*",
    "/var/lib/systemd/catalog/database",
    "/var/lib/systemd/backlight/*",
    "/var/lib/systemd/rfkill/*",
    "/var/lib/urandom/random-seed",
    "/var/lib/dhcp/*.leases",
    "/var/lib/dpkg/lock",
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/triggers/Lock",
    "/var/lib/dpkg/*-old",
    "/var/lib/apt/lists/*",
    "/var/lib/apt/periodic/*",
    "/var/lib/logrotate/status",
    "/etc/ld.so.cache",
    "/etc/.updated",
    "/var/.updated",
    "/root/.cache/*",
    "/home/*/.cache/*",
    "/swapfile",
    "*/__pycache__",
    "*/__pycache__/*",
};

bool noise_path(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(noisy); i++)
        if (!fnmatch(noisy[i], path, 0))
            return true;
    return false;
}

size_t noise_filter(struct changes *c, bool root)
{
    size_t kept = 0, dropped;

    for (size_t i = 0; i < c->n; i++) {
        struct change *x = &c->change[i];

        if ((root && noise_path(x->path) && (!x->from || noise_path(x->from))) ||
            (x->kind == CHANGE_MODIFIED && S_ISDIR(x->b.mode) && x->what == WHAT_SIZE)) {
            free(x->path);
            free(x->from);
            continue;
        }
        if (S_ISDIR(x->b.mode))
            x->what &= ~(unsigned)WHAT_SIZE;
        c->change[kept++] = *x;
    }
    dropped = c->n - kept;
    c->n = kept;
    return dropped;
}
