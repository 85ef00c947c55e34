#include "dense.h"
#include <string.h>

// 3 x 3 convolution of stride 1 by F(2 x 2, 3 x 3) of Lavin and Gray (2016): a tile of 4 x 4 pixels d and a filter g give
// 2 x 2 results y = At [(G g Gt) (Bt d B)] A, element by element in the brackets: 16 products instead of 36. Summed over
// channels these are 16 matrix products, one for each place of the tile.
#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

CLONES void amaf_winograd_weights(const float *w, size_t channels, size_t filters, size_t first, size_t last, float *restrict u) {
  size_t place = filters * channels;
  for (size_t f = first; f < last; f++) {
    const float *g = w + f * 9 * channels;
    float *restrict out = u + f * channels;
    for (size_t c = 0; c < channels; c++) {
      float rows[4][3];
      for (int x = 0; x < 3; x++) {
        float a = g[(size_t)x * channels + c], b = g[(size_t)(3 + x) * channels + c], d = g[(size_t)(6 + x) * channels + c];
        rows[0][x] = a;
        rows[1][x] = 0.5f * (a + b + d);
        rows[2][x] = 0.5f * (a - b + d);
        rows[3][x] = d;
      }
      for (int y = 0; y < 4; y++) {
        float a = rows[y][0], b = rows[y][1], d = rows[y][2];
        out[(size_t)(4 * y) * place + c] = a;
        out[(size_t)(4 * y + 1) * place + c] = 0.5f * (a + b + d);
        out[(size_t)(4 * y + 2) * place + c] = 0.5f * (a - b + d);
        out[(size_t)(4 * y + 3) * place + c] = d;
      }
    }
  }
}

CLONES static void input_tile(const float *const *d, size_t channels, float *restrict v, size_t place) {
#pragma clang loop vectorize(assume_safety)
  for (size_t c = 0; c < channels; c++) {
    float t[4][4];
#pragma clang loop unroll(full)
    for (int x = 0; x < 4; x++) {
      float d0 = d[x][c], d1 = d[4 + x][c], d2 = d[8 + x][c], d3 = d[12 + x][c];
      t[0][x] = d0 - d2;
      t[1][x] = d1 + d2;
      t[2][x] = d2 - d1;
      t[3][x] = d1 - d3;
    }
#pragma clang loop unroll(full)
    for (int y = 0; y < 4; y++) {
      v[(size_t)(4 * y) * place + c] = t[y][0] - t[y][2];
      v[(size_t)(4 * y + 1) * place + c] = t[y][1] + t[y][2];
      v[(size_t)(4 * y + 2) * place + c] = t[y][2] - t[y][1];
      v[(size_t)(4 * y + 3) * place + c] = t[y][1] - t[y][3];
    }
  }
}

typedef struct { size_t image, y, x; } tile_place;

static tile_place place_of(const amaf_window *w, size_t tile) {
  size_t across = (w->out_width + 1) / 2, down = (w->out_height + 1) / 2;
  return (tile_place){tile / (across * down), tile / across % down, tile % across};
}

void amaf_winograd_input(const amaf_window *w, const float *x, const float *zeros, size_t first, size_t count, size_t room, float *v) {
  size_t channels = w->channels;
  for (size_t i = 0; i < count; i++) {
    tile_place p = place_of(w, first + i);
    const float *image = x + p.image * w->height * w->width * channels, *d[16];
    for (int k = 0; k < 16; k++) {
      ptrdiff_t iy = (ptrdiff_t)(2 * p.y) + k / 4 - (ptrdiff_t)w->padding, ix = (ptrdiff_t)(2 * p.x) + k % 4 - (ptrdiff_t)w->padding;
      int inside = iy >= 0 && ix >= 0 && iy < (ptrdiff_t)w->height && ix < (ptrdiff_t)w->width;
      d[k] = inside ? image + ((size_t)iy * w->width + (size_t)ix) * channels : zeros;
    }
    input_tile(d, channels, v + i * channels, room * channels);
  }
}

CLONES static void output_tile(const float *m, size_t place, const float *bias, const float *const *residual, int relu, float *const *y,
                               size_t filters) {
  float *y0 = y[0], *y1 = y[1], *y2 = y[2], *y3 = y[3];
#pragma clang loop vectorize(assume_safety)
  for (size_t f = 0; f < filters; f++) {
    float t[2][4];
#pragma clang loop unroll(full)
    for (int x = 0; x < 4; x++) {
      float m0 = m[(size_t)x * place + f], m1 = m[(size_t)(4 + x) * place + f], m2 = m[(size_t)(8 + x) * place + f];
      float m3 = m[(size_t)(12 + x) * place + f];
      t[0][x] = m0 + m1 + m2;
      t[1][x] = m1 - m2 - m3;
    }
    float b = bias[f];
    float v0 = t[0][0] + t[0][1] + t[0][2] + b, v1 = t[0][1] - t[0][2] - t[0][3] + b;
    float v2 = t[1][0] + t[1][1] + t[1][2] + b, v3 = t[1][1] - t[1][2] - t[1][3] + b;
    v0 += residual[0][f];
    v1 += residual[1][f];
    v2 += residual[2][f];
    v3 += residual[3][f];
    float floor = relu ? 0 : -__builtin_inff();
    y0[f] = v0 > floor ? v0 : floor;
    y1[f] = v1 > floor ? v1 : floor;
    y2[f] = v2 > floor ? v2 : floor;
    y3[f] = v3 > floor ? v3 : floor;
  }
}

void amaf_winograd_output(const amaf_window *w, const float *m, size_t filters, size_t first, size_t count, size_t room, const float *zeros,
                          const float *bias, const float *residual, int relu, float *y, float *spill) {
  for (size_t i = 0; i < count; i++) {
    tile_place p = place_of(w, first + i);
    float *out[4];
    const float *add[4];
    for (size_t k = 0; k < 4; k++) {
      size_t oy = 2 * p.y + k / 2, ox = 2 * p.x + k % 2;
      size_t at = ((p.image * w->out_height + oy) * w->out_width + ox) * filters;
      // Half of the last tile of an odd side lies outside; it goes where nobody reads.
      int inside = oy < w->out_height && ox < w->out_width;
      out[k] = inside ? y + at : spill + k * filters;
      add[k] = inside && residual ? residual + at : zeros;
    }
    output_tile(m + i * filters, room * filters, bias ? bias : zeros, add, relu, out, filters);
  }
}
