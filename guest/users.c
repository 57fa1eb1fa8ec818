#include "guest/users.h"
#include "guest/lib.h"
#include "guest/sys.h"

enum { FIELDS = 7, TABLE_MAX = 1 << 20 };

/* The tables are read while no other command is being started. */
static char table[TABLE_MAX];

static void take(char *dst, size_t size, const char *src)
{
    struct text t = {dst, dst + size - 1};

    text_add(&t, src);
}

/* Cuts the next line of *at at its colons; false at the end. */
static bool next_line(char **at, char *field[FIELDS])
{
    char *p = *at, *end = strchr(p, '\n');
    unsigned n = 0;

    if (!*p)
        return false;
    *at = end ? end + 1 : p + strlen(p);
    if (end)
        *end = 0;
    field[n++] = p;
    for (; *p && n < FIELDS; p++)
        if (*p == ':') {
            *p = 0;
            field[n++] = p + 1;
        }
    while (n < FIELDS)
        field[n++] = p;
    return true;
}

static bool member_of(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (memcmp(p, name, len) == 0 && (p[len] == 0 || p[len] == ','))
            return true;
        if (!*p)
            return false;
    }
    return false;
}

static void find_groups(struct user *u)
{
    char *at = table, *f[FIELDS];
    uint32_t gid;

    u->groups[0] = u->gid;
    u->ngroups = 1;
    if (read_file("/etc/group", table, sizeof table) < 0)
        return;
    while (next_line(&at, f) && u->ngroups < USER_GROUPS)
        if (number(f[2], &gid) && gid != u->gid && member_of(f[3], u->name))
            u->groups[u->ngroups++] = gid;
}

bool user_find(const char *who, struct user *ret)
{
    uint32_t id = 0, uid, gid;
    bool numeric = number(who, &id), found = false;
    char *at = table, *f[FIELDS];

    memset(ret, 0, sizeof *ret);
    if (read_file("/etc/passwd", table, sizeof table) < 0)
        table[0] = 0;
    while (!found && next_line(&at, f)) {
        if (!number(f[2], &uid) || !number(f[3], &gid) || (strcmp(f[0], who) != 0 && !(numeric && uid == id)))
            continue;
        found = true;
        take(ret->name, sizeof ret->name, f[0]);
        take(ret->home, sizeof ret->home, *f[5] ? f[5] : "/");
        take(ret->shell, sizeof ret->shell, *f[6] ? f[6] : "/bin/sh");
        ret->uid = uid;
        ret->gid = gid;
    }
    if (!found && (numeric || strcmp(who, "root") == 0)) {
        take(ret->name, sizeof ret->name, who);
        take(ret->home, sizeof ret->home, numeric && id ? "/" : "/root");
        take(ret->shell, sizeof ret->shell, "/bin/sh");
        ret->uid = ret->gid = id;
        found = true;
    }
    if (found)
        find_groups(ret);
    return found;
}
