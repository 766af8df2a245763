// Layer norm, RMS norm and L2 normalisation, with their gradients. The gradient towards x goes by rows, the
// gradients towards the weights by columns, so that no thread adds to another's sums.

#include "internal.h"

enum {
  BLOCK_ROWS = 64, // rows of a column sum kept in f32; the blocks are added in f64
  TILE = 256       // columns summed together
};

typedef struct {
  float *y, *mean, *rstd; // in a gradient y is dx, and mean and rstd are read
  const float *x, *weight, *bias, *dy;
  float *dweight, *dbias;
  float epsilon;
  int64_t rows, cols;
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
  Norm n = {.y = y, .mean = mean, .rstd = rstd, .x = x, .weight = weight, .bias = bias, .epsilon = epsilon,
            .rows = rows, .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), layer_norm_body, &n);
}

SK_INLINE void layer_norm_gradient_row(const Norm *n, int weighted, int64_t row) {
  SK_REASSOCIATE
  const float *x = n->x + row * n->cols, *dy = n->dy + row * n->cols, *weight = n->weight;
  float *dx = n->y + row * n->cols;
  float mean = n->mean[row], rstd = n->rstd[row];
  float sum = 0.0f, dot = 0.0f;
  for (int64_t i = 0; i < n->cols; i++) {
    float g = weighted ? dy[i] * weight[i] : dy[i];
    sum += g;
    dot += g * (x[i] - mean);
  }
  float shift = sum / (float)n->cols;
  float slope = dot * rstd * rstd / (float)n->cols;
  SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) {
    float g = weighted ? dy[i] * weight[i] : dy[i];
    dx[i] += rstd * (g - shift - (x[i] - mean) * slope);
  }
}

SK_CLONES static void layer_norm_gradient_body(void *context, int64_t begin, int64_t end) {
  const Norm *n = context;
  if (n->weight)
    for (int64_t row = begin; row < end; row++) layer_norm_gradient_row(n, 1, row);
  else
    for (int64_t row = begin; row < end; row++) layer_norm_gradient_row(n, 0, row);
}

// dweight += sum over rows of dy * (x - mean) * rstd and dbias += sum of dy, for columns [begin, end).
SK_INLINE void weight_columns(const Norm *n, int centred, int64_t begin, int64_t end) {
  double weight_total[TILE], bias_total[TILE];
  float weight_part[TILE], bias_part[TILE];
  for (int64_t column = begin; column < end; column += TILE) {
    int64_t columns = sk_min64(TILE, end - column);
    memset(weight_total, 0, sizeof weight_total);
    memset(bias_total, 0, sizeof bias_total);
    for (int64_t first = 0; first < n->rows; first += BLOCK_ROWS) {
      memset(weight_part, 0, sizeof weight_part);
      memset(bias_part, 0, sizeof bias_part);
      int64_t last = sk_min64(first + BLOCK_ROWS, n->rows);
      for (int64_t row = first; row < last; row++) {
        const float *x = n->x + row * n->cols + column, *dy = n->dy + row * n->cols + column;
        float mean = centred ? n->mean[row] : 0.0f, rstd = n->rstd[row];
        SK_VECTORIZE for (int64_t j = 0; j < columns; j++) {
          weight_part[j] += dy[j] * ((x[j] - mean) * rstd);
          if (centred) bias_part[j] += dy[j];
        }
      }
      for (int64_t j = 0; j < columns; j++) weight_total[j] += (double)weight_part[j];
      for (int64_t j = 0; j < columns; j++) bias_total[j] += (double)bias_part[j];
    }
    if (n->dweight)
      for (int64_t j = 0; j < columns; j++) n->dweight[column + j] += (float)weight_total[j];
    if (n->dbias)
      for (int64_t j = 0; j < columns; j++) n->dbias[column + j] += (float)bias_total[j];
  }
}

SK_CLONES static void layer_norm_weights_body(void *context, int64_t begin, int64_t end) {
  weight_columns(context, 1, begin, end);
}

void sk_layer_norm_gradient(float *dx, float *dweight, float *dbias, const float *dy, const float *x,
                            const float *mean, const float *rstd, const float *weight, int64_t rows, int64_t cols) {
  Norm n = {.y = dx, .mean = (float *)mean, .rstd = (float *)rstd, .x = x, .weight = weight, .dy = dy,
            .dweight = dweight, .dbias = dbias, .rows = rows, .cols = cols};
  if (dx) sk_parallel_for(rows, sk_row_grain(cols), layer_norm_gradient_body, &n);
  if (dweight || dbias) sk_parallel_for(cols, sk_row_grain(rows), layer_norm_weights_body, &n);
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

SK_INLINE void rms_norm_gradient_row(const Norm *n, int weighted, int64_t row) {
  SK_REASSOCIATE
  const float *x = n->x + row * n->cols, *dy = n->dy + row * n->cols, *weight = n->weight;
  float *dx = n->y + row * n->cols;
  float rstd = n->rstd[row];
  float dot = 0.0f;
  for (int64_t i = 0; i < n->cols; i++) dot += (weighted ? dy[i] * weight[i] : dy[i]) * x[i];
  float slope = dot * rstd * rstd / (float)n->cols;
  SK_VECTORIZE for (int64_t i = 0; i < n->cols; i++) {
    float g = weighted ? dy[i] * weight[i] : dy[i];
    dx[i] += rstd * (g - x[i] * slope);
  }
}

SK_CLONES static void rms_norm_gradient_body(void *context, int64_t begin, int64_t end) {
  const Norm *n = context;
  if (n->weight)
    for (int64_t row = begin; row < end; row++) rms_norm_gradient_row(n, 1, row);
  else
    for (int64_t row = begin; row < end; row++) rms_norm_gradient_row(n, 0, row);
}

SK_CLONES static void rms_norm_weights_body(void *context, int64_t begin, int64_t end) {
  weight_columns(context, 0, begin, end);
}

void sk_rms_norm_gradient(float *dx, float *dweight, const float *dy, const float *x, const float *rstd,
                          const float *weight, int64_t rows, int64_t cols) {
  Norm n = {.y = dx, .rstd = (float *)rstd, .x = x, .weight = weight, .dy = dy, .dweight = dweight,
            .rows = rows, .cols = cols};
  if (dx) sk_parallel_for(rows, sk_row_grain(cols), rms_norm_gradient_body, &n);
  if (dweight) sk_parallel_for(cols, sk_row_grain(rows), rms_norm_weights_body, &n);
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
