/* "tiny-features": a traced backbone in C whose sources are features, the smallest that shows how: a frame has 3 numbers,
 * and 2 frames are one position, as with the strided convolutions of a speech model. With P [d, 2 * 3] and E [vocab, d], frames
 * f and target tokens y:
 *
 *   h[i] = tanh(P [f[2i]; f[2i + 1]])           hidden frames, and those behind the last one, are 0
 *   u[t] = E[y_t] + softmax(E[y_t] h^T / sqrt(d)) h,    logits[t] = E u[t]
 *
 * The option "architecture" makes it an encoder alone, whose pooled vector is the mean of the positions that count. Weights
 * come from a formula, so that any test can recompute them. */
#include <math.h>
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 16, WIDTH = 8, FRAME = 3, STRIDE = 2, POSITIONS = 20 };

static float projection[WIDTH * STRIDE * FRAME], embedding[VOCAB * WIDTH];

static void fill(float *values, size_t count, double phase) {
  for (size_t i = 0; i < count; i++) values[i] = (float)sin(phase + 1.7 * (double)i);
}

static seam_status create(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                          seam_error **error) {
  (void)model; /* opened without a folder */
  const char *architecture = NULL;
  const seam_status status = host->config_string(options, "architecture", &architecture);
  if (status != SEAM_OK) return host->set_error(error, status, "no architecture");
  fill(projection, sizeof projection / sizeof projection[0], 0.3);
  fill(embedding, sizeof embedding / sizeof embedding[0], 1.1);
  seam_architecture *own = malloc(sizeof *own);
  if (own == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory");
  *own = strcmp(architecture, "encoder-only") == 0 ? SEAM_ENCODER_ONLY : SEAM_ENCODER_DECODER;
  *self = own;
  return SEAM_OK;
}

static void info(void *self, seam_backbone_info *out) {
  static const char *const seams[] = {SEAM_ENCODER_OUTPUT};
  static const int64_t end_of_text = 1;
  out->kind = SEAM_BACKBONE_TRACED;
  out->architecture = *(const seam_architecture *)self;
  out->has_head = out->architecture == SEAM_ENCODER_DECODER;
  out->family = "tiny-features";
  out->seams = seams;
  out->seam_count = 1;
  out->d_model = WIDTH;
  out->encoder_layers = 1;
  out->decoder_layers = out->has_head;
  out->vocab_size = VOCAB;
  out->max_source_positions = POSITIONS;
  out->decoder_start_token_id = 2;
  out->pad_token_id = 0;
  out->eos_token_ids = &end_of_text;
  out->eos_token_count = 1;
  out->feature_width = FRAME;
  out->feature_stride = STRIDE;
}

static size_t parameter_count(void *self) { return (void)self, 2; }

static void parameter(void *self, size_t index, seam_parameter *out) {
  (void)self;
  out->name = index == 0 ? "projection" : "embedding";
  out->rank = 2;
  out->shape[0] = index == 0 ? WIDTH : VOCAB;
  out->shape[1] = index == 0 ? STRIDE * FRAME : WIDTH;
  out->init = SEAM_INIT_DATA;
  out->data = index == 0 ? projection : embedding;
}

static void encode(void *self, const seam_pass *pass, seam_encode *io) {
  (void)self;
  const seam_ops *ops = pass->ops;
  const int64_t batch = ops->size(pass->ctx, io->input_features, 0),
                frames = ops->size(pass->ctx, io->input_features, 1);
  const int64_t column[] = {batch, frames, 1}, rest[] = {batch, (STRIDE - frames % STRIDE) % STRIDE, FRAME};
  const int64_t groups[] = {batch, (frames + rest[1]) / STRIDE, STRIDE * FRAME};
  seam_tensor *mask = ops->reshape(pass->ctx, ops->cast(pass->ctx, io->attention_mask, SEAM_F32), column, 3);
  seam_tensor *seen = ops->mul(pass->ctx, io->input_features, mask);
  if (rest[1] > 0) {
    seam_tensor *const parts[] = {seen, ops->full(pass->ctx, 0, SEAM_F32, rest, 3)};
    seen = ops->concat(pass->ctx, parts, 2, 1);
  }
  seen = ops->reshape(pass->ctx, seen, groups, 3);
  io->hidden = ops->tanh(pass->ctx, ops->linear(pass->ctx, seen, pass->parameters[0], NULL));
}

static void decode(void *self, const seam_pass *pass, seam_decode *io) {
  (void)self;
  const seam_ops *ops = pass->ops;
  const int64_t batch = ops->size(pass->ctx, io->decoder_input_ids, 0),
                target = ops->size(pass->ctx, io->decoder_input_ids, 1);
  const int64_t source = ops->size(pass->ctx, io->encoder_hidden, 1);
  const int64_t queries[] = {batch, 1, target, WIDTH}, keys[] = {batch, 1, source, WIDTH},
                flat[] = {batch, target, WIDTH};
  seam_tensor *own = ops->embedding(pass->ctx, pass->parameters[1], io->decoder_input_ids);
  seam_tensor *states = ops->reshape(pass->ctx, io->encoder_hidden, keys, 4);
  seam_tensor *found = ops->attention(pass->ctx, ops->reshape(pass->ctx, own, queries, 4), states, states, NULL,
                                      io->encoder_attention_mask, 1 / sqrt((double)WIDTH), 0);
  io->hidden = ops->add(pass->ctx, own, ops->reshape(pass->ctx, found, flat, 3));
  if (!io->hidden_only) io->logits = ops->linear(pass->ctx, io->hidden, pass->parameters[1], NULL);
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

static const seam_option architecture = {.struct_size = sizeof architecture,
                                         .kind = SEAM_OPTION_STRING,
                                         .name = "architecture",
                                         .default_value = "\"encoder-decoder\"",
                                         .choices = "encoder-decoder|encoder-only",
                                         .doc = "What it is."};
static const seam_option *const options[] = {&architecture};

static const seam_backbone_factory factory = {
    .struct_size = sizeof(seam_backbone_factory),
    .id = "tiny-features",
    .summary = "A backbone of 16 tokens and 8 features that reads frames of 3 numbers, for tests.",
    .options = options,
    .option_count = 1,
    .create = create,
    .destroy = free,
    .info = info,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .encode = encode,
    .decode = decode,
    .pool = pool,
};

static const seam_backbone_factory *const backbones[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.tiny-features",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "A backbone of features for tests.",
    .backbones = backbones,
    .backbone_count = 1,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
