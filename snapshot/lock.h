/* Byte locks in the store's `lock` file. They belong to an open file description: a child that inherits the descriptor
 * shares the lock, and it goes when the last one is closed, however that happens. */
#ifndef VT_SNAPSHOT_LOCK_H
#define VT_SNAPSHOT_LOCK_H

#include <stdbool.h>
#include <stdint.h>
#include "src/base/err.h"
#include "snapshot/snapshot.h"

#define LOCK_STORE        UINT64_C(0) /* shared: open; exclusive: being made or upgraded */
#define LOCK_WRITERS      UINT64_C(1) /* shared: pages are being put in, which may share others; exclusive: gc */
#define LOCK_MACHINE(id)  ((UINT64_C(1) << 32) + (uint64_t)(id))
#define LOCK_SNAPSHOT(id) ((UINT64_C(1) << 33) + (uint64_t)(id))

enum lock_mode { LOCK_NONE, LOCK_SHARED, LOCK_EXCLUSIVE };

/* Sets the lock of fd's description on one byte. !wait: VT_BUSY where another description is in the way. The message
 * says no more than that; callers put what is locked before it. */
int lock_byte(int fd, uint64_t byte, enum lock_mode mode, bool wait, struct err *e);
/* Would an exclusive lock on byte be refused? */
int lock_test(int fd, uint64_t byte, bool *ret_taken, struct err *e);
/* A new description of the store's lock file. */
int lock_open(struct store *s, int *ret_fd, struct err *e);

/* The exclusive lock on a snapshot, which keeps forks off while it is deleted; VT_BUSY. */
int lock_snapshot_alone(struct store *s, int64_t snapshot, int *ret_fd, struct err *e);

#endif
