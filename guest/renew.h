/* A card that got another hardware address asks for what goes with it: its IPv6 addresses are made anew, and who asked
 * DHCP for its IPv4 address asks again. */
#ifndef GUEST_RENEW_H
#define GUEST_RENEW_H

#include <stdbool.h>
#include <stdint.h>

enum { RENEW_CARDS = 4, RENEW_MS = 5000 };

struct renew {
    char name[RENEW_CARDS][16]; /* interfaces whose address was changed */
    unsigned n;
    int pid;       /* of who does it; 0: nobody */
    uint32_t left; /* ms that it is waited for */
};

/* An interface is one of these from now on; false: there is no room. */
bool renew_add(struct renew *r, const char name[16]);
/* Begins; r->pid is set. False: there is nothing to do, or it cannot be started. */
bool renew_start(struct renew *r);

#endif
