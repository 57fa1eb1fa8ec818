#include "src/disc.h"

#include <stdlib.h>
#include <string.h>
#include "src/base/floppyformat.h"
#include "src/rawdisk.h"

static void close_disc(struct blockdev *dev)
{
    if (dev)
        dev->ops->close(dev);
}

static int open_disc(const char *path, bool floppy, struct blockdev **ret_dev, struct err *e)
{
    int rc;

    *ret_dev = NULL;
    rc = *path ? rawdisk_open(path, RAWDISK_READ, ret_dev, e) : 0;
    if (rc == 0 && *ret_dev && floppy && !floppy_format((*ret_dev)->size)) {
        rc = err_set(e, VT_CORRUPT, "%s: no floppy disk has %llu bytes", path, (unsigned long long)(*ret_dev)->size);
        close_disc(*ret_dev);
        *ret_dev = NULL;
    }
    return rc;
}

static void fill_port(const struct disc *d, struct blkport *ret_port)
{
    *ret_port = (struct blkport){0};
    if (d->dev)
        blkworker_port(d->worker, d->floppy ? "vmtest-floppy" : "vmtest-cdrom", ret_port);
}

int disc_init(struct disc *d, bool floppy, const char *path, blkworker_trouble *trouble, void *opaque,
              struct blkport *ret_port, struct err *e)
{
    int rc = open_disc(path, floppy, &d->dev, e);

    d->floppy = floppy;
    if (rc == 0 && !(d->path = strdup(path)))
        rc = err_set(e, VT_FAIL, "out of memory");
    if (rc == 0)
        rc = blkworker_new(d->dev, trouble, opaque, &d->worker, e);
    if (rc == 0)
        fill_port(d, ret_port);
    return rc;
}

void disc_release(struct disc *d)
{
    blkworker_free(d->worker);
    close_disc(d->dev);
    free(d->path);
    *d = (struct disc){0};
}

int disc_change(struct disc *d, const char *path, struct blkport *ret_port, struct err *e)
{
    char *copy = strdup(path);
    struct blockdev *dev, *old = d->dev;
    int rc = copy ? open_disc(path, d->floppy, &dev, e) : err_set(e, VT_FAIL, "out of memory");

    if (rc < 0) {
        free(copy);
        return rc;
    }
    blkworker_switch(d->worker, dev); /* a read under way fails: its disc is gone */
    d->dev = dev;
    free(d->path);
    d->path = copy;
    fill_port(d, ret_port);
    close_disc(old);
    return 0;
}
