/* Models that an engine of the caller's runs: their adapters are computed on its table, start from its examples, and are
 * saved and read with their task. Arguments: the folder of the plugins, a folder to write to. */
#include "check.h"

enum { EXAMPLES = 4, LAYERS = 2 };

/* ---- Forward: LoRA on one projection */

typedef struct {
  seam_context *ctx;
  seam_tensor *parameters[2], *inputs[4], *outputs[1];
  seam_pass pass;
  seam_forward io;
} foreign;

/* x and y of three tokens, a weight of zeros, no bias. */
static void begin(foreign *made, seam_runtime *runtime, seam_adapter *adapter, const seam_ops *ops, int32_t training) {
  static const int64_t states[3] = {1, SOURCE, WIDTH}, matrix[2] = {WIDTH, WIDTH};
  float values[SOURCE * WIDTH];
  for (int i = 0; i < SOURCE * WIDTH; i++) values[i] = (float)i / 7 - 1;
  *made = (foreign){.ctx = NULL};
  OK(seam_context_create(runtime, 0, &made->ctx, &error));
  CHECK(seam_adapter_parameter_count(adapter) == 2);
  for (size_t i = 0; i < 2; i++) {
    DLManagedTensorVersioned *view = NULL;
    OK(seam_adapter_parameter(adapter, i, NULL, &view, &error));
    made->parameters[i] = ops->from_dlpack(made->ctx, view);
  }
  made->inputs[SEAM_PROJECTION_X] = ops->constant_f32(made->ctx, values, states, 3);
  made->inputs[SEAM_PROJECTION_WEIGHT] = ops->full(made->ctx, 0, SEAM_F32, matrix, 2);
  made->inputs[SEAM_PROJECTION_Y] = ops->constant_f32(made->ctx, values, states, 3);
  made->pass = (seam_pass){.struct_size = sizeof made->pass,
                           .training = training,
                           .ctx = made->ctx,
                           .ops = ops,
                           .parameters = made->parameters,
                           .parameter_count = 2};
  made->io = (seam_forward){.struct_size = sizeof made->io,
                            .inputs = made->inputs,
                            .input_count = 4,
                            .outputs = made->outputs,
                            .output_count = 1,
                            .point = 0,
                            .phase = SEAM_PHASE_AFTER};
}

/* How far the adapter's output is from y. */
static float distance(foreign *made, seam_adapter *adapter) {
  OK(seam_adapter_forward(adapter, &made->pass, &made->io, &error));
  DLManagedTensorVersioned *found = made->pass.ops->to_dlpack(made->ctx, made->outputs[0]);
  CHECK(count_of(found) == SOURCE * WIDTH);
  float most = 0;
  for (int i = 0; i < SOURCE * WIDTH; i++) most = fmaxf(most, fabsf(data_of(found)[i] - ((float)i / 7 - 1)));
  give_back(found);
  seam_context_release(made->ctx);
  return most;
}

static void forwards(seam_runtime *runtime, seam_backbone *backbone) {
  ERROR_SLOT;
  static const char *const points[] = {"decoder.0.q"};
  seam_adapter *adapter = NULL;
  foreign made;
  /* Nearly all of what goes into the update is dropped: here all of it. */
  OK(seam_adapter_create(
      backbone, "lora",
      OPTIONS(.options_json = "{\"r\": 2, \"lora_dropout\": 0.999999}", .points = points, .point_count = 1), &adapter,
      &error));
  disturb_all(adapter);
  begin(&made, runtime, adapter, seam_native_ops(), 0);
  CHECK(distance(&made, adapter) > 0.1f);
  begin(&made, runtime, adapter, seam_native_ops(), 1);
  CHECK(distance(&made, adapter) == 0);
  begin(&made, runtime, adapter, seam_native_ops(), 2);
  FAILS(seam_adapter_forward(adapter, &made.pass, &made.io, &error), SEAM_INVALID_ARGUMENT,
        "training of argument pass must be 0 or 1, found 2");
  /* A table of the caller's has all operations. */
  seam_ops table = *seam_native_ops();
  /* A copy is as long as this header's, whatever the library's is. */
  table.struct_size = sizeof table;
  made.pass.training = 0;
  made.pass.ops = &table;
  table.dropout = NULL;
  table.gather = NULL;
  FAILS(seam_adapter_forward(adapter, &made.pass, &made.io, &error), SEAM_UNSUPPORTED,
        "adapter \"lora\" needs operations that the compute table does not have: dropout, gather");
  table = *seam_native_ops();
  table.struct_size = sizeof table;
  CHECK(distance(&made, adapter) > 0.1f);
  seam_adapter_release(adapter);
}

/* ---- Preparing: an adapter at two points, whose values are taken after the second */

/* What flows at a point: of each example one state, the example's number and the point's. */
static seam_examples flowing(seam_context *ctx, int64_t point, DLManagedTensorVersioned **input) {
  const seam_ops *ops = seam_native_ops();
  static const int64_t shape[3] = {EXAMPLES, 1, WIDTH};
  static const int32_t labels[EXAMPLES] = {1, 0, 0, 1};
  float values[EXAMPLES * WIDTH];
  for (int i = 0; i < EXAMPLES * WIDTH; i++) values[i] = (float)(i / WIDTH * (i / WIDTH) * (point + 1));
  *input = ops->to_dlpack(ctx, ops->constant_f32(ctx, values, shape, 3));
  return (seam_examples){.struct_size = sizeof(seam_examples),
                         .point = point,
                         .inputs = input,
                         .input_count = 1,
                         .labels = ops->to_dlpack(ctx, ops->constant_i32(ctx, labels, shape, 1)),
                         .attention_mask = ops->to_dlpack(ctx, ops->full(ctx, 1, SEAM_I32, shape, 2))};
}

/* Whether both directions are so many times the difference of the classes' means of 0, 1, 4 and 9: 4.5 less 2.5. */
static int is_prepared(seam_adapter *adapter, float scale) {
  int same = 1;
  for (size_t i = 0; i < LAYERS; i++) {
    DLManagedTensorVersioned *held = NULL;
    OK(seam_adapter_parameter(adapter, i, NULL, &held, &error));
    for (int j = 0; j < WIDTH; j++) same = same && data_of(held)[j] == scale * 2 * (float)(i + 1);
    give_back(held);
  }
  return same;
}

static void prepares(seam_runtime *runtime, seam_backbone *backbone) {
  ERROR_SLOT;
  seam_context *ctx = NULL;
  seam_adapter *adapter = NULL;
  DLManagedTensorVersioned *input = NULL;
  OK(seam_context_create(runtime, 0, &ctx, &error));
  OK(seam_adapter_create(backbone, "mean-difference", NULL, &adapter, &error));
  seam_examples given = flowing(ctx, 1, &input);
  FAILS(seam_adapter_prepare(adapter, &given, &error), SEAM_INVALID_ARGUMENT, "the next one is 0, found 1");
  given = flowing(ctx, 0, &input);
  OK(seam_adapter_prepare(adapter, &given, &error));
  CHECK(is_prepared(adapter, 0));
  /* After an error it begins again. */
  given = flowing(ctx, 1, &input);
  give_back(given.labels);
  given.labels = NULL;
  FAILS(seam_adapter_prepare(adapter, &given, &error), SEAM_INVALID_ARGUMENT, "there are none");
  given = flowing(ctx, 1, &input);
  FAILS(seam_adapter_prepare(adapter, &given, &error), SEAM_INVALID_ARGUMENT, "the next one is 0, found 1");
  CHECK(is_prepared(adapter, 0));
  for (int64_t point = 0; point < LAYERS; point++) {
    given = flowing(ctx, point, &input);
    OK(seam_adapter_prepare(adapter, &given, &error));
  }
  CHECK(is_prepared(adapter, 1));
  seam_adapter_release(adapter);
  seam_context_release(ctx);
}

/* ---- Folders of several, and what is saved in a task's place */

static void saves(seam_backbone *backbone, const char *folder) {
  ERROR_SLOT;
  char path[1000], *task = NULL;
  size_t count = 0;
  seam_adapter *made[2] = {NULL, NULL}, *loaded[2] = {NULL, NULL};
  for (int i = 0; i < 2; i++) OK(seam_adapter_create(backbone, "mean-difference", NULL, &made[i], &error));
  disturb_all(made[1]);
  FAILS(seam_adapter_set_task(made[1], "[1]", &error), SEAM_INVALID_ARGUMENT, "must be an object");
  OK(seam_adapter_set_task(made[1], "{\"kept\": 1}", &error));
  OK(seam_adapters_save(made, 2, path_in(path, folder, "engines"), NULL, NULL, &error));
  OK(seam_adapters_load(backbone, path, NULL, 0, &count, &error));
  CHECK(count == 2);
  OK(seam_adapters_load(backbone, path, loaded, 2, &count, &error));
  FAILS(seam_adapter_task(loaded[0], &task, &error), SEAM_NOT_FOUND, "no classification task");
  OK(seam_adapter_task(loaded[1], &task, &error));
  CHECK(strstr(task, "\"kept\"") != NULL);
  seam_string_release(task);
  for (size_t p = 0; p < LAYERS; p++) {
    DLManagedTensorVersioned *before = NULL, *after = NULL;
    OK(seam_adapter_parameter(made[1], p, NULL, &before, &error));
    OK(seam_adapter_parameter(loaded[1], p, NULL, &after, &error));
    CHECK(same_bits(before, after));
    give_back(before);
    give_back(after);
  }
  for (int i = 0; i < 2; i++) {
    seam_adapter_release(made[i]);
    seam_adapter_release(loaded[i]);
  }
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  ERROR_SLOT;
  char path[1000];
  seam_runtime *runtime = NULL;
  seam_backbone *model = NULL, *backbone = NULL;
  seam_session *session = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libPrepare.so"), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libLoRA.so"), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libTinyPoints.so"), &error));
  OK(seam_backbone_open(runtime, "tiny-points", NULL, NULL, &model, &error));
  seam_backbone_info info = {.struct_size = sizeof info};
  OK(seam_backbone_get_info(model, &info, &error));
  OK(seam_backbone_create(runtime, &info, NULL, &backbone, &error));
  FAILS(seam_session_create(backbone, &session, &error), SEAM_UNSUPPORTED, "computes nothing");
  seam_backbone *none = NULL;
  info.prefix_layers[SEAM_PREFIX_CROSS] = info.decoder_layers + 1;
  FAILS(seam_backbone_create(runtime, &info, NULL, &none, &error), SEAM_INVALID_ARGUMENT,
        "of a stack at most its layers take a prefix");
  info.prefix_layers[SEAM_PREFIX_CROSS] = 0;
  info.has_head = 3;
  FAILS(seam_backbone_create(runtime, &info, NULL, &none, &error), SEAM_INVALID_ARGUMENT,
        "has_head of the backbone must be 0 or 1, found 3");
  forwards(runtime, backbone);
  prepares(runtime, backbone);
  saves(backbone, argv[2]);
  seam_backbone_release(backbone);
  seam_backbone_release(model);
  seam_runtime_release(runtime);
  return finish("engines");
}
