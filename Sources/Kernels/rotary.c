// Rotary position embedding: one pass over the vectors, each pair of halves rotated by its position's angles.

#include "internal.h"

typedef struct {
  float *y;
  const float *x, *cosine, *sine;
  int64_t shape[3], x_strides[4], table_strides[3];
  int64_t half;
  float direction;
} Rotary;

// The range counts vectors in y's order.
SK_CLONES static void rotary_body(void *context, int64_t begin, int64_t end) {
  const Rotary *r = context;
  int64_t half = r->half, step = r->x_strides[3];
  int64_t last = begin % r->shape[2], middle = begin / r->shape[2] % r->shape[1];
  int64_t first = begin / r->shape[2] / r->shape[1];
  for (int64_t row = begin; row < end; row++) {
    const float *x = r->x + first * r->x_strides[0] + middle * r->x_strides[1] + last * r->x_strides[2];
    int64_t place = first * r->table_strides[0] + middle * r->table_strides[1] + last * r->table_strides[2];
    const float *cosine = r->cosine + place, *sine = r->sine + place;
    float *y = r->y + row * 2 * half;
    if (step == 1) {
      SK_VECTORIZE_SHORT for (int64_t i = 0; i < half; i++) {
        float turn = sine[i] * r->direction, low = x[i], high = x[i + half];
        y[i] = low * cosine[i] - high * turn;
        y[i + half] = high * cosine[i] + low * turn;
      }
    } else {
      for (int64_t i = 0; i < half; i++) {
        float turn = sine[i] * r->direction, low = x[i * step], high = x[(i + half) * step];
        y[i] = low * cosine[i] - high * turn;
        y[i + half] = high * cosine[i] + low * turn;
      }
    }
    if (++last < r->shape[2]) continue;
    last = 0;
    if (++middle < r->shape[1]) continue;
    middle = 0;
    first++;
  }
}

void sk_rotary(float *y, const float *x, const int64_t x_strides[4], const float *cosine, const float *sine,
               const int64_t table_strides[3], float direction, const int64_t shape[4]) {
  Rotary r = {.y = y, .x = x, .cosine = cosine, .sine = sine, .half = shape[3] / 2, .direction = direction};
  memcpy(r.shape, shape, sizeof r.shape);
  memcpy(r.x_strides, x_strides, sizeof r.x_strides);
  memcpy(r.table_strides, table_strides, sizeof r.table_strides);
  sk_parallel_for(shape[0] * shape[1] * shape[2], sk_row_grain(shape[3]), rotary_body, &r);
}
