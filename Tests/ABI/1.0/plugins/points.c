/* "tiny-points": a traced backbone in C that offers points inside its layers, the smallest that shows how. Two layers
 * of one head without norms. With E [vocab, d], tokens x and in each layer Q, K, V, O [d, d] and o [d]:
 *
 *   h = E[x],   h = h + O softmax(Q h (K h)^T / sqrt(d)) V h + o in every layer,   logits = E h
 *
 * Attention is causal. */
#include <math.h>
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 16, WIDTH = 8, LAYERS = 2 };

/* ---- The points: five in each layer, in the order in which the passes come by, and the embedded tokens */

enum { Q, K, V, O, OUTPUT, LAYER_POINTS };

/* Its parameters: the embedding, then the weights of each layer's projections in the order of the points, and o. */
enum { EMBEDDING = 0, O_BIAS = 4, LAYER_WEIGHTS = 5 };
#define WEIGHT(layer_number, which) (1 + (layer_number) * LAYER_WEIGHTS + (which))

#define EMBEDDED (LAYERS * LAYER_POINTS)
#define POINT(layer_number, seam_name, point_name, weight, bias) \
  {.struct_size = sizeof(seam_point),                            \
   .stack = SEAM_STACK_DECODER,                                  \
   .seam = seam_name,                                            \
   .name = point_name,                                           \
   .layer = layer_number,                                        \
   .input_width = WIDTH,                                         \
   .output_width = WIDTH,                                        \
   .weight_parameter = weight,                                   \
   .bias_parameter = bias}
#define NAME(n, part) "layers." #n "." part
#define LAYER(n)                                                                                          \
  POINT(n, SEAM_PROJECTION, "q", NAME(n, "q"), NULL), POINT(n, SEAM_PROJECTION, "k", NAME(n, "k"), NULL), \
      POINT(n, SEAM_PROJECTION, "v", NAME(n, "v"), NULL),                                                 \
      POINT(n, SEAM_PROJECTION, "o", NAME(n, "o.weight"), NAME(n, "o.bias")),                             \
      POINT(n, SEAM_LAYER_OUTPUT, "", NULL, NULL)
static const seam_point points[EMBEDDED + 1] = {LAYER(0), LAYER(1), POINT(0, SEAM_PROMPT_EMBEDDING, "", NULL, NULL)};
static const seam_point *const point_list[EMBEDDED + 1] = {&points[0], &points[1], &points[2],       &points[3],
                                                           &points[4], &points[5], &points[6],       &points[7],
                                                           &points[8], &points[9], &points[EMBEDDED]};

/* What goes on behind a point: what the visitor gives, where somebody wants it. */
static seam_tensor *visited(const seam_visitor *visitor, const seam_pass *pass, seam_visit io) {
  io.struct_size = sizeof io;
  if (visitor != NULL && (visitor->wanted[io.point] & io.phase)) visitor->visit(visitor, pass, &io);
  return io.value;
}

/* x weight^T + bias, with the point's two phases around it. */
static seam_tensor *project(const seam_visitor *visitor, const seam_pass *pass, size_t point, seam_tensor *x,
                            seam_tensor *weight, seam_tensor *bias) {
  seam_visit io = {.phase = SEAM_PHASE_BEFORE, .point = point, .x = x, .weight = weight, .bias = bias, .value = x};
  io.x = visited(visitor, pass, io);
  io.value = pass->ops->linear(pass->ctx, io.x, weight, bias);
  io.phase = SEAM_PHASE_AFTER;
  return visited(visitor, pass, io);
}

/* The pass as visitors see it: with what is known of the tokens. */
static seam_pass inside(const seam_pass *pass, const seam_decode *io) {
  seam_pass known = {0};
  memcpy(&known, pass, pass->struct_size < sizeof known ? pass->struct_size : sizeof known);
  known.struct_size = sizeof known;
  known.attention_mask = io->attention_mask;
  known.position_ids = io->position_ids;
  return known;
}

/* ---- The backbone */

static seam_status create(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                          seam_error **error) {
  (void)options;
  (void)model; /* opened without a folder */
  *self = malloc(1);
  return *self != NULL ? SEAM_OK : host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory");
}

static void info(void *self, seam_backbone_info *out) {
  (void)self;
  static const int64_t end_of_text = 1;
  out->kind = SEAM_BACKBONE_TRACED;
  out->architecture = SEAM_DECODER_ONLY;
  out->has_head = 1;
  out->family = "tiny-points";
  out->d_model = WIDTH;
  out->decoder_layers = LAYERS;
  out->heads = 1;
  out->kv_heads = 1;
  out->head_dim = WIDTH;
  out->vocab_size = VOCAB;
  out->pad_token_id = 0;
  out->eos_token_ids = &end_of_text;
  out->eos_token_count = 1;
  out->points = point_list;
  out->point_count = EMBEDDED + 1;
  out->decodes_layer_ranges = 1;
}

static const char *const weights[] = {
    "embedding",  "layers.0.q", "layers.0.k", "layers.0.v",        "layers.0.o.weight", "layers.0.o.bias",
    "layers.1.q", "layers.1.k", "layers.1.v", "layers.1.o.weight", "layers.1.o.bias",
};

static size_t parameter_count(void *self) { return (void)self, sizeof weights / sizeof weights[0]; }

static void parameter(void *self, size_t index, seam_parameter *out) {
  (void)self;
  out->name = weights[index];
  out->rank = index > 0 && index % LAYER_WEIGHTS == 0 ? 1 : 2;
  out->shape[0] = index == EMBEDDING ? VOCAB : WIDTH;
  if (out->rank == 2) out->shape[1] = WIDTH;
  out->init = SEAM_INIT_NORMAL;
  out->b = index == EMBEDDING ? 1 : 0.35;
}

static seam_tensor *layer(const seam_pass *pass, const seam_decode *io, size_t number, seam_tensor *hidden) {
  const seam_ops *ops = pass->ops;
  const int64_t batch = ops->size(pass->ctx, hidden, 0), length = ops->size(pass->ctx, hidden, 1);
  const int64_t heads[] = {batch, 1, length, WIDTH}, flat[] = {batch, length, WIDTH};
  seam_tensor *const *own = pass->parameters + WEIGHT(number, 0);
  const size_t first = number * LAYER_POINTS;
  seam_tensor *x[3];
  for (size_t i = Q; i <= V; i++) {
    x[i] = project(io->visitor, pass, first + i, hidden, own[i], NULL);
    x[i] = ops->reshape(pass->ctx, x[i], heads, 4);
  }
  seam_tensor *seen =
      ops->attention(pass->ctx, x[Q], x[K], x[V], NULL, pass->attention_mask, 1 / sqrt((double)WIDTH), 1);
  seen = ops->reshape(pass->ctx, seen, flat, 3);
  return ops->add(pass->ctx, hidden, project(io->visitor, pass, first + O, seen, own[O], own[O_BIAS]));
}

/* What goes on behind a layer. */
static seam_tensor *leaving(const seam_pass *pass, const seam_decode *io, size_t number, seam_tensor *hidden) {
  const size_t point = number * LAYER_POINTS + OUTPUT;
  return visited(io->visitor, pass, (seam_visit){.phase = SEAM_PHASE_AFTER, .point = point, .value = hidden});
}

/* The embedded tokens, with what the visitor puts before them: `known` is told of all of these. */
static seam_tensor *embedded(seam_pass *known, const seam_decode *io) {
  seam_visit visit = {.struct_size = sizeof visit, .phase = SEAM_PHASE_AFTER, .point = EMBEDDED};
  visit.value = known->ops->embedding(known->ctx, known->parameters[EMBEDDING], io->decoder_input_ids);
  visit.attention_mask = io->attention_mask;
  visit.position_ids = io->position_ids;
  const seam_visitor *visitor = io->visitor;
  if (visitor != NULL && visitor->wanted[EMBEDDED]) visitor->visit(visitor, known, &visit);
  known->attention_mask = visit.attention_mask;
  known->position_ids = visit.position_ids;
  return visit.value;
}

static void head(void *self, const seam_pass *pass, seam_head *io) {
  (void)self;
  io->logits = pass->ops->linear(pass->ctx, io->hidden, pass->parameters[EMBEDDING], NULL);
}

static void decode(void *self, const seam_pass *pass, seam_decode *io) {
  (void)self;
  seam_pass known = inside(pass, io);
  const size_t start = (size_t)io->start_layer, stop = (size_t)io->stop_layer;
  /* The cut is behind a layer and before its output is visited. */
  io->hidden = start > 0 ? leaving(&known, io, start - 1, io->start_state) : embedded(&known, io);
  for (size_t i = start; i < (stop > 0 ? stop : LAYERS); i++) {
    io->hidden = layer(&known, io, i, io->hidden);
    if (i + 1 != stop) io->hidden = leaving(&known, io, i, io->hidden);
  }
  if (!io->hidden_only) io->logits = pass->ops->linear(pass->ctx, io->hidden, pass->parameters[EMBEDDING], NULL);
}

/* ---- The tables */

static const seam_backbone_factory factory = {
    .struct_size = sizeof(seam_backbone_factory),
    .id = "tiny-points",
    .summary = "A decoder of 16 tokens and 8 features with points in its two layers, for tests.",
    .create = create,
    .destroy = free,
    .info = info,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .decode = decode,
    .head = head,
};

static const seam_backbone_factory *const backbones[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.tiny-points",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "A backbone with points for tests.",
    .backbones = backbones,
    .backbone_count = 1,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
