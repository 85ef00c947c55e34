#include "resample.h"

#include <string.h>

#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

typedef int32_t pixel __attribute__((vector_size(16)));
typedef uint8_t bytes4 __attribute__((vector_size(4)));

enum { half = 1 << (amaf_weight_bits - 1), block = 64 };

size_t amaf_resize_scratch(size_t width, size_t height, size_t out_width, size_t out_height, size_t channels) {
  const size_t wide = channels == 1 ? width : width * 4, down = height * out_width, across = out_height * width;
  // Four bytes more: the last pixel of a row is written as four.
  return wide * sizeof(int32_t) + (down > across ? down : across) * channels + 4;
}

static uint8_t to_byte(int32_t sum) {
  const int32_t value = sum >> amaf_weight_bits;
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

// One pixel of up to four channels is one register: three channels waste a quarter of it and still win twice over scalar code.
// The last pixel of the last row must not be written as four, unless there is room behind it.
CLONES static void along_row(const uint8_t *in, size_t width, size_t channels, uint8_t *out, size_t out_width, amaf_taps taps, int has_room,
                             int32_t *restrict row) {
  if (channels == 1) {
    for (size_t x = 0; x < width; x++) row[x] = in[x];
    for (size_t i = 0; i < out_width; i++) {
      const int32_t *source = row + taps.start[i], *w = taps.weights + i * taps.count;
      int32_t sum = half;
      for (size_t k = 0; k < taps.count; k++) sum += w[k] * source[k];
      out[i] = to_byte(sum);
    }
    return;
  }
  for (size_t x = 0; x < width; x++) {
    // What is read beyond the channels is the next pixel's and is never used; behind the last pixel there may be nothing.
    bytes4 p = {0};
    if (x + 4 <= width) memcpy(&p, in + x * channels, 4);
    else memcpy(&p, in + x * channels, channels);
    const pixel wide = __builtin_convertvector(p, pixel);
    memcpy(row + x * 4, &wide, sizeof wide);
  }
  for (size_t i = 0; i < out_width; i++, out += channels) {
    const int32_t *source = row + (size_t)taps.start[i] * 4, *w = taps.weights + i * taps.count;
    pixel sum = half - (pixel){0};
    for (size_t k = 0; k < taps.count; k++) {
      pixel p;
      memcpy(&p, source + k * 4, sizeof p);
      sum += p * w[k];
    }
    sum >>= amaf_weight_bits;
    sum = __builtin_elementwise_min(__builtin_elementwise_max(sum, (pixel){0}), 255 - (pixel){0});
    const bytes4 rounded = __builtin_convertvector(sum, bytes4);
    // Writes over the next pixel, which comes after it.
    if (has_room || i + 1 < out_width) memcpy(out, &rounded, sizeof rounded);
    else memcpy(out, &rounded, channels);
  }
}

CLONES static void along_column(const uint8_t *in, size_t row_bytes, uint8_t *out, size_t i, amaf_taps taps) {
  const uint8_t *source = in + (size_t)taps.start[i] * row_bytes;
  const int32_t *w = taps.weights + i * taps.count;
  size_t x = 0;
  // The sums of a block stay in registers over all taps. The last block may overlap the one before it.
  while (x < row_bytes && row_bytes >= block) {
    if (x + block > row_bytes) x = row_bytes - block;
    int32_t sum[block];
    for (size_t j = 0; j < block; j++) sum[j] = half;
    for (size_t k = 0; k < taps.count; k++)
      for (size_t j = 0; j < block; j++) sum[j] += w[k] * source[k * row_bytes + x + j];
    for (size_t j = 0; j < block; j++) out[x + j] = to_byte(sum[j]);
    x += block;
  }
  for (; x < row_bytes; x++) {
    int32_t sum = half;
    for (size_t k = 0; k < taps.count; k++) sum += w[k] * source[k * row_bytes + x];
    out[x] = to_byte(sum);
  }
}

void amaf_resize_bytes(const uint8_t *in, size_t width, size_t height, size_t channels, uint8_t *out, size_t out_width, size_t out_height,
                       amaf_taps along_rows, amaf_taps along_columns, int columns_first, uint8_t *scratch) {
  int32_t *row = (int32_t *)scratch;
  uint8_t *between = scratch + (channels == 1 ? width : width * 4) * sizeof(int32_t);
  const size_t row_bytes = out_width * channels;
  if (columns_first) {
    for (size_t i = 0; i < out_height; i++) along_column(in, width * channels, between + i * width * channels, i, along_columns);
    for (size_t i = 0; i < out_height; i++)
      along_row(between + i * width * channels, width, channels, out + i * row_bytes, out_width, along_rows, i + 1 < out_height, row);
    return;
  }
  for (size_t y = 0; y < height; y++)
    along_row(in + y * width * channels, width, channels, between + y * row_bytes, out_width, along_rows, 1, row);
  for (size_t i = 0; i < out_height; i++) along_column(between, row_bytes, out + i * row_bytes, i, along_columns);
}
