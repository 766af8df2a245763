/* An adapter whose methods take and give every kind of value, to test calls by name. Its plugin has an extension, and
 * asks the host for one that no host has. */
#include <seam/seam.h>
#include <string.h>

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  (void)options, (void)site;
  *self = NULL;
  if (host->extension(host, "org.seamkit.test.nothing/1") == NULL) return SEAM_OK;
  return host->set_error(error, SEAM_INTERNAL, "the host has an extension that does not exist");
}

static void destroy(void *self) { (void)self; }

static size_t parameter_count(void *self) {
  (void)self;
  return 0;
}

static void parameter(void *self, size_t index, seam_parameter *out) { (void)self, (void)index, (void)out; }

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self, (void)pass;
  io->outputs[0] = io->inputs[SEAM_ENCODER_OUTPUT_HIDDEN];
}

static int64_t add_integers(void *self, const seam_pass *pass, int64_t a, int64_t b) {
  (void)self, (void)pass;
  return a + b;
}

static double weigh(void *self, const seam_pass *pass, double a, int64_t b, double c) {
  (void)self, (void)pass;
  return a * (double)b + c;
}

static const char *echo(void *self, const seam_pass *pass, const char *text) {
  (void)self, (void)pass;
  return text[0] == '\0' ? "empty" : text;
}

static seam_tensor *scale(void *self, const seam_pass *pass, seam_tensor *x, double factor) {
  (void)self;
  return pass->ops->affine(pass->ctx, x, factor, 0.0);
}

static void refuse(void *self, const seam_pass *pass) {
  (void)self;
  pass->ops->fail(pass->ctx, SEAM_UNSUPPORTED, "not today");
}

static seam_tensor *nothing(void *self, const seam_pass *pass) {
  (void)self, (void)pass;
  return NULL;
}

#define METHOD(function_name, prototype)                                                 \
  static const seam_method function_name##_method = {.struct_size = sizeof(seam_method), \
                                                     .name = #function_name,             \
                                                     .signature = prototype,             \
                                                     .doc = "For tests.",                \
                                                     .function = (void (*)(void))function_name}

METHOD(add_integers, "int64_t(void *, const seam_pass *, int64_t, int64_t)");
METHOD(weigh, "double (void *, const seam_pass *, double, int64_t, double)");
METHOD(echo, "const char *(void *, const seam_pass *, const char *)");
METHOD(scale, "seam_tensor *(void *, const seam_pass *, seam_tensor *, double)");
METHOD(refuse, "void (void *, const seam_pass *)");
METHOD(nothing, "seam_tensor *(void *, const seam_pass *)");

static const char *const seams[] = {SEAM_ENCODER_OUTPUT};
static const seam_method *const methods[] = {&add_integers_method, &weigh_method,  &echo_method,
                                             &scale_method,        &refuse_method, &nothing_method};

static const seam_adapter_factory factory = {
    .struct_size = sizeof(seam_adapter_factory),
    .id = "test-calling",
    .summary = "Changes nothing and has methods.",
    .seams = seams,
    .seam_count = 1,
    .methods = methods,
    .method_count = sizeof methods / sizeof methods[0],
    .create = create,
    .destroy = destroy,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .forward = forward,
};

/* "org.seamkit.test.sums/1": a table of one function. */
typedef struct {
  uint32_t struct_size;
  int32_t (*sum)(int32_t a, int32_t b);
} sums;

static int32_t sum(int32_t a, int32_t b) { return a + b; }

static const sums sums_table = {.struct_size = sizeof sums_table, .sum = sum};

static const void *extension(const char *id) { return strcmp(id, "org.seamkit.test.sums/1") == 0 ? &sums_table : NULL; }

static const seam_adapter_factory *const adapters[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.calling",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "For tests of method calls.",
    .adapters = adapters,
    .adapter_count = 1,
    .extension = extension,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
