/* vmtest reset: presses the reset button. */
#include "cli/cmd.h"

#include "cli/life.h"

const struct opt reset_options[] = {OPT_END(struct no_opts)};

int cmd_reset(struct cli *c, void *opts, struct err *e)
{
    return life_command(c, "system_reset", "reset", NULL, e);
}
