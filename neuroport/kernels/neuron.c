/* The leaky integrate-and-fire neuron over all time steps, forward and backward.
 *
 * Equal, bit for bit, to the plain torch of torch_neurons.py and so, in integers, to
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

/* steps of x and s are `size` apart, those of distance `apart`; either s or distance is computed */
static inline __attribute__((always_inline)) void integer_chunk(
    const float *x, const int32_t *bias, float *distance, int64_t apart, float *s, int64_t steps,
    int64_t size, int64_t n, int64_t keep_u, int shift_u, int64_t keep_v, int shift_v,
    int32_t threshold)
{
    int32_t u[CHUNK], v[CHUNK];
    memset(u, 0, sizeof u);
    memset(v, 0, sizeof v);
    for (int64_t t = 0; t < steps; t++) {
        const float *xt = x + t * size;
        float *dt = distance ? distance + t * apart : 0, *st = s ? s + t * size : 0;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            u[i] = wrapped(decayed(u[i], keep_u, shift_u), xt[i]);
            int32_t volt = saturated(decayed(v[i], keep_v, shift_v) + u[i] + bias[i]);
            if (distance)
                dt[i] = (float)(volt - threshold);
            if (s)
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

/* constants let the compiler drop what a neuron does not have from the innermost loop */
static inline __attribute__((always_inline)) void integer_job(
    const float *x, const int32_t *bias, float *distance, int64_t apart, float *s, int64_t steps,
    int64_t size, int64_t n, int64_t keep_u, int64_t keep_v, int32_t threshold)
{
    int shift_u = power_of_two(keep_u), shift_v = power_of_two(keep_v);
    if (keep_u == 0 && shift_v >= 0)
        integer_chunk(x, bias, distance, apart, s, steps, size, n, 0, 0, 1, shift_v, threshold);
    else
        integer_chunk(x, bias, distance, apart, s, steps, size, n, keep_u, shift_u, keep_v, shift_v,
                      threshold);
}

/* lif_step and reset of integers.py; bias and threshold come shifted by STATE_SHIFT. Without memory
 * for it, distance = v - threshold before the reset, as backward takes it, is not stored. */
void integer_forward(const float *x, const int32_t *bias, float *distance, float *s, int64_t steps,
                     int64_t samples, int64_t positions, int64_t keep_u, int64_t keep_v,
                     int32_t threshold)
{
    int64_t size = samples * positions, chunks = (positions + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t job = 0; job < samples * chunks; job++) {
        int64_t from = job % chunks * CHUNK, at = job / chunks * positions + from;
        int64_t n = least(CHUNK, positions - from);
        if (distance)
            integer_job(x + at, bias + from, distance + at, size, s + at, steps, size, n, keep_u,
                        keep_v, threshold);
        else
            integer_job(x + at, bias + from, 0, 0, s + at, steps, size, n, keep_u, keep_v, threshold);
    }
}

/* steps of v are `apart`, those of all else `size` */
static inline __attribute__((always_inline)) void backward_chunk(
    const float *grad, const float *v, int64_t apart, const float *slope, float *grad_v,
    float *grad_u, int64_t steps, int64_t size, int64_t n, float unit, float offset, float keep_u,
    float keep_v, int reset, float threshold, float scale, int kind)
{
    float later[CHUNK], later_u[CHUNK];
    memset(later, 0, sizeof later);
    memset(later_u, 0, sizeof later_u);
    for (int64_t t = steps - 1; t >= 0; t--) {
        const float *gt = grad + t * size, *vt = v + t * apart;
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
    backward_chunk(grad + at, V, APART, (KIND) == GIVEN ? slope + at : 0, grad_v ? grad_v + at : 0, \
                   grad_u + at, steps, size, n, unit, offset, KEEP_U, keep_v, RESET, threshold, scale, \
                   KIND)
#define CASES(FROM, RESET, KEEP_U)                                  \
    case FROM + GIVEN: JOB(GIVEN, RESET, KEEP_U); break;             \
    case FROM + RECTANGULAR: JOB(RECTANGULAR, RESET, KEEP_U); break; \
    case FROM + TRIANGULAR: JOB(TRIANGULAR, RESET, KEEP_U); break;   \
    case FROM + ARCTAN: JOB(ARCTAN, RESET, KEEP_U); break;
/* constants let the compiler drop what a neuron does not have from the innermost loop */
#define BACKWARD                                          \
    switch (kind + 4 * (reset != 0) + 8 * (keep_u != 0)) { \
        CASES(0, 0, 0)                                    \
        CASES(4, 1, 0)                                    \
        CASES(8, 0, keep_u)                               \
        CASES(12, 1, keep_u)                              \
    }

/* Gradients of v (where grad_v is given) and of x, times scale; distance = v unit - offset. With
 * reset the gradient passes v (1 - s) through s too. slope is read for the kind GIVEN alone. */
void backward(const float *grad, const float *v, const float *slope, float *grad_v, float *grad_u,
              int64_t steps, int64_t size, float unit, float offset, float keep_u, float keep_v,
              int reset, float threshold, float scale, int kind)
{
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t at = 0; at < size; at += CHUNK) {
        int64_t n = least(CHUNK, size - at);
#define V (v + at)
#define APART size
        BACKWARD
#undef V
#undef APART
    }
}

/* The same of integer_forward's neurons, whose distances are computed again; kept_u and kept_v are
 * its keep_u and keep_v, bar its threshold. No kind GIVEN. */
void integer_backward(const float *grad, const float *x, const int32_t *bias, float *grad_v,
                      float *grad_u, int64_t steps, int64_t samples, int64_t positions,
                      int64_t kept_u, int64_t kept_v, int32_t bar, float unit, float keep_u,
                      float keep_v, int reset, float threshold, float scale, int kind)
{
    const float *slope = 0, offset = 0;
    int64_t size = samples * positions, most = least(CHUNK, HELD / steps);
    int64_t chunks = (positions + most - 1) / most;
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t job = 0; job < samples * chunks; job++) {
        int64_t from = job % chunks * most, at = job / chunks * positions + from;
        int64_t n = least(most, positions - from);
        float held[HELD];
        integer_job(x + at, bias + from, held, n, 0, steps, size, n, kept_u, kept_v, bar);
#define V held
#define APART n
        BACKWARD
#undef V
#undef APART
    }
}

/* round_shift of integers.py: x / 2^shift, rounded half up */
void relay(const float *x, float *out, int64_t size, int shift)
{
    int32_t half = shift ? 1 << (shift - 1) : 0;
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t first = 0; first < size; first += CHUNK) {
        int64_t n = least(CHUNK, size - first);
#pragma omp simd
        for (int64_t i = first; i < first + n; i++)
            out[i] = (float)(((int32_t)x[i] + half) >> shift);
    }
}

/* Even integers nearest to w / unit, within +-most; inside: whether w / unit is. w is (outputs, inputs,
 * positions), out the same in the order (outputs, positions, inputs). */
void snap(const float *w, float *out, uint8_t *inside, int64_t outputs, int64_t inputs,
          int64_t positions, float unit, float most)
{
    float held[HELD];
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t first = 0; first < inputs; first += HELD / positions) {
            int64_t n = least(HELD / positions, inputs - first), at = (o * inputs + first) * positions;
            for (int64_t i = 0; i < n * positions; i++) {
                float real = w[at + i] / unit;
                inside[at + i] = real >= -most && real <= most;
                real = real < -most ? -most : real > most ? most : real;
                held[i] = 2 * rintf(real / 2);
            }
            for (int64_t position = 0; position < positions; position++)
                for (int64_t i = 0; i < n; i++)
                    out[(o * positions + position) * inputs + first + i] = held[i * positions + position];
        }
}

/* the gradient of w from that of out, where those outside have none */
void snap_backward(const float *grad, const uint8_t *inside, float *out, int64_t outputs,
                   int64_t inputs, int64_t positions, float unit)
{
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t i = 0; i < inputs; i++)
            for (int64_t position = 0; position < positions; position++) {
                int64_t at = (o * inputs + i) * positions + position;
                out[at] = inside[at] ? grad[(o * positions + position) * inputs + i] / unit : 0.0f;
            }
}
