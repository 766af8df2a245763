// What the kernel files share: the instruction-set macro, the vectorised math and half-width floats.
//
// The functions here are branch-free scalar code. A loop that calls one is vectorised by the compiler,
// once per instruction set, where a call into libm would keep it scalar.
#ifndef SEAM_KERNELS_INTERNAL_H
#define SEAM_KERNELS_INTERNAL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

// One copy of the function per instruction set, the best one chosen when the program is loaded.
#if defined(__x86_64__)
#define SK_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SK_CLONES
#endif

// Helpers take the instruction set of the clone that calls them only if they are inlined into it.
#define SK_INLINE static inline __attribute__((always_inline))

// Vectorise without overlap checks: operands are the same array or disjoint, never shifted. The checks
// would send the in-place case to the scalar loop.
#define SK_VECTORIZE _Pragma("clang loop vectorize(assume_safety)")

// This one is for rows that may be short: one vector at a time, not four, leaves fewer elements to the scalar
// loop behind it.
#define SK_VECTORIZE_SHORT _Pragma("clang loop vectorize(assume_safety) interleave(disable)")

// Lets a sum in this block be split into vector lanes; NaN and infinity still propagate.
#define SK_REASSOCIATE _Pragma("clang fp reassociate(on)")

enum {
  // Elements per thread below which element-wise work is not worth waking another thread.
  SK_GRAIN = 16384
};

// Rows per thread so that a piece holds about SK_GRAIN elements.
SK_INLINE int64_t sk_row_grain(int64_t cols) { return cols >= SK_GRAIN ? 1 : SK_GRAIN / (cols > 0 ? cols : 1); }

SK_INLINE int64_t sk_min64(int64_t a, int64_t b) { return a < b ? a : b; }

// The calling thread's scratch memory, at least `bytes` and 64-byte aligned, kept for its next call;
// NULL when there is no memory.
void *sk_scratch(size_t bytes);

// ---- Bits

SK_INLINE uint32_t sk_bits(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

SK_INLINE float sk_from_bits(uint32_t u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}

SK_INLINE float sk_copysign(float magnitude, float sign) {
  return sk_from_bits((sk_bits(magnitude) & 0x7fffffffu) | (sk_bits(sign) & 0x80000000u));
}

// ---- Vectorised math

// Cody-Waite reduction and the Cephes polynomial, about 1 ulp. Rounding by the 1.5*2^23 constant instead
// of a conversion to int keeps NaN defined; comparisons are written so that NaN passes; the power of two is
// applied in two halves so that subnormal results and overflow come out right. What vanishes is selected,
// not computed: masked scores are -inf, and an underflow costs the processor more than the whole function.
SK_INLINE float sk_exp(float x) {
  x = x > 89.0f ? 89.0f : x;
  int vanishes = x < -104.0f;
  x = vanishes ? 0.0f : x;
  float shifted = x * 1.44269504088896341f + 12582912.0f;
  int32_t n = (int32_t)sk_bits(shifted) - 0x4b400000;
  float whole = shifted - 12582912.0f;
  float r = x - whole * 0.693359375f;
  r = r + whole * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r;
  p = p + 1.0f;
  int32_t half = n >> 1;
  float low = sk_from_bits((uint32_t)(half + 127) << 23);
  float high = sk_from_bits((uint32_t)(n - half + 127) << 23);
  return vanishes ? 0.0f : p * low * high;
}

// Cephes logf; log(0) = -inf, log(negative) = NaN, subnormals are scaled up first.
SK_INLINE float sk_log(float x) {
  int subnormal = x < 1.17549435e-38f;
  float scaled = x * (subnormal ? 8388608.0f : 1.0f);
  uint32_t bits = sk_bits(scaled);
  // The mantissa is brought into [sqrt(1/2), sqrt(2)).
  uint32_t shifted = bits - 0x3f3504f3u;
  int32_t exponent = (int32_t)shifted >> 23;
  float m = sk_from_bits((shifted & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  float e = (float)(exponent - (subnormal ? 23 : 0));
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  float square = m * m;
  p = p * m * square;
  p = p - e * 2.12194440e-4f;
  p = p - 0.5f * square;
  float y = m + p;
  y = y + e * 0.693359375f;
  y = x < INFINITY ? y : x; // +inf and NaN
  y = x == 0.0f ? -INFINITY : y;
  return x < 0.0f ? NAN : y;
}

SK_INLINE float sk_sigmoid(float x) { return 1.0f / (1.0f + sk_exp(-x)); }

// Cephes tanhf: an odd polynomial near zero, where 1 - 2/(e^2x + 1) would cancel.
SK_INLINE float sk_tanh(float x) {
  float magnitude = fabsf(x);
  float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  p = p * z * x + x;
  float far = 1.0f - 2.0f / (sk_exp(2.0f * magnitude) + 1.0f);
  return magnitude < 0.625f ? p : sk_copysign(far, x);
}

// The standard normal distribution function, given gauss = exp(-x^2/2), which its derivative needs too. The
// polynomial is the tail's ratio to gauss on [0, 6.5], fitted so that x times the tail is minimax (6e-8 in
// f32); farther out gauss itself vanishes.
SK_INLINE float sk_normal_cdf(float x, float gauss) {
  float u = fabsf(x);
  u = u > 6.5f ? 6.5f : u;
  float p = 4.49980142e-8f;
  p = p * u - 1.29593877e-6f;
  p = p * u + 1.68832757e-5f;
  p = p * u - 1.33171605e-4f;
  p = p * u + 7.22511671e-4f;
  p = p * u - 2.92788632e-3f;
  p = p * u + 9.47383698e-3f;
  p = p * u - 2.58941576e-2f;
  p = p * u + 6.21601529e-2f;
  p = p * u - 1.32882416e-1f;
  p = p * u + 2.49985233e-1f;
  p = p * u - 3.98941398e-1f;
  p = p * u + 0.5f;
  float tail = gauss * p;
  return x > 0.0f ? 1.0f - tail : tail;
}

// ---- Sums and maxima of a row

// The maximum of the numbers; NaN is passed over (the sum that follows meets it), -inf if there are none.
// Lanes are compared as ordered integers, which the compiler vectorises where it may not reorder floats.
SK_INLINE float sk_row_max(const float *x, int64_t n) {
  int32_t highest = (int32_t)0x807fffff; // the key of -inf
  for (int64_t i = 0; i < n; i++) {
    int32_t bits = (int32_t)sk_bits(x[i]);
    int32_t key = bits ^ (int32_t)((uint32_t)(bits >> 31) >> 1);
    key = (bits & 0x7fffffff) > 0x7f800000 ? (int32_t)0x807fffff : key;
    highest = key > highest ? key : highest;
  }
  return sk_from_bits((uint32_t)(highest ^ (int32_t)((uint32_t)(highest >> 31) >> 1)));
}

SK_INLINE float sk_row_sum(const float *x, int64_t n) {
  SK_REASSOCIATE
  float sum = 0.0f;
  for (int64_t i = 0; i < n; i++) sum += x[i];
  return sum;
}

SK_INLINE float sk_row_dot(const float *x, const float *y, int64_t n) {
  SK_REASSOCIATE
  float sum = 0.0f;
  for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

// ---- Half-width floats, by integer arithmetic that vectorises on every instruction set

SK_INLINE float sk_from_bf16(uint16_t h) { return sk_from_bits((uint32_t)h << 16); }

SK_INLINE float sk_from_f16(uint16_t h) {
  uint32_t magnitude = (uint32_t)(h & 0x7fffu) << 13;
  // The multiplication rebiases the exponent and makes subnormals normal.
  uint32_t finite = sk_bits(sk_from_bits(magnitude) * 0x1p112f);
  uint32_t bits = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : finite;
  return sk_from_bits(bits | (uint32_t)(h & 0x8000u) << 16);
}

SK_INLINE uint16_t sk_to_bf16(float x) {
  uint32_t u = sk_bits(x);
  uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  // Rounding could carry a NaN over into infinity, or truncation could clear its last bits.
  uint32_t nan = (u >> 16) | 0x0040u;
  return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

// The scale up sends what is too large to infinity; adding a power of two `base` 13 bits above the result
// makes the f32 addition do the rounding, for subnormal results too.
SK_INLINE uint16_t sk_to_f16(float x) {
  uint32_t u = sk_bits(x);
  uint32_t doubled = u + u;
  float magnitude = fabsf(x) * 0x1p112f;
  magnitude = magnitude * 0x1p-110f;
  uint32_t bias = doubled & 0xff000000u;
  bias = bias < 0x71000000u ? 0x71000000u : bias;
  float base = sk_from_bits((bias >> 1) + 0x07800000u);
  uint32_t sum = sk_bits(base + magnitude);
  uint32_t finite = ((sum >> 13) & 0x7c00u) + (sum & 0x0fffu);
  return (uint16_t)(((u >> 16) & 0x8000u) | (doubled > 0xff000000u ? 0x7e00u : finite));
}

// A forked child has none of its parent's workers: the pool starts anew. (pool.c)
void sk_pool_forget_workers(void) __attribute__((visibility("hidden")));

#endif
