#ifndef AMAF_RESAMPLE_H
#define AMAF_RESAMPLE_H
#include <stddef.h>
#include <stdint.h>

/// Fractional bits of a weight: a byte times a weight takes 30 of 32 bits, and sums of weights stay below two.
enum { amaf_weight_bits = 22 };

/// Where the values of one output place come from: start[i] ... start[i] + count - 1, weighted by weights[i * count + k] / 2^22.
typedef struct {
  const int32_t *start;
  const int32_t *weights;
  size_t count;
} amaf_taps;

/// Bytes that `amaf_resize_bytes` needs as scratch, aligned to 4.
size_t amaf_resize_scratch(size_t width, size_t height, size_t out_width, size_t out_height, size_t channels);

/// Antialiased resize of interleaved bytes in whole numbers, along rows, then along columns, or the other way round, each rounded to bytes
/// (as Pillow does).
/// in: height x width x channels; out: out_height x out_width x channels; channels 1 to 4.
void amaf_resize_bytes(const uint8_t *in, size_t width, size_t height, size_t channels, uint8_t *out, size_t out_width, size_t out_height,
                       amaf_taps along_rows, amaf_taps along_columns, int columns_first, uint8_t *scratch);
#endif
