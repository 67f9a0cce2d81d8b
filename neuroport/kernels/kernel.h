/* What the kernels share. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

#define CHUNK 256 /* positions whose state stays in the first cache */
#define HELD 2048 /* values of one array that are held for all steps */
#define LARGE (6 << 20) /* bytes of an array that is written past the caches if it is read much later */
#define FEW 32768 /* positions of all samples that one thread has done before others wake up */

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* surrogates of surrogate.py that need no library; others come as GIVEN slopes */
enum { GIVEN, RECTANGULAR, TRIANGULAR, ARCTAN };

static inline float slope_at(float d, int kind)
{
    float scaled;
    switch (kind) {
    case RECTANGULAR:
        return fabsf(d) < 0.5f ? 1.0f : 0.0f;
    case TRIANGULAR:
        return 1 - fabsf(d) > 0 ? 1 - fabsf(d) : 0.0f;
    default:
        scaled = 3.14159265358979323846f * d;
        return 1 / (1 + scaled * scaled);
    }
}

/* Copies n floats of a chunk; past the caches where the processor can and the place is aligned. Threads
 * that have done so call finish_past_caches. */
static inline void copy_past_caches(const float *from, float *to, int64_t n)
{
    int64_t i = 0;
#ifdef __AVX__
    if (((uintptr_t)to & 31) == 0)
        for (; i + 8 <= n; i += 8)
            _mm256_stream_ps(to + i, _mm256_loadu_ps(from + i));
#endif
    memcpy(to + i, from + i, (n - i) * sizeof *to);
}

static inline void finish_past_caches(void)
{
#ifdef __AVX__
    _mm_sfence();
#endif
}
