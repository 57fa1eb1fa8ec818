/* vmtest: the command. The table below is the one list of verbs: help, completion, man pages and tests are checked
 * against it. Start-up is a part of every promise, so nothing is opened or read before the verb asks for it. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "cli/cmd.h"
#include "snapshot/snapshot.h"

#define ROW(name, usage, summary, min, max, flags)                         \
    {                                                                      \
#name, cmd_##name, name##_options, usage, summary, min, max, flags \
    }

const struct verb verbs[] = {};
const unsigned nverbs = ARRAY_LEN(verbs);

/* Words of other tools that fingers know. */
static const struct {
    const char *alias, *verb;
} aliases[] = {{"restore", "revert"}, {"save", "snapshot"}, {"ls", "list"}, {"shell", "exec"}, {"poweroff", "stop"}};

const struct verb *verb_find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(aliases); i++)
        if (!strcmp(name, aliases[i].alias))
            name = aliases[i].verb;
    for (unsigned i = 0; i < nverbs; i++)
        if (!strcmp(name, verbs[i].name))
            return &verbs[i];
    return NULL;
}

/* For completion and the lints: a verb a line, "NAME<tab>USAGE<tab>SUMMARY". */
static void print_verbs(void)
{
    for (unsigned i = 0; i < nverbs; i++)
        printf("%s\t%s\t%s\n", verbs[i].name, verbs[i].usage, verbs[i].summary);
}

/* Options that stand for a verb; false: none of them. */
static bool stand_alone(int argc, char **argv)
{
    if (argc != 2)
        return false;
    if (!strcmp(argv[1], "--version"))
        printf("vmtest %s\n", VMTEST_VERSION);
    else if (!strcmp(argv[1], "--verbs"))
        print_verbs();
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    struct cli c = {.prog = argv[0], .started = clock_mono_ns()};
    struct err e = {0};
    void *opts = NULL;
    int r;

    if (stand_alone(argc, argv))
        return out_finish(&c, 0, &e);
    r = opt_parse(&c, argc, argv, &opts, &e);
    if (r == 0 && c.help) {
        if (c.verb)
            opt_print_help(c.verb);
        else
            opt_print_overview();
    } else if (r == 0) {
        r = c.verb->run(&c, opts, &e);
    }
    opt_release(c.verb, opts);
    store_close(c.store);
    free(c.words);
    return out_finish(&c, r, &e);
}
