/* Machine configurations as a damaged or hostile store may hold them: what is accepted must come out as it went in. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "src/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = strndup((const char *)data, len);
    struct machine_config c, again;

    if (!text)
        abort();
    if (config_parse(text, &c, NULL) == 0) {
        char *first = config_text(&c), *second, *hardware = config_hardware(&c);

        if (!first || !hardware || config_parse(first, &again, NULL) != 0)
            abort();
        second = config_text(&again);
        if (!second || strcmp(first, second) != 0 || config_set_hardware(&again, hardware, NULL) != 0)
            abort();
        config_release(&c);
        config_release(&again);
        free(first);
        free(second);
        free(hardware);
    }
    free(text);
    return 0;
}
