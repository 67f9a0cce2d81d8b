/* Batch norm, and the neurons of several levels behind it, in training.
 *
 * A norm is y = a (x - mean) + b per channel. Whoever reads y applies it on the way: nobody stores y,
 * nor the voltages, which the backward pass computes again. A stream, y + a shortcut, is stored by the
 * neuron that reads it first, for the next shortcut. Arrays are (steps, samples, positions),
 * dense, channels last: position p belongs to channel p % channels. The work has PARTS parts of its
 * own, so that sums do not depend on the number of threads.
 */
#include "kernel.h"

#define LEVELS 4
#define FEW_STEPS 6 /* as many live in registers */
#define PARTS 16

/* Chunks lie within `period` positions, a number of whole pixels: what channels have is spread over
 * one period, once for all chunks. */
typedef struct {
    int64_t positions, channels, period, length, count; /* count: chunks of a sample */
} Chunks;

static Chunks chunks_of(int64_t positions, int64_t channels, int64_t most)
{
    int64_t period = most > channels ? most / channels * channels : channels;
    int64_t length = least(period, most);
    int64_t each = (period + length - 1) / length, whole = positions / period;
    int64_t rest = positions % period;
    Chunks found = {positions, channels, period, length, whole * each + (rest + length - 1) / length};
    return found;
}

typedef struct {
    int64_t first, n, offset; /* in the sample, length, in the period */
} Chunk;

static inline Chunk chunk_at(Chunks all, int64_t index)
{
    int64_t each = (all.period + all.length - 1) / all.length;
    int64_t from = index / each * all.period, offset = index % each * all.length;
    int64_t end = least(all.period, all.positions - from);
    Chunk found = {from + offset, least(all.length, end - offset), offset};
    return found;
}

/* what channels have, over a period; without channels the same everywhere */
static void spread(const float *channel, float same, float *out, Chunks all)
{
    if (!channel)
        for (int64_t i = 0; i < all.period; i++)
            out[i] = same;
    else
        for (int64_t from = 0; from < all.period; from += all.channels)
            memcpy(out + from, channel, all.channels * sizeof *out);
}

/* adds what a chunk's positions have to their channels; what they have is lost */
static inline void gather(float *position, double *out, Chunk at, int64_t channels)
{
    int64_t c = at.offset % channels, n = at.n;
    for (; n % (2 * channels) == 0; n /= 2) /* pixels onto pixels */
#pragma omp simd
        for (int64_t i = 0; i < n / 2; i++)
            position[i] += position[n / 2 + i];
    for (int64_t i = 0; i < n;) {
        int64_t run = least(channels - c, n - i);
#pragma omp simd
        for (int64_t j = 0; j < run; j++)
            out[c + j] += position[i + j];
        i += run;
        c = 0;
    }
}

/* sums: PARTS times two per channel; the first two become the sums of all */
static void total(double *sums, int64_t channels)
{
    for (int64_t part = 1; part < PARTS; part++)
        for (int64_t i = 0; i < 2 * channels; i++)
            sums[i] += sums[part * 2 * channels + i];
}

/* Statistics of a batch, and the running ones. Rows of `found`, one number per channel:
 * mean, q = 1 / sqrt(var + eps), its slope q^2 (with eps outside the root q = 1 / (root + eps),
 * slope = q / root), and a = scale q. */
void norm_statistics(const float *x, const float *scale, double *sums, float *found,
                     float *running_mean, float *running_var, int64_t steps, int64_t samples,
                     int64_t positions, int64_t channels, double momentum, double eps, int outside)
{
    float *mean = found, *q = found + channels, *slope = q + channels, *a = slope + channels;
    int64_t size = samples * positions;
    Chunks all = chunks_of(positions, channels, CHUNK);
    memset(sums, 0, PARTS * 2 * channels * sizeof *sums);
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t part = 0; part < PARTS; part++) {
        int64_t from = samples * all.count * part / PARTS;
        int64_t to = samples * all.count * (part + 1) / PARTS;
        double *own = sums + part * 2 * channels;
        float origin[all.period]; /* sums of differences from a value keep their digits */
        spread(x, 0, origin, all);
        for (int64_t job = from; job < to; job++) {
            Chunk at = chunk_at(all, job % all.count);
            const float *xt = x + job / all.count * positions + at.first, *o = origin + at.offset;
            float sum[CHUNK], square[CHUNK];
            memset(sum, 0, sizeof sum);
            memset(square, 0, sizeof square);
            for (int64_t t = 0; t < steps; t++, xt += size) {
#pragma omp simd
                for (int64_t i = 0; i < at.n; i++) {
                    float d = xt[i] - o[i];
                    sum[i] += d;
                    square[i] = fmaf(d, d, square[i]);
                }
            }
            gather(sum, own, at, channels);
            gather(square, own + channels, at, channels);
        }
    }
    total(sums, channels);
    double count = (double)steps * samples * (positions / channels);
    for (int64_t c = 0; c < channels; c++) {
        double off = sums[c] / count, centre = x[c] + off;
        double square = sums[channels + c] - sums[c] * off, var = square > 0 ? square / count : 0;
        double root = sqrt(outside ? var : var + eps), factor = 1 / (outside ? root + eps : root);
        mean[c] = centre;
        q[c] = factor;
        a[c] = scale[c] * q[c];
        /* a channel that never fires has variance 0, where the root has no finite slope */
        slope[c] = outside && var >= 1.1754943508222875e-38 ? factor / root : factor * factor;
        running_mean[c] += momentum * (centre - running_mean[c]);
        running_var[c] += momentum * (var * count / (count - 1) - running_var[c]);
    }
}

/* out = a (x - mean) + b, and added where it is given */
void norm_apply(const float *x, const float *mean, const float *a, const float *b,
                const float *added, float *out, int64_t rows, int64_t positions, int64_t channels)
{
    Chunks all = chunks_of(positions, channels, CHUNK);
#pragma omp parallel for schedule(static) if (parallel : rows * positions > FEW)
    for (int64_t part = 0; part < PARTS; part++) {
        float m[all.period], k[all.period], o[all.period];
        spread(mean, 0, m, all);
        spread(a, 0, k, all);
        spread(b, 0, o, all);
        for (int64_t job = rows * all.count * part / PARTS;
             job < rows * all.count * (part + 1) / PARTS; job++) {
            Chunk at = chunk_at(all, job % all.count);
            int64_t from = job / all.count * positions + at.first;
            const float *xt = x + from, *yt = added ? added + from : 0;
            const float *mt = m + at.offset, *kt = k + at.offset, *ot = o + at.offset;
            float *to = out + from;
            if (added) {
#pragma omp simd
                for (int64_t i = 0; i < at.n; i++)
                    to[i] = fmaf(xt[i] - mt[i], kt[i], ot[i]) + yt[i];
            } else {
#pragma omp simd
                for (int64_t i = 0; i < at.n; i++)
                    to[i] = fmaf(xt[i] - mt[i], kt[i], ot[i]);
            }
        }
    }
}

/* sums over all but the channels: of the gradient g, and of g (x - mean) */
void norm_sums(const float *g, const float *x, const float *mean, double *sums, int64_t steps,
               int64_t samples, int64_t positions, int64_t channels)
{
    int64_t size = samples * positions;
    Chunks all = chunks_of(positions, channels, CHUNK);
    memset(sums, 0, PARTS * 2 * channels * sizeof *sums);
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t part = 0; part < PARTS; part++) {
        double *own = sums + part * 2 * channels;
        float m[all.period];
        spread(mean, 0, m, all);
        for (int64_t job = samples * all.count * part / PARTS;
             job < samples * all.count * (part + 1) / PARTS; job++) {
            Chunk at = chunk_at(all, job % all.count);
            int64_t from = job / all.count * positions + at.first;
            const float *mt = m + at.offset;
            float one[CHUNK], other[CHUNK];
            memset(one, 0, sizeof one);
            memset(other, 0, sizeof other);
            for (int64_t t = 0; t < steps; t++) {
                const float *gt = g + t * size + from, *xt = x + t * size + from;
#pragma omp simd
                for (int64_t i = 0; i < at.n; i++) {
                    one[i] += gt[i];
                    other[i] = fmaf(gt[i], xt[i] - mt[i], other[i]);
                }
            }
            gather(one, own, at, channels);
            gather(other, own + channels, at, channels);
        }
    }
    total(sums, channels);
}

/* gradient of x from that of y, also in place:
 * a (g - mean(g) - (x - mean) mean(g (x - mean)) slope); rows of `given`: gradients of scale and b */
void norm_gradient(const float *g, const float *x, const float *found, const double *sums,
                   float *out, float *given, int64_t rows, int64_t positions, int64_t channels)
{
    const float *mean = found, *q = found + channels, *slope = q + channels, *a = slope + channels;
    for (int64_t c = 0; c < channels; c++) {
        given[c] = (float)sums[channels + c] * q[c];
        given[channels + c] = sums[c];
    }
    double count = (double)rows * (positions / channels);
    Chunks all = chunks_of(positions, channels, CHUNK);
#pragma omp parallel for schedule(static) if (parallel : rows * positions > FEW)
    for (int64_t part = 0; part < PARTS; part++) {
        float m[all.period], k[all.period], tilt[all.period], shift[all.period];
        spread(mean, 0, m, all);
        spread(a, 0, k, all);
        for (int64_t c = 0; c < channels; c++) {
            tilt[c] = -a[c] * (sums[channels + c] * slope[c] / count);
            shift[c] = -a[c] * (sums[c] / count);
        }
        for (int64_t i = channels; i < all.period; i++) {
            tilt[i] = tilt[i - channels];
            shift[i] = shift[i - channels];
        }
        for (int64_t job = rows * all.count * part / PARTS;
             job < rows * all.count * (part + 1) / PARTS; job++) {
            Chunk at = chunk_at(all, job % all.count);
            int64_t from = job / all.count * positions + at.first;
            const float *gt = g + from, *xt = x + from, *mt = m + at.offset, *kt = k + at.offset;
            const float *pt = tilt + at.offset, *qt = shift + at.offset;
            float *to = out + from;
#pragma omp simd
            for (int64_t i = 0; i < at.n; i++)
                to[i] = fmaf(xt[i] - mt[i], pt[i], fmaf(gt[i], kt[i], qt[i]));
        }
    }
}

/* Neurons of some levels under one current, in real numbers, at a chunk of a sample; s is the number
 * of levels that fire. The current may be that of a stream: y, and added where it is given; it is
 * stored, past the caches if so. */
static inline __attribute__((always_inline)) void levels_forward_chunk(
    const float *x, const float *m, const float *k, const float *o, const float *added, float *stream,
    int past, float *s, int64_t steps, int64_t size, int64_t n, float keep_u, float keep_v,
    const float *thresholds, int levels)
{
    float u[CHUNK], kept[LEVELS][CHUNK], held[CHUNK];
    for (int64_t t = 0; t < steps; t++) {
        const float *xt = x + t * size, *yt = added ? added + t * size : 0;
        float *st = s + t * size, *to = past ? held : stream ? stream + t * size : 0;
        if (t == 0) {
            memset(u, 0, sizeof u);
            memset(kept, 0, levels * sizeof *kept);
        }
        if (t < steps - 1)
            for (int64_t i = 0; i < n; i += 16) {
                __builtin_prefetch(xt + size + i);
                if (added)
                    __builtin_prefetch(yt + size + i);
                if (stream && !past)
                    __builtin_prefetch(to + size + i, 1);
                __builtin_prefetch(st + size + i, 1);
            }
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float now = fmaf(xt[i] - m[i], k[i], o[i]), fired = 0;
            if (added)
                now += yt[i];
            if (stream)
                to[i] = now;
            if (keep_u != 0)
                u[i] = now = t == 0 ? now : fmaf(u[i], keep_u, now);
            for (int level = 0; level < levels; level++) {
                float v = t == 0 ? now : fmaf(kept[level][i], keep_v, now);
                fired += v > thresholds[level] ? 1.0f : 0.0f;
                kept[level][i] = v > thresholds[level] ? 0.0f : v;
            }
            st[i] = fired;
        }
        if (past)
            copy_past_caches(held, stream + t * size, n);
    }
}

void levels_forward(const float *x, const float *mean, const float *a, const float *b, float *s,
                    int64_t steps, int64_t samples, int64_t positions, int64_t channels,
                    float keep_u, float keep_v, const float *given, int levels)
{
    int64_t size = samples * positions;
    float thresholds[LEVELS];
    memcpy(thresholds, given, levels * sizeof *given);
    Chunks all = chunks_of(positions, mean ? channels : 1, CHUNK);
    /* constants let the compiler unroll the levels and drop what a neuron does not have */
#define AS(KEEP_U, COUNT)                                                                    \
    levels_forward_chunk(x + from, m + at.offset, k + at.offset, o + at.offset, 0, 0, 0, s + from, \
                         steps, size, at.n, KEEP_U, keep_v, thresholds, COUNT)
#define CASES(COUNT)           \
    case COUNT:                \
        if (keep_u == 0)       \
            AS(0, COUNT);      \
        else                   \
            AS(keep_u, COUNT); \
        break;
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t part = 0; part < PARTS; part++) {
        float m[all.period], k[all.period], o[all.period];
        spread(mean, 0, m, all);
        spread(a, 1, k, all);
        spread(b, 0, o, all);
        for (int64_t job = samples * all.count * part / PARTS;
             job < samples * all.count * (part + 1) / PARTS; job++) {
            Chunk at = chunk_at(all, job % all.count);
            int64_t from = job / all.count * positions + at.first;
            switch (levels) {
                CASES(1)
                CASES(2)
                CASES(3)
                CASES(4)
            }
        }
    }
#undef AS
#undef CASES
}

/* A stream y + added (or y), and the spikes of the neurons, of one level and without memory of their
 * current, that read it. */
void stream_forward(const float *x, const float *mean, const float *a, const float *b,
                    const float *added, float *stream, float *s, int64_t steps, int64_t samples,
                    int64_t positions, int64_t channels, float keep_v, float threshold)
{
    int64_t size = samples * positions;
    Chunks all = chunks_of(positions, channels, CHUNK);
    int past = steps * size * (int64_t)sizeof *x > LARGE;
#define AS(ADDED, PAST)                                                                              \
    levels_forward_chunk(x + from, m + at.offset, k + at.offset, o + at.offset, ADDED, stream + from, \
                         PAST, s + from, steps, size, at.n, 0, keep_v, &threshold, 1)
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t part = 0; part < PARTS; part++) {
        float m[all.period], k[all.period], o[all.period];
        spread(mean, 0, m, all);
        spread(a, 0, k, all);
        spread(b, 0, o, all);
        for (int64_t job = samples * all.count * part / PARTS;
             job < samples * all.count * (part + 1) / PARTS; job++) {
            Chunk at = chunk_at(all, job % all.count);
            int64_t from = job / all.count * positions + at.first;
            if (added && past)
                AS(added + from, 1);
            else if (added)
                AS(added + from, 0);
            else
                AS(0, 0);
        }
        if (past)
            finish_past_caches();
    }
#undef AS
}

/* now: the gradient of the current at one step, of this level and those before it */
#define LEVEL_STEP(i)                                                           \
    float d = v[i] - threshold, slope = slope_at(d, kind), now = gt[i] * slope; \
    if (!final) {                                                               \
        now = fmaf(d > 0 ? 0.0f : later[i], keep_v, now);                       \
        if (reset)                                                              \
            now = fmaf(slope * (d + threshold) * later[i], -keep_v, now);       \
    }                                                                           \
    later[i] = now;                                                             \
    if (keep_u != 0)                                                            \
        later_u[i] = now = final ? now : fmaf(later_u[i], keep_u, now);         \
    if (!sole)                                                                  \
        now = sum[i] + now;

/* Gradient g of the current that those neurons get (of y, where there is a norm, then with its sums
 * over the steps), at a chunk of a sample; arguments as above and as backward of neuron.c has them. */
static void levels_backward_chunk(
    const float *gs, const float *x, const float *m, const float *k, const float *o, float *g,
    float *one, float *other, int64_t steps, int64_t size, int64_t n, float keep_u, float keep_v,
    int reset, const float *thresholds, int levels, int kind)
{
    float current[HELD], voltage[HELD], sums[HELD], later[CHUNK], later_u[CHUNK];
    int first = levels - 1; /* the highest level finds its voltages with the currents */
    for (int64_t t = 0; t < steps; t++) {
        const float *xt = x + t * size;
        float *u = current + t * n, *v = voltage + t * n;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float y = fmaf(xt[i] - m[i], k[i], o[i]);
            if (keep_u != 0 && t > 0)
                y = fmaf(u[i - n], keep_u, y);
            if (keep_u != 0 || levels > 1)
                u[i] = y;
            v[i] = t == 0 ? y : fmaf(v[i - n] > thresholds[first] ? 0.0f : v[i - n], keep_v, y);
        }
    }
    for (int level = first; level >= 0; level--) {
        float threshold = thresholds[level];
        if (level < first) {
            memcpy(voltage, current, n * sizeof *voltage);
            for (int64_t t = 1; t < steps; t++) {
                float *u = current + t * n, *v = voltage + t * n;
#pragma omp simd
                for (int64_t i = 0; i < n; i++)
                    v[i] = fmaf(v[i - n] > threshold ? 0.0f : v[i - n], keep_v, u[i]);
            }
        }
        memset(later, 0, sizeof later);
        if (keep_u != 0)
            memset(later_u, 0, sizeof later_u);
        for (int64_t t = steps - 1; t >= 0; t--) {
            const float *gt = gs + t * size, *xt = x + t * size, *v = voltage + t * n;
            float *sum = sums + t * n, *out = g + t * size;
            int final = t == steps - 1, sole = level == first;
            if (level == 0) {
#pragma omp simd
                for (int64_t i = 0; i < n; i++) {
                    LEVEL_STEP(i)
                    out[i] = now;
                    one[i] += now;
                    other[i] = fmaf(now, xt[i] - m[i], other[i]);
                }
            } else {
#pragma omp simd
                for (int64_t i = 0; i < n; i++) {
                    LEVEL_STEP(i)
                    sum[i] = now;
                }
            }
        }
    }
}

/* What becomes of the gradient of a level: it is that of the current; it is added to that of the
 * levels above; or it is added to that of the shortcut, which reads the same stream. */
enum { SOLE, FURTHER, STREAM };

/* gs, x: of the neurons; m, k, o: of their norm; g: the gradient of their current. Of a stream x is
 * stored (m, k, o say nothing), and the sums are those of its norm: shortcut is the gradient that the
 * stream has from elsewhere, source and mean are what the norm reads, and its mean. */
typedef struct {
    const float *gs, *x, *m, *k, *o, *shortcut, *source, *mean;
    float *g, *one, *other;
    int64_t size, n;
    float keep_v, threshold;
} Level;

/* The same for one of the levels of neurons without memory of their current, and a number of steps
 * that the compiler knows: everything in between stays in registers. The highest level comes first. */
static inline __attribute__((always_inline)) void level_backward_chunk(
    Level l, const int steps, const int reset, const int becomes, const int kind)
{
    const float *gs = l.gs, *x = l.x, *m = l.m, *k = l.k, *o = l.o;
    const float *shortcut = l.shortcut, *source = l.source, *mean = l.mean;
    float *g = l.g, *one = l.one, *other = l.other, keep_v = l.keep_v, threshold = l.threshold;
    int64_t size = l.size, n = l.n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float centred[FEW_STEPS], v[FEW_STEPS], later = 0, sum = 0, tilted = 0;
#pragma GCC unroll 8
        for (int t = 0; t < steps; t++) {
            if (becomes == STREAM) {
                v[t] = x[t * size + i];
            } else {
                centred[t] = x[t * size + i] - m[i];
                v[t] = fmaf(centred[t], k[i], o[i]);
            }
            if (t > 0)
                v[t] = fmaf(v[t - 1] > threshold ? 0.0f : v[t - 1], keep_v, v[t]);
        }
#pragma GCC unroll 8
        for (int t = steps - 1; t >= 0; t--) {
            float d = v[t] - threshold, slope = slope_at(d, kind), now = gs[t * size + i] * slope;
            if (t < steps - 1) {
                now = fmaf(d > 0 ? 0.0f : later, keep_v, now);
                if (reset)
                    now = fmaf(slope * (d + threshold) * later, -keep_v, now);
            }
            later = now;
            if (becomes == FURTHER)
                now = g[t * size + i] + now;
            if (becomes == STREAM)
                v[t] = now = shortcut[t * size + i] + now;
            g[t * size + i] = now;
            if (becomes != STREAM) {
                sum += now;
                tilted = fmaf(now, centred[t], tilted);
            }
        }
        if (becomes == STREAM) {
#pragma GCC unroll 8
            for (int t = 0; t < steps; t++) { /* in the order of norm_sums */
                sum += v[t];
                tilted = fmaf(v[t], source[t * size + i] - mean[i], tilted);
            }
        }
        one[i] = sum;
        other[i] = tilted;
    }
}

#define STEPS_CASES(FROM, RESET, BECOMES, KIND)                                  \
    case FROM + 1: level_backward_chunk(l, 1, RESET, BECOMES, KIND); break;      \
    case FROM + 2: level_backward_chunk(l, 2, RESET, BECOMES, KIND); break;      \
    case FROM + 3: level_backward_chunk(l, 3, RESET, BECOMES, KIND); break;      \
    case FROM + 4: level_backward_chunk(l, 4, RESET, BECOMES, KIND); break;      \
    case FROM + 5: level_backward_chunk(l, 5, RESET, BECOMES, KIND); break;      \
    case FROM + 6: level_backward_chunk(l, 6, RESET, BECOMES, KIND); break;
#define RESET_CASES(FROM, BECOMES, KIND) \
    STEPS_CASES(FROM, 0, BECOMES, KIND)  \
    STEPS_CASES(FROM + 8, 1, BECOMES, KIND)
#define KIND_CASES(KIND)                       \
    RESET_CASES(64 * KIND, SOLE, KIND)         \
    RESET_CASES(64 * KIND + 16, FURTHER, KIND) \
    RESET_CASES(64 * KIND + 32, STREAM, KIND)

static void level_backward(Level l, int steps, int reset, int becomes, int kind)
{
    switch (steps + 8 * (reset != 0) + 16 * becomes + 64 * kind) {
        KIND_CASES(RECTANGULAR)
        KIND_CASES(TRIANGULAR)
        KIND_CASES(ARCTAN)
    }
}

void levels_backward(const float *gs, const float *x, const float *mean, const float *a,
                     const float *b, float *g, double *sums, int64_t steps, int64_t samples,
                     int64_t positions, int64_t channels, float keep_u, float keep_v, int reset,
                     const float *thresholds, int levels, int kind)
{
    int64_t size = samples * positions;
    Chunks all = chunks_of(positions, mean ? channels : 1, least(CHUNK, HELD / steps));
    if (mean)
        memset(sums, 0, PARTS * 2 * channels * sizeof *sums);
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t part = 0; part < PARTS; part++) {
        double *own = sums + part * 2 * channels;
        float m[all.period], k[all.period], o[all.period], one[CHUNK], other[CHUNK];
        spread(mean, 0, m, all);
        spread(a, 1, k, all);
        spread(b, 0, o, all);
        for (int64_t job = samples * all.count * part / PARTS;
             job < samples * all.count * (part + 1) / PARTS; job++) {
            Chunk at = chunk_at(all, job % all.count);
            int64_t from = job / all.count * positions + at.first;
            memset(one, 0, sizeof one);
            memset(other, 0, sizeof other);
            const float *mt = m + at.offset, *kt = k + at.offset, *ot = o + at.offset;
            if (keep_u == 0 && steps <= FEW_STEPS) {
                Level l = {gs + from, x + from, mt, kt, ot, 0, 0, 0, g + from, one, other, size, at.n,
                           keep_v, 0};
                for (int level = levels - 1; level >= 0; level--) {
                    l.threshold = thresholds[level];
                    level_backward(l, steps, reset, level < levels - 1 ? FURTHER : SOLE, kind);
                }
            } else
                levels_backward_chunk(gs + from, x + from, mt, kt, ot, g + from, one, other, steps,
                                      size, at.n, keep_u, keep_v, reset, thresholds, levels, kind);
            if (mean) {
                gather(one, own, at, channels);
                gather(other, own + channels, at, channels);
            }
        }
    }
    if (mean)
        total(sums, channels);
}

/* The gradient g of a stream of stream_forward: from the neurons, and from its other readers
 * (shortcut); with the sums over it that its norm needs. At most FEW_STEPS steps. */
void stream_backward(const float *gs, const float *shortcut, const float *stream, const float *x,
                     const float *mean, float *g, double *sums, int64_t steps, int64_t samples,
                     int64_t positions, int64_t channels, float keep_v, int reset, float threshold,
                     int kind)
{
    int64_t size = samples * positions;
    Chunks all = chunks_of(positions, channels, CHUNK);
    memset(sums, 0, PARTS * 2 * channels * sizeof *sums);
#pragma omp parallel for schedule(static) if (parallel : size > FEW)
    for (int64_t part = 0; part < PARTS; part++) {
        double *own = sums + part * 2 * channels;
        float m[all.period], one[CHUNK], other[CHUNK];
        spread(mean, 0, m, all);
        for (int64_t job = samples * all.count * part / PARTS;
             job < samples * all.count * (part + 1) / PARTS; job++) {
            Chunk at = chunk_at(all, job % all.count);
            int64_t from = job / all.count * positions + at.first;
            Level l = {gs + from, stream + from, 0, 0, 0, shortcut + from, x + from, m + at.offset,
                       g + from, one, other, size, at.n, keep_v, threshold};
            memset(one, 0, sizeof one);
            memset(other, 0, sizeof other);
            level_backward(l, steps, reset, STREAM, kind);
            gather(one, own, at, channels);
            gather(other, own + channels, at, channels);
        }
    }
    total(sums, channels);
}
