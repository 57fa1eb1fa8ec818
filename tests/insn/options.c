#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static int usage(void)
{
    fprintf(stderr, "usage: insn_test [--seed S] [--cases N] [--exhaustive] [--only MNEMONIC] [--case N [--count K]]\n"
                    "                 [--mode 64|32|16] [--cpu MODEL] [--native-only] [--pointers] [--runner PROGRAM] "
                    "[--verbose]\n");
    return 64;
}

static bool parse_number(const char *text, uint64_t *ret)
{
    char *end;
    *ret = strtoull(text, &end, 0);
    return *text && !*end;
}

int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"mode", required_argument, NULL, 'm'},
        {"cpu", required_argument, NULL, 'u'},
        {"seed", required_argument, NULL, 's'},
        {"cases", required_argument, NULL, 'n'},
        {"exhaustive", no_argument, NULL, 'x'},
        {"only", required_argument, NULL, 'o'},
        {"case", required_argument, NULL, 'c'},
        {"count", required_argument, NULL, 'k'},
        {"native-only", no_argument, NULL, 'N'},
        {"verbose", no_argument, NULL, 'v'},
        {"pointers", no_argument, NULL, 'p'},
        {"runner", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    int opt;
    *o = (struct options){.seed = 1, .cases = 1000000, .count = 1, .mode = mode_get(CPU_TEST_32)};
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        bool ok = true;
        switch (opt) {
        case 'm':
            o->mode = mode_by_name(optarg);
            if (!o->mode)
                return usage();
            break;
        case 'u':
            o->model = optarg;
            break;
        case 's':
            ok = parse_number(optarg, &o->seed);
            break;
        case 'n':
            ok = parse_number(optarg, &o->cases);
            break;
        case 'c':
            ok = parse_number(optarg, &o->first);
            o->one = true;
            break;
        case 'k':
            ok = parse_number(optarg, &o->count);
            break;
        case 'x':
            o->exhaustive = true;
            break;
        case 'o':
            o->only = optarg;
            break;
        case 'N':
            o->native_only = true;
            break;
        case 'p':
            o->pointers = true;
            break;
        case 'v':
            o->verbose = true;
            break;
        case 'r':
            o->runner = optarg;
            break;
        default:
            return usage();
        }
        if (!ok) {
            fprintf(stderr, "insn_test: '%s' is not a number\n", optarg);
            return 64;
        }
    }
    return optind == argc ? 0 : usage();
}
