/* A whole network on some samples: every thread takes a sample through all nodes at once.
 *
 * What nodes give each other lies in a scratch memory of the thread, small enough for its caches:
 * (steps, height, width, channels), channels padded to whole vectors, as bytes, 16 or 32 bits, with a
 * border of zeros as wide as the widest padding that reads it. Sums are of 32 bits and may wrap on
 * the way: what is read fits, as the graph's intervals prove. Where those rest on declared widths, a
 * sample that leaves one is told of. neuroport/backends/compiled_network.py plans.
 */
#include <omp.h>

#include "kernel.h"
#if defined __x86_64__
#include <immintrin.h>
#elif defined __AARCH64EL__
#include <arm_neon.h>
#endif

#define STATE_SHIFT 6
#define STATE_MAX 8388607
#define SOURCES 32

#if defined __AVX512BW__
#define LANES 16
#define TILE 16 /* vectors of sums that are held in registers */
#elif defined __AVX2__
#define LANES 8
#define TILE 8
#elif defined __AARCH64EL__
#define LANES 4
#define TILE 16
#else
#define LANES 4
#define TILE 8
#endif
#if defined __AVX512BW__ && defined __AVX512VNNI__
#define ADD_BYTES(SUM, X, W) _mm512_dpbusd_epi32((__m512i)(SUM), (__m512i)(X), (__m512i)(W))
#define ADD_SHORTS(SUM, X, W) _mm512_dpwssd_epi32((__m512i)(SUM), (__m512i)(X), (__m512i)(W))
#define LARGEST_BYTE 255
#elif defined __AVX512BW__
#define ADD_SHORTS(SUM, X, W) ((SUM) + (ints)_mm512_madd_epi16((__m512i)(X), (__m512i)(W)))
#define ADD_BYTES(SUM, X, W) \
    ADD_SHORTS(SUM, _mm512_maddubs_epi16((__m512i)(X), (__m512i)(W)), _mm512_set1_epi16(1))
#define ADD_PAIRS(SUM, X, W) \
    _mm512_add_epi16((__m512i)(SUM), _mm512_maddubs_epi16((__m512i)(X), (__m512i)(W)))
#define WIDEN_PAIRS(SUM) _mm512_madd_epi16((__m512i)(SUM), _mm512_set1_epi16(1))
#define LARGEST_BYTE 128
#elif defined __AVX2__
#define ADD_SHORTS(SUM, X, W) ((SUM) + (ints)_mm256_madd_epi16((__m256i)(X), (__m256i)(W)))
#ifdef __AVXVNNI__
#define ADD_BYTES(SUM, X, W) _mm256_dpbusd_avx_epi32((__m256i)(SUM), (__m256i)(X), (__m256i)(W))
#define LARGEST_BYTE 255
#else
#define ADD_BYTES(SUM, X, W) \
    ADD_SHORTS(SUM, _mm256_maddubs_epi16((__m256i)(X), (__m256i)(W)), _mm256_set1_epi16(1))
#define ADD_PAIRS(SUM, X, W) \
    _mm256_add_epi16((__m256i)(SUM), _mm256_maddubs_epi16((__m256i)(X), (__m256i)(W)))
#define WIDEN_PAIRS(SUM) _mm256_madd_epi16((__m256i)(SUM), _mm256_set1_epi16(1))
#define LARGEST_BYTE 128
#endif
#elif defined __AARCH64EL__
/* low and high halves of 32 bits: those of w are the same for all places */
#define ADD_SHORTS(SUM, X, W)                                                                        \
    vmlal_laneq_s16(vmlal_laneq_s16((int32x4_t)(SUM), vmovn_s32((int32x4_t)(W)), (int16x8_t)(X), 0), \
                    vshrn_n_s32((int32x4_t)(W), 16), (int16x8_t)(X), 1)
#if defined __ARM_FEATURE_MATMUL_INT8
#define ADD_BYTES(SUM, X, W) vusdotq_s32((int32x4_t)(SUM), (uint8x16_t)(X), (int8x16_t)(W))
#define LARGEST_BYTE 255
#elif defined __ARM_FEATURE_DOTPROD /* its bytes are both signed */
#define ADD_BYTES(SUM, X, W) vdotq_s32((int32x4_t)(SUM), (int8x16_t)(X), (int8x16_t)(W))
#define LARGEST_BYTE 127
#else /* and those of NEON, of which two products fit into 16 bits */
#define ADD_BYTES(SUM, X, W)                                                                         \
    vpadalq_s16((int32x4_t)(SUM), vpaddq_s16(vmull_s8(vget_low_s8((int8x16_t)(X)),                   \
                                                      vget_low_s8((int8x16_t)(W))),                  \
                                             vmull_high_s8((int8x16_t)(X), (int8x16_t)(W))))
#define LARGEST_BYTE 127
#endif
#else
#define ADD_SHORTS(SUM, X, W) ((SUM) + (X) * (W)) /* neither is used */
#define ADD_BYTES ADD_SHORTS
#define LARGEST_BYTE 0
#endif

typedef int32_t ints __attribute__((vector_size(LANES * 4)));
typedef uint32_t unsigneds __attribute__((vector_size(LANES * 4)));
typedef int16_t shorts __attribute__((vector_size(LANES * 2)));
typedef uint8_t bytes __attribute__((vector_size(LANES)));

/* Keeps a value in a register: compilers would read it again from memory at each use. */
#if defined __AVX2__
#define HOLD(X) __asm__("" : "+v"(X))
#else
#define HOLD(X)
#endif

#define STEP_ROOM 32 /* bytes for each step before the rows of sums */

enum { BYTES, SHORTS, WORDS };
enum { LOAD, SYNAPSE, RELAY, LIF, READOUT };

/* What a node gives, in the scratch: every field as backends/compiled_network.py has it. */
typedef struct {
    int64_t offset; /* bytes */
    int64_t kind, halo, height, width, channels, padded;
} value;

typedef struct {
    int64_t what, out, sources;
    int64_t source[SOURCES], exponent[SOURCES];
    int64_t kernel[2], stride[2], padding[2], dilation[2], words;
    int64_t narrow; /* words of which sums of pairs fit into 16 bits, in any order; 0: not known */
    const int32_t *weight;
    int64_t late; /* steps by which a SYNAPSE answers late, a RELAY sends on late */
    int64_t shift, threshold;
    const int32_t *bias, *limit, *keep_u, *keep_v;
    int64_t everywhere; /* fields hold for a channel, not for a neuron */
    int64_t simple;     /* u is forgotten at once, v halves decay_shift times */
    int64_t decay_shift;
    int64_t first, interval; /* steps first + n interval begin a sample */
    void *record; /* (steps, samples, channels, height, width), or none; frames of a LOAD */
    int64_t samples;
    int64_t past; /* a record longer than the caches: written past them */
    int32_t *state; /* u and v of a LIF or READOUT, where one sample is run part by part, or none */
    int64_t declared;    /* largest current, where it is declared, else 0 */
    const uint8_t *live; /* steps at which a declared width is checked */
    uint8_t *left;       /* samples that left it */
} operation;

int64_t network_lanes(void) { return LANES; }

/* four bytes of each lane times four signed bytes, two numbers of 16 bits times two, or one times one:
 * added to the lane */
static inline ints dot_bytes(ints sum, ints x, ints w) { return (ints)ADD_BYTES(sum, x, w); }

static inline ints dot_shorts(ints sum, ints x, ints w) { return (ints)ADD_SHORTS(sum, x, w); }

static inline ints dot_words(ints sum, ints x, ints w) { return sum + x * w; }

/* The largest byte that dot_bytes takes: some processors add two products in 16 bits. 0 where nothing
 * but words is multiplied. */
int64_t network_largest_byte(void) { return LARGEST_BYTE; }

/* Sums of `deep` vectors of channels at TILE / deep neighbouring places, into registers, then out.
 * A word of x holds four, two or one channels of a place, a vector of w as many of LANES outputs. */
#define CONVOLVE(NAME, DOT)                                                                        \
    static inline __attribute__((always_inline)) void NAME(                                        \
        const operation *op, const int32_t *x, int64_t apart, int64_t row, int64_t place,          \
        const int32_t *w, int32_t *out, int64_t padded, int64_t places, const int deep)            \
    {                                                                                              \
        const int wide = TILE / deep;                                                              \
        ints sums[TILE];                                                                           \
        for (int i = 0; i < TILE; i++)                                                             \
            sums[i] = (ints){0};                                                                   \
        for (int64_t ky = 0; ky < op->kernel[0]; ky++)                                         \
            for (int64_t kx = 0; kx < op->kernel[1]; kx++) {                                    \
                const int32_t *from = x + ky * row + kx * place;                                   \
                for (int64_t k = 0; k < op->words; k++, w += deep * LANES) {                       \
                    ints heard[4];                                                                 \
                    _Pragma("GCC unroll 4") for (int q = 0; q < deep; q++)                         \
                    {                                                                              \
                        memcpy(heard + q, w + q * LANES, sizeof *heard);                           \
                        HOLD(heard[q]);                                                            \
                    }                                                                              \
                    _Pragma("GCC unroll 16") for (int p = 0; p < wide; p++)                        \
                    {                                                                              \
                        ints said = from[p * apart + k] - (ints){0};                               \
                        _Pragma("GCC unroll 4") for (int q = 0; q < deep; q++)                     \
                            sums[p * deep + q] = DOT(sums[p * deep + q], said, heard[q]);          \
                    }                                                                              \
                }                                                                                  \
            }                                                                                      \
        int shift = (int)op->exponent[0];                                                          \
        for (int p = 0; p < wide && p < places; p++)                                               \
            for (int q = 0; q < deep; q++) {                                                       \
                ints sum = (ints)((unsigneds)sums[p * deep + q] << shift);                         \
                memcpy(out + p * padded + q * LANES, &sum, sizeof sum);                            \
            }                                                                                      \
    }
CONVOLVE(convolve_bytes, dot_bytes)
CONVOLVE(convolve_shorts, dot_shorts)
CONVOLVE(convolve_words, dot_words)

#ifdef ADD_PAIRS
/* The same of bytes, two products in each half of a lane: `narrow` words long, then out. */
static inline __attribute__((always_inline)) void convolve_pairs(
    const operation *op, const int32_t *x, int64_t apart, int64_t row, int64_t place,
    const int32_t *w, int32_t *out, int64_t padded, int64_t places, const int deep)
{
    const int wide = TILE / deep;
    const int64_t most = op->narrow / op->words, taps = op->kernel[0] * op->kernel[1];
    const int shift = (int)op->exponent[0];
    for (int64_t tap = 0, ky = 0, kx = 0; tap < taps;) {
        ints sums[TILE];
        for (int i = 0; i < TILE; i++)
            sums[i] = (ints){0};
        const int first = tap == 0;
        for (const int64_t end = least(tap + most, taps); tap < end; tap++) {
            const int32_t *from = x + ky * row + kx * place;
            for (int64_t k = 0; k < op->words; k++, w += deep * LANES) {
                ints heard[4];
                _Pragma("GCC unroll 4") for (int q = 0; q < deep; q++)
                {
                    memcpy(heard + q, w + q * LANES, sizeof *heard);
                    HOLD(heard[q]);
                }
                _Pragma("GCC unroll 16") for (int p = 0; p < wide; p++)
                {
                    ints said = from[p * apart + k] - (ints){0};
                    _Pragma("GCC unroll 4") for (int q = 0; q < deep; q++)
                        sums[p * deep + q] = (ints)ADD_PAIRS(sums[p * deep + q], said, heard[q]);
                }
            }
            if (++kx == op->kernel[1])
                kx = 0, ky++;
        }
        for (int p = 0; p < wide && p < places; p++)
            for (int q = 0; q < deep; q++) {
                int32_t *to = out + p * padded + q * LANES;
                ints sum = (ints)((unsigneds)WIDEN_PAIRS(sums[p * deep + q]) << shift), before = {0};
                if (!first)
                    memcpy(&before, to, sizeof before);
                sum = (ints)((unsigneds)sum + (unsigneds)before);
                memcpy(to, &sum, sizeof sum);
            }
    }
}
#endif

static const int64_t SIZE[] = {1, 2, 4};

/* the first channel of a row, behind the border, in bytes from the start of the scratch */
static inline int64_t row_of(const value *v, int64_t t, int64_t y)
{
    int64_t rows = t * (v->height + 2 * v->halo) + y + v->halo;
    return v->offset + (rows * (v->width + 2 * v->halo) + v->halo) * v->padded * SIZE[v->kind];
}

/* `still`: what it hears is equal in all steps; then it is computed once. */
static void synapse(const operation *op, const value *values, char *scratch, int64_t steps, int still)
{
    const value *in = values + op->source[0], *out = values + op->out;
    int64_t place = in->padded * SIZE[in->kind] / 4, row = (in->width + 2 * in->halo) * place;
    int64_t image = (in->height + 2 * in->halo) * row, height = out->height, width = out->width;
    int64_t apart = op->stride[1] * place, times;
    const int32_t *corner = (const int32_t *)(scratch + row_of(in, 0, -op->padding[0])) - op->padding[1] * place;
    int32_t *to = (int32_t *)(scratch + out->offset);
    int64_t late = least(op->late, steps), size = out->height * out->width * out->padded;
    memset(to, 0, (size_t)(late * size) * sizeof *to);
    to += late * size;
    times = still ? least(1, steps - late) : steps - late;
    if (height * width == 1) /* steps lie beside each other as places do elsewhere */
        width = times, apart = image, times = 1;
    int64_t vectors = out->padded / LANES, taps = op->kernel[0] * op->kernel[1] * op->words;
    for (int64_t t = 0; t < times; t++)
        for (int64_t y = 0; y < height; y++)
            for (int64_t v = 0, deep; v < vectors; v += deep) {
                deep = vectors - v >= 4 ? 4 : vectors - v >= 2 ? 2 : 1;
                const int32_t *w = op->weight + v * LANES * taps;
                for (int64_t x = 0; x < width; x += TILE / deep) {
                    const int32_t *from = corner + t * image + y * op->stride[0] * row + x * apart;
                    int32_t *into = to + ((t * height + y) * width + x) * out->padded + v * LANES;
#define CASE(KIND, BY, DEEP)                                                                        \
    case 8 * (KIND) + (DEEP):                                                                       \
        BY(op, from, apart, op->dilation[0] * row, op->dilation[1] * place, w, into, out->padded,     \
           width - x, DEEP);                                                                        \
        break;
#define CASES(KIND, BY) CASE(KIND, BY, 1) CASE(KIND, BY, 2) CASE(KIND, BY, 4)
#ifdef ADD_PAIRS
                    if (op->narrow >= op->words)
                        switch (deep) {
                            CASES(0, convolve_pairs)
                        }
                    else
#endif
                    switch (8 * in->kind + deep) {
                        CASES(BYTES, convolve_bytes)
                        CASES(SHORTS, convolve_shorts)
                        CASES(WORDS, convolve_words)
                    }
                }
            }
    for (int64_t t = 1; still && t < steps - late; t++)
        memcpy(to + t * size, to, (size_t)size * sizeof *to);
}

/* What arrives at a row of a population: where it lies, of all sources together. */
static const int32_t *arriving(const operation *op, const value *values, const char *scratch,
                               int64_t t, int64_t y, int32_t *sum)
{
    for (int64_t s = 0; s < op->sources; s++) {
        const value *in = values + op->source[s];
        int64_t n = in->width * in->padded;
        int shift = (int)op->exponent[s];
        const char *row = scratch + row_of(in, t, y);
        if (op->sources == 1 && in->kind == WORDS && shift == 0)
            return (const int32_t *)row;
#define ADD(TYPE)                                                                  \
    {                                                                              \
        const TYPE *x = (const TYPE *)row;                                         \
        if (s == 0)                                                                \
            for (int64_t i = 0; i < n; i++)                                        \
                sum[i] = (int32_t)((uint32_t)x[i] << shift);                       \
        else                                                                       \
            for (int64_t i = 0; i < n; i++)                                        \
                sum[i] = (int32_t)((uint32_t)sum[i] + ((uint32_t)x[i] << shift));  \
    }
        if (in->kind == BYTES)
            ADD(uint8_t)
        else if (in->kind == SHORTS)
            ADD(int16_t)
        else
            ADD(int32_t)
    }
    return sum;
}

/* trunc(x keep / 4096), x within 24 bits */
static inline ints decayed(ints x, ints keep)
{
    ints sign = x >> 31, size = (x ^ sign) - sign;
    ints kept = (size >> 12) * keep + ((size & 4095) * keep >> 12);
    return (kept ^ sign) - sign;
}

/* trunc(x / 2^shift) */
static inline ints halved(ints x, int shift) { return (x + ((x >> 31) & ((1 << shift) - 1))) >> shift; }

/* wrap24(u + (x << STATE_SHIFT)) of integers.py: (-2^23, 2^23] */
static inline ints wrapped(ints u, ints x)
{
    unsigneds sum = (unsigneds)u + ((unsigneds)x << STATE_SHIFT);
    return 8388608 - (ints)((8388608u - sum) & 16777215u);
}

static inline ints saturated(ints v)
{
#if defined __AVX512BW__
    __m512i most = _mm512_set1_epi32(STATE_MAX), least = _mm512_set1_epi32(-STATE_MAX);
    return (ints)_mm512_max_epi32(_mm512_min_epi32((__m512i)v, most), least);
#elif defined __AVX2__
    __m256i most = _mm256_set1_epi32(STATE_MAX), least = _mm256_set1_epi32(-STATE_MAX);
    return (ints)_mm256_max_epi32(_mm256_min_epi32((__m256i)v, most), least);
#else
    ints above = v > STATE_MAX, below = v < -STATE_MAX;
    return (v & ~(above | below)) | (above & STATE_MAX) | (below & -STATE_MAX);
#endif
}

static inline ints at(const int32_t *x)
{
    ints found;
    memcpy(&found, x, sizeof found);
    return found;
}

/* The lowest bytes. */
static inline bytes lowest(ints x)
{
#if defined __AVX2__ && !defined __AVX512BW__ /* compilers would take the bytes out one by one */
    __m256i low = _mm256_and_si256((__m256i)x, _mm256_set1_epi32(255));
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    __m128i found = _mm_packus_epi16(words, words);
    bytes narrow;
    memcpy(&narrow, &found, sizeof narrow);
    return narrow;
#else
    return __builtin_convertvector(x, bytes);
#endif
}

/* Whether a sample begins at a step. */
static inline int begins(const operation *op, int64_t t)
{
    return (t - op->first) % op->interval == 0;
}

static inline int any(ints x)
{
    int found = 0;
    for (int i = 0; i < LANES; i++)
        found |= x[i] != 0;
    return found;
}

/* Where a current is beyond what was declared. */
static inline ints beyond(ints x, int32_t declared) { return (x > declared) | (x < -declared); }

/* A row of neurons through all steps: a LIF sends spikes, a READOUT its voltage. Returns whether one
 * left its width, if `checks`: leak_leaves of integers.py. */
static inline __attribute__((always_inline)) int step_row(
    const operation *op, const value *out, const int32_t *const *x, char *const *to,
    const char *begin, int64_t y, int64_t steps, const int simple, const int fires, const int checks)
{
    const int64_t row = out->width * out->padded, padded = out->padded, everywhere = op->everywhere;
    const int decay_shift = (int)op->decay_shift;
    ints left = {0};
    for (int64_t i = 0, channel = 0; i < row; i += LANES, channel = channel + LANES < padded ? channel + LANES : 0) {
        int64_t f = everywhere ? channel : y * row + i;
        ints bias = at(op->bias + f), u = {0}, v = {0}, limit = {0}, keep_u = {0}, keep_v = {0};
        if (fires)
            limit = at(op->limit + f);
        if (!simple)
            keep_u = at(op->keep_u + f), keep_v = at(op->keep_v + f);
        int32_t *kept = op->state ? op->state + 2 * (y * row + i) : 0;
        if (kept)
            u = at(kept), v = at(kept + LANES);
        for (int64_t t = 0; t < steps; t++) {
            if (begin[t])
                u = v = (ints){0};
            ints given = at(x[t] + i), rest = simple ? (ints){0} : decayed(u, keep_u);
            u = wrapped(rest, given);
            v = simple ? halved(v, decay_shift) : decayed(v, keep_v);
            v = v + u + bias;
            if (checks && op->live[t]) /* a current within fits 24 bits, shifted too */
                left |= beyond(given, (int32_t)op->declared) | (u != rest + (ints)((unsigneds)given << STATE_SHIFT)) |
                        beyond(v, STATE_MAX);
            v = saturated(v);
            if (fires) {
                ints fired = v > limit;
                bytes spikes = lowest(fired & 1);
                memcpy(to[t] + i, &spikes, sizeof spikes);
                v &= ~fired;
            } else
                memcpy(to[t] + 4 * i, &v, sizeof v);
        }
        if (kept) {
            memcpy(kept, &u, sizeof u);
            memcpy(kept + LANES, &v, sizeof v);
        }
    }
    return checks && any(left);
}

/* Returns whether a current left its width, if `checks`. */
static inline int relay_row(const operation *op, const value *out, const int32_t *x, char *to, int checks)
{
    int shift = (int)op->shift, half = shift ? 1 << (shift - 1) : 0;
    ints left = {0};
    for (int64_t i = 0; i < out->width * out->padded; i += LANES) {
        ints message = (at(x + i) + half) >> shift, sign = message >> 31;
        if (checks)
            left |= beyond(at(x + i), (int32_t)op->declared);
        message &= ((message ^ sign) - sign) > (int32_t)op->threshold;
        bytes small = lowest(message);
        shorts middle = __builtin_convertvector(message, shorts);
        if (out->kind == BYTES)
            memcpy(to + i, &small, sizeof small);
        else if (out->kind == SHORTS)
            memcpy(to + 2 * i, &middle, sizeof middle);
        else
            memcpy(to + 4 * i, &message, sizeof message);
    }
    return any(left);
}

/* What arrived `late` steps before, unless that was before the sample. */
static int reached(const operation *op, int64_t t)
{
    int64_t into = (t - op->first) % op->interval;
    return t >= op->late && (into < 0 ? into + op->interval : into) >= op->late;
}

/* `room` holds pointers and a row of sums of every step. */
static void population(const operation *op, const value *values, char *scratch, char *room,
                       int64_t n, int64_t steps)
{
    const int checks = op->declared != 0;
    int left = 0;
    const value *out = values + op->out;
    int64_t row = out->width * out->padded;
    const int32_t **x = (const int32_t **)room;
    char **to = (char **)room + steps, *begin = room + 2 * steps * (int64_t)sizeof *to;
    int32_t *sums = (int32_t *)(room + steps * STEP_ROOM);
    for (int64_t t = 0; t < steps; t++)
        begin[t] = (char)begins(op, t);
    for (int64_t y = 0; y < out->height; y++) {
        for (int64_t t = 0; t < steps; t++) {
            to[t] = scratch + row_of(out, t, y);
            if (op->what != RELAY)
                x[t] = arriving(op, values, scratch, t, y, sums + t * row);
            else if (reached(op, t))
                left |= relay_row(op, out, arriving(op, values, scratch, t - op->late, y, sums),
                                  to[t], checks && op->live[t]);
            else
                memset(to[t], 0, (size_t)(row * SIZE[out->kind]));
        }
#define ROW(SIMPLE, FIRES, CHECKS) step_row(op, out, x, to, begin, y, steps, SIMPLE, FIRES, CHECKS)
        if (op->what == READOUT && op->simple)
            left |= checks ? ROW(1, 0, 1) : ROW(1, 0, 0);
        else if (op->what == READOUT)
            left |= checks ? ROW(0, 0, 1) : ROW(0, 0, 0);
        else if (op->what == LIF && op->simple)
            left |= checks ? ROW(1, 1, 1) : ROW(1, 1, 0);
        else if (op->what == LIF)
            left |= checks ? ROW(0, 1, 1) : ROW(0, 1, 0);
    }
    if (left)
        op->left[n] = 1;
}

/* zeros around what a node gives */
static void surround(const value *v, char *scratch, int64_t steps)
{
    int64_t side = v->halo * v->padded * SIZE[v->kind];
    int64_t row = v->width * v->padded * SIZE[v->kind] + 2 * side;
    if (side)
        for (int64_t t = 0; t < steps; t++) {
            char *first = scratch + row_of(v, t, 0) - side, *last = first + v->height * row;
            memset(first - v->halo * row, 0, (size_t)(v->halo * row));
            for (char *y = first; y < last; y += row) {
                memset(y, 0, (size_t)side);
                memset(y + row - side, 0, (size_t)side);
            }
            memset(last, 0, (size_t)(v->halo * row));
        }
}

/* frames (steps, samples, channels, height, width) of 32 bits; returns whether all steps are equal */
static int load(const operation *op, const value *values, char *scratch, int64_t n, int64_t steps)
{
    const value *v = values + op->out;
    int64_t places = v->height * v->width, size = v->channels * places, still = 1;
    int64_t image = row_of(v, 1, 0) - row_of(v, 0, 0);
    for (int64_t t = 0; t < steps; t++) {
        const int32_t *from = (const int32_t *)op->record + (t * op->samples + n) * size;
        char *first = scratch + row_of(v, t, 0);
        if (t > 0 && memcmp(from, from - op->samples * size, (size_t)size * sizeof *from) == 0) {
            memcpy(first, first - image, (size_t)(row_of(v, t, v->height - 1) - row_of(v, t, 0) +
                                                  v->width * v->padded * SIZE[v->kind]));
            continue;
        }
        still &= t == 0;
        for (int64_t y = 0; y < v->height; y++, from += v->width) {
            char *to = scratch + row_of(v, t, y);
#define FILL(TYPE)                                                                  \
    {                                                                               \
        memset(to, 0, (size_t)(v->width * v->padded) * sizeof(TYPE));               \
        for (int64_t c = 0; c < v->channels; c++)                                   \
            for (int64_t x = 0; x < v->width; x++)                                  \
                ((TYPE *)to)[x * v->padded + c] = (TYPE)from[c * places + x];       \
    }
            if (v->kind == BYTES)
                FILL(uint8_t)
            else if (v->kind == SHORTS)
                FILL(int16_t)
            else
                FILL(int32_t)
        }
    }
    return (int)still;
}

/* Rows of places and channels turned in registers. A square has as many places as 16 bytes hold
 * channels; a vector has QUARTERS lanes of 16 bytes, each of another square. Interleaving the halves of
 * n rows log2(n) times makes them columns. */
#if defined __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLES
#endif
#endif

#ifdef SHUFFLES
#if defined __AVX512BW__
#define QUARTERS 4
#elif defined __AVX2__
#define QUARTERS 2
#else
#define QUARTERS 1
#endif
#define PAIRS2(A, N) A, (A) + (N), (A) + 1, (A) + 1 + (N)
#define PAIRS4(A, N) PAIRS2(A, N), PAIRS2((A) + 2, N)
#define PAIRS8(A, N) PAIRS4(A, N), PAIRS4((A) + 4, N)
#define LANED1(PAIRS, A, S, N) PAIRS(A, N)
#define LANED2(PAIRS, A, S, N) PAIRS(A, N), PAIRS((A) + (S), N)
#define LANED4(PAIRS, A, S, N) LANED2(PAIRS, A, S, N), LANED2(PAIRS, (A) + 2 * (S), S, N)

typedef int64_t quarter __attribute__((vector_size(16)));
typedef int64_t half __attribute__((vector_size(32)));

static inline quarter gathered(const char *from)
{
    quarter found;
    memcpy(&found, from, sizeof found);
    return found;
}

/* 16 bytes from each of Q addresses, `apart` pointers from each other */
#define GATHER1(FROM, APART, C) gathered((FROM)[0] + (C))
#define GATHER2(FROM, APART, C) \
    __builtin_shufflevector(gathered((FROM)[0] + (C)), gathered((FROM)[APART] + (C)), 0, 1, 2, 3)
#define GATHER4(FROM, APART, C)                                                                        \
    __builtin_shufflevector(GATHER2(FROM, APART, C), GATHER2((FROM) + 2 * (APART), APART, C), 0, 1, 2, \
                            3, 4, 5, 6, 7)

/* A row into the trace. Whole lines of a long trace go past the caches, which would only read them
 * first: nobody reads them before they have left. */
static inline __attribute__((always_inline)) void write_row(char *to, const char *row, size_t size,
                                                            int64_t past)
{
#if defined __AVX2__
    if (size % 64 == 0 && past && ((uintptr_t)to & 63) == 0) {
        for (size_t i = 0; i < size; i += 32) {
            __m256i part;
            memcpy(&part, row + i, sizeof part);
            _mm256_stream_si256((__m256i *)(to + i), part);
        }
        return;
    }
#endif
    memcpy(to, row, size);
}

/* Squares of SIDE rows of TYPE, turned, and written where they belong in the trace as WIDE: places
 * [0, blocks * Q * SIDE) behind `to`, `there` channels. Blocks make rows of whole lines where they can. */
#define BLOCKS(TYPE, SIDE, Q, WIDE) \
    ((Q) > 1 && (Q) * (SIDE) * sizeof(WIDE) < 64 ? 64 / ((Q) * (SIDE) * sizeof(WIDE)) : 1)
#define TURN(NAME, TYPE, SIDE, PAIRS, Q, WIDE)                                                       \
    enum { NAME##_places = BLOCKS(TYPE, SIDE, Q, WIDE) * (Q) * (SIDE) };                             \
    static inline __attribute__((always_inline)) void NAME(                                          \
        const char *const *from, int64_t there, WIDE *to, int64_t places, int64_t past)              \
    {                                                                                                \
        enum { blocks = BLOCKS(TYPE, SIDE, Q, WIDE) };                                               \
        typedef TYPE vector __attribute__((vector_size(16 * (Q))));                                  \
        typedef WIDE widened __attribute__((vector_size((Q) * (SIDE) * sizeof(WIDE))));              \
        vector a[blocks][SIDE], b[SIDE];                                                             \
        for (int k = 0; k < blocks; k++, from += (Q) * (SIDE)) {                                     \
            for (int i = 0; i < (SIDE); i++)                                                         \
                a[k][i] = (vector)GATHER##Q(from + i, SIDE, 0);                                      \
            for (int round = 1; round < (SIDE); round *= 2) {                                        \
                for (int i = 0; i < (SIDE) / 2; i++) {                                               \
                    vector low = a[k][i], high = a[k][i + (SIDE) / 2];                               \
                    b[2 * i] = __builtin_shufflevector(low, high,                                    \
                                                       LANED##Q(PAIRS, 0, SIDE, (Q) * (SIDE)));      \
                    b[2 * i + 1] = __builtin_shufflevector(                                          \
                        low, high, LANED##Q(PAIRS, (SIDE) / 2, SIDE, (Q) * (SIDE)));                 \
                }                                                                                    \
                memcpy(a[k], b, sizeof b);                                                           \
            }                                                                                        \
        }                                                                                            \
        for (int64_t i = 0; i < there; i++) {                                                        \
            widened row[blocks];                                                                     \
            for (int k = 0; k < blocks; k++)                                                         \
                row[k] = __builtin_convertvector(a[k][i], widened);                                  \
            write_row((char *)(to + i * places), (const char *)row, sizeof row, past);               \
        }                                                                                            \
    }
#define TURNS(Q)                                             \
    TURN(turn_spikes_##Q, uint8_t, 16, PAIRS8, Q, uint8_t)   \
    TURN(turn_bytes_##Q, uint8_t, 16, PAIRS8, Q, int32_t)    \
    TURN(turn_shorts_##Q, int16_t, 8, PAIRS4, Q, int32_t)    \
    TURN(turn_words_##Q, int32_t, 4, PAIRS2, Q, int32_t)
TURNS(1)
#if QUARTERS == 2
TURNS(2)
#define WIDEST(NAME) NAME##_2
#define PLACES(NAME) NAME##_2_places
#elif QUARTERS == 4
TURNS(4)
#define WIDEST(NAME) NAME##_4
#define PLACES(NAME) NAME##_4_places
#else
#define WIDEST(NAME) NAME##_1
#define PLACES(NAME) NAME##_1_places
#endif
#endif

/* The address of a place of an image, and its column. */
typedef struct {
    const char *from;
    int64_t x;
} walk;

static inline walk walk_to(const value *v, const char *scratch, int64_t t, int64_t place)
{
    int64_t y = place / v->width, x = place % v->width;
    return (walk){scratch + row_of(v, t, y) + x * v->padded * SIZE[v->kind], x};
}

static inline void go_on(walk *at, const value *v)
{
    at->from += v->padded * SIZE[v->kind];
    if (++at->x == v->width) {
        at->x = 0;
        at->from += 2 * v->halo * v->padded * SIZE[v->kind];
    }
}

/* What a population sent, into the trace: channels before places, spikes as bytes, others 32 bits. */
static void record(const operation *op, const value *values, const char *scratch, int64_t n,
                   int64_t steps)
{
    const value *v = values + op->out;
    const int64_t places = v->height * v->width, channels = v->channels;
    const int spikes = op->what == LIF;
    for (int64_t t = 0; t < steps; t++) {
        const int64_t start = (t * op->samples + n) * channels * places;
        uint8_t *sent = (uint8_t *)op->record + start;
        int32_t *told = (int32_t *)op->record + start;
        walk at = walk_to(v, scratch, t, 0);
        int64_t p = 0;
#ifdef SHUFFLES
        const int64_t side = 16 / SIZE[v->kind];
        while (p < places && places >= side) {
            const char *from[64];
            if (places - p < side) /* the last square begins before the last end */
                p = places - side, at = walk_to(v, scratch, t, p);
#define SQUARES(NAME, TO)                                                                  \
    {                                                                                      \
        const int most = places - p >= (int)PLACES(NAME);                                  \
        const int64_t now = most ? (int64_t)PLACES(NAME) : side;                           \
        for (int64_t i = 0; i < now; i++, go_on(&at, v))                                   \
            from[i] = at.from;                                                             \
        for (int64_t c = 0; c < channels; c += side) {                                     \
            if (most)                                                                      \
                WIDEST(NAME)(from, least(side, channels - c), TO + c * places + p, places, \
                             op->past);                                                    \
            else                                                                           \
                NAME##_1(from, least(side, channels - c), TO + c * places + p, places, 0); \
            for (int64_t i = 0; i < now; i++)                                              \
                from[i] += 16;                                                             \
        }                                                                                  \
        p += now;                                                                          \
    }
            if (spikes)
                SQUARES(turn_spikes, sent)
            else if (v->kind == BYTES)
                SQUARES(turn_bytes, told)
            else if (v->kind == SHORTS)
                SQUARES(turn_shorts, told)
            else
                SQUARES(turn_words, told)
        }
#endif
        for (; p < places; p++, go_on(&at, v))
            for (int64_t c = 0; c < channels; c++)
                if (spikes)
                    sent[c * places + p] = ((const uint8_t *)at.from)[c];
                else
                    told[c * places + p] = v->kind == BYTES    ? ((const uint8_t *)at.from)[c]
                                           : v->kind == SHORTS ? ((const int16_t *)at.from)[c]
                                                               : ((const int32_t *)at.from)[c];
    }
#if defined __AVX2__
    _mm_sfence();
#endif
}

/* `scratch` holds `size` bytes for each thread; values lie behind the room of population(). */
void network(const operation *ops, int64_t count, const value *values, char *scratch, int64_t size,
             int64_t steps, int64_t samples, int64_t threads)
{
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t n = 0; n < samples; n++) {
        char *own = scratch + omp_get_thread_num() * size;
        int64_t still = -1; /* the last value whose steps are all equal */
        for (const operation *op = ops; op < ops + count; op++) {
            if (op->what == SYNAPSE) {
                synapse(op, values, own, steps, op->source[0] == still);
                continue;
            }
            if (op->what == LOAD)
                still = load(op, values, own, n, steps) ? op->out : -1;
            else
                population(op, values, own, own, n, steps);
            surround(values + op->out, own, steps);
            if (op->what != LOAD && op->record)
                record(op, values, own, n, steps);
        }
    }
}
