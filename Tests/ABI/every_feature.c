/* The plugin that uses everything of version 1.0 (1.0/plugins/every_feature.c): each operation gives what it should,
 * and an adapter is made, called, trained, folded, saved and loaded, as is one that puts vectors before a text. Arguments:
 * the folder of the plugins, a folder to write to. */
#include "../CTests/check.h"

static const char *const id = "every-feature";

static void methods(seam_adapter *adapter) {
  ERROR_SLOT;
  seam_value result = {0};
  OK(seam_adapter_call(adapter, "check", NULL, 0, &result, &error));
  CHECK(result.kind == SEAM_VALUE_INT && result.integer > 60);
  const seam_value numbers[] = {{.kind = SEAM_VALUE_INT, .integer = 3}, {.kind = SEAM_VALUE_DOUBLE, .number = 0.5}};
  OK(seam_adapter_call(adapter, "weigh", numbers, 2, &result, &error));
  CHECK(result.kind == SEAM_VALUE_DOUBLE && result.number == 3 * 0.5 + 0.25);
  const seam_value empty = {.kind = SEAM_VALUE_STRING, .string = ""};
  OK(seam_adapter_call(adapter, "kind", &empty, 1, &result, &error));
  CHECK(result.kind == SEAM_VALUE_STRING && strcmp(result.string, "found") == 0);
  seam_string_release(result.string);
  OK(seam_adapter_call(adapter, "total", NULL, 0, &result, &error));
  CHECK(result.kind == SEAM_VALUE_TENSOR && count_of(result.tensor) == WIDTH);
  const seam_value tensor = {.kind = SEAM_VALUE_TENSOR, .tensor = result.tensor};
  const float before = data_of(result.tensor)[0];
  OK(seam_adapter_call(adapter, "twice", &tensor, 1, &result, &error));
  CHECK(result.kind == SEAM_VALUE_TENSOR && data_of(result.tensor)[0] == 2 * before);
  give_back(result.tensor);
  FAILS(seam_adapter_call(adapter, "refuse", NULL, 0, NULL, &error), SEAM_CANCELLED, "refused");
}

static DLManagedTensorVersioned *logits_with(seam_backbone *backbone, seam_adapter *adapter) {
  seam_session *session = NULL;
  OK(seam_session_create(backbone, &session, &error));
  if (adapter != NULL) OK(seam_session_attach(session, NULL, adapter, -1, &error));
  const seam_batch batch = tiny_batch();
  DLManagedTensorVersioned *logits = logits_of(session, &batch);
  seam_session_release(session);
  return logits;
}

static void train(seam_session *session, const seam_batch *batch) {
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  OK(seam_session_begin_training(session, &options, &error));
  seam_step step = {.struct_size = sizeof step};
  double first = 0;
  for (int i = 0; i < 20; i++) {
    OK(seam_session_train_step(session, batch, &step, &error));
    if (i == 0) first = step.loss;
  }
  CHECK(step.loss < first);
  seam_session_end_training(session);
}

static void train_attached(seam_backbone *backbone, seam_adapter *adapter) {
  seam_session *session = NULL;
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_attach(session, NULL, adapter, -1, &error));
  const seam_batch batch = tiny_batch();
  train(session, &batch);
  seam_session_release(session);
}

/* The adapter on embedded tokens, in a backbone that has such a point. */
static void vectors_before_a_text(seam_runtime *runtime, const char *plugins, const char *folder) {
  char path[1000];
  seam_backbone *backbone = NULL;
  seam_session *session = NULL, *fresh = NULL;
  seam_adapter *adapter = NULL;
  OK(seam_runtime_load_plugin(runtime, path_in(path, plugins, "libTinyPoints.so"), &error));
  OK(seam_backbone_open(runtime, "tiny-points", NULL, NULL, &backbone, &error));
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_create(backbone, &fresh, &error));
  seam_batch batch = tiny_texts();
  DLManagedTensorVersioned *plain = logits_of(session, &batch);
  OK(seam_session_add(session, NULL, "every-feature-prompt", NULL, &adapter, &error));
  DLManagedTensorVersioned *start = logits_of(session, &batch), *vectors = NULL;
  const seam_batch *const examples[] = {&batch};
  OK(seam_session_prepare(session, NULL, adapter, examples, 1, NULL, NULL, &error));
  DLManagedTensorVersioned *prepared = logits_of(session, &batch);
  CHECK(largest_difference(start, prepared) > 1e-3f);
  OK(seam_adapter_parameter(adapter, 0, NULL, &vectors, &error));
  CHECK(count_of(vectors) == 2 * WIDTH);
  give_back(vectors);
  give_back(prepared);
  static const int32_t labels[BATCH * SOURCE] = {1, 2, 3, 4, 5, -100};
  seam_batch labelled = batch;
  labelled.target_length = SOURCE;
  labelled.labels = labels;
  train(session, &labelled);
  DLManagedTensorVersioned *trained = logits_of(session, &batch);
  /* Of the text's own tokens: the shapes are those without vectors. */
  CHECK(count_of(plain) == count_of(start) && largest_difference(plain, start) > 1e-3f &&
        largest_difference(start, trained) > 1e-3f);
  OK(seam_session_save(session, NULL, path_in(path, folder, "every_feature_prompt"), NULL, NULL, &error));
  OK(seam_session_load(fresh, NULL, path, &error));
  DLManagedTensorVersioned *loaded = logits_of(fresh, &batch);
  CHECK(same_bits(trained, loaded));
  give_back(plain);
  give_back(start);
  give_back(trained);
  give_back(loaded);
  seam_adapter_release(adapter);
  seam_session_release(fresh);
  seam_session_release(session);
  seam_backbone_release(backbone);
}

/* An adapter that reads the answers to two prompts about each text: its scores, its start, its training, its folder. */
static void prompts(seam_backbone *backbone, const char *folder) {
  enum { TEXTS = 2, PROMPTS = 2, CLASSES = 2 };
  static const float scores[TEXTS * PROMPTS * CLASSES] = {1, 2, 5, 4, -1, 0, 3, 1};
  static const float hidden[TEXTS * PROMPTS * WIDTH];
  static const int32_t labels[TEXTS] = {1, 0};
  static const float empty_scores[PROMPTS * CLASSES] = {1, 3, -2, 0};
  char path[1000];
  float found[TEXTS * CLASSES];
  double losses[10];
  seam_adapter *adapter = NULL, *loaded = NULL;
  DLManagedTensorVersioned *weights = NULL;
  OK(seam_adapter_create(backbone, "every-prompt", OPTIONS(.classes = CLASSES, .prompts = PROMPTS), &adapter, &error));
  OK(seam_adapter_classify(adapter, scores, hidden, TEXTS, found, TEXTS * CLASSES, &error));
  /* Both prompts count the same. */
  const float means[] = {3, 3, 1, 0.5f};
  for (int i = 0; i < TEXTS * CLASSES; i++) CHECK(fabsf(found[i] - means[i]) < 1e-6f);
  seam_fit_options options = {.struct_size = sizeof options};
  OK(seam_fit_options_init(&options, &error));
  options.epochs = 1;
  options.learning_rate = 0;
  OK(seam_adapter_fit(adapter, scores, hidden, labels, empty_scores, TEXTS, &options, NULL, NULL, losses, 10, &error));
  OK(seam_adapter_parameter(adapter, 0, NULL, &weights, &error));
  CHECK(count_of(weights) == PROMPTS && data_of(weights)[0] == 2 && data_of(weights)[1] == -1);
  give_back(weights);
  options.epochs = 10;
  options.learning_rate = 0.1;
  OK(seam_adapter_fit(adapter, scores, hidden, labels, NULL, TEXTS, &options, NULL, NULL, losses, 10, &error));
  CHECK(losses[9] < losses[0]);
  OK(seam_adapter_save(adapter, path_in(path, folder, "every_prompt"), NULL, NULL, &error));
  OK(seam_adapter_load(backbone, path, &loaded, &error));
  float again[TEXTS * CLASSES];
  OK(seam_adapter_classify(adapter, scores, hidden, TEXTS, found, TEXTS * CLASSES, &error));
  OK(seam_adapter_classify(loaded, scores, hidden, TEXTS, again, TEXTS * CLASSES, &error));
  CHECK(memcmp(found, again, sizeof found) == 0);
  seam_adapter_release(loaded);
  seam_adapter_release(adapter);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  char path[1000];
  seam_runtime *runtime = make_runtime(argv[1]);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libEveryFeature.so"), &error));
  seam_backbone *backbone = open_tiny(runtime);
  seam_adapter_options options = {.struct_size = sizeof options, .options_json = "{\"flag\": true, \"rate\": 0.25}"};
  seam_adapter *adapter = NULL, *folded = NULL, *loaded = NULL;
  OK(seam_adapter_create(backbone, id, &options, &adapter, &error));
  CHECK(seam_adapter_parameter_count(adapter) == 9);
  methods(adapter);
  DLManagedTensorVersioned *bare = logits_with(backbone, NULL), *start = logits_with(backbone, adapter);
  train_attached(backbone, adapter);
  DLManagedTensorVersioned *trained = logits_with(backbone, adapter);
  CHECK(largest_difference(bare, start) > 1e-3f && largest_difference(start, trained) > 1e-3f);

  OK(seam_adapter_fold(adapter, &folded, &error));
  CHECK(seam_adapter_parameter_count(folded) == 1);
  DLManagedTensorVersioned *after = logits_with(backbone, folded);
  CHECK(largest_difference(trained, after) < 1e-5f);
  give_back(after);

  OK(seam_adapter_save(adapter, path_in(path, argv[2], "every_feature"), NULL, NULL, &error));
  OK(seam_adapter_load(backbone, path, &loaded, &error));
  after = logits_with(backbone, loaded);
  CHECK(same_bits(trained, after));
  give_back(after);

  const void *table = NULL;
  OK(seam_runtime_get_extension(runtime, "org.seamkit.test.every-feature", "org.seamkit.test.every-feature/1", &table,
                                &error));
  CHECK(table != NULL && ((const uint32_t *)table)[1] == 42);

  vectors_before_a_text(runtime, argv[1], argv[2]);
  prompts(backbone, argv[2]);

  give_back(bare);
  give_back(start);
  give_back(trained);
  seam_adapter_release(loaded);
  seam_adapter_release(folded);
  seam_adapter_release(adapter);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("every_feature");
}
