/* Which inodes changed, from the blocks that differ. See prune.c. */
#include "src/diff/prune_priv.h"

#include <string.h>

#include "src/base/util.h"
#include "src/diff/dev.h"

#define TABLE_RUN 64u /* blocks of an inode table that are read at once */

uint32_t prune_used(const struct prune *p, int side, dgrp_t group)
{
    ext2_filsys fs = p->fs[side];
    uint32_t unused;

    if (!ext2fs_has_group_desc_csum(fs))
        return p->per_group;
    if (ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_UNINIT))
        return 0;
    unused = ext2fs_bg_itable_unused(fs, group);
    return unused < p->per_group ? p->per_group - unused : 0;
}

int prune_read_table(struct prune *p, int side, dgrp_t group, uint64_t from, uint64_t n, void *dst)
{
    uint64_t block = ext2fs_inode_table_loc(p->fs[side], group) + from;

    return dev_read(extfs_dev(p->c->fs[side]), dst, n * p->block_size, block * p->block_size, p->c->e);
}

static bool is_live(const struct prune *p, const void *raw, uint32_t index, uint32_t used)
{
    const struct ext2_inode *in = raw;

    return index < used && in->i_links_count && in->i_mode;
}

/* Are two inodes the same but for the times of access and change, and what is derived from them? A content written
 * behind them shows in its blocks. */
static bool same_but_times(const struct prune *p, const unsigned char *a, const unsigned char *b)
{
    unsigned char x[2][sizeof(struct ext2_inode_large)];
    size_t n = MIN(sizeof(x[0]), p->inode_size);

    if (p->inode_size > n && memcmp(a + n, b + n, p->inode_size - n))
        return false;
    for (int i = 0; i < 2; i++) {
        struct ext2_inode_large in = {0};

        memcpy(&in, i ? b : a, n);
        in.i_atime = in.i_ctime = 0;
        in.osd1.linux1.l_i_version = 0;
        in.i_checksum_lo = 0;
        if (p->inode_size > EXT2_GOOD_OLD_INODE_SIZE && in.i_extra_isize <= p->inode_size - 128) {
            if (inode_includes(128u + in.i_extra_isize, i_checksum_hi))
                in.i_checksum_hi = 0;
            if (inode_includes(128u + in.i_extra_isize, i_ctime_extra))
                in.i_ctime_extra = 0;
            if (inode_includes(128u + in.i_extra_isize, i_atime_extra))
                in.i_atime_extra = 0;
            if (inode_includes(128u + in.i_extra_isize, i_version_hi))
                in.i_version_hi = 0;
        }
        memcpy(x[i], &in, sizeof(in));
    }
    return !memcmp(x[0], x[1], sizeof(x[0]));
}

static int compare_table_run(struct prune *p, dgrp_t g, uint64_t from, uint64_t n, unsigned char *buf)
{
    unsigned char *a = buf, *b = buf + TABLE_RUN * p->block_size;
    uint32_t per_block = p->block_size / p->inode_size, first = (uint32_t)(from * per_block);
    uint32_t used[2] = {prune_used(p, BEFORE, g), prune_used(p, AFTER, g)};
    int r = prune_read_table(p, BEFORE, g, from, n, a);

    if (r == 0)
        r = prune_read_table(p, AFTER, g, from, n, b);
    for (uint32_t i = 0; r == 0 && i < n * per_block && first + i < p->per_group; i++) {
        const unsigned char *x = a + (size_t)i * p->inode_size, *y = b + (size_t)i * p->inode_size;
        bool live_a = is_live(p, x, first + i, used[BEFORE]), live_b = is_live(p, y, first + i, used[AFTER]);

        if (!live_a && !live_b)
            continue;
        if (live_a == live_b && (!memcmp(x, y, p->inode_size) || same_but_times(p, x, y)))
            continue;
        r = prune_add_pair(p, g * p->per_group + first + i + 1, x, y, live_a, live_b);
    }
    return r;
}

/* The first block >= at of a group's table that has to be looked at: it differs, or its inodes came into use or went
 * out of it with the group's count alone. */
static uint64_t next_table_block(const struct prune *p, dgrp_t g, uint64_t at, uint64_t blocks)
{
    uint32_t per_block = p->block_size / p->inode_size, a = prune_used(p, BEFORE, g), b = prune_used(p, AFTER, g);
    uint64_t start = ext2fs_inode_table_loc(p->fs[BEFORE], g), differs;
    uint64_t first = MIN(a, b) / per_block, last = ((uint64_t)MAX(a, b) + per_block - 1) / per_block;

    if (a != b && at < last && at >= first)
        return at;
    differs = bitset_next_below(p->c->differ, start + at, start + blocks) - start;
    return a != b && at < first ? MIN(differs, first) : differs;
}

int prune_find_inodes(struct prune *p)
{
    uint64_t blocks = p->fs[BEFORE]->inode_blocks_per_group;
    cleanup(cleanup_free) unsigned char *buf = malloc(2 * (size_t)TABLE_RUN * p->block_size);

    if (!buf)
        return err_set(p->c->e, VT_FAIL, "out of memory");
    for (dgrp_t g = 0; g < p->fs[BEFORE]->group_desc_count; g++) {
        uint64_t at = next_table_block(p, g, 0, blocks);

        while (at < blocks) {
            uint64_t n = 1;
            int r;

            while (at + n < blocks && n < TABLE_RUN && next_table_block(p, g, at + n, blocks) == at + n)
                n++;
            r = compare_table_run(p, g, at, n, buf);
            if (r < 0)
                return r;
            at = next_table_block(p, g, at + n, blocks);
        }
    }
    return 0;
}

/* Owners of what is left. */

static int explain_node(struct prune *p, int side, const struct fsnode *n)
{
    cleanup(runs_clear) struct runs runs = {0};
    int r = extfs_runs(p->c->fs[side], n, &runs, p->c->e);

    if (r < 0)
        return r;
    for (size_t i = 0; i < runs.n; i++)
        bitset_unset_range(&p->rest, runs.run[i].pblk, runs.run[i].len);
    for (size_t i = 0; i < runs.nmeta; i++)
        bitset_unset(&p->rest, runs.meta[i]);
    if (n->acl_block)
        bitset_unset(&p->rest, n->acl_block);
    return 0;
}

/* The journal and its like have no name. (The resize inode's blocks stand behind the descriptors.) */
static int explain_reserved(struct prune *p, int side)
{
    const struct ext2_super_block *sb = p->fs[side]->super;
    uint32_t first = EXT2_FIRST_INO(sb), more[] = {sb->s_journal_inum, sb->s_usr_quota_inum, sb->s_grp_quota_inum,
                                                   sb->s_prj_quota_inum, sb->s_orphan_file_inum};
    struct fsnode n;
    int r;

    for (uint32_t i = 1; i < first + ARRAY_LEN(more); i++) {
        uint32_t ino = i < first ? i : more[i - first];

        if (ino == EXTFS_ROOT || ino == EXT2_RESIZE_INO || !ino || ino > sb->s_inodes_count)
            continue;
        r = extfs_node(p->c->fs[side], ino, &n, p->c->e);
        if (r == 0 && n.links)
            r = explain_node(p, side, &n);
        if (r < 0)
            return r;
    }
    return 0;
}

static void explain_metadata(struct prune *p)
{
    ext2_filsys fs = p->fs[BEFORE];
    const struct ext2_super_block *sb = fs->super;
    uint64_t old_desc_blocks = ext2fs_has_feature_meta_bg(fs->super)
                                   ? sb->s_first_meta_bg
                                   : fs->desc_blocks + (uint64_t)sb->s_reserved_gdt_blocks;

    for (dgrp_t g = 0; g < fs->group_desc_count; g++) {
        blk64_t super = 0, old_desc = 0, new_desc = 0;

        ext2fs_super_and_bgd_loc2(fs, g, &super, &old_desc, &new_desc, NULL);
        if (super || g == 0)
            bitset_unset(&p->rest, super);
        if (old_desc)
            bitset_unset_range(&p->rest, old_desc, old_desc_blocks);
        if (new_desc)
            bitset_unset(&p->rest, new_desc);
        bitset_unset(&p->rest, ext2fs_block_bitmap_loc(fs, g));
        bitset_unset(&p->rest, ext2fs_inode_bitmap_loc(fs, g));
        bitset_unset_range(&p->rest, ext2fs_inode_table_loc(fs, g), fs->inode_blocks_per_group);
    }
    if (fs->super->s_mmp_block)
        bitset_unset(&p->rest, fs->super->s_mmp_block);
    if (fs->super->s_first_data_block)
        bitset_unset_range(&p->rest, 0, fs->super->s_first_data_block);
}

/* Drops the blocks that are free on either side: no unchanged inode owns those. */
static int explain_free(struct prune *p)
{
    cleanup(cleanup_free) unsigned char *bitmap = malloc(p->block_size);
    const struct ext2_super_block *sb = p->fs[BEFORE]->super;
    uint64_t first = sb->s_first_data_block, at = bitset_next(&p->rest, 0);

    if (!bitmap)
        return err_set(p->c->e, VT_FAIL, "out of memory");
    while (at < p->rest.n) {
        dgrp_t g = (dgrp_t)((at - first) / sb->s_blocks_per_group);
        uint64_t start = first + (uint64_t)g * sb->s_blocks_per_group, end = start + sb->s_blocks_per_group;

        if (g >= p->fs[BEFORE]->group_desc_count)
            return 0;
        for (int side = BEFORE; side <= AFTER; side++) {
            int r;

            if (ext2fs_has_group_desc_csum(p->fs[side]) && ext2fs_bg_flags_test(p->fs[side], g, EXT2_BG_BLOCK_UNINIT)) {
                bitset_unset_range(&p->rest, at, end - at);
                break;
            }
            r = dev_read(extfs_dev(p->c->fs[side]), bitmap, p->block_size,
                         ext2fs_block_bitmap_loc(p->fs[side], g) * p->block_size, p->c->e);
            if (r < 0)
                return r;
            for (uint64_t b = at; b < end && b < p->rest.n; b = bitset_next(&p->rest, b + 1))
                if (!(bitmap[(b - start) / 8] >> ((b - start) % 8) & 1))
                    bitset_unset(&p->rest, b);
        }
        at = bitset_next(&p->rest, end);
    }
    return 0;
}

/* Does a file own one of the blocks that are left? Small extent maps are read where they stand. */
static int owns_rest(struct prune *p, const unsigned char *raw, uint32_t ino, bool *ret)
{
    cleanup(runs_clear) struct runs runs = {0};
    const struct ext2_inode *in = (const void *)raw;
    const struct ext3_extent_header *h = (const void *)in->i_block;
    const struct ext3_extent *x = (const void *)(h + 1);
    struct fsnode n;
    int r;

    extfs_decode(raw, p->inode_size, ino, &n);
    *ret = n.acl_block && bitset_test(&p->rest, n.acl_block);
    if (*ret)
        return 0;
    if (n.flags & EXT4_EXTENTS_FL && h->eh_magic == EXT3_EXT_MAGIC && !h->eh_depth && h->eh_entries <= 4) {
        for (uint32_t i = 0; i < h->eh_entries && !*ret; i++) {
            uint32_t len = x[i].ee_len > EXT_INIT_MAX_LEN ? x[i].ee_len - EXT_INIT_MAX_LEN : x[i].ee_len;

            *ret = bitset_any(&p->rest, x[i].ee_start | (uint64_t)x[i].ee_start_hi << 32, len);
        }
        return 0;
    }
    r = extfs_runs(p->c->fs[BEFORE], &n, &runs, p->c->e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < runs.n && !*ret; i++)
        *ret = bitset_any(&p->rest, runs.run[i].pblk, runs.run[i].len);
    for (size_t i = 0; i < runs.nmeta && !*ret; i++)
        *ret = bitset_test(&p->rest, runs.meta[i]);
    return 0;
}

static int pair_cmp(const void *a, const void *b)
{
    const struct inode_pair *x = a, *y = b;

    return x->node[BEFORE].ino < y->node[BEFORE].ino ? -1 : x->node[BEFORE].ino > y->node[BEFORE].ino;
}

static bool all_explained(const struct prune *p)
{
    return bitset_next(&p->rest, 0) == p->rest.n;
}

/* Reads all tables in use and adds the unchanged inodes that own a changed block. */
static int scan_owners(struct prune *p)
{
    uint32_t per_block = p->block_size / p->inode_size;
    cleanup(cleanup_free) unsigned char *buf = malloc((size_t)TABLE_RUN * p->block_size);

    if (!buf)
        return err_set(p->c->e, VT_FAIL, "out of memory");
    for (dgrp_t g = 0; g < p->fs[BEFORE]->group_desc_count; g++) {
        uint32_t used = prune_used(p, BEFORE, g);
        uint64_t blocks = (used + per_block - 1) / per_block;

        for (uint64_t at = 0; at < blocks; at += TABLE_RUN) {
            uint64_t n = MIN((uint64_t)TABLE_RUN, blocks - at);
            int r = prune_read_table(p, BEFORE, g, at, n, buf);

            for (uint32_t i = 0; r == 0 && i < n * per_block; i++) {
                uint32_t index = (uint32_t)at * per_block + i, ino = g * p->per_group + index + 1;
                const unsigned char *raw = buf + (size_t)i * p->inode_size;
                bool owns = false;

                if (index >= used || !is_live(p, raw, index, used) || bitset_test(&p->changed, ino) ||
                    (ino != EXTFS_ROOT && ino < EXT2_FIRST_INO(p->fs[BEFORE]->super)))
                    continue;
                r = owns_rest(p, raw, ino, &owns);
                if (r < 0 || !owns)
                    continue;
                r = prune_add_pair(p, ino, raw, raw, true, true);
                if (r == 0)
                    r = explain_node(p, BEFORE, &p->pair[p->n - 1].node[BEFORE]);
            }
            if (r < 0 || all_explained(p))
                return r;
        }
    }
    return 0;
}

int prune_find_owners(struct prune *p)
{
    size_t known = p->n;
    int r = 0;

    explain_metadata(p);
    for (int side = BEFORE; r == 0 && side <= AFTER; side++)
        for (size_t i = 0; r == 0 && i < known; i++)
            if (p->pair[i].live[side])
                r = explain_node(p, side, &p->pair[i].node[side]);
    if (r == 0 && !all_explained(p))
        r = explain_free(p);
    for (int side = BEFORE; r == 0 && side <= AFTER && !all_explained(p); side++)
        r = explain_reserved(p, side);
    if (r == 0 && !all_explained(p))
        r = scan_owners(p);
    if (r == 0 && p->n)
        qsort(p->pair, p->n, sizeof(*p->pair), pair_cmp);
    return r;
}
