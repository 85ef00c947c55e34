#ifndef AMAF_RESAMPLE_H
#define AMAF_RESAMPLE_H
#include <stddef.h>
#include <stdint.h>

/// Where the values of one output place come from: start[i] ... start[i] + count - 1, weighted by weights[i * count + k].
typedef struct {
  const int32_t *start;
  const float *weights;
  size_t count;
} amaf_taps;

/// Floats that `amaf_resize_bytes` needs as scratch.
size_t amaf_resize_scratch(size_t width, size_t height, size_t out_width, size_t channels);

/// Antialiased resize of interleaved bytes, along rows, then along columns, each rounded to bytes (as Pillow does).
/// in: height x width x channels; out: out_height x out_width x channels; channels 1 to 4.
void amaf_resize_bytes(const uint8_t *in, size_t width, size_t height, size_t channels, uint8_t *out, size_t out_width, size_t out_height,
                       amaf_taps along_rows, amaf_taps along_columns, float *scratch);
#endif
