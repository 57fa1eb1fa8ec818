#include "guest/identity.h"
#include "guest/lib.h"
#include "guest/sys.h"

/* The seed is credited in full, so that the kernel takes it into use at once: both ioctls want root. Kernels before
 * 4.17 have no RNDRESEEDCRNG; a credited pool reseeds them by itself within the next read. */
static bool reseed(const uint8_t *seed)
{
    struct {
        int bits, bytes;
        uint8_t seed[EW_SEED];
    } pool = {EW_SEED * 8, EW_SEED, {0}};
    int fd = sys_open("/dev/urandom", O_RDWR);
    long rc;

    if (fd < 0)
        return false;
    memcpy(pool.seed, seed, EW_SEED);
    rc = sys(SYS_ioctl, fd, RNDADDENTROPY, &pool);
    if (rc == 0)
        rc = sys(SYS_ioctl, fd, RNDRESEEDCRNG, 0);
    sys_close(&fd);
    return rc == 0 || rc == -EINVAL;
}

static bool set_clock(uint64_t sec, uint32_t nsec)
{
    int64_t t64[2] = {(int64_t)sec, nsec};
    long rc = sys(SYS_clock_settime, 0, t64, 0);

#ifdef __i386__
    if (rc < 0 && sec <= INT32_MAX) {
        struct timespec t = {(long)sec, (long)nsec};
        rc = sys(SYS_clock_settime32, 0, &t, 0);
    }
#endif
    return rc == 0;
}

uint32_t identity_set(const struct ew_identity *id)
{
    uint32_t done = 0;

    if ((id->flags & EW_SEEDED) && reseed(id->seed))
        done |= EW_SEEDED;
    if ((id->flags & EW_CLOCK) && set_clock(id->sec, id->nsec))
        done |= EW_CLOCK;
    return done;
}
