/* vmtest version */
#include "cli/cmd.h"

#include <stdio.h>

const struct opt version_options[] = {OPT_END(struct no_opts)};

int cmd_version(struct cli *c, void *opts, struct err *e)
{
    out_set(c, "version", json_string(VMTEST_VERSION));
    out_line(c, "vmtest %s", VMTEST_VERSION);
    return 0;
}
