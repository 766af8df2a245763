/* "wrong-points": an adapter on projections that does wrong what its option "mode" names. */
#define _POSIX_C_SOURCE 200809L
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  (void)site;
  const char *text = NULL;
  const seam_status status = host->config_string(options, "mode", &text);
  if (status != SEAM_OK) return host->set_error(error, status, "no mode");
  *self = strdup(text);
  return *self != NULL ? SEAM_OK : host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory");
}

static int is(void *self, const char *how) { return strcmp(self, how) == 0; }

static size_t parameter_count(void *self) { return is(self, "twice") ? 2 : 1; }

static void parameter(void *self, size_t index, seam_parameter *out) {
  out->name = "gain";
  out->rank = 1;
  out->shape[0] = 1;
  out->init = SEAM_INIT_ONES;
  out->point = is(self, "far-parameter") ? 1000 : is(self, "twice") ? 0 : (int64_t)index - 1;
}

static seam_phases phases(void *self, size_t point) {
  (void)point;
  return is(self, "no-phase") ? 0 : is(self, "other-phase") ? 4 : SEAM_PHASE_AFTER;
}

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  seam_tensor *y = io->inputs[SEAM_PROJECTION_Y];
  if (is(self, "null-output")) return;
  if (is(self, "other-shape")) y = pass->ops->sum(pass->ctx, y, -1, 1);
  if (is(self, "other-type")) y = pass->ops->cast(pass->ctx, y, SEAM_I32);
  if (is(self, "failure")) y = pass->ops->fail(pass->ctx, SEAM_NUMERIC, "it does not want to");
  if (is(self, "reads-weight"))
    y = pass->ops->linear(pass->ctx, io->inputs[SEAM_PROJECTION_X], io->inputs[SEAM_PROJECTION_WEIGHT], NULL);
  if (is(self, "open-scope")) pass->ops->scope_begin(pass->ctx);
  if (is(self, "open-scope")) y = pass->ops->affine(pass->ctx, y, 2, 0);
  if (is(self, "others-scope")) pass->ops->scope_end(pass->ctx, NULL, 0);
  io->outputs[0] = y;
}

static void fold_weight(void *self, const seam_pass *pass, seam_fold_weight *io) {
  if (is(self, "null-output")) return;
  io->folded_weight = pass->ops->cast(pass->ctx, io->weight, SEAM_F32);
  if (is(self, "other-shape")) io->folded_weight = pass->ops->sum(pass->ctx, io->folded_weight, 0, 1);
  if (is(self, "a-bias")) io->folded_bias = pass->ops->sum(pass->ctx, io->folded_weight, 1, 0);
  if (is(self, "failure")) pass->ops->fail(pass->ctx, SEAM_NUMERIC, "it does not want to");
}

static const seam_option mode = {.struct_size = sizeof mode,
                                 .kind = SEAM_OPTION_STRING,
                                 .name = "mode",
                                 .default_value = "\"none\"",
                                 .doc = "What it does wrong."};
static const seam_option *const options[] = {&mode};
static const char *const seams[] = {SEAM_PROJECTION};

static const seam_adapter_factory wrong = {.struct_size = sizeof wrong,
                                           .id = "wrong-points",
                                           .summary = "Wrong at points.",
                                           .seams = seams,
                                           .seam_count = 1,
                                           .options = options,
                                           .option_count = 1,
                                           .create = create,
                                           .destroy = free,
                                           .parameter_count = parameter_count,
                                           .parameter = parameter,
                                           .forward = forward,
                                           .phases = phases,
                                           .fold_weight = fold_weight};
static const seam_adapter_factory *const adapters[] = {&wrong};

static const seam_plugin plugin = {.struct_size = sizeof plugin,
                                   .abi_major = SEAM_ABI_MAJOR,
                                   .abi_minor = SEAM_ABI_MINOR,
                                   .id = "org.seamkit.test.wrong-points",
                                   .version = "1.0.0",
                                   .license = "Apache-2.0",
                                   .summary = "Wrong at points, for tests.",
                                   .adapters = adapters,
                                   .adapter_count = 1};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
