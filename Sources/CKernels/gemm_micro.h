// One instruction level of the matrix product; gemm.c includes this once per level with
//   V      a vector type of W floats,  MR rows and 2 W columns of C held in registers,  NAME(x) a suffix.
// Not a header for anybody else.

#define NR (2 * W)

// acc[i] += a[i][p] * b[p] for p in 0..<k, the order of p being the order of addition: an element's bits depend on k alone,
// never on which tile, part or lane computed it.
static void NAME(micro)(size_t k, const float *const *rows, size_t step, const float *b, float alpha, float *c, size_t c_stride, size_t height,
                        size_t width, int add) {
  V acc[MR][2];
#pragma clang loop unroll(full)
  for (int i = 0; i < MR; i++) { acc[i][0] = (V){0}; acc[i][1] = (V){0}; }
  const float *r[MR];
#pragma clang loop unroll(full)
  for (int i = 0; i < MR; i++) r[i] = rows[i];
  // The tile of C is wanted at the end; asking for it now hides the wait.
#pragma clang loop unroll(full)
  for (int i = 0; i < MR; i++) if ((size_t)i < height) __builtin_prefetch(c + (size_t)i * c_stride, 1);
  size_t at = 0;
#pragma clang loop unroll_count(4)
  for (size_t p = 0; p < k; p++, at += step, b += NR) {
    V b0 = *(const V *)b, b1 = *(const V *)(b + W);
#pragma clang loop unroll(full)
    for (int i = 0; i < MR; i++) {
      V a = r[i][at] - (V){0};
      acc[i][0] = a * b0 + acc[i][0];
      acc[i][1] = a * b1 + acc[i][1];
    }
  }
  if (height == MR && width == NR) {
#pragma clang loop unroll(full)
    for (int i = 0; i < MR; i++) {
      NAME(unaligned) *y = (NAME(unaligned) *)(c + (size_t)i * c_stride);
      V v0 = alpha * acc[i][0], v1 = alpha * acc[i][1];
      if (add) { v0 += y[0]; v1 += y[1]; }
      y[0] = v0;
      y[1] = v1;
    }
  } else {
    float tile[MR][NR];
#pragma clang loop unroll(full)
    for (int i = 0; i < MR; i++) {
      *(NAME(unaligned) *)(tile[i]) = alpha * acc[i][0];
      *(NAME(unaligned) *)(tile[i] + W) = alpha * acc[i][1];
    }
    for (size_t i = 0; i < height; i++)
      for (size_t j = 0; j < width; j++) c[i * c_stride + j] = add ? c[i * c_stride + j] + tile[i][j] : tile[i][j];
  }
}

// Panels first..<last of op(B) (k, n): panel j holds columns j NR ..< (j + 1) NR for every p, zeros beyond n.
static void NAME(pack)(const float *b, size_t b_stride, int transposed, size_t k, size_t n, float *packed, size_t first, size_t last) {
  for (size_t panel = first; panel < last; panel++) {
    float *out = packed + panel * k * NR;
    size_t column = panel * NR, width = n - column < NR ? n - column : NR;
    if (!transposed) {
      for (size_t p = 0; p < k; p++, out += NR) {
        const float *source = b + p * b_stride + column;
        if (width == NR) memcpy(out, source, NR * sizeof(float));
        else {
          memcpy(out, source, width * sizeof(float));
          memset(out + width, 0, (NR - width) * sizeof(float));
        }
      }
      continue;
    }
    for (size_t group = 0; group < NR; group += 8) {
      size_t p = 0;
      if (group + 8 <= width)
        for (; p + 8 <= k; p += 8) transpose8(b + (column + group) * b_stride + p, b_stride, out + p * NR + group, NR);
      for (; p < k; p++)
        for (size_t j = 0; j < 8; j++) out[p * NR + group + j] = group + j < width ? b[(column + group + j) * b_stride + p] : 0;
    }
  }
}

// Rows of op(A) (rows, k) times panels first..<last; C begins at the first panel's column.
static void NAME(multiply)(size_t rows, size_t k, size_t n, size_t first, size_t last, float alpha, const float *a, size_t a_stride, int transposed,
                           const float *packed, int accumulate, float *c, size_t c_stride, float *scratch) {
  size_t blocks = (k + 319) / 320, depth = blocks ? (k + blocks - 1) / blocks : 0;
  if (k == 0) {
    if (!accumulate)
      for (size_t i = 0; i < rows; i++) memset(c + i * c_stride, 0, ((last * NR < n ? last * NR : n) - first * NR) * sizeof(float));
    return;
  }
  for (size_t start = 0; start < k; start += depth) {
    size_t count = k - start < depth ? k - start : depth;
    int add = accumulate || start > 0;
    // Tiles of op(A) as [p][MR], so that the inner loop reads one run of memory; not worth it for a panel or two.
    int packs = transposed || last - first > 2;
    if (packs && !transposed)
      for (size_t i = 0; i < rows; i += MR) {
        float *out = scratch + i * count, block[64];
        size_t height = rows - i < MR ? rows - i : MR, p = 0;
        for (; p + 8 <= count; p += 8)
          for (size_t j = 0; j < MR; j += 8) {
            size_t wide = MR - j < 8 ? MR - j : 8;
            const float *pointers[8];
            for (size_t l = 0; l < 8; l++) pointers[l] = a + (i + (j + l < height ? j + l : height - 1)) * a_stride + start + p;
            gather8(pointers, block);
            for (size_t q = 0; q < 8; q++) memcpy(out + (p + q) * MR + j, block + 8 * q, wide * sizeof(float));
          }
        for (; p < count; p++)
          for (size_t j = 0; j < MR; j++) out[p * MR + j] = a[(i + (j < height ? j : height - 1)) * a_stride + start + p];
      }
    if (transposed)
      for (size_t i = 0; i < rows; i += MR) {
        float *out = scratch + i * count;
        size_t height = rows - i < MR ? rows - i : MR;
        for (size_t p = 0; p < count; p++, out += MR) {
          const float *source = a + (start + p) * a_stride + i;
          for (size_t j = 0; j < MR; j++) out[j] = source[j < height ? j : height - 1];
        }
      }
    for (size_t panel = first; panel < last; panel++) {
      size_t column = panel * NR, width = n - column < NR ? n - column : NR;
      for (size_t i = 0; i < rows; i += MR) {
        size_t height = rows - i < MR ? rows - i : MR;
        const float *pointers[MR];
        // Rows beyond the last repeat it; what they give is not stored.
        for (size_t j = 0; j < MR; j++)
          pointers[j] = packs ? scratch + i * count + j : a + (i + (j < height ? j : height - 1)) * a_stride + start;
        NAME(micro)(count, pointers, packs ? MR : 1, packed + panel * k * NR + start * NR, alpha, c + i * c_stride + (column - first * NR),
                    c_stride, height, width, add);
      }
    }
  }
}

#undef NR
