#include "resample.h"

#include <string.h>

#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

typedef float pixel __attribute__((vector_size(16)));

size_t amaf_resize_scratch(size_t width, size_t height, size_t out_width, size_t channels) {
  const size_t wide = channels == 1 ? width : width * 4;
  // Four floats more: the last pixel of a row is written as four.
  return wide + height * out_width * channels + 4 + out_width * channels;
}

static float to_byte(float x) { return x <= 0 ? 0 : x >= 255 ? 255 : (float)(int32_t)(x + 0.5f); }

// One pixel of up to four channels is one register: three channels waste a quarter of it and still win twice over scalar code.
CLONES static void along_row(const uint8_t *in, size_t width, size_t channels, float *out, size_t out_width, amaf_taps taps,
                             float *restrict row) {
  if (channels == 1) {
    for (size_t x = 0; x < width; x++) row[x] = in[x];
    for (size_t i = 0; i < out_width; i++) {
      const float *source = row + taps.start[i], *w = taps.weights + i * taps.count;
      float sum = 0;
      for (size_t k = 0; k < taps.count; k++) sum += w[k] * source[k];
      out[i] = to_byte(sum);
    }
    return;
  }
  for (size_t x = 0; x < width; x++)
    for (size_t c = 0; c < 4; c++) row[x * 4 + c] = c < channels ? in[x * channels + c] : 0;
  for (size_t i = 0; i < out_width; i++, out += channels) {
    const float *source = row + (size_t)taps.start[i] * 4, *w = taps.weights + i * taps.count;
    pixel sum = {0};
    for (size_t k = 0; k < taps.count; k++) {
      pixel p;
      memcpy(&p, source + k * 4, sizeof p);
      sum += p * w[k];
    }
    pixel rounded;
    for (size_t c = 0; c < 4; c++) rounded[c] = to_byte(sum[c]);
    // Writes over the next pixel, which comes after it.
    memcpy(out, &rounded, sizeof rounded);
  }
}

CLONES static void along_column(const float *in, size_t row_floats, uint8_t *out, size_t i, amaf_taps taps, float *restrict sum) {
  const float *source = in + (size_t)taps.start[i] * row_floats, *w = taps.weights + i * taps.count;
  memset(sum, 0, row_floats * sizeof(float));
  for (size_t k = 0; k < taps.count; k++)
    for (size_t x = 0; x < row_floats; x++) sum[x] += w[k] * source[k * row_floats + x];
  for (size_t x = 0; x < row_floats; x++) {
    const float value = sum[x] + 0.5f;
    out[x] = (uint8_t)(int32_t)(value < 0 ? 0 : value > 255.5f ? 255.5f : value);
  }
}

void amaf_resize_bytes(const uint8_t *in, size_t width, size_t height, size_t channels, uint8_t *out, size_t out_width, size_t out_height,
                       amaf_taps along_rows, amaf_taps along_columns, float *scratch) {
  float *row = scratch, *between = scratch + (channels == 1 ? width : width * 4);
  const size_t row_floats = out_width * channels;
  float *sum = between + height * row_floats + 4;
  for (size_t y = 0; y < height; y++)
    along_row(in + y * width * channels, width, channels, between + y * row_floats, out_width, along_rows, row);
  for (size_t i = 0; i < out_height; i++) along_column(between, row_floats, out + i * row_floats, i, along_columns, sum);
}
