/* Contextual calibration (Zhao et al., ICML 2021) on decoder.output: the scores of an empty text are taken off every
 * text's, or where they are not known the mean of the examples'. Nothing is trained: `prepare` sets the one
 * parameter, which is frozen. Another adapter trains one parameter and declares a second that it never reads. On
 * encoder.output the same is done to hidden states. */
#include <seam/seam.h>
#include <stdlib.h>

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  (void)host, (void)options, (void)error;
  int64_t *width = malloc(sizeof *width);
  *width = site->classes > 0 ? site->classes : site->backbone->d_model;
  *self = width;
  return SEAM_OK;
}

static size_t one_parameter(void *self) {
  (void)self;
  return 1;
}

static size_t two_parameters(void *self) {
  (void)self;
  return 2;
}

static void shift(void *self, size_t index, seam_parameter *out) {
  (void)index;
  out->name = "shift";
  out->rank = 1;
  out->shape[0] = *(int64_t *)self;
  out->init = SEAM_INIT_ZEROS;
  out->flags = SEAM_PARAMETER_FROZEN;
}

static void used_and_unused(void *self, size_t index, seam_parameter *out) {
  shift(self, index, out);
  out->name = index == 0 ? "used" : "unused";
  out->flags = 0;
}

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  /* The first input of both seams is what flows through. */
  io->outputs[0] = pass->ops->sub(pass->ctx, io->inputs[0], pass->parameters[0]);
}

static void prepare(void *self, const seam_pass *pass, seam_prepare *io) {
  (void)self;
  seam_tensor *scores = io->empty_scores ? io->empty_scores : io->inputs[SEAM_DECODER_OUTPUT_SCORES];
  io->values[0] = pass->ops->mean(pass->ctx, scores, 0, 0);
}

static const char *const seams[] = {SEAM_DECODER_OUTPUT, SEAM_ENCODER_OUTPUT};

static const seam_adapter_factory calibration = {.struct_size = sizeof(seam_adapter_factory),
                                                 .id = "test-calibration",
                                                 .summary = "Takes off the scores of an empty text.",
                                                 .seams = seams,
                                                 .seam_count = 2,
                                                 .create = create,
                                                 .destroy = free,
                                                 .parameter_count = one_parameter,
                                                 .parameter = shift,
                                                 .forward = forward,
                                                 .prepare = prepare};

/* Without prepare: nothing sets its parameter. */
static const seam_adapter_factory constant = {.struct_size = sizeof(seam_adapter_factory),
                                              .id = "test-constant",
                                              .summary = "Takes off nothing.",
                                              .seams = seams,
                                              .seam_count = 2,
                                              .create = create,
                                              .destroy = free,
                                              .parameter_count = one_parameter,
                                              .parameter = shift,
                                              .forward = forward};

static const seam_adapter_factory unused = {.struct_size = sizeof(seam_adapter_factory),
                                            .id = "test-unused",
                                            .summary = "Trains half of its parameters.",
                                            .seams = seams,
                                            .seam_count = 2,
                                            .create = create,
                                            .destroy = free,
                                            .parameter_count = two_parameters,
                                            .parameter = used_and_unused,
                                            .forward = forward};

static const seam_adapter_factory *const adapters[] = {&calibration, &constant, &unused};

static const seam_plugin plugin = {.struct_size = sizeof(seam_plugin),
                                   .abi_major = SEAM_ABI_MAJOR,
                                   .abi_minor = SEAM_ABI_MINOR,
                                   .id = "org.seamkit.test.calibration",
                                   .version = "1.0.0",
                                   .license = "Apache-2.0",
                                   .summary = "For tests of fitting.",
                                   .adapters = adapters,
                                   .adapter_count = 3};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
