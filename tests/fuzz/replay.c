/* A main for fuzz targets without a fuzzer: runs the target on every file of the folders (or files) given. Fails where
 * there is none, so that a lost corpus is noticed. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t size = 1 << 20, len;
    uint8_t *buf = malloc(size), *exact;

    if (!f || !buf) {
        perror(path);
        exit(1);
    }
    len = fread(buf, 1, size, f);
    fclose(f);
    exact = malloc(len ? len : 1); /* so that a sanitizer sees a step past the end */
    if (!exact)
        exit(1);
    for (size_t i = 0; i < len; i++)
        exact[i] = buf[i];
    free(buf);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    return 1;
}

static unsigned run_folder(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;
    char name[4096];

    if (!d) {
        perror(path);
        exit(1);
    }
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            snprintf(name, sizeof name, "%s/%s", path, e->d_name);
            n += run_file(name);
        }
    closedir(d);
    return n;
}

int main(int argc, char **argv)
{
    unsigned n = 0;

    for (int i = 1; i < argc; i++) {
        struct stat st;
        n += stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode) ? run_folder(argv[i]) : run_file(argv[i]);
    }
    printf("%u inputs\n", n);
    return n ? 0 : 1;
}
