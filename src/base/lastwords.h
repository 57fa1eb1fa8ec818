/* What a process that dies of a signal says on standard error, which is a monitor's log: a machine that is gone without
 * a word leaves its user nothing to go by. */
#ifndef VT_BASE_LASTWORDS_H
#define VT_BASE_LASTWORDS_H

#include <signal.h>

/* The calling thread, which is the program's first, and every thread from now on says its last words where one of the
 * signals of a broken program (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS) ends the process. A handler
 * that is put in place for one of them later hands over to last_words(). */
void last_words_prepare(void);

/* For a signal handler: one line with the signal, the thread, and where the instruction and the address are that it was
 * about; then the signal's default action is put back, and returning from the handler runs into it. */
void last_words(int sig, const siginfo_t *si, const void *context);

/* The signals that ask a process to end, and those that would end it without asking: of a limit on its time, or by
 * somebody's mistake. All of them are a reason to end in good order, and to say so. */
void ending_signals(sigset_t *ret_set);

#endif
