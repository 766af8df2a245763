/* "test-reader": a backbone that opens llama models and reads four of their tensors, but computes nothing. It stands
 * for a family of models where only files are tested. rival.c gives it another id. */
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

#ifndef ID
#define ID "test-reader"
#endif
#ifndef PLUGIN_ID
#define PLUGIN_ID "org.seamkit.test.reader"
#endif

static const char *const names[] = {
    "model.embed_tokens.weight",
    "model.norm.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.1.self_attn.q_proj.weight",
};
enum { COUNT = sizeof names / sizeof names[0] };

typedef struct {
  int64_t shapes[COUNT][SEAM_MAX_RANK];
  int32_t ranks[COUNT];
  int64_t width, vocabulary, end;
  size_t has_end;
} reader;

static int32_t accepts(const seam_host *host, const seam_model *model) {
  const char *type = NULL;
  const seam_status status = host->config_string(host->model_config(model), "model_type", &type);
  return status == SEAM_OK && strcmp(type, "llama") == 0 ? 100 : 0;
}

static seam_status create(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                          seam_error **error) {
  (void)options;
  if (model == NULL) return host->set_error(error, SEAM_INVALID_ARGUMENT, "a model is needed");
  reader *r = calloc(1, sizeof *r);
  if (r == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory");
  for (int i = 0; i < COUNT; i++) {
    r->ranks[i] = 1;
    r->shapes[i][0] = 1;
    host->model_tensor(model, names[i], r->shapes[i], &r->ranks[i]);
  }
  const seam_config *config = host->model_config(model);
  if (host->config_int(config, "hidden_size", &r->width) != SEAM_OK ||
      host->config_int(config, "vocab_size", &r->vocabulary) != SEAM_OK) {
    free(r);
    return host->set_error(error, SEAM_FORMAT, "config.json: the sizes must be integers");
  }
  /* What no published model has: a sentence about config.json for the test. */
  if (r->width > 1000000) {
    free(r);
    return host->set_error(error, SEAM_UNSUPPORTED, "config.json: \"hidden_size\" is too large");
  }
  r->has_end = host->config_int(config, "eos_token_id", &r->end) == SEAM_OK;
  *self = r;
  return SEAM_OK;
}

static void destroy(void *self) { free(self); }

static void info(void *self, seam_backbone_info *out) {
  reader *r = self;
  out->kind = SEAM_BACKBONE_TRACED;
  out->family = ID;
  out->d_model = r->width;
  out->vocab_size = r->vocabulary;
  out->decoder_start_token_id = 1;
  out->eos_token_ids = &r->end;
  out->eos_token_count = r->has_end;
}

static size_t parameter_count(void *self) {
  (void)self;
  return COUNT;
}

static void parameter(void *self, size_t index, seam_parameter *out) {
  reader *r = self;
  out->name = names[index];
  out->rank = r->ranks[index];
  memcpy(out->shape, r->shapes[index], sizeof out->shape);
  out->init = SEAM_INIT_MODEL;
}

static void encode(void *self, const seam_pass *pass, seam_encode *io) {
  (void)self, (void)io;
  pass->ops->fail(pass->ctx, SEAM_UNSUPPORTED, "this backbone computes nothing");
}

static void decode(void *self, const seam_pass *pass, seam_decode *io) {
  (void)self, (void)io;
  pass->ops->fail(pass->ctx, SEAM_UNSUPPORTED, "this backbone computes nothing");
}

static const seam_backbone_factory factory = {
    .struct_size = sizeof(seam_backbone_factory),
    .id = ID,
    .summary = "Reads tensors and computes nothing, for tests.",
    .accepts = accepts,
    .create = create,
    .destroy = destroy,
    .info = info,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .encode = encode,
    .decode = decode,
};

static const seam_backbone_factory *const backbones[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = PLUGIN_ID,
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "A backbone that reads, for tests.",
    .backbones = backbones,
    .backbone_count = 1,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
