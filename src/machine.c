#include "src/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "src/base/banned.h"
#include "src/base/floppyformat.h"
#include "src/base/io.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/bootfiles.h"
#include "src/nets.h"

#define NET_QUEUE   (1u << 18)
#define AGENT_QUEUE (1u << 18)

/* Where distributions put SeaBIOS's image for a VGA with the Bochs display interface. */
static const char *const vga_bios_paths[] = {"/usr/share/seabios/vgabios-stdvga.bin",
                                             "/usr/share/qemu/vgabios-stdvga.bin",
                                             "/usr/share/vgabios/vgabios-stdvga.bin"};
#define NIC_ROM_MAX  (512u << 10)
#define VGA_BIOS_MAX (64u << 10)

/* Where distributions put SeaBIOS; the first one there is taken. */
static const char *const bios_paths[] = {"/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin"};
#define BIOS_MAX (16u << 20)

_Static_assert((int)CONFIG_BOOT_DISK == VM_BOOT_DISK && (int)CONFIG_BOOT_CDROM == VM_BOOT_CDROM &&
                   (int)CONFIG_BOOT_FLOPPY == VM_BOOT_FLOPPY && (int)CONFIG_BOOT_NET == VM_BOOT_NET &&
                   CONFIG_BOOT_CLASSES == VM_BOOT_CLASSES,
               "the same numbers");

/* What is in drives whose medium can be changed. */
#define DISCS (1 + FLOPPY_DRIVES)
static struct disc *disc_at(struct machine *m, unsigned i)
{
    return i ? &m->floppy[i - 1] : &m->disc;
}

static int make_port(struct machine *m, struct chrport *p, const char *name, uint32_t to_host, uint32_t to_guest,
                     struct chrhost **ret_host, struct err *e)
{
    if (chrport_init(p, name, to_host, to_guest) < 0)
        return err_set(e, VT_FAIL, "out of memory");
    return chrhost_new(m->loop, p, ret_host, e);
}

/* The agent talks to its port through a socket pair, so that its code does not depend on the machine. */
static int make_agent(struct machine *m, struct err *e)
{
    int pair[2], rc;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(e, VT_FAIL, "socketpair: %m");
    rc = agent_new(pair[0], &m->agent, e);
    if (rc < 0) {
        close(pair[1]);
        return rc;
    }
    rc = chrhost_attach(m->agent_host, pair[1], pair[1], true, NULL, NULL, NULL, e);
    if (rc < 0)
        close(pair[1]);
    return rc;
}

/* The same for the helper. */
static int make_exec(struct machine *m, struct err *e)
{
    int pair[2], rc;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(e, VT_FAIL, "socketpair: %m");
    rc = execport_new(pair[0], &m->exec_port.guest_open, &m->exec, e);
    if (rc == 0)
        rc = chrhost_attach(m->exec_host, pair[1], pair[1], true, NULL, NULL, NULL, e);
    if (rc < 0)
        close(pair[1]);
    return rc;
}

/* Forwards lead to the first card that is behind NAT. */
static bool first_nat(const struct machine_config *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (!*c->nic[i].net)
            return false;
    return true;
}

static int make_nat(struct machine *m, unsigned n, const struct machine_spec *spec, struct err *e)
{
    struct nat_config nc = {.hostname = spec->hostname};
    int rc;

    if (first_nat(m->config, n)) {
        nc.forward = m->config->forward;
        nc.nforwards = m->config->nforwards;
    }
    rc = nat_new(&nc, &m->net[n], &m->nat[n], e);
    m->net_source[n] = (struct loop_source){.prepare = nat_fill_pollfds, .dispatch = nat_poll, .opaque = m->nat[n]};
    return rc;
}

static int make_switch(struct machine *m, unsigned n, struct err *e)
{
    int fd, rc;

    if (!m->store_uuid)
        return err_set(e, VT_USAGE, "private networks are between machines of a store");
    rc = nets_open(m->store_uuid, m->config->nic[n].net, &fd, e);
    if (rc == 0)
        rc = switch_new(fd, &m->net[n], &m->net_switch[n], e);
    m->net_source[n] =
        (struct loop_source){.prepare = switch_fill_pollfds, .dispatch = switch_poll, .opaque = m->net_switch[n]};
    return rc;
}

static int make_nic(struct machine *m, unsigned n, const struct machine_spec *spec, struct err *e)
{
    bool private = *m->config->nic[n].net;
    int rc;

    if (netport_init(&m->net[n], NET_QUEUE) < 0)
        return err_set(e, VT_FAIL, "out of memory");
    if (private && spec->alone)
        return 0;
    rc = private ? make_switch(m, n, e) : make_nat(m, n, spec, e);
    if (rc == 0)
        loop_source_add(m->loop, &m->net_source[n]);
    return rc;
}

static int make_disk(struct machine *m, unsigned n, const struct machine_spec *spec, struct vm_disk_config *vc,
                     struct err *e)
{
    char serial[24];
    int rc;

    spec->disk[n]->read_only |= m->config->disk[n].read_only;
    rc = blkworker_new(spec->disk[n], spec->trouble, spec->opaque, &m->disk[n], e);
    if (rc < 0)
        return rc;
    snprintf(serial, sizeof serial, "vmtest-%s", m->config->disk[n].slot);
    blkworker_port(m->disk[n], serial, &vc->port);
    return 0;
}

/* The floppy drives have their own disks' ports by now. */
static int make_floppies(struct machine *m, const struct machine_spec *spec, struct vm_config *vc, struct err *e)
{
    const struct machine_config *c = m->config;
    int rc = 0;

    for (unsigned i = 0; i < config_floppy_drives(c) && rc == 0; i++) {
        struct blkport port;

        rc = disc_init(&m->floppy[i], true, c->floppy[i] ? c->floppy[i] : "", spec->trouble, spec->opaque, &port, e);
        m->own_floppy[i] = !c->floppy[i];
        vc->floppy[i].present = true;
        if (rc == 0 && c->floppy[i])
            vc->floppy[i].port = port;
    }
    return rc;
}

/* The disks, on their bus, the floppies, and the CD drive. */
static int make_drives(struct machine *m, const struct machine_spec *spec, struct vm_config *vc, struct err *e)
{
    const struct machine_config *c = m->config;
    int rc = config_disks_check(c, e);
    unsigned hard = 0, floppies = 0;

    for (unsigned i = 0; i < c->ndisks && rc == 0; i++) {
        bool floppy = c->disk[i].floppy;
        struct vm_disk_config *d = &vc->disk[hard];
        if (floppy)
            d = &vc->floppy[floppies++];
        else if (c->ide)
            d = &vc->ide[config_ide_slot(c, hard)];
        hard += !floppy;
        d->present = true;
        rc = make_disk(m, i, spec, d, e);
        if (rc == 0 && floppy && !floppy_format(d->port.size))
            rc = err_set(e, VT_CORRUPT, "%s: no floppy disk has %llu bytes", c->disk[i].slot,
                         (unsigned long long)d->port.size);
    }
    vc->ndisks = c->ide ? 0 : hard;
    if (rc == 0)
        rc = make_floppies(m, spec, vc, e);
    if (rc == 0 && c->cdrom) {
        struct vm_disk_config *d = &vc->ide[CONFIG_IDE_CDROM];
        d->present = d->cdrom = true;
        rc = disc_init(&m->disc, false, c->cdrom, spec->trouble, spec->opaque, &d->port, e);
    }
    return rc;
}

/* A kernel that is booted directly has its letters from this ROM, too: where there is none, pictures of its text show
 * no letters, and all else works. */
static void load_vga_bios(struct machine *m, struct vm_config *vc)
{
    for (unsigned i = 0; i < ARRAY_LEN(vga_bios_paths) && !m->vga_bios.len; i++)
        if (io_read_file(AT_FDCWD, vga_bios_paths[i], VGA_BIOS_MAX, &m->vga_bios, NULL) != 0)
            buf_clear(&m->vga_bios);
    vc->vga_bios = m->vga_bios.data;
    vc->vga_bios_len = (uint32_t)m->vga_bios.len;
}

/* Firmware runs a ROM whose PCI data name its device. iPXE's leave that open, or name the modern virtio card, where its
 * driver takes ours, the transitional one, too. A byte that nothing uses makes the image's sum 0 again. */
static void set_rom_device(struct buf *rom, uint16_t vendor, uint16_t device)
{
    const uint8_t id[4] = {(uint8_t)vendor, (uint8_t)(vendor >> 8), (uint8_t)device, (uint8_t)(device >> 8)};
    uint8_t *p = (uint8_t *)rom->data;
    unsigned at = rom->len > 0x1a ? p[0x18] | (unsigned)p[0x19] << 8 : 0;

    if (!at || at + 8 > rom->len || memcmp(p + at, "PCIR", 4) != 0)
        return;
    for (unsigned i = 0; i < 4; i++) {
        p[6] = (uint8_t)(p[6] + p[at + 4 + i] - id[i]);
        p[at + 4 + i] = id[i];
    }
}

/* The first card's boot ROM, where the machine is to boot from the network: iPXE, of the package ipxe-qemu. */
static int load_nic_rom(struct machine *m, struct vm_config *vc, struct err *e)
{
    static const char *const dirs[] = {"/usr/lib/ipxe/qemu", "/usr/share/qemu"};
    const struct machine_config *c = m->config;
    bool wanted = false;
    char path[64];

    for (unsigned i = 0; i < CONFIG_BOOT_CLASSES; i++)
        wanted |= c->boot_order[i] == CONFIG_BOOT_NET;
    if (!wanted || c->kernel || !c->nnics)
        return 0;
    for (unsigned i = 0; i < ARRAY_LEN(dirs) && !m->nic_rom.len; i++) {
        snprintf(path, sizeof path, "%s/pxe-%s.rom", dirs[i], c->nic[0].ne2k ? "ne2k_pci" : "virtio");
        if (io_read_file(AT_FDCWD, path, NIC_ROM_MAX, &m->nic_rom, NULL) != 0)
            buf_clear(&m->nic_rom);
    }
    if (!m->nic_rom.len)
        return err_set(e, VT_NOENT, "no boot ROM for the network card: install the package ipxe-qemu");
    if (c->nic[0].ne2k)
        set_rom_device(&m->nic_rom, 0x10ec, 0x8029);
    else
        set_rom_device(&m->nic_rom, 0x1af4, 0x1000);
    vc->nic[0].rom = m->nic_rom.data;
    vc->nic[0].rom_len = (uint32_t)m->nic_rom.len;
    return 0;
}

static int make_hardware(struct machine *m, const struct machine_spec *spec, struct err *e)
{
    const struct machine_config *c = m->config;
    struct vm_config vc = {
        .board = VM_BOARD_PC,
        .ram_bytes = c->mem,
        .cpu_model = c->cpu,
        .rom_bytes = (uint32_t)c->rom_bytes,
        .nnics = c->nnics,
        .serial = {&m->serial},
        .console = {&m->agent_port, &m->exec_port},
        .nconsole = 2,
        .hpet = c->hpet,
        .balloon = c->balloon,
        .testdev = c->testdev,
        .no_reboot = true, /* reboots are ours: the kernel's file is not the machine's business */
        .wall_start = (uint64_t)(clock_wall_ns() / (int64_t)NS_PER_SEC),
    };
    int rc;

    for (unsigned i = 0; i < CONFIG_BOOT_CLASSES; i++)
        vc.boot_order[i] = (enum vm_boot)c->boot_order[i];
    load_vga_bios(m, &vc);
    rc = load_nic_rom(m, &vc, e);
    if (rc == 0)
        rc = make_port(m, &m->serial, "serial0", 1u << 16, 1u << 12, &m->serial_host, e);
    if (rc == 0)
        rc = make_port(m, &m->agent_port, "org.qemu.guest_agent.0", AGENT_QUEUE, AGENT_QUEUE, &m->agent_host, e);
    if (rc == 0)
        rc = make_port(m, &m->exec_port, "org.vmtest.exec.0", AGENT_QUEUE, AGENT_QUEUE, &m->exec_host, e);
    if (rc == 0)
        rc = make_agent(m, e);
    if (rc == 0)
        rc = typist_new(&m->typist, e);
    if (rc == 0)
        vc.input = typist_port(m->typist);
    if (rc == 0)
        rc = make_exec(m, e);
    for (unsigned i = 0; i < c->nnics && rc == 0; i++) {
        rc = make_nic(m, i, spec, e);
        memcpy(vc.nic[i].mac, c->nic[i].mac, sizeof vc.nic[i].mac);
        vc.nic[i].model = c->nic[i].ne2k ? VM_NIC_NE2K_PCI : VM_NIC_VIRTIO;
        vc.nic[i].port = &m->net[i];
    }
    if (rc == 0)
        rc = make_drives(m, spec, &vc, e);
    return rc < 0 ? rc : vm_new(&vc, &m->vm, e);
}

int machine_new(struct loop *l, const struct machine_spec *spec, struct machine **ret_machine, struct err *e)
{
    struct machine *m = calloc(1, sizeof *m);
    int rc;

    if (!m)
        return err_set(e, VT_FAIL, "out of memory");
    m->loop = l;
    m->config = spec->config;
    m->store_uuid = spec->store_uuid;
    m->alone = spec->alone;
    rc = make_hardware(m, spec, e);
    if (rc == 0)
        typist_set_vm(m->typist, m->vm);
    for (unsigned i = 0; i < m->config->ndisks && rc == 0; i++)
        rc = blkworker_start(m->disk[i], m->vm, e);
    for (unsigned i = 0; i < DISCS && rc == 0; i++)
        if (disc_at(m, i)->worker)
            rc = blkworker_start(disc_at(m, i)->worker, m->vm, e);
    if (rc == 0)
        rc = vcpu_new(m->vm, spec->ended, spec->opaque, &m->vcpu, e);
    if (rc < 0) {
        machine_free(m);
        return rc;
    }
    *ret_machine = m;
    return 0;
}

void machine_free(struct machine *m)
{
    if (!m)
        return;
    vcpu_free(m->vcpu);
    for (unsigned i = 0; i < CONFIG_MAX_DISKS; i++)
        if (m->disk[i])
            blkworker_stop(m->disk[i]);
    for (unsigned i = 0; i < DISCS; i++)
        if (disc_at(m, i)->worker)
            blkworker_stop(disc_at(m, i)->worker);
    for (unsigned i = 0; i < CONFIG_MAX_NICS; i++) {
        if (m->nat[i]) {
            nat_set_vm(m->nat[i], NULL);
            loop_source_del(m->loop, &m->net_source[i]);
            nat_free(m->nat[i]);
        }
        if (m->net_switch[i])
            loop_source_del(m->loop, &m->net_source[i]);
        switch_free(m->net_switch[i]);
    }
    if (m->serial_host)
        chrhost_drain(m->serial_host, 5000);
    chrhost_free(m->serial_host);
    chrhost_free(m->agent_host);
    chrhost_free(m->exec_host);
    agent_free(m->agent);
    execport_free(m->exec);
    vm_free(m->vm);
    for (unsigned i = 0; i < CONFIG_MAX_DISKS; i++)
        if (m->disk[i])
            blkworker_free(m->disk[i]);
    for (unsigned i = 0; i < DISCS; i++)
        disc_release(disc_at(m, i));
    for (unsigned i = 0; i < CONFIG_MAX_NICS; i++)
        netport_release(&m->net[i]);
    chrport_release(&m->serial);
    chrport_release(&m->agent_port);
    chrport_release(&m->exec_port);
    typist_free(m->typist);
    buf_release(&m->vga_bios);
    buf_release(&m->nic_rom);
    free(m);
}

static int boot_bios(struct machine *m, struct err *e)
{
    const char *path = m->config->bios;
    cleanup(buf_release) struct buf bios = {0};
    int rc;

    for (unsigned i = 0; i < ARRAY_LEN(bios_paths) && !path; i++)
        if (access(bios_paths[i], R_OK) == 0)
            path = bios_paths[i];
    if (!path)
        return err_set(e, VT_NOENT, "no BIOS: install the package seabios, or give --bios FILE or --kernel FILE");
    rc = io_read_file(AT_FDCWD, path, BIOS_MAX, &bios, e);
    if (rc < 0)
        return rc;
    if (bios.len > MAX(m->config->rom_bytes, CONFIG_ROM_DEFAULT))
        return err_set(e, VT_CORRUPT, "%s: has grown since it was given; give it again with --bios", path);
    rc = vm_load_bios(m->vm, bios.data, bios.len, e);
    return rc < 0 ? err_prefix(e, rc, "%s", path) : 0;
}

int machine_boot(struct machine *m, struct err *e)
{
    const struct machine_config *c = m->config;
    cleanup(bootfiles_release) struct bootfiles f = {0};
    int rc;

    if (!c->kernel)
        return boot_bios(m, e);
    rc = bootfiles_read(c->kernel, c->initrd, c->mem, &f, e);
    if (rc < 0)
        return rc;
    rc = vm_load_kernel(m->vm, f.kernel.data, f.kernel.len, f.module, f.n, c->append, e);
    return rc < 0 ? err_prefix(e, rc, "%s", c->kernel) : 0;
}

void machine_go(struct machine *m)
{
    if (!m->connected) {
        m->connected = true;
        chrhost_set_vm(m->serial_host, m->vm);
        chrhost_set_vm(m->agent_host, m->vm);
        chrhost_set_vm(m->exec_host, m->vm);
        for (unsigned i = 0; i < m->config->nnics; i++) {
            if (m->nat[i])
                nat_set_vm(m->nat[i], m->vm);
            if (m->net_switch[i])
                switch_set_vm(m->net_switch[i], m->vm);
        }
    }
    vcpu_resume(m->vcpu);
}

int machine_quiesce_disks(struct machine *m, struct err *e)
{
    int rc = 0;

    for (unsigned i = 0; i < m->config->ndisks && rc == 0; i++)
        rc = blkworker_quiesce(m->disk[i], e);
    for (unsigned i = 0; i < DISCS && rc == 0; i++)
        if (disc_at(m, i)->worker)
            rc = blkworker_quiesce(disc_at(m, i)->worker, e);
    return rc;
}

void machine_retry_disks(struct machine *m)
{
    for (unsigned i = 0; i < m->config->ndisks; i++)
        blkworker_retry(m->disk[i]);
}

/* Off the private networks again: the guest is about to have its parent's addresses. */
static void part(struct machine *m)
{
    for (unsigned i = 0; i < m->config->nnics; i++) {
        if (!m->net_switch[i])
            continue;
        loop_source_del(m->loop, &m->net_source[i]);
        switch_free(m->net_switch[i]);
        m->net_switch[i] = NULL;
    }
}

int machine_drop_connections(struct machine *m, struct err *e)
{
    int rc = 0;

    agent_reset(m->agent);
    agent_hold(m->agent); /* a call under way ends at once now; none may slip a question in behind the discard */
    chrhost_discard(m->agent_host, true);
    agent_release(m->agent);
    execport_reset(m->exec);
    chrhost_discard(m->exec_host, true);
    chrhost_discard(m->serial_host, false);
    typist_discard(m->typist);
    if (m->alone)
        part(m);
    for (unsigned i = 0; i < m->config->nnics; i++) {
        int one = m->nat[i] ? nat_reset_connections(m->nat[i], e) : 0;
        rc = rc < 0 ? rc : one;
        if (m->net_switch[i])
            switch_discard(m->net_switch[i]);
    }
    return rc;
}

int machine_join(struct machine *m, struct err *e)
{
    int rc = 0;

    for (unsigned i = 0; i < m->config->nnics && rc == 0; i++) {
        if (!*m->config->nic[i].net || m->net_switch[i])
            continue;
        rc = make_switch(m, i, e);
        if (rc < 0)
            break;
        loop_source_add(m->loop, &m->net_source[i]);
        switch_set_vm(m->net_switch[i], m->vm);
        switch_discard(m->net_switch[i]); /* what it sent to nobody, under its old address */
    }
    return rc;
}

int machine_change_disc(struct machine *m, const char *path, struct err *e)
{
    struct blkport port;
    int rc;

    if (!m->disc.worker)
        return err_set(e, VT_BUSY, "the machine has no CD drive: stop it to add one");
    rc = disc_change(&m->disc, path, &port, e);
    if (rc == 0 && !vm_change_disc(m->vm, CONFIG_IDE_CDROM, port.size ? &port : NULL))
        rc = err_set(e, VT_FAIL, "the machine has lost its CD drive");
    return rc;
}

/* The disk of this number among the floppies; NULL: there are not so many. */
static struct blkworker *own_floppy(const struct machine *m, unsigned drive)
{
    for (unsigned i = 0; i < m->config->ndisks; i++)
        if (m->config->disk[i].floppy && drive-- == 0)
            return m->disk[i];
    return NULL;
}

int machine_change_floppy(struct machine *m, unsigned drive, const char *path, struct err *e)
{
    struct blkworker *own = own_floppy(m, drive);
    struct blkport port;
    int rc;

    if (drive >= FLOPPY_DRIVES || !m->floppy[drive].worker)
        return err_set(e, VT_BUSY, "the machine has no floppy drive %u: stop it to add one", drive);
    if (!path && !own)
        return err_set(e, VT_BUSY, "floppy drive %u has no disk of its own; to take it away, stop the machine", drive);
    rc = disc_change(&m->floppy[drive], path ? path : "", &port, e);
    if (rc < 0)
        return rc;
    m->own_floppy[drive] = !path;
    if (!path)
        blkworker_port(own, "", &port);
    if (!vm_change_floppy(m->vm, drive, port.size ? &port : NULL))
        return err_set(e, VT_FAIL, "the machine has lost its floppy drive");
    return 0;
}

const char *machine_floppy(const struct machine *m, unsigned drive)
{
    return m->own_floppy[drive] ? NULL : m->floppy[drive].path;
}

void machine_capture(struct machine *m, struct pcap *p)
{
    for (unsigned i = 0; i < m->config->nnics; i++) {
        if (m->nat[i])
            nat_capture(m->nat[i], p);
        if (m->net_switch[i])
            switch_capture(m->net_switch[i], p);
    }
}

bool machine_agent_open(const struct machine *m)
{
    return __atomic_load_n(&m->agent_port.guest_open, __ATOMIC_ACQUIRE) != 0;
}
