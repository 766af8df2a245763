// Matrix products: how they are divided over the threads; OpenBLAS computes the pieces, each on one thread.

#include <stdatomic.h>

#include "blas.h"

// Multiply-adds below which a product stays on one thread.
static const double PARALLEL_WORK = 500000.0;

typedef struct {
  int transpose_a, transpose_b;
  int64_t m, n, k;
  float alpha;
  const float *a;
  int64_t lda;
  const float *b;
  int64_t ldb;
  float beta;
  float *c;
  int64_t ldc;
} Product;

static void zero(float *c, int64_t m, int64_t n, int64_t ldc) {
  for (int64_t i = 0; i < m; i++) memset(c + i * ldc, 0, (size_t)n * sizeof *c);
}

static void scale(const Product *p) {
  if (p->beta == 0.0f) {
    zero(p->c, p->m, p->n, p->ldc);
    return;
  }
  for (int64_t i = 0; i < p->m; i++)
    for (int64_t j = 0; j < p->n; j++) p->c[i * p->ldc + j] *= p->beta;
}

static int64_t threads_for(double work, int64_t size, int64_t step) {
  if (work < 2 * PARALLEL_WORK) return 1;
  double wanted = work / PARALLEL_WORK;
  int64_t threads = sk_thread_count();
  if (wanted < (double)threads) threads = (int64_t)wanted;
  return sk_min64(threads, (size + step - 1) / step);
}

// ---- General products

static void multiply(const Product *p) {
  sk_blas_enter();
  sk_blas.sgemm(BLAS_ROW_MAJOR, p->transpose_a ? BLAS_TRANSPOSE : BLAS_NO_TRANSPOSE,
                p->transpose_b ? BLAS_TRANSPOSE : BLAS_NO_TRANSPOSE, (int)p->m, (int)p->n, (int)p->k, p->alpha, p->a,
                (int)p->lda, p->b, (int)p->ldb, p->beta, p->c, (int)p->ldc);
  sk_blas_leave();
}

// Pieces are multiples of what OpenBLAS's inner kernels take at once.
enum { STEP = 16 };

static void multiply_rows(void *context, int64_t begin, int64_t end) {
  Product p = *(const Product *)context;
  begin *= STEP;
  end = sk_min64(end * STEP, p.m);
  p.a += p.transpose_a ? begin : begin * p.lda;
  p.c += begin * p.ldc;
  p.m = end - begin;
  multiply(&p);
}

static void multiply_columns(void *context, int64_t begin, int64_t end) {
  Product p = *(const Product *)context;
  begin *= STEP;
  end = sk_min64(end * STEP, p.n);
  p.b += p.transpose_b ? begin * p.ldb : begin;
  p.c += begin;
  p.n = end - begin;
  multiply(&p);
}

// ---- One row or one column

// y[rows] = alpha op(M) x + beta y, op(M) has `rows` rows and `k` columns.
typedef struct {
  int transpose;
  int64_t rows, k;
  float alpha;
  const float *matrix;
  int64_t ld;
  const float *x;
  int64_t stride_x;
  float *y;
  int64_t stride_y;
} VectorProduct;

static void multiply_vector(void *context, int64_t begin, int64_t end) {
  const VectorProduct *p = context;
  int64_t rows = end - begin;
  const float *matrix = p->matrix + (p->transpose ? begin : begin * p->ld);
  sk_blas_enter();
  sk_blas.sgemv(BLAS_ROW_MAJOR, p->transpose ? BLAS_TRANSPOSE : BLAS_NO_TRANSPOSE, (int)(p->transpose ? p->k : rows),
                (int)(p->transpose ? rows : p->k), p->alpha, matrix, (int)p->ld, p->x, (int)p->stride_x, 1.0f,
                p->y + begin * p->stride_y, (int)p->stride_y);
  sk_blas_leave();
}

static void multiply_by_vector(const Product *p) {
  VectorProduct v = {.k = p->k, .alpha = p->alpha, .y = p->c};
  if (p->m == 1) { // C^T = op(B)^T op(A)^T
    v.transpose = !p->transpose_b;
    v.rows = p->n;
    v.matrix = p->b;
    v.ld = p->ldb;
    v.x = p->a;
    v.stride_x = p->transpose_a ? p->lda : 1;
    v.stride_y = 1;
  } else {
    v.transpose = p->transpose_a;
    v.rows = p->m;
    v.matrix = p->a;
    v.ld = p->lda;
    v.x = p->b;
    v.stride_x = p->transpose_b ? 1 : p->ldb;
    v.stride_y = p->ldc;
  }
  // gemv with beta = 0 may multiply what y holds; a NaN there would stay.
  if (p->beta != 1.0f) scale(p);
  sk_parallel_for(v.rows, 1 + SK_GRAIN / p->k, multiply_vector, &v);
}

// ---- Entry points

static void product(Product *p) {
  if (p->m <= 0 || p->n <= 0) return;
  if (p->k <= 0 || p->alpha == 0.0f) {
    scale(p);
    return;
  }
  if (p->m <= SK_FEW_ROWS && !p->transpose_a && p->transpose_b) {
    sk_few_rows(p->m, p->n, p->k, p->alpha, p->a, p->lda, SK_F32, p->b, p->ldb, p->beta, p->c, p->ldc);
    return;
  }
  if (p->m == 1 || p->n == 1) {
    multiply_by_vector(p);
    return;
  }
  // Narrower matrices, as the values of an attention head, are small enough for the general kernels.
  if (p->m <= SK_FEW_ROWS && p->n >= 256 && !p->transpose_a) {
    sk_few_rows_as_stored(p->m, p->n, p->k, p->alpha, p->a, p->lda, p->b, p->ldb, p->beta, p->c, p->ldc);
    return;
  }
  int64_t size = p->m >= p->n ? p->m : p->n;
  int64_t steps = (size + STEP - 1) / STEP;
  int64_t threads = threads_for((double)p->m * (double)p->n * (double)p->k, size, STEP);
  if (threads <= 1)
    multiply(p);
  else
    sk_parallel_for(steps, steps / threads, p->m >= p->n ? multiply_rows : multiply_columns, p);
}

void sk_gemm(int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
             int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  sk_blas_require();
  Product p = {transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc};
  product(&p);
}

typedef struct {
  Product product;
  const int64_t *a_offsets, *b_offsets, *c_offsets;
} Batch;

// Inside a parallel region the products stay on the thread that runs them.
static void multiply_batch(void *context, int64_t begin, int64_t end) {
  const Batch *batch = context;
  for (int64_t i = begin; i < end; i++) {
    Product p = batch->product;
    p.a += batch->a_offsets[i];
    p.b += batch->b_offsets[i];
    p.c += batch->c_offsets[i];
    product(&p);
  }
}

void sk_gemm_batch(int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                   const int64_t *a_offsets, int64_t lda, const float *b, const int64_t *b_offsets, int64_t ldb,
                   float beta, float *c, const int64_t *c_offsets, int64_t ldc, int64_t count) {
  sk_blas_require();
  Batch batch = {
      {transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc}, a_offsets, b_offsets, c_offsets};
  double work = (double)m * (double)n * (double)k;
  // Four products a thread keep the last, uneven round cheap; small ones cannot be divided inside anyway.
  int64_t enough = work < 2 * PARALLEL_WORK ? 2 : 4 * (int64_t)sk_thread_count();
  if (count < enough && count % sk_thread_count() != 0) {
    multiply_batch(&batch, 0, count);
    return;
  }
  double grain = work > 0 ? PARALLEL_WORK / 4 / work : (double)count;
  sk_parallel_for(count, grain<1 ? 1 : grain>(double) count ? count : (int64_t)grain, multiply_batch, &batch);
}

// ---- Half-width weights

// A panel of W is widened into scratch memory and multiplied from there: 256 rows of 512 floats, half a
// megabyte, stay in the second-level cache.
enum { PANEL_ROWS = 256, PANEL_COLUMNS = 512 };

typedef struct {
  int64_t m, n, k;
  const float *a;
  int64_t lda;
  int kind;
  const uint16_t *w;
  int64_t ldw;
  float *c;
  int64_t ldc;
  // Whether a thread had no memory for its panel.
  atomic_bool *failed;
} HalfProduct;

static void widen_panel(float *panel, const HalfProduct *p, int64_t row, int64_t rows, int64_t column,
                        int64_t columns) {
  for (int64_t i = 0; i < rows; i++)
    sk_widen(panel + i * columns, p->w + (row + i) * p->ldw + column, p->kind, columns);
}

// Columns [begin, end) of C = A W^T, in steps: rows of W.
static void half_columns(void *context, int64_t begin, int64_t end) {
  const HalfProduct *p = context;
  float *panel = sk_scratch((size_t)PANEL_ROWS * PANEL_COLUMNS * sizeof *panel);
  if (!panel) {
    atomic_store(p->failed, true);
    return;
  }
  end = sk_min64(end * STEP, p->n);
  for (int64_t j = begin * STEP; j < end; j += PANEL_ROWS) {
    int64_t rows = sk_min64(PANEL_ROWS, end - j);
    for (int64_t i = 0; i < p->k; i += PANEL_COLUMNS) {
      int64_t columns = sk_min64(PANEL_COLUMNS, p->k - i);
      widen_panel(panel, p, j, rows, i, columns);
      Product piece = {
          0, 1, p->m, rows, columns, 1.0f, p->a + i, p->lda, panel, columns, i == 0 ? 0.0f : 1.0f, p->c + j, p->ldc};
      multiply(&piece);
    }
  }
}

bool sk_gemm_half(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, int kind, const uint16_t *w,
                  int64_t ldw, float *c, int64_t ldc) {
  if (m <= 0 || n <= 0) return true;
  if (k <= 0) {
    zero(c, m, n, ldc);
    return true;
  }
  if (m <= SK_FEW_ROWS) {
    sk_few_rows(m, n, k, 1.0f, a, lda, kind, w, ldw, 0.0f, c, ldc);
    return true;
  }
  sk_blas_require();
  atomic_bool failed = false;
  HalfProduct p = {m, n, k, a, lda, kind, w, ldw, c, ldc, &failed};
  int64_t steps = (n + STEP - 1) / STEP;
  sk_parallel_for(steps, steps / threads_for((double)m * (double)n * (double)k, n, STEP), half_columns, &p);
  return !atomic_load(&failed);
}

// Columns [begin, end) of C = A W, in steps: columns of W.
static void half_columns_nn(void *context, int64_t begin, int64_t end) {
  const HalfProduct *p = context;
  float *panel = sk_scratch((size_t)PANEL_ROWS * PANEL_COLUMNS * sizeof *panel);
  if (!panel) {
    atomic_store(p->failed, true);
    return;
  }
  end = sk_min64(end * STEP, p->k);
  for (int64_t i = begin * STEP; i < end; i += PANEL_COLUMNS) {
    int64_t columns = sk_min64(PANEL_COLUMNS, end - i);
    for (int64_t j = 0; j < p->n; j += PANEL_ROWS) {
      int64_t rows = sk_min64(PANEL_ROWS, p->n - j);
      widen_panel(panel, p, j, rows, i, columns);
      Product piece = {
          0, 0, p->m, columns, rows, 1.0f, p->a + j, p->lda, panel, columns, j == 0 ? 0.0f : 1.0f, p->c + i, p->ldc};
      multiply(&piece);
    }
  }
}

bool sk_gemm_half_nn(int64_t m, int64_t k, int64_t n, const float *a, int64_t lda, int kind, const uint16_t *w,
                     int64_t ldw, float *c, int64_t ldc) {
  if (m <= 0 || k <= 0) return true;
  if (n <= 0) {
    zero(c, m, k, ldc);
    return true;
  }
  sk_blas_require();
  atomic_bool failed = false;
  HalfProduct p = {m, n, k, a, lda, kind, w, ldw, c, ldc, &failed};
  int64_t steps = (k + STEP - 1) / STEP;
  sk_parallel_for(steps, steps / threads_for((double)m * (double)n * (double)k, k, STEP), half_columns_nn, &p);
  return !atomic_load(&failed);
}
