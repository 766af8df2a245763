/* "tiny-opaque": the smallest backbone that computes by itself. It stands for a model behind an API or in
 * another framework: its arithmetic happens here, on host memory, and gradients pass only through the
 * derivative it publishes. Weights come from a fixed formula, so that any test can recompute them.
 *
 *   encode  h[i] = tanh(E[x_i] + M m),            m = mean of E[x] over the tokens of the source
 *   decode  u[t] = D[y_t] + A c,                   c = mean of h over the tokens of the source
 *           logits[t] = V u[t]
 *
 * E, D, V [vocab, d], M, A [d, d]. `c` is linear in h, so decode_vjp is exact. It has no incremental
 * state: the host runs whole prefixes. */
#include <math.h>
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 16, WIDTH = 8 };

typedef struct {
  float embedding[VOCAB][WIDTH], target[VOCAB][WIDTH], head[VOCAB][WIDTH];
  float mix[WIDTH][WIDTH], attend[WIDTH][WIDTH];
} weights;

/* The weight number `index` of the model `seed`: an integer hash as a number in [-1/2, 1/2). */
static float weight_value(uint32_t seed, uint32_t index) {
  uint32_t x = index * 2654435761u + seed * 40503u + 1u;
  x ^= x >> 16;
  x *= 2246822519u;
  x ^= x >> 13;
  return (float)(x >> 8) / 16777216.0f - 0.5f;
}

static seam_status create(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                          seam_error **error) {
  (void)model; /* opened without a folder */
  int64_t seed = 0;
  seam_status status = host->config_int(options, "seed", &seed);
  if (status != SEAM_OK) return host->set_error(error, status, "the option 'seed' must be an integer");
  weights *w = malloc(sizeof *w);
  if (w == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the weights");
  float *values = (float *)w;
  for (uint32_t i = 0; i < sizeof *w / sizeof(float); i++) values[i] = weight_value((uint32_t)seed, i);
  *self = w;
  return SEAM_OK;
}

static void destroy(void *self) { free(self); }

static const char *const seams[] = {SEAM_ENCODER_OUTPUT};
static const int64_t end_of_text = 1;

static void info(void *self, seam_backbone_info *out) {
  (void)self;
  out->kind = SEAM_BACKBONE_OPAQUE;
  out->family = "tiny-opaque";
  out->seams = seams;
  out->seam_count = 1;
  out->d_model = WIDTH;
  out->encoder_layers = 1;
  out->decoder_layers = 1;
  out->vocab_size = VOCAB;
  out->decoder_start_token_id = 0;
  out->eos_token_ids = &end_of_text;
  out->eos_token_count = 1;
  out->pad_token_id = 0;
  out->has_head = 1;
}

static size_t parameter_count(void *self) {
  (void)self;
  return 0;
}

static void parameter(void *self, size_t index, seam_parameter *out) {
  (void)self;
  (void)index;
  (void)out;
}

/* ---- Host memory for a pass. Each input is borrowed with to_dlpack and given back before returning. */

static const void *data_of(const DLManagedTensorVersioned *x) {
  return x == NULL ? NULL : (const char *)x->dl_tensor.data + x->dl_tensor.byte_offset;
}

static void give_back(DLManagedTensorVersioned *x) {
  if (x != NULL && x->deleter != NULL) x->deleter(x);
}

static void multiply_add(float out[WIDTH], const float matrix[WIDTH][WIDTH], const float x[WIDTH]) {
  for (int i = 0; i < WIDTH; i++)
    for (int j = 0; j < WIDTH; j++) out[i] += matrix[i][j] * x[j];
}

/* Mean over the unmasked rows; a source without tokens has mean zero. Returns how many there are. */
static int64_t masked_mean(float out[WIDTH], const float *rows, const int32_t *mask, int64_t count) {
  int64_t tokens = 0;
  memset(out, 0, WIDTH * sizeof(float));
  for (int64_t i = 0; i < count; i++) {
    if (mask[i] == 0) continue;
    tokens++;
    for (int j = 0; j < WIDTH; j++) out[j] += rows[i * WIDTH + j];
  }
  for (int j = 0; j < WIDTH && tokens > 0; j++) out[j] /= (float)tokens;
  return tokens;
}

/* `count` zeroed floats, or NULL after a failure in the context. */
static float *room(seam_context *ctx, const seam_ops *ops, int64_t count) {
  float *memory = calloc((size_t)(count > 0 ? count : 1), sizeof(float));
  if (memory == NULL) ops->fail(ctx, SEAM_OUT_OF_MEMORY, "no memory for the result");
  return memory;
}

/* ---- The passes */

static void encode(void *self, const seam_pass *pass, seam_encode *io) {
  const weights *w = self;
  const seam_ops *ops = pass->ops;
  const int64_t shape[3] = {ops->size(pass->ctx, io->input_ids, 0), ops->size(pass->ctx, io->input_ids, 1), WIDTH};
  DLManagedTensorVersioned *ids = ops->to_dlpack(pass->ctx, io->input_ids);
  DLManagedTensorVersioned *mask = ops->to_dlpack(pass->ctx, io->attention_mask);
  float *hidden = room(pass->ctx, ops, shape[0] * shape[1] * WIDTH);
  if (ids != NULL && mask != NULL && hidden != NULL) {
    for (int64_t b = 0; b < shape[0]; b++) {
      const int32_t *row = (const int32_t *)data_of(ids) + b * shape[1];
      float *out = hidden + b * shape[1] * WIDTH;
      for (int64_t i = 0; i < shape[1]; i++) memcpy(out + i * WIDTH, w->embedding[row[i]], sizeof w->embedding[0]);
      float mean[WIDTH], mixed[WIDTH] = {0};
      masked_mean(mean, out, (const int32_t *)data_of(mask) + b * shape[1], shape[1]);
      multiply_add(mixed, w->mix, mean);
      for (int64_t i = 0; i < shape[1] * WIDTH; i++) out[i] = tanhf(out[i] + mixed[i % WIDTH]);
    }
    io->hidden = ops->constant_f32(pass->ctx, hidden, shape, 3);
  }
  free(hidden);
  give_back(mask);
  give_back(ids);
}

static void decode(void *self, const seam_pass *pass, seam_decode *io) {
  const weights *w = self;
  const seam_ops *ops = pass->ops;
  const int64_t batch = ops->size(pass->ctx, io->decoder_input_ids, 0);
  const int64_t target = ops->size(pass->ctx, io->decoder_input_ids, 1);
  const int64_t source = ops->size(pass->ctx, io->encoder_hidden, 1);
  DLManagedTensorVersioned *ids = ops->to_dlpack(pass->ctx, io->decoder_input_ids);
  DLManagedTensorVersioned *encoded = ops->to_dlpack(pass->ctx, io->encoder_hidden);
  DLManagedTensorVersioned *mask = ops->to_dlpack(pass->ctx, io->encoder_attention_mask);
  float *hidden = room(pass->ctx, ops, batch * target * WIDTH);
  float *logits = room(pass->ctx, ops, batch * target * VOCAB);
  if (ids != NULL && encoded != NULL && mask != NULL && hidden != NULL && logits != NULL) {
    for (int64_t b = 0; b < batch; b++) {
      float mean[WIDTH], context[WIDTH] = {0};
      masked_mean(mean, (const float *)data_of(encoded) + b * source * WIDTH,
                  (const int32_t *)data_of(mask) + b * source, source);
      multiply_add(context, w->attend, mean);
      for (int64_t t = b * target; t < (b + 1) * target; t++) {
        const float *embedded = w->target[((const int32_t *)data_of(ids))[t]];
        float *u = hidden + t * WIDTH;
        for (int j = 0; j < WIDTH; j++) u[j] = embedded[j] + context[j];
        for (int v = 0; v < VOCAB; v++)
          for (int j = 0; j < WIDTH; j++) logits[t * VOCAB + v] += w->head[v][j] * u[j];
      }
    }
    const int64_t hidden_shape[3] = {batch, target, WIDTH}, logits_shape[3] = {batch, target, VOCAB};
    io->hidden = ops->constant_f32(pass->ctx, hidden, hidden_shape, 3);
    io->logits = ops->constant_f32(pass->ctx, logits, logits_shape, 3);
  }
  free(logits);
  free(hidden);
  give_back(mask);
  give_back(encoded);
  give_back(ids);
}

/* dc = A^T V^T (sum over t of dlogits[t]); each token of the source gets its share dc / tokens. */
static void decode_vjp(void *self, const seam_pass *pass, seam_decode_vjp *io) {
  const weights *w = self;
  const seam_ops *ops = pass->ops;
  const int64_t source = ops->size(pass->ctx, io->encoder_hidden, 1);
  const int64_t shape[3] = {ops->size(pass->ctx, io->encoder_hidden, 0), source, WIDTH};
  const int64_t target = ops->size(pass->ctx, io->decoder_input_ids, 1);
  DLManagedTensorVersioned *upstream = ops->to_dlpack(pass->ctx, io->logits_gradient);
  DLManagedTensorVersioned *mask = ops->to_dlpack(pass->ctx, io->encoder_attention_mask);
  float *gradient = room(pass->ctx, ops, shape[0] * source * WIDTH);
  if (upstream != NULL && mask != NULL && gradient != NULL) {
    for (int64_t b = 0; b < shape[0]; b++) {
      const float *dlogits = (const float *)data_of(upstream) + b * target * VOCAB;
      const int32_t *tokens = (const int32_t *)data_of(mask) + b * source;
      float du[WIDTH] = {0}, dc[WIDTH] = {0};
      int64_t count = 0;
      for (int64_t i = 0; i < target * VOCAB; i++)
        for (int j = 0; j < WIDTH; j++) du[j] += dlogits[i] * w->head[i % VOCAB][j];
      for (int i = 0; i < WIDTH; i++)
        for (int j = 0; j < WIDTH; j++) dc[j] += w->attend[i][j] * du[i];
      for (int64_t i = 0; i < source; i++) count += tokens[i] != 0;
      for (int64_t i = 0; i < source; i++)
        for (int j = 0; j < WIDTH && tokens[i] != 0; j++) gradient[(b * source + i) * WIDTH + j] = dc[j] / (float)count;
    }
    io->encoder_hidden_gradient = ops->constant_f32(pass->ctx, gradient, shape, 3);
  }
  free(gradient);
  give_back(mask);
  give_back(upstream);
}

/* ---- The tables */

static const seam_option seed_option = {
    .struct_size = sizeof(seam_option),
    .kind = SEAM_OPTION_INT,
    .name = "seed",
    .default_value = "1",
    .minimum = 0,
    .maximum = 1000000,
    .doc = "Which of the fixed sets of weights.",
};

static const seam_option *const options[] = {&seed_option};

static const seam_backbone_factory factory = {
    .struct_size = sizeof(seam_backbone_factory),
    .id = "tiny-opaque",
    .summary = "A backbone of 16 tokens and 8 features that computes by itself, for tests.",
    .options = options,
    .option_count = 1,
    .create = create,
    .destroy = destroy,
    .info = info,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .encode = encode,
    .decode = decode,
    .decode_vjp = decode_vjp,
};

static const seam_backbone_factory *const backbones[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.tiny-opaque",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "An opaque backbone for tests.",
    .backbones = backbones,
    .backbone_count = 1,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
