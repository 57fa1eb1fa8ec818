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

/* The kernel's struct ifreq; the larger of the two machines'. */
struct card {
    char name[16];
    union {
        int32_t index;
        int16_t flags;
        struct {
            uint16_t family;
            uint8_t address[14];
        } hw;
        uint8_t room[24];
    };
};

static bool set_mac(int fd, struct card *c, const uint8_t *fresh)
{
    long rc;

    memcpy(c->hw.address, fresh, 6);
    rc = sys(SYS_ioctl, fd, SIOCSIFHWADDR, c);
    if (rc == -EBUSY) { /* a driver that does it only while the interface is down */
        struct card down = *c;
        int16_t flags;
        if (sys(SYS_ioctl, fd, SIOCGIFFLAGS, &down) < 0)
            return false;
        flags = down.flags;
        down.flags = (int16_t)(flags & ~IFF_UP);
        sys(SYS_ioctl, fd, SIOCSIFFLAGS, &down);
        rc = sys(SYS_ioctl, fd, SIOCSIFHWADDR, c);
        down.flags = flags;
        sys(SYS_ioctl, fd, SIOCSIFFLAGS, &down);
    }
    return rc == 0;
}

/* Every card that has an old address gets the fresh one. False: one of them was not found, or would not. */
static bool set_macs(const struct ew_mac *mac, struct renew *renew)
{
    static const uint8_t none[6];
    unsigned want = 0, done = 0;
    int fd = (int)sys(SYS_socket, AF_INET, SOCK_DGRAM | O_CLOEXEC, 0);

    if (fd < 0)
        return false;
    for (unsigned k = 0; k < EW_MACS; k++)
        want += memcmp(mac[k].old, none, 6) != 0;
    for (int32_t index = 1; index < 256 && done < want; index++) {
        struct card c = {.index = index};
        if (sys(SYS_ioctl, fd, SIOCGIFNAME, &c) < 0 || sys(SYS_ioctl, fd, SIOCGIFHWADDR, &c) < 0)
            continue;
        for (unsigned k = 0; k < EW_MACS; k++)
            if (memcmp(mac[k].old, none, 6) != 0 && memcmp(mac[k].old, c.hw.address, 6) == 0) {
                if (set_mac(fd, &c, mac[k].fresh)) {
                    renew_add(renew, c.name);
                    done++;
                }
                break;
            }
    }
    sys_close(&fd);
    return done == want;
}

uint32_t identity_set(const struct ew_identity *id, struct renew *renew)
{
    uint32_t done = 0;

    if ((id->flags & EW_SEEDED) && reseed(id->seed))
        done |= EW_SEEDED;
    if ((id->flags & EW_CLOCK) && set_clock(id->sec, id->nsec))
        done |= EW_CLOCK;
    if ((id->flags & EW_MAC) && set_macs(id->mac, renew))
        done |= EW_MAC;
    return done;
}
