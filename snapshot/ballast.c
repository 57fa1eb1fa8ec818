#include "snapshot/ballast.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "snapshot/store.h"

static const char name[] = "ballast";

bool ballast_spend(struct store *s, int r, struct err *e)
{
    if (r != VT_IO || faccessat(s->io.dirfd, name, F_OK, 0) || sio_unlink(&s->io, name, NULL))
        return false;
    if (e)
        *e = (struct err){0};
    return true;
}

void ballast_restore(struct store *s)
{
    struct sfile f = SFILE_NONE;
    struct statvfs st;

    if (s->sealed || fstatvfs(s->io.dirfd, &st) || (uint64_t)st.f_bavail * st.f_frsize < 4 * (uint64_t)BALLAST_BYTES)
        return;
    if (sio_create(&s->io, name, &f, NULL)) /* most often: it is there */
        return;
    if (posix_fallocate(f.fd, 0, BALLAST_BYTES)) /* a small one would only seem to help */
        sio_unlink(&s->io, name, NULL);
    sio_close(&f);
}
