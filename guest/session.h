/* One command of the monitor's. */
#ifndef GUEST_SESSION_H
#define GUEST_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include "guest/port.h"
#include "guest/spawn.h"
#include "guest/sys.h"

enum { SESSION_FDS = 4 };

struct session {
    bool used, tty;
    bool input_ended; /* by the monitor */
    bool closed_due;  /* the monitor is to be told that the command takes no more */
    bool ended;       /* the main process has */
    bool has_failed;  /* it was never started: see why */
    bool lingering;   /* the time since the end is being counted */
    uint32_t id;
    struct child child;
    uint32_t credit;     /* output bytes that the monitor has room for */
    uint32_t head, tail; /* of the ring of input, running freely */
    uint32_t room_due;   /* input bytes that went, and that the monitor was not told of */
    char last;           /* of the input */
    int wait_status;
    uint32_t quiet, open; /* ms since the end: without output, and in which output could go */
    char why[256];
    uint8_t input[EW_WINDOW];
};

void session_init(struct session *s, uint32_t id);
/* Takes input from the monitor; what is more than the window is the monitor's fault and is dropped. */
void session_input(struct session *s, const uint8_t *data, uint32_t len);
void session_end_input(struct session *s);
void session_signal(struct session *s, uint32_t number);
void session_resize(struct session *s, uint16_t rows, uint16_t cols);

/* Fills what to poll for; the count. */
unsigned session_poll(struct session *s, const struct port *p, struct pollfd fds[SESSION_FDS]);
/* Moves what can be moved, and adds what the port has to be told. True: the session is over, and the monitor knows. */
bool session_serve(struct session *s, struct port *p, uint32_t passed_ms);
/* Until the next session_serve without events, in ms; -1: for ever. */
int session_timeout(const struct session *s);

#endif
