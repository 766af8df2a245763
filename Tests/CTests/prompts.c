/* Vectors before a text: prompt tuning on a backbone in C. Arguments: the folder of the plugins, a folder to write to. */
#include "check.h"

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  ERROR_SLOT;
  char path[1000];
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_session *session = NULL, *fresh = NULL;
  seam_adapter *adapter = NULL, *absent = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libPromptTuning.so"), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libTinyPoints.so"), &error));
  OK(seam_backbone_open(runtime, "tiny-points", NULL, NULL, &backbone, &error));
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_create(backbone, &fresh, &error));

  static const int32_t ids[BATCH * SOURCE] = {2, 3, 4, 5, 6, 0}, mask[BATCH * SOURCE] = {1, 1, 1, 1, 1, 0};
  static const int32_t labels[BATCH * SOURCE] = {3, 4, 7, 6, 9, -100};
  seam_batch batch = {.struct_size = sizeof batch, .batch = BATCH, .source_length = SOURCE};
  batch.input_ids = ids;
  batch.attention_mask = mask;
  DLManagedTensorVersioned *plain = logits_of(session, &batch);

  FAILS(seam_session_add(session, NULL, "prompt-tuning", OPTIONS(.options_json = "{\"layers\": [0]}"), &absent, &error),
        SEAM_INVALID_ARGUMENT, "choose with \"stack\"");
  CHECK(absent == NULL);
  const char *chosen = "{\"prompt_length\": 4, \"reparameterization\": \"mlp\", \"mlp_hidden_size\": 5}";
  OK(seam_session_add(session, NULL, "prompt-tuning", OPTIONS(.options_json = chosen), &adapter, &error));
  seam_batch labelled = batch;
  labelled.target_length = SOURCE;
  labelled.labels = labels;
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  options.learning_rate = 0.01;
  OK(seam_session_begin_training(session, &options, &error));
  double first = 0, last = 0;
  for (int i = 0; i < 5; i++) {
    seam_step step = {.struct_size = sizeof step};
    OK(seam_session_train_step(session, &labelled, &step, &error));
    first = i == 0 ? step.loss : first;
    last = step.loss;
  }
  CHECK(last < first);
  seam_session_end_training(session);
  DLManagedTensorVersioned *prompted = logits_of(session, &batch);
  /* Of the text's own tokens: the shapes are those without vectors. */
  CHECK(count_of(prompted) == count_of(plain) && !same_bits(plain, prompted));

  OK(seam_session_save(session, NULL, path_in(path, argv[2], "prompt"), NULL, NULL, &error));
  OK(seam_session_load(fresh, NULL, path, &error));
  DLManagedTensorVersioned *loaded = logits_of(fresh, &batch);
  CHECK(same_bits(prompted, loaded));
  OK(seam_session_detach(session, NULL, adapter, &error));
  DLManagedTensorVersioned *without = logits_of(session, &batch);
  CHECK(same_bits(plain, without));

  DLManagedTensorVersioned *all[] = {plain, prompted, loaded, without};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) give_back(all[i]);
  seam_adapter_release(adapter);
  seam_session_release(fresh);
  seam_session_release(session);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("prompts");
}
