#include "src/disc.h"

#include <stdlib.h>
#include <string.h>
#include "src/rawdisk.h"
#include "vmcore/vmcore.h"

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

    if (rc == 0 && !(d->path = strdup(path)))
        rc = err_set(e, VT_FAIL, "out of memory");
    if (rc == 0)
        rc = blkworker_new(d->dev, trouble, opaque, &d->worker, e);
    if (rc == 0)
        fill_port(d, ret_port);
    return rc;
}

static void close_disc(struct blockdev *dev)
{
    if (dev)
        dev->ops->close(dev);
}

void disc_release(struct disc *d)
{
    blkworker_free(d->worker);
    close_disc(d->dev);
    free(d->path);
    *d = (struct disc){0};
}

int disc_change(struct disc *d, struct vm *vm, unsigned slot, const char *path, struct err *e)
{
    char *copy = strdup(path);
    struct blockdev *dev, *old = d->dev;
    struct blkport port;
    int rc = copy ? open_disc(path, &dev, e) : err_set(e, VT_FAIL, "out of memory");

    if (rc < 0) {
        free(copy);
        return rc;
    }
    blkworker_switch(d->worker, dev); /* a read under way fails: its disc is gone */
    d->dev = dev;
    free(d->path);
    d->path = copy;
    fill_port(d, &port);
    bool changed = vm_change_disc(vm, slot, dev ? &port : NULL);
    vt_assert(changed);
    close_disc(old);
    return 0;
}
