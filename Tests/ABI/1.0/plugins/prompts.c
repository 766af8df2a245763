/* Adapters on decoder.output that read the answers to several prompts about each text: one averages their logarithms of
 * probabilities over the prompts, the other weighs the prompts by learned numbers, starts those from the examples and adds
 * a learned projection of the hidden states. */
#include <seam/seam.h>
#include <stdlib.h>

typedef struct {
  int64_t prompts, classes, width;
} Sizes;

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  (void)options;
  if (site->prompts < 1) return host->set_error(error, SEAM_INTERNAL, "the number of prompts is not known");
  Sizes *sizes = malloc(sizeof *sizes);
  *sizes = (Sizes){site->prompts, site->classes, site->backbone->d_model};
  *self = sizes;
  return SEAM_OK;
}

static size_t no_parameters(void *self) {
  (void)self;
  return 0;
}

static size_t parameter_count(void *self) {
  (void)self;
  return 3;
}

enum { WEIGHTS = 0, PROJECTION = 1, EMPTY = 2 };

static void parameter(void *self, size_t index, seam_parameter *out) {
  const Sizes *sizes = self;
  out->init = SEAM_INIT_ZEROS;
  out->name = index == WEIGHTS ? "weights" : index == PROJECTION ? "projection" : "empty";
  out->rank = index == WEIGHTS ? 1 : 2;
  out->shape[0] = index == PROJECTION ? sizes->classes : sizes->prompts;
  if (index == PROJECTION) out->shape[1] = sizes->width;
  if (index == EMPTY) out->shape[1] = sizes->classes;
  if (index == EMPTY) out->flags = SEAM_PARAMETER_FROZEN;
}

static seam_tensor *log_probabilities(const seam_pass *pass, const seam_forward *io) {
  return pass->ops->log_softmax(pass->ctx, io->inputs[SEAM_DECODER_OUTPUT_SCORES], -1);
}

static void average(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  io->outputs[0] = pass->ops->mean(pass->ctx, log_probabilities(pass, io), 1, 0);
}

static void weigh(void *self, const seam_pass *pass, seam_forward *io) {
  const seam_ops *ops = pass->ops;
  const int64_t shape[] = {1, ((Sizes *)self)->prompts, 1};
  seam_tensor *weights = ops->reshape(pass->ctx, ops->softmax(pass->ctx, pass->parameters[WEIGHTS], 0), shape, 3);
  seam_tensor *scores = ops->sum(pass->ctx, ops->mul(pass->ctx, log_probabilities(pass, io), weights), 1, 0);
  seam_tensor *hidden = ops->mean(pass->ctx, io->inputs[SEAM_DECODER_OUTPUT_HIDDEN], 1, 0);
  io->outputs[0] = ops->add(pass->ctx, scores, ops->linear(pass->ctx, hidden, pass->parameters[PROJECTION], NULL));
}

/* The weights become the mean of each prompt's scores. */
static void prepare(void *self, const seam_pass *pass, seam_prepare *io) {
  const Sizes *sizes = self;
  const int64_t shape[] = {sizes->prompts, sizes->classes};
  seam_tensor *of_prompts = pass->ops->mean(pass->ctx, io->inputs[SEAM_DECODER_OUTPUT_SCORES], 0, 0);
  io->values[WEIGHTS] = pass->ops->mean(pass->ctx, of_prompts, 1, 0);
  if (io->empty_scores) io->values[EMPTY] = pass->ops->reshape(pass->ctx, io->empty_scores, shape, 2);
}

static const char *const seams[] = {SEAM_DECODER_OUTPUT};

static const seam_adapter_factory mean = {.struct_size = sizeof(seam_adapter_factory),
                                          .reads_prompts = 1,
                                          .id = "test-prompt-mean",
                                          .summary = "Averages over the prompts.",
                                          .seams = seams,
                                          .seam_count = 1,
                                          .create = create,
                                          .destroy = free,
                                          .parameter_count = no_parameters,
                                          .parameter = parameter,
                                          .forward = average};

static const seam_adapter_factory weights = {.struct_size = sizeof(seam_adapter_factory),
                                             .reads_prompts = 1,
                                             .id = "test-prompt-weights",
                                             .summary = "Weighs the prompts.",
                                             .seams = seams,
                                             .seam_count = 1,
                                             .create = create,
                                             .destroy = free,
                                             .parameter_count = parameter_count,
                                             .parameter = parameter,
                                             .forward = weigh,
                                             .prepare = prepare};

static const seam_adapter_factory *const adapters[] = {&mean, &weights};

static const seam_plugin plugin = {.struct_size = sizeof(seam_plugin),
                                   .abi_major = SEAM_ABI_MAJOR,
                                   .abi_minor = SEAM_ABI_MINOR,
                                   .id = "org.seamkit.test.prompts",
                                   .version = "1.0.0",
                                   .license = "Apache-2.0",
                                   .summary = "For tests of several prompts.",
                                   .adapters = adapters,
                                   .adapter_count = sizeof adapters / sizeof adapters[0]};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
