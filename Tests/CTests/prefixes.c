/* A prefix, a gate on its tokens and the head of a classification, trained together through C: composition, folding,
 * saving and loading, and what is refused. Arguments: the folder of the plugins, a folder to write to. */
#include "check.h"

enum { EXAMPLES = 4, LENGTH = 3, CLASSES = 2 };

static seam_batch labelled_texts(void) {
  static const int32_t ids[EXAMPLES * LENGTH] = {1, 2, 3, 4, 5, 0, 6, 7, 8, 9, 10, 0};
  static const int32_t mask[EXAMPLES * LENGTH] = {1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0};
  static const int32_t classes[EXAMPLES] = {0, 1, 0, 1};
  seam_batch batch = {.struct_size = sizeof batch, .batch = EXAMPLES, .source_length = LENGTH};
  batch.input_ids = ids;
  batch.attention_mask = mask;
  batch.classes = classes;
  return batch;
}

static void scores_of(seam_session *session, float scores[EXAMPLES * CLASSES]) {
  seam_batch batch = labelled_texts();
  OK(seam_session_classify(session, &batch, scores, EXAMPLES * CLASSES, &error));
}

static void check_near(const float *a, const float *b, float tolerance) {
  for (int i = 0; i < EXAMPLES * CLASSES; i++) CHECK(fabsf(a[i] - b[i]) <= tolerance);
}

/* What cannot be attached is refused before anything is computed, and leaves the session as it was. */
static void check_refusals(seam_backbone *backbone) {
  seam_session *session = NULL;
  seam_adapter *prefix = NULL, *gate = NULL, *other = NULL;
  OK(seam_session_create(backbone, &session, &error));
  ERROR_SLOT;
  FAILS(seam_session_add(session, NULL, "gate", NULL, &gate, &error), SEAM_INVALID_ARGUMENT, "prefix");
  FAILS(seam_session_add(session, NULL, "residual-prefix", OPTIONS(.options_json = "{\"prefix_length\": 5}"), &prefix,
                         &error),
        SEAM_INVALID_ARGUMENT, "5");
  FAILS(seam_session_add(session, NULL, "linear-head", OPTIONS(.classes = 1), &other, &error), SEAM_INVALID_ARGUMENT,
        "2 classes");
  CHECK(prefix == NULL && gate == NULL && other == NULL);

  OK(seam_session_add(session, NULL, "residual-prefix", OPTIONS(.options_json = "{\"prefix_length\": 3}"), &prefix,
                      &error));
  OK(seam_session_add(session, NULL, "gate", NULL, &gate, &error));
  FAILS(seam_session_detach(session, NULL, prefix, &error), SEAM_INVALID_ARGUMENT, "gate");
  FAILS(
      seam_session_add(session, NULL, "prefix-tuning", OPTIONS(.options_json = "{\"prefix_length\": 1}"), NULL, &error),
      SEAM_INCOMPATIBLE, "3 tokens, the one attached has 4 tokens");
  OK(seam_session_detach(session, NULL, gate, &error));
  OK(seam_session_detach(session, NULL, prefix, &error));

  OK(seam_session_add(session, NULL, "residual-prefix", OPTIONS(.options_json = "{\"prefix_length\": 2}"), &other,
                      &error));
  FAILS(seam_session_attach(session, NULL, gate, -1, &error), SEAM_INCOMPATIBLE,
        "3 tokens, the one attached has 2 tokens");

  seam_batch batch = labelled_texts();
  float scores[EXAMPLES * CLASSES];
  FAILS(seam_session_classify(session, &batch, scores, EXAMPLES * CLASSES, &error), SEAM_INVALID_ARGUMENT,
        "none is attached");
  batch.target_length = LENGTH;
  FAILS(seam_session_classify(session, &batch, scores, EXAMPLES * CLASSES, &error), SEAM_INVALID_ARGUMENT,
        "target_length");
  seam_adapter_release(other);
  seam_adapter_release(gate);
  seam_adapter_release(prefix);
  seam_session_release(session);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *const plugins[] = {"libResidualPrefix.so", "libPrefixTuning.so", "libGate.so", "libLinearHead.so",
                                 "libTinyAttention.so"};
  char path[1000];
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_session *session = NULL, *loaded = NULL;
  seam_adapter *prefix = NULL, *gate = NULL, *head = NULL, *folded = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  for (size_t i = 0; i < sizeof plugins / sizeof plugins[0]; i++)
    OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], plugins[i]), &error));
  OK(seam_backbone_open(runtime, "tiny-attention", NULL, NULL, &backbone, &error));
  check_refusals(backbone);

  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_add(session, NULL, "linear-head", OPTIONS(.classes = CLASSES), &head, &error));
  float trained[EXAMPLES * CLASSES], again[EXAMPLES * CLASSES];
  OK(seam_session_add(session, NULL, "residual-prefix",
                      OPTIONS(.options_json = "{\"prefix_length\": 3, \"mlp_hidden_size\": 4}"), &prefix, &error));
  OK(seam_session_add(session, NULL, "gate", OPTIONS(.options_json = "{\"scope\": \"token-layer\"}"), &gate, &error));

  seam_batch batch = labelled_texts();
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  options.learning_rate = 0.05;
  OK(seam_adapter_set_learning_rate(gate, 0.2, &error));
  OK(seam_session_begin_training(session, &options, &error));
  double first = 0, last = 0;
  for (int i = 0; i < 30; i++) {
    seam_step step = {.struct_size = sizeof step};
    OK(seam_session_train_step(session, &batch, &step, &error));
    if (i == 0) first = step.loss;
    last = step.loss;
  }
  seam_session_end_training(session);
  CHECK(last < 0.5 * first);
  scores_of(session, trained);
  seam_score scores[EXAMPLES];
  OK(seam_session_score(session, &batch, scores, EXAMPLES, &error));
  for (int i = 0; i < EXAMPLES; i++) CHECK(scores[i].token_count == 1 && scores[i].correct_count == 1);

  seam_value weights;
  OK(seam_adapter_call(gate, "weights", NULL, 0, &weights, &error));
  CHECK(weights.kind == SEAM_VALUE_TENSOR && count_of(weights.tensor) == 3);
  int moved = 0;
  for (int i = 0; i < 3; i++) {
    const float weight = data_of(weights.tensor)[i];
    CHECK(weight > 0 && weight < 1);
    moved += fabsf(weight - 0.5f) > 0.1f;
  }
  CHECK(moved > 0);
  give_back(weights.tensor);

  /* Folded, the prefix is its numbers alone: [layers, 2, kv_heads, tokens, head_dim]. */
  OK(seam_adapter_fold(prefix, &folded, &error));
  CHECK(seam_adapter_parameter_count(folded) == 1);
  const char *name = NULL;
  DLManagedTensorVersioned *numbers = NULL;
  OK(seam_adapter_parameter(folded, 0, &name, &numbers, &error));
  CHECK(strcmp(name, "encoder.prefix") == 0 && numbers->dl_tensor.ndim == 5 && numbers->dl_tensor.shape[3] == 3);
  give_back(numbers);

  OK(seam_adapter_save(folded, path_in(path, argv[2], "prefix"), NULL, "- made by a test", &error));
  OK(seam_adapter_save(gate, path_in(path, argv[2], "gate"), NULL, NULL, &error));
  OK(seam_adapter_save(head, path_in(path, argv[2], "head"), NULL, NULL, &error));
  OK(seam_session_create(backbone, &loaded, &error));
  ERROR_SLOT;
  FAILS(seam_session_load(loaded, NULL, path_in(path, argv[2], "gate"), &error), SEAM_INVALID_ARGUMENT, "prefix");
  OK(seam_session_load(loaded, NULL, path_in(path, argv[2], "prefix"), &error));
  OK(seam_session_load(loaded, NULL, path_in(path, argv[2], "gate"), &error));
  OK(seam_session_load(loaded, NULL, path_in(path, argv[2], "head"), &error));
  scores_of(loaded, again);
  /* The same operations on the same numbers, but for the order of a sum in the network. */
  check_near(trained, again, 1e-5f);

  /* Without prefix and gate, the head alone: what the backbone gives is untouched. */
  OK(seam_session_detach(session, NULL, gate, &error));
  OK(seam_session_detach(session, NULL, prefix, &error));
  scores_of(session, again);
  int differs = 0;
  for (int i = 0; i < EXAMPLES * CLASSES; i++) differs += again[i] != trained[i];
  CHECK(differs > 0);

  seam_adapter *all[] = {prefix, gate, head, folded};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) seam_adapter_release(all[i]);
  seam_session_release(loaded);
  seam_session_release(session);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("prefixes");
}
