/* A plugin that breaks one rule of plugin.h at a time: the one that the environment's SEAM_HOSTILE names, read
 * whenever the host asks. Without it the plugin is right, an adapter on decoder.output that adds a number to each
 * class's score. */
#include <float.h>
#include <math.h>
#include <seam/seam.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int is(const char *name) {
  const char *chosen = getenv("SEAM_HOSTILE");
  return chosen != NULL && strcmp(chosen, name) == 0;
}

static int64_t classes = 0;

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  classes = site->classes;
  *self = &classes;
  if (is("error with SEAM_OK")) return host->set_error(error, SEAM_OK, "all went well");
  if (is("error and success")) {
    host->set_error(error, SEAM_UNSUPPORTED, "not on a Sunday");
    return SEAM_OK;
  }
  if (is("unknown status")) return 77;
  if (is("option resolved to what it refuses")) return host->config_set_string(options, "spare", "c");
  if (is("unknown status, with an error")) return host->set_error(error, 77, "out of range");
  return SEAM_OK;
}

static void destroy(void *self) { (void)self; }

static size_t parameter_count(void *self) {
  (void)self;
  if (is("parameter count of SIZE_MAX")) return SIZE_MAX;
  if (is("parameter count of 1e9")) return 1000000000;
  return 2;
}

static void parameter(void *self, size_t index, seam_parameter *out) {
  (void)self;
  static const float bad[] = {0, NAN, INFINITY};
  out->name = index == 0 ? "Bias" : "scale.weight";
  out->rank = 1;
  out->shape[0] = classes;
  out->init = SEAM_INIT_ZEROS;
  if (index == 0) return;
  if (is("parameter of a point")) out->point = 0;
  if (is("parameter twice")) out->name = "Bias";
  if (is("parameter inside another")) out->name = "Bias.weight";
  if (is("parameter without a name")) out->name = NULL;
  if (is("parameter that is a path")) out->name = "../../escaped";
  if (is("parameter with an empty part")) out->name = "scale..weight";
  if (is("parameter that ends with a dot")) out->name = "scale.";
  if (is("shape of 1e11")) out->shape[0] = 100000000000;
  if (is("shape beyond counting")) out->rank = 2, out->shape[0] = out->shape[1] = INT64_MAX;
  if (is("shape of nothing beyond counting"))
    out->rank = 3, out->shape[0] = 0, out->shape[1] = out->shape[2] = INT64_MAX;
  if (is("negative shape")) out->shape[0] = INT64_MIN;
  if (is("rank of 9")) out->rank = 9;
  if (is("negative rank")) out->rank = INT32_MIN;
  if (is("unknown start")) out->init = 99;
  if (is("start from a model")) out->init = SEAM_INIT_MODEL;
  if (is("start of NaN")) out->init = SEAM_INIT_CONSTANT, out->a = NAN;
  if (is("start beyond f32")) out->init = SEAM_INIT_CONSTANT, out->a = 1e300;
  if (is("negative deviation")) out->init = SEAM_INIT_NORMAL, out->b = -0.5;
  if (is("deviation of infinity")) out->init = SEAM_INIT_NORMAL, out->b = INFINITY;
  if (is("no range")) out->init = SEAM_INIT_UNIFORM, out->a = 1, out->b = -1;
  if (is("gain of NaN")) out->init = SEAM_INIT_XAVIER_UNIFORM, out->a = NAN;
  if (is("no data")) out->init = SEAM_INIT_DATA;
  if (is("data of NaN")) out->init = SEAM_INIT_DATA, out->data = bad, out->shape[0] = 3;
}

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  if (is("end of no scope")) pass->ops->scope_end(pass->ctx, NULL, 0);
  if (is("scope left open")) pass->ops->scope_begin(pass->ctx);
  io->outputs[0] = pass->ops->add(pass->ctx, io->inputs[SEAM_DECODER_OUTPUT_SCORES], pass->parameters[0]);
}

static void fold(void *self, const seam_pass *pass, seam_fold *io) { (void)self, (void)pass, (void)io; }

static void nothing(void *self, const seam_pass *pass) {
  (void)self;
  if (is("end of no scope")) pass->ops->scope_end(pass->ctx, NULL, 0);
}

static seam_option strength, spare;
static seam_method first, second;
static const seam_option *options[2] = {&strength, &spare};
static const seam_method *methods[2] = {&first, &second};
static const char *seams[2];
static seam_adapter_factory factory;
static const seam_adapter_factory *adapters[1] = {&factory};
static const char *needed[1];
static seam_requirements requirements;
static seam_plugin plugin;

static void fill_options(void) {
  strength = (seam_option){.struct_size = sizeof strength,
                           .kind = SEAM_OPTION_DOUBLE,
                           .name = "strength",
                           .default_value = "1.0",
                           .doc = "Means nothing."};
  spare = (seam_option){.struct_size = sizeof spare,
                        .kind = SEAM_OPTION_STRING,
                        .name = "spare",
                        .default_value = "\"a\"",
                        .choices = "a|b",
                        .doc = "Means nothing."};
  if (is("option twice")) spare.name = "strength";
  if (is("option without a name")) spare.name = NULL;
  if (is("option with capitals")) spare.name = "Spare";
  if (is("option of the host's")) spare.name = "learning_rate";
  if (is("option layers")) spare.name = "layers";
  if (is("option targets")) spare.name = "targets";
  if (is("option that is small")) spare.struct_size = offsetof(seam_option, doc);
  if (is("option of an unknown kind")) spare.kind = 9;
  if (is("option without a default")) spare.default_value = NULL;
  if (is("option with a NUL")) spare.choices = NULL, spare.default_value = "\"a\\u0000b\"";
  if (is("option without a range")) spare.minimum = NAN;
  if (is("option that folds as a number")) spare.name = "folded", factory.fold = fold;
  if (is("no option that folds")) factory.fold = fold;
  options[1] = is("option of NULL") ? NULL : &spare;
}

static void fill_methods(void) {
  first = (seam_method){.struct_size = sizeof first,
                        .name = "first",
                        .doc = "Does nothing.",
                        .signature = "void (void *, const seam_pass *)",
                        .function = (void (*)(void))nothing};
  second = first;
  second.name = "second";
  if (is("method twice")) second.name = "first";
  if (is("method that is a path")) second.name = "a/b";
  if (is("method that is small")) second.struct_size = offsetof(seam_method, function);
  if (is("method without a function")) second.function = NULL;
  if (is("method of another language")) second.signature = "int main(void)";
}

const seam_plugin *seam_plugin_entry(void) {
  static char long_name[300];
  memset(long_name, 'a', sizeof long_name - 1);
  factory = (seam_adapter_factory){.struct_size = sizeof factory,
                                   .id = "test-hostile",
                                   .summary = "Breaks a rule.",
                                   .seams = seams,
                                   .seam_count = 1,
                                   .options = options,
                                   .option_count = 2,
                                   .methods = methods,
                                   .method_count = 2,
                                   .create = create,
                                   .destroy = destroy,
                                   .parameter_count = parameter_count,
                                   .parameter = parameter,
                                   .forward = forward};
  seams[0] = seams[1] = SEAM_DECODER_OUTPUT;
  plugin = (seam_plugin){.struct_size = sizeof plugin,
                         .abi_major = SEAM_ABI_MAJOR,
                         .abi_minor = SEAM_ABI_MINOR,
                         .id = "org.seamkit.test.hostile",
                         .version = "1.0.0",
                         .license = "Apache-2.0",
                         .summary = "For tests of limits.",
                         .adapters = adapters,
                         .adapter_count = 1};
  fill_options();
  fill_methods();
  needed[0] = "";
  requirements = (seam_requirements){.struct_size = sizeof requirements, .operations = needed, .extensions = needed};
  if (is("requirements that are small")) {
    requirements.struct_size = offsetof(seam_requirements, extension_count);
    plugin.requirements = &requirements;
  }
  if (is("operation count of SIZE_MAX")) requirements.operation_count = SIZE_MAX, plugin.requirements = &requirements;
  if (is("operation without a name")) requirements.operation_count = 1, plugin.requirements = &requirements;
  if (is("extension count of SIZE_MAX")) requirements.extension_count = SIZE_MAX, plugin.requirements = &requirements;
  if (is("extension without an id")) requirements.extension_count = 1, plugin.requirements = &requirements;
  if (is("extensions of NULL")) {
    requirements.extensions = NULL, requirements.extension_count = 1;
    plugin.requirements = &requirements;
  }
  if (is("plugin without an id")) plugin.id = "";
  if (is("plugin that is a path")) plugin.id = "/etc/passwd";
  if (is("adapter count of SIZE_MAX")) plugin.adapter_count = SIZE_MAX;
  if (is("adapter count beyond counting")) plugin.adapter_count = SIZE_MAX / 2;
  if (is("adapter of NULL")) plugin.adapters = NULL;
  if (is("backbone count of SIZE_MAX")) plugin.backbone_count = SIZE_MAX;
  if (is("adapter without an id")) factory.id = NULL;
  if (is("adapter that is a path")) factory.id = "x/../../../escaped";
  if (is("adapter with spaces")) factory.id = " test";
  if (is("adapter with a long id")) factory.id = long_name;
  if (is("adapter that is no UTF-8")) factory.id = "test-\xff";
  if (is("seam count of SIZE_MAX")) factory.seam_count = SIZE_MAX;
  if (is("seam twice")) factory.seam_count = 2;
  if (is("seam of NULL")) seams[0] = NULL;
  if (is("target without a name")) factory.default_targets = "q||v";
  if (is("no seam")) factory.seam_count = 0;
  if (is("seam that is a path")) seams[0] = "../decoder.output";
  if (is("option count of SIZE_MAX")) factory.option_count = SIZE_MAX;
  if (is("method count of SIZE_MAX")) factory.method_count = SIZE_MAX;
  return &plugin;
}
