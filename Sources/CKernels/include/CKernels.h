#ifndef AMAF_CKERNELS_H
#define AMAF_CKERNELS_H
// Small C loops that the Swift compiler does not vectorise on the default target; each has a naive Swift twin in tests.
#include "dense.h"
#include "labelmodel.h"
#include "resample.h"
#include "sparse.h"
#endif
