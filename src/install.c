#include "src/install.h"

#include <fcntl.h>
#include <string.h>
#include "src/base/banned.h"
#include "src/base/io.h"
#include "src/base/util.h"
#include "src/copy.h"
#include "src/exec.h"

int install_check(const char *path, struct err *e)
{
    static const char magic[] = "!<arch>\ndebian-binary";
    cleanup(cleanup_close) int fd = -1;
    char head[sizeof magic - 1];
    size_t n = strlen(path), got = 0;
    int rc;

    if (n < 5 || strcmp(path + n - 4, ".deb") != 0)
        return err_set(e, VT_USAGE, "%s: only Debian packages (.deb) can be installed", path);
    rc = io_open(path, O_RDONLY, 0, &fd, e);
    if (rc == 0)
        rc = io_read_full(fd, head, sizeof head, &got, path, e);
    if (rc == 0 && (got != sizeof head || memcmp(head, magic, sizeof head) != 0))
        rc = err_set(e, VT_CORRUPT, "%s: not a Debian package", path);
    return rc;
}

/* dpkg first, since it needs no network; what the package depends on and the guest lacks is apt's business. */
static const char deb_script[] =
    "f=$1\n"
    "export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true LC_ALL=C.UTF-8\n"
    "command -v dpkg >/dev/null || { echo 'no dpkg in the guest' >&2; exit 127; }\n"
    "dpkg --force-confdef --force-confold -i \"$f\"; s=$?\n"
    "if [ $s -ne 0 ] && command -v apt-get >/dev/null; then\n"
    "  apt-get -y -q -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold --fix-broken install\n"
    "  s=$?\n"
    /* apt mends a package whose dependencies it cannot get by removing it: that is no installation */
    "  p=$(dpkg-deb -f \"$f\" Package)\n"
    "  [ \"$(dpkg-query -W -f '${db:Status-Status}' \"$p\" 2>/dev/null)\" = installed ] || s=1\n"
    "fi\n"
    "exit $s\n";

int install_package(const struct exec_way *way, const char *path, int out, int err, int cancel_fd, int *ret_status,
                    struct err *e)
{
    static const char make_dir[] = "mktemp -d /dev/shm/vmtest.XXXXXX 2>/dev/null || mktemp -d /tmp/vmtest.XXXXXX";
    cleanup(exec_result_release) struct exec_result made = {0}, removed = {0};
    cleanup(cleanup_free) char *dir = NULL, *file = NULL;
    const char *argv[] = {"/bin/sh", "-c", deb_script, "sh", NULL, NULL};
    struct exec_spec x = {.argv = argv, .cancel_fd = cancel_fd};
    struct agent *a = way->agent;
    struct copy_count n;
    int rc = exec_script(a, make_dir, NULL, &made, e);

    if (rc < 0)
        return rc;
    dir = strndup(buf_cstr(&made.out), strcspn(buf_cstr(&made.out), "\n"));
    file = dir ? str_printf("%s/package.deb", dir) : NULL;
    if (!file)
        return err_set(e, VT_FAIL, "out of memory");
    argv[4] = file;
    rc = copy_in(a, path, file, &n, e);
    if (rc == 0)
        rc = exec_streams(way, &x, -1, out, err, ret_status, e);
    if (exec_script(a, "rm -rf -- \"$1\"", (const char *[]){dir, NULL}, &removed, rc == 0 ? e : NULL) < 0 && rc == 0)
        rc = VT_FAIL;
    return rc;
}
