/* What the steps of the pruned comparison share (prune.c says how they follow each other). */
#ifndef VT_DIFF_PRUNE_PRIV_H
#define VT_DIFF_PRUNE_PRIV_H

#include <ext2fs/ext2fs.h>

#include "src/diff/tree_priv.h"

/* An inode that is not the same in both, or whose blocks are not. */
struct inode_pair {
    struct fsnode node[2];
    bool live[2];   /* has a name somewhere, as far as its own fields say */
    uint32_t named; /* how many names of the AFTER side have been seen */
};

/* A directory as read, on one side. */
struct dir_cache {
    uint32_t ino;
    bool bad; /* not a directory, or not in use */
    struct dirlist own;
    const struct dirlist *list; /* own, or that of the other side where the directory did not change */
    char *path;                 /* NULL until asked for */
    enum { PATH_UNKNOWN, PATH_PENDING, PATH_NONE, PATH_KNOWN } path_state;
};

/* The name of a file that both sides have under that name, in a directory that both have. */
struct kept_name {
    uint32_t dir;
    uint32_t ino;
    char *name;
};

struct prune {
    struct compare *c;
    ext2_filsys fs[2];
    uint32_t inode_size, block_size, per_group;
    size_t n, cap;
    struct inode_pair *pair; /* sorted by inode once collected */
    struct bitset changed;   /* inodes that have a pair */
    struct bitset searched;  /* unchanged directories whose names have been looked at */
    struct bitset rest;      /* blocks that differ and are not yet explained */
    size_t ndirs[2], capdirs[2];
    struct dir_cache **dir[2];
    uint32_t *slot[2]; /* inode -> position in dir + 1 */
    size_t nkept, capkept;
    struct kept_name *kept;
};

struct inode_pair *prune_pair(struct prune *p, uint32_t ino); /* NULL where the inode did not change */
int prune_add_pair(struct prune *p, uint32_t ino, const void *raw_a, const void *raw_b, bool live_a, bool live_b);
/* How many inodes of a group may be in use on a side. */
uint32_t prune_used(const struct prune *p, int side, dgrp_t group);
/* Reads [from, from + n) blocks of a group's inode table. */
int prune_read_table(struct prune *p, int side, dgrp_t group, uint64_t from, uint64_t n, void *dst);

/* prune_inodes.c: the pairs from the inode tables, then from blocks that no changed inode explains. */
int prune_find_inodes(struct prune *p);
int prune_find_owners(struct prune *p);

/* prune_names.c: directories and paths. */
int prune_dir(struct prune *p, int side, uint32_t ino, struct dir_cache **ret);
/* The path of a directory, "" for the root; NULL where it has none. Belongs to p. */
int prune_path(struct prune *p, int side, uint32_t ino, const char **ret);
int prune_keep_name(struct prune *p, uint32_t dir, const char *name, uint32_t ino);
void prune_names_clear(struct prune *p);

/* prune_search.c: looks for the names of changed files that no changed directory holds. */
int prune_find_names(struct prune *p);

#endif
