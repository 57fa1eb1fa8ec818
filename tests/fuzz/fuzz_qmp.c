/* Hostile bytes on the monitor's socket: whatever came, the server lives, and after an end of line it serves a
 * well-formed command. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "src/base/err.h"
#include "src/loop.h"
#include "src/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void cmd_echo(void *opaque, struct qmp_call *call)
{
    (void)opaque;
    qmp_return(call, json_incref(call->args));
}

static const struct qmp_command commands[] = {{"echo", cmd_echo}, {0}};

/* Sends it in pieces, with a turn of the loop after each; what comes back is appended to *answers. */
static void talk(struct loop *l, int fd, const uint8_t *data, size_t len, char *answers, size_t size)
{
    size_t used = strlen(answers), step = len > 64 ? 64 : 7;

    for (size_t at = 0; at < len; at += step) {
        size_t n = len - at < step ? len - at : step;
        ssize_t got;

        if (send(fd, data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n)
            return;
        for (int i = 0; i < 4; i++)
            loop_turn(l, 0);
        while ((got = recv(fd, answers + used, size - 1 - used, MSG_DONTWAIT)) > 0)
            used = used + (size_t)got > size / 2 ? 0 : used + (size_t)got; /* only the end is looked at */
        answers[used] = 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char last[] =
        "\"\n\n\xff\n{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"echo\",\"id\":\"the end\"}\n";
    char *answers = calloc(1, 1 << 16);
    struct loop *l = NULL;
    struct qmp *q = NULL;
    int pair[2];

    vt_assert(answers && loop_new(&l, NULL) == 0 && qmp_new(l, commands, NULL, &q, NULL) == 0);
    vt_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    vt_assert(qmp_serve(q, pair[0], NULL, NULL, NULL) == 0);
    talk(l, pair[1], data, len > 4096 ? 4096 : len, answers, 1 << 16);
    talk(l, pair[1], (const uint8_t *)last, sizeof last - 1, answers, 1 << 16);
    vt_assert(strstr(answers, "{\"return\":{},\"id\":\"the end\"}"));
    close(pair[1]);
    loop_turn(l, 0);
    qmp_free(q);
    loop_free(l);
    free(answers);
    return 0;
}
