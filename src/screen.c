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

int screen_picture(struct machine *m, struct picture *ret, struct err *e)
{
    cleanup(display_release) struct display d = {0};
    int rc = grab(m, &d, e);

    return rc < 0 ? rc : display_render(&d, ret, e);
}

int screen_text(struct machine *m, struct screen_text *ret, struct err *e)
{
    cleanup(display_release) struct display d = {0};
    int rc = grab(m, &d, e);

    return rc < 0 ? rc : display_text(&d, ret, e);
}
