// Element-wise kernels that read or write through strides: broadcasting operations and permuted copies.

#include "internal.h"

// A shape walked in row-major order with up to three operands; the last dimension is the inner loop.
typedef struct {
  int rank;
  int64_t shape[SK_MAX_RANK];
  int64_t strides[3][SK_MAX_RANK];
  int op;
  void *out;
  const void *a;
  const void *b;
} Walk;

// Drops dimensions of one and merges neighbours that every operand crosses with one stride.
static void merge(Walk *walk, const int64_t *shape, int rank, const int64_t *const strides[3]) {
  int r = 0;
  for (int d = 0; d < rank; d++) {
    if (shape[d] == 1) continue;
    int joins = r > 0;
    for (int o = 0; o < 3 && joins; o++) joins = !strides[o] || walk->strides[o][r - 1] == strides[o][d] * shape[d];
    if (!joins) r++;
    walk->shape[r - 1] = joins ? walk->shape[r - 1] * shape[d] : shape[d];
    for (int o = 0; o < 3; o++) walk->strides[o][r - 1] = strides[o] ? strides[o][d] : 0;
  }
  if (r == 0) { // one element
    walk->shape[0] = 1;
    for (int o = 0; o < 3; o++) walk->strides[o][0] = 1;
    r = 1;
  }
  walk->rank = r;
}

static void contiguous_strides(int64_t *strides, const int64_t *shape, int rank) {
  int64_t stride = 1;
  for (int d = rank - 1; d >= 0; d--) {
    strides[d] = stride;
    stride *= shape[d];
  }
}

static int64_t element_count(const int64_t *shape, int rank) {
  int64_t count = 1;
  for (int d = 0; d < rank; d++) count *= shape[d];
  return count;
}

// The place of row number `row` (a row is the last dimension).
typedef struct {
  int64_t index[SK_MAX_RANK];
  int64_t offset[3];
} Place;

SK_INLINE void place_at(Place *place, const Walk *walk, int64_t row) {
  for (int o = 0; o < 3; o++) place->offset[o] = 0;
  for (int d = walk->rank - 2; d >= 0; d--) {
    place->index[d] = row % walk->shape[d];
    row /= walk->shape[d];
    for (int o = 0; o < 3; o++) place->offset[o] += place->index[d] * walk->strides[o][d];
  }
}

SK_INLINE void next_row(Place *place, const Walk *walk) {
  for (int d = walk->rank - 2; d >= 0; d--) {
    for (int o = 0; o < 3; o++) place->offset[o] += walk->strides[o][d];
    if (++place->index[d] < walk->shape[d]) return;
    place->index[d] = 0;
    for (int o = 0; o < 3; o++) place->offset[o] -= walk->shape[d] * walk->strides[o][d];
  }
}

// ---- Binary operations

SK_INLINE float apply(int op, float a, float b) {
  switch ((enum sk_binary_op)op) {
    case SK_ADD: return a + b;
    case SK_SUB: return a - b;
    case SK_MUL: return a * b;
    case SK_DIV: return a / b;
    case SK_MAXIMUM: return ((a > b) | (a != a)) ? a : b; // a NaN in either wins
    case SK_MINIMUM: return ((a < b) | (a != a)) ? a : b;
  }
  return 0.0f;
}

SK_INLINE void binary_row(int op, float *out, const float *a, int64_t sa, const float *b, int64_t sb, int64_t n) {
  if (sa == 1 && sb == 1) {
    SK_VECTORIZE for (int64_t i = 0; i < n; i++) out[i] = apply(op, a[i], b[i]);
  } else if (sa == 1 && sb == 0) {
    float right = *b;
    SK_VECTORIZE for (int64_t i = 0; i < n; i++) out[i] = apply(op, a[i], right);
  } else if (sa == 0 && sb == 1) {
    float left = *a;
    SK_VECTORIZE for (int64_t i = 0; i < n; i++) out[i] = apply(op, left, b[i]);
  } else {
    for (int64_t i = 0; i < n; i++) out[i] = apply(op, a[i * sa], b[i * sb]);
  }
}

// Elements [begin, end) in row-major order; the first and last rows may be partial.
SK_INLINE void binary_range(int op, const Walk *walk, int64_t begin, int64_t end) {
  int64_t length = walk->shape[walk->rank - 1];
  int64_t sa = walk->strides[1][walk->rank - 1], sb = walk->strides[2][walk->rank - 1];
  Place place;
  place_at(&place, walk, begin / length);
  int64_t first = begin % length;
  for (int64_t i = begin; i < end;) {
    int64_t n = sk_min64(length - first, end - i);
    binary_row(op, (float *)walk->out + i, (const float *)walk->a + place.offset[1] + first * sa, sa,
               (const float *)walk->b + place.offset[2] + first * sb, sb, n);
    i += n;
    first = 0;
    next_row(&place, walk);
  }
}

SK_CLONES static void binary_body(void *context, int64_t begin, int64_t end) {
  const Walk *walk = context;
  switch ((enum sk_binary_op)walk->op) {
    case SK_ADD: binary_range(SK_ADD, walk, begin, end); return;
    case SK_SUB: binary_range(SK_SUB, walk, begin, end); return;
    case SK_MUL: binary_range(SK_MUL, walk, begin, end); return;
    case SK_DIV: binary_range(SK_DIV, walk, begin, end); return;
    case SK_MAXIMUM: binary_range(SK_MAXIMUM, walk, begin, end); return;
    case SK_MINIMUM: binary_range(SK_MINIMUM, walk, begin, end); return;
  }
}

void sk_binary(enum sk_binary_op op, float *out, const float *a, const int64_t *a_strides, const float *b,
               const int64_t *b_strides, const int64_t *shape, int rank) {
  Walk walk = {.op = op, .out = out, .a = a, .b = b};
  const int64_t *const strides[3] = {NULL, a_strides, b_strides};
  merge(&walk, shape, rank, strides);
  sk_parallel_for(element_count(walk.shape, walk.rank), SK_GRAIN, binary_body, &walk);
}

// ---- Copies and accumulation: operand 0 is contiguous in row-major order, operand 1 is strided

enum { COPY_IN, ACCUMULATE_OUT };

SK_INLINE void move_one(int op, uint32_t *contiguous, uint32_t *strided) {
  if (op == COPY_IN)
    *contiguous = *strided;
  else
    *strided = sk_bits(sk_from_bits(*strided) + sk_from_bits(*contiguous));
}

SK_INLINE void move_range(int op, const Walk *walk, int64_t begin, int64_t end) {
  int64_t length = walk->shape[walk->rank - 1], stride = walk->strides[1][walk->rank - 1];
  Place place;
  place_at(&place, walk, begin / length);
  int64_t first = begin % length;
  for (int64_t i = begin; i < end;) {
    int64_t n = sk_min64(length - first, end - i);
    uint32_t *contiguous = (uint32_t *)walk->out + i;
    uint32_t *strided = (uint32_t *)walk->a + place.offset[1] + first * stride;
    if (stride == 1) {
      SK_VECTORIZE for (int64_t j = 0; j < n; j++) move_one(op, contiguous + j, strided + j);
    } else {
      for (int64_t j = 0; j < n; j++) move_one(op, contiguous + j, strided + j * stride);
    }
    i += n;
    first = 0;
    next_row(&place, walk);
  }
}

SK_CLONES static void move_body(void *context, int64_t begin, int64_t end) {
  const Walk *walk = context;
  if (walk->op == COPY_IN)
    move_range(COPY_IN, walk, begin, end);
  else
    move_range(ACCUMULATE_OUT, walk, begin, end);
}

// A transpose: the strided operand is contiguous along a dimension that is not the last. Tiles of 16 by 16
// go through a buffer so that both sides are read and written in whole cache lines.
enum { TILE = 16 };

SK_INLINE void move_tile(int op, uint32_t *contiguous, int64_t row_stride, uint32_t *strided, int64_t stride,
                         int64_t rows, int64_t columns) {
  uint32_t buffer[TILE][TILE + 1]; // one more, or a column's elements share a cache set
  if (op == COPY_IN) {
    for (int64_t j = 0; j < columns; j++)
      for (int64_t i = 0; i < rows; i++) buffer[i][j] = strided[j * stride + i];
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < columns; j++) contiguous[i * row_stride + j] = buffer[i][j];
  } else {
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < columns; j++) buffer[j][i] = contiguous[i * row_stride + j];
    for (int64_t j = 0; j < columns; j++)
      for (int64_t i = 0; i < rows; i++) move_one(op, &buffer[j][i], &strided[j * stride + i]);
  }
}

// The unit of work is a band of TILE rows of one matrix; bands are numbered through all matrices.
typedef struct {
  Walk walk;        // the dimensions outside the matrices
  int64_t rows;     // extent of the dimension in which the strided operand is contiguous
  int64_t columns;  // extent of the last dimension
  int64_t row_step; // contiguous operand's stride between rows
  int64_t stride;   // strided operand's stride between columns
} Transpose;

SK_INLINE void transpose_range(int op, const Transpose *t, int64_t begin, int64_t end) {
  int64_t bands = (t->rows + TILE - 1) / TILE;
  for (int64_t unit = begin; unit < end; unit++) {
    int64_t rest = unit / bands, row = unit % bands * TILE;
    int64_t contiguous = row * t->row_step, strided = row;
    for (int d = t->walk.rank - 1; d >= 0; d--) {
      int64_t index = rest % t->walk.shape[d];
      rest /= t->walk.shape[d];
      contiguous += index * t->walk.strides[0][d];
      strided += index * t->walk.strides[1][d];
    }
    int64_t rows = sk_min64(TILE, t->rows - row);
    for (int64_t column = 0; column < t->columns; column += TILE) {
      uint32_t *to = (uint32_t *)t->walk.out + contiguous + column;
      uint32_t *from = (uint32_t *)t->walk.a + strided + column * t->stride;
      int64_t columns = sk_min64(TILE, t->columns - column);
      if (rows == TILE && columns == TILE)
        move_tile(op, to, t->row_step, from, t->stride, TILE, TILE);
      else
        move_tile(op, to, t->row_step, from, t->stride, rows, columns);
    }
  }
}

SK_CLONES static void transpose_body(void *context, int64_t begin, int64_t end) {
  const Transpose *t = context;
  if (t->walk.op == COPY_IN)
    transpose_range(COPY_IN, t, begin, end);
  else
    transpose_range(ACCUMULATE_OUT, t, begin, end);
}

static void move(int op, void *contiguous, const void *strided, const int64_t *strides, const int64_t *shape,
                 int rank) {
  Walk walk = {.op = op, .out = contiguous, .a = strided};
  int64_t own[SK_MAX_RANK];
  contiguous_strides(own, shape, rank);
  const int64_t *const both[3] = {own, strides, NULL};
  merge(&walk, shape, rank, both);
  int64_t count = element_count(walk.shape, walk.rank);
  if (count == 0) return;

  int last = walk.rank - 1, unit = -1;
  for (int d = 0; d < last; d++)
    if (walk.strides[1][d] == 1 && walk.shape[d] > 4) unit = d;
  if (unit < 0 || walk.strides[1][last] == 1 || walk.shape[last] <= 4) {
    sk_parallel_for(count, SK_GRAIN, move_body, &walk);
    return;
  }
  Transpose t = {walk, walk.shape[unit], walk.shape[last], walk.strides[0][unit], walk.strides[1][last]};
  t.walk.rank = 0;
  for (int d = 0; d < last; d++) {
    if (d == unit) continue;
    int r = t.walk.rank++;
    t.walk.shape[r] = walk.shape[d];
    for (int o = 0; o < 2; o++) t.walk.strides[o][r] = walk.strides[o][d];
  }
  int64_t units = count / t.rows / t.columns * ((t.rows + TILE - 1) / TILE);
  sk_parallel_for(units, sk_row_grain(TILE * t.columns), transpose_body, &t);
}

void sk_copy_strided(void *out, const void *in, const int64_t *strides, const int64_t *shape, int rank) {
  move(COPY_IN, out, in, strides, shape, rank);
}

void sk_accumulate_strided(float *out, const int64_t *out_strides, const float *in, const int64_t *shape, int rank) {
  move(ACCUMULATE_OUT, (void *)in, out, out_strides, shape, rank);
}
