#include "dense.h"
#include <string.h>

// C = f(alpha op(A) op(B) + C + bias + residual) for packed B, after Goto and van de Geijn (2008): a panel of B stays in the
// first-level cache, a block of A's rows in the second, a tile of C in registers. A's rows may be the patches of an image
// batch, gathered tile by tile, so that a convolution never writes its patch matrix. Used where the processor has AVX2 and
// FMA; elsewhere the caller falls back on BLAS.
#if defined(__x86_64__)

typedef float vector8 __attribute__((vector_size(32)));
typedef float vector16 __attribute__((vector_size(64)));
typedef float vector8_unaligned __attribute__((vector_size(32), aligned(4)));
typedef float vector16_unaligned __attribute__((vector_size(64), aligned(4)));
typedef float vector4_unaligned __attribute__((vector_size(16), aligned(4)));

// The longest run of k between two visits of C, and the rows of A held at a time: 12 KB of a tile, 130 KB of a block.
enum { DEPTH = 256, ROWS = 120 };

#define V3 __attribute__((target("arch=x86-64-v3")))
// Without the width, the compiler would split 512-bit vectors, as its tuning for x86-64-v4 prefers, and run out of registers.
#define V4 __attribute__((target("arch=x86-64-v4"), min_vector_width(512)))

V3 static inline void transpose8(const float *x, size_t x_stride, float *y, size_t y_stride) {
  vector8 r[8], s[8];
  for (int i = 0; i < 8; i++) r[i] = *(const vector8_unaligned *)(x + (size_t)i * x_stride);
  for (int i = 0; i < 8; i += 2) {
    s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = __builtin_shufflevector(s[i], s[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    r[i + 1] = __builtin_shufflevector(s[i], s[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    r[i + 2] = __builtin_shufflevector(s[i + 1], s[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    r[i + 3] = __builtin_shufflevector(s[i + 1], s[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int i = 0; i < 4; i++) {
    *(vector8_unaligned *)(y + (size_t)i * y_stride) = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    *(vector8_unaligned *)(y + (size_t)(i + 4) * y_stride) = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// memcpy and memset for runs that are often only a few numbers long.
static inline void copy(float *out, const float *in, size_t n) {
  for (; n >= 8; n -= 8, out += 8, in += 8) {
    vector4_unaligned a = *(const vector4_unaligned *)in, b = *(const vector4_unaligned *)(in + 4);
    *(vector4_unaligned *)out = a;
    *(vector4_unaligned *)(out + 4) = b;
  }
  if (n >= 4) {
    *(vector4_unaligned *)out = *(const vector4_unaligned *)in;
    n -= 4, out += 4, in += 4;
  }
  for (size_t i = 0; i < n; i++) out[i] = in[i];
}
static inline void clear(float *out, size_t n) { for (size_t i = 0; i < n; i++) out[i] = 0; }

// Numbers start ..< start + count of one patch: the window's row ky is one run of memory, cut off at the image's borders.
static void gather_patch(const amaf_window *w, const float *image, size_t oy, size_t ox, size_t start, size_t count, float *out) {
  size_t run = w->window_width * w->channels, at = start % run;
  ptrdiff_t y = (ptrdiff_t)(oy * w->stride + start / run) - (ptrdiff_t)w->padding;
  ptrdiff_t left = ((ptrdiff_t)(ox * w->stride) - (ptrdiff_t)w->padding) * (ptrdiff_t)w->channels, width = (ptrdiff_t)(w->width * w->channels);
  for (; count; y++, at = 0) {
    size_t length = run - at < count ? run - at : count;
    ptrdiff_t from = left + (ptrdiff_t)at, to = from + (ptrdiff_t)length;
    if (y < 0 || y >= (ptrdiff_t)w->height || to <= 0 || from >= width) clear(out, length);
    else {
      size_t before = from < 0 ? (size_t)-from : 0, after = to > width ? (size_t)(to - width) : 0;
      clear(out, before);
      copy(out + before, image + y * width + from + (ptrdiff_t)before, length - before - after);
      clear(out + length - after, after);
    }
    out += length;
    count -= length;
  }
}

// Rows row ..< row + height of op(A), numbers start ..< start + count of each: row after row, `step` apart, or, for a
// transposed A, as [p][tile]. Rows up to the next multiple of four are zeros; what they give is not stored.
static void gather_tile(const amaf_product *q, size_t row, size_t height, size_t tile, size_t start, size_t count, size_t step, float *out) {
  if (q->a_transposed) {
    const float *source = q->a + start * q->a_stride + row;
    if (height == tile) for (size_t p = 0; p < count; p++, out += tile, source += q->a_stride) copy(out, source, tile);
    else
      for (size_t p = 0; p < count; p++, out += tile, source += q->a_stride)
        for (size_t j = 0; j < tile; j++) out[j] = j < height ? source[j] : 0;
    return;
  }
  size_t padded = (height + 3) / 4 * 4;
  if (q->window) {
    const amaf_window *w = q->window;
    size_t plane = w->out_height * w->out_width, size = w->height * w->width * w->channels;
    size_t image = row / plane, oy = row % plane / w->out_width, ox = row % w->out_width;
    for (size_t i = 0; i < height; i++) {
      gather_patch(w, q->a + image * size, oy, ox, start, count, out + i * step);
      if (++ox == w->out_width) {
        ox = 0;
        if (++oy == w->out_height) { oy = 0; image++; }
      }
    }
  } else
    for (size_t i = 0; i < height; i++) memcpy(out + i * step, q->a + (row + i) * q->a_stride + start, count * sizeof(float));
  for (size_t i = height; i < padded; i++) clear(out + i * step, count);
}

// Patches first_row ..< first_row + k as op(B) (k, patch), packed by `panel` columns; `row` holds one patch.
static void pack_patches(const amaf_window *w, const float *x, size_t first_row, size_t k, size_t panel, float *packed, float *row) {
  size_t plane = w->out_height * w->out_width, size = w->height * w->width * w->channels;
  size_t patch = w->window_height * w->window_width * w->channels, panels = (patch + panel - 1) / panel;
  clear(row + patch, panels * panel - patch);
  for (size_t p = 0; p < k; p++) {
    size_t at = first_row + p;
    gather_patch(w, x + at / plane * size, at % plane / w->out_width, at % w->out_width, 0, patch, row);
    for (size_t j = 0; j < panels; j++) copy(packed + (j * k + p) * panel, row + j * panel, panel);
  }
}

#define LEVEL V3
#define V vector8
#define VU vector8_unaligned
#define W 8
// Eight rows of two 256-bit vectors need all sixteen registers for C alone: four rows leave room for A and B.
#define TILE 4
#define NAME(x) x##_8
#include "gemm_micro.h"
#undef LEVEL
#undef V
#undef VU
#undef W
#undef TILE
#undef NAME

#define LEVEL V4
#define V vector16
#define VU vector16_unaligned
#define W 16
#define TILE 12
#define NAME(x) x##_16
#include "gemm_micro.h"

int amaf_gemm_level(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("x86-64-v4") ? 2 : __builtin_cpu_supports("x86-64-v3") ? 1 : 0;
}

size_t amaf_gemm_panel(int level) { return level == 2 ? 32 : level == 1 ? 16 : 0; }
size_t amaf_gemm_scratch(void) { return (size_t)(ROWS + 12) * (DEPTH + 32); }

void amaf_gemm_pack(int level, const float *b, size_t b_stride, int transposed, size_t k, size_t n, float *packed, size_t first, size_t last) {
  (level == 2 ? pack_16 : pack_8)(b, b_stride, transposed, k, n, packed + first * k * amaf_gemm_panel(level), first, last);
}

void amaf_gemm_pack_patches(int level, const amaf_window *w, const float *x, size_t first_row, size_t k, float *packed, float *row) {
  pack_patches(w, x, first_row, k, amaf_gemm_panel(level), packed, row);
}

void amaf_gemm_multiply(int level, const amaf_product *q, size_t first_row, size_t last_row, size_t first_panel, size_t last_panel,
                        float *scratch) {
  (level == 2 ? multiply_16 : multiply_8)(q, first_row, last_row, first_panel, last_panel, scratch);
}

size_t amaf_gemm_gathered(size_t rows, size_t k) { return (rows + 12) * (k + 32 * ((k + DEPTH - 1) / DEPTH)); }

void amaf_gemm_multiply_few_rows(int level, const amaf_product *q, const float *b, size_t b_stride, int b_transposed, size_t first_panel,
                                 size_t last_panel, float *rows, int is_gathered, float *packed) {
  (level == 2 ? multiply_few_rows_16 : multiply_few_rows_8)(q, b, b_stride, b_transposed, first_panel, last_panel, rows, is_gathered, packed);
}

#else
int amaf_gemm_level(void) { return 0; }
size_t amaf_gemm_panel(int level) { return 0; }
size_t amaf_gemm_scratch(void) { return 1; }
void amaf_gemm_pack(int level, const float *b, size_t b_stride, int transposed, size_t k, size_t n, float *packed, size_t first, size_t last) {}
void amaf_gemm_pack_patches(int level, const amaf_window *w, const float *x, size_t first_row, size_t k, float *packed, float *row) {}
void amaf_gemm_multiply(int level, const amaf_product *q, size_t first_row, size_t last_row, size_t first_panel, size_t last_panel,
                        float *scratch) {}
size_t amaf_gemm_gathered(size_t rows, size_t k) { return 1; }
void amaf_gemm_multiply_few_rows(int level, const amaf_product *q, const float *b, size_t b_stride, int b_transposed, size_t first_panel,
                                 size_t last_panel, float *rows, int is_gathered, float *packed) {}
#endif
