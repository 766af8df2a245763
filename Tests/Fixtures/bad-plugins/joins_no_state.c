/* A backbone whose states take rows in, without a function that makes one. */
#include <seam/seam.h>
#include <stddef.h>

static seam_status create(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                          seam_error **error) {
  (void)host, (void)options, (void)model, (void)error;
  *self = NULL;
  return SEAM_OK;
}
static void destroy(void *self) { (void)self; }
static void info(void *self, seam_backbone_info *out) { (void)self, (void)out; }
static size_t parameter_count(void *self) { return (void)self, 0; }
static void parameter(void *self, size_t index, seam_parameter *out) { (void)self, (void)index, (void)out; }
static void state_append(void *self, const seam_pass *pass, seam_state *state, seam_state *other) {
  (void)self, (void)pass, (void)state, (void)other;
}

static const seam_backbone_factory factory = {
    .struct_size = sizeof(seam_backbone_factory),
    .id = "test-joins-no-state",
    .summary = "For loader tests.",
    .create = create,
    .destroy = destroy,
    .info = info,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .state_append = state_append,
};
static const seam_backbone_factory *const backbones[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.test-joins-no-state",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "For loader tests.",
    .backbones = backbones,
    .backbone_count = 1,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
