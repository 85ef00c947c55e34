#ifndef AMAF_DENSE_H
#define AMAF_DENSE_H
#include <stddef.h>
#include <stdint.h>
#endif
