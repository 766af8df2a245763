/* A plugin that uses everything that version 1.0 has for an adapter outside the layers: every operation, every start
 * of a parameter, every kind of option, method and host function. Its method "check" computes what it can recompute
 * by itself, and fails with the name of the first operation that gives something else. A second adapter puts vectors
 * before a text, a third reads the answers to several prompts about each text. */
#include <math.h>
#include <seam/seam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  int64_t width, count;
  double rate;
  int32_t folded, flag;
  char kind[8];
  float data[64]; /* what the parameter "data" starts as */
} instance;

/* ---- Made for a site: every function of the host */

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  int64_t absent = 7;
  const char *kind = NULL, *json = NULL;
  if (site->backbone == NULL || site->backbone->d_model != 8)
    return host->set_error(error, SEAM_UNSUPPORTED, "the backbone must have 8 features");
  if (site->backbone_frozen != 1) /* no test of this one trains the backbone, too */
    return host->set_error(error, SEAM_INTERNAL, "the backbone stays as it is");
  instance *made = calloc(1, sizeof *made);
  if (made == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  *self = made;
  made->width = site->backbone->d_model;
  for (size_t i = 0; i < 64; i++) made->data[i] = (float)i / 64;
  seam_status status = host->config_bool(options, "flag", &made->flag);
  if (status == SEAM_OK) status = host->config_bool(options, "folded", &made->folded);
  if (status == SEAM_OK) status = host->config_int(options, "count", &made->count);
  if (status == SEAM_OK) status = host->config_double(options, "rate", &made->rate);
  if (status == SEAM_OK) status = host->config_string(options, "kind", &kind);
  if (status == SEAM_OK) status = host->config_json(options, "", &json);
  const int is_read = status == SEAM_OK && strstr(json, "\"count\"") != NULL &&
                      host->config_int(options, "absent", &absent) == SEAM_NOT_FOUND && absent == 7 &&
                      host->config_int(options, "kind", &absent) == SEAM_INVALID_ARGUMENT &&
                      host->config_count(options, "kind", &absent) == SEAM_INVALID_ARGUMENT &&
                      host->extension(host, "org.seamkit.test.nothing/1") == NULL;
  if (is_read && strcmp(kind, "auto") == 0) status = host->config_set_string(options, "kind", kind = "found");
  if (!is_read || status != SEAM_OK) {
    free(made);
    return host->set_error(error, SEAM_INTERNAL, "the host reads options otherwise than version 1.0");
  }
  strncpy(made->kind, kind, sizeof made->kind - 1);
  host->log(host, SEAM_LOG_DEBUG, "made");
  return SEAM_OK;
}

static void destroy(void *self) { free(self); }

/* ---- Parameters: each start. A folded instance has their sum alone. */

enum { ZEROS, ONES, CONSTANT, NORMAL, UNIFORM, XAVIER_UNIFORM, XAVIER_NORMAL, DATA, ORTHOGONAL, STARTS };
static const struct {
  const char *name;
  seam_init init;
  double a, b;
} starts[STARTS] = {
    {"zeros", SEAM_INIT_ZEROS, 0, 0},
    {"ones", SEAM_INIT_ONES, 0, 0},
    {"constant", SEAM_INIT_CONSTANT, 0.25, 0},
    {"normal", SEAM_INIT_NORMAL, 0, 0.5},
    {"uniform", SEAM_INIT_UNIFORM, -1, 1},
    {"xavier.uniform", SEAM_INIT_XAVIER_UNIFORM, 1, 0},
    {"xavier.normal", SEAM_INIT_XAVIER_NORMAL, 1, 0},
    {"data", SEAM_INIT_DATA, 0, 0},
    {"orthogonal", SEAM_INIT_ORTHOGONAL, 1, 0},
};

static size_t parameter_count(void *self) { return ((instance *)self)->folded ? 1 : STARTS; }

static void parameter(void *self, size_t index, seam_parameter *out) {
  const instance *adapter = self;
  out->name = adapter->folded ? "sum" : starts[index].name;
  out->init = starts[index].init;
  out->a = starts[index].a;
  out->b = starts[index].b;
  out->data = out->init == SEAM_INIT_DATA ? adapter->data : NULL;
  out->flags = index == DATA ? SEAM_PARAMETER_FROZEN : 0;
  out->rank = 2;
  out->shape[0] = out->shape[1] = adapter->width;
}

static seam_tensor *sum_of_parameters(const seam_pass *pass) {
  seam_tensor *sum = pass->parameters[0];
  for (size_t i = 1; i < pass->parameter_count; i++) sum = pass->ops->add(pass->ctx, sum, pass->parameters[i]);
  return sum;
}

/* h + rate * h sum */
static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  const seam_ops *ops = pass->ops;
  if (io->input_count <= SEAM_ENCODER_OUTPUT_MASK) {
    ops->fail(pass->ctx, SEAM_PLUGIN, "an encoder's output comes with its mask");
    return;
  }
  seam_tensor *hidden = io->inputs[SEAM_ENCODER_OUTPUT_HIDDEN];
  seam_tensor *moved = ops->matmul(pass->ctx, hidden, sum_of_parameters(pass), 0, 0);
  io->outputs[0] = ops->add(pass->ctx, hidden, ops->affine(pass->ctx, moved, ((instance *)self)->rate, 0));
}

static void prepare(void *self, const seam_pass *pass, seam_prepare *io) {
  (void)self;
  if (io->value_count != STARTS || io->input_count <= SEAM_ENCODER_OUTPUT_MASK) {
    pass->ops->fail(pass->ctx, SEAM_INTERNAL, "there is a value for each parameter");
    return;
  }
  io->values[CONSTANT] = pass->ops->affine(pass->ctx, pass->parameters[CONSTANT], 2, 0);
}

static void fold(void *self, const seam_pass *pass, seam_fold *io) {
  (void)self;
  if (io->value_count == 1)
    io->values[0] = sum_of_parameters(pass);
  else
    pass->ops->fail(pass->ctx, SEAM_INTERNAL, "a folded instance has one parameter");
}

/* ---- Every operation, on numbers of which the result is known */

typedef struct {
  const seam_pass *pass;
  const seam_ops *ops;
  seam_context *ctx;
  int64_t checked;
} checker;

static void fail(checker *check, const char *operation) {
  char message[100];
  snprintf(message, sizeof message, "%s is not what version 1.0 has", operation);
  check->ops->fail(check->ctx, SEAM_INTERNAL, message);
}

/* The values of x, f32 or i32, row-major. */
static void expect(checker *check, const char *operation, seam_tensor *x, size_t count, const double *values) {
  check->checked++;
  DLManagedTensorVersioned *held = check->ops->to_dlpack(check->ctx, x);
  if (held == NULL) return;
  int64_t found = 1;
  for (int32_t axis = 0; axis < held->dl_tensor.ndim; axis++) found *= held->dl_tensor.shape[axis];
  const char *data = (const char *)held->dl_tensor.data + held->dl_tensor.byte_offset;
  int is_right = found == (int64_t)count;
  for (size_t i = 0; i < count && is_right; i++) {
    const double value = held->dl_tensor.dtype.code == kDLInt ? ((const int32_t *)(const void *)data)[i]
                                                              : ((const float *)(const void *)data)[i];
    is_right = fabs(value - values[i]) <= 1e-5 * (1 + fabs(values[i]));
  }
  if (held->deleter != NULL) held->deleter(held);
  if (!is_right) fail(check, operation);
}
#define EXPECT(operation, x, ...) \
  expect(&check, operation, x, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})
#define TRUE(operation, condition)             \
  do {                                         \
    check.checked++;                           \
    if (!(condition)) fail(&check, operation); \
  } while (0)

static void release_nothing(DLManagedTensorVersioned *self) { (void)self; }

static checker check_tensors(checker check) {
  const seam_ops *ops = check.ops;
  seam_context *ctx = check.ctx;
  static float memory[4] = {1, 2, 3, 4};
  static int64_t two_by_two[] = {2, 2};
  static const int32_t numbers[] = {3, -1};
  seam_tensor *x = ops->constant_f32(ctx, memory, two_by_two, 2);
  EXPECT("constant_f32", x, 1, 2, 3, 4);
  EXPECT("constant_i32", ops->constant_i32(ctx, numbers, two_by_two, 1), 3, -1);
  EXPECT("full", ops->full(ctx, 5, SEAM_I32, two_by_two, 1), 5, 5);
  static DLManagedTensorVersioned lent = {
      .version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION},
      .deleter = release_nothing,
      .dl_tensor = {.data = memory, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}, .shape = two_by_two}};
  EXPECT("from_dlpack", ops->from_dlpack(ctx, &lent), 1, 2, 3, 4);
  TRUE("rank", ops->rank(ctx, x) == 2 && ops->rank(ctx, NULL) == -1);
  TRUE("size", ops->size(ctx, x, -1) == 2 && ops->size(ctx, x, 2) == -1);
  TRUE("dtype", ops->dtype(ctx, x) == SEAM_F32);
  EXPECT("stop_gradient", ops->stop_gradient(ctx, x), 1, 2, 3, 4);
  EXPECT("cast", ops->cast(ctx, ops->affine(ctx, x, 1.5, 0), SEAM_I32), 1, 3, 4, 6);
  ops->scope_begin(ctx);
  seam_tensor *kept = ops->neg(ctx, ops->square(ctx, x));
  ops->scope_end(ctx, &kept, 1);
  EXPECT("scope_end", kept, -1, -4, -9, -16);
  TRUE("status", ops->status(ctx) == SEAM_OK);
  return check;
}

static checker check_elements(checker check) {
  const seam_ops *ops = check.ops;
  seam_context *ctx = check.ctx;
  const int64_t two = 2;
  seam_tensor *a = ops->constant_f32(ctx, (const float[]){-1, 4}, &two, 1);
  seam_tensor *b = ops->constant_f32(ctx, (const float[]){2, 0.5f}, &two, 1);
  seam_tensor *positive = ops->constant_f32(ctx, (const float[]){1, 4}, &two, 1);
  seam_tensor *first = ops->constant_i32(ctx, (const int32_t[]){1, 0}, &two, 1);
  EXPECT("add", ops->add(ctx, a, b), 1, 4.5);
  EXPECT("sub", ops->sub(ctx, a, b), -3, 3.5);
  EXPECT("mul", ops->mul(ctx, a, b), -2, 2);
  EXPECT("div", ops->div(ctx, a, b), -0.5, 8);
  EXPECT("maximum", ops->maximum(ctx, a, b), 2, 4);
  EXPECT("minimum", ops->minimum(ctx, a, b), -1, 0.5);
  EXPECT("affine", ops->affine(ctx, a, 2, 1), -1, 9);
  EXPECT("where", ops->where(ctx, first, a, b), -1, 0.5);
  EXPECT("neg", ops->neg(ctx, a), 1, -4);
  EXPECT("exp", ops->exp(ctx, a), exp(-1), exp(4));
  EXPECT("log", ops->log(ctx, positive), 0, log(4));
  EXPECT("sqrt", ops->sqrt(ctx, positive), 1, 2);
  EXPECT("rsqrt", ops->rsqrt(ctx, positive), 1, 0.5);
  EXPECT("square", ops->square(ctx, a), 1, 16);
  EXPECT("abs", ops->abs(ctx, a), 1, 4);
  EXPECT("reciprocal", ops->reciprocal(ctx, a), -1, 0.25);
  EXPECT("tanh", ops->tanh(ctx, a), tanh(-1), tanh(4));
  EXPECT("sigmoid", ops->sigmoid(ctx, a), 1 / (1 + exp(1)), 1 / (1 + exp(-4)));
  EXPECT("relu", ops->relu(ctx, a), 0, 4);
  EXPECT("gelu", ops->gelu(ctx, a), -0.5 * (1 + erf(-1 / sqrt(2))), 2 * (1 + erf(4 / sqrt(2))));
  EXPECT("gelu_tanh", ops->gelu_tanh(ctx, a), -0.5 * (1 + tanh(sqrt(2 / acos(-1)) * -1.044715)),
         2 * (1 + tanh(sqrt(2 / acos(-1)) * (4 + 0.044715 * 64))));
  EXPECT("silu", ops->silu(ctx, a), -1 / (1 + exp(1)), 4 / (1 + exp(-4)));
  /* The pass is none of training. */
  EXPECT("dropout", ops->dropout(ctx, a, 0.5), -1, 4);
  return check;
}

static checker check_products(checker check) {
  const seam_ops *ops = check.ops;
  seam_context *ctx = check.ctx;
  const int64_t row[] = {1, 2}, square[] = {2, 2}, heads[] = {1, 1, 1, 2}, half[] = {1, 1, 1};
  seam_tensor *x = ops->constant_f32(ctx, (const float[]){1, 2}, row, 2);
  seam_tensor *weight = ops->constant_f32(ctx, (const float[]){1, 2, 3, 4}, square, 2);
  seam_tensor *bias = ops->constant_f32(ctx, (const float[]){10, 20}, square, 1);
  seam_tensor *column = ops->slice(ctx, weight, 1, 0, 1);
  EXPECT("matmul", ops->matmul(ctx, x, weight, 0, 0), 7, 10);
  EXPECT("matmul, transposed", ops->matmul(ctx, x, weight, 0, 1), 5, 11);
  EXPECT("linear", ops->linear(ctx, x, weight, bias), 15, 31);
  /* y + 2 (x a^T) b^T with y = a = x, so x a^T = 5, and b = [1, 3] */
  EXPECT("linear_low_rank", ops->linear_low_rank(ctx, ops->affine(ctx, x, 1, 0), x, x, column, 2), 11, 32);
  seam_tensor *one = ops->reshape(ctx, x, heads, 4);
  EXPECT("attention", ops->attention(ctx, one, one, one, NULL, NULL, 1, 1), 1, 2);
  /* A prefix with the same key, and so the same weight, and a value of its own. */
  const int64_t both[] = {2, 1, 1, 2};
  seam_tensor *given = ops->constant_f32(ctx, (const float[]){1, 2, 11, 12}, both, 4);
  const seam_prefix prefix = {.struct_size = sizeof prefix,
                              .route_count = 2,
                              .keys_values = (seam_tensor *const[]){NULL, given},
                              .routes = (const int32_t[]){1},
                              .row_count = 1};
  EXPECT("attention_with_prefix", ops->attention_with_prefix(ctx, one, one, one, &prefix, NULL, NULL, NULL, 1, 1), 6,
         7);
  seam_tensor *cosine = ops->full(ctx, 0, SEAM_F32, half, 3), *sine = ops->full(ctx, 1, SEAM_F32, half, 3);
  EXPECT("rotary", ops->rotary(ctx, one, cosine, sine), -2, 1);
  EXPECT("softmax", ops->softmax(ctx, x, -1), 1 / (1 + exp(1)), 1 / (1 + exp(-1)));
  EXPECT("log_softmax", ops->log_softmax(ctx, x, -1), -log(1 + exp(1)), -log(1 + exp(-1)));
  EXPECT("layer_norm", ops->layer_norm(ctx, x, bias, bias, 0), 0, 40);
  EXPECT("rms_norm", ops->rms_norm(ctx, x, bias, 0), 10 / sqrt(2.5), 40 / sqrt(2.5));
  EXPECT("l2_normalize", ops->l2_normalize(ctx, x, 1e-6), 1 / sqrt(5), 2 / sqrt(5));
  return check;
}

static checker check_shapes(checker check) {
  const seam_ops *ops = check.ops;
  seam_context *ctx = check.ctx;
  const int64_t square[] = {2, 2}, open[] = {-1}, three[] = {3, 2, 2}, one[] = {1};
  seam_tensor *x = ops->constant_f32(ctx, (const float[]){1, 2, 3, 5}, square, 2);
  EXPECT("sum", ops->sum(ctx, x, 0, 0), 4, 7);
  EXPECT("mean", ops->mean(ctx, x, 1, 1), 1.5, 4);
  EXPECT("max", ops->max(ctx, x, 1, 0), 2, 5);
  EXPECT("argmax", ops->argmax(ctx, x, 1, 0), 1, 1);
  EXPECT("reshape", ops->reshape(ctx, x, open, 1), 1, 2, 3, 5);
  EXPECT("permute", ops->permute(ctx, x, (const int32_t[]){1, 0}, 2), 1, 3, 2, 5);
  EXPECT("expand", ops->expand(ctx, x, three, 3), 1, 2, 3, 5, 1, 2, 3, 5, 1, 2, 3, 5);
  seam_tensor *parts[] = {x, x};
  EXPECT("concat", ops->concat(ctx, parts, 2, 1), 1, 2, 1, 2, 3, 5, 3, 5);
  EXPECT("slice", ops->slice(ctx, x, 0, 1, 1), 3, 5);
  seam_tensor *second = ops->constant_i32(ctx, (const int32_t[]){1}, one, 1);
  EXPECT("embedding", ops->embedding(ctx, x, second), 3, 5);
  EXPECT("index_select", ops->index_select(ctx, x, 1, second), 2, 5);
  seam_tensor *places = ops->constant_i32(ctx, (const int32_t[]){1, 0, 0, 1}, square, 2);
  EXPECT("gather", ops->gather(ctx, x, 1, places), 2, 1, 3, 5);
  seam_tensor *targets = ops->constant_i32(ctx, (const int32_t[]){1, -100}, square, 1);
  EXPECT("cross_entropy", ops->cross_entropy(ctx, x, targets, -100, 0, SEAM_REDUCTION_MEAN), log(1 + exp(-1)));
  EXPECT("cross_entropy, sum", ops->cross_entropy(ctx, x, targets, -100, 0, SEAM_REDUCTION_SUM), log(1 + exp(-1)));
  EXPECT("cross_entropy, each", ops->cross_entropy(ctx, x, targets, -100, 0, SEAM_REDUCTION_NONE), log(1 + exp(-1)), 0);
  return check;
}

static checker check_buffers(checker check) {
  const seam_ops *ops = check.ops;
  seam_context *ctx = check.ctx;
  const int64_t room[] = {2, 3}, column[] = {2, 1}, rows[] = {3, 1};
  seam_buffer *buffer = ops->buffer_create(ctx, SEAM_F32, room, 2);
  TRUE("buffer_create", buffer != NULL);
  if (buffer == NULL) return check;
  seam_tensor *x = ops->constant_f32(ctx, (const float[]){4, 5}, column, 2);
  TRUE("buffer_write", ops->buffer_write(ctx, buffer, 1, 1, x) == SEAM_OK);
  EXPECT("buffer_read", ops->buffer_read(ctx, buffer, 1, 2), 0, 4, 0, 5);
  TRUE("buffer_select", ops->buffer_select(ctx, buffer, (const int32_t[]){1, 1, 0}, 3) == SEAM_OK);
  EXPECT("buffer_select", ops->buffer_read(ctx, buffer, 1, 2), 0, 5, 0, 5, 0, 4);
  x = ops->constant_f32(ctx, (const float[]){6, 7, 8}, rows, 2);
  TRUE("buffer_write_rows", ops->buffer_write_rows(ctx, buffer, 1, (const int64_t[]){0, 1, 2}, 3, x) == SEAM_OK);
  EXPECT("buffer_write_rows", ops->buffer_read(ctx, buffer, 1, 3), 6, 5, 0, 0, 7, 0, 0, 4, 8);
  seam_buffer *other = ops->buffer_create(ctx, SEAM_F32, column, 2);
  TRUE("buffer_append", ops->buffer_append(ctx, other, 1, buffer) == SEAM_OK);
  EXPECT("buffer_append", ops->buffer_read(ctx, other, 1, 2), 0, 0, 0, 0, 6, 5, 0, 7, 0, 4);
  ops->buffer_release(other);
  ops->buffer_release(buffer);
  return check;
}

/* How many results are as they should be. */
static int64_t check_all(void *self, const seam_pass *pass) {
  (void)self;
  checker check = {pass, pass->ops, pass->ctx, 0};
  check = check_tensors(check);
  check = check_elements(check);
  check = check_products(check);
  check = check_shapes(check);
  check = check_buffers(check);
  return check.checked;
}

/* ---- Methods: each kind of argument and result */

static double weigh(void *self, const seam_pass *pass, int64_t count, double weight) {
  (void)pass;
  return (double)count * weight + ((instance *)self)->rate;
}

static const char *kind(void *self, const seam_pass *pass, const char *before) {
  (void)pass;
  return before[0] == '\0' ? ((instance *)self)->kind : before;
}

static seam_tensor *twice(void *self, const seam_pass *pass, seam_tensor *x) {
  (void)self;
  return pass->ops->affine(pass->ctx, x, 2, 0);
}

static seam_tensor *total(void *self, const seam_pass *pass) {
  (void)self;
  return pass->ops->sum(pass->ctx, sum_of_parameters(pass), 0, 0);
}

static void refuse(void *self, const seam_pass *pass) {
  (void)self;
  pass->ops->fail(pass->ctx, SEAM_CANCELLED, "refused");
}

#define METHOD(variable, method_name, method_flags, prototype, method)     \
  static const seam_method variable = {.struct_size = sizeof(seam_method), \
                                       .flags = method_flags,              \
                                       .name = method_name,                \
                                       .signature = prototype,             \
                                       .doc = "For tests of version 1.0.", \
                                       .function = (void (*)(void))method}
METHOD(check_method, "check", 0, "int64_t (void *, const seam_pass *)", check_all);
METHOD(weigh_method, "weigh", 0, "double (void *, const seam_pass *, int64_t, double)", weigh);
METHOD(kind_method, "kind", 0, "const char *(void *, const seam_pass *, const char *)", kind);
METHOD(twice_method, "twice", 0, "seam_tensor *(void *, const seam_pass *, seam_tensor *)", twice);
METHOD(total_method, "total", SEAM_METHOD_RECORDED, "seam_tensor *(void *, const seam_pass *)", total);
METHOD(refuse_method, "refuse", 0, "void (void *, const seam_pass *)", refuse);

/* ---- Before a text: two vectors, and the text's own tokens without its padding */

typedef struct {
  int64_t width;
  size_t points;
} prompt;

static seam_status create_prompt(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                                 seam_error **error) {
  (void)options;
  if (strcmp(site->seam, SEAM_PROMPT_EMBEDDING) != 0 || site->point_count < 1 ||
      site->prefix_length[SEAM_PREFIX_DECODER] != 0 || site->prefix_length[SEAM_PREFIX_CROSS] != 0)
    return host->set_error(error, SEAM_UNSUPPORTED, "the prompt must be attached to embedded tokens");
  prompt *made = malloc(sizeof *made);
  if (made == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  *made = (prompt){site->points[0]->output_width, site->point_count};
  *self = made;
  return SEAM_OK;
}

static size_t prompt_parameter_count(void *self) { return ((prompt *)self)->points; }

static void prompt_parameter(void *self, size_t index, seam_parameter *out) {
  out->name = "vectors";
  out->point = (int64_t)index;
  out->init = SEAM_INIT_NORMAL;
  out->b = 0.5;
  out->rank = 2;
  out->shape[0] = 2;
  out->shape[1] = ((prompt *)self)->width;
}

static void prompt_forward(void *self, const seam_pass *pass, seam_forward *io) {
  const seam_ops *ops = pass->ops;
  seam_tensor *x = io->inputs[SEAM_PROMPT_EMBEDDING_X];
  seam_tensor *mask = ops->cast(pass->ctx, io->inputs[SEAM_PROMPT_EMBEDDING_MASK], SEAM_F32);
  const int64_t vectors[] = {1, 2, ((prompt *)self)->width};
  const int64_t column[] = {ops->size(pass->ctx, x, 0), ops->size(pass->ctx, x, 1), 1};
  io->outputs[SEAM_PROMPT_EMBEDDING_PROMPT] = ops->reshape(pass->ctx, pass->parameters[0], vectors, 3);
  io->outputs[SEAM_PROMPT_EMBEDDING_CHANGED] = ops->mul(pass->ctx, x, ops->reshape(pass->ctx, mask, column, 3));
}

/* The first two tokens of the first example. */
static void prepare_prompt(void *self, const seam_pass *pass, seam_prepare *io) {
  const seam_ops *ops = pass->ops;
  const int64_t sizes[] = {2, ((prompt *)self)->width};
  if (io->point < 0 || io->point >= (int64_t)((prompt *)self)->points || pass->attention_mask == NULL) {
    ops->fail(pass->ctx, SEAM_INTERNAL, "a call of prepare has its point and the mask of its tokens");
    return;
  }
  seam_tensor *first = ops->slice(pass->ctx, io->inputs[SEAM_PROMPT_EMBEDDING_X], 0, 0, 1);
  io->values[io->point] = ops->reshape(pass->ctx, ops->slice(pass->ctx, first, 1, 0, 2), sizes, 2);
}

/* ---- The tables */

#define OPTION(variable, option_kind, option_name, initial, ...)           \
  static const seam_option variable = {.struct_size = sizeof(seam_option), \
                                       .kind = option_kind,                \
                                       .name = option_name,                \
                                       .default_value = initial,           \
                                       .doc = "For tests of version 1.0.", \
                                       __VA_ARGS__}
OPTION(flag_option, SEAM_OPTION_BOOL, "flag", "false", .choices = NULL);
OPTION(folded_option, SEAM_OPTION_BOOL, "folded", "false", .choices = NULL);
OPTION(count_option, SEAM_OPTION_INT, "count", "2", .minimum = 1, .maximum = 9);
OPTION(rate_option, SEAM_OPTION_DOUBLE, "rate", "0.001", .minimum = 0, .maximum = INFINITY);
OPTION(kind_option, SEAM_OPTION_STRING, "kind", "\"auto\"", .choices = "auto|found|given");

static const seam_option *const options[] = {&flag_option, &folded_option, &count_option, &rate_option, &kind_option};
static const seam_method *const methods[] = {&check_method, &weigh_method, &kind_method,
                                             &twice_method, &total_method, &refuse_method};
static const char *const seams[] = {SEAM_ENCODER_OUTPUT};

static const seam_adapter_factory factory = {
    .struct_size = sizeof(seam_adapter_factory),
    .id = "every-feature",
    .summary = "Uses everything that version 1.0 has for an adapter.",
    .seams = seams,
    .seam_count = 1,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .methods = methods,
    .method_count = sizeof methods / sizeof methods[0],
    .create = create,
    .destroy = destroy,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .forward = forward,
    .prepare = prepare,
    .fold = fold,
};
static const char *const prompt_seams[] = {SEAM_PROMPT_EMBEDDING};
static const seam_adapter_factory prompt_factory = {
    .struct_size = sizeof(seam_adapter_factory),
    .id = "every-feature-prompt",
    .summary = "Puts vectors before a text.",
    .seams = prompt_seams,
    .seam_count = 1,
    .create = create_prompt,
    .destroy = destroy,
    .parameter_count = prompt_parameter_count,
    .parameter = prompt_parameter,
    .forward = prompt_forward,
    .prepare = prepare_prompt,
};

/* ---- At decoder.output: the answers to several prompts about each text, the prompts weighed by learned numbers */

typedef struct {
  int64_t prompts, classes, width;
} head;

static seam_status create_head(const seam_host *host, seam_config *config, const seam_site *site, void **self,
                               seam_error **error) {
  (void)config;
  head *made = calloc(1, sizeof *made);
  if (made == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  *made = (head){site->prompts, site->classes, site->backbone->d_model};
  *self = made;
  static const seam_score_kind kinds[] = {SEAM_SCORES_UNKNOWN, SEAM_SCORES_LOGITS, SEAM_SCORES_LOG_PROBABILITIES,
                                          SEAM_SCORES_PROBABILITIES, SEAM_SCORES_SIMILARITIES};
  int is_known = 0;
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) is_known |= site->score_kind == kinds[i];
  if (!is_known) {
    free(made);
    return host->set_error(error, SEAM_PLUGIN, "the scores are of no kind that version 1.0 has");
  }
  return SEAM_OK;
}

static size_t one_parameter(void *self) {
  (void)self;
  return 1;
}

static void weights(void *self, size_t index, seam_parameter *out) {
  (void)index;
  out->name = "weights";
  out->init = SEAM_INIT_ZEROS;
  out->rank = 1;
  out->shape[0] = ((head *)self)->prompts;
}

static void weigh_prompts(void *self, const seam_pass *pass, seam_forward *io) {
  const seam_ops *ops = pass->ops;
  const head *sizes = self;
  const int64_t shape[] = {1, sizes->prompts, 1};
  seam_tensor *scores = io->inputs[SEAM_DECODER_OUTPUT_SCORES], *hidden = io->inputs[SEAM_DECODER_OUTPUT_HIDDEN];
  if (ops->rank(pass->ctx, scores) != 3 || ops->size(pass->ctx, scores, 1) != sizes->prompts ||
      ops->size(pass->ctx, scores, 2) != sizes->classes || ops->rank(pass->ctx, hidden) != 3 ||
      ops->size(pass->ctx, hidden, 1) != sizes->prompts || ops->size(pass->ctx, hidden, 2) != sizes->width) {
    ops->fail(pass->ctx, SEAM_SHAPE, "the answers are not those to each prompt");
    return;
  }
  seam_tensor *each = ops->reshape(pass->ctx, ops->softmax(pass->ctx, pass->parameters[0], 0), shape, 3);
  io->outputs[0] = ops->sum(pass->ctx, ops->mul(pass->ctx, scores, each), 1, 0);
}

/* From the scores of an empty text. */
static void prepare_prompts(void *self, const seam_pass *pass, seam_prepare *io) {
  if (io->empty_scores == NULL) return;
  seam_tensor *means = pass->ops->mean(pass->ctx, io->empty_scores, 2, 0);
  io->values[0] = pass->ops->reshape(pass->ctx, means, &((head *)self)->prompts, 1);
}

static const char *const head_seams[] = {SEAM_DECODER_OUTPUT};
static const seam_adapter_factory prompts_factory = {
    .struct_size = sizeof(seam_adapter_factory),
    .reads_prompts = 1,
    .id = "every-prompt",
    .summary = "Weighs the answers to several prompts.",
    .seams = head_seams,
    .seam_count = 1,
    .create = create_head,
    .destroy = free,
    .parameter_count = one_parameter,
    .parameter = weights,
    .forward = weigh_prompts,
    .prepare = prepare_prompts,
};

static const seam_adapter_factory *const adapters[] = {&factory, &prompt_factory, &prompts_factory};

static const void *extension(const char *id) {
  static const uint32_t table[] = {2 * sizeof(uint32_t), 42};
  return strcmp(id, "org.seamkit.test.every-feature/1") == 0 ? table : NULL;
}

static const char *const operations[] = {"linear_low_rank", "rotary"};
static const seam_requirements requirements = {
    .struct_size = sizeof requirements, .abi_minor = 0, .operations = operations, .operation_count = 2};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.every-feature",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "For tests of version 1.0.",
    .adapters = adapters,
    .adapter_count = 3,
    .requirements = &requirements,
    .extension = extension,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
