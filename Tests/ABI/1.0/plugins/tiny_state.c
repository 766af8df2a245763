/* "tiny-state": a traced backbone in C with a decoding state that takes rows in and lets rows go, the smallest that shows
 * how. With E [vocab, d], P [positions, d] and tokens y:
 *
 *   x = E[y] + P[position],   hidden = x + softmax(x x^T / sqrt(d)) x,   logits = hidden E^T
 *
 * with a point "layer.output" at hidden. Attention is causal. Its keys are its values, and a state keeps them: those of each row behind one another, from the
 * front. Rows that joined have seen other numbers of tokens, so each writes its new key behind its own, and the mask of
 * the host hides what stands there of other lengths. */
#include <math.h>
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 16, WIDTH = 8, POSITIONS = 32 };
enum { EMBEDDING, PLACES };

static const seam_point output = {.struct_size = sizeof output,
                                  .stack = SEAM_STACK_DECODER,
                                  .seam = SEAM_LAYER_OUTPUT,
                                  .name = "",
                                  .input_width = WIDTH,
                                  .output_width = WIDTH};
static const seam_point *const points[] = {&output};

typedef struct {
  seam_buffer *keys; /* [rows, 1, capacity, WIDTH] */
  int64_t *seen;     /* tokens of each row */
  int64_t rows;
  void (*release)(seam_buffer *buffer);
} keys_state;

static seam_status create(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                          seam_error **error) {
  (void)options;
  (void)model; /* opened without a folder */
  *self = malloc(1);
  return *self != NULL ? SEAM_OK : host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory");
}

static void info(void *self, seam_backbone_info *out) {
  (void)self;
  out->kind = SEAM_BACKBONE_TRACED;
  out->architecture = SEAM_DECODER_ONLY;
  out->has_head = 1;
  out->family = "tiny-state";
  out->d_model = WIDTH;
  out->decoder_layers = 1;
  out->max_source_positions = POSITIONS;
  out->max_target_positions = POSITIONS;
  out->vocab_size = VOCAB;
  out->pad_token_id = 0;
  out->points = points;
  out->point_count = 1;
}

static size_t parameter_count(void *self) { return (void)self, 2; }

static void parameter(void *self, size_t index, seam_parameter *out) {
  (void)self;
  out->name = index == EMBEDDING ? "embedding" : "places";
  out->rank = 2;
  out->shape[0] = index == EMBEDDING ? VOCAB : POSITIONS;
  out->shape[1] = WIDTH;
  out->init = SEAM_INIT_NORMAL;
  out->b = 0.7;
}

/* ---- The state */

static void state_destroy(void *self, seam_state *given) {
  (void)self;
  keys_state *state = (keys_state *)given;
  if (state->keys != NULL) state->release(state->keys);
  free(state->seen);
  free(state);
}

static seam_state *state_create(void *self, const seam_pass *pass, int64_t batch, int64_t capacity) {
  const seam_ops *ops = pass->ops;
  const int64_t shape[] = {batch, 1, capacity, WIDTH};
  keys_state *state = calloc(1, sizeof *state);
  if (state != NULL) state->seen = calloc((size_t)batch, sizeof *state->seen);
  if (state == NULL || state->seen == NULL) {
    free(state);
    ops->fail(pass->ctx, SEAM_OUT_OF_MEMORY, "no memory for a decoding state");
    return NULL;
  }
  state->rows = batch;
  state->release = ops->buffer_release;
  state->keys = ops->buffer_create(pass->ctx, SEAM_F32, shape, 4);
  if (state->keys != NULL) return (seam_state *)state;
  state_destroy(self, (seam_state *)state);
  return NULL;
}

static int64_t most_seen(const keys_state *state) {
  int64_t most = 0;
  for (int64_t row = 0; row < state->rows; row++) most = state->seen[row] > most ? state->seen[row] : most;
  return most;
}

/* Takes over the numbers of tokens of `count` rows, which become the caller's in the place of the old ones. */
static void take_rows(keys_state *state, int64_t *seen, int64_t count) {
  free(state->seen);
  state->seen = seen;
  state->rows = count;
}

static void state_select(void *self, const seam_pass *pass, seam_state *given, const int32_t *rows, int64_t count) {
  (void)self;
  keys_state *state = (keys_state *)given;
  int64_t *seen = malloc((size_t)count * sizeof *seen);
  if (seen == NULL) {
    pass->ops->fail(pass->ctx, SEAM_OUT_OF_MEMORY, "no memory for a decoding state");
    return;
  }
  /* Refuses a row that is not there. */
  if (pass->ops->buffer_select(pass->ctx, state->keys, rows, count) != SEAM_OK) {
    free(seen);
    return;
  }
  for (int64_t i = 0; i < count; i++) seen[i] = state->seen[rows[i]];
  take_rows(state, seen, count);
}

static void state_append(void *self, const seam_pass *pass, seam_state *given, seam_state *joining) {
  (void)self;
  keys_state *state = (keys_state *)given;
  const keys_state *other = (const keys_state *)joining;
  int64_t *seen = malloc((size_t)(state->rows + other->rows) * sizeof *seen);
  if (seen == NULL) {
    pass->ops->fail(pass->ctx, SEAM_OUT_OF_MEMORY, "no memory for a decoding state");
    return;
  }
  /* Along the positions, axis 2, the shorter of the two is filled up. */
  if (pass->ops->buffer_append(pass->ctx, state->keys, 2, other->keys) != SEAM_OK) {
    free(seen);
    return;
  }
  memcpy(seen, state->seen, (size_t)state->rows * sizeof *seen);
  memcpy(seen + state->rows, other->seen, (size_t)other->rows * sizeof *seen);
  take_rows(state, seen, state->rows + other->rows);
}

/* The keys of a step behind those of earlier ones: as far as the longest row goes. */
static seam_tensor *remembered(keys_state *state, const seam_pass *pass, seam_tensor *keys, int64_t count) {
  const int64_t most = most_seen(state);
  pass->ops->buffer_write_rows(pass->ctx, state->keys, 2, state->seen, state->rows, keys);
  for (int64_t row = 0; row < state->rows; row++) state->seen[row] += count;
  return pass->ops->buffer_read(pass->ctx, state->keys, 2, most + count);
}

/* ---- The passes */

/* 0, 1 ... behind what has been seen: [count]. Where rows have seen different numbers, the host gives the positions. */
static seam_tensor *counted(const seam_pass *pass, int64_t seen, int64_t count) {
  int32_t numbers[POSITIONS];
  if (seen + count > POSITIONS) return pass->ops->fail(pass->ctx, SEAM_SHAPE, "the target is too long");
  for (int64_t i = 0; i < count; i++) numbers[i] = (int32_t)(seen + i);
  return pass->ops->constant_i32(pass->ctx, numbers, &count, 1);
}

static void head(void *self, const seam_pass *pass, seam_head *io) {
  (void)self;
  io->logits = pass->ops->linear(pass->ctx, io->hidden, pass->parameters[EMBEDDING], NULL);
}

static void decode(void *self, const seam_pass *pass, seam_decode *io) {
  (void)self;
  const seam_ops *ops = pass->ops;
  keys_state *state = (keys_state *)io->state;
  const int64_t batch = ops->size(pass->ctx, io->decoder_input_ids, 0);
  const int64_t count = ops->size(pass->ctx, io->decoder_input_ids, 1);
  const int64_t heads[] = {batch, 1, count, WIDTH}, flat[] = {batch, count, WIDTH};
  seam_tensor *places = io->position_ids;
  if (places == NULL) places = counted(pass, state != NULL ? most_seen(state) : 0, count);
  seam_tensor *x = ops->add(pass->ctx, ops->embedding(pass->ctx, pass->parameters[EMBEDDING], io->decoder_input_ids),
                            ops->embedding(pass->ctx, pass->parameters[PLACES], places));
  seam_tensor *query = ops->reshape(pass->ctx, x, heads, 4);
  seam_tensor *keys = state != NULL ? remembered(state, pass, query, count) : query;
  seam_tensor *seen =
      ops->attention(pass->ctx, query, keys, keys, NULL, io->attention_mask, 1 / sqrt((double)WIDTH), 1);
  io->hidden = ops->add(pass->ctx, x, ops->reshape(pass->ctx, seen, flat, 3));
  const seam_visitor *visitor = io->visitor;
  if (visitor != NULL && visitor->wanted[0]) {
    seam_visit visit = {.struct_size = sizeof visit, .phase = SEAM_PHASE_AFTER, .point = 0, .value = io->hidden};
    visitor->visit(visitor, pass, &visit);
    io->hidden = visit.value;
  }
  if (!io->hidden_only) io->logits = ops->linear(pass->ctx, io->hidden, pass->parameters[EMBEDDING], NULL);
}

/* ---- The tables */

#define FACTORY(variable, name, append)                                            \
  static const seam_backbone_factory variable = {                                  \
      .struct_size = sizeof(seam_backbone_factory),                                \
      .id = name,                                                                  \
      .summary = "A decoder of 16 tokens and 8 features with a state, for tests.", \
      .create = create,                                                            \
      .destroy = free,                                                             \
      .info = info,                                                                \
      .parameter_count = parameter_count,                                          \
      .parameter = parameter,                                                      \
      .decode = decode,                                                            \
      .state_create = state_create,                                                \
      .state_destroy = state_destroy,                                              \
      .state_select = state_select,                                                \
      .state_append = append,                                                      \
      .head = head,                                                                \
  }
FACTORY(joining, "tiny-state", state_append);
FACTORY(closed, "tiny-closed-state", NULL); /* the same, and no row can join others */

static const seam_backbone_factory *const backbones[] = {&joining, &closed};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.tiny-state",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "Backbones with a decoding state for tests.",
    .backbones = backbones,
    .backbone_count = 2,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
