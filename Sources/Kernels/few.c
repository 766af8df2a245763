// Products of a few rows with a large matrix (decoding): bound by reading the matrix once, which general
// kernels, made to reuse packed panels, do several times too slowly.

#include "blas.h"

typedef float V __attribute__((ext_vector_type(16)));
typedef float VU __attribute__((ext_vector_type(16), aligned(4)));
typedef uint16_t HU __attribute__((ext_vector_type(16), aligned(2)));
typedef uint32_t U __attribute__((ext_vector_type(16)));

SK_INLINE float load_one(const void *w, int kind, int64_t i) {
  if (kind == SK_F32) return ((const float *)w)[i];
  uint16_t h = ((const uint16_t *)w)[i];
  return kind == SK_BF16 ? sk_from_bf16(h) : sk_from_f16(h);
}

// Through a pointer: a vector returned would have a calling convention per instruction set.
SK_INLINE void load_many(V *out, const void *w, int kind, int64_t i) {
  if (kind == SK_F32) {
    *out = *(const VU *)((const float *)w + i);
    return;
  }
  U h = __builtin_convertvector(*(const HU *)((const uint16_t *)w + i), U);
  if (kind == SK_BF16) {
    *out = (V)(h << 16);
    return;
  }
  // As sk_from_f16.
  U magnitude = (h & 0x7fffu) << 13;
  U finite = (U)((V)magnitude * 0x1p112f);
  U bits = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : finite;
  *out = (V)(bits | (h & 0x8000u) << 16);
}

typedef struct {
  int64_t k, lda, ldw, ldc;
  float alpha, beta;
  const float *a;
  const void *w;
  float *c;
} Product;

// `rows` rows of C, `outputs` columns from j on: accumulators stay in registers.
SK_INLINE void block(const Product *p, int kind, int rows, int outputs, int64_t j) {
  V sum[8][4];
  float tail[8][4];
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
    for (int o = 0; o < outputs; o++) sum[r][o] = 0.0f, tail[r][o] = 0.0f;
  int64_t i = 0;
  for (; i + 16 <= p->k; i += 16) {
    V w[4];
#pragma clang loop unroll(full)
    for (int o = 0; o < outputs; o++) load_many(&w[o], p->w, kind, (j + o) * p->ldw + i);
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) {
      V a = *(const VU *)(p->a + r * p->lda + i);
#pragma clang loop unroll(full)
      for (int o = 0; o < outputs; o++) sum[r][o] = a * w[o] + sum[r][o];
    }
  }
  for (; i < p->k; i++)
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
      for (int o = 0; o < outputs; o++) tail[r][o] += p->a[r * p->lda + i] * load_one(p->w, kind, (j + o) * p->ldw + i);
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
    for (int o = 0; o < outputs; o++) {
      SK_REASSOCIATE
      float total = tail[r][o];
      V s = sum[r][o];
#pragma clang loop unroll(full)
      for (int l = 0; l < 16; l++) total += s[l];
      float *c = p->c + r * p->ldc + j + o;
      *c = p->alpha * total + (p->beta == 0.0f ? 0.0f : p->beta * *c);
    }
}

SK_INLINE void columns(const Product *p, int kind, int rows, int64_t begin, int64_t end) {
  // Up to sixteen accumulators: what the registers hold, and enough independent sums for the adders.
  const int outputs = rows <= 4 ? 4 : 2;
  int64_t j = begin;
  for (; j + outputs <= end; j += outputs) block(p, kind, rows, outputs, j);
  for (; j < end; j++) block(p, kind, rows, 1, j);
}

#define DEFINE_ROWS(rows)                                                                                           \
  SK_CLONES static void f32_##rows(void *p, int64_t begin, int64_t end) { columns(p, SK_F32, rows, begin, end); }   \
  SK_CLONES static void bf16_##rows(void *p, int64_t begin, int64_t end) { columns(p, SK_BF16, rows, begin, end); } \
  SK_CLONES static void f16_##rows(void *p, int64_t begin, int64_t end) { columns(p, SK_F16, rows, begin, end); }

DEFINE_ROWS(1)
DEFINE_ROWS(2)
DEFINE_ROWS(3)
DEFINE_ROWS(4)
DEFINE_ROWS(5)
DEFINE_ROWS(6)
DEFINE_ROWS(7)
DEFINE_ROWS(8)

#define EVERY_ROWS(kind) {kind##_1, kind##_2, kind##_3, kind##_4, kind##_5, kind##_6, kind##_7, kind##_8}

void sk_few_rows(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, int kind, const void *w,
                 int64_t ldw, float beta, float *c, int64_t ldc) {
  static void (*const bodies[3][SK_FEW_ROWS])(void *, int64_t, int64_t) = {EVERY_ROWS(f32), EVERY_ROWS(bf16),
                                                                           EVERY_ROWS(f16)};
  Product p = {k, lda, ldw, ldc, alpha, beta, a, w, c};
  sk_parallel_for(n, 1 + SK_GRAIN / (k > 0 ? k : 1), bodies[kind][m - 1], &p);
}

// ---- A matrix that lies as [k, n]

typedef struct {
  int64_t m, k, lda, ldw, ldc;
  float alpha, beta;
  const float *a, *w;
  float *c;
} StoredProduct;

// Columns and rows of the matrix at a time: with as many columns of C they stay in the first two caches.
enum { WIDTH = 1024, DEPTH = 8 };

SK_CLONES static void columns_as_stored(void *context, int64_t begin, int64_t end) {
  const StoredProduct *p = context;
  for (int64_t left = begin; left < end; left += WIDTH) {
    int64_t width = sk_min64(WIDTH, end - left);
    for (int64_t r = 0; r < p->m; r++) {
      float *c = p->c + r * p->ldc + left;
      for (int64_t j = 0; j < width; j++) c[j] = p->beta == 0.0f ? 0.0f : p->beta * c[j];
    }
    int64_t i = 0;
    for (; i + DEPTH <= p->k; i += DEPTH) {
      const float *w = p->w + i * p->ldw + left;
      for (int64_t r = 0; r < p->m; r++) {
        float *c = p->c + r * p->ldc + left, a[DEPTH];
        for (int q = 0; q < DEPTH; q++) a[q] = p->alpha * p->a[r * p->lda + i + q];
        SK_VECTORIZE for (int64_t j = 0; j < width; j++) {
          float sum = c[j];
#pragma clang loop unroll(full)
          for (int q = 0; q < DEPTH; q++) sum += a[q] * w[q * p->ldw + j];
          c[j] = sum;
        }
      }
    }
    for (; i < p->k; i++) {
      const float *w = p->w + i * p->ldw + left;
      for (int64_t r = 0; r < p->m; r++) {
        float *c = p->c + r * p->ldc + left, a = p->alpha * p->a[r * p->lda + i];
        SK_VECTORIZE for (int64_t j = 0; j < width; j++) c[j] += a * w[j];
      }
    }
  }
}

void sk_few_rows_as_stored(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *w,
                           int64_t ldw, float beta, float *c, int64_t ldc) {
  StoredProduct p = {m, k, lda, ldw, ldc, alpha, beta, a, w, c};
  // At least a cache line each, or two threads would write the same ones.
  int64_t grain = 1 + SK_GRAIN / (k > 0 ? k : 1);
  sk_parallel_for(n, grain < 16 ? 16 : grain, columns_as_stored, &p);
}
