#include "snapshot/hostfs.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include "src/base/util.h"

#define FUSE_MAGIC 0x65735546u /* may be local: the mount table knows */

const char *hostfs_network_magic(unsigned long magic)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } table[] = {
        {0x6969, "nfs"},       {0x517b, "smb"},        {0xff534d42, "cifs"},   {0xfe534d42, "smb2"},
        {0x5346414f, "afs"},   {0x6b414653, "kafs"},   {0x00c36400, "ceph"},   {0x01021997, "9p"},
        {0x73757245, "coda"},  {0x0bd00bd0, "lustre"}, {0x47504653, "gpfs"},   {0x7461636f, "ocfs2"},
        {0x01161970, "gfs2"},  {0x786f4256, "vboxsf"}, {0x19830326, "beegfs"}, {0xaad7aaea, "panfs"},
        {0x013111a8, "ibrix"}, {0x7c7c6673, "prl_fs"}, {0x564c, "ncp"},        {0xa501fcf5, "vxfs-cluster"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].magic == magic)
            return table[i].name;
    return NULL;
}

bool hostfs_network_type(const char *type)
{
    static const char *const types[] = {"fuse.sshfs",      "fuse.glusterfs", "fuse.s3fs",  "fuse.rclone",
                                        "fuse.gcsfuse",    "fuse.curlftpfs", "fuse.davfs", "fuse.moosefs",
                                        "fuse.lizardfs",   "fuse.juicefs",   "fuse.ceph",  "fuse.cephfs",
                                        "fuse.vmhgfs-fuse"};

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (!strcmp(type, types[i]))
            return true;
    return false;
}

/* The type of the mount with this device number, from /proc/self/mountinfo (proc(5)). */
static void mount_type(dev_t dev, char *ret, size_t size)
{
    char line[4096], want[32], type[64];
    FILE *f = fopen("/proc/self/mountinfo", "re");

    *ret = 0;
    if (!f)
        return;
    snprintf(want, sizeof want, "%u:%u", major(dev), minor(dev));
    while (fgets(line, sizeof line, f)) {
        char number[32];
        const char *dash = strstr(line, " - ");
        if (dash && sscanf(line, "%*s %*s %31s", number) == 1 && !strcmp(number, want) &&
            sscanf(dash, " - %63s", type) == 1)
            snprintf(ret, size, "%s", type);
    }
    fclose(f);
}

int hostfs_check(int dirfd, const char *dir, struct err *e)
{
    struct statfs fs;
    struct stat st;
    char type[64];
    const char *name;

    if (fstatfs(dirfd, &fs) || fstat(dirfd, &st))
        return err_set(e, VT_IO, "%s: %m", dir);
    name = hostfs_network_magic((unsigned long)fs.f_type & 0xffffffff);
    if (!name && ((unsigned long)fs.f_type & 0xffffffff) == FUSE_MAGIC) {
        mount_type(st.st_dev, type, sizeof type);
        name = hostfs_network_type(type) ? type : NULL;
    }
    if (name)
        return err_set(
            e, VT_VERSION,
            "%s: is on a network file system (%s), where a store is not safe; set VMTEST_HOME to a local folder", dir,
            name);
    return 0;
}
