/* Running a command in a guest, as exec and run do: its streams are ours, or with --json parts of the object. */
#ifndef VT_CLI_GUESTCMD_H
#define VT_CLI_GUESTCMD_H

#include "cli/cli.h"
#include "src/client.h"

/* The options that exec and run share; a member of their structs. */
struct guest_opts {
    struct strlist env;
    const char *dir, *user;
    uint64_t timeout;
};
#define GUEST_OPTIONS(type, member)                                                                                   \
    {"env",    "NAME=VALUE", "add to the command's environment; may be repeated", offsetof(type, member.env),         \
     OPT_LIST, 'e'},                                                                                                  \
        {"dir", "DIR", "the directory that it runs in", offsetof(type, member.dir), OPT_STR, 'w'},                    \
        {"user", "USER", "the user that it runs as (root unless given)", offsetof(type, member.user), OPT_STR, 'u'},  \
    {                                                                                                                 \
        "timeout", "TIME", "end it after this long, with status 124", offsetof(type, member.timeout), OPT_DURATION, 0 \
    }

/* "NAME=VALUE" each. VT_USAGE. */
int guest_opts_check(const struct guest_opts *o, struct err *e);
/* Runs argv; the result is the guest's status, or negative. */
int guest_command(struct cli *c, struct client *client, const struct guest_opts *o, const char *const *argv, bool tty,
                  struct err *e);

#endif
