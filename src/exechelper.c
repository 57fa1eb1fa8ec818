#include "src/exechelper.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include "helper_bytes.h"
#include "src/base/banned.h"
#include "src/base/units.h"
#include "src/base/util.h"
#include "src/exec.h"

/* $1 name, $2 length of the 32-bit program, which comes first on standard input, $3 of the 64-bit one. A scope of its
 * own, so that the end of the agent's service is not the helper's. systemd-run may be there without a systemd that
 * answers it. */
static const char script[] =
    "case $(uname -m) in\n"
    "x86_64) cut=\"tail -c $3\";;\n"
    "i?86) cut=\"head -c $2\";;\n"
    "*) echo \"$(uname -m): there is no helper for this machine\" >&2; exit 1;;\n"
    "esac\n"
    "umask 077; from=\n"
    "for b in /dev/shm /run /tmp /var/tmp; do\n"
    "  f=$b/$1\n"
    "  [ -d $b ] && [ ! -e $f ] || continue\n"
    "  if [ -n \"$from\" ]; then cp \"$from\" \"$f\" 2>/dev/null && rm -f \"$from\"\n"
    "  else $cut >\"$f\" 2>/dev/null; fi || continue\n"
    "  from=$f\n"
    "  chmod 700 \"$f\" && \"$f\" --check 2>/dev/null && break\n"
    "  f=\n"
    "done\n"
    "[ -n \"$f\" ] || { rm -f \"$from\"; echo 'no place from which the helper can run' >&2; exit 1; }\n"
    "cd /\n"
    "exec </dev/null >/dev/null\n"
    "if [ -d /run/systemd/system ] && command -v systemd-run; then\n"
    "  systemd-run --quiet --scope --collect --unit=\"$1\" --property=TasksMax=infinity \"$f\" && exit\n"
    "  systemd-run --scope \"$f\" && exit\n" /* of before 2018 */
    "fi\n"
    "\"$f\" && exit\n"
    "rm -f \"$f\"; echo 'the helper finds no port' >&2; exit 1\n";

int exechelper_install(struct agent *a, struct err *e)
{
    cleanup(exec_result_release) struct exec_result r = {0};
    cleanup(buf_release) struct buf programs = {0};
    char name[40], len32[16], len64[16];
    uint64_t number;
    const char *argv[] = {"/bin/sh", "-c", script, "sh", name, len32, len64, NULL};
    struct exec_spec x = {.argv = argv, .cancel_fd = -1, .timeout = 30 * NS_PER_SEC};
    struct err why = {0};
    const char *line;
    int rc;

    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return err_set(e, VT_FAIL, "getrandom: %m");
    snprintf(name, sizeof name, "vmtest-%016llx", (unsigned long long)number);
    snprintf(len32, sizeof len32, "%zu", sizeof helper_bytes0);
    snprintf(len64, sizeof len64, "%zu", sizeof helper_bytes1);
    buf_add(&programs, helper_bytes0, sizeof helper_bytes0);
    buf_add(&programs, helper_bytes1, sizeof helper_bytes1);
    rc = buf_check(&programs, e);
    if (rc == 0)
        rc = exec_run(a, &x, programs.data, programs.len, &r, &why);
    if (rc < 0)
        return err_set(e, rc == VT_GONE ? rc : VT_FAIL, "%s", why.msg);
    if (r.status == 0)
        return 0;
    while (r.err.len && isspace((unsigned char)r.err.data[r.err.len - 1]))
        r.err.data[--r.err.len] = 0;
    line = strrchr(buf_cstr(&r.err), '\n');
    return err_set(e, VT_FAIL, "in the guest: %s", line ? line + 1 : r.err.len ? r.err.data : "failed");
}
