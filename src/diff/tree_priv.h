/* What the two ways of comparing share. */
#ifndef VT_DIFF_TREE_PRIV_H
#define VT_DIFF_TREE_PRIV_H

#include "src/diff/tree.h"

struct compare {
    struct extfs *fs[2];         /* before, after */
    const struct bitset *differ; /* blocks that may differ, journals replayed; NULL when not known */
    struct tree_options opt;
    struct bitset visited[2]; /* directories that a walk has entered */
    struct changes out;
    struct err *e;
};

enum { BEFORE, AFTER };

/* What differs between two nodes of one type. */
int compare_nodes(struct compare *c, const struct fsnode *a, const struct fsnode *b, unsigned *ret_what);
/* Records what differs between the nodes that path names; either inode may be 0. Does not descend. */
int compare_at(struct compare *c, const char *path, uint32_t a, uint32_t b, struct fsnode *ret_a, struct fsnode *ret_b);
/* The same, and everything below. path is "" for the root. */
int compare_subtree(struct compare *c, const char *path, uint32_t a, uint32_t b);
int add_change(struct compare *c, char kind, unsigned what, const char *path, const struct fsnode *a,
               const struct fsnode *b);

/* Are the two layouts the same, so that block numbers mean the same in both? */
bool prune_possible(const struct compare *c);
/* Finds all changes from the blocks in c->differ. */
int prune_compare(struct compare *c);

/* content.c: do two regular files hold the same bytes? */
int content_same(struct compare *c, const struct fsnode *a, const struct fsnode *b, bool *ret_same);

#endif
