#ifndef VT_FAULT_H
#define VT_FAULT_H

#include <signal.h>

void fault_handler(int sig, siginfo_t *si, void *context);
/* For a fault that is none of the guest's: says so, and puts the default action back; returning runs into it. */
void fault_fatal(int sig, siginfo_t *si, void *context);

#endif
