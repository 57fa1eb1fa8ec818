/* cmocka with the headers that it wants before it. */
#ifndef VT_TESTS_UNIT_H
#define VT_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "src/base/err.h"
#include "src/base/util.h"

#endif
