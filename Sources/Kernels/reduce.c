// Reductions. Long sums are taken in f32 over short blocks and in f64 over the blocks, in an order that
// depends on the shape only.

#include <stdatomic.h>

#include "internal.h"

enum {
  BLOCK = 4096,    // elements of a contiguous sum kept in f32
  BLOCK_ROWS = 64, // rows of a column sum kept in f32
  TILE = 256,      // columns summed together: their f64 sums fit in the first-level cache
  PIECES = 256     // pieces of a whole-array reduction
};

typedef struct {
  int op;
  float *out;
  int32_t *index;
  const float *x;
  int64_t outer, axis, inner;
} Reduction;

// ---- Over the last axis

SK_INLINE double row_sum(const float *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i += BLOCK) sum += (double)sk_row_sum(x + i, sk_min64(BLOCK, n - i));
  return sum;
}

SK_CLONES static void sum_last_body(void *context, int64_t begin, int64_t end) {
  const Reduction *r = context;
  double scale = r->op == SK_MEAN ? 1.0 / (double)r->axis : 1.0;
  for (int64_t row = begin; row < end; row++) r->out[row] = (float)(row_sum(r->x + row * r->axis, r->axis) * scale);
}

SK_INLINE int has_nan(const float *x, int64_t n) {
  int32_t found = 0;
  for (int64_t i = 0; i < n; i++) found |= x[i] != x[i];
  return found;
}

SK_CLONES static void max_last_body(void *context, int64_t begin, int64_t end) {
  const Reduction *r = context;
  for (int64_t row = begin; row < end; row++) {
    const float *x = r->x + row * r->axis;
    int nan = has_nan(x, r->axis);
    float highest = nan ? NAN : sk_row_max(x, r->axis);
    r->out[row] = highest;
    if (!r->index) continue;
    int64_t i = 0;
    while (i < r->axis - 1 && (nan ? x[i] == x[i] : x[i] != highest)) i++;
    r->index[row] = (int32_t)i;
  }
}

// ---- Over an axis before the last: tiles of columns, all rows of the axis

// Adds `rows` rows of `columns` <= TILE columns to total.
SK_INLINE void sum_tile(double *total, const float *x, int64_t rows, int64_t stride, int64_t columns) {
  float part[TILE];
  for (int64_t i = 0; i < rows; i += BLOCK_ROWS) {
    int64_t last = sk_min64(i + BLOCK_ROWS, rows);
    for (int64_t j = 0; j < columns; j++) part[j] = x[i * stride + j];
    for (int64_t row = i + 1; row < last; row++) {
      const float *from = x + row * stride;
      SK_VECTORIZE for (int64_t j = 0; j < columns; j++) part[j] += from[j];
    }
    for (int64_t j = 0; j < columns; j++) total[j] += (double)part[j];
  }
}

// The range counts columns through all outer indices.
SK_CLONES static void sum_inner_body(void *context, int64_t begin, int64_t end) {
  const Reduction *r = context;
  double scale = r->op == SK_MEAN ? 1.0 / (double)r->axis : 1.0;
  double total[TILE];
  while (begin < end) {
    int64_t column = begin % r->inner;
    int64_t columns = sk_min64(sk_min64(TILE, r->inner - column), end - begin);
    memset(total, 0, sizeof total);
    sum_tile(total, r->x + begin / r->inner * r->axis * r->inner + column, r->axis, r->inner, columns);
    for (int64_t j = 0; j < columns; j++) r->out[begin + j] = (float)(total[j] * scale);
    begin += columns;
  }
}

SK_CLONES static void max_inner_body(void *context, int64_t begin, int64_t end) {
  const Reduction *r = context;
  float highest[TILE];
  int32_t index[TILE];
  while (begin < end) {
    int64_t column = begin % r->inner;
    int64_t columns = sk_min64(sk_min64(TILE, r->inner - column), end - begin);
    const float *x = r->x + begin / r->inner * r->axis * r->inner + column;
    for (int64_t j = 0; j < columns; j++) highest[j] = x[j], index[j] = 0;
    for (int64_t row = 1; row < r->axis; row++) {
      const float *from = x + row * r->inner;
      SK_VECTORIZE for (int64_t j = 0; j < columns; j++) {
        // A NaN takes the place of a number and is not replaced.
        int better = (from[j] > highest[j]) | ((from[j] != from[j]) & (highest[j] == highest[j]));
        highest[j] = better ? from[j] : highest[j];
        index[j] = better ? (int32_t)row : index[j];
      }
    }
    memcpy(r->out + begin, highest, (size_t)columns * sizeof *highest);
    if (r->index) memcpy(r->index + begin, index, (size_t)columns * sizeof *index);
    begin += columns;
  }
}

void sk_reduce(enum sk_reduce_op op, float *out, int32_t *index, const float *x, int64_t outer, int64_t axis,
               int64_t inner) {
  Reduction r = {op, out, index, x, outer, axis, inner};
  if (axis <= 0) {
    sk_fill(out, op == SK_SUM ? 0.0f : op == SK_MEAN ? NAN : -INFINITY, outer * inner);
    return;
  }
  if (inner == 1 && outer == 1 && op != SK_MAX) {
    double sum = sk_sum_f64(x, axis);
    *out = (float)(op == SK_MEAN ? sum / (double)axis : sum);
  } else if (inner == 1) {
    sk_parallel_for(outer, sk_row_grain(axis), op == SK_MAX ? max_last_body : sum_last_body, &r);
  } else {
    sk_parallel_for(outer * inner, sk_row_grain(axis), op == SK_MAX ? max_inner_body : sum_inner_body, &r);
  }
}

// ---- Sums over rows, added to the output

SK_CLONES static void sum_rows_body(void *context, int64_t begin, int64_t end) {
  const Reduction *r = context;
  double total[TILE];
  for (int64_t column = begin; column < end; column += TILE) {
    int64_t columns = sk_min64(TILE, end - column);
    memset(total, 0, sizeof total);
    sum_tile(total, r->x + column, r->axis, r->inner, columns);
    for (int64_t j = 0; j < columns; j++) r->out[column + j] += (float)total[j];
  }
}

void sk_sum_rows(float *out, const float *x, int64_t rows, int64_t cols) {
  Reduction r = {.out = out, .x = x, .axis = rows, .inner = cols};
  sk_parallel_for(cols, sk_row_grain(rows), sum_rows_body, &r);
}

// ---- Whole arrays

typedef struct {
  const float *x;
  int64_t n, piece;
  double partial[PIECES];
} WholeSum;

SK_CLONES static void sum_pieces_body(void *context, int64_t begin, int64_t end) {
  WholeSum *sum = context;
  for (int64_t i = begin; i < end; i++)
    sum->partial[i] = row_sum(sum->x + i * sum->piece, sk_min64(sum->piece, sum->n - i * sum->piece));
}

SK_CLONES static void square_pieces_body(void *context, int64_t begin, int64_t end) {
  WholeSum *sum = context;
  for (int64_t i = begin; i < end; i++) {
    SK_REASSOCIATE
    const float *x = sum->x + i * sum->piece;
    int64_t n = sk_min64(sum->piece, sum->n - i * sum->piece);
    // In f64 throughout: the square of a large gradient would overflow f32.
    double total = 0;
    for (int64_t j = 0; j < n; j++) total += (double)x[j] * (double)x[j];
    sum->partial[i] = total;
  }
}

// The pieces do not depend on the thread count, so neither does the result.
static double sum_pieces(const float *x, int64_t n, void (*body)(void *, int64_t, int64_t)) {
  if (n <= 0) return 0;
  WholeSum sum = {.x = x, .n = n};
  sum.piece = ((n + PIECES - 1) / PIECES + BLOCK - 1) / BLOCK * BLOCK;
  int64_t pieces = (n + sum.piece - 1) / sum.piece;
  sk_parallel_for(pieces, 1 + SK_GRAIN / sum.piece, body, &sum);
  double total = 0;
  for (int64_t i = 0; i < pieces; i++) total += sum.partial[i];
  return total;
}

double sk_sum_squares(const float *x, int64_t n) { return sum_pieces(x, n, square_pieces_body); }

double sk_sum_f64(const float *x, int64_t n) { return sum_pieces(x, n, sum_pieces_body); }

// ---- The first element that is not finite

typedef struct {
  const void *x;
  int kind;
  int64_t n;
  _Atomic int64_t first;
} Search;

SK_INLINE int nonfinite_f32(const uint32_t *x, int64_t n) {
  uint32_t found = 0;
  for (int64_t i = 0; i < n; i++) found |= (x[i] & 0x7f800000u) == 0x7f800000u;
  return found != 0;
}

SK_INLINE int nonfinite_half(const uint16_t *x, uint16_t exponent, int64_t n) {
  uint16_t found = 0;
  for (int64_t i = 0; i < n; i++) found |= (x[i] & exponent) == exponent;
  return found != 0;
}

SK_INLINE int nonfinite(const Search *search, int64_t i, int64_t n) {
  if (search->kind == SK_F32) return nonfinite_f32((const uint32_t *)search->x + i, n);
  return nonfinite_half((const uint16_t *)search->x + i, search->kind == SK_BF16 ? 0x7f80 : 0x7c00, n);
}

SK_CLONES static void search_body(void *context, int64_t begin, int64_t end) {
  Search *search = context;
  for (int64_t i = begin; i < end; i += BLOCK) {
    // Another piece has found an earlier one.
    if (atomic_load_explicit(&search->first, memory_order_relaxed) < i) return;
    int64_t n = sk_min64(BLOCK, end - i);
    if (!nonfinite(search, i, n)) continue;
    while (!nonfinite(search, i, 1)) i++;
    int64_t first = atomic_load(&search->first);
    while (i < first && !atomic_compare_exchange_weak(&search->first, &first, i)) {
    }
    return;
  }
}

int64_t sk_first_nonfinite(const void *x, int kind, int64_t n) {
  Search search = {x, kind, n, n};
  sk_parallel_for(n, SK_GRAIN, search_body, &search);
  int64_t first = atomic_load(&search.first);
  return first < n ? first : -1;
}
