/* Adapters on decoder.output that add a learned number to each class's score, and start from the examples in ways good
 * and bad, for tests of preparation and of composition. */
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  int64_t classes;
  char start[16];
} Bias;

enum { BIAS = 0, HAD_EMPTY_SCORES = 1 };

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  (void)error;
  const char *start = "";
  host->config_string(options, "start", &start);
  Bias *bias = calloc(1, sizeof *bias);
  bias->classes = site->classes;
  strncpy(bias->start, start, sizeof bias->start - 1);
  *self = bias;
  return SEAM_OK;
}

static size_t parameter_count(void *self) {
  (void)self;
  return 2;
}

static void parameter(void *self, size_t index, seam_parameter *out) {
  out->name = index == BIAS ? "bias" : "had_empty_scores";
  out->rank = 1;
  out->shape[0] = index == BIAS ? ((Bias *)self)->classes : 1;
  out->init = SEAM_INIT_ZEROS;
  out->flags = index == BIAS ? 0 : SEAM_PARAMETER_FROZEN;
}

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  io->outputs[0] = pass->ops->add(pass->ctx, io->inputs[SEAM_DECODER_OUTPUT_SCORES], pass->parameters[BIAS]);
}

/* "mean": the mean of the scores that flow in. The others are mistakes. */
static void prepare(void *self, const seam_pass *pass, seam_prepare *io) {
  const char *start = ((Bias *)self)->start;
  seam_tensor *scores = io->inputs[SEAM_DECODER_OUTPUT_SCORES];
  seam_tensor *mean = pass->ops->mean(pass->ctx, scores, 0, 0);
  int64_t one = 1;
  io->values[HAD_EMPTY_SCORES] = pass->ops->full(pass->ctx, io->empty_scores ? 1.0 : 0.0, SEAM_F32, &one, 1);
  if (strcmp(start, "mean") == 0) io->values[BIAS] = mean;
  if (strcmp(start, "shape") == 0) io->values[BIAS] = scores;
  seam_tensor *zeros = pass->ops->affine(pass->ctx, mean, 0.0, 0.0);
  if (strcmp(start, "infinite") == 0) io->values[BIAS] = pass->ops->log(pass->ctx, zeros);
  if (strcmp(start, "fail") == 0) pass->ops->fail(pass->ctx, SEAM_UNSUPPORTED, "not with these examples");
}

static const seam_option start_option = {
    .struct_size = sizeof(seam_option),
    .kind = SEAM_OPTION_STRING,
    .name = "start",
    .default_value = "\"mean\"",
    .choices = "mean|nothing|shape|infinite|fail",
    .doc = "What prepare gives.",
};
static const seam_option *const options[] = {&start_option};
static const char *const seams[] = {SEAM_DECODER_OUTPUT};

#define FACTORY(variable, factory_id, prepare_or_null)                                             \
  static const seam_adapter_factory variable = {.struct_size = sizeof(seam_adapter_factory),       \
                                                .id = factory_id,                                  \
                                                .summary = "Adds a number to each class's score.", \
                                                .seams = seams,                                    \
                                                .seam_count = 1,                                   \
                                                .options = options,                                \
                                                .option_count = 1,                                 \
                                                .create = create,                                  \
                                                .destroy = free,                                   \
                                                .parameter_count = parameter_count,                \
                                                .parameter = parameter,                            \
                                                .forward = forward,                                \
                                                .prepare = prepare_or_null}

FACTORY(current, "test-class-bias", prepare);
/* Without prepare: it starts from zeros. */
FACTORY(older, "test-older-class-bias", NULL);

static const seam_adapter_factory *const adapters[] = {&current, &older};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.class-bias",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "For tests of decoder.output.",
    .adapters = adapters,
    .adapter_count = 2,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
