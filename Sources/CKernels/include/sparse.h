#ifndef AMAF_SPARSE_H
#define AMAF_SPARSE_H
#include <stddef.h>
#include <stdint.h>
#endif
