/* The compute table: everything an adapter or a traced backbone computes, it computes with these
 * functions on opaque tensor handles. Whoever implements the table owns the device, the memory and the
 * gradient, so a plugin's forward pass runs unchanged on the native CPU engine, inside PyTorch, or into
 * a recorded graph, and gradients are never the plugin's concern.
 *
 * Two rules keep a plugin at one line per operation:
 *  - Every handle made during a forward belongs to that forward's context. The host releases them all
 *    when the forward ends; a plugin frees nothing and keeps no handle beyond it.
 *  - A failing operation latches the first error in the context and returns NULL. An operation given a
 *    NULL handle, or a context that has failed, does nothing and returns NULL. A plugin therefore checks
 *    once, at the end: seam_ops.status, or simply whether its last handle is NULL.
 *
 * All functions are [during forward]. Axes may be negative, counted from the end. "broadcast" is NumPy's
 * rule. Unless said otherwise operands are f32 (a bf16 or f16 weight is accepted wherever "weight" is
 * said, and read as f32), the result is f32, and gradients flow to every f32 operand.
 *
 * Tensors enter and leave through DLPack's own header (https://github.com/dmlc/dlpack, version 1). The producer owns
 * the memory; the consumer calls `deleter`, where there is one, exactly once. Taken are dtypes f32, bf16, f16 and i32
 * with one lane, NULL `strides` as row-major; the native engine's tensors are on kDLCPU. Since 1.0. */
#ifndef SEAM_OPS_H
#define SEAM_OPS_H

#include "base.h"
#include "../dlpack/dlpack.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct seam_context seam_context; /* one forward pass; owned by the host */
typedef struct seam_tensor seam_tensor;   /* a tensor of that pass; owned by the context */
typedef struct seam_buffer seam_buffer;   /* memory that outlives a pass (a decoding cache); see the end */

/* Reduction of a loss. */
typedef int32_t seam_reduction;
enum { SEAM_REDUCTION_NONE = 0, SEAM_REDUCTION_SUM = 1, SEAM_REDUCTION_MEAN = 2 };

/* Keys and values that stand before those of the tokens in one layer's attention. Rows of a batch may have different
 * ones:
 * there is one for each route, and each row says which it takes. */
typedef struct seam_prefix {
  uint32_t struct_size;
  uint32_t route_count;
  /* For each route [2, kv_heads, prefix, head_dim] f32, keys at 0 and values at 1; NULL: its rows have none. */
  seam_tensor *const *keys_values;
  const int32_t *routes; /* the route of each row, from 0; NULL: all rows take the first */
  size_t row_count;      /* of routes; 0 where that is NULL */
} seam_prefix;

typedef struct seam_ops {
  uint32_t struct_size;
  uint32_t abi_major; /* SEAM_ABI_MAJOR and SEAM_ABI_MINOR of the host that filled the table */
  uint32_t abi_minor;
  void *engine; /* the host's own; plugins leave it alone */

  /* ---- The context and its tensors */

  /* SEAM_OK, or the code of the first failure. */
  seam_status (*status)(seam_context *ctx);
  /* Latches a failure found by the plugin itself. `message` is copied. Returns NULL for convenience. */
  seam_tensor *(*fail)(seam_context *ctx, seam_status code, const char *message);
  /* Rank, size along an axis, dtype; -1 for a NULL handle or an axis out of range. */
  int32_t (*rank)(seam_context *ctx, const seam_tensor *x);
  int64_t (*size)(seam_context *ctx, const seam_tensor *x, int32_t axis);
  seam_dtype (*dtype)(seam_context *ctx, const seam_tensor *x);
  /* Handles made between scope_begin and scope_end are released at scope_end, except those in `keep`
   * (NULL entries are skipped). Optional: it lets a long forward reuse memory early when no gradient
   * needs it. Scopes nest. A function of a plugin ends only those that it has begun (else SEAM_PLUGIN is latched), and
   * what it leaves open is closed when it returns. */
  void (*scope_begin)(seam_context *ctx);
  void (*scope_end)(seam_context *ctx, seam_tensor *const *keep, size_t count);

  /* ---- Tensors from and to the host's memory */

  /* Copies `data` (row-major). No gradient. */
  seam_tensor *(*constant_f32)(seam_context *ctx, const float *data, const int64_t *shape, int32_t rank);
  seam_tensor *(*constant_i32)(seam_context *ctx, const int32_t *data, const int64_t *shape, int32_t rank);
  /* Every element `value`; dtype f32 or i32. */
  seam_tensor *(*full)(seam_context *ctx, double value, seam_dtype dtype, const int64_t *shape, int32_t rank);
  /* Borrows the memory of `source` where the device allows, else copies; the context calls its deleter
   * when it no longer needs it (also on failure). No gradient. */
  seam_tensor *(*from_dlpack)(seam_context *ctx, DLManagedTensorVersioned *source);
  /* A row-major contiguous view, or a copy where x is not; owned by the caller, who calls its deleter.
   * The data must not be written. NULL on failure. */
  DLManagedTensorVersioned *(*to_dlpack)(seam_context *ctx, seam_tensor *x);
  /* x as a constant: the same values, no gradient. */
  seam_tensor *(*stop_gradient)(seam_context *ctx, seam_tensor *x);
  /* f32 from any dtype (differentiable from bf16 and f16 is not offered), i32 from f32 by truncation. */
  seam_tensor *(*cast)(seam_context *ctx, seam_tensor *x, seam_dtype dtype);

  /* ---- Element-wise, with broadcast */

  seam_tensor *(*add)(seam_context *ctx, seam_tensor *a, seam_tensor *b);
  seam_tensor *(*sub)(seam_context *ctx, seam_tensor *a, seam_tensor *b);
  seam_tensor *(*mul)(seam_context *ctx, seam_tensor *a, seam_tensor *b);
  seam_tensor *(*div)(seam_context *ctx, seam_tensor *a, seam_tensor *b);
  seam_tensor *(*maximum)(seam_context *ctx, seam_tensor *a, seam_tensor *b); /* a tie gives each half the gradient */
  seam_tensor *(*minimum)(seam_context *ctx, seam_tensor *a, seam_tensor *b);
  /* x * scale + shift */
  seam_tensor *(*affine)(seam_context *ctx, seam_tensor *x, double scale, double shift);
  /* condition (i32, broadcast) != 0 ? a : b */
  seam_tensor *(*where)(seam_context *ctx, seam_tensor *condition, seam_tensor *a, seam_tensor *b);

  seam_tensor *(*neg)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*exp)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*log)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*sqrt)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*rsqrt)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*square)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*abs)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*reciprocal)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*tanh)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*sigmoid)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*relu)(seam_context *ctx, seam_tensor *x);
  seam_tensor *(*gelu)(seam_context *ctx, seam_tensor *x);      /* x/2 (1 + erf(x/sqrt 2)) */
  seam_tensor *(*gelu_tanh)(seam_context *ctx, seam_tensor *x); /* the tanh approximation */
  seam_tensor *(*silu)(seam_context *ctx, seam_tensor *x);      /* x sigmoid(x) */
  /* Dropout (Srivastava et al. 2014), scaled as in torch: in a pass of a training, of which seam_pass.training is 1,
   * each element is 0 with probability p and x / (1 - p) else; the gradient takes the same elements. In every other
   * pass x itself, as with p = 0. SEAM_INVALID_ARGUMENT for a p that is not 0 ... 1. Drawn from, natively:
   * seam_train_options.seed and the step; in seam_adapter_fit and seam_classifier_fit a seed of 0; in PyTorch its
   * generator. */
  seam_tensor *(*dropout)(seam_context *ctx, seam_tensor *x, double p);

  /* ---- Matrix products */

  /* [..., m, k] x [..., k, n] -> [..., m, n]; leading dimensions broadcast; a flag reads the operand's
   * last two dimensions exchanged. */
  seam_tensor *(*matmul)(seam_context *ctx, seam_tensor *a, seam_tensor *b, int32_t transpose_a, int32_t transpose_b);
  /* x [..., in] times weight [out, in] transposed, plus bias [out] (nullable) -> [..., out]. */
  seam_tensor *(*linear)(seam_context *ctx, seam_tensor *x, seam_tensor *weight, seam_tensor *bias);
  /* A low-rank update (LoRA, Hu et al. 2021, equation 3): y [..., out] + scale * (x [..., in] times a [rank, in]
   * transposed, times b [out, rank] transposed). It may write the result into y's memory: the handle y must not be used
   * afterwards. */
  seam_tensor *(*linear_low_rank)(seam_context *ctx, seam_tensor *y, seam_tensor *x, seam_tensor *a, seam_tensor *b,
                                  double scale);
  /* Scaled dot-product attention. query [b, h, q, dk]; key [b, g, k, dk], value [b, g, k, dv] with h a
   * multiple of g (grouped heads); bias (nullable) broadcasts to [b, h, q, k] and is added to the scaled
   * scores; mask (nullable) i32 [b, k], 0 hides a key; causal != 0: query i sees keys 0 ... i + (k - q).
   * Result [b, h, q, dv]. A query that sees no key gives zeros. */
  seam_tensor *(*attention)(seam_context *ctx, seam_tensor *query, seam_tensor *key, seam_tensor *value,
                            seam_tensor *bias, seam_tensor *mask, double scale, int32_t causal);

  /* Attention as above, with the keys and values of a prefix before those of key and value, seen by every query;
   * neither `mask` nor `causal` is about them. prefix_biases (nullable): for each of the prefix's routes what is added
   * to the scaled scores of its tokens, broadcast to [b, h, q, prefix], of which a row reads its own; NULL entries:
   * nothing. */
  seam_tensor *(*attention_with_prefix)(seam_context *ctx, seam_tensor *query, seam_tensor *key, seam_tensor *value,
                                        const seam_prefix *prefix, seam_tensor *const *prefix_biases, seam_tensor *bias,
                                        seam_tensor *mask, double scale, int32_t causal);

  /* ---- Positions */

  /* Rotary position embedding (Su et al. 2021), halves layout: x [batch, heads, n, d], cosine and sine
   * [batch or 1, n, d/2] without gradient; the first half of d becomes x1 cos - x2 sin, the second
   * x2 cos + x1 sin. */
  seam_tensor *(*rotary)(seam_context *ctx, seam_tensor *x, seam_tensor *cosine, seam_tensor *sine);

  /* ---- Normalisation */

  seam_tensor *(*softmax)(seam_context *ctx, seam_tensor *x, int32_t axis);
  seam_tensor *(*log_softmax)(seam_context *ctx, seam_tensor *x, int32_t axis);
  /* Over the last axis; weight and bias nullable. */
  seam_tensor *(*layer_norm)(seam_context *ctx, seam_tensor *x, seam_tensor *weight, seam_tensor *bias, double epsilon);
  seam_tensor *(*rms_norm)(seam_context *ctx, seam_tensor *x, seam_tensor *weight, double epsilon);
  /* x / max(||x||, epsilon) over the last axis. */
  seam_tensor *(*l2_normalize)(seam_context *ctx, seam_tensor *x, double epsilon);

  /* ---- Reductions over one axis, which must not be empty; keep != 0 leaves it with size 1 */

  seam_tensor *(*sum)(seam_context *ctx, seam_tensor *x, int32_t axis, int32_t keep);
  seam_tensor *(*mean)(seam_context *ctx, seam_tensor *x, int32_t axis, int32_t keep);
  seam_tensor *(*max)(seam_context *ctx, seam_tensor *x, int32_t axis,
                      int32_t keep); /* gradient to the first maximum */
  seam_tensor *(*argmax)(seam_context *ctx, seam_tensor *x, int32_t axis, int32_t keep); /* i32, no gradient */

  /* ---- Shape; views where the engine can. Any dtype. */

  /* One size may be -1: what is left over. */
  seam_tensor *(*reshape)(seam_context *ctx, seam_tensor *x, const int64_t *shape, int32_t rank);
  /* `axes` is a permutation of 0 ... rank-1: result axis i is x's axis axes[i]. */
  seam_tensor *(*permute)(seam_context *ctx, seam_tensor *x, const int32_t *axes, int32_t rank);
  /* Broadcasts x to `shape` (rank at least x's). */
  seam_tensor *(*expand)(seam_context *ctx, seam_tensor *x, const int64_t *shape, int32_t rank);
  seam_tensor *(*concat)(seam_context *ctx, seam_tensor *const *parts, size_t count, int32_t axis);
  /* `length` elements from `start` along `axis`. */
  seam_tensor *(*slice)(seam_context *ctx, seam_tensor *x, int32_t axis, int64_t start, int64_t length);

  /* ---- By index */

  /* Rows of weight [n, d] by ids (i32, any shape) -> [ids..., d]. An id outside 0 ... n-1 fails. */
  seam_tensor *(*embedding)(seam_context *ctx, seam_tensor *weight, seam_tensor *ids);
  /* x with `axis` replaced by x's slices at `index` (i32, rank 1). */
  seam_tensor *(*index_select)(seam_context *ctx, seam_tensor *x, int32_t axis, seam_tensor *index);
  /* result[..., i, ...] = x[..., index[..., i, ...], ...] along axis; index i32 of x's rank, equal to x
   * in every other dimension. */
  seam_tensor *(*gather)(seam_context *ctx, seam_tensor *x, int32_t axis, seam_tensor *index);

  /* ---- Loss */

  /* logits [..., classes], targets i32 [...]: -log softmax(logits)[target], with label smoothing e:
   * (1-e) of that plus e times the mean over the classes. Positions whose target is ignore_index count
   * nothing. SEAM_REDUCTION_NONE gives the shape of targets; MEAN divides by the counted positions and
   * fails when there is none. */
  seam_tensor *(*cross_entropy)(seam_context *ctx, seam_tensor *logits, seam_tensor *targets, int32_t ignore_index,
                                double label_smoothing, seam_reduction reduction);

  /* ---- Buffers: memory that outlives a forward, for decoding caches
   * A buffer is created by the plugin, belongs to it, and is released by it with buffer_release, which
   * needs no live context. Reads and writes happen during a forward; values written carry no gradient.
   * [one thread per session] */

  /* Zero-filled; dtype f32 or i32. */
  seam_buffer *(*buffer_create)(seam_context *ctx, seam_dtype dtype, const int64_t *shape, int32_t rank);
  void (*buffer_release)(seam_buffer *buffer);
  /* buffer[..., start : start + n, ...] = x along axis, n = x's size there; other sizes equal. Returns SEAM_OK
   * or the latched code. */
  seam_status (*buffer_write)(seam_context *ctx, seam_buffer *buffer, int32_t axis, int64_t start, seam_tensor *x);
  /* Writes with a start for each row of axis 0: buffer[i, ..., starts[i] : starts[i] + n, ...] = x[i]; axis is not
   * 0. */
  seam_status (*buffer_write_rows)(seam_context *ctx, seam_buffer *buffer, int32_t axis, const int64_t *starts,
                                   int64_t count, seam_tensor *x);
  /* The first `length` elements along `axis`, as a tensor that aliases the buffer: valid in this forward,
   * until the next write. */
  seam_tensor *(*buffer_read)(seam_context *ctx, seam_buffer *buffer, int32_t axis, int64_t length);
  /* Along axis 0: new row i is old row rows[i]. `count` rows; the buffer then has `count` rows. */
  seam_status (*buffer_select)(seam_context *ctx, seam_buffer *buffer, const int32_t *rows, int64_t count);
  /* The rows of `other` come behind those of the buffer, along axis 0. Along `axis` (not 0) the shorter of the two has
   * 0 where it ends; their other sizes and dtypes are equal. `other` is left as it is. */
  seam_status (*buffer_append)(seam_context *ctx, seam_buffer *buffer, int32_t axis, seam_buffer *other);
} seam_ops;

#ifdef __cplusplus
}
#endif
#endif
