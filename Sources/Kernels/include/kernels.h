/// The numeric kernels of the native engine: plain loops over f32 rows that the compiler vectorises
/// once per instruction set (chosen when the program starts), a thread pool, and matrix products on
/// OpenBLAS, loaded when first used.
///
/// Pointers are never null unless said. Lengths are elements. Shapes are row-major. No kernel
/// allocates on its steady path. Results do not depend on timing: work is divided by size alone, so
/// the same call with the same thread count gives the same bits.
#ifndef SEAM_KERNELS_H
#define SEAM_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- Threads (pool.c)

/// Sets how many threads parallel kernels use, the caller included; 0 means one per available core.
/// Not to be called while a kernel runs.
void sk_set_thread_count(int count);
int sk_thread_count(void);
/// Runs body(context, begin, end) over [0, count) in contiguous pieces of at least `grain`.
/// Calls from inside a body, or while another thread is using the pool, run serially in the caller.
void sk_parallel_for(int64_t count, int64_t grain, void (*body)(void *context, int64_t begin, int64_t end),
                     void *context);

// ---- Forks (fork.c)

/// One lock of the process for short work on shared state, which fork waits for: a forked child never finds it held by
/// a thread that it does not have. Not to be taken twice by one thread, nor held during a kernel.
///
/// A child may use what the thread that forked it used, with a pool that starts anew. What another thread was using at
/// that moment is left as it was, in the middle.
void sk_lock(void);
void sk_unlock(void);

// ---- Matrix products (gemm.c; blas.c loads OpenBLAS, few.c has products of up to eight rows)

/// Loads OpenBLAS once (directory of this library first, then the system's), after choosing the kernels
/// this processor deserves unless OPENBLAS_CORETYPE is already set. Returns 0, or with a sentence in
/// message -1 where there is none, -2 where the process has too little address space left for its buffers. Thread-safe; later calls return the first result. The products below load by themselves, but
/// end the process when there is nothing to load: call this first to report it. Dimensions and leading
/// dimensions are below 2^31.
int sk_blas_load(char *message, size_t message_size);
/// The name of the kernels in use, as OpenBLAS reports it ("SkylakeX", "Haswell"...).
const char *sk_blas_core_name(void);

/// C[m,n] = alpha * op(A)[m,k] * op(B)[k,n] + beta * C; leading dimensions in elements.
/// C is not read when beta is 0. One-row products go through gemv. Parallel over m or n.
void sk_gemm(int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
             int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
/// `count` independent products of one shape. Offsets are elements from the base pointers; parallel over
/// products (each single-threaded) when there are enough of them, else each is parallel inside.
void sk_gemm_batch(int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                   const int64_t *a_offsets, int64_t lda, const float *b, const int64_t *b_offsets, int64_t ldb,
                   float beta, float *c, const int64_t *c_offsets, int64_t ldc, int64_t count);
/// C[m,n] = A[m,k] * W[n,k]^T with W stored as bf16 (kind SK_BF16) or f16 (SK_F16), converted panel by panel.
/// False, with values in C that are none, when there is no memory for the panels.
bool sk_gemm_half(int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, int kind, const uint16_t *w,
                  int64_t ldw, float *c, int64_t ldc);
/// C[m,k] = A[m,n] * W[n,k], the gradient's product, for the same storage kinds and with the same result.
bool sk_gemm_half_nn(int64_t m, int64_t k, int64_t n, const float *a, int64_t lda, int kind, const uint16_t *w,
                     int64_t ldw, float *c, int64_t ldc);

// ---- Element-wise (elementwise.c; strided.c for what takes strides)
// Outputs may be the same array as an input, or disjoint from it, but not overlap it shifted.

enum { SK_MAX_RANK = 8 };
enum sk_storage { SK_F32 = 0, SK_BF16 = 1, SK_F16 = 2 };
enum sk_binary_op { SK_ADD, SK_SUB, SK_MUL, SK_DIV, SK_MAXIMUM, SK_MINIMUM };
enum sk_unary_op {
  SK_NEG,
  SK_EXP,
  SK_LOG,
  SK_SQRT,
  SK_RSQRT,
  SK_SQUARE,
  SK_ABS,
  SK_TANH,
  SK_SIGMOID,
  SK_RELU,
  SK_GELU,      /* x/2 (1 + erf(x/sqrt 2)) */
  SK_GELU_TANH, /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
  SK_SILU,
  SK_RECIPROCAL
};

/// out = a op b over `shape` (rank <= SK_MAX_RANK), out contiguous; strides in elements, 0 where an operand
/// is broadcast. Adjacent dimensions are merged first; inner loops for stride 0 and 1 are vectorised.
void sk_binary(enum sk_binary_op op, float *out, const float *a, const int64_t *a_strides, const float *b,
               const int64_t *b_strides, const int64_t *shape, int rank);
/// y = op(x), contiguous; x == y allowed.
void sk_unary(enum sk_unary_op op, float *y, const float *x, int64_t n);
/// dx += dy * op'(x), where y = op(x).
void sk_unary_gradient(enum sk_unary_op op, float *dx, const float *dy, const float *x, const float *y, int64_t n);
/// y = x * scale + shift; y += x * scale; y = value; y *= x.
void sk_affine(float *y, const float *x, float scale, float shift, int64_t n);
void sk_axpy(float *y, const float *x, float scale, int64_t n);
void sk_fill(float *y, float value, int64_t n);
/// y = condition ? a : b, condition nonzero int32, all contiguous of n.
void sk_select(float *y, const int32_t *condition, const float *a, const float *b, int64_t n);
/// out (contiguous over shape) = in read through strides; for any 4-byte element. Tiled where a transpose
/// would stride badly.
void sk_copy_strided(void *out, const void *in, const int64_t *strides, const int64_t *shape, int rank);
/// out read through out_strides (no two indices alias) += in (contiguous over shape).
void sk_accumulate_strided(float *out, const int64_t *out_strides, const float *in, const int64_t *shape, int rank);
/// Widening and narrowing (round to nearest even).
void sk_widen(float *y, const uint16_t *x, int kind, int64_t n);
void sk_narrow(uint16_t *y, const float *x, int kind, int64_t n);
/// Adds bias[cols] to every row of y[rows, cols].
void sk_add_bias(float *y, const float *bias, int64_t rows, int64_t cols);

// ---- Reductions (reduce.c)

enum sk_reduce_op { SK_SUM, SK_MEAN, SK_MAX };
/// out[outer, inner] = reduce over axis of x[outer, axis, inner]. For SK_MAX, index (nullable) receives the
/// first position of the maximum.
void sk_reduce(enum sk_reduce_op op, float *out, int32_t *index, const float *x, int64_t outer, int64_t axis,
               int64_t inner);
/// out[cols] += sum over rows of x[rows, cols] (a bias gradient).
void sk_sum_rows(float *out, const float *x, int64_t rows, int64_t cols);
/// Sum of squares, accumulated in f64 in a fixed order.
double sk_sum_squares(const float *x, int64_t n);
double sk_sum_f64(const float *x, int64_t n);
/// Index of the first non-finite element, or -1. Whole-tensor check of loaded weights, by storage kind.
int64_t sk_first_nonfinite(const void *x, int kind, int64_t n);

// ---- Rows: softmax, cross-entropy (rows.c), norms (norms.c)

void sk_softmax(float *y, const float *x, int64_t rows, int64_t cols);
void sk_log_softmax(float *y, const float *x, int64_t rows, int64_t cols);
/// dx += gradient through y = softmax(x) resp. log_softmax(x).
void sk_softmax_gradient(float *dx, const float *dy, const float *y, int64_t rows, int64_t cols);
void sk_log_softmax_gradient(float *dx, const float *dy, const float *y, int64_t rows, int64_t cols);

/// weight and bias may be null (ones, zeros). mean and rstd [rows] are written for the backward pass.
void sk_layer_norm(float *y, float *mean, float *rstd, const float *x, const float *weight, const float *bias,
                   float epsilon, int64_t rows, int64_t cols);
/// dx, dweight and dbias are added to; each may be null when not wanted. False, with nothing added, when there is no
/// memory for sums; so the next.
bool sk_layer_norm_gradient(float *dx, float *dweight, float *dbias, const float *dy, const float *x, const float *mean,
                            const float *rstd, const float *weight, int64_t rows, int64_t cols);
/// y = x / sqrt(mean(x^2) + epsilon) * weight (T5, Llama).
void sk_rms_norm(float *y, float *rstd, const float *x, const float *weight, float epsilon, int64_t rows, int64_t cols);
bool sk_rms_norm_gradient(float *dx, float *dweight, const float *dy, const float *x, const float *rstd,
                          const float *weight, int64_t rows, int64_t cols);
/// y = x / max(||x||, epsilon); norm[rows] is written.
void sk_l2_normalize(float *y, float *norm, const float *x, float epsilon, int64_t rows, int64_t cols);
void sk_l2_normalize_gradient(float *dx, const float *dy, const float *y, const float *norm, float epsilon,
                              int64_t rows, int64_t cols);

/// loss[rows] = -(1 - smoothing) log p[target] - smoothing mean(log p), 0 where target == ignore_index;
/// log_sum[rows] (log-sum-exp) is written for the gradient.
void sk_cross_entropy(float *loss, float *log_sum, const float *logits, const int32_t *targets, int32_t ignore_index,
                      float smoothing, int64_t rows, int64_t cols);
/// dlogits += dloss[row] * d loss[row] / d logits.
void sk_cross_entropy_gradient(float *dlogits, const float *dloss, const float *logits, const float *log_sum,
                               const int32_t *targets, int32_t ignore_index, float smoothing, int64_t rows,
                               int64_t cols);

/// An attention whose scores become probabilities in place: scores[batch, heads, queries, prefix + keys], over two
/// segments of keys, those of a prefix and the tokens' own.
typedef struct {
  float *scores;
  float scale;
  /// Nullable. Read through strides for (batch, head, query); its key stride is 1.
  const float *bias;
  int64_t bias_strides[3];
  /// Nullable, [batch, keys] with mask_stride elements from row to row: 0 hides a key. Neither it nor `causal` is about
  /// the prefix.
  const int32_t *mask;
  int64_t mask_stride;
  /// Query q sees keys <= q + causal_offset.
  int causal;
  int64_t causal_offset;
  /// As `bias`, for the keys of the prefix.
  const float *prefix_bias;
  int64_t prefix_bias_strides[3];
  int64_t batch, heads, queries, prefix, keys;
} sk_attention;

/// scores * scale + bias, masked, softmax over all keys. A row with every key hidden becomes all zeros.
void sk_attention_softmax(const sk_attention *attention);

// ---- Rotary positions (rotary.c)

/// y (contiguous over shape, whose last size is even) = x (same shape, read through strides) with each vector's halves
/// rotated: low cos - high sin, high cos + low sin. cosine and sine hold shape[3] / 2 values for each vector, found
/// through table_strides, 0 along axes that share them. direction is 1, or -1 for the gradient.
void sk_rotary(float *y, const float *x, const int64_t x_strides[4], const float *cosine, const float *sine,
               const int64_t table_strides[3], float direction, const int64_t shape[4]);

// ---- Rows by index (gather.c)

/// y[i] = table[ids[i]] for rows of cols; table kind is an sk_storage. ids were checked by the caller.
void sk_gather_rows(float *y, const void *table, int kind, const int32_t *ids, int64_t n, int64_t cols);
/// dtable[ids[i]] += dy[i]; the same bits whatever the thread count (parallel over columns).
void sk_scatter_add_rows(float *dtable, const float *dy, const int32_t *ids, int64_t n, int64_t cols);

// ---- Quantised weights (dequantize.c)

/// Block formats of GGUF files, under ggml's numbers. Blocks hold 32 values, those ending in K 256.
enum sk_block_format {
  SK_Q4_0 = 2,
  SK_Q4_1 = 3,
  SK_Q5_0 = 6,
  SK_Q5_1 = 7,
  SK_Q8_0 = 8,
  SK_Q2_K = 10,
  SK_Q3_K = 11,
  SK_Q4_K = 12,
  SK_Q5_K = 13,
  SK_Q6_K = 14
};
/// y[rows, cols] in f32 = the values of x, whole blocks a row (cols is a multiple of the block's length, checked by the
/// caller), x of any alignment, y disjoint from it. Row r of y is row order[r] of x; order (nullable: as they are) was
/// checked by the caller. The same bits as the Python package gguf gives. Parallel over rows.
void sk_dequantize(float *y, const void *x, enum sk_block_format format, int64_t rows, int64_t cols,
                   const int64_t *order);

// ---- Optimisers (optimizer.c)

/// PyTorch's Adam (decoupled == 0: weight_decay is added to the gradient) and AdamW (decoupled == 1), step
/// counted from 1; gradient is multiplied by gradient_scale first (clipping). m and v are updated in place.
void sk_adam(float *parameter, float *m, float *v, const float *gradient, float gradient_scale, float lr, float beta1,
             float beta2, float epsilon, float weight_decay, int decoupled, int64_t step, int64_t n);

#endif
