/* Arithmetic built with SSE2: vectors, and the scalar doubles that compilers make of ordinary code. */
#include <emmintrin.h>
#include "work.h"

/* Four points of the Mandelbrot set at a time, and integer lanes for the counts. */
uint32_t work_sse(uint32_t n)
{
    __m128i total = _mm_setzero_si128();
    for (uint32_t r = 0; r < n; r++) {
        __m128 cx = _mm_add_ps(_mm_set1_ps(-2.0f + (float)(r % 97) * 0.03f), _mm_set_ps(0.0f, 0.007f, 0.014f, 0.021f));
        __m128 cy = _mm_set1_ps(-1.0f + (float)(r % 61) * 0.03f);
        __m128 zx = _mm_setzero_ps(), zy = _mm_setzero_ps();
        __m128i count = _mm_setzero_si128();
        for (int i = 0; i < 50; i++) {
            __m128 xx = _mm_mul_ps(zx, zx), yy = _mm_mul_ps(zy, zy), xy = _mm_mul_ps(zx, zy);
            __m128 in = _mm_cmplt_ps(_mm_add_ps(xx, yy), _mm_set1_ps(4.0f));
            if (_mm_movemask_ps(in) == 0)
                break;
            count = _mm_sub_epi32(count, _mm_castps_si128(in));
            zx = _mm_add_ps(_mm_sub_ps(xx, yy), cx);
            zy = _mm_add_ps(_mm_add_ps(xy, xy), cy);
        }
        total = _mm_add_epi32(total, count);
    }
    uint32_t lanes[4];
    _mm_storeu_si128((__m128i *)lanes, total);
    return lanes[0] + 3 * lanes[1] + 5 * lanes[2] + 7 * lanes[3];
}

/* A step of a linear solver: rows by rows, with a division and a square root now and then. */
uint32_t work_double(uint32_t n)
{
    enum { SIZE = 16 };
    double a[SIZE][SIZE], x[SIZE];
    for (int i = 0; i < SIZE; i++) {
        x[i] = 1.0 / (i + 1);
        for (int k = 0; k < SIZE; k++)
            a[i][k] = i == k ? 20.0 : 1.0 / (i + k + 1);
    }
    for (uint32_t r = 0; r < n; r++) {
        double norm = 0;
        for (int i = 0; i < SIZE; i++) {
            double sum = 0;
            for (int k = 0; k < SIZE; k++)
                sum += a[i][k] * x[k];
            x[i] += 0.5 * sum / a[i][i];
            norm += x[i] * x[i];
        }
        norm = _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(norm)));
        for (int i = 0; i < SIZE; i++)
            x[i] /= norm;
    }
    uint32_t sum = 0;
    for (int i = 0; i < SIZE; i++)
        sum = sum * 31 + (uint32_t)(int32_t)(x[i] * 1e9);
    return sum;
}
