/* A machine that was restored from a snapshot becomes one of its own: fresh random numbers, and the time of day. */
#ifndef GUEST_IDENTITY_H
#define GUEST_IDENTITY_H

#include "guest/renew.h"
#include "guest/wire.h"

/* Does what id->flags ask for, but for EW_RENEW; returns those that were done. Interfaces whose hardware address was
 * changed are added to *renew. */
uint32_t identity_set(const struct ew_identity *id, struct renew *renew);

#endif
