/* The backbone that uses everything that version 1.0 has inside the layers (1.0/plugins/every_layer.c): what it says of
 * itself, prefixes in each of its attentions that start from a text, a training that begins at the upper layers, and LoRA
 * on a matrix of two parts that lies transposed, merged into it. Arguments: the folder of the plugins, a folder to write
 * to. */
#include "../CTests/check.h"

/* The losses of some steps, where what flows into the lowest trained layer is kept or computed again each time. */
static void train(seam_session *session, int64_t cache_bytes, double losses[4]) {
  const seam_batch batch = tiny_batch();
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  CHECK(options.optimizer == SEAM_OPTIMIZER_ADAMW && options.schedule == SEAM_SCHEDULE_CONSTANT);
  options.schedule = SEAM_SCHEDULE_LINEAR;
  options.total_steps = 100;
  options.label_smoothing = 0.1;
  options.backbone_learning_rate = 1; /* of none that is trained */
  options.learning_rate = 0.05;
  options.seam_cache_bytes = cache_bytes;
  OK(seam_session_begin_training(session, &options, &error));
  for (int i = 0; i < 4; i++) {
    seam_step step = {.struct_size = sizeof step};
    OK(seam_session_train_step(session, &batch, &step, &error));
    losses[i] = step.loss;
  }
  seam_session_end_training(session);
  CHECK(losses[3] < losses[0]);
}

/* A cartridge in one attention: it starts as the keys and values of a text there, is trained, saved and loaded. */
static void prefix_in(seam_backbone *backbone, const char *attention, const char *folder) {
  static const int32_t ids[] = {3, 5, 7}, labels[] = {4, 6, 8, 1};
  char path[1000], options[100];
  snprintf(options, sizeof options, "{\"prefix_length\": 2, \"attention\": \"%s\"}", attention);
  seam_session *session = NULL, *fresh = NULL;
  seam_adapter *adapter = NULL;
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_create(backbone, &fresh, &error));
  const seam_batch batch = tiny_batch();
  DLManagedTensorVersioned *plain = logits_of(session, &batch);
  OK(seam_session_add(session, NULL, "cartridge", OPTIONS(.options_json = options), &adapter, &error));
  DLManagedTensorVersioned *start = logits_of(session, &batch);
  seam_batch text = {.struct_size = sizeof text, .batch = 1, .source_length = 3, .target_length = 4};
  text.input_ids = ids;
  text.labels = labels;
  const seam_batch *const texts[] = {&text};
  OK(seam_session_prepare(session, NULL, adapter, texts, 1, NULL, NULL, &error));
  DLManagedTensorVersioned *prepared = logits_of(session, &batch);
  double losses[4];
  train(session, 0, losses);
  DLManagedTensorVersioned *trained = logits_of(session, &batch);
  CHECK(largest_difference(plain, start) > 1e-4f && largest_difference(start, prepared) > 1e-4f &&
        largest_difference(prepared, trained) > 1e-4f);
  OK(seam_session_save(session, NULL, path_in(path, folder, attention), NULL, NULL, &error));
  OK(seam_session_load(fresh, NULL, path, &error));
  DLManagedTensorVersioned *loaded = logits_of(fresh, &batch);
  CHECK(same_bits(trained, loaded));
  give_back(plain);
  give_back(start);
  give_back(prepared);
  give_back(trained);
  give_back(loaded);
  seam_adapter_release(adapter);
  seam_session_release(fresh);
  seam_session_release(session);
}

/* LoRA in the last layer of one stack trains the same with and without what is kept of the layers before it. */
static void low_rank_in(seam_backbone *backbone, const char *choice) {
  double kept[4], again[4];
  seam_session *session = NULL;
  seam_adapter *adapter = NULL;
  for (int pass = 0; pass < 2; pass++) {
    OK(seam_session_create(backbone, &session, &error));
    OK(seam_session_add(session, NULL, "lora", OPTIONS(.options_json = choice, .seed = 5), &adapter, &error));
    train(session, pass == 0 ? 1 << 20 : 0, pass == 0 ? kept : again);
    if (pass == 0) seam_adapter_release(adapter);
    if (pass == 0) seam_session_release(session);
  }
  for (int i = 0; i < 4; i++) CHECK(fabs(kept[i] - again[i]) <= 1e-5 * fabs(again[i]));

  const seam_batch batch = tiny_batch();
  DLManagedTensorVersioned *beside = logits_of(session, &batch);
  OK(seam_session_merge(session, adapter, &error));
  DLManagedTensorVersioned *merged = logits_of(session, &batch);
  OK(seam_session_unmerge(session, adapter, &error));
  DLManagedTensorVersioned *after = logits_of(session, &batch);
  CHECK(largest_difference(beside, merged) < 1e-5f && same_bits(beside, after));
  OK(seam_session_detach(session, NULL, adapter, &error));
  DLManagedTensorVersioned *plain = logits_of(session, &batch);
  CHECK(largest_difference(plain, beside) > 1e-4f);
  give_back(beside);
  give_back(merged);
  give_back(after);
  give_back(plain);
  seam_adapter_release(adapter);
  seam_session_release(session);
}

/* The adapter that reads all that there is at a projection, with a bias and without one, transposed and not. */
static void projections(seam_backbone *backbone) {
  double losses[4];
  seam_session *session = NULL;
  seam_adapter *adapter = NULL;
  OK(seam_session_create(backbone, &session, &error));
  const seam_batch batch = tiny_batch();
  DLManagedTensorVersioned *plain = logits_of(session, &batch);
  OK(seam_session_add(session, NULL, "every-projection",
                      OPTIONS(.options_json = "{\"targets\": [\"kv\", \"cross_o\"]}"), &adapter, &error));
  DLManagedTensorVersioned *start = logits_of(session, &batch);
  train(session, -1, losses);
  DLManagedTensorVersioned *trained = logits_of(session, &batch);
  CHECK(largest_difference(plain, start) == 0 && largest_difference(start, trained) > 1e-4f);
  CHECK(seam_adapter_parameter_count(adapter) == 4);
  give_back(plain);
  give_back(start);
  give_back(trained);
  seam_adapter_release(adapter);
  seam_session_release(session);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  static const char *const plugins[] = {"libEveryLayer.so", "libCartridge.so", "libLoRA.so", "libScaleShift.so"};
  char path[1000];
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  for (size_t i = 0; i < sizeof plugins / sizeof plugins[0]; i++)
    OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], plugins[i]), &error));
  OK(seam_backbone_open(runtime, "every-layer", NULL, NULL, &backbone, &error));

  seam_backbone_info info = {.struct_size = sizeof info};
  OK(seam_backbone_get_info(backbone, &info, &error));
  CHECK(info.source_vocab_size == VOCABULARY - 1 && info.bos_token_id == 3 && info.mask_token_id == 4);
  CHECK(info.encodes_layer_ranges == 1 && info.decodes_layer_ranges == 1 && info.points[1]->is_transposed == 1);
  CHECK(info.points[1]->part_count == 2 && strcmp(info.points[1]->part_names[1], "v") == 0);
  CHECK(info.points[1]->part_widths[1] == WIDTH && info.prefix_layers[2] == 2);

  projections(backbone);
  prefix_in(backbone, "encoder", argv[2]);
  prefix_in(backbone, "decoder", argv[2]);
  prefix_in(backbone, "cross", argv[2]);
  low_rank_in(backbone, "{\"r\": 2, \"targets\": [\"kv\"], \"stack\": \"encoder\", \"layers\": [1]}");
  low_rank_in(backbone, "{\"r\": 2, \"targets\": [\"k\", \"cross_o\"], \"stack\": \"decoder\", \"layers\": [1]}");

  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("every_layer");
}
