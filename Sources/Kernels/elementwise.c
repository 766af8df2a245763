// Element-wise kernels over contiguous operands. Each is a body run over a range of elements; the loops are
// the whole of the work, so the bodies, not the entry points, are cloned per instruction set.

#include "internal.h"

typedef struct {
  int op;
  float *y;
  const float *x;
  const float *a;
  const float *b;
  const int32_t *condition;
  float scale, shift;
  int64_t cols;
} Operands;

#define BODY(name) SK_CLONES static void name(void *context, int64_t begin, int64_t end)
#define LOOP SK_VECTORIZE for (int64_t i = begin; i < end; i++)

// ---- Functions of one operand

SK_INLINE float gelu(float x) { return x * sk_normal_cdf(x, sk_exp(-0.5f * x * x)); }

SK_INLINE float gelu_gradient(float x) {
  float gauss = sk_exp(-0.5f * x * x);
  return sk_normal_cdf(x, gauss) + x * 0.39894228040143268f * gauss;
}

SK_INLINE float gelu_tanh(float x) {
  float inner = 0.79788456080286536f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.0f + sk_tanh(inner));
}

SK_INLINE float gelu_tanh_gradient(float x) {
  // Past 10 the tanh is +-1 exactly; clamping keeps the overflowing cube from meeting the zero slope.
  float c = x > 10.0f ? 10.0f : x;
  c = c < -10.0f ? -10.0f : c;
  float t = sk_tanh(0.79788456080286536f * (c + 0.044715f * c * c * c));
  float slope = 0.79788456080286536f * (1.0f + 0.134145f * c * c);
  return 0.5f * (1.0f + t) + 0.5f * c * (1.0f - t * t) * slope;
}

SK_INLINE float silu_gradient(float x) {
  float s = sk_sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}

SK_INLINE float sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }

#define UNARY(name, value)      \
  case name:                    \
    LOOP {                      \
      float x = operands->x[i]; \
      operands->y[i] = (value); \
    }                           \
    return;

BODY(unary_body) {
  const Operands *operands = context;
  switch ((enum sk_unary_op)operands->op) {
    UNARY(SK_NEG, -x)
    UNARY(SK_EXP, sk_exp(x))
    UNARY(SK_LOG, sk_log(x))
    UNARY(SK_SQRT, sqrtf(x))
    UNARY(SK_RSQRT, 1.0f / sqrtf(x))
    UNARY(SK_SQUARE, x * x)
    UNARY(SK_ABS, fabsf(x))
    UNARY(SK_TANH, sk_tanh(x))
    UNARY(SK_SIGMOID, sk_sigmoid(x))
    UNARY(SK_RELU, x < 0.0f ? 0.0f : x)
    UNARY(SK_GELU, gelu(x))
    UNARY(SK_GELU_TANH, gelu_tanh(x))
    UNARY(SK_SILU, x * sk_sigmoid(x))
    UNARY(SK_RECIPROCAL, 1.0f / x)
  }
}

void sk_unary(enum sk_unary_op op, float *y, const float *x, int64_t n) {
  Operands operands = {.op = op, .y = y, .x = x};
  sk_parallel_for(n, SK_GRAIN, unary_body, &operands);
}

// In a gradient, a is dy and b is y = op(x).
#define UNARY_GRADIENT(name, value)                 \
  case name:                                        \
    LOOP {                                          \
      float x = operands->x[i], y = operands->b[i]; \
      (void)x, (void)y;                             \
      operands->y[i] += operands->a[i] * (value);   \
    }                                               \
    return;

BODY(unary_gradient_body) {
  const Operands *operands = context;
  switch ((enum sk_unary_op)operands->op) {
    UNARY_GRADIENT(SK_NEG, -1.0f)
    UNARY_GRADIENT(SK_EXP, y)
    UNARY_GRADIENT(SK_LOG, 1.0f / x)
    UNARY_GRADIENT(SK_SQRT, 0.5f / y)
    UNARY_GRADIENT(SK_RSQRT, -0.5f * y * y * y)
    UNARY_GRADIENT(SK_SQUARE, 2.0f * x)
    UNARY_GRADIENT(SK_ABS, sign(x))
    UNARY_GRADIENT(SK_TANH, 1.0f - y * y)
    UNARY_GRADIENT(SK_SIGMOID, y * (1.0f - y))
    UNARY_GRADIENT(SK_RELU, x > 0.0f ? 1.0f : 0.0f)
    UNARY_GRADIENT(SK_GELU, gelu_gradient(x))
    UNARY_GRADIENT(SK_GELU_TANH, gelu_tanh_gradient(x))
    UNARY_GRADIENT(SK_SILU, silu_gradient(x))
    UNARY_GRADIENT(SK_RECIPROCAL, -y * y)
  }
}

void sk_unary_gradient(enum sk_unary_op op, float *dx, const float *dy, const float *x, const float *y, int64_t n) {
  Operands operands = {.op = op, .y = dx, .x = x, .a = dy, .b = y};
  sk_parallel_for(n, SK_GRAIN, unary_gradient_body, &operands);
}

// ---- Scaling, filling, choosing

BODY(affine_body) {
  const Operands *o = context;
  LOOP o->y[i] = o->x[i] * o->scale + o->shift;
}

void sk_affine(float *y, const float *x, float scale, float shift, int64_t n) {
  Operands operands = {.y = y, .x = x, .scale = scale, .shift = shift};
  sk_parallel_for(n, SK_GRAIN, affine_body, &operands);
}

BODY(axpy_body) {
  const Operands *o = context;
  LOOP o->y[i] += o->x[i] * o->scale;
}

void sk_axpy(float *y, const float *x, float scale, int64_t n) {
  Operands operands = {.y = y, .x = x, .scale = scale};
  sk_parallel_for(n, SK_GRAIN, axpy_body, &operands);
}

BODY(fill_body) {
  const Operands *o = context;
  LOOP o->y[i] = o->scale;
}

void sk_fill(float *y, float value, int64_t n) {
  Operands operands = {.y = y, .scale = value};
  sk_parallel_for(n, SK_GRAIN, fill_body, &operands);
}

BODY(select_body) {
  const Operands *o = context;
  LOOP {
    float a = o->a[i], b = o->b[i];
    o->y[i] = o->condition[i] != 0 ? a : b;
  }
}

void sk_select(float *y, const int32_t *condition, const float *a, const float *b, int64_t n) {
  Operands operands = {.y = y, .condition = condition, .a = a, .b = b};
  sk_parallel_for(n, SK_GRAIN, select_body, &operands);
}

BODY(add_bias_body) {
  const Operands *o = context;
  for (int64_t row = begin; row < end; row++) {
    float *y = o->y + row * o->cols;
    SK_VECTORIZE for (int64_t i = 0; i < o->cols; i++) y[i] += o->a[i];
  }
}

void sk_add_bias(float *y, const float *bias, int64_t rows, int64_t cols) {
  Operands operands = {.y = y, .a = bias, .cols = cols};
  sk_parallel_for(rows, sk_row_grain(cols), add_bias_body, &operands);
}

// ---- Storage kinds

typedef struct {
  int kind;
  float *wide;
  uint16_t *narrow;
} Conversion;

BODY(widen_body) {
  const Conversion *c = context;
  if (c->kind == SK_BF16)
    LOOP c->wide[i] = sk_from_bf16(c->narrow[i]);
  else
    LOOP c->wide[i] = sk_from_f16(c->narrow[i]);
}

void sk_widen(float *y, const uint16_t *x, int kind, int64_t n) {
  Conversion conversion = {kind, y, (uint16_t *)x};
  sk_parallel_for(n, SK_GRAIN, widen_body, &conversion);
}

BODY(narrow_body) {
  const Conversion *c = context;
  if (c->kind == SK_BF16)
    LOOP c->narrow[i] = sk_to_bf16(c->wide[i]);
  else
    LOOP c->narrow[i] = sk_to_f16(c->wide[i]);
}

void sk_narrow(uint16_t *y, const float *x, int kind, int64_t n) {
  Conversion conversion = {kind, (float *)x, y};
  sk_parallel_for(n, SK_GRAIN, narrow_body, &conversion);
}
