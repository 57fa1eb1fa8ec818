/* make_iso [--boot NAME] OUT FILE...: an ISO 9660 image of the files, each under its last name. NAME is one of them,
 * which firmware boots (El Torito, no emulation). */
#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void die(const char *what, const char *why)
{
    fprintf(stderr, "make_iso: %s: %s\n", what, why);
    exit(1);
}

static void add(struct archive *a, const char *path)
{
    struct archive_entry *e = archive_entry_new();
    const char *slash = strrchr(path, '/');
    FILE *f = fopen(path, "rb");
    char buf[65536];
    struct stat st;
    size_t n;

    if (!f || stat(path, &st))
        die(path, "cannot be read");
    archive_entry_set_pathname(e, slash ? slash + 1 : path);
    archive_entry_set_size(e, st.st_size);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    if (archive_write_header(a, e))
        die(path, archive_error_string(a));
    while ((n = fread(buf, 1, sizeof buf, f)) > 0)
        if (archive_write_data(a, buf, n) < 0)
            die(path, archive_error_string(a));
    fclose(f);
    archive_entry_free(e);
}

int main(int argc, char **argv)
{
    struct archive *a = archive_write_new();

    archive_write_set_format_iso9660(a);
    if (argc > 3 && strcmp(argv[1], "--boot") == 0) {
        if (archive_write_set_format_option(a, "iso9660", "boot", argv[2]) ||
            archive_write_set_format_option(a, "iso9660", "boot-type", "no-emulation"))
            die(argv[2], archive_error_string(a));
        argc -= 2;
        argv += 2;
    }
    if (argc < 3)
        die("usage", "make_iso [--boot NAME] OUT FILE...");
    if (archive_write_open_filename(a, argv[1]))
        die(argv[1], archive_error_string(a));
    for (int i = 2; i < argc; i++)
        add(a, argv[i]);
    if (archive_write_close(a))
        die(argv[1], archive_error_string(a));
    archive_write_free(a);
    return 0;
}
