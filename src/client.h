/* The CLI's end of a machine's monitor: how to start one, find its socket, send it commands in QMP's wire form, pass it
 * file descriptors and hear its events. Links only libc and jansson.
 *
 * Socket: $XDG_RUNTIME_DIR/vmtest/STORE/ID.sock (/tmp/vmtest-UID/STORE/ID.sock without XDG_RUNTIME_DIR); STORE is the
 * store's uuid, ID the machine's row. Its directories are 0700 and must be ours. An ephemeral machine (`run`) has no
 * socket: only the process that started it talks to it, and it ends when that connection does; or it parks itself then
 * (`run --warm`), with a socket by its snapshot's row.
 *
 * Commands beside QMP's own (query-status, stop, cont, system_powerdown, system_reset, inject-nmi, quit, query-version,
 * query-commands); [n fds] are passed with the call; times in seconds, sizes in bytes, a "?" marks what may be absent:
 *   vmtest-info     {}                                  -> {"id", "name", "status", "running", "pid", "mem", "parent",
 * "disks", "nics", "agent", "failure"?} vmtest-stats    {}                                  -> {"text": "name
 * value\n…"} vmtest-wait     {"for": "agent"|"off", "timeout"?}  -> {} (VT_TIMEOUT; VT_GONE: the machine ended first)
 *   vmtest-wait     {"for": "text", "text", "regex"?: bool, "serial"?: bool, "timeout"?} -> {}
 *   screendump      {"filename": absolute path, "format"?: "ppm"|"png"} -> {}
 *   vmtest-screenshot {} [1 fd: gets a PNG file]        -> {"width", "height"}
 *   vmtest-screen   {}                                  -> {"text", "rows", "cols", "cursor": {"row", "col"}|null}
 *   vmtest-snapshot {"name", "note"?, "quiesce"?: "auto"|"require"|"no", "quiesce-timeout"?, "async"?: bool}
 *                   -> {"id", "seconds", "stopped_seconds", "pages", "blocks", "ram": bool, "warning"?}; with "async",
 *                   once it is taken, without "id", "pages" and "blocks": an event says how it ended
 *   vmtest-revert   {"id", "paused"?: bool, "undo"?: bool} -> {"seconds", "pages", "blocks", "power":
 * "running"|"off"…}; "undo" false: what the machine is now, but for its disks, is not kept for
 *   vmtest-undo     {"entry"}                           -> {"memory": true, "seconds", "pages", "power"}, or, where
 * memory is not here, {"memory": false, "why"}, and nothing was done
 *   vmtest-hash     {}                                  -> {"hash": {"ram", "vram", "disk0", …, "state", "all"}}
 *   vmtest-cdrom    {"path": absolute path, or "" for none} -> {}
 *   vmtest-floppy   {"drive"?: 0|1, "path"?: as for vmtest-cdrom; absent: the drive's own disk} -> {}
 *   vmtest-delete   {"id"}, vmtest-rename {"id", "name"} -> {}
 *   vmtest-auto     {"every_ms", "keep"} -> {}: automatic snapshots; every_ms 0: none
 *   vmtest-exec     {"argv": […], "env"?: {…}, "dir"?, "user"?, "tty"?, "rows"?, "cols"?, "stdin"?: true,
 *                    "control"?, "timeout"?} [3 fds: 0, 1, 2; one more with "control"]; argv []: a login shell
 *                   -> {"status": 0..255}
 *   vmtest-copy-in  {"host": absolute path, "guest": path}, or {"guest": path} [1 fd: the file's bytes] ->
 * {"files","bytes"} vmtest-copy-out {"guest": path, "host": absolute path}, or {"guest": path} [1 fd: gets the bytes]
 * -> {"files","bytes"} vmtest-install  {"path": absolute path of a .deb} [2 fds: the installer's output] -> {"status"}
 *   vmtest-take     {"frozen"?: bool, "keep-clock"?: bool} -> {}: the parked machine is the caller's, and runs
 *   vmtest-console  {"port"?: "serial0"} [1 fd: a stream socket] -> {} at once; bytes flow until either end closes it
 * Events: STOP RESUME RESET SHUTDOWN {"reason"} GUEST_PANICKED BLOCK_IO_ERROR VMTEST_REVERTED; while a snapshot is
 * written, VMTEST_SNAPSHOT_PROGRESS {"name", "pages", "of"}; of an asynchronous one, VMTEST_SNAPSHOT {"name", "id",
 * "seconds", "pages", "blocks"} or VMTEST_SNAPSHOT_FAILED {"name", "code", "desc"}. */
#ifndef VT_CLIENT_H
#define VT_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/err.h"

#define CLIENT_MAX_FDS 4

struct client;

/* In place of a machine's id: the parked fork of a snapshot. */
#define CLIENT_PARKED(snapshot) (-(snapshot))

/* Connects to the monitor of machine id of the store with this uuid, greeting and capabilities done.
 * VT_BUSY: it is not running. */
int client_open(const char *store_uuid, int64_t id, struct client **ret_client, struct err *e);
/* The same on a connected stream socket, which becomes the client's. */
int client_open_fd(int fd, struct client **ret_client, struct err *e);
void client_close(struct client *c); /* NULL is fine */
void cleanup_client(struct client **c);

/* Sends a command and waits for its answer; events that arrive meanwhile are kept for client_event. `args` may be NULL
 * and is released, always. *ret_result (may be NULL) is the caller's. A failure in the monitor arrives as its own code
 * and message; VT_GONE: the monitor ended meanwhile. */
int client_call(struct client *c, const char *command, json_t *args, json_t **ret_result, struct err *e);
/* The same, with file descriptors (0..CLIENT_MAX_FDS); the caller keeps its own. */
int client_call_fds(struct client *c, const char *command, json_t *args, const int *fds, unsigned nfds,
                    json_t **ret_result, struct err *e);
/* Events that arrive during a call go to fn at once; those that it says it has seen to are not kept. NULL: none. */
void client_on_event(struct client *c, bool (*fn)(void *opaque, const json_t *event), void *opaque);
/* The next event, oldest first; waits at most timeout_ms (-1: for ever). VT_TIMEOUT, VT_GONE: the monitor ended. */
int client_event(struct client *c, int timeout_ms, json_t **ret_event, struct err *e);

/* A guest command. argv ends with NULL; env (may be NULL) is "NAME=value" words, ends with NULL. */
struct client_exec {
    const char *const *argv;
    const char *const *env;
    const char *dir;  /* NULL: the agent's */
    const char *user; /* NULL: root */
    bool tty;         /* a terminal of rows by cols (0: not known) */
    unsigned rows, cols;
    bool has_control; /* control: a stream of struct exec_control, for the command while it runs */
    int control;
    double timeout;   /* seconds; 0: none */
    int in, out, err; /* in may be -1: no input */
};
/* Runs it; *ret_status is the guest's own status, 0..255 (128+n: signal n). VT_TIMEOUT: 124; any other error: 125. */
int client_exec(struct client *c, const struct client_exec *x, int *ret_status, struct err *e);

/* ---- starting a monitor */

struct monitor_spec {
    const char *store; /* directory */
    int64_t machine;   /* its row; 0: an ephemeral machine */
    int64_t snapshot;  /* ephemeral: the snapshot that it starts from; else 0, or the one with a memory, on which its
                          head stands, to go on from */
    int lock_fd; /* holds the machine's OFD lock (ephemeral: the snapshot's shared lock); -1: the monitor takes it */
    bool paused; /* do not run the guest yet */
    bool frozen, keep_clock;  /* a guest of a snapshot stays as it was; or its clock does */
    bool cache_unsafe;        /* guest flushes are not made durable; always so for an ephemeral machine */
    uint64_t park;            /* ephemeral: wait so long, ns, for somebody else to take it; 0: end with its owner */
    uint64_t snapshot_memory; /* bytes for what the guest's memory was, see capture_bound; 0: as many as without this */
    const char *gdb;          /* where to let a debugger in (`start --gdb`); NULL: nowhere */
    const char *pcap;         /* file for what goes over the cards' wires, replaced; NULL: none */
    const char *log;          /* file for the monitor's log, appended to; NULL: none */
};
/* Starts `vmtest-monitor` in a session of its own and waits until its machine stands (VT_TIMEOUT after a minute). Its
 * start-up error comes back as ours. ret_client may be NULL, except for an ephemeral machine. */
int monitor_spawn(const struct monitor_spec *s, struct client **ret_client, struct err *e);

/* Path of a program of libexec/vmtest: $VMTEST_LIBEXEC, else the build tree that holds this program, else the installed
 * one. VT_NOENT. */
int libexec_path(const char *program, char *ret_path, size_t size, struct err *e);
/* A directory that is ours alone, made where it is not there. VT_PERM: it is not; VT_NOENT. */
int client_private_dir(const char *path, bool create, struct err *e);
/* Where a store's machines have their sockets; `create` makes the directories. VT_PERM: one on the way is not ours. */
int client_runtime_dir(const char *store_uuid, bool create, char *ret_path, size_t size, struct err *e);
/* Path of a machine's socket; `create` makes the directories. VT_PERM: a directory on the way is not ours. */
int client_socket_path(const char *store_uuid, int64_t id, bool create, char *ret_path, size_t size, struct err *e);

#endif
