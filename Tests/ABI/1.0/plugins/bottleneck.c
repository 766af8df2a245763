/* Adapters with a bottleneck (Houlsby et al. 2019, section 2.1) on the encoder's output: h + relu(h D) U. U starts as
 * zeros, so that the untrained adapter changes nothing. */
#include <seam/seam.h>
#include <stdlib.h>

typedef struct { int64_t width, rank; } bottleneck; /* d_model, and the columns of D */
enum { DOWN, UP, PARAMETER_COUNT };                 /* the parameters, in declared order */

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  bottleneck *adapter = malloc(sizeof *adapter);
  if (!adapter) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  adapter->width = site->backbone->d_model;
  host->config_int(options, "rank", &adapter->rank); /* declared below, so the host has checked it */
  *self = adapter;
  return SEAM_OK;
}

static size_t parameter_count(void *self) { return (void)self, (size_t)PARAMETER_COUNT; }

static void parameter(void *self, size_t index, seam_parameter *out) {
  const bottleneck *adapter = self;
  out->name = index == DOWN ? "down.weight" : "up.weight";
  out->rank = 2;
  out->shape[0] = index == DOWN ? adapter->width : adapter->rank;
  out->shape[1] = index == DOWN ? adapter->rank : adapter->width;
  out->init = index == DOWN ? SEAM_INIT_XAVIER_UNIFORM : SEAM_INIT_ZEROS;
  out->a = 1.0; /* the gain */
}

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  const seam_ops *ops = pass->ops;
  seam_tensor *hidden = io->inputs[SEAM_ENCODER_OUTPUT_HIDDEN];
  seam_tensor *inner = ops->relu(pass->ctx, ops->matmul(pass->ctx, hidden, pass->parameters[DOWN], 0, 0));
  io->outputs[0] = ops->add(pass->ctx, hidden, ops->matmul(pass->ctx, inner, pass->parameters[UP], 0, 0));
  (void)self;
}

static const seam_option rank = {
    .struct_size = sizeof rank, .kind = SEAM_OPTION_INT, .name = "rank", .default_value = "8", .minimum = 1,
    .maximum = 65536, .doc = "Width of the bottleneck."};
static const seam_option *const options[] = {&rank};
static const char *const seams[] = {SEAM_ENCODER_OUTPUT};

static const seam_adapter_factory factory = {
    .struct_size = sizeof factory, .id = "bottleneck", .summary = "A bottleneck with a residual (Houlsby et al. 2019).",
    .seams = seams, .seam_count = 1, .options = options, .option_count = 1, .create = create, .destroy = free,
    .parameter_count = parameter_count, .parameter = parameter, .forward = forward};
static const seam_adapter_factory *const adapters[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof plugin, .abi_major = SEAM_ABI_MAJOR, .abi_minor = SEAM_ABI_MINOR,
    .id = "org.example.bottleneck", .version = "1.0.0", .license = "Apache-2.0",
    .summary = "Adapters with a bottleneck.", .adapters = adapters, .adapter_count = 1};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
