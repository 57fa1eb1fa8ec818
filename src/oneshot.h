/* A guest without a store: boots a kernel, its first serial port on standard output, and ends as the guest ends. */
#ifndef VT_ONESHOT_H
#define VT_ONESHOT_H

/* The words after `vmtest-monitor --oneshot`. Returns the exit status of DESIGN: poweroff 0, isa-debug-exit 2v+1,
 * triple fault 1, a reset under --no-reboot 0, time-out 124, a failure of ours 125 (64 for wrong words), signal 128+n.
 */
int oneshot_main(int argc, char **argv);

#endif
