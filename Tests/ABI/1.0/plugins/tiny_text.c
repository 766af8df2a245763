/* The smallest text backbone: scores and hidden states are counts of bytes. Its option `defect` makes it break the
 * contract of `query` in one way or another, which the host must notice. */
#include <math.h>
#include <seam/seam.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 2 };

typedef struct {
  const seam_host *host;
  char defect[16];
  int active; /* queries that run */
} text_backbone;

static seam_status create(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                          seam_error **error) {
  const char *defect = "none";
  (void)model;
  text_backbone *made = calloc(1, sizeof *made);
  if (made == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory");
  made->host = host;
  made->active = 0;
  host->config_string(options, "defect", &defect);
  strncpy(made->defect, defect, sizeof made->defect - 1);
  *self = made;
  return SEAM_OK;
}

static void info(void *self, seam_backbone_info *out) {
  (void)self;
  out->kind = SEAM_BACKBONE_OPAQUE;
  out->family = "tiny-text";
  out->d_model = FEATURES;
  out->architecture = SEAM_TEXT;
  out->identity = "tiny-text";
}

static size_t parameter_count(void *self) {
  (void)self;
  return 0;
}

static void parameter(void *self, size_t index, seam_parameter *out) {
  (void)self;
  (void)index;
  (void)out;
}

/* The score of an answer: minus the sum of its length and the prompt's. The hidden state: the prompt's length and its
 * first byte. */
static seam_status answer(void *self, seam_query *io, seam_error **error) {
  const text_backbone *backbone = self;
  const char *defect = backbone->defect;
  for (size_t row = 0; row < io->prompt_count; row++) {
    if (io->should_continue != NULL && !io->should_continue(io->user))
      return backbone->host->set_error(error, SEAM_CANCELLED, "stopped");
    if (strcmp(io->prompts[row], "fail") == 0) return backbone->host->set_error(error, SEAM_IO, "no line");
    const size_t length = strlen(io->prompts[row]);
    for (size_t each = 0; each < io->answer_count; each++)
      io->scores[row * io->answer_count + each] = -(float)(length + strlen(io->answers[each]));
    io->hidden[row * FEATURES] = (float)length;
    io->hidden[row * FEATURES + 1] = row == 1 && strcmp(defect, "nan") == 0 ? NAN : (float)io->prompts[row][0];
    io->answered++;
    io->requests++;
  }
  if (strcmp(defect, "more") == 0) io->answered++;
  if (strcmp(defect, "fewer") == 0) io->answered--;
  if (strcmp(defect, "requests") == 0) io->requests = INT64_MAX;
  if (strcmp(defect, "countless") == 0) {
    io->answered = SIZE_MAX;
    return backbone->host->set_error(error, SEAM_IO, "lost count");
  }
  if (strcmp(defect, "late") == 0) return backbone->host->set_error(error, SEAM_IO, "failed after the last");
  if (strcmp(defect, "speechless") == 0) {
    io->answered--;
    return SEAM_IO;
  }
  return SEAM_OK;
}

/* The contract: queries of one instance never overlap. */
static seam_status query(void *self, seam_query *io, seam_error **error) {
  text_backbone *backbone = self;
  if (backbone->active++ > 0) {
    backbone->active--;
    return backbone->host->set_error(error, SEAM_INTERNAL, "two queries at once");
  }
  const seam_status status = answer(self, io, error);
  backbone->active--;
  return status;
}

static const seam_option defect_option = {
    .struct_size = sizeof(seam_option),
    .kind = SEAM_OPTION_STRING,
    .name = "defect",
    .default_value = "\"none\"",
    .choices = "none|nan|more|fewer|late|speechless|requests|countless",
    .doc = "How to break the contract.",
};
static const seam_option *const options[] = {&defect_option};

static const seam_backbone_factory factory = {
    .struct_size = sizeof factory,
    .id = "tiny-text",
    .summary = "Counts bytes.",
    .options = options,
    .option_count = 1,
    .create = create,
    .destroy = free,
    .info = info,
    .parameter_count = parameter_count,
    .parameter = parameter,
    .query = query,
};
static const seam_backbone_factory *const backbones[] = {&factory};

static const seam_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = SEAM_ABI_MAJOR,
    .abi_minor = SEAM_ABI_MINOR,
    .id = "org.seamkit.test.tiny-text",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "A tiny text backbone.",
    .backbones = backbones,
    .backbone_count = 1,
};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
