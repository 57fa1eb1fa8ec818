/* Translations that the first machine started from a snapshot made, kept for the next ones: in the user's cache folder
 * ($XDG_CACHE_HOME/vmtest/warm), not in the store, which may come from somebody else. A file that is missing, old or
 * wrong costs time at most. On the loop's thread. */
#ifndef VT_WARM_H
#define VT_WARM_H

#include <stdbool.h>
#include <stdint.h>

struct store;
struct machine;
struct capture;

struct warm {
    int64_t snapshot;
    char *path; /* NULL: nothing is to be kept */
    bool loaded;
};

/* After the restore, before the guest runs. */
void warm_begin(struct warm *w, struct store *s, struct machine *m, int64_t snapshot);
/* Before the machine goes. */
void warm_end(struct warm *w, struct capture *c, struct machine *m);

#endif
