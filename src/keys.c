#include "src/keys.h"

#include <string.h>
#include "src/base/banned.h"
#include "src/base/util.h"

#define SHIFT     0x2a
#define CHORD_MAX 8

static const struct {
    const char *name;
    uint8_t code;
} names[] = {
    {"esc", 0x01},
    {"1", 0x02},
    {"2", 0x03},
    {"3", 0x04},
    {"4", 0x05},
    {"5", 0x06},
    {"6", 0x07},
    {"7", 0x08},
    {"8", 0x09},
    {"9", 0x0a},
    {"0", 0x0b},
    {"minus", 0x0c},
    {"equal", 0x0d},
    {"backspace", 0x0e},
    {"tab", 0x0f},
    {"q", 0x10},
    {"w", 0x11},
    {"e", 0x12},
    {"r", 0x13},
    {"t", 0x14},
    {"y", 0x15},
    {"u", 0x16},
    {"i", 0x17},
    {"o", 0x18},
    {"p", 0x19},
    {"bracket_left", 0x1a},
    {"bracket_right", 0x1b},
    {"ret", 0x1c},
    {"ctrl", 0x1d},
    {"a", 0x1e},
    {"s", 0x1f},
    {"d", 0x20},
    {"f", 0x21},
    {"g", 0x22},
    {"h", 0x23},
    {"j", 0x24},
    {"k", 0x25},
    {"l", 0x26},
    {"semicolon", 0x27},
    {"apostrophe", 0x28},
    {"grave_accent", 0x29},
    {"shift", SHIFT},
    {"backslash", 0x2b},
    {"z", 0x2c},
    {"x", 0x2d},
    {"c", 0x2e},
    {"v", 0x2f},
    {"b", 0x30},
    {"n", 0x31},
    {"m", 0x32},
    {"comma", 0x33},
    {"dot", 0x34},
    {"slash", 0x35},
    {"shift_r", 0x36},
    {"kp_multiply", 0x37},
    {"alt", 0x38},
    {"spc", 0x39},
    {"caps_lock", 0x3a},
    {"f1", 0x3b},
    {"f2", 0x3c},
    {"f3", 0x3d},
    {"f4", 0x3e},
    {"f5", 0x3f},
    {"f6", 0x40},
    {"f7", 0x41},
    {"f8", 0x42},
    {"f9", 0x43},
    {"f10", 0x44},
    {"num_lock", 0x45},
    {"scroll_lock", 0x46},
    {"kp_7", 0x47},
    {"kp_8", 0x48},
    {"kp_9", 0x49},
    {"kp_subtract", 0x4a},
    {"kp_4", 0x4b},
    {"kp_5", 0x4c},
    {"kp_6", 0x4d},
    {"kp_add", 0x4e},
    {"kp_1", 0x4f},
    {"kp_2", 0x50},
    {"kp_3", 0x51},
    {"kp_0", 0x52},
    {"kp_decimal", 0x53},
    {"sysrq", 0x54},
    {"less", 0x56},
    {"f11", 0x57},
    {"f12", 0x58},
    {"kp_enter", 0x9c},
    {"ctrl_r", 0x9d},
    {"kp_divide", 0xb5},
    {"print", 0xb7},
    {"alt_r", 0xb8},
    {"pause", 0xc6},
    {"home", 0xc7},
    {"up", 0xc8},
    {"pgup", 0xc9},
    {"left", 0xcb},
    {"right", 0xcd},
    {"end", 0xcf},
    {"down", 0xd0},
    {"pgdn", 0xd1},
    {"insert", 0xd2},
    {"delete", 0xd3},
    {"meta_l", 0xdb},
    {"meta_r", 0xdc},
    {"menu", 0xdd},
    {"compose", 0xdd},
    /* words of fingers */
    {"enter", 0x1c},
    {"return", 0x1c},
    {"escape", 0x01},
    {"space", 0x39},
    {"del", 0xd3},
    {"win", 0xdb},
};

/* A US keyboard's characters, the code of each key at its place; without and with Shift. */
static const char plain[] = "\0\033"
                            "1234567890-=\b\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0\0\0 ";
static const char shifted[] = "\0\0"
                              "!@#$%^&*()_+\0\0QWERTYUIOP{}\0\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0\0\0\0";

int keys_find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(names[i].name, name))
            return names[i].code;
    return -1;
}

static void add(struct buf *out, uint8_t code, bool down)
{
    const struct input_key k = {code, down};
    buf_add(out, &k, sizeof k);
}

int keys_add_chord(struct buf *out, const char *text, struct err *e)
{
    cleanup(cleanup_free) char *copy = strdup(text);
    char *rest = copy, *word;
    uint8_t code[CHORD_MAX];
    unsigned n = 0;

    if (!copy)
        return err_set(e, VT_FAIL, "out of memory");
    while ((word = strsep(&rest, "-"))) {
        int c = keys_find(word);

        if (c < 0)
            return err_set(e, VT_USAGE,
                           "\"%.40s\": there is no key \"%.20s\" (as in ret, esc, f1, up, a, ctrl-alt-delete)", text,
                           word);
        if (n == CHORD_MAX)
            return err_set(e, VT_USAGE, "\"%.40s\": more than %d keys at once", text, CHORD_MAX);
        code[n++] = (uint8_t)c;
    }
    for (unsigned i = 0; i < n; i++)
        add(out, code[i], true);
    while (n--)
        add(out, code[n], false);
    return buf_check(out, e);
}

static uint8_t key_of(const char *table, size_t len, char c)
{
    for (size_t i = 1; c && i < len; i++)
        if (table[i] == c)
            return (uint8_t)i;
    return 0;
}

int keys_add_text(struct buf *out, const char *text, size_t len, struct err *e)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t code = key_of(plain, sizeof plain - 1, text[i]);

        if (code) {
            add(out, code, true);
            add(out, code, false);
        } else if ((code = key_of(shifted, sizeof shifted - 1, text[i]))) {
            add(out, SHIFT, true);
            add(out, code, true);
            add(out, code, false);
            add(out, SHIFT, false);
        } else if ((unsigned char)text[i] >= 0x80) {
            return err_set(e, VT_USAGE, "byte %zu is not ASCII: a US keyboard has no such character", i + 1);
        } else if (text[i] != '\r' || i + 1 == len || text[i + 1] != '\n') { /* lines may end in both */
            return err_set(e, VT_USAGE, "byte %zu is control character %02Xh: a key for it can be named", i + 1,
                           (unsigned char)text[i]);
        }
    }
    return buf_check(out, e);
}
