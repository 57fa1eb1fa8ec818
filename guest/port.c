#include "guest/port.h"
#include "guest/lib.h"
#include "guest/sys.h"

struct dirent64 {
    uint64_t ino, off;
    uint16_t len;
    uint8_t type;
    char name[];
} __attribute__((packed, aligned(4)));

static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v); /* both machines are little-endian */
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* Is the port that sysfs calls `entry` ours? Then it is opened. */
static int try_port(const char *entry)
{
    char path[128], name[64];
    struct text t = TEXT(path);

    text_add(&t, "/sys/class/virtio-ports/");
    text_add(&t, entry);
    text_add(&t, "/name");
    if (read_file(path, name, sizeof name) <= 0)
        return -ENOENT;
    if (strchr(name, '\n'))
        *strchr(name, '\n') = 0;
    if (strcmp(name, EW_PORT) != 0)
        return -ENOENT;
    t = TEXT(path);
    text_add(&t, "/dev/");
    text_add(&t, entry);
    return sys_open(path, O_RDWR | O_NONBLOCK);
}

static int find_port(void)
{
    int dir = sys_open("/sys/class/virtio-ports", O_RDONLY | O_DIRECTORY), fd = -ENOENT;
    char list[2048] __attribute__((aligned(8)));
    long n = 0;

    while (dir >= 0 && fd == -ENOENT && (n = sys(SYS_getdents64, dir, list, sizeof list)) > 0)
        for (long at = 0; at < n && fd == -ENOENT;) {
            const struct dirent64 *d = (const struct dirent64 *)(list + at);
            fd = try_port(d->name);
            at += d->len;
        }
    sys_close(&dir);
    return fd != -ENOENT ? fd : sys_open("/dev/virtio-ports/" EW_PORT, O_RDWR | O_NONBLOCK);
}

int port_open(struct port *p, const char *word)
{
    uint32_t fd;

    if (word && memcmp(word, "fd:", 3) == 0 && number(word + 3, &fd)) {
        p->fd = (int)fd;
        sys(SYS_fcntl, p->fd, F_SETFD, 1);
        sys_nonblock(p->fd);
    } else {
        p->fd = find_port();
        p->is_port = true;
    }
    return p->fd < 0 ? p->fd : 0;
}

bool port_read(struct port *p)
{
    long n = sys_read(p->fd, p->in + p->in_len, sizeof p->in - p->in_len);

    p->hung_up = n == 0; /* a virtio port without a host reads so, until there is one again */
    if (n > 0)
        p->in_len += (uint32_t)n;
    return n > 0 || n == -EAGAIN || (n == 0 && p->is_port);
}

bool port_next(struct port *p, uint32_t *used, struct frame *ret)
{
    uint32_t at = *used;

    for (;; at++) {
        uint8_t *head = p->in + at;
        uint32_t left = p->in_len - at, len;

        if (left && head[0] != (EW_MARK & 0xff))
            continue; /* zeros between frames, or what is left of a broken one */
        if (left >= EW_HEAD) {
            len = get32(head + 8);
            if (head[1] != EW_MARK >> 8 || head[3] || len > EW_PAYLOAD)
                continue;
            if (left >= EW_HEAD + len + EW_TAIL) {
                if (get32(head + EW_HEAD + len) != EW_TAIL_MARK)
                    continue;
                *ret = (struct frame){head[2], get32(head + 4), len, head + EW_HEAD};
                *used = at + EW_HEAD + len + EW_TAIL;
                return true;
            }
        }
        memmove(p->in, head, left);
        p->in_len = left;
        *used = 0;
        return false;
    }
}

int32_t port_room(const struct port *p)
{
    int32_t room = (int32_t)(sizeof p->out - p->out_len) - (int32_t)(EW_HEAD + EW_TAIL);

    return room < (int32_t)EW_PAYLOAD ? room : (int32_t)EW_PAYLOAD;
}

uint8_t *port_payload(struct port *p)
{
    return p->out + p->out_len + EW_HEAD;
}

void port_send(struct port *p, uint8_t type, uint32_t session, uint32_t len)
{
    uint8_t *head = p->out + p->out_len;

    put32(head, EW_MARK | (uint32_t)type << 16);
    put32(head + 4, session);
    put32(head + 8, len);
    put32(head + EW_HEAD + len, EW_TAIL_MARK);
    p->out_len += EW_HEAD + len + EW_TAIL;
}

void port_send_u32(struct port *p, uint8_t type, uint32_t session, uint32_t value)
{
    put32(port_payload(p), value);
    port_send(p, type, session, 4);
}

bool port_flush(struct port *p)
{
    uint32_t done = 0;
    long n = 0;

    while (done < p->out_len && (n = sys_write(p->fd, p->out + done, p->out_len - done)) > 0)
        done += (uint32_t)n;
    memmove(p->out, p->out + done, p->out_len - done);
    p->out_len -= done;
    return n >= 0 || n == -EAGAIN;
}
