#include "vmcore/dev/debugport.h"

#include "vmcore/rt.h"

#define PRESENT 0xe9u /* both consoles read so: that is how their users find them */

static uint32_t post_read(void *dev, uint32_t off, unsigned size)
{
    return ((struct debugport *)dev)->post;
}

static void post_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    ((struct debugport *)dev)->post = (uint8_t)val;
}

static uint32_t console_read(void *dev, uint32_t off, unsigned size)
{
    return PRESENT;
}

static void console_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct debugport *d = dev;
    uint8_t byte = (uint8_t)val;
    if (!d->console)
        return;
    byteq_put(&d->console->to_host, &byte, 1);
    host_kick(&d->console->kick);
}

static uint32_t exit_read(void *dev, uint32_t off, unsigned size)
{
    return 0;
}

static void exit_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct debugport *d = dev;
    d->exit(d->exit_opaque, val);
}

static const struct bus_ops post_ops = {post_read, post_write, 1, 1};
static const struct bus_ops console_ops = {console_read, console_write, 1, 1};
static const struct bus_ops exit_ops = {exit_read, exit_write, 1, 4};

static const struct field debugport_fields[] = {FIELD(struct debugport, post, F_U8), FIELD_END};
static const struct state_table debugport_table = {"debugport", 1, debugport_fields, NULL, NULL};

void debugport_init(struct debugport *d, struct devctx *c, struct chrport *console,
                    void (*exit)(void *opaque, uint32_t code), void *exit_opaque)
{
    memset(d, 0, sizeof *d);
    d->console = console;
    d->exit = exit;
    d->exit_opaque = exit_opaque;
    bus_map(c->bus, &d->post_win, false, 0x80, 1, &post_ops, d, "post");
    bus_map(c->bus, &d->e9_win, false, 0xe9, 1, &console_ops, d, "debug-console");
    bus_map(c->bus, &d->fw_win, false, 0x402, 1, &console_ops, d, "firmware-console");
    bus_map(c->bus, &d->exit_win, false, 0xf4, 4, &exit_ops, d, "debug-exit");
    c->add_state(c, &d->state, "debugport", &debugport_table, d);
}
