/* Users and their groups from /etc/passwd and /etc/group. */
#ifndef GUEST_USERS_H
#define GUEST_USERS_H

#include <stdbool.h>
#include <stdint.h>

#define USER_GROUPS 256

struct user {
    char name[256], home[1024], shell[1024];
    uint32_t uid, gid;
    uint32_t groups[USER_GROUPS];
    unsigned ngroups;
};

/* who: a name, or a number (which need not be anybody's). False: there is no such user. */
bool user_find(const char *who, struct user *ret);

#endif
