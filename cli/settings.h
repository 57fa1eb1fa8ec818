/* What the user set once instead of giving it each time: VMTEST_* variables, then the project's, the user's and the
 * system's configuration file. An option that is given goes before all of them. vmtest.conf(5) lists the settings. */
#ifndef VT_CLI_SETTINGS_H
#define VT_CLI_SETTINGS_H

#include "cli/cli.h"

/* The files are read when the first setting is asked for, all at once, so that a mistake in any shows. */
struct settings;
void settings_free(struct settings *s);

/* A setting, where from its value came ("FILE:LINE", or the variable) for messages; both live as long as c. *ret NULL:
 * it is not set. VT_USAGE: a mistake in a file. */
struct setting_value {
    const char *text, *origin;
};
int settings_get(struct cli *c, const char *key, struct setting_value *ret, struct err *e);

/* Fills those options of the verb that were not given (c->given) and are settings. */
int settings_apply(struct cli *c, void *opts, struct err *e);
/* The verb failed on its words: says where a value that it names came from, if it was not given as a word. */
void settings_blame(struct cli *c, struct err *e);

#endif
