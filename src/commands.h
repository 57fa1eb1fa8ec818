/* What the files of the monitor's commands share. Private to the monitor. */
#ifndef VT_COMMANDS_H
#define VT_COMMANDS_H

#include "src/monitor.h"

#define WHERE "the command's arguments"

/* Ends the call: result (released, may be NULL) where rc is 0, else err. */
void answer(struct qmp_call *call, int rc, json_t *result, struct err *err);
/* Runs work on a thread of its own, which answers the call. */
void start_job(struct monitor *m, struct qmp_call *call, void (*work)(struct monitor *m, struct qmp_call *call));
/* A number of seconds; absent: *ret_ns stays. */
int get_seconds(const json_t *args, const char *key, uint64_t *ret_ns, struct err *e);
json_t *json_seconds(uint64_t ns);
/* VT_BUSY for a machine that is thrown away. */
int ephemeral(const struct monitor *m, struct err *e);
/* The argument "id". */
int get_id(const struct qmp_call *call, int64_t *ret, struct err *e);
/* VT_NOENT: the snapshot is another machine's. */
int check_ours(struct monitor *m, int64_t id, struct err *e);

/* commands_input.c */
void cmd_type(void *opaque, struct qmp_call *call);
void cmd_send_key(void *opaque, struct qmp_call *call);
void cmd_input_send_event(void *opaque, struct qmp_call *call);
/* commands_screen.c */
void cmd_screendump(void *opaque, struct qmp_call *call);
void cmd_screenshot(void *opaque, struct qmp_call *call);
void cmd_screen(void *opaque, struct qmp_call *call);
/* [job] Until the screen, or the serial console, has the text. VT_TIMEOUT; VT_GONE: the machine ended without it. */
int wait_text(struct monitor *m, const struct qmp_call *call, uint64_t timeout, struct err *e);
/* commands_tree.c */
void cmd_revert(void *opaque, struct qmp_call *call);
void cmd_undo(void *opaque, struct qmp_call *call);
void cmd_hash(void *opaque, struct qmp_call *call);

#endif
