#define _GNU_SOURCE
#include "dense.h"
#include <string.h>

// x86-64-v4 and v3 are what the vectoriser needs to use 512- and 256-bit registers; the loader picks a clone by what the
// processor has. Loops stay plain C so that every clone, and the twin in Swift, computes the same formula.
#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

INLINE float as_float(uint32_t bits) { float f; memcpy(&f, &bits, 4); return f; }
INLINE uint32_t as_bits(float f) { uint32_t bits; memcpy(&bits, &f, 4); return bits; }

// ---- Elementary functions (Cephes' single-precision polynomials, Moshier 1984-1992), branch-free so that they vectorise.

// e^x for x clamped to [-87.3, 88.3]: x = n ln 2 + r, e^r by a polynomial, 2^n by the exponent bits.
INLINE float exp1(float x) {
  x = x < -87.33654f ? -87.33654f : x;
  x = x > 88.37626f ? 88.37626f : x;
  // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
  float shifted = x * 1.44269504f + 12582912.0f;
  float n = shifted - 12582912.0f;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * as_float((as_bits(shifted) << 23) + 0x3F800000u);
}

// ln x for positive normal x; smaller values are treated as the smallest normal number.
INLINE float log1(float x) {
  x = x < 1.17549435e-38f ? 1.17549435e-38f : x;
  // Mantissa in [sqrt(1/2), sqrt 2): subtract the bits of sqrt(1/2) and split.
  uint32_t bits = as_bits(x) - 0x3F3504F3u;
  float e = (float)((int32_t)bits >> 23);
  float m = as_float((bits & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
  float z = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * z;
  p = p - 2.12194440e-4f * e;
  p = p - 0.5f * z;
  return (m + p) + 0.693359375f * e;
}

INLINE float sigmoid1(float x) { return 1.0f / (1.0f + exp1(-x)); }

INLINE float tanh1(float x) {
  float a = x < 0 ? -x : x;
  float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  float small = x + x * z * p;
  float large = 1.0f - 2.0f / (exp1(2.0f * a) + 1.0f);
  large = x < 0 ? -large : large;
  return a < 0.625f ? small : large;
}

// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)
INLINE float softplus1(float x) {
  float a = x < 0 ? -x : x;
  return (x > 0 ? x : 0) + log1(1.0f + exp1(-a));
}

// Standard normal distribution function by Abramowitz and Stegun 7.1.26 (absolute error 7.5e-8); `density` gets e^(-x^2/2).
// The small tail is computed directly, so gelu(-5) does not drown in cancellation.
INLINE float normal_cdf1(float x, float *density) {
  float z = (x < 0 ? -x : x) * 0.70710678f;
  float t = 1.0f / (1.0f + 0.3275911f * z);
  float p = 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  float e = exp1(-0.5f * x * x);
  float tail = 0.5f * p * t * e;
  *density = e;
  return x < 0 ? tail : 1.0f - tail;
}

INLINE float gelu1(float x) { float e; return x * normal_cdf1(x, &e); }
INLINE float gelu_slope1(float x) {
  float e, c = normal_cdf1(x, &e);
  return c + x * e * 0.39894228f;
}
// x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
INLINE float gelu_tanh1(float x) { return x * sigmoid1(1.59576912f * (x + 0.044715f * x * x * x)); }
INLINE float gelu_tanh_slope1(float x) {
  float s = sigmoid1(1.59576912f * (x + 0.044715f * x * x * x));
  return s + x * s * (1.0f - s) * 1.59576912f * (1.0f + 0.134145f * x * x);
}
INLINE float quick_gelu1(float x) { return x * sigmoid1(1.702f * x); }
INLINE float quick_gelu_slope1(float x) {
  float s = sigmoid1(1.702f * x);
  return s + 1.702f * x * s * (1.0f - s);
}

#define LOOP(expression) for (size_t i = 0; i < n; i++) { float v = x[i]; (void)v; y[i] = (expression); }

CLONES void amaf_unary(int function, const float *restrict x, float *y, size_t n) {
  switch (function) {
  case AMAF_RELU: LOOP(v > 0 ? v : 0); break;
  case AMAF_GELU_ERF: LOOP(gelu1(v)); break;
  case AMAF_GELU_TANH: LOOP(gelu_tanh1(v)); break;
  case AMAF_QUICK_GELU: LOOP(quick_gelu1(v)); break;
  case AMAF_TANH: LOOP(tanh1(v)); break;
  case AMAF_SIGMOID: LOOP(sigmoid1(v)); break;
  case AMAF_EXP: LOOP(exp1(v)); break;
  case AMAF_LOG: LOOP(log1(v)); break;
  case AMAF_SOFTPLUS: LOOP(softplus1(v)); break;
  default: if (x != y) memmove(y, x, n * sizeof(float));
  }
}

#define SLOPES(expression)                                                                                        \
  if (accumulate) for (size_t i = 0; i < n; i++) { float v = x[i], u = y[i]; (void)v; (void)u; dx[i] += dy[i] * (expression); } \
  else for (size_t i = 0; i < n; i++) { float v = x[i], u = y[i]; (void)v; (void)u; dx[i] = dy[i] * (expression); }

CLONES void amaf_unary_backward(int function, const float *x, const float *y, const float *dy, float *dx, size_t n, int accumulate) {
  switch (function) {
  case AMAF_RELU: SLOPES(u > 0 ? 1.0f : 0.0f); break;
  case AMAF_GELU_ERF: SLOPES(gelu_slope1(v)); break;
  case AMAF_GELU_TANH: SLOPES(gelu_tanh_slope1(v)); break;
  case AMAF_QUICK_GELU: SLOPES(quick_gelu_slope1(v)); break;
  case AMAF_TANH: SLOPES(1.0f - u * u); break;
  case AMAF_SIGMOID: SLOPES(u * (1.0f - u)); break;
  case AMAF_EXP: SLOPES(u); break;
  case AMAF_LOG: SLOPES(1.0f / v); break;
  case AMAF_SOFTPLUS: SLOPES(sigmoid1(v)); break;
  default: SLOPES(1.0f);
  }
}

CLONES void amaf_fill(float *y, float value, size_t n) { for (size_t i = 0; i < n; i++) y[i] = value; }

CLONES void amaf_combine(const float *x, float alpha, const float *y, float beta, float *out, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = alpha * x[i] + beta * y[i];
}

CLONES void amaf_multiply(const float *x, const float *y, float *out, size_t n, int accumulate) {
  if (accumulate) for (size_t i = 0; i < n; i++) out[i] += x[i] * y[i];
  else for (size_t i = 0; i < n; i++) out[i] = x[i] * y[i];
}

CLONES void amaf_copy_rows(const float *x, size_t x_stride, float *y, size_t y_stride, size_t rows, size_t columns, int accumulate) {
  for (size_t r = 0; r < rows; r++, x += x_stride, y += y_stride) {
    if (accumulate) for (size_t c = 0; c < columns; c++) y[c] += x[c];
    else memcpy(y, x, columns * sizeof(float));
  }
}

CLONES void amaf_add_row(const float *x, const float *row, float *out, size_t rows, size_t columns) {
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < columns; c++) out[r * columns + c] = x[r * columns + c] + row[c];
}

CLONES void amaf_sum_rows(const float *x, size_t stride, float *restrict out, size_t rows, size_t columns, int accumulate) {
  if (!accumulate) memset(out, 0, columns * sizeof(float));
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float *a = x + r * stride, *b = a + stride, *c = b + stride, *d = c + stride;
    for (size_t j = 0; j < columns; j++) out[j] += (a[j] + b[j]) + (c[j] + d[j]);
  }
  for (; r < rows; r++)
    for (size_t j = 0; j < columns; j++) out[j] += x[r * stride + j];
}

#define EPILOGUE(expression)                                                                                                \
  for (size_t r = 0; r < rows; r++) {                                                                                       \
    float *restrict row = c + r * c_stride;                                                                                 \
    const float *add = residual ? residual + r * r_stride : 0;                                                              \
    if (add && bias) for (size_t j = 0; j < columns; j++) { float v = row[j] + bias[j] + add[j]; row[j] = (expression); }   \
    else if (add) for (size_t j = 0; j < columns; j++) { float v = row[j] + add[j]; row[j] = (expression); }                \
    else if (bias) for (size_t j = 0; j < columns; j++) { float v = row[j] + bias[j]; row[j] = (expression); }              \
    else for (size_t j = 0; j < columns; j++) { float v = row[j]; row[j] = (expression); }                                  \
  }

CLONES void amaf_epilogue(float *c, size_t c_stride, const float *bias, const float *residual, size_t r_stride, int function, size_t rows,
                          size_t columns) {
  switch (function) {
  case AMAF_RELU: EPILOGUE(v > 0 ? v : 0); break;
  case AMAF_GELU_ERF: EPILOGUE(gelu1(v)); break;
  case AMAF_GELU_TANH: EPILOGUE(gelu_tanh1(v)); break;
  case AMAF_QUICK_GELU: EPILOGUE(quick_gelu1(v)); break;
  case AMAF_TANH: EPILOGUE(tanh1(v)); break;
  case AMAF_SIGMOID: EPILOGUE(sigmoid1(v)); break;
  case AMAF_EXP: EPILOGUE(exp1(v)); break;
  case AMAF_LOG: EPILOGUE(log1(v)); break;
  case AMAF_SOFTPLUS: EPILOGUE(softplus1(v)); break;
  default: EPILOGUE(v);
  }
}

// ---- Rows: softmax, cross entropy, norms

// The largest of n numbers in 32 explicit lanes: a plain maximum is a chain the vectoriser may not reorder.
INLINE float maximum(const float *x, size_t n) {
  float m = x[0];
  size_t i = 0;
  if (n >= 32) {
    float lanes[32];
    for (int j = 0; j < 32; j++) lanes[j] = x[j];
    for (i = 32; i + 32 <= n; i += 32)
      for (int j = 0; j < 32; j++) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (int j = 0; j < 32; j++) m = lanes[j] > m ? lanes[j] : m;
  }
  for (; i < n; i++) m = x[i] > m ? x[i] : m;
  return m;
}

CLONES void amaf_softmax_row(const float *x, float *y, size_t columns, size_t limit, float scale, const float *bias_a, const float *bias_b) {
  if (bias_a && bias_b) for (size_t c = 0; c < limit; c++) y[c] = scale * x[c] + bias_a[c] + bias_b[c];
  else if (bias_a) for (size_t c = 0; c < limit; c++) y[c] = scale * x[c] + bias_a[c];
  else if (bias_b) for (size_t c = 0; c < limit; c++) y[c] = scale * x[c] + bias_b[c];
  else for (size_t c = 0; c < limit; c++) y[c] = scale * x[c];
  for (size_t c = limit; c < columns; c++) y[c] = 0;
  if (limit == 0) return;
  float m = maximum(y, limit), sum = 0;
  {
#pragma clang fp reassociate(on)
    for (size_t c = 0; c < limit; c++) { float e = exp1(y[c] - m); y[c] = e; sum += e; }
  }
  float inverse = 1.0f / sum;
  for (size_t c = 0; c < limit; c++) y[c] *= inverse;
}

CLONES void amaf_softmax_backward(const float *y, const float *dy, float *dx, size_t rows, size_t columns, float scale) {
  for (size_t r = 0; r < rows; r++, y += columns, dy += columns, dx += columns) {
    float dot = 0;
    {
#pragma clang fp reassociate(on)
      for (size_t c = 0; c < columns; c++) dot += y[c] * dy[c];
    }
    for (size_t c = 0; c < columns; c++) dx[c] = scale * y[c] * (dy[c] - dot);
  }
}

CLONES void amaf_cross_entropy(const float *x, const float *t, float *loss, float *dx, size_t rows, size_t columns, float scale) {
  for (size_t r = 0; r < rows; r++, x += columns, t += columns) {
    float m = maximum(x, columns), sum = 0, mass = 0, dot = 0;
    {
#pragma clang fp reassociate(on)
      for (size_t c = 0; c < columns; c++) { sum += exp1(x[c] - m); mass += t[c]; dot += t[c] * (x[c] - m); }
    }
    loss[r] = mass * log1(sum) - dot;
    if (dx) {
      float inverse = mass / sum;
      for (size_t c = 0; c < columns; c++) dx[c] = scale * (exp1(x[c] - m) * inverse - t[c]);
      dx += columns;
    }
  }
}

CLONES void amaf_layer_norm(const float *x, const float *gamma, const float *beta, float *y, float *stats, size_t rows, size_t columns,
                            float eps) {
  float inverse_count = 1.0f / (float)columns;
  for (size_t r = 0; r < rows; r++, x += columns, y += columns) {
    float sum = 0, square = 0;
    {
#pragma clang fp reassociate(on)
      for (size_t c = 0; c < columns; c++) sum += x[c];
    }
    float mean = sum * inverse_count;
    {
#pragma clang fp reassociate(on)
      for (size_t c = 0; c < columns; c++) { float d = x[c] - mean; square += d * d; }
    }
    float rstd = 1.0f / __builtin_sqrtf(square * inverse_count + eps);
    for (size_t c = 0; c < columns; c++) y[c] = (x[c] - mean) * rstd * gamma[c] + beta[c];
    if (stats) { stats[2 * r] = mean; stats[2 * r + 1] = rstd; }
  }
}

// With h = (x - mean) rstd and g = dy gamma: dx = rstd (g - mean(g) - h mean(g h)).
CLONES void amaf_layer_norm_backward(const float *dy, const float *x, const float *gamma, const float *stats, float *dx, float *restrict dgamma,
                                     float *restrict dbeta, size_t rows, size_t columns, int accumulate) {
  float inverse_count = 1.0f / (float)columns;
  for (size_t r = 0; r < rows; r++, x += columns, dy += columns, dx += columns) {
    float mean = stats[2 * r], rstd = stats[2 * r + 1], sum = 0, dot = 0;
    {
#pragma clang fp reassociate(on)
      for (size_t c = 0; c < columns; c++) {
        float g = dy[c] * gamma[c];
        sum += g;
        dot += g * (x[c] - mean);
      }
    }
    float a = sum * inverse_count, b = dot * rstd * rstd * inverse_count;
    for (size_t c = 0; c < columns; c++) { dgamma[c] += dy[c] * (x[c] - mean) * rstd; dbeta[c] += dy[c]; }
    if (accumulate) for (size_t c = 0; c < columns; c++) dx[c] += rstd * (dy[c] * gamma[c] - a - (x[c] - mean) * b);
    else for (size_t c = 0; c < columns; c++) dx[c] = rstd * (dy[c] * gamma[c] - a - (x[c] - mean) * b);
  }
}

CLONES void amaf_rms_norm(const float *x, const float *gamma, float *y, float *stats, size_t rows, size_t columns, float eps) {
  for (size_t r = 0; r < rows; r++, x += columns, y += columns) {
    float square = 0;
    {
#pragma clang fp reassociate(on)
      for (size_t c = 0; c < columns; c++) square += x[c] * x[c];
    }
    float rms = 1.0f / __builtin_sqrtf(square / (float)columns + eps);
    for (size_t c = 0; c < columns; c++) y[c] = x[c] * rms * gamma[c];
    if (stats) stats[r] = rms;
  }
}

CLONES void amaf_rms_norm_backward(const float *dy, const float *x, const float *gamma, const float *stats, float *dx, float *restrict dgamma,
                                   size_t rows, size_t columns, int accumulate) {
  for (size_t r = 0; r < rows; r++, x += columns, dy += columns, dx += columns) {
    float rms = stats[r], dot = 0;
    {
#pragma clang fp reassociate(on)
      for (size_t c = 0; c < columns; c++) dot += dy[c] * gamma[c] * x[c];
    }
    float b = dot * rms * rms / (float)columns;
    for (size_t c = 0; c < columns; c++) dgamma[c] += dy[c] * x[c] * rms;
    if (accumulate) for (size_t c = 0; c < columns; c++) dx[c] += rms * (dy[c] * gamma[c] - x[c] * b);
    else for (size_t c = 0; c < columns; c++) dx[c] = rms * (dy[c] * gamma[c] - x[c] * b);
  }
}

CLONES void amaf_column_moments(const float *x, const float *shift, float *restrict sum, float *restrict square, size_t rows,
                                size_t columns) {
  for (size_t r = 0; r < rows; r++, x += columns) {
    if (shift) for (size_t c = 0; c < columns; c++) { float d = x[c] - shift[c]; sum[c] += d; square[c] += d * d; }
    else for (size_t c = 0; c < columns; c++) { sum[c] += x[c]; square[c] += x[c] * x[c]; }
  }
}

CLONES void amaf_column_affine(const float *x, const float *scale, const float *offset, float *y, size_t rows, size_t columns,
                               int function) {
  for (size_t r = 0; r < rows; r++, x += columns, y += columns) {
    if (function == AMAF_RELU)
      for (size_t c = 0; c < columns; c++) { float v = x[c] * scale[c] + offset[c]; y[c] = v > 0 ? v : 0; }
    else for (size_t c = 0; c < columns; c++) y[c] = x[c] * scale[c] + offset[c];
  }
}

CLONES void amaf_batch_norm_sums(const float *dy, const float *x, const float *mean, const float *rstd, float *restrict sum_dy,
                                 float *restrict sum_dyx, size_t rows, size_t columns) {
  for (size_t r = 0; r < rows; r++, x += columns, dy += columns)
    for (size_t c = 0; c < columns; c++) { sum_dy[c] += dy[c]; sum_dyx[c] += dy[c] * ((x[c] - mean[c]) * rstd[c]); }
}

CLONES void amaf_column_combine(const float *dy, const float *a, const float *x, const float *b, const float *d, float *dx, size_t rows,
                                size_t columns, int accumulate) {
  for (size_t r = 0; r < rows; r++, x += columns, dy += columns, dx += columns) {
    if (accumulate) for (size_t c = 0; c < columns; c++) dx[c] += a[c] * dy[c] + b[c] * x[c] + d[c];
    else for (size_t c = 0; c < columns; c++) dx[c] = a[c] * dy[c] + b[c] * x[c] + d[c];
  }
}

// ---- Windows over NHWC images

void amaf_im2col(const amaf_window *w, const float *x, float *columns, size_t first_row, size_t last_row, size_t first_position,
                 size_t last_position) {
  size_t plane = w->out_height * w->out_width, channels = w->channels, run = channels * sizeof(float);
  for (size_t row = first_row; row < last_row; row++) {
    size_t image = row / plane, oy = row % plane / w->out_width, ox = row % w->out_width;
    const float *source = x + image * w->height * w->width * channels;
    ptrdiff_t top = (ptrdiff_t)(oy * w->stride) - (ptrdiff_t)w->padding, left = (ptrdiff_t)(ox * w->stride) - (ptrdiff_t)w->padding;
    size_t position = first_position;
    while (position < last_position) {
      size_t ky = position / w->window_width, kx = position % w->window_width;
      size_t count = w->window_width - kx;
      if (count > last_position - position) count = last_position - position;
      ptrdiff_t iy = top + (ptrdiff_t)ky, ix = left + (ptrdiff_t)kx;
      if (iy < 0 || iy >= (ptrdiff_t)w->height) memset(columns, 0, count * run);
      else if (ix >= 0 && ix + (ptrdiff_t)count <= (ptrdiff_t)w->width)
        // A row of the window inside the image is one run of memory.
        memcpy(columns, source + ((size_t)iy * w->width + (size_t)ix) * channels, count * run);
      else
        for (size_t k = 0; k < count; k++) {
          ptrdiff_t jx = ix + (ptrdiff_t)k;
          if (jx < 0 || jx >= (ptrdiff_t)w->width) memset(columns + k * channels, 0, run);
          else memcpy(columns + k * channels, source + ((size_t)iy * w->width + (size_t)jx) * channels, run);
        }
      columns += count * channels;
      position += count;
    }
  }
}

CLONES void amaf_col2im(const amaf_window *w, const float *columns, float *x) {
  size_t channels = w->channels;
  for (size_t oy = 0; oy < w->out_height; oy++)
    for (size_t ox = 0; ox < w->out_width; ox++)
      for (size_t ky = 0; ky < w->window_height; ky++) {
        ptrdiff_t iy = (ptrdiff_t)(oy * w->stride + ky) - (ptrdiff_t)w->padding;
        if (iy < 0 || iy >= (ptrdiff_t)w->height) { columns += w->window_width * channels; continue; }
        ptrdiff_t ix = (ptrdiff_t)(ox * w->stride) - (ptrdiff_t)w->padding;
        size_t skip = ix < 0 ? (size_t)-ix : 0, end = w->window_width;
        if (ix + (ptrdiff_t)end > (ptrdiff_t)w->width) end = (size_t)((ptrdiff_t)w->width - ix);
        if (skip < end) {
          float *restrict target = x + ((size_t)iy * w->width + (size_t)(ix + (ptrdiff_t)skip)) * channels;
          const float *source = columns + skip * channels;
          size_t count = (end - skip) * channels;
          for (size_t c = 0; c < count; c++) target[c] += source[c];
        }
        columns += w->window_width * channels;
      }
}

CLONES void amaf_max_pool(const amaf_window *w, const float *x, float *y, int32_t *indices, size_t images) {
  size_t channels = w->channels;
  for (size_t image = 0; image < images; image++, x += w->height * w->width * channels)
    for (size_t oy = 0; oy < w->out_height; oy++)
      for (size_t ox = 0; ox < w->out_width; ox++, y += channels) {
        int started = 0;
        for (size_t ky = 0; ky < w->window_height; ky++)
          for (size_t kx = 0; kx < w->window_width; kx++) {
            ptrdiff_t iy = (ptrdiff_t)(oy * w->stride + ky) - (ptrdiff_t)w->padding;
            ptrdiff_t ix = (ptrdiff_t)(ox * w->stride + kx) - (ptrdiff_t)w->padding;
            if (iy < 0 || ix < 0 || iy >= (ptrdiff_t)w->height || ix >= (ptrdiff_t)w->width) continue;
            int32_t place = (int32_t)((size_t)iy * w->width + (size_t)ix);
            const float *source = x + (size_t)place * channels;
            if (!started) {
              memcpy(y, source, channels * sizeof(float));
              if (indices) for (size_t c = 0; c < channels; c++) indices[c] = place;
              started = 1;
            } else if (indices) {
              for (size_t c = 0; c < channels; c++) { int wins = source[c] > y[c]; y[c] = wins ? source[c] : y[c]; indices[c] = wins ? place : indices[c]; }
            } else for (size_t c = 0; c < channels; c++) y[c] = source[c] > y[c] ? source[c] : y[c];
          }
        if (indices) indices += channels;
      }
}

void amaf_max_pool_backward(const amaf_window *w, const float *dy, const int32_t *indices, float *dx, size_t images) {
  size_t channels = w->channels, plane = w->out_height * w->out_width;
  for (size_t image = 0; image < images; image++, dx += w->height * w->width * channels)
    for (size_t p = 0; p < plane; p++, dy += channels, indices += channels)
      for (size_t c = 0; c < channels; c++) dx[(size_t)indices[c] * channels + c] += dy[c];
}

void amaf_gather_rows(const float *table, const int32_t *indices, float *y, size_t count, size_t columns) {
  for (size_t i = 0; i < count; i++) memcpy(y + i * columns, table + (size_t)indices[i] * columns, columns * sizeof(float));
}

CLONES void amaf_scatter_add_rows(const float *dy, const int32_t *indices, float *table, size_t count, size_t columns, size_t first,
                                  size_t last) {
  for (size_t i = 0; i < count; i++) {
    float *restrict row = table + (size_t)indices[i] * columns;
    const float *source = dy + i * columns;
    for (size_t c = first; c < last; c++) row[c] += source[c];
  }
}

CLONES void amaf_normalize_rows(const float *x, float *y, size_t rows, size_t columns, float eps) {
  for (size_t r = 0; r < rows; r++, x += columns, y += columns) {
    float square = 0;
    {
#pragma clang fp reassociate(on)
      for (size_t c = 0; c < columns; c++) square += x[c] * x[c];
    }
    float norm = __builtin_sqrtf(square);
    float inverse = 1.0f / (norm > eps ? norm : eps);
    for (size_t c = 0; c < columns; c++) y[c] = x[c] * inverse;
  }
}

// Terms of several rows are computed as one run, since a row of 150 would spend much of its time in a vector loop's remainder.
CLONES void amaf_entropy(const float *p, float *out, size_t rows, size_t columns) {
  enum { ROOM = 2048 };
  float terms[ROOM];
  size_t r = 0;
  while (r < rows) {
    size_t count = columns > ROOM ? 1 : ROOM / (columns ? columns : 1);
    if (count > rows - r) count = rows - r;
    if (columns > ROOM) {
      float sum = 0;
      {
#pragma clang fp reassociate(on)
        // log1 floors its argument, so p = 0 gives 0 * -87 = 0 without a branch.
        for (size_t c = 0; c < columns; c++) sum += p[c] * log1(p[c]);
      }
      out[r] = -sum;
    } else {
      size_t n = count * columns;
      for (size_t i = 0; i < n; i++) terms[i] = p[i] * log1(p[i]);
      for (size_t k = 0; k < count; k++) {
        const float *row = terms + k * columns;
        float sum = 0;
        {
#pragma clang fp reassociate(on)
          for (size_t c = 0; c < columns; c++) sum += row[c];
        }
        out[r + k] = -sum;
      }
    }
    p += count * columns;
    r += count;
  }
}

// ---- Optimiser

CLONES void amaf_adam(float *restrict p, const float *restrict g, float *restrict m, float *restrict v, size_t n, float beta1, float beta2,
                      float step, float root_scale, float eps, float decay, float gradient_scale) {
  float rest1 = 1.0f - beta1, rest2 = 1.0f - beta2, keep = 1.0f - decay;
  for (size_t i = 0; i < n; i++) {
    float gradient = g[i] * gradient_scale;
    float first = beta1 * m[i] + rest1 * gradient;
    float second = beta2 * v[i] + rest2 * gradient * gradient;
    m[i] = first;
    v[i] = second;
    p[i] = p[i] * keep - step * first / (__builtin_elementwise_sqrt(second) * root_scale + eps);
  }
}

// ---- Chance: Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011): any number of the stream by its position.

#define PHILOX_ROUND                                                                  \
  {                                                                                   \
    uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;          \
    uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;  \
    c1 = (uint32_t)b;                                                                 \
    c3 = (uint32_t)a;                                                                 \
    c0 = n0;                                                                          \
    c2 = n2;                                                                          \
    k0 += 0x9E3779B9u;                                                                \
    k1 += 0xBB67AE85u;                                                                \
  }
#define PHILOX_ROUNDS                                                                              \
  PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND \
  PHILOX_ROUND PHILOX_ROUND

void amaf_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  PHILOX_ROUNDS
  out[0] = c0; out[1] = c1; out[2] = c2; out[3] = c3;
}

// sin and cos of 2 pi u for u in [0, 1): quarter turns by rounding, the rest by Cephes' polynomials on [-pi/4, pi/4].
INLINE void sincos1(float u, float *s, float *c) {
  float shifted = 4.0f * u + 12582912.0f;
  uint32_t quarter = as_bits(shifted);
  float a = (u - 0.25f * (shifted - 12582912.0f)) * 6.28318531f, z = a * a;
  float sine = -1.9515295891e-4f;
  sine = sine * z + 8.3321608736e-3f;
  sine = sine * z - 1.6666654611e-1f;
  sine = sine * z * a + a;
  float cosine = 2.443315711809948e-5f;
  cosine = cosine * z - 1.388731625493765e-3f;
  cosine = cosine * z + 4.166664568298827e-2f;
  cosine = cosine * z * z - 0.5f * z + 1.0f;
  int swap = quarter & 1;
  float x = swap ? sine : cosine, y = swap ? cosine : sine;
  *c = ((quarter + 1) & 2) ? -x : x;
  *s = (quarter & 2) ? -y : y;
}

// Uniform in (0, 1] with 24 bits, so that its logarithm is finite.
INLINE float open_uniform(uint32_t bits) { return (float)(int32_t)((bits >> 8) + 1) * 0x1p-24f; }
INLINE float half_open_uniform(uint32_t bits) { return (float)(int32_t)(bits >> 8) * 0x1p-24f; }

CLONES static void normal_block(uint64_t seed, uint64_t stream, uint64_t first, float *restrict block) {
  float parts[4][64];
  for (uint32_t i = 0; i < 64; i++) {
    uint64_t position = first + i;
    uint32_t c0 = (uint32_t)position, c1 = (uint32_t)(position >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    PHILOX_ROUNDS
    float r1 = __builtin_elementwise_sqrt(-2.0f * log1(open_uniform(c0))), r2 = __builtin_elementwise_sqrt(-2.0f * log1(open_uniform(c2)));
    float s, c;
    sincos1(half_open_uniform(c1), &s, &c);
    parts[0][i] = r1 * c;
    parts[1][i] = r1 * s;
    sincos1(half_open_uniform(c3), &s, &c);
    parts[2][i] = r2 * c;
    parts[3][i] = r2 * s;
  }
  for (int i = 0; i < 64; i++)
    for (int j = 0; j < 4; j++) block[4 * i + j] = parts[j][i];
}

void amaf_normal(uint64_t seed, uint64_t stream, size_t first, float *out, size_t n) {
  float block[256];
  for (size_t done = 0; done < n; done += 256) {
    normal_block(seed, stream, (first + done) / 4, block);
    size_t count = n - done < 256 ? n - done : 256;
    memcpy(out + done, block, count * sizeof(float));
  }
}

// ---- Variational autoencoder

CLONES void amaf_reparameterize(const float *mu, const float *logvar, const float *eps, float *z, size_t n) {
  for (size_t i = 0; i < n; i++) z[i] = mu[i] + exp1(0.5f * logvar[i]) * eps[i];
}

CLONES void amaf_reparameterize_backward(const float *dz, const float *logvar, const float *eps, float *dmu, float *dlogvar, size_t n) {
  for (size_t i = 0; i < n; i++) {
    dmu[i] = dz[i];
    dlogvar[i] = dz[i] * eps[i] * 0.5f * exp1(0.5f * logvar[i]);
  }
}

CLONES void amaf_bernoulli(const float *o, const float *x, float *loss, float *d, size_t rows, size_t columns, float scale) {
  for (size_t r = 0; r < rows; r++, o += columns, x += columns) {
    float sum = 0;
    {
#pragma clang fp reassociate(on)
      if (d) {
        // With e = e^-|o|: softplus(o) = max(o, 0) + ln(1 + e), sigmoid(o) = (o > 0 ? 1 : e) / (1 + e).
        for (size_t c = 0; c < columns; c++) {
          float v = o[c], a = v < 0 ? -v : v, e = exp1(-a), one = 1.0f + e;
          sum += (v > 0 ? v : 0) + log1(one) - x[c] * v;
          d[c] = scale * ((v > 0 ? 1.0f : e) / one - x[c]);
        }
        d += columns;
      } else
        for (size_t c = 0; c < columns; c++) sum += softplus1(o[c]) - x[c] * o[c];
    }
    loss[r] = sum;
  }
}

CLONES void amaf_gaussian(const float *m, const float *x, float *loss, float *d, size_t rows, size_t columns, float scale) {
  for (size_t r = 0; r < rows; r++, m += columns, x += columns) {
    float sum = 0;
    {
#pragma clang fp reassociate(on)
      for (size_t c = 0; c < columns; c++) { float e = m[c] - x[c]; sum += e * e; if (d) d[c] = scale * e; }
    }
    loss[r] = 0.5f * sum;
    if (d) d += columns;
  }
}

CLONES void amaf_kl(const float *mu, const float *v, size_t stride, float *loss, float *dmu, float *dv, size_t d_stride, size_t rows,
                    size_t columns, float scale, int accumulate) {
  for (size_t r = 0; r < rows; r++, mu += stride, v += stride) {
    float sum = 0;
    {
#pragma clang fp reassociate(on)
      for (size_t c = 0; c < columns; c++) sum += mu[c] * mu[c] + exp1(v[c]) - 1.0f - v[c];
    }
    loss[r] = 0.5f * sum;
    if (dmu) {
      float keep = accumulate ? 1.0f : 0.0f, half = 0.5f * scale;
      if (!accumulate) { memset(dmu, 0, columns * sizeof(float)); memset(dv, 0, columns * sizeof(float)); }
      for (size_t c = 0; c < columns; c++) { dmu[c] = keep * dmu[c] + scale * mu[c]; dv[c] = keep * dv[c] + half * (exp1(v[c]) - 1.0f); }
      dmu += d_stride;
      dv += d_stride;
    }
  }
}

CLONES void amaf_gather_bytes(const uint8_t *bytes, size_t columns, const int64_t *rows, size_t count, float scale, float *restrict out) {
  for (size_t r = 0; r < count; r++, out += columns) {
    const uint8_t *row = bytes + (size_t)rows[r] * columns;
    for (size_t c = 0; c < columns; c++) out[c] = scale * (float)row[c];
  }
}

// Twelve independent chains hide the latency of two multiply-adds per cycle; explicit vectors keep them in registers.
#define BURN(V, WIDTH)                                                                                              \
  V a = sink[0] * 0.0f + 0.999f - (V){0}, b = 0.001f - (V){0};                                                      \
  V x0 = b, x1 = b, x2 = b, x3 = b, x4 = b, x5 = b, x6 = b, x7 = b, x8 = b, x9 = b, x10 = b, x11 = b;                \
  for (size_t r = 0; r < rounds; r++) {                                                                             \
    x0 = x0 * a + b; x1 = x1 * a + b; x2 = x2 * a + b; x3 = x3 * a + b; x4 = x4 * a + b; x5 = x5 * a + b;           \
    x6 = x6 * a + b; x7 = x7 * a + b; x8 = x8 * a + b; x9 = x9 * a + b; x10 = x10 * a + b; x11 = x11 * a + b;       \
  }                                                                                                                 \
  V sum = x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9 + x10 + x11;                                              \
  sink[0] = sum[0];                                                                                                 \
  return 2.0 * 12.0 * (WIDTH) * (double)rounds;

typedef float vector4 __attribute__((vector_size(16)));
static double burn_default(size_t rounds, float *sink) { BURN(vector4, 4) }
#if defined(__x86_64__)
typedef float vector8 __attribute__((vector_size(32)));
typedef float vector16 __attribute__((vector_size(64)));
__attribute__((target("arch=x86-64-v3"))) static double burn_v3(size_t rounds, float *sink) { BURN(vector8, 8) }
__attribute__((target("arch=x86-64-v4"))) static double burn_v4(size_t rounds, float *sink) { BURN(vector16, 16) }
#endif

double amaf_fma_burn(size_t rounds, float *sink) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return burn_v4(rounds, sink);
  if (__builtin_cpu_supports("x86-64-v3")) return burn_v3(rounds, sink);
#endif
  return burn_default(rounds, sink);
}
