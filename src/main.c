/* vmtest-monitor: runs a machine of a store, or a guest without one. */
#include <string.h>
#include "src/base/lastwords.h"
#include "src/monitor.h"
#include "src/oneshot.h"

int main(int argc, char **argv)
{
    last_words_prepare();
    if (argc > 1 && strcmp(argv[1], "--oneshot") == 0)
        return oneshot_main(argc - 1, argv + 1);
#ifdef VMTEST_NO_STORE
    return 64;
#else
    return monitor_main(argc, argv);
#endif
}
