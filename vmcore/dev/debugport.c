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

static void flush(struct debug_console *c)
{
    c->line[c->len] = 0;
    c->len = 0;
    rt_log(c->vm, "%s: %s", c->name, c->line);
}

static void console_write(void *dev, uint32_t off, uint32_t val, unsigned size)
{
    struct debug_console *c = dev;
    uint8_t byte = (uint8_t)val;

    if (byte == '\n') {
        flush(c);
    } else if (byte != '\r') {
        c->line[c->len++] = (byte >= ' ' && byte < 0x7f) || byte == '\t' ? (char)byte : '?';
        if (c->len == DEBUG_LINE)
            flush(c);
    }
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

static void console_init(struct debug_console *c, struct devctx *ctx, const char *name, uint16_t port)
{
    c->name = name;
    c->vm = ctx->opaque;
    bus_map(ctx->bus, &c->win, false, port, 1, &console_ops, c, name);
}

void debugport_init(struct debugport *d, struct devctx *c, void (*exit)(void *opaque, uint32_t code), void *exit_opaque)
{
    memset(d, 0, sizeof *d);
    d->exit = exit;
    d->exit_opaque = exit_opaque;
    bus_map(c->bus, &d->post_win, false, 0x80, 1, &post_ops, d, "post");
    console_init(&d->e9, c, "debug", 0xe9);
    console_init(&d->firmware, c, "bios", 0x402);
    bus_map(c->bus, &d->exit_win[0], false, 0xf4, 4, &exit_ops, d, "debug-exit");
    bus_map(c->bus, &d->exit_win[1], false, 0x501, 4, &exit_ops, d, "debug-exit");
    c->add_state(c, &d->state, "debugport", &debugport_table, d);
}
