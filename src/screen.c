#include "src/screen.h"

#include "src/base/util.h"

static int grab(struct machine *m, struct display *ret, struct err *e)
{
    int rc;

    vcpu_pause(m->vcpu);
    rc = vm_display(m->vm, ret, e);
    vcpu_resume(m->vcpu);
    return rc;
}

int screen_png(struct machine *m, struct buf *b, struct err *e)
{
    cleanup(display_release) struct display d = {0};
    cleanup(picture_release) struct picture p = {0};
    int rc = grab(m, &d, e);

    if (rc == 0)
        rc = display_render(&d, &p, e);
    return rc < 0 ? rc : picture_png(&p, b, e);
}

int screen_text(struct machine *m, struct screen_text *ret, struct err *e)
{
    cleanup(display_release) struct display d = {0};
    int rc = grab(m, &d, e);

    return rc < 0 ? rc : display_text(&d, ret, e);
}
