#include "sparse.h"
#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

// ---- Text ----

enum { SPACE = ' ' };

// Lower-cased word characters of ASCII, 0 for separators.
static const uint8_t ascii_word[128] = {
    ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9',
    ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j',
    ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r', ['s'] = 's', ['t'] = 't',
    ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd',
    ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n',
    ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x',
    ['Y'] = 'y', ['Z'] = 'z',
};

INLINE size_t scalar_length(uint8_t lead) { return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

// Whether the scalar of `length` > 1 bytes at p separates words.
static int is_separator(const uint8_t *p, size_t length) {
  if (length == 2) {
    if (p[0] == 0xC2) return p[1] != 0xAA && p[1] != 0xB5 && p[1] != 0xBA;  // U+0080-00BF but the ordinals and the micro sign
    return p[0] == 0xC3 && (p[1] == 0x97 || p[1] == 0xB7);                  // multiplication and division signs
  }
  if (length == 3) {
    if (p[0] == 0xE2 && (p[1] == 0x80 || (p[1] == 0x81 && p[2] < 0xB0))) return 1;  // U+2000-206F
    if (p[0] == 0xE3 && p[1] == 0x80) return 1;                                     // U+3000-303F
    if (p[0] == 0xEF && p[1] == 0xBC && p[2] < 0x90) return 1;                      // U+FF00-FF0F
  }
  return 0;
}

// 0: not an apostrophe, else its length.
INLINE size_t apostrophe_length(const uint8_t *p, const uint8_t *end) {
  if (*p == '\'') return 1;
  return end - p >= 3 && p[0] == 0xE2 && p[1] == 0x80 && p[2] == 0x99 ? 3 : 0;
}

static int starts_word(const uint8_t *p, const uint8_t *end) {
  if (p >= end) return 0;
  if (*p < 0x80) return ascii_word[*p] != 0;
  size_t length = scalar_length(*p);
  return (size_t)(end - p) >= length && !is_separator(p, length);
}

// " one two " from "One, two!"; 0 when there is no word.
static size_t normalise(const uint8_t *text, size_t bytes, uint8_t *out) {
  const uint8_t *p = text, *end = text + bytes;
  uint8_t *o = out;
  *o++ = SPACE;
  while (p < end) {
    if (*p < 0x80) {
      uint8_t c = ascii_word[*p];
      if (c) {
        *o++ = c;
        p++;
        continue;
      }
      if (*p == '\'' && o[-1] != SPACE && starts_word(p + 1, end)) {
        *o++ = '\'';
      } else if (o[-1] != SPACE) {
        *o++ = SPACE;
      }
      p++;
      continue;
    }
    size_t length = scalar_length(*p);
    if ((size_t)(end - p) < length) break;  // a cut scalar at the end: Swift strings never have one
    if (apostrophe_length(p, end) && o[-1] != SPACE && starts_word(p + length, end)) {
      *o++ = '\'';
    } else if (is_separator(p, length)) {
      if (o[-1] != SPACE) *o++ = SPACE;
    } else {
      for (size_t i = 0; i < length; i++) *o++ = p[i];
    }
    p += length;
  }
  if (o[-1] != SPACE) *o++ = SPACE;
  return o - out > 1 ? (size_t)(o - out) : 0;
}

INLINE uint64_t fnv(uint64_t h, uint8_t byte) { return (h ^ byte) * 0x100000001B3ull; }
// FNV's low bits see every byte but its high bits mix little: fold, then Fibonacci hashing takes the top bits.
INLINE uint32_t bucket_of(uint64_t h, int bits) { return (uint32_t)(((h ^ (h >> 32)) * 0x9E3779B97F4A7C15ull) >> (64 - bits)); }

size_t amaf_ngram_capacity(const amaf_ngram_spec *spec, size_t bytes) {
  size_t words = (bytes + 1) / 2, sizes = spec->char_max > 0 ? (size_t)(spec->char_max - spec->char_min + 1) : 0;
  return words * (size_t)spec->word_max + sizes * (bytes + 2 * words);
}

INLINE void note(uint32_t bucket, uint8_t *table, uint32_t *buckets, size_t *n) {
  uint8_t seen = table[bucket];
  if (seen == 0) buckets[(*n)++] = bucket;
  if (seen != 255) table[bucket] = seen + 1;
}

INLINE void settle(uint8_t *table, const uint32_t *buckets, uint8_t *counts, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    counts[i] = table[buckets[i]];
    table[buckets[i]] = 0;
  }
}

size_t amaf_hash_ngrams(const amaf_ngram_spec *spec, const uint8_t *text, size_t bytes, uint8_t *normalised, uint8_t *table,
                        uint32_t *buckets, uint8_t *counts, size_t *word_entries) {
  size_t length = normalise(text, bytes, normalised), n = 0;
  const uint8_t *end = normalised + length;
  int bits = spec->bucket_bits;
  if (spec->word_max > 0) {
    for (const uint8_t *start = normalised + 1; start < end;) {
      uint64_t h = spec->word_basis;
      const uint8_t *p = start, *next = end;
      for (int words = 1; p < end; p++) {
        if (*p == SPACE) {
          if (words == 1) next = p + 1;
          note(bucket_of(h, bits), table, buckets, &n);
          if (++words > spec->word_max) break;
        }
        h = fnv(h, *p);
      }
      start = next;
    }
  }
  settle(table, buckets, counts, 0, n);
  *word_entries = n;
  if (spec->char_max > 0 && length > 0) {
    const uint8_t *word = normalised;  // at the space before the word
    while (word + 1 < end) {
      const uint8_t *after = word + 1;
      while (*after != SPACE) after++;
      after++;  // past the space behind the word
      for (const uint8_t *start = word; start < after; start += scalar_length(*start)) {
        uint64_t h = spec->char_basis;
        const uint8_t *p = start;
        for (int size = 1; size <= spec->char_max && p < after; size++) {
          for (size_t k = scalar_length(*p); k > 0; k--) h = fnv(h, *p++);
          if (size >= spec->char_min) note(bucket_of(h, bits), table, buckets, &n);
        }
      }
      word = after - 1;
    }
  }
  settle(table, buckets, counts, *word_entries, n);
  return n;
}

// ---- Scores ----

// Weight rows lie all over a matrix that only the last cache level holds: asking for them ahead hides most of the wait.
INLINE void prefetch(const void *row, size_t bytes) {
  for (size_t offset = 0; offset < bytes; offset += 64) __builtin_prefetch((const char *)row + offset);
}

CLONES void amaf_sparse_scores(const int32_t *starts, const int32_t *columns, const float *values, size_t rows, const int32_t *row_of,
                               const int16_t *weights, float scale, const float *bias, size_t pitch, float *z) {
  int32_t last = starts[rows];
  for (size_t r = 0; r < rows; r++) {
    float *restrict out = z + r * pitch;
    for (size_t k = 0; k < pitch; k++) out[k] = bias[k];
    int32_t j = starts[r], end = starts[r + 1];
    while (j < end) {
      // Four weight rows at a time, so that the sums are loaded and stored once for four.
      for (int32_t ahead = j + 4; ahead < j + 8 && ahead < last; ahead++) {
        int32_t row = row_of[columns[ahead]];
        if (row >= 0) prefetch(weights + (size_t)row * pitch, pitch * sizeof(int16_t));
      }
      const int16_t *w[4];
      float v[4];
      int found = 0;
      while (j < end && found < 4) {
        int32_t row = row_of[columns[j]];
        if (row >= 0) {
          w[found] = weights + (size_t)row * pitch;
          v[found++] = values[j] * scale;
        }
        j++;
      }
      if (found == 0) break;
      for (int i = found; i < 4; i++) {
        w[i] = w[0];
        v[i] = 0;
      }
      const int16_t *restrict a = w[0], *restrict b = w[1], *restrict c = w[2], *restrict d = w[3];
      float va = v[0], vb = v[1], vc = v[2], vd = v[3];
      for (size_t k = 0; k < pitch; k++)
        out[k] += (va * (float)a[k] + vb * (float)b[k]) + (vc * (float)c[k] + vd * (float)d[k]);
    }
  }
}

// e^x for x <= 0: 2^n times a polynomial of degree 6 on [-ln 2 / 2, ln 2 / 2] (Taylor; relative error below 2e-7).
INLINE float exp_nonpositive(float x) {
  x = x < -87.0f ? -87.0f : x;
  float shifted = x * 1.44269504088896f + 12582912.0f;  // adding 1.5 * 2^23 rounds to the nearest integer, kept in the low bits
  float n = shifted - 12582912.0f;
  float t = (x - n * 0.693145751953125f) - n * 1.42860677e-6f;
  float p = 1.0f / 720;
  p = p * t + 1.0f / 120;
  p = p * t + 1.0f / 24;
  p = p * t + 1.0f / 6;
  p = p * t + 0.5f;
  p = p * t + 1.0f;
  p = p * t + 1.0f;
  int32_t bits;
  memcpy(&bits, &shifted, 4);
  union { int32_t i; float f; } power = {.i = (int32_t)((uint32_t)bits << 23) + 0x3F800000};
  return p * power.f;
}

INLINE float max_of(const float *z, size_t n) {
  float lanes[16];
  for (int i = 0; i < 16; i++) lanes[i] = -__builtin_inff();
  size_t k = 0;
  for (; k + 16 <= n; k += 16)
    for (int i = 0; i < 16; i++) lanes[i] = z[k + i] > lanes[i] ? z[k + i] : lanes[i];
  float m = -__builtin_inff();
  for (int i = 0; i < 16; i++) m = lanes[i] > m ? lanes[i] : m;
  for (; k < n; k++) m = z[k] > m ? z[k] : m;
  return m;
}

// e[k] = exp(z[k] - max) for k < classes, 0 in the padding; returns the sum. z and e may be the same.
INLINE float exponentials(const float *z, float max, size_t classes, size_t pitch, float *e) {
#pragma clang fp reassociate(on)
  for (size_t k = 0; k < classes; k++) e[k] = exp_nonpositive(z[k] - max);
  for (size_t k = classes; k < pitch; k++) e[k] = 0;
  float sum = 0;
  for (size_t k = 0; k < pitch; k++) sum += e[k];
  return sum;
}

CLONES void amaf_sparse_softmax(const float *z, size_t rows, size_t classes, size_t pitch, float *out) {
  for (size_t r = 0; r < rows; r++) {
    float *e = out + r * pitch;
    float sum = exponentials(z + r * pitch, max_of(z + r * pitch, classes), classes, pitch, e), inverse = 1 / sum;
    for (size_t k = 0; k < pitch; k++) e[k] *= inverse;
  }
}

CLONES void amaf_softmax_summary(const float *z, size_t rows, size_t classes, size_t pitch, amaf_class_summary *out) {
#pragma clang fp reassociate(on)
  for (size_t r = 0; r < rows; r++) {
    const float *x = z + r * pitch;
    float max = max_of(x, classes), sum = 0, weighted = 0;
    for (size_t k = 0; k < classes; k++) {
      float d = x[k] - max;
      d = d < -87.0f ? -87.0f : d;
      float e = exp_nonpositive(d);
      sum += e;
      weighted += e * d;
    }
    size_t top = 0, second = 0;
    while (x[top] != max && top + 1 < classes) top++;
    float next = -__builtin_inff();
    for (size_t k = 0; k < classes; k++) {
      if (k != top && x[k] > next) {
        next = x[k];
        second = k;
      }
    }
    float entropy = logf(sum) - weighted / sum;  // ln sum(e) - sum(p d), with p = e / sum
    out[r].top = (uint16_t)top;
    out[r].second = (uint16_t)second;
    out[r].top_probability = 1 / sum;
    out[r].second_probability = classes > 1 ? exp_nonpositive(next - max) / sum : 0;
    out[r].entropy = entropy > 0 ? entropy : 0;
  }
}

// ---- Training ----

// w[columns[j]] += values[j] * d for the entries of one row.
INLINE void scatter(const amaf_softmax_problem *p, int32_t begin, int32_t end, const float *restrict d) {
  size_t pitch = p->pitch;
  for (int32_t j = begin; j < end; j++) {
    float *restrict w = p->weights + (size_t)p->columns[j] * pitch;
    float v = p->values[j];
    for (size_t k = 0; k < pitch; k++) w[k] += v * d[k];
  }
  if (p->intercept != 0)
    for (size_t k = 0; k < pitch; k++) p->bias[k] += p->intercept * d[k];
}

CLONES void amaf_softmax_primal(const amaf_softmax_problem *p, size_t rows, size_t columns) {
  size_t pitch = p->pitch;
  memset(p->weights, 0, columns * pitch * sizeof(float));
  memset(p->bias, 0, pitch * sizeof(float));
  float d[pitch];
  for (size_t i = 0; i < rows; i++) {
    const float *dual = p->dual + i * pitch;
    for (size_t k = 0; k < pitch; k++) d[k] = dual[k] * p->inverse_l2;
    scatter(p, p->starts[i], p->starts[i + 1], d);
  }
}

CLONES double amaf_softmax_dual_epoch(const amaf_softmax_problem *p, const int32_t *order, size_t count) {
#pragma clang fp reassociate(on)
  size_t pitch = p->pitch, classes = p->classes;
  float z[pitch], d[pitch];
  double change = 0;
  for (size_t q = 0; q < count; q++) {
    size_t i = (size_t)order[q];
    int32_t begin = p->starts[i], end = p->starts[i + 1], j = begin;
    for (size_t k = 0; k < pitch; k++) z[k] = p->intercept * p->bias[k];
    for (; j + 4 <= end; j += 4) {
      for (int32_t ahead = j + 4; ahead < j + 8 && ahead < end; ahead++)
        prefetch(p->weights + (size_t)p->columns[ahead] * pitch, pitch * sizeof(float));
      const float *restrict a = p->weights + (size_t)p->columns[j] * pitch, *restrict b = p->weights + (size_t)p->columns[j + 1] * pitch,
                  *restrict c = p->weights + (size_t)p->columns[j + 2] * pitch, *restrict e = p->weights + (size_t)p->columns[j + 3] * pitch;
      float va = p->values[j], vb = p->values[j + 1], vc = p->values[j + 2], ve = p->values[j + 3];
      for (size_t k = 0; k < pitch; k++) z[k] += (va * a[k] + vb * b[k]) + (vc * c[k] + ve * e[k]);
    }
    for (; j < end; j++) {
      const float *restrict a = p->weights + (size_t)p->columns[j] * pitch;
      float v = p->values[j];
      for (size_t k = 0; k < pitch; k++) z[k] += v * a[k];
    }
    float sum = exponentials(z, max_of(z, classes), classes, pitch, z), cost = p->costs[i], scale = cost / sum;
    // The step of Prox-SDCA's option V (Shalev-Shwartz and Zhang 2013, 2014): the loss is 1/2-smooth in the scores.
    float step = 1 / (1 + 0.5f * cost * p->norms[i] * p->inverse_l2), moved = 0;
    float *restrict dual = p->dual + i * pitch;
    if (p->labels) {
      for (size_t k = 0; k < pitch; k++) d[k] = -scale * z[k];
      d[p->labels[i]] += cost;
    } else {
      const float *restrict target = p->targets + i * pitch;
      for (size_t k = 0; k < pitch; k++) d[k] = cost * target[k] - scale * z[k];
    }
    for (size_t k = 0; k < pitch; k++) {
      float t = step * (d[k] - dual[k]);
      dual[k] += t;
      moved += __builtin_fabsf(t);
      d[k] = t * p->inverse_l2;
    }
    change += moved;
    scatter(p, begin, end, d);
  }
  return change;
}
