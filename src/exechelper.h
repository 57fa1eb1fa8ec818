/* Puts the helper (guest/) into the guest's memory and starts it there, by the guest agent. */
#ifndef VT_EXECHELPER_H
#define VT_EXECHELPER_H

#include "src/agent.h"
#include "src/base/err.h"

/* It has been started when this returns, and opens its port a moment later. VT_FAIL with the guest's reason. */
int exechelper_install(struct agent *a, struct err *e);

#endif
