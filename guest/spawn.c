#include "guest/spawn.h"
#include "guest/sys.h"
#include "guest/users.h"

#define ROOT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define USER_PATH "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"

enum { ENV_EXTRA = 128, ENV_TEXT = 16384 };

/* The login environment of one command, put together in the parent and used up by the child. */
struct environment {
    char *vars[SPAWN_WORDS + ENV_EXTRA + 1];
    unsigned n;
    char text[ENV_TEXT];
    struct text room;
};

struct pipes {
    int in[2], out[2], err[2], status[2];
    int slave;
};

/* ---- environment */

static bool same_name(const char *a, const char *b)
{
    while (*a && *a == *b && *a != '=')
        a++, b++;
    return *a == '=' && *b == '=';
}

static void env_set(struct environment *e, char *var)
{
    unsigned i = 0;

    if (!strchr(var, '='))
        return;
    while (i < e->n && !same_name(e->vars[i], var))
        i++;
    if (i == SPAWN_WORDS + ENV_EXTRA)
        return;
    e->vars[i] = var;
    e->n += i == e->n;
}

static void env_add(struct environment *e, const char *name, const char *value)
{
    char *start = e->room.at;

    text_add(&e->room, name);
    text_add(&e->room, value);
    if (e->room.at == e->room.end)
        return; /* cut: left out */
    e->room.at++;
    env_set(e, start);
}

/* Lines NAME=VALUE, with "export" before and quotes around where somebody likes them: as pam_env reads them. */
static void env_file(struct environment *e, const char *path)
{
    char file[4096], *line = file;

    if (read_file(path, file, sizeof file) <= 0)
        return;
    while (line) {
        char *next = strchr(line, '\n'), *value;
        size_t len;

        if (next)
            *next++ = 0;
        while (*line == ' ' || *line == '\t')
            line++;
        if (memcmp(line, "export ", 7) == 0)
            line += 7;
        value = strchr(line, '=');
        if (*line != '#' && value && value > line && e->n < ENV_EXTRA / 2) {
            *value++ = 0;
            len = strlen(value);
            if (len > 1 && (*value == '"' || *value == '\'') && value[len - 1] == *value) {
                value[len - 1] = 0;
                value++;
            }
            char name[256];
            struct text t = TEXT(name);
            text_add(&t, line);
            text_add(&t, "=");
            env_add(e, name, value);
        }
        line = next;
    }
}

static void env_login(struct environment *e, const struct user *u, const struct command *c)
{
    memset(e, 0, sizeof *e);
    e->room = TEXT(e->text);
    env_set(e, u->uid ? USER_PATH : ROOT_PATH);
    env_file(e, "/etc/environment");
    env_file(e, "/etc/default/locale");
    env_add(e, "HOME=", u->home);
    env_add(e, "USER=", u->name);
    env_add(e, "LOGNAME=", u->name);
    env_add(e, "SHELL=", u->shell);
    for (unsigned i = 0; i < c->nenv; i++)
        env_set(e, c->env[i]);
    e->vars[e->n] = NULL;
}

static const char *env_get(const struct environment *e, const char *name)
{
    for (unsigned i = 0; i < e->n; i++)
        if (same_name(e->vars[i], name))
            return strchr(e->vars[i], '=') + 1;
    return NULL;
}

/* ---- in the child */

static void say_and_end(int fd, const char *what, const char *name, long err, int status)
{
    char line[512];
    struct text t = TEXT(line);

    text_add(&t, what);
    text_add(&t, name);
    text_add(&t, ": ");
    if (status == 127)
        text_add(&t, "command not found");
    else
        text_errno(&t, err);
    if (fd == 2)
        text_add(&t, "\n");
    sys_write(fd, line, strlen(line));
    sys_exit(status);
}

/* A script without #! is the shell's. */
static long run_one(const char *path, struct command *c, struct environment *e)
{
    long rc = sys(SYS_execve, path, c->args, e->vars);

    if (rc != -ENOEXEC || c->nargs >= SPAWN_WORDS)
        return rc;
    memmove(c->args + 1, c->args, (c->nargs + 1) * sizeof *c->args);
    c->args[0] = "/bin/sh";
    c->args[1] = (char *)path;
    return sys(SYS_execve, "/bin/sh", c->args, e->vars);
}

static void run(struct command *c, struct environment *e, const char *program)
{
    const char *name = program, *dir = env_get(e, "PATH=");
    char path[4096];
    long rc = -ENOENT;

    if (strchr(name, '/') || !*name) {
        rc = *name ? run_one(name, c, e) : -ENOENT;
    } else {
        while (dir) {
            const char *end = strchr(dir, ':');
            struct text t = TEXT(path);
            text_addn(&t, dir, end ? (size_t)(end - dir) : strlen(dir));
            text_add(&t, t.at == path ? "./" : "/");
            text_add(&t, name);
            long one = run_one(path, c, e);
            if (one != -ENOENT && one != -ENOTDIR)
                rc = one;
            dir = end ? end + 1 : NULL;
        }
    }
    say_and_end(2, "vmtest: ", name, rc, rc == -ENOENT || rc == -ENOTDIR ? 127 : 126);
}

static void default_signals(void)
{
    static const struct {
        long handler, flags, restorer;
        uint64_t mask;
    } usual = {0};
    static const uint64_t none = 0;

    for (int n = 1; n <= NSIG; n++)
        sys4(SYS_rt_sigaction, n, (long)&usual, 0, sizeof none);
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, sizeof none);
}

static void child_main(struct command *c, struct environment *e, const struct user *u, struct pipes *p)
{
    const char *dir = *c->dir ? c->dir : c->nargs ? "/" : u->home, *program = c->nargs ? c->args[0] : u->shell;
    char login[64];
    struct text t = TEXT(login);
    int report = p->status[1];
    long rc;

    sys(SYS_setsid, 0, 0, 0);
    default_signals();
    sys(SYS_umask, 022, 0, 0);
    if (c->tty)
        sys(SYS_ioctl, p->slave, TIOCSCTTY, 0);
    else if (!c->has_input)
        p->in[0] = sys_open("/dev/null", O_RDONLY);
    sys(SYS_dup2, c->tty ? p->slave : p->in[0], 0, 0);
    sys(SYS_dup2, c->tty ? p->slave : p->out[1], 1, 0);
    sys(SYS_dup2, c->tty ? p->slave : p->err[1], 2, 0);
    rc = sys(SYS_setgroups, u->ngroups, u->groups, 0);
    if (rc == 0 || u->uid == 0)
        rc = sys(SYS_setgid, u->gid, 0, 0);
    if (rc == 0 || u->uid == 0)
        rc = sys(SYS_setuid, u->uid, 0, 0);
    if (rc < 0 && *c->user)
        say_and_end(report, "cannot become ", u->name, rc, 125);
    rc = sys(SYS_chdir, dir, 0, 0);
    if (rc < 0 && !*c->dir)
        rc = sys(SYS_chdir, "/", 0, 0); /* a home that is not there */
    if (rc < 0)
        say_and_end(report, "", dir, rc, 125);
    if (!c->nargs) {
        const char *base = program;
        for (const char *s = program; *s; s++)
            base = *s == '/' ? s + 1 : base;
        text_add(&t, "-");
        text_add(&t, base);
        c->args[0] = login;
        c->args[1] = NULL;
        c->nargs = 1;
    }
    run(c, e, program);
}

/* ---- in the parent */

static void close_pair(int pair[2])
{
    sys_close(&pair[0]);
    sys_close(&pair[1]);
}

static void close_pipes(struct pipes *p)
{
    close_pair(p->in);
    close_pair(p->out);
    close_pair(p->err);
    close_pair(p->status);
    sys_close(&p->slave);
}

static long make_pipe(int pair[2])
{
    return sys(SYS_pipe2, pair, O_CLOEXEC, 0);
}

/* The terminal's own side is out[0]. */
static long make_tty(const struct command *c, const struct user *u, struct pipes *p)
{
    uint16_t size[4] = {c->rows, c->cols, 0, 0};
    char path[32];
    struct text t = TEXT(path);
    int unlock = 0, number = 0;
    long rc;

    rc = p->out[0] = sys_open("/dev/ptmx", O_RDWR | O_NOCTTY);
    if (rc >= 0)
        rc = sys(SYS_ioctl, p->out[0], TIOCSPTLCK, &unlock);
    if (rc >= 0)
        rc = sys(SYS_ioctl, p->out[0], TIOCGPTN, &number);
    if (rc < 0)
        return rc;
    text_add(&t, "/dev/pts/");
    text_number(&t, (uint32_t)number);
    rc = p->slave = sys_open(path, O_RDWR | O_NOCTTY);
    if (rc < 0)
        return rc;
    if (c->rows && c->cols)
        sys(SYS_ioctl, p->slave, TIOCSWINSZ, size);
    sys(SYS_fchown, p->slave, u->uid, -1); /* as login does */
    return 0;
}

static long make_pipes(const struct command *c, const struct user *u, struct pipes *p)
{
    long rc = make_pipe(p->status);

    if (rc == 0 && c->tty)
        return make_tty(c, u, p);
    if (rc == 0 && c->has_input)
        rc = make_pipe(p->in);
    if (rc == 0)
        rc = make_pipe(p->out);
    return rc == 0 ? make_pipe(p->err) : rc;
}

static int keep(int *fd)
{
    int kept = *fd;

    *fd = -1;
    if (kept >= 0)
        sys_nonblock(kept);
    return kept;
}

bool spawn(struct command *c, struct child *ret, struct text *why)
{
    /* No stack for this, and one command is started at a time. */
    static struct environment env;
    static struct user user;
    struct pipes p = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, -1};
    long rc;

    if (!user_find(*c->user ? c->user : "root", &user)) {
        text_add(why, c->user);
        text_add(why, ": no such user in the guest");
        return false;
    }
    env_login(&env, &user, c);
    rc = make_pipes(c, &user, &p);
    if (rc < 0)
        text_add(why, c->tty ? "cannot make a terminal: " : "cannot make pipes: ");
    if (rc == 0) {
        rc = sys(SYS_fork, 0, 0, 0);
        if (rc == 0)
            child_main(c, &env, &user, &p);
        if (rc < 0)
            text_add(why, "cannot start a process: ");
    }
    if (rc > 0)
        *ret = (struct child){(int)rc, keep(&p.in[1]), keep(&p.out[0]), keep(&p.err[0]), keep(&p.status[0])};
    else
        text_errno(why, rc);
    close_pipes(&p);
    return rc > 0;
}
