/* vmtest-monitor: the process that runs one machine. */
#include <stdio.h>
#include <string.h>
#include "src/oneshot.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--oneshot") == 0)
        return oneshot_main(argc - 1, argv + 1);
    fprintf(stderr, "vmtest-monitor: started by vmtest, not by hand\n");
    return 64;
}
