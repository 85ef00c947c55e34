// One instruction level of the matrix product; gemm.c includes this once per level with
//   V, VU   a vector type of W floats, and the same without alignment,
//   TILE    rows of C held in registers (beside two vectors per row), a multiple of 4,
//   LEVEL   the function attributes that select the level, NAME(x) a suffix.
// Not a header for anybody else.

#define NR (2 * W)
#define UNROLL _Pragma("clang loop unroll(full)")

// acc[i] += a[i][p] b[p] for p in 0..<k: the order of p is the order of addition, so an element's bits depend on k alone,
// never on which tile, part or lane computed it. Rows of A are `step` floats apart and read along p (`along` 1), or stored
// as [p][TILE] (`along` 0).
#define MICRO(MR)                                                                                                              \
  LEVEL static void NAME(micro##MR)(const amaf_product *q, size_t k, const float *a, size_t step, int along, const float *b,    \
                                    size_t row, size_t column, int first, int last) {                                          \
    V acc[MR][2];                                                                                                              \
    UNROLL for (int i = 0; i < MR; i++) { acc[i][0] = (V){0}; acc[i][1] = (V){0}; }                                             \
    float *c = q->c + row * q->c_stride + column;                                                                              \
    /* The tile of C is wanted at the end; asking for it now hides the wait. */                                                \
    UNROLL for (int i = 0; i < MR; i++) {                                                                                      \
      __builtin_prefetch(c + (size_t)i * q->c_stride, 1);                                                                      \
      __builtin_prefetch(c + (size_t)i * q->c_stride + W, 1);                                                                  \
    }                                                                                                                          \
    if (last && q->residual) {                                                                                                 \
      const float *r = q->residual + row * q->residual_stride + column;                                                        \
      UNROLL for (int i = 0; i < MR; i++) {                                                                                    \
        __builtin_prefetch(r + (size_t)i * q->residual_stride);                                                                \
        __builtin_prefetch(r + (size_t)i * q->residual_stride + W);                                                            \
      }                                                                                                                        \
    }                                                                                                                          \
    if (along) {                                                                                                               \
      const float *r[MR / 4];                                                                                                  \
      UNROLL for (int i = 0; i < MR / 4; i++) r[i] = a + 4 * (size_t)i * step;                                                  \
      size_t three = 3 * step;                                                                                                 \
      for (size_t p = 0; p < k; p++, b += NR) {                                                                                \
        V b0 = *(const V *)b, b1 = *(const V *)(b + W);                                                                        \
        UNROLL for (int i = 0; i < MR; i++) {                                                                                  \
          const float *at = r[i / 4];                                                                                          \
          V x = at[i % 4 == 3 ? three : (size_t)(i % 4) * step] - (V){0};                                                       \
          acc[i][0] = x * b0 + acc[i][0];                                                                                      \
          acc[i][1] = x * b1 + acc[i][1];                                                                                      \
        }                                                                                                                      \
        UNROLL for (int i = 0; i < MR / 4; i++) { r[i]++; __asm__("" : "+r"(r[i])); }                                           \
      }                                                                                                                        \
    } else                                                                                                                     \
      for (size_t p = 0; p < k; p++, b += NR, a += TILE) {                                                                      \
        V b0 = *(const V *)b, b1 = *(const V *)(b + W);                                                                        \
        UNROLL for (int i = 0; i < MR; i++) {                                                                                  \
          V x = a[i] - (V){0};                                                                                                 \
          acc[i][0] = x * b0 + acc[i][0];                                                                                      \
          acc[i][1] = x * b1 + acc[i][1];                                                                                      \
        }                                                                                                                      \
      }                                                                                                                        \
    NAME(store)(q, &acc[0][0], MR, row, column, first, last);                                                                  \
  }

// C = f(alpha acc + C + bias + residual); f is ReLU or nothing, other functions follow by rows.
LEVEL static inline __attribute__((always_inline)) void NAME(store)(const amaf_product *q, const V *acc, int height, size_t row, size_t column,
                                                                    int first, int last) {
  float *c = q->c + row * q->c_stride + column;
  int add = !first || q->accumulate;
  const float *bias = last && q->bias ? q->bias + column : 0;
  const float *residual = last && q->residual ? q->residual + row * q->residual_stride + column : 0;
  int relu = last && q->function == AMAF_RELU;
  V alpha = q->alpha - (V){0};
  if (column + NR <= q->n && row + (size_t)height <= q->rows) {
    V b0 = bias ? *(const VU *)bias : (V){0}, b1 = bias ? *(const VU *)(bias + W) : (V){0};
    UNROLL for (int i = 0; i < height; i++) {
      VU *y = (VU *)(c + (size_t)i * q->c_stride);
      V v0 = alpha * acc[2 * i], v1 = alpha * acc[2 * i + 1];
      if (add) { v0 += y[0]; v1 += y[1]; }
      if (bias) { v0 += b0; v1 += b1; }
      if (residual) {
        const VU *r = (const VU *)(residual + (size_t)i * q->residual_stride);
        v0 += r[0];
        v1 += r[1];
      }
      if (relu) { v0 = __builtin_elementwise_max(v0, (V){0}); v1 = __builtin_elementwise_max(v1, (V){0}); }
      y[0] = v0;
      y[1] = v1;
    }
    return;
  }
  float tile[TILE * NR];
  UNROLL for (int i = 0; i < 2 * height; i++) *(VU *)(tile + i * W) = alpha * acc[i];
  size_t rows = q->rows - row < (size_t)height ? q->rows - row : (size_t)height, width = q->n - column < NR ? q->n - column : NR;
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < width; j++) {
      float v = tile[i * NR + j];
      if (add) v += c[i * q->c_stride + j];
      if (bias) v += bias[j];
      if (residual) v += residual[i * q->residual_stride + j];
      c[i * q->c_stride + j] = relu && !(v > 0) ? 0 : v;
    }
}

MICRO(4)
MICRO(8)
#if W == 16
MICRO(12)
#endif

LEVEL static void NAME(tile)(const amaf_product *q, size_t k, const float *a, size_t step, int along, const float *b, size_t row, size_t column,
                             size_t height, int first, int last) {
#if W == 16
  if (height > 8) return NAME(micro12)(q, k, a, step, along, b, row, column, first, last);
#endif
  if (height > 4) return NAME(micro8)(q, k, a, step, along, b, row, column, first, last);
  NAME(micro4)(q, k, a, step, along, b, row, column, first, last);
}

// Panels first..<last of op(B) (k, n), the first of them at `packed`: panel j holds columns j NR ..< (j + 1) NR for every p, zeros beyond n.
LEVEL static void NAME(pack)(const float *b, size_t b_stride, int transposed, size_t k, size_t n, float *packed, size_t first, size_t last) {
  size_t whole = n / NR < last ? n / NR : last;
  if (whole < first) whole = first;
  if (!transposed)
    // Row by row, so that reading runs along memory; every panel gets whole cache lines.
    for (size_t p = 0; p < k; p++) {
      const float *source = b + p * b_stride;
      for (size_t panel = first; panel < whole; panel++) {
        float *out = packed + ((panel - first) * k + p) * NR;
        V b0 = *(const VU *)(source + panel * NR), b1 = *(const VU *)(source + panel * NR + W);
        *(V *)out = b0;
        *(V *)(out + W) = b1;
      }
    }
  else
    for (size_t panel = first; panel < whole; panel++) {
      float *out = packed + (panel - first) * k * NR;
      const float *source = b + panel * NR * b_stride;
      size_t p = 0;
      // Whole cache lines of eight rows at a time: rows a power of two apart would have lost them before the next eight columns.
      for (; p + 16 <= k; p += 16)
        for (size_t j = 0; j < NR; j += 8)
          for (size_t half = 0; half < 16; half += 8)
            transpose8(source + j * b_stride + p + half, b_stride, out + (p + half) * NR + j, NR);
      for (; p + 8 <= k; p += 8)
        for (size_t j = 0; j < NR; j += 8) transpose8(source + j * b_stride + p, b_stride, out + p * NR + j, NR);
      for (; p < k; p++)
        for (size_t j = 0; j < NR; j++) out[p * NR + j] = source[j * b_stride + p];
    }
  for (size_t panel = whole; panel < last; panel++)
    for (size_t p = 0; p < k; p++)
      for (size_t j = 0; j < NR; j++) {
        size_t column = panel * NR + j;
        packed[((panel - first) * k + p) * NR + j] = column >= n ? 0 : transposed ? b[column * b_stride + p] : b[p * b_stride + column];
      }
}

// Rows first..<last of op(A) times panels first..<last, row block by row block.
LEVEL static void NAME(multiply)(const amaf_product *q, size_t first_row, size_t last_row, size_t first_panel, size_t last_panel, float *scratch) {
  size_t k = q->k, blocks = (k + DEPTH - 1) / DEPTH, depth = blocks ? (k + blocks - 1) / blocks : 0;
  for (size_t top = first_row; top < last_row; top += ROWS) {
    size_t bottom = last_row - top < ROWS ? last_row : top + ROWS;
    for (size_t start = 0; start < k; start += depth) {
      size_t count = k - start < depth ? k - start : depth;
      int first = start == 0, last = start + count == k, along = !q->a_transposed;
      // An odd number of cache lines from row to row keeps a tile's rows apart in the cache.
      size_t step = along ? (count + 15) / 16 * 16 : count;
      if (along && step / 16 % 2 == 0) step += 16;
      // A tile of one or two panels is not worth a copy unless its rows collide in the cache.
      int direct = along && !q->window && last_panel - first_panel <= 2 && q->a_stride % 256 != 0;
      for (size_t row = top; row < bottom; row += TILE) {
        size_t height = bottom - row < TILE ? bottom - row : TILE;
        if (direct && height == TILE) continue;
        gather_tile(q, row, height, TILE, start, count, step, scratch + (row - top) * step);
      }
      for (size_t panel = first_panel; panel < last_panel; panel++) {
        const float *b = q->packed + panel * k * NR + start * NR;
        for (size_t row = top; row < bottom; row += TILE) {
          size_t height = bottom - row < TILE ? bottom - row : TILE;
          int here = direct && height == TILE;
          NAME(tile)(q, count, here ? q->a + row * q->a_stride + start : scratch + (row - top) * step, here ? q->a_stride : step, along, b, row,
                     panel * NR, height, first, last);
        }
        if (last && q->function != AMAF_IDENTITY && q->function != AMAF_RELU) {
          size_t column = panel * NR;
          amaf_epilogue(q->c + top * q->c_stride + column, q->c_stride, 0, 0, 0, q->function, bottom - top, q->n - column < NR ? q->n - column : NR);
        }
      }
    }
  }
}

// How A's rows lie once gathered: `blocks` runs of k of `depth` numbers, each with all its tiles one after the other.
LEVEL static inline size_t NAME(gathered_step)(const amaf_product *q, size_t count) {
  size_t step = q->a_transposed ? count : (count + 15) / 16 * 16;
  return !q->a_transposed && step / 16 % 2 == 0 ? step + 16 : step;
}

// The cache lines of a panel of op(B), asked for a few at a time while the panel before it is multiplied.
typedef struct { const float *at; size_t row_step, run, line, left; } NAME(asking);

LEVEL static inline NAME(asking) NAME(start_asking)(const float *b, size_t b_stride, int transposed, size_t k, size_t n, size_t panel) {
  size_t column = panel * NR;
  NAME(asking) w = {b + (transposed ? column * b_stride : column), b_stride, transposed ? (k + 15) / 16 : NR / 16, 0, 0};
  // A panel at the edge is left out: its lines may lie beyond the matrix.
  if (column + NR <= n) w.left = transposed ? NR * w.run : k * w.run;
  return w;
}

LEVEL static inline void NAME(ask)(NAME(asking) *w, size_t count) {
  if (count > w->left) count = w->left;
  w->left -= count;
  for (size_t i = 0; i < count; i++) {
    __builtin_prefetch(w->at + w->line * 16, 0, 2);
    if (++w->line == w->run) { w->line = 0; w->at += w->row_step; }
  }
}

// All rows times panels first..<last, each panel packed when its turn has come: for few rows, whose A fits into the second-level cache
// beside a panel. `rows` keeps A from call to call once it is gathered.
LEVEL static void NAME(multiply_few_rows)(const amaf_product *q, const float *b, size_t b_stride, int b_transposed, size_t first_panel,
                                          size_t last_panel, float *rows, int is_gathered, float *packed) {
  size_t k = q->k, blocks = (k + DEPTH - 1) / DEPTH, depth = blocks ? (k + blocks - 1) / blocks : 0;
  size_t tiles = (q->rows + TILE - 1) / TILE, run = tiles * TILE * NAME(gathered_step)(q, depth);
  // Rows that do not collide in the cache are read in place; only a last tile that is not full is gathered.
  int direct = !q->a_transposed && q->a_stride % 256 != 0;
  if (!is_gathered)
    for (size_t start = 0, i = 0; start < k; start += depth, i++) {
      size_t count = k - start < depth ? k - start : depth, step = NAME(gathered_step)(q, count);
      for (size_t row = direct ? q->rows / TILE * TILE : 0; row < q->rows; row += TILE)
        gather_tile(q, row, q->rows - row < TILE ? q->rows - row : TILE, TILE, start, count, step, rows + i * run + row * step);
    }
  for (size_t panel = first_panel; panel < last_panel; panel++) {
    NAME(asking) next = NAME(start_asking)(b, b_stride, b_transposed, k, panel + 1 < last_panel ? q->n : 0, panel + 1);
    size_t share = next.left / (tiles * blocks) + 1;
    NAME(pack)(b, b_stride, b_transposed, k, q->n, packed, panel, panel + 1);
    for (size_t start = 0, i = 0; start < k; start += depth, i++) {
      size_t count = k - start < depth ? k - start : depth, step = NAME(gathered_step)(q, count);
      for (size_t row = 0; row < q->rows; row += TILE) {
        size_t height = q->rows - row < TILE ? q->rows - row : TILE;
        NAME(ask)(&next, share);
        int here = direct && height == TILE;
        NAME(tile)(q, count, here ? q->a + row * q->a_stride + start : rows + i * run + row * step, here ? q->a_stride : step, !q->a_transposed, packed + start * NR, row, panel * NR, height, start == 0,
                   start + count == k);
      }
    }
    if (q->function != AMAF_IDENTITY && q->function != AMAF_RELU) {
      size_t column = panel * NR;
      amaf_epilogue(q->c + column, q->c_stride, 0, 0, 0, q->function, q->rows, q->n - column < NR ? q->n - column : NR);
    }
  }
}

#undef NR
#undef UNROLL
#undef MICRO
