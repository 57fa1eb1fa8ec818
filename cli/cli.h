/* What a verb's file sees: its row's types, the parsed command line, and the ways to print. */
#ifndef VT_CLI_H
#define VT_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/json.h"
#include "src/base/units.h"
#include "src/base/util.h"

struct settings;
struct store;
struct verb;

/* ---- options (opt.c). A verb keeps its options in a struct of its own, and a const table says which word goes where.
 */
enum opt_kind {
    OPT_FLAG,     /* bool */
    OPT_STR,      /* const char *, into argv */
    OPT_LIST,     /* struct strlist, one entry an occurrence */
    OPT_SIZE,     /* uint64_t bytes */
    OPT_DURATION, /* uint64_t ns */
    OPT_NUMBER,   /* uint64_t */
};
struct opt {
    const char *name; /* without dashes; NULL ends the table */
    const char *arg;  /* what --help calls the value; NULL exactly for OPT_FLAG */
    const char *help;
    size_t offset; /* into the verb's struct */
    enum opt_kind kind;
    char letter; /* 0: none */
};
/* The last row says how large the verb's struct is, which opt_parse makes, zeroed. */
#define OPT_END(type)           \
    {                           \
        .offset = sizeof(type), \
    }
struct no_opts {
    char none;
};

struct cli {
    const struct verb *verb;
    const char *prog;      /* argv[0] */
    const char *store_dir; /* --store, else NULL */
    const char *machine;   /* -m, else NULL */
    bool json, help;
    bool quiet, verbose;
    char **words; /* not after "--"; NULL-terminated */
    int nwords;
    char **guest; /* after "--"; NULL-terminated */
    int nguest;
    bool has_guest; /* there was a "--" */
    uint64_t given; /* bit n: the nth of the verb's options */
    uint64_t started;
    struct settings *settings; /* see settings.h; NULL: not asked for yet */
    struct store *store;       /* see resolve.h */
    int64_t connected;         /* the machine whose monitor was reached; 0: none */
    json_t *result;            /* with --json: what the verb's out_* calls gathered */
};

/* ---- the table (main.c) */
struct verb {
    const char *name;
    /* 0..255: the exit status; negative: an enum vt_err, with e filled. opts points to the verb's struct. */
    int (*run)(struct cli *c, void *opts, struct err *e);
    const struct opt *options;
    const char *usage;   /* after "vmtest NAME " */
    const char *summary; /* one line, no full stop */
    int min_words, max_words;
    unsigned flags;
};
enum {
    VERB_GUEST = 1,  /* takes "-- COMMAND"; its status is the guest's, and every failure of ours is 125 */
    VERB_STREAM = 2, /* with --json, the verb prints by itself */
};
extern const struct verb verbs[];
extern const unsigned nverbs;
const struct verb *verb_find(const char *name); /* aliases too; NULL */

/* Parses argv past the program's name. With VT_USAGE, c->verb is set as far as it was seen. *ret_opts is malloc'ed. */
int opt_parse(struct cli *c, int argc, char **argv, void **ret_opts, struct err *e);
/* Puts a value, which may be an OPT_FLAG's NULL, into the struct at base. VT_USAGE names the option. */
int opt_store(const struct opt *o, void *base, const char *value, struct err *e);
/* r, and where that is an error, "--NAME: " before its message. */
int opt_named(int r, const char *name, struct err *e);
void opt_release(const struct verb *v, void *opts);
void opt_print_help(const struct verb *v);
void opt_print_overview(void);

/* ---- printing (out.c) */
/* A value of the --json object; nothing without --json. `value` is released, always. */
void out_set(struct cli *c, const char *key, json_t *value);
/* "WHAT in TIME (DETAIL)": the line that ends a verb that changed something. detail may be NULL. */
void out_done(struct cli *c, const char *detail, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The line of a verb that found all as it was to be. */
void out_already(struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* For people only: to stderr, with "vmtest: VERB: " before it; nothing with -q. */
void out_note(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line of results, nothing with --json. */
void out_line(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Columns, each as wide as its widest cell. cells: rows * cols strings; the first row is the heading. */
void out_table(const struct cli *c, const struct strlist *cells, unsigned cols);
/* Prints the error or the object, and gives the exit status. r: what run() gave. */
int out_finish(struct cli *c, int r, const struct err *e);
/* "2026-01-31T12:00:00Z" and seconds as JSON. */
json_t *out_time(int64_t ns);
json_t *out_seconds(uint64_t ns);

#endif
