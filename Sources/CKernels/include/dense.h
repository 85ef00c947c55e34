#ifndef AMAF_DENSE_H
#define AMAF_DENSE_H
// Dense Float32 loops. Every matrix is row-major; `rows` x `columns` unless said. Functions work on the range they are
// given and know nothing of lanes; the naive Swift twin of each is in Kernels/ReferenceKernels*.swift.
#include <stddef.h>
#include <stdint.h>

// Pointwise functions, numbered as Swift's UnaryFunction.
enum {
  AMAF_IDENTITY = 0, AMAF_RELU, AMAF_GELU_ERF, AMAF_GELU_TANH, AMAF_QUICK_GELU, AMAF_TANH, AMAF_SIGMOID,
  AMAF_EXP, AMAF_LOG, AMAF_SOFTPLUS
};

void amaf_unary(int function, const float *x, float *y, size_t n);
/// dx (+)= dy * f'(x), with y = f(x) at hand for functions whose slope is cheaper from the result.
void amaf_unary_backward(int function, const float *x, const float *y, const float *dy, float *dx, size_t n, int accumulate);

void amaf_fill(float *y, float value, size_t n);
/// out = alpha * x + beta * y
void amaf_combine(const float *x, float alpha, const float *y, float beta, float *out, size_t n);
/// out (+)= x * y
void amaf_multiply(const float *x, const float *y, float *out, size_t n, int accumulate);
/// y[r][c] (+)= x[r][c], with row strides.
void amaf_copy_rows(const float *x, size_t x_stride, float *y, size_t y_stride, size_t rows, size_t columns, int accumulate);
/// out[r][c] = x[r][c] + row[c]
void amaf_add_row(const float *x, const float *row, float *out, size_t rows, size_t columns);
/// out[c] (+)= sum over r of x[r * stride + c]
void amaf_sum_rows(const float *x, size_t stride, float *out, size_t rows, size_t columns, int accumulate);

/// c[r][j] = f(c[r][j] + bias[j] + residual[r][j]); bias and residual may be null.
void amaf_epilogue(float *c, size_t c_stride, const float *bias, const float *residual, size_t r_stride, int function, size_t rows,
                   size_t columns);

/// y = softmax(scale * x + bias_a + bias_b) of one row; biases may be null; entries from `limit` on are left out (0).
void amaf_softmax_row(const float *x, float *y, size_t columns, size_t limit, float scale, const float *bias_a, const float *bias_b);
/// dx = scale * y * (dy - sum(y * dy)), row by row.
void amaf_softmax_backward(const float *y, const float *dy, float *dx, size_t rows, size_t columns, float scale);
/// loss[r] = -sum_c t log softmax(x); dx = scale * (softmax(x) * sum_c t - t). dx may be null.
void amaf_cross_entropy(const float *x, const float *t, float *loss, float *dx, size_t rows, size_t columns, float scale);

/// stats holds mean and 1/sqrt(variance + eps) of each row; it may be null.
void amaf_layer_norm(const float *x, const float *gamma, const float *beta, float *y, float *stats, size_t rows, size_t columns, float eps);
void amaf_layer_norm_backward(const float *dy, const float *x, const float *gamma, const float *stats, float *dx, float *dgamma,
                              float *dbeta, size_t rows, size_t columns, int accumulate);
void amaf_rms_norm(const float *x, const float *gamma, float *y, float *stats, size_t rows, size_t columns, float eps);
void amaf_rms_norm_backward(const float *dy, const float *x, const float *gamma, const float *stats, float *dx, float *dgamma, size_t rows,
                            size_t columns, int accumulate);

/// Sums of (x - shift[c]) and its square over rows, added to sum and square; shift may be null.
void amaf_column_moments(const float *x, const float *shift, float *sum, float *square, size_t rows, size_t columns);
/// y = f((x - mean) * scale + offset) column by column, the middle term folded by the caller.
void amaf_column_affine(const float *x, const float *scale, const float *offset, float *y, size_t rows, size_t columns, int function);
/// sum_dy[c] += dy, sum_dyx[c] += dy * (x - mean[c]) * rstd[c]
void amaf_batch_norm_sums(const float *dy, const float *x, const float *mean, const float *rstd, float *sum_dy, float *sum_dyx, size_t rows,
                          size_t columns);
/// dx (+)= a[c] * dy + b[c] * x + d[c]
void amaf_column_combine(const float *dy, const float *a, const float *x, const float *b, const float *d, float *dx, size_t rows,
                         size_t columns, int accumulate);

/// Patches of an NHWC image batch: row (image, oy, ox), column (ky, kx, channel) for positions first..last of the window.
typedef struct {
  size_t height, width, channels, out_height, out_width, window_height, window_width, stride, padding;
} amaf_window;
void amaf_im2col(const amaf_window *w, const float *x, float *columns, size_t first_row, size_t last_row, size_t first_position,
                 size_t last_position);
/// The transpose of im2col: adds patches of one image into its pixels. `x` is one image.
void amaf_col2im(const amaf_window *w, const float *columns, float *x);
/// indices may be null; else they hold the winner's place inside its image plane (y * width + x).
void amaf_max_pool(const amaf_window *w, const float *x, float *y, int32_t *indices, size_t images);
void amaf_max_pool_backward(const amaf_window *w, const float *dy, const int32_t *indices, float *dx, size_t images);

void amaf_gather_rows(const float *table, const int32_t *indices, float *y, size_t count, size_t columns);
/// table[indices[i]][first..last] += dy[i][first..last], in the order of i.
void amaf_scatter_add_rows(const float *dy, const int32_t *indices, float *table, size_t count, size_t columns, size_t first, size_t last);

/// y = x / max(|x|, eps), row by row.
void amaf_normalize_rows(const float *x, float *y, size_t rows, size_t columns, float eps);
/// out[r] = -sum p ln p, with 0 ln 0 = 0.
void amaf_entropy(const float *p, float *out, size_t rows, size_t columns);

/// Adam on n parameters. g is scaled by gradient_scale first; decay is decoupled (AdamW) and already times the learning rate.
/// Step: p -= step * m / (sqrt(v) * root_scale + eps). See Adam.swift for how both published forms give (step, root_scale, eps).
void amaf_adam(float *p, const float *g, float *m, float *v, size_t n, float beta1, float beta2, float step, float root_scale, float eps,
               float decay, float gradient_scale);

/// Standard normal numbers first..first+n of the stream `seed`, by Philox 4x32-10 and Box-Muller; first is a multiple of 4.
void amaf_normal(uint64_t seed, uint64_t stream, size_t first, float *out, size_t n);
/// The raw generator, for its published test vectors.
void amaf_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

void amaf_reparameterize(const float *mu, const float *logvar, const float *eps, float *z, size_t n);
void amaf_reparameterize_backward(const float *dz, const float *logvar, const float *eps, float *dmu, float *dlogvar, size_t n);
/// loss[r] = sum softplus(o) - x o; d = scale * (sigmoid(o) - x). d may be null or equal o.
void amaf_bernoulli(const float *o, const float *x, float *loss, float *d, size_t rows, size_t columns, float scale);
/// loss[r] = sum (m - x)^2 / 2; d = scale * (m - x). d may be null.
void amaf_gaussian(const float *m, const float *x, float *loss, float *d, size_t rows, size_t columns, float scale);
/// loss[r] = 1/2 sum mu^2 + e^v - 1 - v; dmu (+)= scale * mu; dv (+)= scale * (e^v - 1) / 2. Both may be null. Rows have a stride.
void amaf_kl(const float *mu, const float *v, size_t stride, float *loss, float *dmu, float *dv, size_t d_stride, size_t rows, size_t columns, float scale,
             int accumulate);

/// out[r][c] = scale * bytes[rows[r] * columns + c]
void amaf_gather_bytes(const uint8_t *bytes, size_t columns, const int64_t *rows, size_t count, float scale, float *out);

/// Keeps 12 chains of fused multiply-adds in registers for `rounds` rounds; returns the number of floating-point operations.
double amaf_fma_burn(size_t rounds, float *sink);

/// C = f(alpha op(A) op(B) + C + bias + residual): C (rows, n), op(A) (rows, k), packed op(B) (k, n). bias and residual may be
/// null; C is read only to accumulate. With a window, A is an NHWC image batch and op(A) its patches: row (image, oy, ox),
/// column (ky, kx, channel).
typedef struct {
  size_t rows, k, n;
  const float *a;
  size_t a_stride;
  int a_transposed;
  const amaf_window *window;
  const float *packed;
  float alpha;
  int accumulate;
  const float *bias, *residual;
  size_t residual_stride;
  int function;
  float *c;
  size_t c_stride;
} amaf_product;

/// The best instruction level here: 2 x86-64-v4, 1 x86-64-v3, 0 none of them, where BLAS must do.
int amaf_gemm_level(void);
/// Columns per packed panel; 0 for level 0.
size_t amaf_gemm_panel(int level);
/// Packs panels first..<last of op(B) (k, n) into `packed` (64-byte aligned, panels * k * amaf_gemm_panel() floats in all).
void amaf_gemm_pack(int level, const float *b, size_t b_stride, int transposed, size_t k, size_t n, float *packed, size_t first, size_t last);
/// Packs patches first_row ..< first_row + k of an image batch as op(B) (k, patch); `row` holds the patch's panels.
void amaf_gemm_pack_patches(int level, const amaf_window *w, const float *x, size_t first_row, size_t k, float *packed, float *row);
/// Rows and panels first..<last of the product; the bits of an element do not depend on the split. `scratch` holds
/// amaf_gemm_scratch() floats, aligned to 64 bytes.
void amaf_gemm_multiply(int level, const amaf_product *product, size_t first_row, size_t last_row, size_t first_panel, size_t last_panel,
                        float *scratch);
size_t amaf_gemm_scratch(void);
/// All rows times panels first..<last, packing op(B) panel by panel into `packed` (k * amaf_gemm_panel() floats): the same bits for few rows,
/// without a packed copy of op(B) in memory. `rows` (amaf_gemm_gathered() floats) keeps A between calls with the same product: `is_gathered`
/// is 0 in the first. Both are aligned to 64 bytes.
void amaf_gemm_multiply_few_rows(int level, const amaf_product *product, const float *b, size_t b_stride, int b_transposed, size_t first_panel,
                                 size_t last_panel, float *rows, int is_gathered, float *packed);
size_t amaf_gemm_gathered(size_t rows, size_t k);

/// Winograd's 3 x 3 convolution of stride 1, tiles of 2 x 2 outputs numbered (image, y, x). The weights (filters, 3, 3,
/// channels) as 16 matrices (filters, channels).
void amaf_winograd_weights(const float *w, size_t channels, size_t filters, size_t first, size_t last, float *u);
/// Tiles first ..< first + count as 16 matrices (room, channels); `zeros` holds at least channels zeros.
void amaf_winograd_input(const amaf_window *w, const float *x, const float *zeros, size_t first, size_t count, size_t room, float *v);
/// y = f(transformed m + bias + residual) for 16 matrices m (room, filters), f ReLU or nothing; bias and residual may be null,
/// `zeros` holds filters zeros, `spill` takes 4 filters numbers.
void amaf_winograd_output(const amaf_window *w, const float *m, size_t filters, size_t first, size_t count, size_t room, const float *zeros,
                          const float *bias, const float *residual, int relu, float *y, float *spill);

// Lanes: threads that share the parts of one job. A part never knows which lane runs it.
typedef struct amaf_lanes amaf_lanes;
typedef void (*amaf_part)(void *context, size_t part, size_t lane);
amaf_lanes *amaf_lanes_create(int lanes);
void amaf_lanes_destroy(amaf_lanes *pool);
/// Runs part 0..<parts on the caller (lane 0) and the pool's threads, and returns when all are done. One job at a time per pool.
void amaf_lanes_run(amaf_lanes *pool, size_t parts, amaf_part function, void *context);
/// Page-aligned memory; large blocks ask for huge pages.
void *amaf_allocate(size_t bytes);
void amaf_deallocate(void *memory);
/// Processors this process may run on, at most AMAF_LANES where that is set: a worker divides its processors among its slots.
int amaf_available_lanes(void);
/// Processor time of this process so far, all threads.
double amaf_processor_seconds(void);
/// Which clone of the loops runs here: "x86-64-v4", "x86-64-v3", "x86-64" or "generic".
const char *amaf_instruction_level(void);
#endif
