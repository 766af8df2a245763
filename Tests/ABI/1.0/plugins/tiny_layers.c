/* Prefixes of a backbone whose layers differ in their keys and values, and an adapter that gives them one:
 *   "tiny-layers"   an encoder of two attentions over the embeddings, one head 8 wide, then two heads 4 wide
 *   "layer-prefix"  learned keys and values of each layer's own sizes, on the attention of an encoder; its option "fault"
 *                   makes it give what is no prefix */
#include <math.h>
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 16, WIDTH = 8, LAYERS = 2, TOKENS = 3 };

/* ---- The backbone */

static const int64_t kv_heads[LAYERS] = {1, 2}, head_dim[LAYERS] = {8, 4};

static seam_status open_backbone(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                                 seam_error **error) {
  (void)options;
  (void)model; /* opened without a folder */
  *self = malloc(1);
  return *self != NULL ? SEAM_OK : host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory");
}

static void destroy(void *self) { free(self); }

static void info(void *self, seam_backbone_info *out) {
  (void)self;
  out->kind = SEAM_BACKBONE_TRACED;
  out->architecture = SEAM_ENCODER_ONLY;
  out->family = "tiny-layers";
  out->d_model = WIDTH;
  out->encoder_layers = LAYERS;
  out->vocab_size = VOCAB;
  out->prefix_layers[SEAM_PREFIX_ENCODER] = LAYERS;
  out->prefix_kv_heads[SEAM_PREFIX_ENCODER] = kv_heads;
  out->prefix_head_dim[SEAM_PREFIX_ENCODER] = head_dim;
}

static size_t one(void *self) { return (void)self, (size_t)1; }

static void embedding(void *self, size_t index, seam_parameter *out) {
  (void)self;
  (void)index;
  out->name = "embedding";
  out->rank = 2;
  out->shape[0] = VOCAB;
  out->shape[1] = WIDTH;
  out->init = SEAM_INIT_NORMAL;
  out->b = 1;
}

static void encode(void *self, const seam_pass *pass, seam_encode *io) {
  (void)self;
  const seam_ops *ops = pass->ops;
  const int64_t batch = ops->size(pass->ctx, io->input_ids, 0), source = ops->size(pass->ctx, io->input_ids, 1);
  const int64_t flat[] = {batch, source, WIDTH};
  static const int32_t exchanged[] = {0, 2, 1, 3};
  seam_tensor *x = ops->embedding(pass->ctx, pass->parameters[0], io->input_ids);
  for (int layer = 0; layer < LAYERS; layer++) {
    const int64_t split[] = {batch, source, kv_heads[layer], head_dim[layer]};
    const double scale = 1 / sqrt((double)head_dim[layer]);
    x = ops->permute(pass->ctx, ops->reshape(pass->ctx, x, split, 4), exchanged, 4);
    x = io->prefix == NULL ? ops->attention(pass->ctx, x, x, x, NULL, io->attention_mask, scale, 0)
                           : ops->attention_with_prefix(pass->ctx, x, x, x, io->prefix[layer], NULL, NULL,
                                                        io->attention_mask, scale, 0);
    x = ops->reshape(pass->ctx, ops->permute(pass->ctx, x, exchanged, 4), flat, 3);
  }
  io->hidden = x;
}

/* The first token's vector. */
static void pool(void *self, const seam_pass *pass, seam_pool *io) {
  (void)self;
  const seam_ops *ops = pass->ops;
  const int64_t sizes[] = {ops->size(pass->ctx, io->hidden, 0), WIDTH};
  io->pooled = ops->reshape(pass->ctx, ops->slice(pass->ctx, io->hidden, 1, 0, 1), sizes, 2);
}

static const seam_backbone_factory backbone = {
    .struct_size = sizeof(seam_backbone_factory),
    .id = "tiny-layers",
    .summary = "A backbone whose layers have other heads, for tests.",
    .create = open_backbone,
    .destroy = destroy,
    .info = info,
    .parameter_count = one,
    .parameter = embedding,
    .encode = encode,
    .pool = pool,
};

/* ---- The adapter */

typedef struct {
  int64_t layers, heads[LAYERS], width[LAYERS];
  char fault[16];
} prefix;

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  const seam_backbone_info *info = site->backbone;
  const int64_t layers = info->prefix_layers[SEAM_PREFIX_ENCODER];
  if (layers < 1 || layers > LAYERS)
    return host->set_error(error, SEAM_UNSUPPORTED, "it is for one layer or two of an encoder");
  prefix *made = calloc(1, sizeof *made);
  if (made == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  made->layers = layers;
  const int64_t *heads = info->prefix_kv_heads[SEAM_PREFIX_ENCODER],
                *width = info->prefix_head_dim[SEAM_PREFIX_ENCODER];
  for (int64_t i = 0; i < layers; i++) {
    made->heads[i] = heads != NULL ? heads[i] : info->kv_heads;
    made->width[i] = width != NULL ? width[i] : info->head_dim;
  }
  const char *fault = NULL;
  if (host->config_string(options, "fault", &fault) == SEAM_OK) strncpy(made->fault, fault, sizeof made->fault - 1);
  *self = made;
  return SEAM_OK;
}

static size_t parameter_count(void *self) { return (size_t)((prefix *)self)->layers; }

static void parameter(void *self, size_t index, seam_parameter *out) {
  const prefix *instance = self;
  out->name = index == 0 ? "layer.0" : "layer.1";
  out->rank = 4;
  out->shape[0] = 2;
  out->shape[1] = instance->heads[index];
  out->shape[2] = TOKENS;
  out->shape[3] = instance->width[index];
  out->init = SEAM_INIT_NORMAL;
  out->b = 1;
}

static void forward(void *self, const seam_pass *pass, seam_forward *io) {
  const prefix *instance = self;
  const seam_ops *ops = pass->ops;
  for (size_t i = 0; i < io->output_count; i++) {
    seam_tensor *parts[] = {io->inputs[i], i < (size_t)instance->layers ? pass->parameters[i] : NULL};
    if (parts[1] == NULL)
      io->outputs[i] = parts[0];
    else
      io->outputs[i] = parts[0] == NULL ? parts[1] : ops->concat(pass->ctx, parts, 2, 2);
  }
  const int64_t last = instance->layers - 1;
  if (strcmp(instance->fault, "first") == 0) io->outputs[0] = NULL;
  if (strcmp(instance->fault, "last") == 0) io->outputs[last] = NULL;
  if (strcmp(instance->fault, "length") == 0) io->outputs[last] = ops->slice(pass->ctx, io->outputs[last], 2, 0, 2);
  if (strcmp(instance->fault, "heads") == 0) io->outputs[last] = ops->slice(pass->ctx, io->outputs[last], 1, 0, 1);
}

static const seam_option fault = {.struct_size = sizeof fault,
                                  .kind = SEAM_OPTION_STRING,
                                  .name = "fault",
                                  .default_value = "\"none\"",
                                  .choices = "none|first|last|length|heads",
                                  .doc = "What is wrong with the prefix it gives."};
static const seam_option *const options[] = {&fault};
static const char *const seams[] = {SEAM_ATTENTION_PREFIX};

static const seam_adapter_factory adapter = {
    .struct_size = sizeof(seam_adapter_factory),
    .id = "layer-prefix",
    .summary = "Learned keys and values of each layer's own sizes, for tests.",
    .seams = seams,
    .seam_count = 1,
    .options = options,
    .option_count = 1,
    .create = create,
    .destroy = destroy,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .forward = forward,
};

/* ---- The tables */

static const seam_backbone_factory *const backbones[] = {&backbone};
static const seam_adapter_factory *const adapters[] = {&adapter};

static const seam_plugin plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.tiny-layers",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "Prefixes of layers that differ, for tests.",
    .adapters = adapters,
    .adapter_count = 1,
    .backbones = backbones,
    .backbone_count = 1,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
