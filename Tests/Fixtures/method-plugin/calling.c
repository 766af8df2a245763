/* An adapter whose methods take and give every kind of value, to test calls by name. */
#include <seam/seam.h>
#include <stddef.h>

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
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

static void forward(void *self, const seam_forward *pass) {
  (void)self;
  pass->outputs[0] = pass->inputs[SEAM_ENCODER_OUTPUT_HIDDEN];
}

static int64_t add_integers(const seam_method_call *call, int64_t a, int64_t b) {
  (void)call;
  return a + b;
}

static double weigh(const seam_method_call *call, double a, int64_t b, double c) {
  (void)call;
  return a * (double)b + c;
}

static const char *echo(const seam_method_call *call, const char *text) {
  (void)call;
  return text[0] == '\0' ? "empty" : text;
}

static seam_tensor *scale(const seam_method_call *call, seam_tensor *x, double factor) {
  return call->ops->affine(call->ctx, x, factor, 0.0);
}

static void refuse(const seam_method_call *call) { call->ops->fail(call->ctx, SEAM_UNSUPPORTED, "not today"); }

static seam_tensor *nothing(const seam_method_call *call) {
  (void)call;
  return NULL;
}

#define METHOD(function_name, prototype)                                             \
  static const seam_method function_name##_method = {                                \
      .struct_size = sizeof(seam_method), .name = #function_name,                    \
      .signature = prototype, .doc = "For tests.", .function = (void (*)(void))function_name}

METHOD(add_integers, "int64_t(const seam_method_call*, int64_t, int64_t)");
METHOD(weigh, "double (const seam_method_call *, double, int64_t, double)");
METHOD(echo, "const char *(const seam_method_call *, const char *)");
METHOD(scale, "seam_tensor *(const seam_method_call *, seam_tensor *, double)");
METHOD(refuse, "void (const seam_method_call *)");
METHOD(nothing, "seam_tensor *(const seam_method_call *)");

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
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
