/* Functions that are not used here, because a better one exists: a call fails to compile, with the function's name in
 * the message. The lint suite checks the objects for the same list, so that nothing gets past by another road. The
 * headers come first: once they were read, the names can be taken away. */
#ifndef VT_BASE_BANNED_H
#define VT_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BANNED(func) sorry_##func##_is_banned

/* no bounds: buf_add, buf_printf, snprintf, memcpy */
#undef strcpy
#define strcpy(x, y) BANNED(strcpy)
#undef strcat
#define strcat(x, y) BANNED(strcat)
#undef strncpy
#define strncpy(x, y, n) BANNED(strncpy)
#undef strncat
#define strncat(x, y, n) BANNED(strncat)
#undef sprintf
#define sprintf(...) BANNED(sprintf)
#undef vsprintf
#define vsprintf(...) BANNED(vsprintf)
/* no error: number_parse, size_parse, strtoull */
#undef atoi
#define atoi(x) BANNED(atoi)
#undef atol
#define atol(x) BANNED(atol)
#undef atoll
#define atoll(x) BANNED(atoll)
/* hidden static state: strsep or strtok_r, gmtime_r, localtime_r */
#undef strtok
#define strtok(x, y) BANNED(strtok)
#undef gmtime
#define gmtime(t) BANNED(gmtime)
#undef localtime
#define localtime(t) BANNED(localtime)
#undef ctime
#define ctime(t) BANNED(ctime)
#undef asctime
#define asctime(t) BANNED(asctime)
/* a shell between us and an argument: posix_spawn, execvp */
#undef system
#define system(x) BANNED(system)
#undef popen
#define popen(x, y) BANNED(popen)
/* races: mkstemp */
#undef mktemp
#define mktemp(x) BANNED(mktemp)
#undef tmpnam
#define tmpnam(x) BANNED(tmpnam)

#endif
