/* A correct plugin, an adapter that changes nothing. Each file beside this one includes it after defining
 * the one thing that it gets wrong. */
#include <seam/seam.h>
#include <stddef.h>

#ifndef ID
#define ID "test-identity"
#endif
#ifndef MAJOR
#define MAJOR SEAM_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR SEAM_ABI_MINOR
#endif
#ifndef SIZE
#define SIZE sizeof(seam_plugin)
#endif
#ifndef CREATE
#define CREATE create
#endif
#ifndef OUTPUT
#define OUTPUT(pass, hidden) hidden
#endif
#ifndef REQUIREMENTS
#define REQUIREMENTS NULL
#endif
#ifndef ENTRY
#define ENTRY &plugin
#endif

static inline seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                                 seam_error **error) {
  (void)host, (void)options, (void)site, (void)error;
  *self = NULL;
  return SEAM_OK;
}

static void destroy(void *self) { (void)self; }

static size_t parameter_count(void *self) {
  (void)self;
  return 0;
}

static void parameter(void *self, size_t index, seam_parameter *out) { (void)self, (void)index, (void)out; }

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self, (void)pass;
  seam_tensor *hidden = io->inputs[SEAM_ENCODER_OUTPUT_HIDDEN];
  (void)hidden;
  io->outputs[0] = OUTPUT(pass, hidden);
}

static const char *const seams[] = {SEAM_ENCODER_OUTPUT};

static const seam_adapter_factory factory = {
    .struct_size = sizeof(seam_adapter_factory),
    .id = ID,
    .summary = "Changes nothing.",
    .seams = seams,
    .seam_count = 1,
    .create = CREATE,
    .destroy = destroy,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .forward = forward,
};

static const seam_adapter_factory *const adapters[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = SIZE,
    .abi_major = MAJOR,
    .abi_minor = MINOR,
    .id = "org.seamkit.test." ID,
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "For loader tests.",
    .adapters = adapters,
    .adapter_count = 1,
    .requirements = REQUIREMENTS,
};

const seam_plugin *seam_plugin_entry(void) { return (void)plugin, ENTRY; }
