/* Adapters that start from examples, on every seam where a session prepares them:
 *   "mean-difference"  inside the layers and on encoder.output: of each row the state of its last token; what is added is
 *                      the mean of the rows of class 1 less that of class 0, at a projection of what it gives (and of what
 *                      it reads, which is only kept)
 *   "text-prefix"      on attention.prefix: the keys and values of a text's first tokens
 *   "prefix-mean"      on prefix.tokens: the mean of each layer's prefix, which is only kept */
#include <seam/seam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- mean-difference */

typedef struct {
  size_t count; /* of places: the points, or one */
  int has_points, is_projection, is_embedding;
  int64_t *widths; /* of each place what leaves it, then what enters it */
} difference;

static seam_status create_difference(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                                     seam_error **error) {
  (void)options;
  difference *made = calloc(1, sizeof *made);
  if (made == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  made->has_points = site->point_count > 0;
  made->count = made->has_points ? site->point_count : 1;
  made->is_projection = strcmp(site->seam, SEAM_PROJECTION) == 0;
  made->is_embedding = strcmp(site->seam, SEAM_PROMPT_EMBEDDING) == 0;
  made->widths = calloc(2 * made->count, sizeof *made->widths);
  if (made->widths == NULL) {
    free(made);
    return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  }
  for (size_t i = 0; i < made->count; i++) {
    made->widths[2 * i] = made->has_points ? site->points[i]->output_width : site->backbone->d_model;
    made->widths[2 * i + 1] = made->has_points ? site->points[i]->input_width : 0;
  }
  *self = made;
  return SEAM_OK;
}

static void destroy_difference(void *self) {
  free(((difference *)self)->widths);
  free(self);
}

/* At each place what is added, at a projection behind it what is kept of its input. */
static size_t difference_count(void *self) {
  const difference *instance = self;
  return instance->count * (instance->is_projection ? 2 : 1);
}

static void difference_parameter(void *self, size_t index, seam_parameter *out) {
  const difference *instance = self;
  const size_t each = instance->is_projection ? 2 : 1;
  out->name = index % each == 0 ? "direction" : "input";
  out->rank = 1;
  out->shape[0] = instance->widths[2 * (index / each) + index % each];
  out->init = SEAM_INIT_ZEROS;
  out->flags = index % each == 0 ? 0 : SEAM_PARAMETER_FROZEN;
  if (instance->has_points) out->point = (int64_t)(index / each);
}

static void add_difference(void *self, const seam_pass *pass, seam_forward *io) {
  const difference *instance = self;
  seam_tensor *x = io->inputs[instance->is_projection ? SEAM_PROJECTION_Y : 0];
  io->outputs[instance->is_embedding ? SEAM_PROMPT_EMBEDDING_CHANGED : 0] =
      pass->ops->add(pass->ctx, x, pass->parameters[0]);
}

/* The mean of the last tokens' states of class 1 less that of class 0; NULL after a failure. */
static seam_tensor *mean_difference(const seam_pass *pass, seam_tensor *states, seam_tensor *mask,
                                    seam_tensor *labels) {
  DLManagedTensorVersioned *x = pass->ops->to_dlpack(pass->ctx, states);
  DLManagedTensorVersioned *tokens = pass->ops->to_dlpack(pass->ctx, mask);
  DLManagedTensorVersioned *classes = pass->ops->to_dlpack(pass->ctx, labels);
  seam_tensor *result = NULL;
  if (x != NULL && tokens != NULL && classes != NULL) {
    const int64_t rows = x->dl_tensor.shape[0], n = x->dl_tensor.shape[1], width = x->dl_tensor.shape[2];
    double *sums = calloc(2 * (size_t)width, sizeof *sums);
    float *values = malloc((size_t)width * sizeof *values);
    int64_t counts[2] = {0, 0};
    for (int64_t row = 0; row < rows; row++) {
      int64_t last = n - 1;
      while (last > 0 && ((int32_t *)tokens->dl_tensor.data)[row * n + last] == 0) last--;
      const int32_t class = ((int32_t *)classes->dl_tensor.data)[row] == 1;
      counts[class]++;
      for (int64_t i = 0; i < width; i++)
        sums[class * width + i] += ((float *)x->dl_tensor.data)[(row * n + last) * width + i];
    }
    for (int64_t i = 0; i < width; i++)
      values[i] = (float)(sums[width + i] / (double)counts[1] - sums[i] / (double)counts[0]);
    result = pass->ops->constant_f32(pass->ctx, values, &width, 1);
    free(sums);
    free(values);
  }
  if (x != NULL) x->deleter(x);
  if (tokens != NULL) tokens->deleter(tokens);
  if (classes != NULL) classes->deleter(classes);
  return result;
}

static void prepare_difference(void *self, const seam_pass *pass, seam_prepare *io) {
  const difference *instance = self;
  if (io->labels == NULL) {
    pass->ops->fail(pass->ctx, SEAM_INVALID_ARGUMENT,
                    "it takes examples of class 1 and of class 0, and there are none");
    return;
  }
  seam_tensor *mask = instance->has_points ? pass->attention_mask : io->inputs[SEAM_ENCODER_OUTPUT_MASK];
  const size_t place = io->point < 0 ? 0 : (size_t)io->point;
  if (!instance->is_projection) {
    io->values[place] = mean_difference(pass, io->inputs[0], mask, io->labels);
    return;
  }
  io->values[2 * place] = mean_difference(pass, io->inputs[SEAM_PROJECTION_Y], mask, io->labels);
  io->values[2 * place + 1] = mean_difference(pass, io->inputs[SEAM_PROJECTION_X], mask, io->labels);
}

static const char *const difference_seams[] = {SEAM_LAYER_OUTPUT, SEAM_PROJECTION, SEAM_PROMPT_EMBEDDING,
                                               SEAM_ENCODER_OUTPUT};

static const seam_adapter_factory difference_factory = {.struct_size = sizeof(seam_adapter_factory),
                                                        .id = "mean-difference",
                                                        .summary = "Adds what tells two classes apart.",
                                                        .seams = difference_seams,
                                                        .seam_count = 4,
                                                        .create = create_difference,
                                                        .destroy = destroy_difference,
                                                        .parameter_count = difference_count,
                                                        .parameter = difference_parameter,
                                                        .forward = add_difference,
                                                        .prepare = prepare_difference};

/* ---- text-prefix */

enum { MOST_LAYERS = 64 };
static const char *const attention_names[SEAM_PREFIX_ATTENTIONS] = {"encoder", "decoder", "cross"};

typedef struct {
  size_t inputs, count;
  size_t places[MOST_LAYERS]; /* of each parameter the input that it stands behind */
  int64_t heads[MOST_LAYERS], widths[MOST_LAYERS], tokens;
  char names[MOST_LAYERS][24];
} text_prefix;

static seam_status create_prefix(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                                 seam_error **error) {
  const seam_backbone_info *info = site->backbone;
  const char *chosen = NULL;
  text_prefix *made = calloc(1, sizeof *made);
  if (made == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  host->config_string(options, "attention", &chosen);
  host->config_int(options, "tokens", &made->tokens);
  for (int attention = 0; attention < SEAM_PREFIX_ATTENTIONS; attention++) {
    const int64_t *heads = info->prefix_kv_heads[attention], *widths = info->prefix_head_dim[attention];
    const int wanted = strcmp(chosen, "all") == 0 || strcmp(chosen, attention_names[attention]) == 0;
    for (int64_t layer = 0; layer < info->prefix_layers[attention]; layer++, made->inputs++) {
      if (!wanted || made->count == MOST_LAYERS) continue;
      made->places[made->count] = made->inputs;
      made->heads[made->count] = heads != NULL ? heads[layer] : info->kv_heads;
      made->widths[made->count] = widths != NULL ? widths[layer] : info->head_dim;
      snprintf(made->names[made->count++], sizeof made->names[0], "%s.%d", attention_names[attention], (int)layer);
    }
  }
  *self = made;
  return SEAM_OK;
}

static size_t prefix_count(void *self) { return ((text_prefix *)self)->count; }

static void prefix_parameter(void *self, size_t index, seam_parameter *out) {
  const text_prefix *instance = self;
  out->name = instance->names[index];
  out->rank = 4;
  out->shape[0] = 2;
  out->shape[1] = instance->heads[index];
  out->shape[2] = instance->tokens;
  out->shape[3] = instance->widths[index];
  out->init = SEAM_INIT_ZEROS;
}

static void put_prefix(void *self, const seam_pass *pass, seam_forward *io) {
  const text_prefix *instance = self;
  for (size_t i = 0; i < io->output_count; i++) io->outputs[i] = io->inputs[i];
  for (size_t i = 0; i < instance->count; i++) {
    seam_tensor *parts[] = {io->inputs[instance->places[i]], pass->parameters[i]};
    io->outputs[instance->places[i]] = parts[0] == NULL ? parts[1] : pass->ops->concat(pass->ctx, parts, 2, 2);
  }
}

static void prepare_prefix(void *self, const seam_pass *pass, seam_prepare *io) {
  const text_prefix *instance = self;
  for (size_t i = 0; i < instance->count; i++) {
    seam_tensor *text = io->inputs[instance->places[i]];
    char sentence[100];
    if (text == NULL) {
      snprintf(sentence, sizeof sentence, "the text has no keys and values at %s", instance->names[i]);
      pass->ops->fail(pass->ctx, SEAM_INVALID_ARGUMENT, sentence);
      return;
    }
    if (pass->ops->size(pass->ctx, text, 2) < instance->tokens) {
      snprintf(sentence, sizeof sentence, "the text has %d tokens, fewer than the prefix",
               (int)pass->ops->size(pass->ctx, text, 2));
      pass->ops->fail(pass->ctx, SEAM_INVALID_ARGUMENT, sentence);
      return;
    }
    io->values[i] = pass->ops->slice(pass->ctx, text, 2, 0, instance->tokens);
  }
}

static const seam_option attention_option = {.struct_size = sizeof(seam_option),
                                             .kind = SEAM_OPTION_STRING,
                                             .name = "attention",
                                             .default_value = "\"all\"",
                                             .choices = "all|encoder|decoder|cross",
                                             .doc = "The attentions that get one."};
static const seam_option tokens_option = {.struct_size = sizeof(seam_option),
                                          .kind = SEAM_OPTION_INT,
                                          .name = "tokens",
                                          .default_value = "4",
                                          .minimum = 1,
                                          .maximum = 1000,
                                          .doc = "How many tokens of the text."};
static const seam_option *const prefix_options[] = {&attention_option, &tokens_option};
static const char *const prefix_seams[] = {SEAM_ATTENTION_PREFIX};

static const seam_adapter_factory prefix_factory = {.struct_size = sizeof(seam_adapter_factory),
                                                    .id = "text-prefix",
                                                    .summary = "A text as a prefix.",
                                                    .seams = prefix_seams,
                                                    .seam_count = 1,
                                                    .options = prefix_options,
                                                    .option_count = 2,
                                                    .create = create_prefix,
                                                    .destroy = free,
                                                    .parameter_count = prefix_count,
                                                    .parameter = prefix_parameter,
                                                    .forward = put_prefix,
                                                    .prepare = prepare_prefix};

/* ---- prefix-mean */

static seam_status create_mean(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                               seam_error **error) {
  (void)options;
  int64_t *layers = calloc(1, sizeof *layers);
  if (layers == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  for (int attention = 0; attention < SEAM_PREFIX_ATTENTIONS; attention++)
    *layers += site->backbone->prefix_layers[attention];
  *self = layers;
  return SEAM_OK;
}

static size_t one(void *self) { return (void)self, (size_t)1; }

static void mean_parameter(void *self, size_t index, seam_parameter *out) {
  (void)index;
  out->name = "mean";
  out->rank = 1;
  out->shape[0] = *(int64_t *)self;
  out->init = SEAM_INIT_ZEROS;
}

static void pass_on(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self, (void)pass;
  for (size_t i = 0; i < io->output_count; i++) io->outputs[i] = io->inputs[i];
}

static void prepare_mean(void *self, const seam_pass *pass, seam_prepare *io) {
  const int64_t layers = *(int64_t *)self;
  float *means = calloc((size_t)layers, sizeof *means);
  for (int64_t layer = 0; layer < layers; layer++) {
    if (io->inputs[layer] == NULL) continue;
    DLManagedTensorVersioned *own = pass->ops->to_dlpack(pass->ctx, io->inputs[layer]);
    if (own == NULL) continue;
    int64_t count = 1;
    for (int32_t i = 0; i < own->dl_tensor.ndim; i++) count *= own->dl_tensor.shape[i];
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += ((float *)own->dl_tensor.data)[i];
    means[layer] = (float)(sum / (double)count);
    own->deleter(own);
  }
  io->values[0] = pass->ops->constant_f32(pass->ctx, means, &layers, 1);
  free(means);
}

static const char *const mean_seams[] = {SEAM_PREFIX_TOKENS};

static const seam_adapter_factory mean_factory = {.struct_size = sizeof(seam_adapter_factory),
                                                  .id = "prefix-mean",
                                                  .summary = "Keeps the means of a prefix.",
                                                  .seams = mean_seams,
                                                  .seam_count = 1,
                                                  .create = create_mean,
                                                  .destroy = free,
                                                  .parameter_count = one,
                                                  .parameter = mean_parameter,
                                                  .forward = pass_on,
                                                  .prepare = prepare_mean};

/* ---- The plugin */

static const seam_adapter_factory *const adapters[] = {&difference_factory, &prefix_factory, &mean_factory};

static const seam_plugin plugin = {.struct_size = sizeof(seam_plugin),
                                   .abi_major = SEAM_ABI_MAJOR,
                                   .abi_minor = SEAM_ABI_MINOR,
                                   .id = "org.seamkit.test.prepare",
                                   .version = "1.0.0",
                                   .license = "Apache-2.0",
                                   .summary = "Adapters that start from examples.",
                                   .adapters = adapters,
                                   .adapter_count = 3};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
