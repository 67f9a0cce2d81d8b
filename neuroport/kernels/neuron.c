/* The leaky integrate-and-fire neuron over all time steps, forward and backward.
 *
 * Equal, bit for bit, to the plain torch of neuroport/nets/neuron.py and so, in integers, to
 * neuroport/graph/integers.py; tests/kernels holds them to it. Arrays are (steps, samples,
 * positions), dense, in any order of positions. Nothing here may be reassociated or contracted:
 * a multiply-add is written fmaf where torch has one.
 */
#include "kernel.h"

#define STATE_SHIFT 6
#define STATE_MAX 8388607
#define STATE_TOP 8388608u
#define STATE_MASK 16777215u

/* u = keep_u u + x;  v = keep_v v + u;  s = v > threshold;  v is stored before its reset */
void real_forward(const float *x, float *v, float *s, int64_t steps, int64_t size,
                  float keep_u, float keep_v, float threshold)
{
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t first = 0; first < size; first += CHUNK) {
        int64_t n = least(CHUNK, size - first);
        float kept[CHUNK], u[CHUNK];
        memset(kept, 0, sizeof kept);
        memset(u, 0, sizeof u);
        for (int64_t t = 0; t < steps; t++) {
            const float *xt = x + t * size + first;
            float *vt = v + t * size + first, *st = s + t * size + first;
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                float now = keep_u == 0 ? xt[i] : fmaf(u[i], keep_u, xt[i]);
                float volt = t == 0 ? now : fmaf(kept[i], keep_v, now);
                u[i] = now;
                vt[i] = volt;
                st[i] = volt > threshold ? 1.0f : 0.0f;
                kept[i] = volt > threshold ? 0.0f : volt;
            }
        }
    }
}

/* trunc(x keep / 4096): keep is 0, a power of two (shift >= 0) or neither */
static inline int32_t decayed(int32_t x, int64_t keep, int shift)
{
    if (keep == 0)
        return 0;
    if (shift >= 0)
        return x < 0 ? -(-x >> shift) : x >> shift;
    return (int32_t)((int64_t)x * keep / 4096);
}

/* wrap24(u + (x << STATE_SHIFT)), in arithmetic that wraps anyway */
static inline int32_t wrapped(int32_t u, float x)
{
    uint32_t sum = (uint32_t)u + ((uint32_t)(int32_t)x << STATE_SHIFT);
    return (int32_t)(STATE_TOP - ((STATE_TOP - sum) & STATE_MASK));
}

static inline int32_t saturated(int32_t v)
{
    return v > STATE_MAX ? STATE_MAX : v < -STATE_MAX ? -STATE_MAX : v;
}

static inline __attribute__((always_inline)) void integer_chunk(const float *x, const int32_t *bias, float *distance, float *s,
                                 int64_t steps, int64_t size, int64_t n, int64_t keep_u,
                                 int shift_u, int64_t keep_v, int shift_v, int32_t threshold)
{
    int32_t u[CHUNK], v[CHUNK];
    memset(u, 0, sizeof u);
    memset(v, 0, sizeof v);
    for (int64_t t = 0; t < steps; t++) {
        const float *xt = x + t * size;
        float *dt = distance + t * size, *st = s + t * size;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            u[i] = wrapped(decayed(u[i], keep_u, shift_u), xt[i]);
            int32_t volt = saturated(decayed(v[i], keep_v, shift_v) + u[i] + bias[i]);
            dt[i] = (float)(volt - threshold);
            st[i] = volt > threshold ? 1.0f : 0.0f;
            v[i] = volt > threshold ? 0 : volt;
        }
    }
}

static int power_of_two(int64_t keep)
{
    for (int shift = 0; shift <= 12; shift++)
        if (keep == 4096 >> shift)
            return shift;
    return -1;
}

/* lif_step and reset of integers.py; bias and threshold come shifted by STATE_SHIFT, distance is
 * v - threshold before the reset */
void integer_forward(const float *x, const int32_t *bias, float *distance, float *s, int64_t steps,
                     int64_t samples, int64_t positions, int64_t keep_u, int64_t keep_v,
                     int32_t threshold)
{
    int64_t size = samples * positions, chunks = (positions + CHUNK - 1) / CHUNK;
    int shift_u = power_of_two(keep_u), shift_v = power_of_two(keep_v);
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t job = 0; job < samples * chunks; job++) {
        int64_t from = job % chunks * CHUNK, at = job / chunks * positions + from;
        int64_t n = least(CHUNK, positions - from);
        if (keep_u == 0 && shift_v >= 0)
            integer_chunk(x + at, bias + from, distance + at, s + at, steps, size, n, 0, 0, 1,
                          shift_v, threshold);
        else
            integer_chunk(x + at, bias + from, distance + at, s + at, steps, size, n, keep_u,
                          shift_u, keep_v, shift_v, threshold);
    }
}

/* The same neuron for running a network: threshold per position too, states start afresh where
 * (t - first) % interval is 0, spikes are bytes. */
static inline __attribute__((always_inline)) void spikes_chunk(
    const float *x, const int32_t *bias, const int32_t *threshold, uint8_t *s, int64_t steps,
    int64_t size, int64_t n, int64_t first, int64_t interval, int64_t keep_u, int shift_u,
    int64_t keep_v, int shift_v)
{
    int32_t u[CHUNK], v[CHUNK];
    memset(u, 0, sizeof u);
    memset(v, 0, sizeof v);
    for (int64_t t = 0; t < steps; t++) {
        const float *xt = x + t * size;
        uint8_t *st = s + t * size;
        if ((t - first) % interval == 0) {
            memset(u, 0, sizeof u);
            memset(v, 0, sizeof v);
        }
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            u[i] = wrapped(decayed(u[i], keep_u, shift_u), xt[i]);
            int32_t volt = saturated(decayed(v[i], keep_v, shift_v) + u[i] + bias[i]);
            st[i] = volt > threshold[i];
            v[i] = volt > threshold[i] ? 0 : volt;
        }
    }
}

/* The same for neurons without memory of their current and a number of steps that the compiler knows,
 * of one sample each: states stay in registers. */
static inline __attribute__((always_inline)) void few_spikes(
    const float *x, const int32_t *bias, const int32_t *threshold, uint8_t *s, int64_t size,
    int64_t n, int shift_v, const int steps)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        int32_t v = 0;
#pragma GCC unroll 6
        for (int t = 0; t < steps; t++) {
            int32_t kept = v < 0 ? -(-v >> shift_v) : v >> shift_v;
            v = saturated(kept + wrapped(0, x[t * size + i]) + bias[i]);
            s[t * size + i] = v > threshold[i];
            v = v > threshold[i] ? 0 : v;
        }
    }
}

void spikes(const float *x, const int32_t *bias, const int32_t *threshold, uint8_t *s,
            int64_t steps, int64_t samples, int64_t positions, int64_t first, int64_t interval,
            int64_t keep_u, int64_t keep_v)
{
    int64_t size = samples * positions, chunks = (positions + CHUNK - 1) / CHUNK;
    int shift_u = power_of_two(keep_u), shift_v = power_of_two(keep_v);
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t job = 0; job < samples * chunks; job++) {
        int64_t from = job % chunks * CHUNK, at = job / chunks * positions + from;
        int64_t n = least(CHUNK, positions - from);
        int simple = keep_u == 0 && shift_v >= 0, once = first == 0 && interval >= steps;
#define FEW_SPIKES(STEPS)                                                                    \
    case STEPS:                                                                              \
        few_spikes(x + at, bias + from, threshold + from, s + at, size, n, shift_v, STEPS); \
        break;
        switch (simple && once ? steps : 0) {
            FEW_SPIKES(1)
            FEW_SPIKES(2)
            FEW_SPIKES(3)
            FEW_SPIKES(4)
            FEW_SPIKES(5)
            FEW_SPIKES(6)
        default:
            if (simple)
                spikes_chunk(x + at, bias + from, threshold + from, s + at, steps, size, n, first,
                             interval, 0, 0, 1, shift_v);
            else
                spikes_chunk(x + at, bias + from, threshold + from, s + at, steps, size, n, first,
                             interval, keep_u, shift_u, keep_v, shift_v);
        }
    }
}

static inline __attribute__((always_inline)) void backward_chunk(const float *grad, const float *v, const float *slope,
                                  float *grad_v, float *grad_u, int64_t steps, int64_t size,
                                  int64_t n, float unit, float offset, float keep_u, float keep_v,
                                  int reset, float threshold, float scale, int kind)
{
    float later[CHUNK], later_u[CHUNK];
    memset(later, 0, sizeof later);
    memset(later_u, 0, sizeof later_u);
    for (int64_t t = steps - 1; t >= 0; t--) {
        const float *gt = grad + t * size, *vt = v + t * size;
        const float *given = kind == GIVEN ? slope + t * size : 0;
        float *out_v = grad_v ? grad_v + t * size : 0, *out_u = grad_u + t * size;
        int last = t == steps - 1;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float d = vt[i] * unit - offset;
            float k = kind == GIVEN ? given[i] : slope_at(d, kind);
            float g = gt[i] * k;
            if (!last) {
                g = fmaf(d > 0 ? 0.0f : later[i], keep_v, g);
                if (reset)
                    g = fmaf(k * (d + threshold) * later[i], -keep_v, g);
            }
            later[i] = g;
            if (out_v)
                out_v[i] = g * scale;
            if (keep_u != 0 && !last)
                g = fmaf(later_u[i], keep_u, g);
            later_u[i] = g;
            out_u[i] = g * scale;
        }
    }
}

#define JOB(KIND, RESET, KEEP_U)                                                              \
    backward_chunk(grad + at, v + at, (KIND) == GIVEN ? slope + at : 0, grad_v ? grad_v + at : 0, \
                   grad_u + at, steps, size, least(CHUNK, size - at), unit, offset, KEEP_U, keep_v, \
                   RESET, threshold, scale, KIND)
#define CASES(FROM, RESET, KEEP_U)                                  \
    case FROM + GIVEN: JOB(GIVEN, RESET, KEEP_U); break;             \
    case FROM + RECTANGULAR: JOB(RECTANGULAR, RESET, KEEP_U); break; \
    case FROM + TRIANGULAR: JOB(TRIANGULAR, RESET, KEEP_U); break;   \
    case FROM + ARCTAN: JOB(ARCTAN, RESET, KEEP_U); break;

/* Gradients of v (where grad_v is given) and of x, times scale; distance = v unit - offset. With
 * reset the gradient passes v (1 - s) through s too. slope is read for the kind GIVEN alone. */
void backward(const float *grad, const float *v, const float *slope, float *grad_v, float *grad_u,
              int64_t steps, int64_t size, float unit, float offset, float keep_u, float keep_v,
              int reset, float threshold, float scale, int kind)
{
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t at = 0; at < size; at += CHUNK) {
        /* constants let the compiler drop what a neuron does not have from the innermost loop */
        switch (kind + 4 * (reset != 0) + 8 * (keep_u != 0)) {
            CASES(0, 0, 0)
            CASES(4, 1, 0)
            CASES(8, 0, keep_u)
            CASES(12, 1, keep_u)
        }
    }
}

/* relay of integers.py: x / 2^shift, rounded half up; nothing where it is not above threshold */
void relay(const float *x, float *out, int64_t size, int shift, int32_t threshold)
{
    int32_t half = shift ? 1 << (shift - 1) : 0;
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t first = 0; first < size; first += CHUNK) {
        int64_t n = least(CHUNK, size - first);
#pragma omp simd
        for (int64_t i = first; i < first + n; i++) {
            int32_t message = ((int32_t)x[i] + half) >> shift;
            int32_t magnitude = message < 0 ? -message : message;
            out[i] = magnitude > threshold ? (float)message : 0.0f;
        }
    }
}

/* Memory where channels lie last, as memory where they lie before the pixels. A block of as many
 * pixels as channels is turned in registers, where the compiler can shuffle: interleaving the halves
 * of n rows log2(n) times makes them columns. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef float floats8 __attribute__((vector_size(32)));
typedef int32_t ints8 __attribute__((vector_size(32)));

#if defined __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLES
static inline void turn_bytes(const uint8_t *x, int64_t channels, uint8_t *out, int64_t pixels)
{
    bytes16 a[16], b[16];
    for (int i = 0; i < 16; i++)
        memcpy(&a[i], x + i * channels, sizeof *a);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            b[2 * i] = __builtin_shufflevector(a[i], a[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5,
                                               21, 6, 22, 7, 23);
            b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12,
                                                   28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < 16; i++)
        memcpy(out + i * pixels, &a[i], sizeof *a);
}

static inline void turn_floats(const float *x, int64_t channels, int32_t *out, int64_t pixels)
{
    floats8 a[8], b[8];
    for (int i = 0; i < 8; i++)
        memcpy(&a[i], x + i * channels, sizeof *a);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
            b[2 * i] = __builtin_shufflevector(a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < 8; i++) {
        ints8 whole = __builtin_convertvector(a[i], ints8);
        memcpy(out + i * pixels, &whole, sizeof whole);
    }
}
#endif
#endif
#ifdef SHUFFLES
#define TURN(SIDE, BY, HIGH, WIDE)                   \
    for (int64_t p = 0; p < (HIGH); p += (SIDE))     \
        for (int64_t c = 0; c < (WIDE); c += (SIDE)) \
            BY(from + p * channels + c, channels, to + c * pixels + p, pixels);
#else
#define TURN(SIDE, BY, HIGH, WIDE)
#endif

/* (steps, samples, pixels, channels) as (steps, samples, channels, pixels), into an array whose steps
 * and samples may be further apart */
#define PLANES(NAME, FROM, TO, SIDE, BY)                                                              \
    void NAME(const FROM *x, TO *out, int64_t steps, int64_t samples, int64_t pixels,                 \
              int64_t channels, int64_t step, int64_t sample)                                         \
    {                                                                                                 \
        int64_t wide = channels / SIDE * SIDE, high = pixels / SIDE * SIDE;                           \
        _Pragma("omp parallel for schedule(static)") for (int64_t row = 0; row < steps * samples;     \
                                                          row++)                                      \
        {                                                                                             \
            const FROM *from = x + row * pixels * channels;                                           \
            TO *to = out + row / samples * step + row % samples * sample;                             \
            TURN(SIDE, BY, high, wide)                                                                \
            for (int64_t c = 0; c < channels; c++)                                                    \
                for (int64_t p = TURNED && c < wide ? high : 0; p < pixels; p++)                      \
                    to[c * pixels + p] = (TO)from[p * channels + c];                                  \
        }                                                                                             \
    }

#ifdef SHUFFLES
#define TURNED 1
#else
#define TURNED 0
#endif
PLANES(planes_of_bytes, uint8_t, uint8_t, 16, turn_bytes)
PLANES(planes_of_floats, float, int32_t, 8, turn_floats)
