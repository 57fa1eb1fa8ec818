/* The command line: GNU long options, bundled letters, values after '=' or as the next word, "--" before a guest
 * command, words and options in any order. Options of all verbs come before or after the verb; a verb's own only after
 * it. Nothing is abbreviated. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/name.h"

/* The options that every verb takes; parsed into struct cli itself. */
static const struct opt global_options[] = {
    {"store", "DIR", "the store to use, instead of that of $VMTEST_HOME or vmtest.conf(5)",
     offsetof(struct cli, store_dir), OPT_STR, 0},
    {"machine", "MACHINE", "the machine to act on", offsetof(struct cli, machine), OPT_STR, 'm'},
    {"json", NULL, "print one JSON object", offsetof(struct cli, json), OPT_FLAG, 0},
    {"quiet", NULL, "print results and errors only", offsetof(struct cli, quiet), OPT_FLAG, 'q'},
    {"verbose", NULL, "say more on standard error", offsetof(struct cli, verbose), OPT_FLAG, 'v'},
    {"help", NULL, "print this help", offsetof(struct cli, help), OPT_FLAG, 'h'},
    OPT_END(struct cli),
};

/* One scan over the arguments. */
struct scan {
    struct cli *c;
    void *opts; /* the verb's struct, once the verb is known */
    char **argv;
    int argc, i;
};

static size_t opts_size(const struct opt *t)
{
    while (t->name)
        t++;
    return t->offset;
}

static const struct opt *find_in(const struct opt *t, const char *name, size_t len, char letter)
{
    for (; t && t->name; t++)
        if (letter ? t->letter == letter : strlen(t->name) == len && !memcmp(t->name, name, len))
            return t;
    return NULL;
}

/* The option and the struct that it is stored in; NULL: unknown. */
static const struct opt *find_option(struct scan *s, const char *name, size_t len, char letter, void **ret_base)
{
    const struct opt *o = s->c->verb ? find_in(s->c->verb->options, name, len, letter) : NULL;

    *ret_base = o ? s->opts : (void *)s->c;
    if (o)
        s->c->given |= UINT64_C(1) << (o - s->c->verb->options);
    return o ? o : find_in(global_options, name, len, letter);
}

int opt_store(const struct opt *o, void *base, const char *value, struct err *e)
{
    void *p = (char *)base + o->offset;
    int r = 0;

    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)p = true;
        return 0;
    case OPT_STR:
        *(const char **)p = value;
        return 0;
    case OPT_LIST:
        strlist_add(p, value);
        return ((struct strlist *)p)->failed ? err_set(e, VT_FAIL, "out of memory") : 0;
    case OPT_SIZE:
        r = size_parse(value, p, e);
        break;
    case OPT_DURATION:
        r = duration_parse(value, p, e);
        break;
    case OPT_NUMBER:
        r = number_parse(value, 0, UINT64_MAX, p, e);
        break;
    }
    return r ? err_prefix(e, r, "--%s", o->name) : 0;
}

int opt_named(int r, const char *name, struct err *e)
{
    return r ? err_prefix(e, r, "--%s", name) : 0;
}

static int unknown_option(struct scan *s, const char *name, size_t len, struct err *e)
{
    cleanup(cleanup_free) char *given = strndup(name, len);
    struct near near = {.word = given ? given : ""};

    for (const struct opt *o = s->c->verb ? s->c->verb->options : NULL; o && o->name; o++)
        near_offer(&near, o->name);
    for (const struct opt *o = global_options; o->name; o++)
        near_offer(&near, o->name);
    if (near.best)
        return err_set(e, VT_USAGE, "--%s: no such option (did you mean --%s?)", near.word, near.best);
    return err_set(e, VT_USAGE, "--%s: no such option; see vmtest %s%s--help", near.word,
                   s->c->verb ? s->c->verb->name : "", s->c->verb ? " " : "");
}

static int long_option(struct scan *s, const char *arg, struct err *e)
{
    const char *eq = strchr(arg, '=');
    size_t len = eq ? (size_t)(eq - arg) : strlen(arg);
    const struct opt *o;
    void *base;

    o = find_option(s, arg, len, 0, &base);
    if (!o)
        return unknown_option(s, arg, len, e);
    if (!o->arg && eq)
        return err_set(e, VT_USAGE, "--%s takes no value", o->name);
    if (o->arg && !eq && s->i + 1 >= s->argc)
        return err_set(e, VT_USAGE, "--%s: %s is missing", o->name, o->arg);
    return opt_store(o, base, !o->arg ? NULL : eq ? eq + 1 : s->argv[++s->i], e);
}

static int short_options(struct scan *s, const char *arg, struct err *e)
{
    for (; *arg; arg++) {
        const struct opt *o;
        void *base;
        int r;

        o = find_option(s, NULL, 0, *arg, &base);
        if (!o)
            return err_set(e, VT_USAGE, "-%c: no such option", *arg);
        if (!o->arg) {
            r = opt_store(o, base, NULL, e);
            if (r)
                return r;
            continue;
        }
        if (!arg[1] && s->i + 1 >= s->argc)
            return err_set(e, VT_USAGE, "-%c: %s is missing", *arg, o->arg);
        return opt_store(o, base, arg[1] ? arg + 1 : s->argv[++s->i], e);
    }
    return 0;
}

static int take_verb(struct scan *s, const char *word, struct err *e)
{
    const struct verb *v = verb_find(word);

    if (!v) {
        struct near near = {.word = word};

        for (unsigned i = 0; i < nverbs; i++)
            near_offer(&near, verbs[i].name);
        if (near.best)
            return err_set(e, VT_USAGE, "%s: no such verb (did you mean \"%s\"?)", word, near.best);
        return err_set(e, VT_USAGE, "%s: no such verb; vmtest --help lists them", word);
    }
    s->c->verb = v;
    s->opts = calloc(1, opts_size(v->options));
    return s->opts ? 0 : err_set(e, VT_FAIL, "out of memory");
}

/* What to say after an error of words: the usage, where it is short enough to be read there. */
static const char *usage_of(const struct verb *v, char *dst, size_t size)
{
    if (strlen(v->usage) > 60)
        snprintf(dst, size, "see vmtest %s --help", v->name);
    else
        snprintf(dst, size, "usage: vmtest %s%s%s", v->name, *v->usage ? " " : "", v->usage);
    return dst;
}

static int check_words(const struct cli *c, struct err *e)
{
    const struct verb *v = c->verb;
    char usage[128];

    if (c->has_guest && !(v->flags & VERB_GUEST))
        return err_set(e, VT_USAGE, "takes no command after \"--\"");
    if (c->nwords > v->max_words && (v->flags & VERB_GUEST))
        return err_set(e, VT_USAGE, "%s: unexpected word; the guest's command goes after \"--\"",
                       c->words[v->max_words]);
    if (c->nwords > v->max_words)
        return err_set(e, VT_USAGE, "%s: unexpected word; %s", c->words[v->max_words],
                       usage_of(v, usage, sizeof usage));
    if (c->nwords < v->min_words)
        return err_set(e, VT_USAGE, "too few words; %s", usage_of(v, usage, sizeof usage));
    return 0;
}

int opt_parse(struct cli *c, int argc, char **argv, void **ret_opts, struct err *e)
{
    struct scan s = {.c = c, .argv = argv, .argc = argc};
    int r = 0;

    c->words = calloc((size_t)argc + 1, sizeof *c->words);
    if (!c->words)
        return err_set(e, VT_FAIL, "out of memory");
    for (s.i = 1; s.i < argc && !r; s.i++) {
        char *arg = argv[s.i];

        if (!strcmp(arg, "--")) {
            c->has_guest = true;
            c->guest = argv + s.i + 1;
            c->nguest = argc - s.i - 1;
            break;
        }
        if (arg[0] == '-' && arg[1] == '-')
            r = long_option(&s, arg + 2, e);
        else if (arg[0] == '-' && arg[1])
            r = short_options(&s, arg + 1, e);
        else if (!c->verb)
            r = take_verb(&s, arg, e);
        else
            c->words[c->nwords++] = arg;
    }
    *ret_opts = s.opts;
    if (r || c->help)
        return r;
    if (!c->verb)
        return err_set(e, VT_USAGE, "no verb given; vmtest --help lists them");
    return check_words(c, e);
}

void opt_release(const struct verb *v, void *opts)
{
    for (const struct opt *o = v && opts ? v->options : NULL; o && o->name; o++)
        if (o->kind == OPT_LIST)
            strlist_release((struct strlist *)((char *)opts + o->offset));
    free(opts);
}

static void print_options(const struct opt *t)
{
    for (; t->name; t++) {
        char left[64];

        snprintf(left, sizeof left, "%c%c%s --%s%s%s", t->letter ? '-' : ' ', t->letter ? t->letter : ' ',
                 t->letter ? "," : " ", t->name, t->arg ? " " : "", t->arg ? t->arg : "");
        printf("  %-27s %s\n", left, t->help);
    }
}

void opt_print_help(const struct verb *v)
{
    printf("usage: vmtest %s%s%s\n\n%s.\n", v->name, *v->usage ? " " : "", v->usage, v->summary);
    if (v->options->name) {
        printf("\noptions:\n");
        print_options(v->options);
    }
    printf("\noptions of every verb:\n");
    print_options(global_options);
    printf("\nSee vmtest-%s(1); what is to hold each time goes into vmtest.conf(5).\n", v->name);
}

void opt_print_overview(void)
{
    printf("usage: vmtest [OPTION]... VERB [OPTION]... [WORD]... [-- COMMAND [ARG]...]\n\n"
           "Runs guest systems in an ordinary process, and keeps their states in a tree of snapshots.\n\nverbs:\n");
    for (unsigned i = 0; i < nverbs; i++)
        printf("  %-12s %s\n", verbs[i].name, verbs[i].summary);
    printf("\noptions of every verb:\n");
    print_options(global_options);
    printf("      --version               print the version\n"
           "\nWhat is to hold each time goes into a file: vmtest.conf(5).\n"
           "vmtest VERB --help and vmtest-VERB(1) tell more of each; start at vmtest(1).\n");
}
