/* "wrong-visits": the backbone of points.c, whose visits go wrong in the way that its option "mode" names. It does not run
 * a part of its layers. */
#define _POSIX_C_SOURCE 200809L
#include <seam/seam.h>
#define seam_plugin_entry points_entry
#include "points.c"
#undef seam_plugin_entry

static const seam_option mode = {.struct_size = sizeof mode,
                                 .kind = SEAM_OPTION_STRING,
                                 .name = "mode",
                                 .default_value = "\"none\"",
                                 .choices = "none|skip|point|phase|value|weight|short-visit|short-pass|null-pass",
                                 .doc = "What goes wrong."};
static const seam_option *const modes[] = {&mode};

static seam_status create_wrong(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                                seam_error **error) {
  (void)model;
  const char *text = NULL;
  const seam_status status = host->config_string(options, "mode", &text);
  if (status != SEAM_OK) return host->set_error(error, status, "no mode");
  *self = strdup(text);
  return *self != NULL ? SEAM_OK : host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory");
}

static void info_whole(void *self, seam_backbone_info *out) {
  info(self, out);
  out->decodes_layer_ranges = 0;
}

/* What the decoder is given in the place of the host's visitor. */
typedef struct {
  seam_visitor visitor;
  const seam_visitor *host;
  const char *mode;
} proxy;

static void visit_wrongly(const seam_visitor *visitor, const seam_pass *pass, seam_visit *io) {
  const proxy *own = visitor->host;
  const char *how = own->mode;
  seam_visit given = *io;
  seam_pass short_pass = *pass;
  short_pass.struct_size = 8;
  if (strcmp(how, "skip") == 0) return;
  if (strcmp(how, "point") == 0) given.point = 99;
  if (strcmp(how, "phase") == 0) given.phase = SEAM_PHASE_BEFORE | SEAM_PHASE_AFTER;
  if (strcmp(how, "value") == 0) given.value = NULL;
  if (strcmp(how, "weight") == 0) given.weight = NULL;
  if (strcmp(how, "short-visit") == 0) given.struct_size = 16;
  if (strcmp(how, "short-pass") == 0) pass = &short_pass;
  if (strcmp(how, "null-pass") == 0) pass = NULL;
  own->host->visit(own->host, pass, &given);
  io->value = given.value;
}

static void decode_wrong(void *self, const seam_pass *pass, seam_decode *io) {
  proxy own = {.host = io->visitor, .mode = self};
  seam_decode given = *io;
  if (io->visitor != NULL) {
    own.visitor = *io->visitor;
    own.visitor.visit = visit_wrongly;
    own.visitor.host = &own;
    given.visitor = &own.visitor;
  }
  decode(self, pass, &given);
  io->hidden = given.hidden;
  io->logits = given.logits;
}

static const seam_backbone_factory wrong = {
    .struct_size = sizeof(seam_backbone_factory),
    .id = "wrong-visits",
    .summary = "A backbone that visits its points wrongly, for tests.",
    .options = modes,
    .option_count = 1,
    .create = create_wrong,
    .destroy = free,
    .info = info_whole,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .decode = decode_wrong,
    .head = head,
};

static const seam_backbone_factory *const wrong_backbones[] = {&wrong};

static const seam_plugin wrong_plugin = {
    .struct_size = sizeof(seam_plugin),
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.wrong-visits",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "Wrong visits for tests.",
    .backbones = wrong_backbones,
    .backbone_count = 1,
};

const seam_plugin *seam_plugin_entry(void) { return &wrong_plugin; }
