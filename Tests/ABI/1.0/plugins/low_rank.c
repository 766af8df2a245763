/* Adapters inside the layers, the shortest that show how. At every point that they are attached to:
 *   "low-rank"     y + scale * B A x behind a projection (LoRA, Hu et al. 2021), A [rank, in], B [out, rank]
 *   "scale-input"  x * s in front of a projection (as IA3, Liu et al. 2022, scales), s [in]
 *   "steer"        h + v on the tokens of a layer's output, v [d_model]
 *   "steer-fixed"  the same with a v that is never trained
 *   "steer-along"  h + c v likewise, where v is the same at every point and c [1] the point's own
 * Else each point has parameters of its own. Each adapter starts as the identity. */
#include <seam/seam.h>
#include <stdlib.h>

/* What an attached adapter remembers: the widths of its points and, of "low-rank" alone, its options. */
typedef struct {
  int64_t rank;
  double scale;
  size_t point_count;
  struct {
    int64_t in, out;
  } widths[];
} adapter;

static seam_status create(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                          seam_error **error) {
  adapter *made = calloc(1, sizeof *made + site->point_count * sizeof made->widths[0]);
  if (made == NULL) return host->set_error(error, SEAM_OUT_OF_MEMORY, "no memory for the adapter");
  made->point_count = site->point_count;
  for (size_t i = 0; i < site->point_count; i++) {
    made->widths[i].in = site->points[i]->input_width;
    made->widths[i].out = site->points[i]->output_width;
  }
  host->config_int(options, "rank", &made->rank);
  host->config_double(options, "scale", &made->scale);
  *self = made;
  return SEAM_OK;
}

/* ---- "low-rank" */

enum { A, B, LOW_RANK_PARAMETERS }; /* of one point, in declared order */

static size_t low_rank_parameter_count(void *self) { return ((adapter *)self)->point_count * LOW_RANK_PARAMETERS; }

static void low_rank_parameter(void *self, size_t index, seam_parameter *out) {
  const adapter *instance = self;
  const size_t point = index / LOW_RANK_PARAMETERS, which = index % LOW_RANK_PARAMETERS;
  out->point = (int64_t)point;
  out->name = which == A ? "a" : "b";
  out->rank = 2;
  out->shape[0] = which == A ? instance->rank : instance->widths[point].out;
  out->shape[1] = which == A ? instance->widths[point].in : instance->rank;
  out->init = which == A ? SEAM_INIT_NORMAL : SEAM_INIT_ZEROS;
  out->b = 0.1; /* the deviation */
}

static void low_rank_forward(void *self, const seam_pass *pass, seam_forward *io) {
  io->outputs[0] = pass->ops->linear_low_rank(pass->ctx, io->inputs[SEAM_PROJECTION_Y], io->inputs[SEAM_PROJECTION_X],
                                              pass->parameters[A], pass->parameters[B], ((adapter *)self)->scale);
}

static void low_rank_fold_weight(void *self, const seam_pass *pass, seam_fold_weight *io) {
  const seam_ops *ops = pass->ops;
  seam_tensor *product = ops->matmul(pass->ctx, pass->parameters[B], pass->parameters[A], 0, 0);
  io->folded_weight = ops->add(pass->ctx, ops->cast(pass->ctx, io->weight, SEAM_F32),
                               ops->affine(pass->ctx, product, ((adapter *)self)->scale, 0));
}

/* ---- "scale-input" and "steer": one vector for each point */

static size_t one_for_each_point(void *self) { return ((adapter *)self)->point_count; }

static void scale_parameter(void *self, size_t index, seam_parameter *out) {
  out->point = (int64_t)index;
  out->name = "scale";
  out->rank = 1;
  out->shape[0] = ((adapter *)self)->widths[index].in;
  out->init = SEAM_INIT_ONES;
}

static seam_phases before(void *self, size_t point) { return (void)self, (void)point, (seam_phases)SEAM_PHASE_BEFORE; }

static void scale_forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  io->outputs[0] = pass->ops->mul(pass->ctx, io->inputs[SEAM_PROJECTION_X], pass->parameters[0]);
}

/* W (s x) = (W diag(s)) x: each column of W is scaled. */
static void scale_fold_weight(void *self, const seam_pass *pass, seam_fold_weight *io) {
  (void)self;
  seam_tensor *weight = pass->ops->cast(pass->ctx, io->weight, SEAM_F32);
  io->folded_weight = pass->ops->mul(pass->ctx, weight, pass->parameters[0]);
}

static void steer_parameter(void *self, size_t index, seam_parameter *out) {
  out->point = (int64_t)index;
  out->name = "vector";
  out->rank = 1;
  out->shape[0] = ((adapter *)self)->widths[index].out;
  out->init = SEAM_INIT_ZEROS;
}

static void fixed_parameter(void *self, size_t index, seam_parameter *out) {
  steer_parameter(self, index, out);
  out->flags = SEAM_PARAMETER_FROZEN;
}

/* h + v on the tokens; padding stays as it is, where it is known. */
static seam_tensor *add_to_tokens(const seam_pass *pass, seam_tensor *hidden, seam_tensor *vector) {
  const seam_ops *ops = pass->ops;
  seam_tensor *mask = pass->attention_mask;
  if (mask != NULL) {
    const int64_t column[] = {ops->size(pass->ctx, mask, 0), ops->size(pass->ctx, mask, 1), 1};
    mask = ops->reshape(pass->ctx, ops->cast(pass->ctx, mask, SEAM_F32), column, 3);
    vector = ops->mul(pass->ctx, mask, vector);
  }
  return ops->add(pass->ctx, hidden, vector);
}

static void steer_forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  io->outputs[0] = add_to_tokens(pass, io->inputs[0], pass->parameters[0]);
}

/* ---- "steer-along": one vector that all points share, which comes first at each of them, and a number for each */

enum { DIRECTION, AMOUNT };

static size_t along_parameter_count(void *self) { return 1 + ((adapter *)self)->point_count; }

static void along_parameter(void *self, size_t index, seam_parameter *out) {
  out->rank = 1;
  if (index == DIRECTION) { /* the host has set its point to -1 */
    out->name = "direction";
    out->shape[0] = ((adapter *)self)->widths[0].out;
    out->init = SEAM_INIT_NORMAL;
    out->b = 1;
  } else {
    out->point = (int64_t)index - 1;
    out->name = "amount";
    out->shape[0] = 1;
    out->init = SEAM_INIT_ZEROS;
  }
}

static void along_forward(void *self, const seam_pass *pass, seam_forward *io) {
  (void)self;
  seam_tensor *vector = pass->ops->mul(pass->ctx, pass->parameters[AMOUNT], pass->parameters[DIRECTION]);
  io->outputs[0] = add_to_tokens(pass, io->inputs[0], vector);
}

/* ---- The tables */

static const seam_option rank = {.struct_size = sizeof rank,
                                 .kind = SEAM_OPTION_INT,
                                 .name = "rank",
                                 .default_value = "4",
                                 .minimum = 1,
                                 .maximum = 65536,
                                 .doc = "Rows of A and columns of B."};
static const seam_option scale = {.struct_size = sizeof scale,
                                  .kind = SEAM_OPTION_DOUBLE,
                                  .name = "scale",
                                  .default_value = "1.0",
                                  .doc = "What the update is multiplied by."};
static const seam_option *const low_rank_options[] = {&rank, &scale};
static const char *const projections[] = {SEAM_PROJECTION};
static const char *const layers[] = {SEAM_LAYER_OUTPUT};

static const seam_adapter_factory low_rank = {.struct_size = sizeof low_rank,
                                              .id = "low-rank",
                                              .summary = "A low-rank update of projections (Hu et al. 2021).",
                                              .seams = projections,
                                              .seam_count = 1,
                                              .options = low_rank_options,
                                              .option_count = 2,
                                              .create = create,
                                              .destroy = free,
                                              .parameter_count = low_rank_parameter_count,
                                              .parameter = low_rank_parameter,
                                              .forward = low_rank_forward,
                                              .default_targets = "q|v",
                                              .fold_weight = low_rank_fold_weight};
static const seam_adapter_factory scale_input = {.struct_size = sizeof scale_input,
                                                 .id = "scale-input",
                                                 .summary = "Scales what projections read.",
                                                 .seams = projections,
                                                 .seam_count = 1,
                                                 .create = create,
                                                 .destroy = free,
                                                 .parameter_count = one_for_each_point,
                                                 .parameter = scale_parameter,
                                                 .forward = scale_forward,
                                                 .phases = before,
                                                 .fold_weight = scale_fold_weight};
static const seam_adapter_factory steer = {.struct_size = sizeof steer,
                                           .id = "steer",
                                           .summary = "Adds a vector to the tokens that leave a layer.",
                                           .seams = layers,
                                           .seam_count = 1,
                                           .create = create,
                                           .destroy = free,
                                           .parameter_count = one_for_each_point,
                                           .parameter = steer_parameter,
                                           .forward = steer_forward};
static const seam_adapter_factory fixed = {.struct_size = sizeof fixed,
                                           .id = "steer-fixed",
                                           .summary = "Adds a vector that is not trained to the tokens.",
                                           .seams = layers,
                                           .seam_count = 1,
                                           .create = create,
                                           .destroy = free,
                                           .parameter_count = one_for_each_point,
                                           .parameter = fixed_parameter,
                                           .forward = steer_forward};
static const seam_adapter_factory along = {.struct_size = sizeof along,
                                           .id = "steer-along",
                                           .summary = "Adds a multiple of one vector to layers.",
                                           .seams = layers,
                                           .seam_count = 1,
                                           .create = create,
                                           .destroy = free,
                                           .parameter_count = along_parameter_count,
                                           .parameter = along_parameter,
                                           .forward = along_forward};
static const seam_adapter_factory *const adapters[] = {&low_rank, &scale_input, &steer, &fixed, &along};

static const char *const operations[] = {"linear_low_rank"};
static const seam_requirements requirements = {
    .struct_size = sizeof requirements, .operations = operations, .operation_count = 1};

static const seam_plugin plugin = {.struct_size = sizeof plugin,
                                   .abi_major = SEAM_ABI_MAJOR,
                                   .abi_minor = SEAM_ABI_MINOR,
                                   .id = "org.seamkit.test.low-rank",
                                   .version = "1.0.0",
                                   .license = "Apache-2.0",
                                   .summary = "Adapters inside the layers, for tests.",
                                   .adapters = adapters,
                                   .adapter_count = 5,
                                   .requirements = &requirements};

const seam_plugin *seam_plugin_entry(void) { return &plugin; }
