#include "src/disc.h"

#include "src/rawdisk.h"

static int open_disc(const char *path, struct blockdev **ret_dev, struct err *e)
{
    *ret_dev = NULL;
    return *path ? rawdisk_open(path, RAWDISK_READ, ret_dev, e) : 0;
}

static void fill_port(const struct disc *d, struct blkport *ret_port)
{
    *ret_port = (struct blkport){0};
    if (d->dev)
        blkworker_port(d->worker, "vmtest-cdrom", ret_port);
}

int disc_init(struct disc *d, const char *path, blkworker_trouble *trouble, void *opaque, struct blkport *ret_port,
              struct err *e)
{
    int rc = open_disc(path, &d->dev, e);

    if (rc == 0)
        rc = blkworker_new(d->dev, trouble, opaque, &d->worker, e);
    if (rc == 0)
        fill_port(d, ret_port);
    return rc;
}

void disc_release(struct disc *d)
{
    blkworker_free(d->worker);
    if (d->dev)
        d->dev->ops->close(d->dev);
    *d = (struct disc){0};
}

int disc_change(struct disc *d, const char *path, struct blkport *ret_port, struct err *e)
{
    struct blockdev *dev, *old = d->dev;
    int rc = open_disc(path, &dev, e);

    if (rc < 0)
        return rc;
    blkworker_switch(d->worker, dev); /* a read under way fails: its disc is gone */
    d->dev = dev;
    fill_port(d, ret_port);
    if (old)
        old->ops->close(old);
    return 0;
}
