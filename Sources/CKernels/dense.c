#include "dense.h"
