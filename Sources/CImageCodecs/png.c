#include "CImageCodecs.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const uint8_t *bytes;
  size_t count, at;
  int ended;
  amaf_png_info *info;
} source;

static void take(png_structp png, png_bytep out, size_t count) {
  source *s = png_get_io_ptr(png);
  if (count > s->count - s->at) {
    s->ended = 1;
    png_error(png, "the bytes end early");
  }
  memcpy(out, s->bytes + s->at, count);
  s->at += count;
}

static void fail(png_structp png, png_const_charp message) {
  source *s = png_get_error_ptr(png);
  snprintf(s->info->message, sizeof s->info->message, "%s", message);
  longjmp(png_jmpbuf(png), 1);
}

// Warnings speak of ancillary chunks (colour profiles, dates), which never touch a pixel.
static void ignore(png_structp png, png_const_charp message) {
  (void)png;
  (void)message;
}

amaf_codec_status amaf_png_read(const uint8_t *bytes, size_t count, uint64_t pixel_limit, amaf_png_info *info,
                                void *(*allocate)(void *context, size_t bytes), void *context) {
  source s = {bytes, count, 0, 0, info};
  memset(info, 0, sizeof *info);
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &s, fail, ignore);
  if (!png) return AMAF_CODEC_NO_MEMORY;
  png_infop head = png_create_info_struct(png);
  // Set after setjmp, read after longjmp: volatile, or the jump may restore an old register.
  png_bytep *volatile rows = NULL;
  volatile amaf_codec_status status = AMAF_CODEC_NO_MEMORY;
  if (!head) goto done;
  if (setjmp(png_jmpbuf(png))) {
    status = s.ended ? AMAF_CODEC_TRUNCATED : AMAF_CODEC_DAMAGED;
    goto done;
  }
  png_set_read_fn(png, &s, take);
  // Sides are checked as pixels below; a chunk of text or profile may not unpack to more than this.
  png_set_user_limits(png, 0x7fffffff, 0x7fffffff);
  png_set_chunk_malloc_max(png, 8 << 20);
  png_set_chunk_cache_max(png, 64);
  png_read_info(png, head);
  const uint32_t width = png_get_image_width(png, head), height = png_get_image_height(png, head);
  info->width = width;
  info->height = height;
  if ((uint64_t)width * height > pixel_limit) {
    status = AMAF_CODEC_TOO_LARGE;
    goto done;
  }
  png_set_expand(png);
  const uint16_t one = 1;
  if (*(const uint8_t *)&one) png_set_swap(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, head);
  info->channels = png_get_channels(png, head);
  info->bits = png_get_bit_depth(png, head);
  const size_t stride = png_get_rowbytes(png, head);
  if (stride != (size_t)width * info->channels * (info->bits / 8)) png_error(png, "its rows have an unexpected length");
  rows = malloc(sizeof(png_bytep) * height);
  uint8_t *pixels = rows ? allocate(context, stride * height) : NULL;
  if (!pixels) goto done;
  for (uint32_t y = 0; y < height; y++) rows[y] = pixels + y * stride;
  png_read_image(png, rows);
  png_read_end(png, NULL);
  status = AMAF_CODEC_OK;
done:
  free(rows);
  png_destroy_read_struct(&png, &head, NULL);
  return status;
}
