#ifndef AMAF_IMAGE_CODECS_H
#define AMAF_IMAGE_CODECS_H
#include <stddef.h>
#include <stdint.h>

// libpng reports errors by longjmp, which Swift must not be jumped over: these few functions stay on the C side of it.

enum { AMAF_CODEC_MESSAGE = 200 };

typedef enum {
  AMAF_CODEC_OK,
  /// The stream contradicts itself or a checksum is wrong.
  AMAF_CODEC_DAMAGED,
  /// The bytes end early.
  AMAF_CODEC_TRUNCATED,
  /// More pixels than allowed; nothing was allocated for them.
  AMAF_CODEC_TOO_LARGE,
  AMAF_CODEC_NO_MEMORY,
} amaf_codec_status;

typedef struct {
  uint32_t width, height;
  /// 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
  uint32_t channels;
  /// 8 or 16; 16-bit samples are in the machine's order.
  uint32_t bits;
  char message[AMAF_CODEC_MESSAGE];
} amaf_png_info;

/// Reads a PNG: palettes become RGB, 1 to 4 bits become 8, transparency becomes alpha, 16 bits stay.
///
/// `allocate` is called once with the byte count, after width * height was checked against `pixel_limit`; it returns the
/// memory for the rows (top to bottom, without padding) or null.
amaf_codec_status amaf_png_read(const uint8_t *bytes, size_t count, uint64_t pixel_limit, amaf_png_info *info,
                                void *(*allocate)(void *context, size_t bytes), void *context);
#endif
