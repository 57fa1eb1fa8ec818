/* Sizes, durations and times, as text and as numbers; and the two clocks. */
#ifndef VT_BASE_UNITS_H
#define VT_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

#define NS_PER_SEC UINT64_C(1000000000)
#define NS_PER_MS  UINT64_C(1000000)

uint64_t clock_mono_ns(void); /* CLOCK_MONOTONIC */
int64_t clock_wall_ns(void);  /* since 1970, UTC */

/* "4096", "512K", "512M", "4G", "1T" (powers of 1024; an i, B or iB may follow: "4GiB"; a fraction may be had: "1.5G").
 * VT_USAGE names the text. */
int size_parse(const char *s, uint64_t *ret_bytes, struct err *e);
/* "500ms", "2s", "5m", "1h", "3d", "250us", "10ns", and sums: "1m30s"; a bare number is seconds; a fraction may be had.
 */
int duration_parse(const char *s, uint64_t *ret_ns, struct err *e);
/* RFC 3339 UTC: "2026-01-31T12:00:00Z", a fraction of a second allowed, offsets "+01:00" too. */
int time_parse(const char *s, int64_t *ret_ns, struct err *e);
/* A whole number in decimal, within [min, max]. */
int number_parse(const char *s, uint64_t min, uint64_t max, uint64_t *ret_n, struct err *e);

#define UNITS_MAX 48 /* room that any of these needs */
/* Three significant digits for people: "412 B", "1.80 MiB", "4 GiB". Returns dst. */
char *size_format(char dst[UNITS_MAX], uint64_t bytes);
/* "850 us", "1.8 ms", "12 ms", "2.4 s", "3 m 12 s", "2 h 5 m". */
char *duration_format(char dst[UNITS_MAX], uint64_t ns);
/* "2026-01-31T12:00:00Z", with milliseconds where there are any. */
char *time_format(char dst[UNITS_MAX], int64_t ns);

#endif
