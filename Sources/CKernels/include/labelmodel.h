#ifndef AMAF_LABELMODEL_H
#define AMAF_LABELMODEL_H
// E-steps of label models over blocks of votes. Scores are integers in 2^-16 nats, masses integers in 2^-24, so sums have no
// order; exp is our own polynomial without fused multiply-add, so every instruction level gives the same bits.
#include <stddef.h>
#include <stdint.h>

enum { AMAF_MASS_ONE = 1 << 24, AMAF_TWO_CLASS_ROWS = 1024 };

/// Two classes, any table of log-likelihoods. `votes`: m columns of `rows` (at most AMAF_TWO_CLASS_ROWS) cells, 0, 1 or below 0
/// for none, `stride` apart. against[j], for_[j]: what a vote for 0 and for 1 adds to the score of class 1 over class 0.
/// sum0[j], sum1[j] += mass of class 1 over the rows that vote 0, 1. *sum += mass of class 1 over all rows: a
/// row without votes has that of the base. gold: class by row, below 0 where unknown, or null. mass: mass of class 1 by row, or null.
void amaf_two_class_step(const int8_t *votes, size_t stride, size_t rows, size_t m, int32_t base, const int32_t *against,
                         const int32_t *for_, const int8_t *gold, int64_t *sum0, int64_t *sum1, int64_t *sum, int32_t *mass);

/// The agreement form over compressed sparse rows: a vote for class c adds weights[function] to class c.
/// base: log balance by class; base_share: exp(base - largest_base) * 2^40; base_share_sum: their sum.
/// agreed[j] += mass of the class that j votes for; class_mass[c] += mass of c where it is voted for; outside_voted[c] and
/// *outside += factor * 2^24, where factor * base_share / 2^40 is p of a class without votes (left out when null).
/// scratch: 4 * classes int64, the first `classes` of them zero.
void amaf_agreement_step(const uint32_t *offsets, const uint16_t *functions, const uint16_t *votes, size_t rows, size_t classes,
                         const int32_t *weights, const int64_t *base, const int64_t *base_share, int64_t base_share_sum,
                         int64_t largest_base, const int16_t *gold, int64_t *agreed, int64_t *class_mass, int64_t *outside_voted,
                         int64_t *outside, int64_t *covered, int64_t *scratch);
#endif
