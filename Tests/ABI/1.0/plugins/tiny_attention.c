/* "tiny-attention": a traced backbone in C whose attention takes a prefix, the smallest that shows how: one encoder
 * layer of one head, keys and values that are the embeddings themselves. With E [vocab, d], a text x and the prefix
 * K, V:
 *
 *   hidden = softmax(E[x] [K; E[x]]^T / sqrt(d)) [V; E[x]],     pooled = mean of hidden over the tokens
 *
 * The host differentiates the operations, so a prefix can be trained without a line about gradients here. */
#include <math.h>
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 16, WIDTH = 8 };

static seam_status create(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                          seam_error **error) {
  (void)options;
  (void)model; /* opened without a folder */
  *self = malloc(1);
  return *self != NULL ? SEAM_OK : host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory");
}

static void destroy(void *self) { free(self); }

static void info(void *self, seam_backbone_info *out) {
  (void)self;
  out->kind = SEAM_BACKBONE_TRACED;
  out->architecture = SEAM_ENCODER_ONLY;
  out->family = "tiny-attention";
  out->d_model = WIDTH;
  out->encoder_layers = 1;
  out->heads = 1;
  out->kv_heads = 1;
  out->head_dim = WIDTH;
  out->vocab_size = VOCAB;
  out->pad_token_id = 0;
  out->prefix_layers[0] = 1;
  out->max_prefix_length[0] = 4;
}

static size_t parameter_count(void *self) {
  (void)self;
  return 1;
}

static void parameter(void *self, size_t index, seam_parameter *out) {
  (void)self;
  (void)index;
  out->name = "embedding";
  out->rank = 2;
  out->shape[0] = VOCAB;
  out->shape[1] = WIDTH;
  out->init = SEAM_INIT_NORMAL;
  out->b = 1;
}

static void encode(void *self, const seam_pass *pass, seam_encode *io) {
  (void)self;
  const seam_ops *ops = pass->ops;
  const int64_t batch = ops->size(pass->ctx, io->input_ids, 0), source = ops->size(pass->ctx, io->input_ids, 1);
  const int64_t heads[] = {batch, 1, source, WIDTH}, flat[] = {batch, source, WIDTH};
  seam_tensor *x = ops->embedding(pass->ctx, pass->parameters[0], io->input_ids);
  x = ops->reshape(pass->ctx, x, heads, 4);
  const double scale = 1 / sqrt((double)WIDTH);
  if (io->keys_values != NULL) { /* they are the same */
    const int64_t sizes[] = {1, batch, 1, source, WIDTH};
    seam_tensor *parts[] = {ops->reshape(pass->ctx, x, sizes, 5), ops->reshape(pass->ctx, x, sizes, 5)};
    io->keys_values[0] = ops->concat(pass->ctx, parts, 2, 0);
  }
  if (io->prefix != NULL) /* that of layer 0, the only one */
    x = ops->attention_with_prefix(pass->ctx, x, x, x, io->prefix[0], NULL, NULL, io->attention_mask, scale, 0);
  else
    x = ops->attention(pass->ctx, x, x, x, NULL, io->attention_mask, scale, 0);
  io->hidden = ops->reshape(pass->ctx, x, flat, 3);
}

static void pool(void *self, const seam_pass *pass, seam_pool *io) {
  (void)self;
  const seam_ops *ops = pass->ops;
  const int64_t column[] = {ops->size(pass->ctx, io->hidden, 0), ops->size(pass->ctx, io->hidden, 1), 1};
  seam_tensor *mask = ops->reshape(pass->ctx, ops->cast(pass->ctx, io->attention_mask, SEAM_F32), column, 3);
  seam_tensor *sum = ops->sum(pass->ctx, ops->mul(pass->ctx, io->hidden, mask), 1, 0);
  io->pooled = ops->div(pass->ctx, sum, ops->sum(pass->ctx, mask, 1, 0));
}

/* ---- The tables */

static const seam_backbone_factory factory = {
    .struct_size = sizeof(seam_backbone_factory),
    .id = "tiny-attention",
    .summary = "A backbone of 16 tokens and 8 features with one attention, for tests.",
    .create = create,
    .destroy = destroy,
    .info = info,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .encode = encode,
    .pool = pool,
};

static const seam_backbone_factory *const backbones[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.tiny-attention",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "A backbone with a prefix for tests.",
    .backbones = backbones,
    .backbone_count = 1,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
