/* User-mode network: the guest's card is on a network of its own, 10.0.2.0/24, with a gateway (.2) that is this host, a
 * name server (.3) and DHCP (the guest is .15), and fec0::/64 with the same hosts and router advertisements;
 * connections go out through the host's sockets, and forwards lead in. It runs on the event loop's thread:
 * nat_fill_pollfds and nat_poll fit struct loop_source. */
#ifndef VT_NAT_H
#define VT_NAT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include "src/base/err.h"
#include "src/config.h"
#include "vmcore/port.h"

struct nat;
struct pcap;

struct nat_config {
    const char *hostname; /* told to the guest by DHCP; NULL: none */
    const struct config_forward *forward;
    size_t nforwards;
};

/* Serves port, which must outlive it and whose kick descriptor it makes (before the machine is made with the port).
 * Frames for the guest are lost until nat_set_vm. VT_BUSY: a forward's port is taken; VT_FAIL: built without libslirp.
 */
int nat_new(const struct nat_config *c, struct netport *port, struct nat **ret_nat, struct err *e);
void nat_free(struct nat *n);
/* The machine that the port belongs to; NULL: it is gone. */
void nat_set_vm(struct nat *n, struct vm *vm);

/* Appends what to wait for (at most max entries, which is never too few for the kick) and lowers *timeout_ms (-1:
 * none). Returns how many. After the poll nat_poll gets the same entries; failed: poll returned an error. */
int nat_fill_pollfds(void *nat, struct pollfd *fds, int max, int *timeout_ms);
void nat_poll(void *nat, const struct pollfd *fds, int count, bool failed);

/* A forward added later, and removed again (host, host_port and protocol name it; VT_NOENT). */
int nat_forward_add(struct nat *n, const struct config_forward *f, struct err *e);
int nat_forward_remove(struct nat *n, const struct config_forward *f, struct err *e);

/* After a revert: every connection is reset on both sides, forwards listen again, frames under way are dropped. Fails
 * where a forward's port was taken by another process in that instant; the others work. */
int nat_reset_connections(struct nat *n, struct err *e);

/* Copies every frame to p from now on; NULL: no more. p stays the caller's. */
void nat_capture(struct nat *n, struct pcap *p);

#endif
