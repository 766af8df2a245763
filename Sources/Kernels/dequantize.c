// Blocks of quantised weights to f32. The layouts are those of ggml (ggml-common.h), the arithmetic that of the
// reference in the Python package gguf (gguf/quants.py), operation by operation: the results are equal to the bit.

#include "internal.h"

// A fused multiply-add rounds once where the reference rounds twice.
#pragma STDC FP_CONTRACT OFF

// Unrolled as a whole, as the compiler would do it, the short loops are not vectorised.
#define LOOP _Pragma("clang loop vectorize(assume_safety) interleave(disable) unroll(disable)")

enum { SMALL = 32, LARGE = 256 }; // values of a block

SK_INLINE float half_at(const uint8_t *x) {
  uint16_t h;
  memcpy(&h, x, sizeof h);
  return sk_from_f16(h);
}

SK_INLINE uint32_t word_at(const uint8_t *x) {
  uint32_t w;
  memcpy(&w, x, sizeof w);
  return w;
}

// ---- Blocks of 32: a scale, in some formats a minimum, in some a fifth bit of each value

SK_INLINE void q4_0(float *y, const uint8_t *x) {
  float d = half_at(x);
  const uint8_t *q = x + 2;
  LOOP for (int i = 0; i < SMALL / 2; i++) {
    y[i] = d * (float)((q[i] & 15) - 8);
    y[i + SMALL / 2] = d * (float)((q[i] >> 4) - 8);
  }
}

SK_INLINE void q4_1(float *y, const uint8_t *x) {
  float d = half_at(x), m = half_at(x + 2);
  const uint8_t *q = x + 4;
  LOOP for (int i = 0; i < SMALL / 2; i++) {
    y[i] = d * (float)(q[i] & 15) + m;
    y[i + SMALL / 2] = d * (float)(q[i] >> 4) + m;
  }
}

SK_INLINE void q5_0(float *y, const uint8_t *x) {
  float d = half_at(x);
  uint32_t high = word_at(x + 2);
  const uint8_t *q = x + 6;
  LOOP for (int i = 0; i < SMALL / 2; i++) {
    y[i] = d * (float)((int)((q[i] & 15u) | (high >> i & 1) << 4) - 16);
    y[i + SMALL / 2] = d * (float)((int)(q[i] >> 4 | (high >> (i + SMALL / 2) & 1) << 4) - 16);
  }
}

SK_INLINE void q5_1(float *y, const uint8_t *x) {
  float d = half_at(x), m = half_at(x + 2);
  uint32_t high = word_at(x + 4);
  const uint8_t *q = x + 8;
  LOOP for (int i = 0; i < SMALL / 2; i++) {
    y[i] = d * (float)((q[i] & 15u) | (high >> i & 1) << 4) + m;
    y[i + SMALL / 2] = d * (float)(q[i] >> 4 | (high >> (i + SMALL / 2) & 1) << 4) + m;
  }
}

SK_INLINE void q8_0(float *y, const uint8_t *x) {
  float d = half_at(x);
  const int8_t *q = (const int8_t *)x + 2;
  LOOP for (int i = 0; i < SMALL; i++) y[i] = (float)q[i] * d;
}

// ---- Blocks of 256: scales of parts of 16 or 32 values, quantised themselves

SK_INLINE void q2_k(float *y, const uint8_t *x) {
  const uint8_t *scales = x, *q = x + 16;
  float d = half_at(x + 80), m = half_at(x + 82);
  for (int part = 0; part < 16; part++) {
    float scale = d * (float)(scales[part] & 15), minimum = m * (float)(scales[part] >> 4);
    // Four parts of 32 share their bytes, two bits each.
    const uint8_t *from = q + part / 8 * 32 + part % 2 * 16;
    int shift = part / 2 % 4 * 2;
    LOOP for (int i = 0; i < 16; i++) y[part * 16 + i] = scale * (float)(from[i] >> shift & 3) - minimum;
  }
}

SK_INLINE void q3_k(float *y, const uint8_t *x) {
  const uint8_t *high = x, *q = x + 32, *scales = x + 96;
  float d = half_at(x + 108);
  for (int part = 0; part < 16; part++) {
    int low = scales[part % 8] >> part / 8 * 4 & 15;
    float scale = d * (float)((low | (scales[8 + part % 4] >> part / 4 * 2 & 3) << 4) - 32);
    const uint8_t *from = q + part / 8 * 32 + part % 2 * 16, *mask = high + part % 2 * 16;
    int shift = part / 2 % 4 * 2, bit = part / 2;
    // The bit of the mask says that 4 is not to be subtracted.
    LOOP for (int i = 0; i < 16; i++)
        y[part * 16 + i] = scale * (float)((from[i] >> shift & 3) - ((mask[i] >> bit & 1) ^ 1) * 4);
  }
}

// Eight scales and eight minima of 6 bits in 12 bytes.
SK_INLINE int scale_of(const uint8_t *x, int part) {
  return part < 4 ? x[part] & 63 : (x[part + 4] & 15) | (x[part - 4] >> 2 & 48);
}

SK_INLINE int minimum_of(const uint8_t *x, int part) {
  return part < 4 ? x[part + 4] & 63 : x[part + 4] >> 4 | (x[part] >> 2 & 48);
}

SK_INLINE void q4_k(float *y, const uint8_t *x) {
  float d = half_at(x), m = half_at(x + 2);
  for (int part = 0; part < 8; part++) {
    float scale = d * (float)scale_of(x + 4, part), minimum = m * (float)minimum_of(x + 4, part);
    const uint8_t *q = x + 16 + part / 2 * 32;
    int shift = part % 2 * 4;
    LOOP for (int i = 0; i < 32; i++) y[part * 32 + i] = scale * (float)(q[i] >> shift & 15) - minimum;
  }
}

SK_INLINE void q5_k(float *y, const uint8_t *x) {
  float d = half_at(x), m = half_at(x + 2);
  const uint8_t *high = x + 16;
  for (int part = 0; part < 8; part++) {
    float scale = d * (float)scale_of(x + 4, part), minimum = m * (float)minimum_of(x + 4, part);
    const uint8_t *q = x + 48 + part / 2 * 32;
    int shift = part % 2 * 4;
    LOOP for (int i = 0; i < 32; i++)
        y[part * 32 + i] = scale * (float)((q[i] >> shift & 15) | (high[i] >> part & 1) << 4) - minimum;
  }
}

SK_INLINE void q6_k(float *y, const uint8_t *x) {
  const uint8_t *low = x, *high = x + 128;
  const int8_t *scales = (const int8_t *)x + 192;
  float d = half_at(x + 208);
  for (int part = 0; part < 16; part++) {
    float scale = d * (float)scales[part];
    const uint8_t *four = low + part / 8 * 64 + part % 4 * 16, *two = high + part / 8 * 32 + part % 2 * 16;
    int four_shift = part / 4 % 2 * 4, two_shift = part / 2 % 4 * 2;
    LOOP for (int i = 0; i < 16; i++) {
      int q = (four[i] >> four_shift & 15) | (two[i] >> two_shift & 3) << 4;
      y[part * 16 + i] = scale * (float)(q - 32);
    }
  }
}

// ---- Rows of blocks

typedef struct {
  int format;
  float *y;
  const uint8_t *x;
  const int64_t *order;
  int64_t cols;
} Rows;

#define ROWS(name, decode, length, bytes)                                             \
  case name:                                                                          \
    for (int64_t row = begin; row < end; row++) {                                     \
      float *y = r->y + row * r->cols;                                                \
      int64_t blocks = r->cols / (length);                                            \
      const uint8_t *x = r->x + (r->order ? r->order[row] : row) * blocks * (bytes);  \
      for (int64_t b = 0; b < blocks; b++) decode(y + b * (length), x + b * (bytes)); \
    }                                                                                 \
    return;

SK_CLONES static void dequantize_body(void *context, int64_t begin, int64_t end) {
  const Rows *r = context;
  switch ((enum sk_block_format)r->format) {
    ROWS(SK_Q4_0, q4_0, SMALL, 18)
    ROWS(SK_Q4_1, q4_1, SMALL, 20)
    ROWS(SK_Q5_0, q5_0, SMALL, 22)
    ROWS(SK_Q5_1, q5_1, SMALL, 24)
    ROWS(SK_Q8_0, q8_0, SMALL, 34)
    ROWS(SK_Q2_K, q2_k, LARGE, 84)
    ROWS(SK_Q3_K, q3_k, LARGE, 110)
    ROWS(SK_Q4_K, q4_k, LARGE, 144)
    ROWS(SK_Q5_K, q5_k, LARGE, 176)
    ROWS(SK_Q6_K, q6_k, LARGE, 210)
  }
}

void sk_dequantize(float *y, const void *x, enum sk_block_format format, int64_t rows, int64_t cols,
                   const int64_t *order) {
  Rows r = {format, y, x, order, cols};
  sk_parallel_for(rows, sk_row_grain(cols), dequantize_body, &r);
}
