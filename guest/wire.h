/* How the monitor and its helper in the guest speak over the virtio port org.vmtest.exec.0: frames of a head, at most
 * EW_PAYLOAD bytes and a tail. Numbers are little-endian.
 *
 *   head: u16 EW_MARK, u8 type, u8 0, u32 session, u32 length of the payload       tail: u32 EW_TAIL_MARK
 *
 * A snapshot may hold the stream anywhere, half a frame included. The monitor therefore begins with EW_SYNC_ZEROS zero
 * bytes, which complete any half frame and, having no tail, invalidate it; between frames they mean nothing. A HELLO
 * with a fresh number follows; the helper drops all sessions and all it had to send, and answers with the same number,
 * for which the monitor looks in whatever comes. Each stream has credit: nobody sends what the other has no room for.
 */
#ifndef GUEST_WIRE_H
#define GUEST_WIRE_H

#include <stdint.h>

#define EW_PORT       "org.vmtest.exec.0"
#define EW_VERSION    3u
#define EW_MARK       0x5856u
#define EW_TAIL_MARK  0x21444e45u
#define EW_HEAD       12u
#define EW_TAIL       4u
#define EW_PAYLOAD    16384u
#define EW_SYNC_ZEROS (EW_HEAD + EW_PAYLOAD + EW_TAIL)
#define EW_NONCE      16u
#define EW_WINDOW     65536u     /* of standard input: the helper's room, a session each */
#define EW_WORDS_MAX  (1u << 20) /* all words of one command */
#define EW_SESSIONS   64u
#define EW_SEED       64u
#define EW_MACS       4u

enum ew_type {
    /* both ways, session 0 */
    EW_HELLO = 1,    /* to the guest: EW_NONCE bytes; from it: the same, and u32 EW_VERSION */
    EW_IDENTITY = 2, /* to: struct ew_identity; from: u32 flags of what was done */
    EW_QUIT = 3,     /* to: the helper ends */
    /* to the guest */
    EW_WORDS = 16, /* a piece of the next START's words */
    EW_START,      /* struct ew_start; the words before it are the directory ("": the usual one), the user ("": root),
                      the arguments (none: the user's login shell) and the environment, each with its NUL */
    EW_DATA,       /* standard input */
    EW_END,        /* no more of it */
    EW_SIGNAL,     /* u32 number, to the command's process group */
    EW_RESIZE,     /* u16 rows, u16 columns */
    EW_DROP,       /* nobody listens any more */
    /* both ways */
    EW_CREDIT = 32, /* u32 bytes: room for that much more output; or for standard input */
    /* from the guest */
    EW_OUT = 48,
    EW_ERR,
    EW_CLOSED, /* the command takes no more input */
    EW_EXIT,   /* u32 enum ew_end, u32 number, text: the session is over */
};

enum ew_end {
    EW_EXITED = 0, /* number: its status */
    EW_KILLED = 1, /* number: the signal */
    EW_FAILED = 2, /* it could not be started: text says why */
};

enum { EW_TTY = 1, EW_STDIN = 2 }; /* ew_start.flags */
struct ew_start {
    uint32_t flags;
    uint16_t rows, cols;
    uint32_t nargs, nenv;
    uint32_t credit; /* for output */
};

/* ew_identity.flags, and the answer's. EW_RENEW, alone: the cards that the last EW_MAC changed are connected now; the
 * answer comes when their addresses were asked for anew, or after some seconds. */
enum { EW_SEEDED = 1, EW_CLOCK = 2, EW_MAC = 4, EW_RENEW = 8 };
struct ew_mac {
    uint8_t old[6], fresh[6];
};
struct ew_identity {
    uint32_t flags;
    uint32_t nsec;
    uint64_t sec; /* since 1970 */
    uint8_t seed[EW_SEED];
    struct ew_mac mac[EW_MACS]; /* all zero: unused */
};

_Static_assert(sizeof(struct ew_start) == 20, "as sent");
_Static_assert(sizeof(struct ew_identity) == 16 + EW_SEED + EW_MACS * 12, "as sent");

#endif
