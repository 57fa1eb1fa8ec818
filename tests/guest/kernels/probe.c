/* The test kernel: says on the first serial port in what state it was started and what it was given, a fact a line, and
 * ends as its command line's last word asks: exit=N, exit16=N, exit32=N (port F4h, so many bits), exit501=N (port
 * 501h), poweroff (ACPI's registers), triple, reset, spin. */
#include <stdint.h>

enum { COM1 = 0x3f8, DEBUG_PORT = 0xe9 };

static uint16_t out_port = COM1;

static void outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static void outw(uint16_t port, uint16_t v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static void outl(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void say(const char *s)
{
    for (; *s; s++) {
        while (out_port == COM1 && !(inb(COM1 + 5) & 0x20))
            ;
        outb(out_port, (uint8_t)*s);
    }
}

static void say_hex(uint64_t v)
{
    char text[17];
    unsigned i = 16;

    text[i] = 0;
    do
        text[--i] = "0123456789abcdef"[v & 15];
    while (v >>= 4);
    say(text + i);
}

static void fact(const char *name, uint64_t v)
{
    say(name);
    say(" ");
    say_hex(v);
    say("\n");
}

static uint32_t sum(const uint8_t *p, uint32_t n)
{
    uint32_t s = 0;

    while (n--)
        s = s * 31 + *p++;
    return s;
}

static void module(uint64_t start, uint64_t size, const char *text)
{
    say("module ");
    say_hex(start & 0xfff);
    say(" ");
    say_hex(size);
    say(" ");
    say_hex(sum((const uint8_t *)(uint32_t)start, (uint32_t)size));
    say(" ");
    say(text);
    say("\n");
}

static void range(uint64_t start, uint64_t size, uint32_t type)
{
    say("range ");
    say_hex(start);
    say(" ");
    say_hex(size);
    say(" ");
    say_hex(type);
    say("\n");
}

static const char *text_at(uint64_t at)
{
    return at ? (const char *)(uint32_t)at : "";
}

struct multiboot {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr,
        drives[2], config, loader;
};

static const char *multiboot(const struct multiboot *m)
{
    const uint32_t *mod = (const uint32_t *)m->mods_addr;

    fact("flags", m->flags);
    fact("lower", m->mem_lower);
    fact("upper", m->mem_upper);
    say("loader ");
    say(text_at(m->loader));
    say("\n");
    for (uint32_t at = m->mmap_addr; at < m->mmap_addr + m->mmap_length; at += *(const uint32_t *)at + 4) {
        const uint32_t *w = (const uint32_t *)at;
        range(w[1] | (uint64_t)w[2] << 32, w[3] | (uint64_t)w[4] << 32, w[5]);
    }
    for (uint32_t i = 0; i < m->mods_count; i++, mod += 4)
        module(mod[0], mod[1] - mod[0], text_at(mod[2]));
    return text_at(m->cmdline);
}

struct pvh {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp, memmap;
    uint32_t memmap_entries, reserved;
};

static const char *pvh(const struct pvh *p)
{
    const uint64_t *mod = (const uint64_t *)(uint32_t)p->modlist, *map = (const uint64_t *)(uint32_t)p->memmap;

    fact("version", p->version);
    say("rsdp ");
    for (unsigned i = 0; i < 8; i++) {
        char c[2] = {text_at(p->rsdp)[i], 0};
        say(c);
    }
    say("\n");
    for (uint32_t i = 0; i < p->memmap_entries; i++, map += 3)
        range(map[0], map[1], (uint32_t)map[2]);
    for (uint32_t i = 0; i < p->nr_modules; i++, mod += 4)
        module(mod[0], mod[1], text_at(mod[2]));
    return text_at(p->cmdline);
}

static uint32_t limit_of(uint16_t sel)
{
    uint32_t limit = 0;

    __asm__("lsll %1, %0" : "+r"(limit) : "r"((uint32_t)sel));
    return limit;
}

static void state(uint32_t eflags)
{
    uint32_t cr0, cr4;
    uint16_t cs, ds, ss;
    volatile uint32_t *low = (volatile uint32_t *)0x300000, *high = (volatile uint32_t *)0x400000;

    __asm__("movl %%cr0, %0; movl %%cr4, %1" : "=r"(cr0), "=r"(cr4));
    __asm__("movw %%cs, %0; movw %%ds, %1; movw %%ss, %2" : "=r"(cs), "=r"(ds), "=r"(ss));
    fact("ebda", *(volatile uint16_t *)0x40e);
    fact("base", *(volatile uint16_t *)0x413);
    fact("com1", *(volatile uint16_t *)0x400);
    fact("crtc", *(volatile uint16_t *)0x463);
    fact("cr0", cr0 & 0x80000001u);
    fact("cr4", cr4);
    fact("eflags", eflags & 0x20200u); /* VM, IF */
    fact("cs-limit", limit_of(cs));
    fact("ds-limit", limit_of(ds));
    fact("ss-limit", limit_of(ss));
    *low = 1;
    *high = 2;
    fact("a20", *low);
}

/* Bytes behind the file's end that the loader clears, and that the kernel then dirties for the next boot. */
static uint32_t bss[1024];

static int is(const char **s, const char *word)
{
    const char *p = *s;

    while (*word)
        if (*p++ != *word++)
            return 0;
    *s = p;
    return 1;
}

static uint32_t number(const char *s)
{
    uint32_t v = 0;

    for (; *s >= '0' && *s <= '9'; s++)
        v = v * 10 + (uint32_t)(*s - '0');
    return v;
}

/* What a debugger's test looks at. */
volatile uint32_t watched;
volatile uint32_t rounds;
uint32_t work(uint32_t n);

uint32_t __attribute__((noinline)) work(uint32_t n)
{
    rounds++;
    if (n == 3)
        watched = 0x1234;
    return n * 2;
}

static void end(const char *s)
{
    static const struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) no_idt = {0, 0};

    if (is(&s, "exit=")) {
        outb(0xf4, (uint8_t)number(s));
    } else if (is(&s, "exit501=")) {
        outb(0x501, (uint8_t)number(s));
    } else if (is(&s, "exit16=")) {
        outw(0xf4, (uint16_t)number(s));
    } else if (is(&s, "exit32=")) {
        outl(0xf4, number(s));
    } else if (is(&s, "poweroff")) {
        outw(0x604, 0x2000); /* PM1a control: SLP_EN, S5 */
    } else if (is(&s, "reset")) {
        outb(0x64, 0xfe);
    } else if (is(&s, "triple")) {
        __asm__ volatile("lidt %0; int3" : : "m"(no_idt));
    } else if (is(&s, "spin")) {
        for (;;)
            __asm__ volatile("pause");
    }
}

void probe(uint32_t magic, uint32_t info, uint32_t eflags);

void probe(uint32_t magic, uint32_t info, uint32_t eflags)
{
    const char *cmdline, *last;
    uint32_t dirty = 0, total = 0;

    fact("magic", magic == 0x2badb002 ? magic : *(const uint32_t *)info);
    state(eflags);
    cmdline = magic == 0x2badb002 ? multiboot((const struct multiboot *)info) : pvh((const struct pvh *)info);
    for (unsigned i = 0; i < 1024; i++) {
        dirty |= bss[i];
        bss[i] = ~0u;
    }
    fact("bss", dirty);
    for (uint32_t i = 0; i < 8; i++)
        total += work(i);
    fact("work", total);
    say("cmdline ");
    say(cmdline);
    say("\n");
    out_port = DEBUG_PORT;
    say("on the debug port\n");
    for (last = cmdline; *cmdline; cmdline++)
        if (*cmdline == ' ')
            last = cmdline + 1;
    end(last);
    say("still here\n");
}
