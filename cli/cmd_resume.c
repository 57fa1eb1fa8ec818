/* vmtest resume: lets a paused guest go on. */
#include "cli/cmd.h"

#include "cli/life.h"

const struct opt resume_options[] = {OPT_END(struct no_opts)};

int cmd_resume(struct cli *c, void *opts, struct err *e)
{
    return life_command(c, "cont", "resumed", "running", e);
}
