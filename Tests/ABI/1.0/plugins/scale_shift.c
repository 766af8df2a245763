/* A whole SeamKit plugin in one C file: the adapter "scale-shift", which multiplies the encoder's output
 * by a learned number per feature and adds another. It starts as the identity.
 *
 * What every adapter does is here, in the order in which the host asks for it: describe itself, be made
 * for a place in a backbone, name its parameters, compute. README.md has the command that builds it. */
#include <seam/seam.h>
#include <stdlib.h>

/* What one attached adapter remembers: how wide the backbone's hidden states are. */
typedef struct {
  int64_t width;
} scale_shift;

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  (void)options; /* it declares none */
  scale_shift *adapter = malloc(sizeof *adapter);
  if (adapter == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  adapter->width = site->backbone->d_model;
  *self = adapter;
  return SEAM_OK;
}

static void destroy(void *self) { free(self); }

/* The two parameters, in the order in which forward finds them. The host allocates, fills, trains and
 * saves them. */
enum { SCALE, SHIFT, PARAMETER_COUNT };

static size_t parameter_count(void *self) {
  (void)self;
  return PARAMETER_COUNT;
}

static void parameter(void *self, size_t index, seam_parameter *out) {
  const scale_shift *adapter = self;
  out->name = index == SCALE ? "scale" : "shift";
  out->rank = 1;
  out->shape[0] = adapter->width;
  out->init = index == SCALE ? SEAM_INIT_ONES : SEAM_INIT_ZEROS;
}

/* hidden * scale + shift. Nothing is checked and nothing is freed: a failed operation gives NULL, later
 * ones pass it on, and the host reports the first failure and releases every tensor. */
static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  const seam_ops *ops = pass->ops;
  seam_tensor *hidden = io->inputs[SEAM_ENCODER_OUTPUT_HIDDEN];
  seam_tensor *scaled = ops->mul(pass->ctx, hidden, pass->parameters[SCALE]);
  io->outputs[0] = ops->add(pass->ctx, scaled, pass->parameters[SHIFT]);
}

/* A method of the adapter's own, which users call by its name: how far it is from the identity. */
static seam_tensor *distance(void *self, const seam_pass *pass) {
  (void)self;
  const seam_ops *ops = pass->ops;
  seam_tensor *scale = ops->square(pass->ctx, ops->affine(pass->ctx, pass->parameters[SCALE], 1.0, -1.0));
  seam_tensor *shift = ops->square(pass->ctx, pass->parameters[SHIFT]);
  return ops->sqrt(pass->ctx, ops->sum(pass->ctx, ops->add(pass->ctx, scale, shift), 0, 0));
}

static const seam_method distance_method = {
    .struct_size = sizeof(seam_method),
    .name = "distance",
    .signature = "seam_tensor *(void *, const seam_pass *)",
    .doc = "Euclidean distance of scale and shift from the identity.",
    .function = (void (*)(void))distance,
};

static const char *const seams[] = {SEAM_ENCODER_OUTPUT};
static const seam_method *const methods[] = {&distance_method};

static const seam_adapter_factory factory = {
    .struct_size = sizeof(seam_adapter_factory),
    .id = "scale-shift",
    .summary = "A learned scale and shift per feature of the encoder's output.",
    .seams = seams,
    .seam_count = 1,
    .methods = methods,
    .method_count = 1,
    .create = create,
    .destroy = destroy,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .forward = forward,
};

static const seam_adapter_factory *const adapters[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.example.scale-shift",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "The example of a plugin in C.",
    .adapters = adapters,
    .adapter_count = 1,
};

/* The one symbol that the library exports. */
const seam_plugin *seam_plugin_entry(void) { return &plugin; }
