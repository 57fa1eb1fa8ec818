/* A card's port on a private network: an Ethernet switch that the monitors of its machines make up together, without a
 * process of its own. Each port is a datagram socket in the network's directory (0700); a frame goes straight to the
 * port that its destination was last heard from, or, where that is not known, to all. Each port learns for itself.
 *
 * A monitor may die at any instant: what it left in the directory refuses, and is removed by who finds it. A port that
 * does not take a frame for HOLD_NS loses it. Runs on the event loop's thread: the two functions fit loop_source. */
#ifndef VT_SWITCH_H
#define VT_SWITCH_H

#include <poll.h>
#include <stdbool.h>
#include "src/base/err.h"
#include "vmcore/port.h"

struct nswitch;
struct pcap;

/* Serves port, as nat_new does. dirfd: the network's directory; it becomes the switch's, on error too. */
int switch_new(int dirfd, struct netport *port, struct nswitch **ret, struct err *e);
void switch_free(struct nswitch *s); /* NULL is fine */
void switch_set_vm(struct nswitch *s, struct vm *vm);
/* After a revert: frames that the guest of before sent are dropped. */
void switch_discard(struct nswitch *s);

/* Copies what the guest sends and is sent to p from now on; NULL: no more. p stays the caller's. */
void switch_capture(struct nswitch *s, struct pcap *p);

int switch_fill_pollfds(void *nswitch, struct pollfd *fds, int max, int *timeout_ms);
void switch_poll(void *nswitch, const struct pollfd *fds, int count, bool failed);

#endif
