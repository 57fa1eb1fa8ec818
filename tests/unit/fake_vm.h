/* A machine without a CPU: vmcore.h for tests of what stands around it. Its kernel or BIOS is a text, a step
 * a line:
 *   fakevm            the first line (else vm_load_kernel refuses it)
 *   say TEXT          writes TEXT and a newline to serial0
 *   echo              reads a line from serial0 and writes it back
 *   keys N            waits for N presses and releases of keys and says them
 *   mouse N           the same with changes of the mouse
 *   poke PAGE BYTE    fills a page of RAM
 *   peek PAGE         says the page's first byte
 *   write OFF BYTE, flush, read OFF
 *                     a sector of disk 0 (read says its first byte; a failed request says "io error")
 *   show TEXT         puts TEXT on the screen, a line below the last one (25 lines, text mode 3)
 *   graphics          switches to a graphics mode of 64x32, all red
 *   spin              stands until it is kicked, for ever
 *   poweroff, reset, exit N, triple, fail TEXT
 * State (where in the text it stands, and the clock) can be saved and loaded; RAM is an image with change tracking. */
#ifndef VT_TESTS_FAKE_VM_H
#define VT_TESTS_FAKE_VM_H

#define FAKE_RAM_PAGES_MAX 4096

#endif
