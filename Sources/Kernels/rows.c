// Softmax and its relatives, a row at a time: a row stays in the cache over the passes it needs.

#include "internal.h"

typedef struct {
  float *y;
  const float *x;
  const float *dy;
  int64_t cols;
} Rows;

enum { LANES = 16 };

// The exponentials of a row's last LANES elements, of which the first `counted` are in the sum already. The
// vector loop stops short of a partial vector, and element by element that would cost as much as the rest
// of a row of attention scores.
SK_INLINE float exp_last(float *e, const float *x, float shift, int64_t counted) {
  SK_REASSOCIATE
  float sum = 0.0f;
  for (int i = 0; i < LANES; i++) {
    e[i] = sk_exp(x[i] - shift);
    sum += i < counted ? 0.0f : e[i];
  }
  return sum;
}

// y = exp(x - shift); returns the sum.
SK_INLINE float exp_row(float *y, const float *x, float shift, int64_t n) {
  SK_REASSOCIATE
  float sum = 0.0f, last[LANES];
  int64_t whole = n >= LANES ? n / LANES * LANES : n;
  // Before the loop, which overwrites x when y is x.
  if (whole < n) sum = exp_last(last, x + n - LANES, shift, LANES - (n - whole));
  SK_VECTORIZE for (int64_t i = 0; i < whole; i++) {
    float e = sk_exp(x[i] - shift);
    y[i] = e;
    sum += e;
  }
  if (whole < n) memcpy(y + n - LANES, last, sizeof last);
  return sum;
}

SK_INLINE float exp_sum(const float *x, float shift, int64_t n) {
  SK_REASSOCIATE
  float sum = 0.0f;
  for (int64_t i = 0; i < n; i++) sum += sk_exp(x[i] - shift);
  return sum;
}

SK_INLINE void scale_row(float *y, float scale, int64_t n) {
  SK_VECTORIZE_SHORT for (int64_t i = 0; i < n; i++) y[i] *= scale;
}

// ---- Softmax

SK_CLONES static void softmax_body(void *context, int64_t begin, int64_t end) {
  const Rows *r = context;
  for (int64_t row = begin; row < end; row++) {
    const float *x = r->x + row * r->cols;
    float *y = r->y + row * r->cols;
    float sum = exp_row(y, x, sk_row_max(x, r->cols), r->cols);
    scale_row(y, 1.0f / sum, r->cols);
  }
}

void sk_softmax(float *y, const float *x, int64_t rows, int64_t cols) {
  Rows r = {.y = y, .x = x, .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), softmax_body, &r);
}

SK_CLONES static void log_softmax_body(void *context, int64_t begin, int64_t end) {
  const Rows *r = context;
  for (int64_t row = begin; row < end; row++) {
    const float *x = r->x + row * r->cols;
    float *y = r->y + row * r->cols;
    float highest = sk_row_max(x, r->cols);
    float log_sum = sk_log(exp_sum(x, highest, r->cols));
    // Not x - (highest + log_sum), which would round away the small term beside a large maximum.
    SK_VECTORIZE for (int64_t i = 0; i < r->cols; i++) y[i] = (x[i] - highest) - log_sum;
  }
}

void sk_log_softmax(float *y, const float *x, int64_t rows, int64_t cols) {
  Rows r = {.y = y, .x = x, .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), log_softmax_body, &r);
}

// In the gradients y is dx and x is the forward result.
SK_CLONES static void softmax_gradient_body(void *context, int64_t begin, int64_t end) {
  const Rows *r = context;
  for (int64_t row = begin; row < end; row++) {
    const float *y = r->x + row * r->cols, *dy = r->dy + row * r->cols;
    float *dx = r->y + row * r->cols;
    float dot = sk_row_dot(dy, y, r->cols);
    SK_VECTORIZE for (int64_t i = 0; i < r->cols; i++) dx[i] += (dy[i] - dot) * y[i];
  }
}

void sk_softmax_gradient(float *dx, const float *dy, const float *y, int64_t rows, int64_t cols) {
  Rows r = {.y = dx, .x = y, .dy = dy, .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), softmax_gradient_body, &r);
}

SK_CLONES static void log_softmax_gradient_body(void *context, int64_t begin, int64_t end) {
  const Rows *r = context;
  for (int64_t row = begin; row < end; row++) {
    const float *y = r->x + row * r->cols, *dy = r->dy + row * r->cols;
    float *dx = r->y + row * r->cols;
    float sum = sk_row_sum(dy, r->cols);
    SK_VECTORIZE for (int64_t i = 0; i < r->cols; i++) dx[i] += dy[i] - sk_exp(y[i]) * sum;
  }
}

void sk_log_softmax_gradient(float *dx, const float *dy, const float *y, int64_t rows, int64_t cols) {
  Rows r = {.y = dx, .x = y, .dy = dy, .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), log_softmax_gradient_body, &r);
}

// ---- Cross-entropy

typedef struct {
  float *loss, *log_sum, *dlogits;
  const float *dloss, *logits;
  const int32_t *targets;
  int32_t ignore_index;
  float smoothing;
  int64_t cols;
} CrossEntropy;

SK_CLONES static void cross_entropy_body(void *context, int64_t begin, int64_t end) {
  const CrossEntropy *e = context;
  for (int64_t row = begin; row < end; row++) {
    const float *x = e->logits + row * e->cols;
    float highest = sk_row_max(x, e->cols);
    float rest = sk_log(exp_sum(x, highest, e->cols));
    e->log_sum[row] = highest + rest;
    if (e->targets[row] == e->ignore_index) {
      e->loss[row] = 0.0f;
      continue;
    }
    float loss = (1.0f - e->smoothing) * (rest - (x[e->targets[row]] - highest));
    if (e->smoothing != 0.0f) loss += e->smoothing * (rest - (sk_row_sum(x, e->cols) / (float)e->cols - highest));
    e->loss[row] = loss;
  }
}

void sk_cross_entropy(float *loss, float *log_sum, const float *logits, const int32_t *targets, int32_t ignore_index,
                      float smoothing, int64_t rows, int64_t cols) {
  CrossEntropy e = {.loss = loss,
                    .log_sum = log_sum,
                    .logits = logits,
                    .targets = targets,
                    .ignore_index = ignore_index,
                    .smoothing = smoothing,
                    .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), cross_entropy_body, &e);
}

SK_CLONES static void cross_entropy_gradient_body(void *context, int64_t begin, int64_t end) {
  const CrossEntropy *e = context;
  for (int64_t row = begin; row < end; row++) {
    if (e->targets[row] == e->ignore_index) continue;
    const float *x = e->logits + row * e->cols;
    float *dx = e->dlogits + row * e->cols;
    float dloss = e->dloss[row], log_sum = e->log_sum[row];
    float even = e->smoothing / (float)e->cols;
    SK_VECTORIZE for (int64_t i = 0; i < e->cols; i++) dx[i] += dloss * (sk_exp(x[i] - log_sum) - even);
    dx[e->targets[row]] -= dloss * (1.0f - e->smoothing);
  }
}

void sk_cross_entropy_gradient(float *dlogits, const float *dloss, const float *logits, const float *log_sum,
                               const int32_t *targets, int32_t ignore_index, float smoothing, int64_t rows,
                               int64_t cols) {
  CrossEntropy e = {.log_sum = (float *)log_sum,
                    .dlogits = dlogits,
                    .dloss = dloss,
                    .logits = logits,
                    .targets = targets,
                    .ignore_index = ignore_index,
                    .smoothing = smoothing,
                    .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), cross_entropy_gradient_body, &e);
}

// ---- Attention probabilities

// scores * scale + bias, -inf where the mask hides a key; bias and mask are nullable.
SK_INLINE void score_keys(float *scores, float scale, const float *bias, const int32_t *mask, int64_t keys) {
  if (bias && mask) {
    SK_VECTORIZE_SHORT for (int64_t i = 0; i < keys; i++) {
      float score = scores[i] * scale + bias[i];
      scores[i] = mask[i] != 0 ? score : -INFINITY;
    }
  } else if (bias) {
    SK_VECTORIZE_SHORT for (int64_t i = 0; i < keys; i++) scores[i] = scores[i] * scale + bias[i];
  } else if (mask) {
    SK_VECTORIZE_SHORT for (int64_t i = 0; i < keys; i++) {
      float score = scores[i] * scale;
      scores[i] = mask[i] != 0 ? score : -INFINITY;
    }
  } else {
    SK_VECTORIZE_SHORT for (int64_t i = 0; i < keys; i++) scores[i] *= scale;
  }
}

SK_INLINE const float *bias_row(const float *bias, const int64_t strides[3], int64_t batch, int64_t head,
                                int64_t query) {
  return bias ? bias + batch * strides[0] + head * strides[1] + query * strides[2] : NULL;
}

// The range counts rows: batch, head, query.
SK_CLONES static void attention_body(void *context, int64_t begin, int64_t end) {
  const sk_attention *a = context;
  for (int64_t row = begin; row < end; row++) {
    int64_t query = row % a->queries, head = row / a->queries % a->heads, batch = row / a->queries / a->heads;
    float *scores = a->scores + row * (a->prefix + a->keys), *own = scores + a->prefix;
    int64_t seen = a->causal ? sk_min64(a->keys, query + a->causal_offset + 1) : a->keys;
    if (seen < 0) seen = 0;
    if (a->prefix > 0)
      score_keys(scores, a->scale, bias_row(a->prefix_bias, a->prefix_bias_strides, batch, head, query), NULL,
                 a->prefix);
    score_keys(own, a->scale, bias_row(a->bias, a->bias_strides, batch, head, query),
               a->mask ? a->mask + batch * a->mask_stride : NULL, seen);
    // With every key hidden the maximum is -inf: against zero all terms vanish, and a NaN still shows.
    int64_t all = a->prefix + seen;
    float highest = sk_row_max(scores, all);
    float sum = exp_row(scores, scores, highest == -INFINITY ? 0.0f : highest, all);
    scale_row(scores, sum == 0.0f ? 0.0f : 1.0f / sum, all);
    memset(own + seen, 0, (size_t)(a->keys - seen) * sizeof *own);
  }
}

void sk_attention_softmax(const sk_attention *attention) {
  sk_attention a = *attention;
  sk_parallel_for(a.batch * a.heads * a.queries, sk_row_grain(a.prefix + a.keys), attention_body, &a);
}
