/* The QEMU guest agent's protocol over a stream: the virtio port org.qemu.guest_agent.0, bridged to a socket pair, or
 * QEMU's own socket. Calls block and may come from any thread; they take turns. What the guest answers is hostile.
 *
 * A call that times out, a restore or a revert leaves the stream in an unknown state: the next call then synchronises
 * first (guest-sync-delimited with a fresh number), which throws away all answers to older questions. */
#ifndef VT_AGENT_H
#define VT_AGENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

#define AGENT_TIMEOUT_MS 10000 /* for what a healthy agent answers at once */

struct agent;

/* fd becomes the agent's. */
int agent_new(int fd, struct agent **ret_agent, struct err *e);
void agent_free(struct agent *a);
/* The guest is another one now, or at another time: calls under way end with VT_GONE. */
void agent_reset(struct agent *a);
/* The machine is being taken down: calls under way and all later ones end with VT_GONE. */
void agent_shut(struct agent *a);
/* Counts resets: who keeps something of the guest's (a process, an open file) compares it. */
uint64_t agent_generation(const struct agent *a);

/* Keeps other threads' calls out until agent_release; for calls that belong together. The holder may call. */
void agent_hold(struct agent *a);
void agent_release(struct agent *a);

/* Calls `command`; args (may be NULL) is released. *ret (may be NULL) gets the "return" value. VT_GONE: no answer in
 * time, or a reset; VT_FAIL: the agent's own error, its text in the message. */
int agent_call(struct agent *a, const char *command, json_t *args, int timeout_ms, json_t **ret, struct err *e);
/* Has it answered since the last reset, with no call lost since? */
bool agent_synced(struct agent *a);
/* Waits until the agent answers. cancel_fd (-1: none): ends with VT_GONE when it becomes readable. VT_TIMEOUT. */
int agent_wait(struct agent *a, int timeout_ms, int cancel_fd, struct err *e);

/* *ret_count: file systems that were frozen or thawed. A thaw that fails is tried again in the background until the
 * agent answers it. */
int agent_freeze(struct agent *a, int timeout_ms, unsigned *ret_count, struct err *e);
int agent_thaw(struct agent *a, int timeout_ms, unsigned *ret_count, struct err *e);
/* Asks the guest to power off ("powerdown") or to reboot ("reboot"); the agent does not answer this one. */
int agent_shutdown(struct agent *a, const char *mode, struct err *e);

#endif
