/* What the kernels share. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define CHUNK 256 /* positions whose state stays in the first cache */
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
