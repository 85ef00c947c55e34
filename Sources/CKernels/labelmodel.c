#include "labelmodel.h"

#include <string.h>

#pragma STDC FP_CONTRACT OFF

#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

// 1.5 * 2^52: adding it leaves the nearest integer in the low bits of a double.
#define MAGIC 6755399441055744.0

/// exp for |x| <= 700: 2^n * exp(r), |r| <= ln 2 / 2, Taylor to the 11th power (error below 1e-14).
static inline __attribute__((always_inline)) double exp_plain(double x) {
#pragma STDC FP_CONTRACT OFF
  double shifted = x * 1.4426950408889634 + MAGIC;
  double n = shifted - MAGIC;
  double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double p = 2.50521083854417187751e-8;
  p = p * r + 2.75573192239858906526e-7;
  p = p * r + 2.75573192239858906526e-6;
  p = p * r + 2.48015873015873015873e-5;
  p = p * r + 1.98412698412698412698e-4;
  p = p * r + 1.38888888888888888889e-3;
  p = p * r + 8.33333333333333333333e-3;
  p = p * r + 4.16666666666666666667e-2;
  p = p * r + 1.66666666666666666667e-1;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  uint64_t bits, scale;
  memcpy(&bits, &p, 8);
  memcpy(&scale, &shifted, 8);
  bits += scale << 52;
  memcpy(&p, &bits, 8);
  return p;
}

CLONES
void amaf_two_class_step(const int8_t *votes, size_t stride, size_t rows, size_t m, int32_t base, const int32_t *against,
                         const int32_t *for_, const int8_t *gold, int64_t *sum0, int64_t *sum1, int64_t *sum, int32_t *mass) {
#pragma STDC FP_CONTRACT OFF
  int32_t score[AMAF_TWO_CLASS_ROWS];
  int32_t local[AMAF_TWO_CLASS_ROWS];
  int32_t *q = mass ? mass : local;
  for (size_t i = 0; i < rows; i++) score[i] = base;
  for (size_t j = 0; j < m; j++) {
    const int8_t *column = votes + j * stride;
    int32_t a = against[j], f = for_[j];
    for (size_t i = 0; i < rows; i++) {
      int32_t v = column[i];
      score[i] += (v == 0 ? a : 0) + (v == 1 ? f : 0);
    }
  }
  for (size_t i = 0; i < rows; i++) {
    double x = (double)score[i] * (-1.0 / 65536.0);
    x = x < -40.0 ? -40.0 : x;
    x = x > 40.0 ? 40.0 : x;
    double rounded = 16777216.0 / (1.0 + exp_plain(x)) + MAGIC;
    uint64_t bits;
    memcpy(&bits, &rounded, 8);
    q[i] = (int32_t)bits;
  }
  if (gold)
    for (size_t i = 0; i < rows; i++) q[i] = gold[i] < 0 ? q[i] : (gold[i] == 1 ? AMAF_MASS_ONE : 0);
  int64_t total = 0;
  for (size_t i = 0; i < rows; i++) total += q[i];
  *sum += total;
  for (size_t j = 0; j < m; j++) {
    const int8_t *column = votes + j * stride;
    int64_t s0 = 0, s1 = 0;
    // 64 masses of at most 2^24 fit an int32.
    for (size_t start = 0; start < rows; start += 64 * 16) {
      size_t end = start + 64 * 16 < rows ? start + 64 * 16 : rows;
      int32_t part0[16] = {0}, part1[16] = {0};
      size_t i = start;
      for (; i + 16 <= end; i += 16)
        for (size_t lane = 0; lane < 16; lane++) {
          int32_t v = column[i + lane], w = q[i + lane];
          part0[lane] += v == 0 ? w : 0;
          part1[lane] += v == 1 ? w : 0;
        }
      for (; i < end; i++) {
        s0 += column[i] == 0 ? q[i] : 0;
        s1 += column[i] == 1 ? q[i] : 0;
      }
      for (size_t lane = 0; lane < 16; lane++) {
        s0 += part0[lane];
        s1 += part1[lane];
      }
    }
    sum0[j] += s0;
    sum1[j] += s1;
  }
}

static inline int64_t nearest(double x) { return (int64_t)(x + 0.5); }

void amaf_agreement_step(const uint32_t *offsets, const uint16_t *functions, const uint16_t *votes, size_t rows, size_t classes,
                         const int32_t *weights, const int64_t *base, const int64_t *base_share, int64_t base_share_sum,
                         int64_t largest_base, const int16_t *gold, int64_t *agreed, int64_t *class_mass, int64_t *outside_voted,
                         int64_t *outside, int64_t *covered, int64_t *scratch) {
#pragma STDC FP_CONTRACT OFF
  const double share_one = 1099511627776.0;
  int64_t *mark = scratch, *score = scratch + classes, *share = scratch + 2 * classes, *support = scratch + 3 * classes;
  for (size_t row = 0; row < rows; row++) {
    uint32_t begin = offsets[row], end = offsets[row + 1];
    if (begin == end) continue;
    *covered += 1;
    size_t count = 0;
    for (uint32_t i = begin; i < end; i++) {
      size_t c = votes[i];
      if (!mark[c]) {
        mark[c] = 1;
        support[count++] = (int64_t)c;
        score[c] = base[c];
      }
      score[c] += weights[functions[i]];
    }
    int64_t reference = count < classes ? largest_base : INT64_MIN;
    for (size_t s = 0; s < count; s++) {
      size_t c = (size_t)support[s];
      mark[c] = 0;
      if (score[c] > reference) reference = score[c];
    }
    int64_t inside = 0, taken = 0;
    for (size_t s = 0; s < count; s++) {
      size_t c = (size_t)support[s];
      double x = (double)(score[c] - reference) / 65536.0;
      share[c] = x < -40.0 ? 0 : nearest(exp_plain(x) * share_one);
      inside += share[c];
      taken += base_share[c];
    }
    double x = (double)(largest_base - reference) / 65536.0;
    double fade = x < -600.0 ? 0.0 : x > 600.0 ? 0.0 : exp_plain(x);
    int64_t rest = count < classes ? nearest((double)(base_share_sum - taken) * fade) : 0;
    double total = (double)(inside + rest);
    if (gold && gold[row] >= 0) {
      for (uint32_t i = begin; i < end; i++) agreed[functions[i]] += votes[i] == gold[row] ? AMAF_MASS_ONE : 0;
      class_mass[gold[row]] += AMAF_MASS_ONE;
      continue;
    }
    double unit = 16777216.0 / total;
    for (uint32_t i = begin; i < end; i++) agreed[functions[i]] += nearest((double)share[votes[i]] * unit);
    if (!outside) {
      for (size_t s = 0; s < count; s++) class_mass[support[s]] += nearest((double)share[support[s]] * unit);
    } else {
      double factor = fade * share_one / total;
      int64_t f = nearest((factor > 1e6 ? 1e6 : factor) * 16777216.0);
      for (size_t s = 0; s < count; s++) {
        class_mass[support[s]] += nearest((double)share[support[s]] * unit);
        outside_voted[support[s]] += f;
      }
      *outside += f;
    }
  }
}
