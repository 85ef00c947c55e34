#ifndef AMAF_SPARSE_H
#define AMAF_SPARSE_H
#include <stddef.h>
#include <stdint.h>

// Hashed n-grams of one text.
//
// The text is first normalised: ASCII letters to lower case, every run of separators to one space, one space at each end.
// Separators are all ASCII bytes but letters and digits, the Latin-1 signs, general and CJK punctuation and full-width
// signs; an apostrophe (ASCII or U+2019) stays where it stands between two word characters. Letters beyond ASCII are taken as they are.
typedef struct {
  uint64_t word_basis;   // FNV-1a state that each word n-gram starts from
  uint64_t char_basis;   // the same for character n-grams
  int32_t bucket_bits;   // 2^bits buckets
  int32_t word_max;      // word n-grams of 1...word_max words; 0 for none
  int32_t char_min;      // character n-grams of char_min...char_max characters, inside a word with one space on each side
  int32_t char_max;      // 0 for none
} amaf_ngram_spec;

// The most entries that a text of so many bytes can have.
size_t amaf_ngram_capacity(const amaf_ngram_spec *spec, size_t bytes);

// Writes each bucket once for each family, words before characters, in the order of first occurrence, with how often it occurs
// (at most 255). `table` holds 2^bucket_bits counters, all zero on entry and on return. `normalised` has room for bytes + 2.
// Returns the number of entries; *word_entries says how many of them are words'.
size_t amaf_hash_ngrams(const amaf_ngram_spec *spec, const uint8_t *text, size_t bytes, uint8_t *normalised, uint8_t *table,
                        uint32_t *buckets, uint8_t *counts, size_t *word_entries);

// z[r, k] = bias[k] + scale * sum_j values[j] * weights[row_of[columns[j]], k] for the rows of a CSR matrix; columns without
// a weight row (row_of < 0) add nothing. `pitch` is the padded number of classes, a multiple of 16, of z, bias and weights.
void amaf_sparse_scores(const int32_t *starts, const int32_t *columns, const float *values, size_t rows, const int32_t *row_of,
                        const int16_t *weights, float scale, const float *bias, size_t pitch, float *z);

// What acquisition needs of one row: the two likeliest classes with their probabilities, and the entropy in nats.
typedef struct {
  uint16_t top, second;
  float top_probability, second_probability, entropy;
} amaf_class_summary;

// softmax over the first `classes` of each row of `pitch` scores, summarised. Equal scores: the smaller class comes first.
void amaf_softmax_summary(const float *z, size_t rows, size_t classes, size_t pitch, amaf_class_summary *out);

// softmax over the first `classes` of each row; the padding becomes 0. `out` may be `z`.
void amaf_sparse_softmax(const float *z, size_t rows, size_t classes, size_t pitch, float *out);

// A multinomial logistic regression in training. All matrices have `pitch` floats a row.
typedef struct {
  const int32_t *starts;    // rows + 1; CSR of the examples, columns already compact
  const int32_t *columns;
  const float *values;
  const float *norms;       // squared L2 norm of each row, the intercept's feature included
  const float *costs;       // weight of each example
  const int32_t *labels;    // class of each example, or NULL
  const float *targets;     // class distribution of each example, read where labels is NULL
  float *dual;              // rows x pitch
  float *weights;           // columns x pitch
  float *bias;              // pitch
  size_t classes, pitch;
  float inverse_l2;         // 1 / lambda
  float intercept;          // value of the constant feature; 0 for no intercept
} amaf_softmax_problem;

// weights and bias from the dual variables: W = (1 / lambda) sum_i x_i dual_i'. Both are set to zero first.
void amaf_softmax_primal(const amaf_softmax_problem *problem, size_t rows, size_t columns);

// One pass of stochastic dual coordinate ascent in the given order. Returns the sum of |change of a dual variable|.
double amaf_softmax_dual_epoch(const amaf_softmax_problem *problem, const int32_t *order, size_t count);
#endif
