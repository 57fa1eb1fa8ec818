#include "cli/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cli/conffile.h"
#include "cli/name.h"
#include "src/base/io.h"

#define PROJECT_FILE "vmtest.conf"
#define MAX_FILES    12
#define MAX_BYTES    (64u << 10)

/* The settings: a key is the option of that verb that has its name, or what the code asks for by settings_get. */
static const struct row {
    const char *key;
    const char *verb;     /* NULL: of all */
    const char *variable; /* NULL: VMTEST_ and the key */
    /* the option goes with this one only; "!OPTION": does not go with it */
    const char *with;
} rows[] = {
    {"store", NULL, "VMTEST_HOME", NULL},
    {"machine", NULL, NULL, NULL},
    {"mem", "create", NULL, NULL},
    {"mem", "run", NULL, "!from"},
    {"cpu", "create", NULL, NULL},
    {"cpu", "run", NULL, "!from"},
    {"disk-bus", "create", NULL, NULL},
    {"disk-bus", "run", NULL, "!from"},
    {"net", "create", NULL, NULL},
    {"nic", "create", NULL, NULL},
    {"cache", "start", NULL, NULL},
    {"clock", "start", NULL, "from"},
    {"clock", "run", NULL, "from"},
    {"timeout", "exec", NULL, NULL},
    {"timeout", "run", NULL, NULL},
    {"timeout", "start", NULL, NULL},
    {"timeout", "stop", NULL, NULL},
    {"timeout", "type", NULL, NULL},
    {"timeout", "wait", NULL, NULL},
    {"user", "exec", NULL, NULL},
    {"user", "run", NULL, "from"},
    {"quiesce", "snapshot", NULL, NULL},
    {"quiesce-timeout", "snapshot", NULL, NULL},
    {"keep", "revert", NULL, "!now"},
    {"warm-idle", "run", NULL, NULL},
    {"snapshot-memory", "start", NULL, NULL}, /* and what else starts a machine to stay */
    {"snapshot-memory", "revert", NULL, NULL},
    {"snapshot-memory", "undo", NULL, NULL},
};

struct settings {
    struct conffile file[MAX_FILES]; /* the first that sets a key counts */
    unsigned n;
    struct strlist texts; /* values and origins that were made */
    /* options that came from here */
    struct {
        const char *key, *origin;
    } applied[ARRAY_LEN(rows)];
    unsigned napplied;
};

static int nomem(struct err *e)
{
    return err_set(e, VT_FAIL, "out of memory");
}

/* The row of a key in a section; verb NULL: of any verb. */
static const struct row *find_row(const char *key, const char *verb)
{
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (!strcmp(rows[i].key, key) && (!verb || (rows[i].verb && !strcmp(rows[i].verb, verb))))
            return &rows[i];
    return NULL;
}

static const struct opt *find_opt(const struct verb *v, const char *name)
{
    for (const struct opt *o = v->options; o->name; o++)
        if (!strcmp(o->name, name))
            return o;
    return NULL;
}

/* verb: whose section it is in, or NULL */
static int check_key(const struct conffile *f, const struct confline *l, const char *verb, struct err *e)
{
    struct near near = {.word = l->key};

    if (find_row(l->key, verb))
        return 0;
    if (find_row(l->key, NULL))
        return err_set(e, VT_USAGE, "%s:%u: \"%s\" is no setting of %s", f->path, l->line, l->key, verb);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        near_offer(&near, rows[i].key);
    if (near.best)
        return err_set(e, VT_USAGE, "%s:%u: \"%.80s\" is no setting (did you mean \"%s\"?)", f->path, l->line, l->key,
                       near.best);
    return err_set(e, VT_USAGE, "%s:%u: \"%.80s\" is no setting; vmtest.conf(5) lists them", f->path, l->line, l->key);
}

/* A size or a duration is understood, whatever verb is to use it. */
static int check_value(const struct row *row, const char *value, struct err *e)
{
    const struct verb *v = row->verb ? verb_find(row->verb) : NULL;
    const struct opt *o = v ? find_opt(v, row->key) : NULL;
    uint64_t n;

    if (o && o->kind == OPT_FLAG && strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        return err_set(e, VT_USAGE, "\"%s\" is neither yes nor no", value);
    if (o ? o->kind == OPT_SIZE : !strcmp(row->key, "snapshot-memory"))
        return size_parse(value, &n, e);
    if (o ? o->kind == OPT_DURATION : !strcmp(row->key, "warm-idle"))
        return duration_parse(value, &n, e);
    return 0;
}

static int check_file(const struct conffile *f, struct err *e)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct confline *l = &f->lines[i];
        const struct verb *v = l->section ? verb_find(l->section) : NULL;
        int r;

        if (l->section && !v)
            return err_set(e, VT_USAGE, "%s:%u: is of [%.80s], which is no verb", f->path, l->line, l->section);
        r = check_key(f, l, v ? v->name : NULL, e);
        if (!r && (r = check_value(find_row(l->key, v ? v->name : NULL), l->value, e)) != 0)
            err_prefix(e, r, "%s:%u: %s", f->path, l->line, l->key);
        if (r)
            return r;
    }
    return 0;
}

/* In a folder that everyone may write to, a file of someone else is no project's. */
static bool planted(const char *path, const struct stat *st)
{
    cleanup(cleanup_free) char *dir = strdup(path);
    struct stat folder;

    if (!dir || st->st_uid == 0 || st->st_uid == geteuid())
        return false;
    dir[strlen(dir) - strlen("/" PROJECT_FILE)] = 0;
    return stat(*dir ? dir : "/", &folder) == 0 && (folder.st_mode & S_IWOTH);
}

/* Adds the file, if it is there. *ret_found may be NULL. */
static int add_file(struct cli *c, struct settings *s, const char *path, bool project, bool *ret_found, struct err *e)
{
    cleanup(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    cleanup(buf_release) struct buf text = {0};
    struct stat st;
    int r;

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(e, err_from_errno(errno), "%s: %m", path);
    if (!S_ISREG(st.st_mode) && project) /* a folder of that name */
        return 0;
    if (project && planted(path, &st)) {
        out_note(c, "%s is not read: it is someone else's, where everyone may write", path);
        return 0;
    }
    if (!S_ISREG(st.st_mode))
        return err_set(e, VT_USAGE, "%s: is not a file", path);
    if (st.st_size > (off_t)MAX_BYTES)
        return err_set(e, VT_USAGE, "%s: is longer than %u KiB", path, MAX_BYTES >> 10);
    if (s->n == MAX_FILES)
        return err_set(e, VT_USAGE, "%s: too many configuration files", path);
    r = io_read_file(AT_FDCWD, path, MAX_BYTES, &text, e);
    if (!r)
        r = conffile_parse(path, &text, &s->file[s->n], e);
    if (r)
        return r;
    if (ret_found)
        *ret_found = true;
    if (c->verbose)
        out_note(c, "settings from %s", path);
    return check_file(&s->file[s->n++], e);
}

/* The nearest vmtest.conf from here upwards, to $HOME or the root of a file system. */
static int add_project(struct cli *c, struct settings *s, struct err *e)
{
    const char *home = getenv("HOME");
    char dir[PATH_MAX], path[PATH_MAX + sizeof PROJECT_FILE];
    struct stat st, up;
    bool found = false;

    if (!getcwd(dir, sizeof dir) || stat(dir, &st) < 0)
        return 0;
    for (;;) {
        char *slash = strrchr(dir, '/');
        int r;

        snprintf(path, sizeof path, "%s/%s", slash && !slash[1] ? "" : dir, PROJECT_FILE);
        r = add_file(c, s, path, true, &found, e);
        if (r || found || !slash || !slash[1] || (home && !strcmp(dir, home)))
            return r;
        slash[slash == dir] = 0;
        if (stat(dir, &up) < 0 || up.st_dev != st.st_dev)
            return 0;
    }
}

static int add_user(struct cli *c, struct settings *s, struct err *e)
{
    const char *dir = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    cleanup(cleanup_free) char *path = NULL;

    if (dir && dir[0] == '/')
        path = str_printf("%s/vmtest/config", dir);
    else if (home)
        path = str_printf("%s/.config/vmtest/config", home);
    else
        return 0;
    return path ? add_file(c, s, path, false, NULL, e) : nomem(e);
}

static int add_system(struct cli *c, struct settings *s, struct err *e)
{
    const char *given = getenv("XDG_CONFIG_DIRS");
    cleanup(cleanup_free) char *dirs = strdup(given && *given ? given : "/etc/xdg:/etc");
    char *rest = dirs, *dir;
    int r = dirs ? 0 : nomem(e);

    while (!r && (dir = strsep(&rest, ":")) != NULL) {
        cleanup(cleanup_free) char *path = str_printf("%s/vmtest/config", dir);

        if (!path)
            r = nomem(e);
        else if (*dir == '/')
            r = add_file(c, s, path, false, NULL, e);
    }
    return r;
}

static int load(struct cli *c, struct err *e)
{
    struct settings *s;
    int r;

    if (c->settings)
        return 0;
    s = calloc(1, sizeof *s);
    if (!s)
        return nomem(e);
    r = add_project(c, s, e);
    if (!r)
        r = add_user(c, s, e);
    if (!r)
        r = add_system(c, s, e);
    if (r)
        settings_free(s);
    else
        c->settings = s;
    return r;
}

void settings_free(struct settings *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < ARRAY_LEN(s->file); i++)
        conffile_release(&s->file[i]);
    strlist_release(&s->texts);
    free(s);
}

/* Keeps a malloc'ed text; NULL: none was made. */
static const char *keep(struct settings *s, char *text)
{
    strlist_take(&s->texts, text);
    return s->texts.failed ? NULL : s->texts.items[s->texts.n - 1];
}

static void variable_name(const struct row *row, char *dst, size_t size)
{
    snprintf(dst, size, row->variable ? "%s" : "VMTEST_%s", row->variable ? row->variable : row->key);
    for (char *p = dst; *p; p++)
        *p = (char)(*p == '-' ? '_' : *p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
}

/* A folder that a file names: "~/", or from where that file is. */
static char *folder(const char *path, const char *value)
{
    const char *home = getenv("HOME"), *slash = strrchr(path, '/');

    if (value[0] == '~' && value[1] == '/' && home)
        return str_printf("%s%s", home, value + 1);
    if (value[0] == '/' || !slash)
        return strdup(value);
    if (value[0] == '.' && value[1] == '/')
        value += 2;
    return str_printf("%.*s/%s", (int)(slash - path), path, value);
}

/* The line that counts, in the first file that has one: the verb's, else that of all. */
static const struct confline *find_line(const struct settings *s, const char *key, const char *verb,
                                        const struct conffile **ret_file)
{
    for (unsigned i = 0; i < s->n; i++) {
        const struct confline *of_all = NULL;

        *ret_file = &s->file[i];
        for (size_t k = 0; k < s->file[i].n; k++) {
            const struct confline *l = &s->file[i].lines[k];
            if (strcmp(l->key, key) != 0)
                continue;
            if (l->section && verb_find(l->section) == verb_find(verb))
                return l;
            if (!l->section)
                of_all = l;
        }
        if (of_all)
            return of_all;
    }
    return NULL;
}

static int get(struct cli *c, const struct row *row, struct setting_value *ret, struct err *e)
{
    const struct conffile *file = NULL;
    const struct confline *line;
    char variable[64];
    const char *env;
    int r = load(c, e);

    *ret = (struct setting_value){0};
    if (r)
        return r;
    variable_name(row, variable, sizeof variable);
    env = getenv(variable);
    if (env && *env) {
        ret->text = env;
        ret->origin = keep(c->settings, strdup(variable));
    } else {
        line = find_line(c->settings, row->key, c->verb->name, &file);
        if (!line)
            return 0;
        ret->text = row->verb || strcmp(row->key, "store") != 0 ? line->value
                                                                : keep(c->settings, folder(file->path, line->value));
        ret->origin = keep(c->settings, str_printf("%s:%u", file->path, line->line));
    }
    return ret->text && ret->origin ? 0 : nomem(e);
}

int settings_get(struct cli *c, const char *key, struct setting_value *ret, struct err *e)
{
    return get(c, find_row(key, NULL), ret, e);
}

/* Whether the option was given on the command line. */
static bool given(const struct cli *c, const char *name)
{
    const struct opt *o = find_opt(c->verb, name);

    return o && c->given & UINT64_C(1) << (o - c->verb->options);
}

static int apply(struct cli *c, const struct row *row, const struct opt *o, void *opts, struct err *e)
{
    struct settings *s;
    struct setting_value v;
    int r = get(c, row, &v, e);

    if (r || !v.text)
        return r;
    s = c->settings;
    if (o->kind == OPT_FLAG) {
        r = check_value(row, v.text, e);
        if (!r && v.text[0] == 'y')
            r = opt_store(o, opts, NULL, e);
        if (r)
            err_prefix(e, r, "--%s", row->key);
    } else if (o->kind == OPT_LIST) { /* "a,b": as if given twice */
        cleanup(cleanup_free) char *words = strdup(v.text);
        char *rest = words, *word;

        if (!words)
            return nomem(e);
        while ((word = strsep(&rest, ", ")) != NULL && !r)
            r = *word ? opt_store(o, opts, word, e) : 0;
    } else {
        r = opt_store(o, opts, v.text, e);
    }
    if (r)
        return err_prefix(e, r, "%s", v.origin);
    s->applied[s->napplied].key = row->key;
    s->applied[s->napplied++].origin = v.origin;
    return 0;
}

int settings_apply(struct cli *c, void *opts, struct err *e)
{
    int r = 0;

    for (unsigned i = 0; i < ARRAY_LEN(rows) && !r; i++) {
        const struct row *row = &rows[i];
        const struct opt *o = row->verb && !strcmp(row->verb, c->verb->name) ? find_opt(c->verb, row->key) : NULL;
        bool without = row->with && row->with[0] == '!';

        if (o && !given(c, row->key) && (!row->with || given(c, row->with + without) != without))
            r = apply(c, row, o, opts, e);
    }
    return r;
}

void settings_blame(struct cli *c, struct err *e)
{
    for (unsigned i = 0; c->settings && i < c->settings->napplied; i++) {
        char name[32];

        snprintf(name, sizeof name, "--%s: ", c->settings->applied[i].key);
        if (!strncmp(e->msg, name, strlen(name))) {
            err_prefix(e, e->code, "%s", c->settings->applied[i].origin);
            return;
        }
    }
}
