/* Calls of every kernel of neuron.c and normed.c on drawn numbers; all that they compute goes to the
 * standard output, the same bytes on every processor. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void real_forward(const float *, float *, float *, int64_t, int64_t, float, float, float);
void integer_forward(const float *, const int32_t *, float *, float *, int64_t, int64_t, int64_t, int64_t,
                     int64_t, int32_t);
void backward(const float *, const float *, const float *, float *, float *, int64_t, int64_t, float, float,
              float, float, int, float, float, int);
void integer_backward(const float *, const float *, const int32_t *, float *, float *, int64_t, int64_t, int64_t,
                      int64_t, int64_t, int32_t, float, float, float, int, float, float, int);
void snap(const float *, float *, uint8_t *, int64_t, int64_t, int64_t, float, float);
void snap_backward(const float *, const uint8_t *, float *, int64_t, int64_t, int64_t, float);
void relay(const float *, float *, int64_t, int);
void norm_statistics(const float *, const float *, double *, float *, float *, float *, int64_t, int64_t,
                     int64_t, int64_t, double, double, int);
void norm_apply(const float *, const float *, const float *, const float *, const float *, float *, int64_t,
                int64_t, int64_t);
void norm_sums(const float *, const float *, const float *, double *, int64_t, int64_t, int64_t, int64_t);
void norm_gradient(const float *, const float *, const float *, const double *, float *, float *, int64_t,
                   int64_t, int64_t);
void levels_forward(const float *, const float *, const float *, const float *, float *, int64_t, int64_t,
                    int64_t, int64_t, float, float, const float *, int);
void levels_backward(const float *, const float *, const float *, const float *, const float *, float *,
                     double *, int64_t, int64_t, int64_t, int64_t, float, float, int, const float *, int, int);
void stream_forward(const float *, const float *, const float *, const float *, const float *, float *, float *,
                    int64_t, int64_t, int64_t, int64_t, float, float);
void stream_backward(const float *, const float *, const float *, const float *, const float *, float *, double *,
                     int64_t, int64_t, int64_t, int64_t, float, int, float, int);

#define PARTS 16 /* of normed.c */
enum { KINDS = 4, LEVELS = 4 };

static uint64_t state = 1;

static float *drawn(int64_t n, float largest)
{
    float *x = malloc(n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(int32_t)(state >> 32) / 2147483648.0f * largest;
    }
    return x;
}

static float *whole(int64_t n, float largest)
{
    float *x = drawn(n, largest);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(int32_t)x[i];
    return x;
}

static void tell(const float *x, int64_t n) { fwrite(x, sizeof *x, (size_t)n, stdout); }

static void neurons(int64_t steps, int64_t samples, int64_t positions)
{
    const float keeps[] = {0, 0.75f, 0.3f};
    const int64_t kept[] = {0, 4096, 2048, 1111};
    int64_t size = samples * positions, n = steps * size;
    float *x = drawn(n, 2), *v = drawn(n, 2), *s = drawn(n, 1), *grad = drawn(n, 1);
    float *biases = whole(positions, 9000), *currents = whole(n, 200000);
    int32_t *bias = malloc(positions * sizeof *bias);
    for (int64_t i = 0; i < positions; i++)
        bias[i] = (int32_t)biases[i];
    for (int i = 0; i < 9; i++) {
        real_forward(x, v, s, steps, size, keeps[i / 3], keeps[i % 3], 0.6f);
        tell(v, n), tell(s, n);
    }
    for (int i = 0; i < 16; i++) {
        integer_forward(currents, bias, v, s, steps, samples, positions, kept[i / 4], kept[i % 4], 3000000);
        tell(v, n), tell(s, n);
        integer_forward(currents, bias, 0, s, steps, samples, positions, kept[i / 4], kept[i % 4], 3000000);
        tell(s, n);
        for (int kind = 1; kind < KINDS; kind++) {
            integer_backward(grad, currents, bias, i & 1 ? v : 0, s, steps, samples, positions, kept[i / 4],
                             kept[i % 4], 3000000, 1e-6f, kept[i / 4] / 4096.0f, kept[i % 4] / 4096.0f, i & 2,
                             2.9f, 0.5f, kind);
            tell(s, n);
            if (i & 1)
                tell(v, n);
        }
    }
    uint8_t *inside = malloc(n);
    snap(currents, s, inside, steps, samples, positions, 700.0f, 254.0f);
    tell(s, n), fwrite(inside, 1, (size_t)n, stdout);
    snap_backward(grad, inside, s, steps, samples, positions, 700.0f);
    tell(s, n);
    for (int i = 0; i < 4 * KINDS; i++) {
        float *slope = drawn(n, 1), *to_v = drawn(n, 1), *to_u = drawn(n, 1);
        float keep_u = i & 2 ? 0.3f : 0;
        backward(grad, x, slope, i & 4 ? to_v : 0, to_u, steps, size, 0.9f, 0.5f, keep_u, 0.75f, i & 1, 0.6f,
                 0.5f, i / 4);
        tell(to_v, n), tell(to_u, n);
    }
    for (int shift = 0; shift < 21; shift += 5) {
        relay(currents, s, n, shift);
        tell(s, n);
    }
}

static void norms(int64_t steps, int64_t samples, int64_t pixels, int64_t channels)
{
    const float thresholds[LEVELS] = {0.5f, 1.0f, 1.5f, 2.0f};
    int64_t positions = pixels * channels, n = steps * samples * positions;
    double sums[PARTS * 2 * channels];
    float *x = drawn(n, 3), *g = drawn(n, 1), *out = drawn(n, 1), *scale = drawn(channels, 2);
    float *b = drawn(channels, 1), *added = drawn(n, 1), *found = drawn(4 * channels, 1);
    float *mean = drawn(channels, 1), *var = drawn(channels, 1);
    for (int outside = 0; outside < 2; outside++) {
        const float *a = found + 3 * channels;
        norm_statistics(x, scale, sums, found, mean, var, steps, samples, positions, channels, 0.1, 1e-5,
                        outside);
        tell(found, 4 * channels), tell(mean, channels), tell(var, channels);
        norm_apply(x, found, a, b, outside ? added : 0, out, steps * samples, positions, channels);
        tell(out, n);
        norm_sums(g, x, found, sums, steps, samples, positions, channels);
        norm_gradient(g, x, found, sums, out, mean, steps * samples, positions, channels);
        tell(out, n), tell(mean, channels);
    }
    float *stream = drawn(n, 1);
    for (int i = 0; i < 2; i++) {
        stream_forward(x, found, scale, b, i ? added : 0, stream, out, steps, samples, positions, channels, 0.75f,
                       0.5f);
        tell(stream, n), tell(out, n);
        for (int kind = 1; kind < KINDS && steps <= 6; kind++) {
            stream_backward(g, added, stream, x, found, out, sums, steps, samples, positions, channels, 0.75f, i,
                            0.5f, kind);
            tell(out, n), fwrite(sums, sizeof *sums, (size_t)(2 * channels), stdout);
        }
    }
    for (int i = 0; i < 4 * LEVELS; i++) {
        const float *m = i & 1 ? found : 0, *a = i & 1 ? scale : 0, *o = i & 1 ? b : 0;
        float keep_u = i & 2 ? 0.3f : 0;
        int levels = 1 + i / 4;
        levels_forward(x, m, a, o, out, steps, samples, positions, channels, keep_u, 0.75f, thresholds, levels);
        tell(out, n);
        for (int kind = 1; kind < KINDS; kind++)
            for (int reset = 0; reset < 2; reset++) {
                levels_backward(g, x, m, a, o, out, sums, steps, samples, positions, channels, keep_u, 0.75f,
                                reset, thresholds, levels, kind);
                tell(out, n);
                if (m)
                    fwrite(sums, sizeof *sums, (size_t)(2 * channels), stdout);
            }
    }
}

int main(void)
{
    const int64_t shapes[][4] = {{2, 1, 1, 1}, {4, 2, 35, 3}, {9, 1, 300, 2}, {3, 5, 4, 16}};
    for (int i = 0; i < 4; i++) {
        neurons(shapes[i][0], shapes[i][1], shapes[i][2] * shapes[i][3]);
        norms(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3]);
    }
    return 0;
}
