#include "src/display/display.h"

int picture_png(const struct picture *p, struct buf *b, struct err *e)
{
    return err_set(e, VT_FAIL, "this vmtest was built without libpng, which makes PNG files");
}
