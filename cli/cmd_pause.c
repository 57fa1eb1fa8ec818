/* vmtest pause: stops the clock of a guest; it goes on with resume. */
#include "cli/cmd.h"

#include "cli/life.h"

const struct opt pause_options[] = {OPT_END(struct no_opts)};

int cmd_pause(struct cli *c, void *opts, struct err *e)
{
    return life_command(c, "stop", "paused", "paused", e);
}
