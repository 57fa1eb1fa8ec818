#include "src/nets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "src/base/banned.h"
#include "src/base/util.h"
#include "src/client.h"

static bool letter_or_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool nets_name_valid(const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < len; i++)
        if (!letter_or_digit(name[i]) && (i == 0 || !strchr("._+-", name[i])))
            return false;
    return len > 0 && len <= NET_NAME_MAX;
}

static int check_name(const char *name, struct err *e)
{
    return nets_name_valid(name) ? 0 : err_set(e, VT_USAGE, "\"%.80s\" is not a network's name", name);
}

static int kept_path(const char *store_dir, const char *name, char *ret, size_t size, struct err *e)
{
    int n = snprintf(ret, size, "%s/nets%s%s", store_dir, *name ? "/" : "", name);

    return n < 0 || (size_t)n >= size ? err_set(e, VT_FAIL, "%s: too long a path", store_dir) : 0;
}

int nets_create(const char *store_dir, const char *name, struct err *e)
{
    char path[PATH_MAX];
    int rc = check_name(name, e);

    if (rc == 0)
        rc = kept_path(store_dir, "", path, sizeof path, e);
    if (rc == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
        rc = err_set(e, err_from_errno(errno), "%s: %m", path);
    if (rc == 0)
        rc = kept_path(store_dir, name, path, sizeof path, e);
    if (rc == 0 && mkdir(path, 0700) < 0)
        rc = errno == EEXIST ? err_set(e, VT_EXISTS, "%s: there is a network of this name", name)
                             : err_set(e, err_from_errno(errno), "%s: %m", path);
    return rc;
}

bool nets_exists(const char *store_dir, const char *name)
{
    char path[PATH_MAX];

    return nets_name_valid(name) && kept_path(store_dir, name, path, sizeof path, NULL) == 0 && access(path, F_OK) == 0;
}

int nets_list(const char *store_dir, struct strlist *ret, struct err *e)
{
    char path[PATH_MAX];
    int rc = kept_path(store_dir, "", path, sizeof path, e);
    struct dirent *d;
    DIR *dir;

    if (rc < 0)
        return rc;
    dir = opendir(path);
    if (!dir)
        return errno == ENOENT ? 0 : err_set(e, err_from_errno(errno), "%s: %m", path);
    while ((d = readdir(dir)))
        if (nets_name_valid(d->d_name))
            strlist_add(ret, d->d_name);
    closedir(dir);
    return ret->failed ? err_set(e, VT_FAIL, "out of memory") : 0;
}

/* ---- where they meet */

static int meeting_path(const char *store_uuid, const char *name, bool create, char *ret, size_t size, struct err *e)
{
    char base[PATH_MAX];
    int rc = check_name(name, e), n;

    if (rc == 0)
        rc = client_runtime_dir(store_uuid, create, base, sizeof base, e);
    if (rc < 0)
        return rc;
    n = snprintf(ret, size, "%s/net-%s", base, name);
    return n < 0 || (size_t)n >= size ? err_set(e, VT_FAIL, "%s: too long a path", base) : 0;
}

int nets_open(const char *store_uuid, const char *name, int *ret_fd, struct err *e)
{
    char path[PATH_MAX];
    int rc = meeting_path(store_uuid, name, true, path, sizeof path, e), fd;

    if (rc == 0)
        rc = client_private_dir(path, true, e);
    if (rc < 0)
        return rc;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    *ret_fd = fd;
    return 0;
}

/* Is somebody at the socket? What a killed process left behind refuses. */
static bool alive(int dirfd, const char *name)
{
    cleanup(cleanup_close) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/%s", dirfd, name);

    return fd >= 0 && n > 0 && (size_t)n < sizeof a.sun_path && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
}

/* Removes what is stale in it, and then itself. */
static int close_meeting(const char *path, const char *name, struct err *e)
{
    DIR *dir = opendir(path);
    struct dirent *d;
    int rc = 0;

    if (!dir)
        return errno == ENOENT ? 0 : err_set(e, err_from_errno(errno), "%s: %m", path);
    while (rc == 0 && (d = readdir(dir))) {
        if (d->d_name[0] == '.')
            continue;
        if (alive(dirfd(dir), d->d_name))
            rc = err_set(e, VT_BUSY, "%s: a machine that runs is on this network", name);
        else
            unlinkat(dirfd(dir), d->d_name, 0);
    }
    closedir(dir);
    if (rc == 0 && rmdir(path) < 0 && errno != ENOENT)
        rc = errno == ENOTEMPTY || errno == EEXIST
                 ? err_set(e, VT_BUSY, "%s: a machine that runs is on this network", name)
                 : err_set(e, err_from_errno(errno), "%s: %m", path);
    return rc;
}

int nets_rm(const char *store_dir, const char *store_uuid, const char *name, struct err *e)
{
    char path[PATH_MAX];
    int rc = check_name(name, e);

    if (rc == 0 && !nets_exists(store_dir, name))
        rc = err_set(e, VT_NOENT, "%s: no such network", name);
    if (rc == 0)
        rc = meeting_path(store_uuid, name, false, path, sizeof path, NULL);
    if (rc == 0)
        rc = close_meeting(path, name, e);
    else if (rc == VT_NOENT && nets_exists(store_dir, name))
        rc = 0; /* nobody ever met */
    if (rc == 0)
        rc = kept_path(store_dir, name, path, sizeof path, e);
    if (rc == 0 && rmdir(path) < 0)
        rc = err_set(e, err_from_errno(errno), "%s: %m", path);
    return rc;
}
