/* "every-layer": an encoder-decoder backbone that uses everything that version 1.0 has inside the layers of one: prefixes
 * in all three attentions and their keys and values, ranges of layers in both stacks, embedded tokens, projections of
 * several parts whose matrix lies as [in, out], and ids of tokens that few models have. Two layers a stack, of one head,
 * without norms. With E [vocab, d], a source x and a target y, and in the encoder one matrix KV for keys and values:
 *
 *   encoder   h = E[x],   h = h + O softmax(Q h (K h)^T / sqrt(d)) V h            in every layer
 *   decoder   g = E[y],   g = g + O softmax(Q g (K g)^T / sqrt(d)) V g
 *                         g = g + C softmax(Q g (h)^T / sqrt(d)) h + c            in every layer
 *   logits = E g
 *
 * The decoder's own attention is causal; in cross-attention keys and values are the encoder's states themselves. */
#include <math.h>
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 16, WIDTH = 8, LAYERS = 2 };

/* ---- The parameters, and the points inside the layers */

enum { EMBEDDING, ENCODER, ENCODER_WEIGHTS = 3, DECODER = ENCODER + LAYERS * ENCODER_WEIGHTS, DECODER_WEIGHTS = 6 };
enum { ENC_Q, ENC_KV, ENC_O };          /* weights of an encoder's layer */
enum { Q, K, V, O, CROSS, CROSS_BIAS }; /* weights of a decoder's */
static const char *const weights[] = {"embedding",
                                      "encoder.0.q",
                                      "encoder.0.kv",
                                      "encoder.0.o",
                                      "encoder.1.q",
                                      "encoder.1.kv",
                                      "encoder.1.o",
                                      "decoder.0.q",
                                      "decoder.0.k",
                                      "decoder.0.v",
                                      "decoder.0.o",
                                      "decoder.0.cross.weight",
                                      "decoder.0.cross.bias",
                                      "decoder.1.q",
                                      "decoder.1.k",
                                      "decoder.1.v",
                                      "decoder.1.o",
                                      "decoder.1.cross.weight",
                                      "decoder.1.cross.bias"};

/* In the order in which the passes come by; the embedded tokens of both stacks stand last. */
enum { ENC_POINTS = 4, DEC_POINTS = 6, DEC_FIRST = LAYERS * ENC_POINTS, EMBEDDED = DEC_FIRST + LAYERS * DEC_POINTS };
enum { POINTS = EMBEDDED + 2 };

static const char *const part_names[] = {"k", "v"};
static const int64_t part_widths[] = {WIDTH, WIDTH};

#define POINT(stack_of, layer_of, seam_of, name_of, ...) \
  {.struct_size = sizeof(seam_point),                    \
   .stack = stack_of,                                    \
   .layer = layer_of,                                    \
   .seam = seam_of,                                      \
   .name = name_of,                                      \
   .input_width = WIDTH,                                 \
   .output_width = WIDTH,                                \
   __VA_ARGS__}
#define ENC(n)                                                                                    \
  POINT(SEAM_STACK_ENCODER, n, SEAM_PROJECTION, "q", .weight_parameter = "encoder." #n ".q"),     \
      {.struct_size = sizeof(seam_point),                                                         \
       .stack = SEAM_STACK_ENCODER,                                                               \
       .is_transposed = 1,                                                                        \
       .seam = SEAM_PROJECTION,                                                                   \
       .name = "kv",                                                                              \
       .layer = n,                                                                                \
       .input_width = WIDTH,                                                                      \
       .output_width = 2 * WIDTH,                                                                 \
       .part_names = part_names,                                                                  \
       .part_widths = part_widths,                                                                \
       .part_count = 2,                                                                           \
       .weight_parameter = "encoder." #n ".kv"},                                                  \
      POINT(SEAM_STACK_ENCODER, n, SEAM_PROJECTION, "o", .weight_parameter = "encoder." #n ".o"), \
      POINT(SEAM_STACK_ENCODER, n, SEAM_LAYER_OUTPUT, "", .weight_parameter = NULL)
#define DEC(n)                                                                                                    \
  POINT(SEAM_STACK_DECODER, n, SEAM_PROJECTION, "q", .weight_parameter = "decoder." #n ".q"),                     \
      POINT(SEAM_STACK_DECODER, n, SEAM_PROJECTION, "k", .weight_parameter = "decoder." #n ".k"),                 \
      POINT(SEAM_STACK_DECODER, n, SEAM_PROJECTION, "v", .weight_parameter = "decoder." #n ".v"),                 \
      POINT(SEAM_STACK_DECODER, n, SEAM_PROJECTION, "o", .weight_parameter = "decoder." #n ".o"),                 \
      POINT(SEAM_STACK_DECODER, n, SEAM_PROJECTION, "cross_o", .weight_parameter = "decoder." #n ".cross.weight", \
            .bias_parameter = "decoder." #n ".cross.bias"),                                                       \
      POINT(SEAM_STACK_DECODER, n, SEAM_LAYER_OUTPUT, "", .weight_parameter = NULL)
static const seam_point points[POINTS] = {
    ENC(0),
    ENC(1),
    DEC(0),
    DEC(1),
    POINT(SEAM_STACK_ENCODER, 0, SEAM_PROMPT_EMBEDDING, "", .weight_parameter = NULL),
    POINT(SEAM_STACK_DECODER, 0, SEAM_PROMPT_EMBEDDING, "", .weight_parameter = NULL)};

/* What goes on behind a point: what the visitor gives, where somebody wants it. */
static seam_tensor *visited(const seam_visitor *visitor, const seam_pass *pass, seam_visit io) {
  io.struct_size = sizeof io;
  if (visitor != NULL && (visitor->wanted[io.point] & io.phase)) visitor->visit(visitor, pass, &io);
  return io.value;
}

/* x weight^T + bias, of the matrix of a point, with its two phases around it. */
static seam_tensor *project(const seam_visitor *visitor, const seam_pass *pass, size_t point, seam_tensor *x,
                            seam_tensor *weight, seam_tensor *bias) {
  if (points[point].is_transposed) weight = pass->ops->permute(pass->ctx, weight, (const int32_t[]){1, 0}, 2);
  seam_visit io = {.phase = SEAM_PHASE_BEFORE, .point = point, .x = x, .weight = weight, .bias = bias, .value = x};
  io.x = visited(visitor, pass, io);
  io.value = pass->ops->linear(pass->ctx, io.x, weight, bias);
  io.phase = SEAM_PHASE_AFTER;
  return visited(visitor, pass, io);
}

/* What goes on behind a layer. */
static seam_tensor *leaving(const seam_visitor *visitor, const seam_pass *pass, size_t point, seam_tensor *hidden) {
  return visited(visitor, pass, (seam_visit){.phase = SEAM_PHASE_AFTER, .point = point, .value = hidden});
}

/* The pass as visitors see it: with what is known of the tokens. */
static seam_pass inside(const seam_pass *pass, seam_tensor *mask, seam_tensor *positions) {
  seam_pass known = {0};
  memcpy(&known, pass, pass->struct_size < sizeof known ? pass->struct_size : sizeof known);
  known.struct_size = sizeof known;
  known.attention_mask = mask;
  known.position_ids = positions;
  return known;
}

/* The embedded tokens, with what the visitor puts before them: `known` is told of all of these. */
static seam_tensor *embedded(seam_pass *known, const seam_visitor *visitor, size_t point, seam_tensor *ids) {
  seam_visit io = {.struct_size = sizeof io, .phase = SEAM_PHASE_AFTER, .point = point};
  io.value = known->ops->embedding(known->ctx, known->parameters[EMBEDDING], ids);
  io.attention_mask = known->attention_mask;
  io.position_ids = known->position_ids;
  if (visitor != NULL && visitor->wanted[point]) visitor->visit(visitor, known, &io);
  known->attention_mask = io.attention_mask;
  known->position_ids = io.position_ids;
  return io.value;
}

/* ---- The backbone */

static seam_status create(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                          seam_error **error) {
  (void)options;
  (void)model; /* opened without a folder */
  const seam_point **list = malloc(POINTS * sizeof *list);
  if (list == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory");
  for (size_t i = 0; i < POINTS; i++) list[i] = &points[i];
  *self = list;
  return SEAM_OK;
}

static void info(void *self, seam_backbone_info *out) {
  static const int64_t end_of_text = 1;
  static const int64_t heads[LAYERS] = {1, 1}, widths[LAYERS] = {WIDTH, WIDTH};
  out->kind = SEAM_BACKBONE_TRACED;
  out->architecture = SEAM_ENCODER_DECODER;
  out->has_head = 1;
  out->family = "every-layer";
  out->identity = "every-layer of version 1.0";
  out->d_model = WIDTH;
  out->encoder_layers = out->decoder_layers = LAYERS;
  out->heads = out->kv_heads = 1;
  out->head_dim = WIDTH;
  out->vocab_size = VOCAB;
  out->source_vocab_size = VOCAB - 1;
  out->bos_token_id = 3;
  out->mask_token_id = 4;
  out->pad_token_id = 0;
  out->decoder_start_token_id = 2;
  out->eos_token_ids = &end_of_text;
  out->eos_token_count = 1;
  for (int i = 0; i < SEAM_PREFIX_ATTENTIONS; i++) {
    out->prefix_layers[i] = LAYERS;
    out->prefix_kv_heads[i] = heads;
    out->prefix_head_dim[i] = widths;
  }
  out->points = self;
  out->point_count = POINTS;
  out->encodes_layer_ranges = out->decodes_layer_ranges = 1;
}

static size_t parameter_count(void *self) { return (void)self, sizeof weights / sizeof weights[0]; }

static void parameter(void *self, size_t index, seam_parameter *out) {
  (void)self;
  const int is_encoders = index >= ENCODER && index < DECODER;
  out->name = weights[index];
  out->rank = !is_encoders && index > 0 && (index - DECODER) % DECODER_WEIGHTS == CROSS_BIAS ? 1 : 2;
  out->shape[0] = index == EMBEDDING ? VOCAB : WIDTH;
  if (out->rank == 2) out->shape[1] = is_encoders && (index - ENCODER) % ENCODER_WEIGHTS == ENC_KV ? 2 * WIDTH : WIDTH;
  out->init = SEAM_INIT_NORMAL;
  out->b = index == EMBEDDING ? 1 : 0.35;
}

/* [batch, length, WIDTH] as one head, or back. */
static seam_tensor *as_head(const seam_pass *pass, seam_tensor *x) {
  const int64_t heads[] = {pass->ops->size(pass->ctx, x, 0), 1, pass->ops->size(pass->ctx, x, 1), WIDTH};
  return pass->ops->reshape(pass->ctx, x, heads, 4);
}
static seam_tensor *as_states(const seam_pass *pass, seam_tensor *x) {
  const int64_t flat[] = {pass->ops->size(pass->ctx, x, 0), pass->ops->size(pass->ctx, x, 2), WIDTH};
  return pass->ops->reshape(pass->ctx, x, flat, 3);
}

/* Keys and values as [2, batch, 1, positions, WIDTH]. */
static seam_tensor *both(const seam_pass *pass, seam_tensor *keys, seam_tensor *values) {
  const int64_t sizes[] = {1, pass->ops->size(pass->ctx, keys, 0), 1, pass->ops->size(pass->ctx, keys, 2), WIDTH};
  seam_tensor *parts[] = {pass->ops->reshape(pass->ctx, keys, sizes, 5),
                          pass->ops->reshape(pass->ctx, values, sizes, 5)};
  return pass->ops->concat(pass->ctx, parts, 2, 0);
}

static seam_tensor *attend(const seam_pass *pass, seam_tensor *q, seam_tensor *k, seam_tensor *v,
                           const seam_prefix *prefix, seam_tensor *mask, int32_t causal) {
  const double scale = 1 / sqrt((double)WIDTH);
  seam_tensor *seen =
      prefix == NULL ? pass->ops->attention(pass->ctx, q, k, v, NULL, mask, scale, causal)
                     : pass->ops->attention_with_prefix(pass->ctx, q, k, v, prefix, NULL, NULL, mask, scale, causal);
  return as_states(pass, seen);
}

static seam_tensor *encoder_layer(const seam_pass *pass, const seam_encode *io, size_t number, seam_tensor *hidden) {
  const seam_ops *ops = pass->ops;
  seam_tensor *const *own = pass->parameters + ENCODER + number * ENCODER_WEIGHTS;
  const size_t first = number * ENC_POINTS;
  seam_tensor *q = as_head(pass, project(io->visitor, pass, first + ENC_Q, hidden, own[ENC_Q], NULL));
  seam_tensor *kv = project(io->visitor, pass, first + ENC_KV, hidden, own[ENC_KV], NULL);
  seam_tensor *k = as_head(pass, ops->slice(pass->ctx, kv, 2, 0, WIDTH));
  seam_tensor *v = as_head(pass, ops->slice(pass->ctx, kv, 2, WIDTH, WIDTH));
  if (io->keys_values != NULL) io->keys_values[number] = both(pass, k, v);
  const seam_prefix *prefix = io->prefix == NULL ? NULL : io->prefix[number];
  seam_tensor *seen = attend(pass, q, k, v, prefix, pass->attention_mask, 0);
  return ops->add(pass->ctx, hidden, project(io->visitor, pass, first + ENC_O, seen, own[ENC_O], NULL));
}

static void encode(void *self, const seam_pass *pass, seam_encode *io) {
  (void)self;
  if (io->token_type_ids != NULL) {
    pass->ops->fail(pass->ctx, SEAM_PLUGIN,
                    "only an encoder without a decoder is told which of two texts a token is of");
    return;
  }
  seam_pass known = inside(pass, io->attention_mask, NULL);
  const size_t start = (size_t)io->start_layer, stop = (size_t)io->stop_layer;
  const size_t output = ENC_POINTS - 1; /* of a layer's points the last */
  /* The cut is behind a layer and before its output is visited. */
  io->hidden = start > 0 ? leaving(io->visitor, &known, (start - 1) * ENC_POINTS + output, io->start_state)
                         : embedded(&known, io->visitor, EMBEDDED, io->input_ids);
  for (size_t i = start; i < (stop > 0 ? stop : LAYERS); i++) {
    io->hidden = encoder_layer(&known, io, i, io->hidden);
    if (i + 1 != stop) io->hidden = leaving(io->visitor, &known, i * ENC_POINTS + output, io->hidden);
  }
}

static seam_tensor *decoder_layer(const seam_pass *pass, const seam_decode *io, size_t number, seam_tensor *hidden) {
  const seam_ops *ops = pass->ops;
  seam_tensor *const *own = pass->parameters + DECODER + number * DECODER_WEIGHTS;
  const size_t first = DEC_FIRST + number * DEC_POINTS;
  seam_tensor *x[3];
  for (size_t i = Q; i <= V; i++) x[i] = as_head(pass, project(io->visitor, pass, first + i, hidden, own[i], NULL));
  if (io->keys_values != NULL) io->keys_values[number] = both(pass, x[K], x[V]);
  const seam_prefix *prefix = io->prefix == NULL ? NULL : io->prefix[number];
  seam_tensor *seen = attend(pass, x[Q], x[K], x[V], prefix, pass->attention_mask, 1);
  hidden = ops->add(pass->ctx, hidden, project(io->visitor, pass, first + O, seen, own[O], NULL));

  seam_tensor *source = as_head(pass, io->encoder_hidden);
  if (io->cross_keys_values != NULL) io->cross_keys_values[number] = both(pass, source, source);
  prefix = io->cross_prefix == NULL ? NULL : io->cross_prefix[number];
  seen = attend(pass, as_head(pass, hidden), source, source, prefix, io->encoder_attention_mask, 0);
  return ops->add(pass->ctx, hidden, project(io->visitor, pass, first + CROSS, seen, own[CROSS], own[CROSS_BIAS]));
}

static void head(void *self, const seam_pass *pass, seam_head *io) {
  (void)self;
  io->logits = pass->ops->linear(pass->ctx, io->hidden, pass->parameters[EMBEDDING], NULL);
}

static void decode(void *self, const seam_pass *pass, seam_decode *io) {
  (void)self;
  seam_pass known = inside(pass, io->attention_mask, io->position_ids);
  const size_t start = (size_t)io->start_layer, stop = (size_t)io->stop_layer;
  const size_t output = DEC_FIRST + DEC_POINTS - 1;
  io->hidden = start > 0 ? leaving(io->visitor, &known, (start - 1) * DEC_POINTS + output, io->start_state)
                         : embedded(&known, io->visitor, EMBEDDED + 1, io->decoder_input_ids);
  for (size_t i = start; i < (stop > 0 ? stop : LAYERS); i++) {
    io->hidden = decoder_layer(&known, io, i, io->hidden);
    if (i + 1 != stop) io->hidden = leaving(io->visitor, &known, i * DEC_POINTS + output, io->hidden);
  }
  if (!io->hidden_only) io->logits = pass->ops->linear(pass->ctx, io->hidden, pass->parameters[EMBEDDING], NULL);
}

/* ---- An adapter that reads all that there is at a projection: y + s * (x weight^T + bias), s [out] */

typedef struct {
  size_t count;
  int64_t widths[];
} projections;

static seam_status create_adapter(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                                  seam_error **error) {
  (void)options;
  projections *made = malloc(sizeof *made + site->point_count * sizeof made->widths[0]);
  if (made == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  made->count = site->point_count;
  for (size_t i = 0; i < made->count; i++) made->widths[i] = site->points[i]->output_width;
  *self = made;
  return SEAM_OK;
}

static size_t adapter_parameter_count(void *self) { return ((projections *)self)->count; }

static void adapter_parameter(void *self, size_t index, seam_parameter *out) {
  out->name = "s";
  out->point = (int64_t)index;
  out->init = SEAM_INIT_ZEROS;
  out->rank = 1;
  out->shape[0] = ((projections *)self)->widths[index];
}

static void adapter_forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  const seam_ops *ops = pass->ops;
  if (io->input_count != SEAM_PROJECTION_Y + 1) {
    ops->fail(pass->ctx, SEAM_PLUGIN, "a projection has other inputs in version 1.0");
    return;
  }
  seam_tensor *again = ops->linear(pass->ctx, io->inputs[SEAM_PROJECTION_X], io->inputs[SEAM_PROJECTION_WEIGHT],
                                   io->inputs[SEAM_PROJECTION_BIAS]);
  io->outputs[0] = ops->add(pass->ctx, io->inputs[SEAM_PROJECTION_Y], ops->mul(pass->ctx, again, pass->parameters[0]));
}

/* ---- The tables */

static const char *const adapter_seams[] = {SEAM_PROJECTION};
static const seam_adapter_factory adapter = {
    .struct_size = sizeof(seam_adapter_factory),
    .id = "every-projection",
    .summary = "Adds to a projection what is learned of it.",
    .seams = adapter_seams,
    .seam_count = 1,
    .create = create_adapter,
    .destroy = free,
    .parameter_count = adapter_parameter_count,
    .parameter = adapter_parameter,
    .forward = adapter_forward,
};
static const seam_adapter_factory *const adapters[] = {&adapter};

static const seam_backbone_factory factory = {
    .struct_size = sizeof(seam_backbone_factory),
    .id = "every-layer",
    .summary = "An encoder-decoder of 16 tokens and 8 features with every point in its layers, for tests.",
    .create = create,
    .destroy = free,
    .info = info,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .encode = encode,
    .decode = decode,
    .head = head,
};

static const seam_backbone_factory *const backbones[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.every-layer",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "A backbone of version 1.0 for tests.",
    .backbones = backbones,
    .backbone_count = 1,
    .adapters = adapters,
    .adapter_count = 1,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
