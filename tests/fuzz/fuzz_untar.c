/* An archive from a hostile guest is written out; nothing may appear beside the destination. */
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "src/base/err.h"
#include "src/untar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static unsigned entries(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    vt_assert(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char root[] = "/tmp/vmtest-untar-XXXXXX", dest[64], secret[64];
    struct archive *ar = archive_read_new();
    uint64_t files = 0, bytes = 0;
    struct stat st;

    vt_assert(ar && mkdtemp(root));
    snprintf(dest, sizeof dest, "%s/dest", root);
    snprintf(secret, sizeof secret, "%s/secret", root);
    vt_assert(mkdir(dest, 0700) == 0);
    close(open(secret, O_CREAT | O_WRONLY, 0600));
    archive_read_support_format_tar(ar);
    if (archive_read_open_memory(ar, data, len) == ARCHIVE_OK)
        untar(ar, "tree", dest, &files, &bytes, NULL);
    archive_read_free(ar);
    vt_assert(entries(root) == 4); /* . .. dest secret */
    vt_assert(entries(dest) <= 3); /* . .. tree */
    vt_assert(stat(secret, &st) == 0 && st.st_size == 0 && (st.st_mode & 07777) == 0600 && st.st_nlink == 1);
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
