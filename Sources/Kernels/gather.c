// Rows taken from and added to a table by index.

#include "internal.h"

typedef struct {
  float *y;
  const void *x;
  int kind;
  const int32_t *ids;
  int64_t n, cols;
} Rows;

SK_CLONES static void gather_body(void *context, int64_t begin, int64_t end) {
  const Rows *r = context;
  for (int64_t row = begin; row < end; row++) {
    float *y = r->y + row * r->cols;
    int64_t start = (int64_t)r->ids[row] * r->cols;
    const uint16_t *half = (const uint16_t *)r->x + start;
    if (r->kind == SK_F32) {
      memcpy(y, (const float *)r->x + start, (size_t)r->cols * sizeof *y);
    } else if (r->kind == SK_BF16) {
      SK_VECTORIZE for (int64_t i = 0; i < r->cols; i++) y[i] = sk_from_bf16(half[i]);
    } else {
      SK_VECTORIZE for (int64_t i = 0; i < r->cols; i++) y[i] = sk_from_f16(half[i]);
    }
  }
}

void sk_gather_rows(float *y, const void *table, int kind, const int32_t *ids, int64_t n, int64_t cols) {
  Rows rows = {y, table, kind, ids, n, cols};
  sk_parallel_for(n, sk_row_grain(cols), gather_body, &rows);
}

// Every thread adds all rows, in order, to its own columns: an id that occurs twice needs no lock and its
// rows are always added in the same order.
SK_CLONES static void scatter_body(void *context, int64_t begin, int64_t end) {
  const Rows *r = context;
  for (int64_t row = 0; row < r->n; row++) {
    float *to = r->y + (int64_t)r->ids[row] * r->cols;
    const float *from = (const float *)r->x + row * r->cols;
    SK_VECTORIZE for (int64_t i = begin; i < end; i++) to[i] += from[i];
  }
}

void sk_scatter_add_rows(float *dtable, const float *dy, const int32_t *ids, int64_t n, int64_t cols) {
  Rows rows = {dtable, dy, SK_F32, ids, n, cols};
  // At least a cache line each, or two threads would write the same ones.
  int64_t grain = sk_row_grain(n);
  sk_parallel_for(cols, grain < 16 ? 16 : grain, scatter_body, &rows);
}
