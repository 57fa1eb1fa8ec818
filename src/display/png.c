#include "src/display/display.h"

#include <png.h>

/* libpng's own memory form: no callbacks, and no longjmp through our frames. */
int picture_png(const struct picture *p, struct buf *b, struct err *e)
{
    png_image image = {.version = PNG_IMAGE_VERSION, .width = p->width, .height = p->height, .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    void *at = buf_reserve(b, size);

    if (!at)
        return err_set(e, VT_FAIL, "out of memory");
    if (!png_image_write_to_memory(&image, at, &size, 0, p->rgb, 0, NULL))
        return err_set(e, VT_FAIL, "cannot make a PNG file: %s", image.message);
    b->len += size;
    b->data[b->len] = 0;
    return 0;
}
