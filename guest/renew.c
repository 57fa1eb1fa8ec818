#include "guest/renew.h"
#include "guest/lib.h"
#include "guest/sys.h"

/* ifupdown and NetworkManager set the interface up again; networkd asks for a new lease. A DHCP client that is none of
 * theirs is started again, as it was: it must not give its lease back, which is the snapshot's, and may be in use. */
static const char script[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
                             "has() { command -v $1 >/dev/null 2>&1; }\n"
                             "clients() {\n"
                             "  for p in /proc/[0-9]*; do\n"
                             "    read -r c <$p/comm && case $c in dhclient|udhcpc) ;; *) continue ;; esac\n"
                             "    case \" $(tr '\\0' ' ' <$p/cmdline) \" in *[\\ =]$1\\ *) ;; *) continue ;; esac\n"
                             "    cp $p/cmdline /dev/shm/.vmtest-$$ && kill -9 ${p#/proc/} || continue\n"
                             "    has ip && ip -4 addr flush dev $1 dynamic\n"
                             "    xargs -0 sh -c '\"$@\" & exit 0' sh </dev/shm/.vmtest-$$\n"
                             "    rm -f /dev/shm/.vmtest-$$\n"
                             "  done\n"
                             "}\n"
                             "for i; do\n"
                             "  v6=/proc/sys/net/ipv6/conf/$i/disable_ipv6\n"
                             "  [ -w $v6 ] && [ \"$(cat $v6)\" = 0 ] && echo 1 >$v6 && echo 0 >$v6\n"
                             "  if has ifquery && [ \"$(ifquery --state $i)\" ]; then\n"
                             "    ifdown --force $i; ifup $i\n"
                             "  elif has nmcli && [ \"$(nmcli -g GENERAL.NM-MANAGED device show $i)\" = yes ]; then\n"
                             "    nmcli device connect $i\n"
                             "  else\n"
                             "    has networkctl && networkctl renew $i\n"
                             "    has dhcpcd && dhcpcd -n $i\n"
                             "    clients $i\n"
                             "  fi\n"
                             "done\n";

bool renew_add(struct renew *r, const char name[16])
{
    if (r->n == RENEW_CARDS)
        return false;
    memcpy(r->name[r->n], name, 15);
    r->name[r->n++][15] = 0;
    return true;
}

static void child_main(struct renew *r)
{
    static const uint64_t none = 0;
    static char *const env[] = {NULL};
    char *argv[4 + RENEW_CARDS + 1] = {"sh", "-c", (char *)script, "sh"};

    for (unsigned i = 0; i < r->n; i++)
        argv[4 + i] = r->name[i];
    sys(SYS_setsid, 0, 0, 0);
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, sizeof none);
    sys(SYS_chdir, "/", 0, 0);
    sys(SYS_execve, "/bin/sh", argv, env);
    sys_exit(127);
}

bool renew_start(struct renew *r)
{
    long pid = r->n ? sys(SYS_fork, 0, 0, 0) : -EINVAL;

    if (pid == 0)
        child_main(r);
    r->n = 0;
    if (pid < 0)
        return false;
    r->pid = (int)pid;
    r->left = RENEW_MS;
    return true;
}
