/* A machine as a process sees it: the virtual hardware that a configuration asks for, and what serves it on the host: a
 * thread for the vCPU, one for each disk, and on the event loop the serial line, the agent's port and the network. */
#ifndef VT_MACHINE_H
#define VT_MACHINE_H

#include <stdbool.h>
#include "src/agent.h"
#include "src/base/blockdev.h"
#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/blkworker.h"
#include "src/chrhost.h"
#include "src/config.h"
#include "src/disc.h"
#include "src/execport.h"
#include "src/loop.h"
#include "src/net/nat.h"
#include "src/net/pcap.h"
#include "src/net/switch.h"
#include "src/typist.h"
#include "src/vcpu.h"
#include "vmcore/vmcore.h"

struct machine_spec {
    const struct machine_config *config; /* outlives the machine */
    const char *store_uuid;              /* whose private networks it may be on; NULL: none */
    bool alone;                          /* its cards on private networks are connected to nothing until machine_join */
    const char *hostname;                /* told to the guest by DHCP; NULL: none */
    struct blockdev *disk[CONFIG_MAX_DISKS]; /* for config->disk[n]; outlive the machine */
    /* On the vCPU thread: the guest has come to an end. A reset is one, too: machine_boot and vcpu_restart reboot it.
     */
    void (*ended)(void *opaque, const struct vcpu_end *end);
    blkworker_trouble *trouble; /* on a worker's thread */
    void *opaque;
};

struct machine {
    struct loop *loop;
    const struct machine_config *config;
    struct vm *vm;
    struct vcpu *vcpu; /* paused once until machine_go */
    bool connected, alone;
    const char *store_uuid;
    struct chrport serial, agent_port, exec_port;
    struct chrhost *serial_host, *agent_host, *exec_host;
    struct agent *agent;
    struct execport *exec;
    struct netport net[CONFIG_MAX_NICS];
    struct nat *nat[CONFIG_MAX_NICS];            /* NULL: the card is on a private network */
    struct nswitch *net_switch[CONFIG_MAX_NICS]; /* NULL: it is not, or there is nobody else */
    struct loop_source net_source[CONFIG_MAX_NICS];
    struct blkworker *disk[CONFIG_MAX_DISKS];
    struct disc disc;                  /* in the CD drive */
    struct disc floppy[FLOPPY_DRIVES]; /* what is there in place of the drive's own disk; made with the drive */
    bool own_floppy[FLOPPY_DRIVES];    /* the drive's own disk is in it */
    struct buf vga_bios, nic_rom;
    struct typist *typist;
};

/* Makes it, powered off: nothing loaded, the vCPU paused. On the loop's thread. VT_BUSY: a forward's port is taken. */
int machine_new(struct loop *l, const struct machine_spec *spec, struct machine **ret_machine, struct err *e);
/* Stops the guest and ends all threads; requests of its disks are served first. On the loop's thread; NULL is fine. */
void machine_free(struct machine *m);

/* [vCPU paused, before the first run or after vm_reset] Loads the configuration's kernel, or the BIOS. */
int machine_boot(struct machine *m, struct err *e);
/* Connects ports and network to the guest and takes back the pause that the vCPU was made with. On the loop's thread.
 */
void machine_go(struct machine *m);

/* [vCPU paused, any thread] Waits until the disks have served what the guest submitted. VT_BUSY: one is in trouble. */
int machine_quiesce_disks(struct machine *m, struct err *e);
/* [any thread] Tries the disks' held requests again. */
void machine_retry_disks(struct machine *m);
/* [vCPU paused, loop's thread] The guest is another one now: bytes under way are dropped, connections reset. */
int machine_drop_connections(struct machine *m, struct err *e);
/* Connects the cards on private networks of a machine that was made alone; machine_drop_connections parts it again. On
 * the loop's thread. */
int machine_join(struct machine *m, struct err *e);
/* [vCPU paused, any thread] Another disc in the CD drive, "" for none. VT_BUSY: the machine has no CD drive. */
int machine_change_disc(struct machine *m, const char *path, struct err *e);
/* The same of a floppy drive; NULL: its own disk. VT_BUSY: there is no such drive, or it has no disk of its own. */
int machine_change_floppy(struct machine *m, unsigned drive, const char *path, struct err *e);
/* What is in a floppy drive now: a path, "" for nothing, NULL for its own disk, or no drive. */
const char *machine_floppy(const struct machine *m, unsigned drive);
/* [loop's thread] Copies all cards' frames to p from now on, which outlives the machine. */
void machine_capture(struct machine *m, struct pcap *p);
/* Is the agent's port open in the guest? [any thread] */
bool machine_agent_open(const struct machine *m);

#endif
