// Layer norm, RMS norm and L2 normalisation, with their gradients.

#include "internal.h"

enum { BLOCK_ROWS = 64 }; // rows of a weight's gradient summed in f32

typedef struct {
  float *y, *mean, *rstd; // in a gradient y is dx, and mean and rstd are read
  const float *x, *weight, *bias, *dy;
  float *dweight, *dbias;
  float epsilon;
  int64_t rows, cols;
  int64_t pieces; // a gradient's division of the rows, with sums [pieces, 2, cols] for weight and bias
  double *totals;
  float *parts;
} Norm;

// ---- Layer norm

SK_CLONES static void layer_norm_body(void *context, int64_t begin, int64_t end) {
  const Norm *n = context;
  const float *weight = n->weight, *bias = n->bias;
  for (int64_t row = begin; row < end; row++) {
    SK_REASSOCIATE
    const float *x = n->x + row * n->cols;
    float *y = n->y + row * n->cols;
    float mean = sk_row_sum(x, n->cols) / (float)n->cols;
    // A second pass over the cached row: the difference of two large moments would cancel.
    float variance = 0.0f;
    for (int64_t i = 0; i < n->cols; i++) variance += (x[i] - mean) * (x[i] - mean);
    float rstd = 1.0f / sqrtf(variance / (float)n->cols + n->epsilon);
    n->mean[row] = mean;
    n->rstd[row] = rstd;
    if (weight && bias) {
      SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
    } else if (weight) {
      SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) y[i] = (x[i] - mean) * rstd * weight[i];
    } else if (bias) {
      SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) y[i] = (x[i] - mean) * rstd + bias[i];
    } else {
      SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) y[i] = (x[i] - mean) * rstd;
    }
  }
}

void sk_layer_norm(float *y, float *mean, float *rstd, const float *x, const float *weight, const float *bias,
                   float epsilon, int64_t rows, int64_t cols) {
  Norm n = {.y = y,
            .mean = mean,
            .rstd = rstd,
            .x = x,
            .weight = weight,
            .bias = bias,
            .epsilon = epsilon,
            .rows = rows,
            .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), layer_norm_body, &n);
}

// ---- RMS norm

SK_CLONES static void rms_norm_body(void *context, int64_t begin, int64_t end) {
  const Norm *n = context;
  const float *weight = n->weight;
  for (int64_t row = begin; row < end; row++) {
    const float *x = n->x + row * n->cols;
    float *y = n->y + row * n->cols;
    float rstd = 1.0f / sqrtf(sk_row_dot(x, x, n->cols) / (float)n->cols + n->epsilon);
    n->rstd[row] = rstd;
    if (weight) {
      SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) y[i] = x[i] * rstd * weight[i];
    } else {
      SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) y[i] = x[i] * rstd;
    }
  }
}

void sk_rms_norm(float *y, float *rstd, const float *x, const float *weight, float epsilon, int64_t rows,
                 int64_t cols) {
  Norm n = {.y = y, .rstd = rstd, .x = x, .weight = weight, .epsilon = epsilon, .rows = rows, .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), rms_norm_body, &n);
}

// ---- The gradients of both; RMS norm's is layer norm's without the terms of the mean

SK_INLINE void gradient_towards_x(const Norm *n, int centred, int weighted, int64_t row) {
  SK_REASSOCIATE
  const float *x = n->x + row * n->cols, *dy = n->dy + row * n->cols, *weight = n->weight;
  float *dx = n->y + row * n->cols;
  float mean = centred ? n->mean[row] : 0.0f, rstd = n->rstd[row];
  float sum = 0.0f, dot = 0.0f;
  for (int64_t i = 0; i < n->cols; i++) {
    float g = weighted ? dy[i] * weight[i] : dy[i];
    sum += g;
    dot += g * (x[i] - mean);
  }
  float shift = centred ? sum / (float)n->cols : 0.0f;
  float slope = dot * rstd * rstd / (float)n->cols;
  SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) {
    float g = weighted ? dy[i] * weight[i] : dy[i];
    dx[i] += rstd * (g - shift - (x[i] - mean) * slope);
  }
}

SK_INLINE void gradient_towards_weights(const Norm *n, int centred, int64_t row, float *dweight, float *dbias) {
  const float *x = n->x + row * n->cols, *dy = n->dy + row * n->cols;
  float mean = centred ? n->mean[row] : 0.0f, rstd = n->rstd[row];
  SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) {
    dweight[i] += dy[i] * ((x[i] - mean) * rstd);
    if (centred) dbias[i] += dy[i];
  }
}

// The range counts pieces of the rows. The weights' sums are taken while a row is in the cache, in f32 over
// a block and in f64 over the piece's blocks; every piece has sums of its own.
SK_INLINE void gradient_pieces(const Norm *n, int centred, int64_t begin, int64_t end) {
  for (int64_t piece = begin; piece < end; piece++) {
    double *total = n->totals + piece * 2 * n->cols;
    float *part = n->parts + piece * 2 * n->cols;
    int64_t last = n->rows * (piece + 1) / n->pieces;
    memset(total, 0, (size_t)(2 * n->cols) * sizeof *total);
    for (int64_t first = n->rows * piece / n->pieces; first < last; first += BLOCK_ROWS) {
      int64_t stop = sk_min64(first + BLOCK_ROWS, last);
      memset(part, 0, (size_t)(2 * n->cols) * sizeof *part);
      for (int64_t row = first; row < stop; row++) {
        if (n->y && n->weight) gradient_towards_x(n, centred, 1, row);
        if (n->y && !n->weight) gradient_towards_x(n, centred, 0, row);
        if (n->dweight || n->dbias) gradient_towards_weights(n, centred, row, part, part + n->cols);
      }
      for (int64_t i = 0; i < 2 * n->cols; i++) total[i] += (double)part[i];
    }
  }
}

SK_CLONES static void layer_norm_gradient_body(void *context, int64_t begin, int64_t end) {
  gradient_pieces(context, 1, begin, end);
}

SK_CLONES static void rms_norm_gradient_body(void *context, int64_t begin, int64_t end) {
  gradient_pieces(context, 0, begin, end);
}

static void add_totals(float *to, const Norm *n, int64_t offset) {
  for (int64_t i = 0; i < n->cols; i++) {
    double sum = 0;
    for (int64_t piece = 0; piece < n->pieces; piece++) sum += n->totals[piece * 2 * n->cols + offset + i];
    to[i] += (float)sum;
  }
}

static bool norm_gradient(Norm *n, void (*body)(void *, int64_t, int64_t)) {
  n->pieces = sk_min64(sk_thread_count(), n->rows / sk_row_grain(n->cols));
  if (n->pieces < 1) n->pieces = 1;
  size_t sums = (size_t)(n->pieces * 2 * n->cols);
  n->totals = sk_scratch(sums * (sizeof *n->totals + sizeof *n->parts));
  if (!n->totals) return false;
  n->parts = (float *)(n->totals + sums);
  sk_parallel_for(n->pieces, 1, body, n);
  if (n->dweight) add_totals(n->dweight, n, 0);
  if (n->dbias) add_totals(n->dbias, n, n->cols);
  return true;
}

bool sk_layer_norm_gradient(float *dx, float *dweight, float *dbias, const float *dy, const float *x, const float *mean,
                            const float *rstd, const float *weight, int64_t rows, int64_t cols) {
  Norm n = {.y = dx,
            .mean = (float *)mean,
            .rstd = (float *)rstd,
            .x = x,
            .weight = weight,
            .dy = dy,
            .dweight = dweight,
            .dbias = dbias,
            .rows = rows,
            .cols = cols};
  return norm_gradient(&n, layer_norm_gradient_body);
}

bool sk_rms_norm_gradient(float *dx, float *dweight, const float *dy, const float *x, const float *rstd,
                          const float *weight, int64_t rows, int64_t cols) {
  Norm n = {.y = dx,
            .rstd = (float *)rstd,
            .x = x,
            .weight = weight,
            .dy = dy,
            .dweight = dweight,
            .rows = rows,
            .cols = cols};
  return norm_gradient(&n, rms_norm_gradient_body);
}

// ---- L2 normalisation (rstd holds the norms, x the forward result in the gradient)

SK_CLONES static void l2_normalize_body(void *context, int64_t begin, int64_t end) {
  const Norm *n = context;
  for (int64_t row = begin; row < end; row++) {
    const float *x = n->x + row * n->cols;
    float *y = n->y + row * n->cols;
    float norm = sqrtf(sk_row_dot(x, x, n->cols));
    float scale = 1.0f / (norm < n->epsilon ? n->epsilon : norm);
    n->rstd[row] = norm;
    SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) y[i] = x[i] * scale;
  }
}

void sk_l2_normalize(float *y, float *norm, const float *x, float epsilon, int64_t rows, int64_t cols) {
  Norm n = {.y = y, .rstd = norm, .x = x, .epsilon = epsilon, .rows = rows, .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), l2_normalize_body, &n);
}

SK_CLONES static void l2_normalize_gradient_body(void *context, int64_t begin, int64_t end) {
  const Norm *n = context;
  for (int64_t row = begin; row < end; row++) {
    const float *y = n->x + row * n->cols, *dy = n->dy + row * n->cols;
    float *dx = n->y + row * n->cols;
    float norm = n->rstd[row];
    // Below epsilon the divisor is a constant and nothing is projected out.
    int constant = norm < n->epsilon;
    float dot = constant ? 0.0f : sk_row_dot(dy, y, n->cols);
    float scale = 1.0f / (constant ? n->epsilon : norm);
    SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) dx[i] += (dy[i] - y[i] * dot) * scale;
  }
}

void sk_l2_normalize_gradient(float *dx, const float *dy, const float *y, const float *norm, float epsilon,
                              int64_t rows, int64_t cols) {
  Norm n = {.y = dx, .rstd = (float *)norm, .x = y, .dy = dy, .epsilon = epsilon, .rows = rows, .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), l2_normalize_gradient_body, &n);
}
