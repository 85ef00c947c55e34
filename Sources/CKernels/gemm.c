#include "dense.h"
#include <string.h>

// C = alpha op(A) op(B) (+ C) for packed B, after Goto and van de Geijn (2008): panels of B stay in the first-level cache,
// rows of A in the second, a tile of C in registers. Used where the processor has at least AVX2 and FMA; the caller falls
// back on BLAS elsewhere.
#if defined(__x86_64__)

typedef float vector8 __attribute__((vector_size(32)));
typedef float vector16 __attribute__((vector_size(64)));
typedef float vector8_unaligned __attribute__((vector_size(32), aligned(4)));
typedef float vector16_unaligned __attribute__((vector_size(64), aligned(4)));

#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)

static inline __attribute__((always_inline)) void transpose_rows(const float *const *x, float *y, size_t y_stride) {
  vector8 r[8], s[8];
  for (int i = 0; i < 8; i++) r[i] = *(const vector8_unaligned *)x[i];
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

static inline void transpose8(const float *x, size_t x_stride, float *y, size_t y_stride) {
  const float *rows[8];
  for (int i = 0; i < 8; i++) rows[i] = x + (size_t)i * x_stride;
  transpose_rows(rows, y, y_stride);
}
static inline void gather8(const float *const *rows, float *y) { transpose_rows(rows, y, 8); }

#define V vector8
#define W 8
#define MR 6
#define NAME(x) x##_8
typedef vector8_unaligned unaligned_8;
#include "gemm_micro.h"
#undef V
#undef W
#undef MR
#undef NAME
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("arch=x86-64-v4"))), apply_to = function)
#define V vector16
#define W 16
#define MR 12
#define NAME(x) x##_16
typedef vector16_unaligned unaligned_16;
#include "gemm_micro.h"
#pragma clang attribute pop

// 0: none, 1: x86-64-v3, 2: x86-64-v4. Asked once; the answer cannot change.
static int level(void) {
  static int known = -1;
  int value = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (value < 0) {
    __builtin_cpu_init();
    value = __builtin_cpu_supports("x86-64-v4") ? 2 : __builtin_cpu_supports("x86-64-v3") ? 1 : 0;
    __atomic_store_n(&known, value, __ATOMIC_RELAXED);
  }
  return value;
}

size_t amaf_gemm_panel(void) { return level() == 2 ? 32 : level() == 1 ? 16 : 0; }
size_t amaf_gemm_tile(void) { return level() == 2 ? 12 : 6; }

void amaf_gemm_pack(const float *b, size_t b_stride, int transposed, size_t k, size_t n, float *packed, size_t first, size_t last) {
  (level() == 2 ? pack_16 : pack_8)(b, b_stride, transposed, k, n, packed, first, last);
}

void amaf_gemm_multiply(size_t rows, size_t k, size_t n, size_t first, size_t last, float alpha, const float *a, size_t a_stride, int transposed,
                        const float *packed, int accumulate, float *c, size_t c_stride, float *scratch) {
  (level() == 2 ? multiply_16 : multiply_8)(rows, k, n, first, last, alpha, a, a_stride, transposed, packed, accumulate, c, c_stride, scratch);
}

#else
size_t amaf_gemm_panel(void) { return 0; }
size_t amaf_gemm_tile(void) { return 1; }
void amaf_gemm_pack(const float *b, size_t b_stride, int transposed, size_t k, size_t n, float *packed, size_t first, size_t last) {}
void amaf_gemm_multiply(size_t rows, size_t k, size_t n, size_t first, size_t last, float alpha, const float *a, size_t a_stride, int transposed,
                        const float *packed, int accumulate, float *c, size_t c_stride, float *scratch) {}
#endif
