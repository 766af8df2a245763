/* "mean": an adapter on layers that adds to every state the mean over the tokens of its row, which shows how many it was
 * told that there are. */
#include <seam/seam.h>
#include <stdlib.h>

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  (void)options;
  (void)site;
  *self = malloc(1);
  return *self != NULL ? SEAM_OK : host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
}

static size_t parameter_count(void *self) { return (void)self, 0; }

static void parameter(void *self, size_t index, seam_parameter *out) { (void)self, (void)index, (void)out; }

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  const seam_ops *ops = pass->ops;
  seam_context *ctx = pass->ctx;
  seam_tensor *hidden = io->inputs[0], *mean = NULL;
  if (pass->attention_mask == NULL) {
    mean = ops->mean(ctx, hidden, 1, 1);
  } else {
    const int64_t column[] = {ops->size(ctx, hidden, 0), ops->size(ctx, hidden, 1), 1};
    seam_tensor *weights = ops->reshape(ctx, ops->cast(ctx, pass->attention_mask, SEAM_F32), column, 3);
    mean = ops->div(ctx, ops->sum(ctx, ops->mul(ctx, hidden, weights), 1, 1), ops->sum(ctx, weights, 1, 1));
  }
  io->outputs[0] = ops->add(ctx, hidden, mean);
}

static const char *const seams[] = {SEAM_LAYER_OUTPUT};

static const seam_adapter_factory factory = {.struct_size = sizeof factory,
                                             .id = "mean",
                                             .summary = "Adds the mean of a row's tokens.",
                                             .seams = seams,
                                             .seam_count = 1,
                                             .create = create,
                                             .destroy = free,
                                             .parameter_count = parameter_count,
                                             .parameter = parameter,
                                             .forward = forward};
static const seam_adapter_factory *const adapters[] = {&factory};

static const seam_plugin plugin = {.struct_size = sizeof plugin,
                                   .abi_major = SEAM_ABI_MAJOR,
                                   .abi_minor = SEAM_ABI_MINOR,
                                   .id = "org.seamkit.test.mean",
                                   .version = "1.0.0",
                                   .license = "Apache-2.0",
                                   .summary = "Shows which places of a row are tokens.",
                                   .adapters = adapters,
                                   .adapter_count = 1};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
