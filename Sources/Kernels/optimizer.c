// Optimiser steps.

#include "internal.h"

typedef struct {
  float *parameter, *m, *v;
  const float *gradient;
  float gradient_scale, keep, decay, beta2, rest1, rest2, step_size, root, epsilon;
} Adam;

SK_CLONES static void adam_body(void *context, int64_t begin, int64_t end) {
#pragma clang fp contract(off)
  // PyTorch's order of roundings, without fused multiply-adds: over many steps they are what tells two
  // correct implementations apart.
  const Adam s = *(const Adam *)context;
  SK_VECTORIZE for (int64_t i = begin; i < end; i++) {
    float g = s.gradient[i] * s.gradient_scale + s.decay * s.parameter[i];
    float m = s.m[i] + (g - s.m[i]) * s.rest1;
    float v = s.v[i] * s.beta2 + g * g * s.rest2;
    s.m[i] = m;
    s.v[i] = v;
    s.parameter[i] = s.parameter[i] * s.keep - s.step_size * m / (sqrtf(v) / s.root + s.epsilon);
  }
}

void sk_adam(float *parameter, float *m, float *v, const float *gradient, float gradient_scale, float lr, float beta1,
             float beta2, float epsilon, float weight_decay, int decoupled, int64_t step, int64_t n) {
  // What depends on the step alone is computed in f64, as PyTorch does with its Python numbers.
  double correction1 = 1.0 - pow((double)beta1, (double)step);
  double correction2 = 1.0 - pow((double)beta2, (double)step);
  Adam state = {
      .parameter = parameter,
      .m = m,
      .v = v,
      .gradient = gradient,
      .gradient_scale = gradient_scale,
      .keep = decoupled ? (float)(1.0 - (double)lr * (double)weight_decay) : 1.0f,
      .decay = decoupled ? 0.0f : weight_decay,
      .beta2 = beta2,
      .rest1 = (float)(1.0 - (double)beta1),
      .rest2 = (float)(1.0 - (double)beta2),
      .step_size = (float)((double)lr / correction1),
      .root = (float)sqrt(correction2),
      .epsilon = epsilon,
  };
  sk_parallel_for(n, SK_GRAIN, adam_body, &state);
}
