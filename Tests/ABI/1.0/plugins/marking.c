/* "marking": an adapter on layers that changes nothing and fails as soon as as many tokens of the first row are marked as
 * generated as the option "at" says (-1: where it is not known), so that a test sees what it was told. */
#include <seam/seam.h>
#include <stdio.h>
#include <stdlib.h>

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  (void)site;
  int64_t *at = malloc(sizeof *at);
  if (at == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  host->config_int(options, "at", at);
  *self = at;
  return SEAM_OK;
}

static size_t parameter_count(void *self) { return (void)self, 0; }

static void parameter(void *self, size_t index, seam_parameter *out) { (void)self, (void)index, (void)out; }

/* How many places of the first row are no tokens. */
static int64_t padding(const seam_pass *pass) {
  int64_t count = 0;
  DLManagedTensorVersioned *mask = NULL;
  if (pass->attention_mask != NULL) mask = pass->ops->to_dlpack(pass->ctx, pass->attention_mask);
  if (mask == NULL) return 0;
  for (int64_t i = 0; i < mask->dl_tensor.shape[1]; i++) count += ((const int32_t *)mask->dl_tensor.data)[i] == 0;
  mask->deleter(mask);
  return count;
}

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  const seam_ops *ops = pass->ops;
  int64_t length = 0, marked = -1;
  if (pass->generated_mask != NULL) {
    DLManagedTensorVersioned *mask = ops->to_dlpack(pass->ctx, pass->generated_mask);
    if (mask == NULL) return;
    length = mask->dl_tensor.shape[1];
    marked = 0;
    for (int64_t i = 0; i < length; i++) marked += ((const int32_t *)mask->dl_tensor.data)[i];
    mask->deleter(mask);
  }
  if (marked == *(const int64_t *)self) {
    char message[160];
    snprintf(message, sizeof message,
             "of %lld tokens %lld are generated, attention_mask %s, position_ids %s, padding %lld", (long long)length,
             (long long)marked, pass->attention_mask != NULL ? "known" : "not known",
             pass->position_ids != NULL ? "known" : "not known", (long long)padding(pass));
    ops->fail(pass->ctx, SEAM_UNSUPPORTED, message);
    return;
  }
  io->outputs[0] = io->inputs[0];
}

static const seam_option at = {
    .struct_size = sizeof at,
    .kind = SEAM_OPTION_INT,
    .name = "at",
    .default_value = "0",
    .doc = "Generated tokens of the first row at which it fails; -1: where they are not known."};
static const seam_option *const options[] = {&at};
static const char *const seams[] = {SEAM_LAYER_OUTPUT};

static const seam_adapter_factory marking = {.struct_size = sizeof marking,
                                             .id = "marking",
                                             .summary = "Fails at a number of generated tokens.",
                                             .seams = seams,
                                             .seam_count = 1,
                                             .options = options,
                                             .option_count = 1,
                                             .create = create,
                                             .destroy = free,
                                             .parameter_count = parameter_count,
                                             .parameter = parameter,
                                             .forward = forward};
static const seam_adapter_factory *const adapters[] = {&marking};

static const seam_plugin plugin = {.struct_size = sizeof plugin,
                                   .abi_major = SEAM_ABI_MAJOR,
                                   .abi_minor = SEAM_ABI_MINOR,
                                   .id = "org.seamkit.test.marking",
                                   .version = "1.0.0",
                                   .license = "Apache-2.0",
                                   .summary = "Shows which tokens are marked as generated.",
                                   .adapters = adapters,
                                   .adapter_count = 1};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
