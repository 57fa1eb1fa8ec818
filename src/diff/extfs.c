/* See extfs.h. Opening, nodes, directories and paths. */
#include "src/diff/extfs_priv.h"

#include <et/com_err.h>
#include <stdio.h>
#include <string.h>

#include "src/base/util.h"
#include "src/diff/dev.h"
#include "src/diff/jbd2.h"

#define JOURNAL_BLOCKS_MAX                                                                     \
    (4u << 20) /* a kernel makes none larger than 1 GiB; at 1 KiB blocks that is this many / 4 \
                */
#define SYMLINKS_MAX 40

void extfs_begin(struct extfs *fs)
{
    fs->io.budget = 2 * ext2fs_blocks_count(fs->fs->super) + 4096;
    fs->io.err = (struct err){0};
}

int extfs_fail(struct extfs *fs, long code, struct err *e, const char *fmt, ...)
{
    char what[200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (fs->io.err.code)
        return err_set(e, fs->io.err.code, "%s: %s", what, fs->io.err.msg);
    if (code == EXT2_ET_NO_MEMORY)
        return err_set(e, VT_FAIL, "%s: out of memory", what);
    if (code == EXT2_ET_UNSUPP_FEATURE || code == EXT2_ET_RO_UNSUPP_FEATURE || code == EXT2_ET_REV_TOO_HIGH)
        return err_set(e, VT_VERSION, "%s: it has features that cannot be read", what);
    return err_set(e, VT_CORRUPT, "%s: %s", what, error_message(code));
}

/* Looks at the superblock before the library does, so that no allocation is sized by a number without bound. */
static int check_super(struct blockdev *dev, uint64_t *ret_blocks, struct err *e)
{
    struct ext2_super_block sb;
    uint64_t blocks, size;
    int r;

    if (dev->size < 2048)
        return err_set(e, VT_VERSION, "no ext2, ext3 or ext4 file system: too small");
    r = dev_read(dev, &sb, sizeof(sb), 1024, e);
    if (r < 0)
        return r;
    if (sb.s_magic != EXT2_SUPER_MAGIC)
        return err_set(e, VT_VERSION, "no ext2, ext3 or ext4 file system");
    if (sb.s_log_block_size > EXT2_MAX_BLOCK_LOG_SIZE - EXT2_MIN_BLOCK_LOG_SIZE || !sb.s_blocks_per_group ||
        !sb.s_inodes_per_group)
        return err_set(e, VT_CORRUPT, "the file system's superblock does not make sense");
    size = 1024ull << sb.s_log_block_size;
    blocks = sb.s_blocks_count;
    if (sb.s_feature_incompat & EXT4_FEATURE_INCOMPAT_64BIT)
        blocks |= (uint64_t)sb.s_blocks_count_hi << 32;
    if (blocks > dev->size / size)
        return err_set(e, VT_CORRUPT,
                       "the file system (%llu blocks of %llu bytes) is larger than its disk (%llu bytes)",
                       (unsigned long long)blocks, (unsigned long long)size, (unsigned long long)dev->size);
    if (sb.s_inodes_count > blocks * (size / 128))
        return err_set(e, VT_CORRUPT, "the file system's superblock does not make sense");
    *ret_blocks = blocks;
    return 0;
}

static int open_library(struct extfs *fs, struct blockdev *dev, struct err *e)
{
    uint64_t blocks = 0;
    errcode_t code;
    int r = check_super(dev, &blocks, e);

    if (r < 0)
        return r;
    extio_init(&fs->io, dev, 2 * blocks + 4096);
    code = ext2fs_open2(extio_name(&fs->io).s, NULL, EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP, 0, 0, &fs->io.manager,
                        &fs->fs);
    if (code)
        return extfs_fail(fs, code, e, "cannot open the file system");
    return 0;
}

/* The journal's blocks, from its inode. */
static int journal_map(struct extfs *fs, uint64_t **ret, uint32_t *ret_n, struct err *e)
{
    cleanup(cleanup_free) uint64_t *map = NULL;
    cleanup(runs_clear) struct runs runs = {0};
    struct fsnode n;
    uint64_t blocks;
    int r = extfs_node(fs, fs->fs->super->s_journal_inum, &n, e);

    if (r < 0)
        return r;
    r = extfs_runs(fs, &n, &runs, e);
    if (r < 0)
        return r;
    blocks = n.size / fs->fs->blocksize;
    if (!blocks || blocks > JOURNAL_BLOCKS_MAX)
        return err_set(e, VT_CORRUPT, "the journal's size, %llu blocks, does not make sense",
                       (unsigned long long)blocks);
    map = calloc(blocks, sizeof(*map));
    if (!map)
        return err_set(e, VT_FAIL, "out of memory");
    for (size_t i = 0; i < runs.n; i++)
        for (uint64_t k = 0; k < runs.run[i].len && runs.run[i].lblk + k < blocks; k++)
            map[runs.run[i].lblk + k] = runs.run[i].pblk + k;
    *ret = steal(&map);
    *ret_n = (uint32_t)blocks;
    return 0;
}

static int replay(struct extfs *fs, struct err *e)
{
    cleanup(cleanup_free) uint64_t *map = NULL;
    struct jbd2_source src = {.dev = fs->disk, .block_size = fs->fs->blocksize};
    struct jbd2_result res = {0};
    int r;

    if (!fs->fs->super->s_journal_inum)
        return err_set(e, VT_VERSION, "the journal to replay is on another disk");
    r = journal_map(fs, &map, &src.map_len, e);
    if (r < 0)
        return r;
    src.map = map;
    src.fs_blocks = ext2fs_blocks_count(fs->fs->super);
    r = dev_overlay(fs->disk, src.block_size, &fs->overlay, e);
    if (r == 0)
        r = jbd2_replay(&src, fs->overlay, &res, e);
    if (r < 0)
        return err_prefix(e, r, "cannot replay the journal");
    if ((res.skipped &&
         asprintf(&fs->note, "%u journal blocks have a wrong checksum and were not replayed", res.skipped) < 0) ||
        (!res.skipped && res.fast_commits &&
         !(fs->note =
               strdup("the journal ends in fast commits, which were not replayed: the last changes are absent"))))
        return err_set(e, VT_FAIL, "out of memory");
    ext2fs_close_free(&fs->fs);
    return open_library(fs, fs->overlay, e);
}

int extfs_open(struct blockdev *dev, struct extfs **ret, struct err *e)
{
    cleanup(cleanup_extfs) struct extfs *fs = calloc(1, sizeof(*fs));
    int r;

    if (!fs)
        return err_set(e, VT_FAIL, "out of memory");
    add_error_table(&et_ext2_error_table);
    fs->disk = dev;
    r = open_library(fs, dev, e);
    if (r == 0 && ext2fs_has_feature_journal_needs_recovery(fs->fs->super))
        r = replay(fs, e);
    if (r < 0)
        return r;
    *ret = steal(&fs);
    return 0;
}

void extfs_close(struct extfs *fs)
{
    if (!fs)
        return;
    if (fs->fs)
        ext2fs_close_free(&fs->fs);
    dev_close(fs->overlay);
    free(fs->note);
    free(fs);
}

const char *extfs_note(const struct extfs *fs)
{
    return fs->note;
}

size_t extfs_replayed(const struct extfs *fs)
{
    return fs->overlay ? dev_overlay_count(fs->overlay) : 0;
}

uint64_t extfs_replayed_block(const struct extfs *fs, size_t index)
{
    return dev_overlay_block(fs->overlay, index);
}

uint32_t extfs_inodes(const struct extfs *fs)
{
    return fs->fs->super->s_inodes_count;
}

uint32_t extfs_block_size(const struct extfs *fs)
{
    return fs->fs->blocksize;
}

struct blockdev *extfs_dev(struct extfs *fs)
{
    return fs->overlay ? fs->overlay : fs->disk;
}

void *extfs_handle(struct extfs *fs)
{
    return fs->fs;
}

int extfs_inode(struct extfs *fs, uint32_t ino, struct ext2_inode_large *ret, struct err *e)
{
    errcode_t code;

    extfs_begin(fs);
    memset(ret, 0, sizeof(*ret));
    code = ext2fs_read_inode_full(fs->fs, ino, (struct ext2_inode *)ret, sizeof(*ret));
    return code ? extfs_fail(fs, code, e, "inode %u", ino) : 0;
}

void extfs_decode(const void *raw, size_t inode_size, uint32_t ino, struct fsnode *ret)
{
    struct ext2_inode_large in = {0};

    memcpy(&in, raw, MIN(inode_size, sizeof(in)));
    *ret = (struct fsnode){.ino = ino,
                           .generation = in.i_generation,
                           .mode = in.i_mode,
                           .uid = inode_uid(in),
                           .gid = inode_gid(in),
                           .links = in.i_links_count,
                           .flags = in.i_flags,
                           .size = in.i_size,
                           .mtime = (int32_t)in.i_mtime,
                           .acl_block = in.i_file_acl | (uint64_t)in.osd2.linux2.l_i_file_acl_high << 32};
    if (S_ISREG(in.i_mode))
        ret->size |= (uint64_t)in.i_size_high << 32;
    if (inode_size > EXT2_GOOD_OLD_INODE_SIZE && inode_includes(128 + in.i_extra_isize, i_mtime_extra)) {
        ret->mtime += (int64_t)(in.i_mtime_extra & EXT4_EPOCH_MASK) << 32;
        ret->mtime_ns = in.i_mtime_extra >> EXT4_EPOCH_BITS;
    }
    if (S_ISCHR(in.i_mode) || S_ISBLK(in.i_mode)) {
        uint32_t v = in.i_block[0];

        /* As the kernel stores it: the old 8:8 form in the first word, else 12:20 in the second. */
        ret->rdev_major = v >> 8 & 0xff;
        ret->rdev_minor = v & 0xff;
        if (!v) {
            v = in.i_block[1];
            ret->rdev_major = (v & 0xfff00) >> 8;
            ret->rdev_minor = (v & 0xff) | (v >> 12 & 0xfff00);
        }
    }
}

int extfs_node(struct extfs *fs, uint32_t ino, struct fsnode *ret, struct err *e)
{
    struct ext2_inode_large in;
    int r = extfs_inode(fs, ino, &in, e);

    if (r < 0)
        return r;
    extfs_decode(&in, EXT2_INODE_SIZE(fs->fs->super), ino, ret);
    return 0;
}

/* Directories. */

void dirlist_clear(struct dirlist *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->entry[i].name);
    free(l->entry);
    *l = (struct dirlist){0};
}

static int entry_cmp(const void *a, const void *b)
{
    return strcmp(((const struct dirent_name *)a)->name, ((const struct dirent_name *)b)->name);
}

long dirlist_find(const struct dirlist *list, const char *name)
{
    const struct dirent_name key = {.name = (char *)name};
    const struct dirent_name *p = list->n ? bsearch(&key, list->entry, list->n, sizeof(key), entry_cmp) : NULL;

    return p ? p - list->entry : -1;
}

struct list_ctx {
    struct dirlist list;
    int code;
    const char *why;
};

static int take_entry(ext2_ino_t dir, int entry, struct ext2_dir_entry *d, int offset, int blocksize, char *buf,
                      void *opaque)
{
    struct list_ctx *c = opaque;
    size_t len = (size_t)ext2fs_dirent_name_len(d);
    struct dirlist *l = &c->list;
    char *name;

    if (len == 1 && d->name[0] == '.')
        return 0;
    if (len == 2 && d->name[0] == '.' && d->name[1] == '.') {
        l->parent = d->inode;
        return 0;
    }
    if (!len || memchr(d->name, '/', len) || memchr(d->name, 0, len)) {
        c->code = VT_CORRUPT;
        c->why = "it has an entry without a proper name";
        return DIRENT_ABORT;
    }
    c->code = VT_FAIL;
    c->why = "out of memory";
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 32;
        struct dirent_name *p = realloc(l->entry, cap * sizeof(*p));

        if (!p)
            return DIRENT_ABORT;
        l->entry = p;
        l->cap = cap;
    }
    name = strndup(d->name, len);
    if (!name)
        return DIRENT_ABORT;
    l->entry[l->n++] = (struct dirent_name){.name = name, .ino = d->inode};
    c->code = 0;
    return 0;
}

static void list_ctx_clear(struct list_ctx *c)
{
    dirlist_clear(&c->list);
}

int extfs_list(struct extfs *fs, const struct fsnode *dir, struct dirlist *ret, struct err *e)
{
    cleanup(list_ctx_clear) struct list_ctx c = {0};
    errcode_t code;

    if (!S_ISDIR(dir->mode))
        return err_set(e, VT_CORRUPT, "inode %u is not a directory", dir->ino);
    extfs_begin(fs);
    code = ext2fs_dir_iterate2(fs->fs, dir->ino, 0, NULL, take_entry, &c);
    if (code)
        return extfs_fail(fs, code, e, "directory inode %u", dir->ino);
    if (c.code)
        return err_set(e, c.code, "directory inode %u: %s", dir->ino, c.why);
    if (c.list.n)
        qsort(c.list.entry, c.list.n, sizeof(*c.list.entry), entry_cmp);
    for (size_t i = 1; i < c.list.n; i++)
        if (!strcmp(c.list.entry[i - 1].name, c.list.entry[i].name))
            return err_set(e, VT_CORRUPT, "directory inode %u: two entries have one name", dir->ino);
    *ret = c.list;
    c.list = (struct dirlist){0};
    return 0;
}

/* Paths. */

static int step(struct extfs *fs, struct fsnode *at, const char *name, struct err *e)
{
    cleanup(dirlist_clear) struct dirlist list = {0};
    uint32_t ino;
    long i;
    int r = extfs_list(fs, at, &list, e);

    if (r < 0)
        return r;
    if (!strcmp(name, "..")) {
        ino = list.parent;
    } else {
        i = dirlist_find(&list, name);
        if (i < 0)
            return VT_NOENT;
        ino = list.entry[i].ino;
    }
    return extfs_node(fs, ino, at, e);
}

int extfs_lookup(struct extfs *fs, const char *path, bool follow, struct fsnode *ret, struct err *e)
{
    cleanup(cleanup_free) char *rest = strdup(path);
    struct fsnode at, next;
    int links = 0, r = extfs_node(fs, EXTFS_ROOT, &at, e);

    if (r < 0)
        return r;
    while (rest) {
        size_t skip = strspn(rest, "/"), len = strcspn(rest + skip, "/");
        cleanup(cleanup_free) char *name = strndup(rest + skip, len), *target = NULL, *joined = NULL;
        const char *tail = rest + skip + len;
        bool last = !tail[strspn(tail, "/")];

        if (!name)
            break;
        if (!len) {
            *ret = at;
            return 0;
        }
        next = at;
        if (!S_ISDIR(at.mode))
            r = VT_NOENT;
        else
            r = strcmp(name, ".") ? step(fs, &next, name, e) : 0;
        if (r == VT_NOENT)
            return err_set(e, VT_NOENT, "%s: no such file", path);
        if (r < 0)
            return r;
        if (S_ISLNK(next.mode) && (!last || follow)) {
            if (++links > SYMLINKS_MAX)
                return err_set(e, VT_NOENT, "%s: too many symbolic links", path);
            r = extfs_readlink(fs, &next, &target, e);
            if (r < 0)
                return r;
            if (asprintf(&joined, "%s/%s", target, tail) < 0)
                break;
            if (target[0] == '/' && (r = extfs_node(fs, EXTFS_ROOT, &at, e)) < 0)
                return r;
        } else {
            at = next;
            joined = strdup(tail);
        }
        free(rest);
        rest = steal(&joined);
    }
    return err_set(e, VT_FAIL, "out of memory");
}
