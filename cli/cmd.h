/* One line a verb: what main.c's table takes from each cmd_VERB.c. */
#ifndef VT_CLI_CMD_H
#define VT_CLI_CMD_H

#include "cli/cli.h"

#define CMD(verb)                             \
    extern const struct opt verb##_options[]; \
    int cmd_##verb(struct cli *c, void *opts, struct err *e)

CMD(check);
CMD(console);
CMD(cp);
CMD(create);
CMD(delete);
CMD(diff);
CMD(exec);
CMD(export);
CMD(gc);
CMD(import);
CMD(info);
CMD(install);
CMD(list);
CMD(log);
CMD(net);
CMD(pause);
CMD(rename);
CMD(reset);
CMD(resume);
CMD(revert);
CMD(rm);
CMD(run);
CMD(screen);
CMD(screenshot);
CMD(serve);
CMD(set);
CMD(snapshot);
CMD(snapshots);
CMD(start);
CMD(stop);
CMD(type);
CMD(undo);
CMD(use);
CMD(version);
CMD(wait);

#endif
