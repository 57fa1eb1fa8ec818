/* What the helper has instead of a C library. */
#ifndef GUEST_LIB_H
#define GUEST_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
char *strchr(const char *s, int c);

/* Text put together in a room of its own, cut at its end; always ends with NUL. */
struct text {
    char *at, *end; /* end: of the room, where the NUL can be */
};
#define TEXT(room) ((struct text){(room), (room) + sizeof(room) - 1})
void text_add(struct text *t, const char *s);
void text_addn(struct text *t, const char *s, size_t n);
void text_number(struct text *t, uint32_t n);
void text_errno(struct text *t, long err); /* a negative errno, in words */

/* A decimal number; false where s is none. */
bool number(const char *s, uint32_t *ret);
/* Reads a file's first max - 1 bytes and ends them with NUL; the count, or negative. */
long read_file(const char *path, char *dst, size_t max);

#endif
