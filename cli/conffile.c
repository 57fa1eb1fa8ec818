#include "cli/conffile.h"

#include <string.h>
#include "src/base/util.h"

static const char blank[] = " \t\r";

/* The text without what is blank before and after it; changes it. */
static char *trim(char *s)
{
    size_t n;

    s += strspn(s, blank);
    n = strlen(s);
    while (n && strchr(blank, s[n - 1]))
        n--;
    s[n] = 0;
    return s;
}

/* Ends the line before a '#' that begins it or stands after a blank: the paths of other files have some, too. */
static void cut_comment(char *s)
{
    for (char *p = s; (p = strchr(p, '#')) != NULL; p++)
        if (p == s || strchr(blank, p[-1])) {
            *p = 0;
            return;
        }
}

static int add(struct conffile *f, const char *section, const char *key, const char *value, unsigned line,
               struct err *e)
{
    struct confline *more, *l;

    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->lines[i].key, key) &&
            (section ? f->lines[i].section && !strcmp(f->lines[i].section, section) : !f->lines[i].section))
            return err_set(e, VT_USAGE, "%s:%u: \"%s\" was set in line %u already", f->path, line, key,
                           f->lines[i].line);
    more = reallocarray(f->lines, f->n + 1, sizeof *more);
    if (!more)
        return err_set(e, VT_FAIL, "out of memory");
    f->lines = more;
    l = &f->lines[f->n++];
    *l = (struct confline){
        .section = section ? strdup(section) : NULL, .key = strdup(key), .value = strdup(value), .line = line};
    return l->key && l->value && (l->section || !section) ? 0 : err_set(e, VT_FAIL, "out of memory");
}

/* s: the line, which is changed. *section: of this line and those after it; a part of the text. */
static int take_line(struct conffile *f, char *s, unsigned line, char **section, struct err *e)
{
    char *eq, *key, *value;

    cut_comment(s);
    s = trim(s);
    if (!*s)
        return 0;
    if (*s == '[') {
        if (s[strlen(s) - 1] != ']')
            return err_set(e, VT_USAGE, "%s:%u: \"%.80s\": a section is [VERB]", f->path, line, s);
        s[strlen(s) - 1] = 0;
        *section = trim(s + 1);
        return 0;
    }
    eq = strchr(s, '=');
    if (!eq)
        return err_set(e, VT_USAGE, "%s:%u: \"%.80s\" is neither KEY = VALUE nor [VERB]", f->path, line, s);
    *eq = 0;
    key = trim(s);
    value = trim(eq + 1);
    if (!*key)
        return err_set(e, VT_USAGE, "%s:%u: the key before \"=\" is missing", f->path, line);
    if (!*value)
        return err_set(e, VT_USAGE, "%s:%u: \"%.80s\" has no value", f->path, line, key);
    return add(f, *section, key, value, line, e);
}

int conffile_parse(const char *path, const struct buf *text, struct conffile *ret, struct err *e)
{
    cleanup(conffile_release) struct conffile f = {.path = strdup(path)};
    cleanup(cleanup_free) char *copy = strdup(text->data ? text->data : "");
    char *section = NULL, *rest = copy, *s;
    unsigned line = 0;
    int r = f.path && copy ? 0 : err_set(e, VT_FAIL, "out of memory");

    if (!r && strlen(copy) != text->len)
        r = err_set(e, VT_USAGE, "%s: is not text", path);
    while (!r && (s = strsep(&rest, "\n")) != NULL)
        r = take_line(&f, s, ++line, &section, e);
    if (r)
        return r;
    *ret = f;
    f = (struct conffile){0};
    return 0;
}

void conffile_release(struct conffile *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->lines[i].section);
        free(f->lines[i].key);
        free(f->lines[i].value);
    }
    free(f->lines);
    free(f->path);
}
