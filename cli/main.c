/* vmtest: the command. The table below is the one list of verbs: help, completion, man pages and tests are checked
 * against it. Start-up is a part of every promise, so nothing is opened or read before the verb asks for it. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "cli/cmd.h"
#include "cli/resolve.h"
#include "cli/settings.h"
#include "snapshot/snapshot.h"

#define ROW(name, usage, summary, min, max, flags)                         \
    {                                                                      \
#name, cmd_##name, name##_options, usage, summary, min, max, flags \
    }

const struct verb verbs[] = {
    ROW(check, "[--quick | --deep] [--repair]", "prove that the store is undamaged", 0, 0, 0),
    ROW(console, "[--port NAME] [MACHINE]", "attach the terminal to a guest's serial port", 0, 1, 0),
    ROW(cp, "SOURCE TARGET", "copy files between host and guest", 2, 2, 0),
    ROW(create,
        "[--image FILE] [--disk FILE]... [--disk-bus BUS] [--cdrom FILE] [--floppy FILE]... [--import] [--boot ORDER] "
        "[--bios FILE] [--kernel FILE [--initrd FILE] [--append TEXT]] [--mem SIZE] [--cpu MODEL] [--net NET]... "
        "[--nic MODEL] "
        "[--hpet] [--balloon] [--forward SPEC]... NAME",
        "make a machine", 1, 1, 0),
    ROW(delete, "[--now] [MACHINE] SNAP", "remove a snapshot", 1, 2, 0),
    ROW(diff, "[--stat | --patch] [--all] [--times] [--disk SLOT] {A [B] | MACHINE A B}",
        "show what changed between snapshots", 1, 3, VERB_STREAM),
    ROW(exec,
        "[--env NAME=VALUE]... [--dir DIR] [--user USER] [--timeout TIME] [--tty] [MACHINE] [-- COMMAND [ARG]...]",
        "run a command in a guest", 0, 1, VERB_GUEST),
    ROW(export,
        "{[--disk SLOT [--format FORMAT]] [MACHINE[@SNAP]] FILE | --no-head [MACHINE] FILE | --base DIR [--no-head] "
        "[MACHINE]}",
        "write a machine, or a disk of it, to a file", 0, 2, 0),
    ROW(gc, "[--dry-run] [--now] [--keep TIME]", "take back the space of what was deleted", 0, 0, 0),
    ROW(import, "[--name NAME] {FILE | --base DIR [MACHINE]}", "take in a machine that was exported", 0, 1, 0),
    ROW(info, "[--stats] [--costs] [--hash] [MACHINE]", "say all about one machine", 0, 1, 0),
    ROW(install, "PACKAGE...", "install packages in a guest", 1, INT_MAX, 0),
    ROW(list, "", "list the machines", 0, 0, 0),
    ROW(log, "[MACHINE]", "print what a machine's monitor logged", 0, 1, 0),
    ROW(net, "{create NAME | list | rm NAME}", "make, list and remove private networks", 1, 2, 0),
    ROW(pause, "[MACHINE]", "stop a guest's clock", 0, 1, 0),
    ROW(rename, "[MACHINE] SNAP NAME", "give a snapshot another name", 2, 3, 0),
    ROW(reset, "[MACHINE]", "press a machine's reset button", 0, 1, 0),
    ROW(resume, "[MACHINE]", "let a paused guest go on", 0, 1, 0),
    ROW(revert, "[--now | --keep] [--paused] [MACHINE] SNAP", "bring a machine back to a snapshot", 1, 2, 0),
    ROW(rm, "[--force] [--now] [MACHINE]", "remove a machine and its snapshots", 0, 1, 0),
    ROW(run,
        "{--from SNAP [--warm | --jobs N] [--copy-in PATH]... [--copy-out GUEST[:HOST]]... [--env NAME=VALUE]... "
        "[--dir DIR] "
        "[--user USER] "
        "[--timeout TIME] [--clock WHICH] [--frozen] -- COMMAND [ARG]... | [--kernel FILE [--initrd FILE] [--append "
        "TEXT]] [--bios FILE] "
        "[--boot ORDER] [--mem SIZE] [--cpu MODEL] [--image FILE] [--disk FILE]... [--disk-bus BUS] [--cdrom FILE] "
        "[--floppy FILE]... "
        "[--nic MODEL] [--hpet] [--timeout TIME] [--screenshot FILE] [--gdb WHERE] [--no-reboot] [--log]}",
        "run something in a machine that is thrown away", 0, 0, VERB_GUEST),
    ROW(screen, "[MACHINE]", "print the text that a display shows", 0, 1, 0),
    ROW(screenshot, "[MACHINE] FILE", "write what a display shows to a PNG file", 1, 2, 0),
    ROW(serve, "[--disk SLOT] [--socket PATH | --port PORT] [--once] [MACHINE] SNAP",
        "offer a snapshot's disk over NBD, read-only", 1, 2, VERB_STREAM),
    ROW(set,
        "[--name NAME] [--cdrom FILE] [--floppy FILE]... [--mem SIZE] [--cpu MODEL] [--disk-bus BUS] [--disk-size "
        "[DISK=]SIZE]... [--bios FILE] "
        "[--boot ORDER] "
        "[--kernel FILE] [--initrd FILE] "
        "[--append TEXT] [--net NET]... [--nic MODEL] [--hpet | --no-hpet] [--forward SPEC]... "
        "[--no-forward HOST_PORT]... [--auto TIME[,keep=N]] [--note TEXT] [MACHINE[@SNAP]]",
        "change a machine", 0, 1, 0),
    ROW(snapshot, "[--note TEXT] [--quiesce HOW] [--quiesce-timeout TIME] [--async] [--progress] [MACHINE] SNAP",
        "keep the state of a machine under a name", 1, 2, 0),
    ROW(snapshots, "[MACHINE]", "list the snapshots of a machine", 0, 1, 0),
    ROW(start,
        "[--from SNAP] [--no-wait] [--timeout TIME] [--paused] [--cache MODE] [--clock WHICH] [--frozen] [--gdb WHERE] "
        "[--pcap FILE] [MACHINE]",
        "run a machine", 0, 1, 0),
    ROW(stop, "[--force] [--timeout TIME] [MACHINE]", "shut a guest down", 0, 1, 0),
    ROW(type, "[--file FILE] [--key KEYS]... [--timeout TIME] [TEXT]...", "press keys of a guest's keyboard", 0, 256,
        0),
    ROW(undo, "[--list] [MACHINE]", "take back the last revert, delete or rm", 0, 1, 0),
    ROW(use, "[--none] [MACHINE]", "choose the machine that verbs mean by default", 0, 1, 0),
    ROW(version, "", "print the version", 0, 0, 0),
    ROW(wait, "--text TEXT [--regex] [--serial] [--timeout TIME] [MACHINE]", "wait until a guest shows a text", 0, 1,
        0),
};
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
        r = settings_apply(&c, opts, &e);
        if (!r)
            r = c.verb->run(&c, opts, &e);
        if (r == VT_USAGE)
            settings_blame(&c, &e);
        if (r == VT_GONE)
            r = cli_last_words(&c, r, &e);
    }
    opt_release(c.verb, opts);
    store_close(c.store);
    settings_free(c.settings);
    free(c.words);
    return out_finish(&c, r, &e);
}
