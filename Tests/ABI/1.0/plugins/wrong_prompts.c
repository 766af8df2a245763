/* "wrong-prompts": an adapter on embedded tokens that does what its option "mode" names, most of it wrong. */
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

static size_t parameter_count(void *self) { return (void)self, 0; }

static void parameter(void *self, size_t index, seam_parameter *out) { (void)self, (void)index, (void)out; }

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  const seam_ops *ops = pass->ops;
  seam_tensor *x = io->inputs[SEAM_PROMPT_EMBEDDING_X], *mask = io->inputs[SEAM_PROMPT_EMBEDDING_MASK];
  const int64_t batch = ops->size(pass->ctx, x, 0), count = ops->size(pass->ctx, x, 1),
                width = ops->size(pass->ctx, x, 2);
  int64_t shape[] = {1, 2, width};
  if (strcmp(self, "grows") == 0) shape[1] = count;
  if (strcmp(self, "wide") == 0) shape[2] = width + 1;
  if (strcmp(self, "rows") == 0) shape[0] = batch + 1;
  if (strcmp(self, "empty") == 0) shape[1] = 0;
  if (strcmp(self, "own") == 0) shape[0] = batch;
  if (strcmp(self, "changes") != 0)
    io->outputs[SEAM_PROMPT_EMBEDDING_PROMPT] = ops->full(pass->ctx, 0.5, SEAM_F32, shape, 3);
  if (strcmp(self, "changes") == 0) io->outputs[SEAM_PROMPT_EMBEDDING_CHANGED] = ops->affine(pass->ctx, x, 2, 0);
  if (strcmp(self, "other-x") == 0) io->outputs[SEAM_PROMPT_EMBEDDING_CHANGED] = ops->sum(pass->ctx, x, 2, 1);
  if (strcmp(self, "the-mask") == 0) io->outputs[SEAM_PROMPT_EMBEDDING_PROMPT] = mask;
  if (strcmp(self, "failure") == 0) ops->fail(pass->ctx, SEAM_NUMERIC, "it does not want to");
}

static const seam_option mode = {.struct_size = sizeof mode,
                                 .kind = SEAM_OPTION_STRING,
                                 .name = "mode",
                                 .default_value = "\"none\"",
                                 .doc = "What it does wrong."};
static const seam_option *const options[] = {&mode};
static const char *const seams[] = {SEAM_PROMPT_EMBEDDING};

static const seam_adapter_factory wrong = {.struct_size = sizeof wrong,
                                           .id = "wrong-prompts",
                                           .summary = "Wrong before a text.",
                                           .seams = seams,
                                           .seam_count = 1,
                                           .options = options,
                                           .option_count = 1,
                                           .create = create,
                                           .destroy = free,
                                           .parameter_count = parameter_count,
                                           .parameter = parameter,
                                           .forward = forward};
static const seam_adapter_factory *const adapters[] = {&wrong};

static const seam_plugin plugin = {.struct_size = sizeof plugin,
                                   .abi_major = SEAM_ABI_MAJOR,
                                   .abi_minor = SEAM_ABI_MINOR,
                                   .id = "org.seamkit.test.wrong-prompts",
                                   .version = "1.0.0",
                                   .license = "Apache-2.0",
                                   .summary = "Wrong before a text, for tests.",
                                   .adapters = adapters,
                                   .adapter_count = 1};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
