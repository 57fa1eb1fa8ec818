#ifndef VT_FAULT_H
#define VT_FAULT_H

#include <signal.h>

void fault_handler(int sig, siginfo_t *si, void *context);
void fault_default(int sig); /* puts the default action back; returning runs into it */

#endif
