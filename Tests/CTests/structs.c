/* Structs of another version than the library, and arrays with too little room: shorter ones are refused, of longer
 * ones what is known is read, and nothing is written beyond what the caller has.
 * Arguments: the folder of the plugins, a folder with the tokenizer of Tests/Fixtures/tokenizer. */
#include "check.h"

enum { CLASSES = 2, EXAMPLES = 4, LATER = 24, GARBAGE = 0xA5 };

/* A struct of a later version: what is known, and members that the library has never heard of. */
#define LATER_OF(type)          \
  struct {                      \
    type known;                 \
    unsigned char later[LATER]; \
  }
#define FILL_LATER(value)                                \
  do {                                                   \
    memset((value).later, GARBAGE, sizeof(value).later); \
    (value).known.struct_size = (uint32_t)sizeof(value); \
  } while (0)
#define CHECK_LATER(value)                                                             \
  do {                                                                                 \
    CHECK((value).known.struct_size == sizeof(value));                                 \
    for (size_t byte = 0; byte < LATER; byte++) CHECK((value).later[byte] == GARBAGE); \
  } while (0)

/* A copy in memory of its own, which ends where the struct does, so that valgrind sees who reads on. The struct_size is
 * the last that version 1.0 does not accept. */
#define TOO_SHORT(name, value, least)               \
  char *name##_memory = malloc((least) - 4);        \
  memcpy(name##_memory, &(value), (least) - 4);     \
  *(uint32_t *)(void *)name##_memory = (least) - 4; \
  void *name = name##_memory

static seam_adapter *make_adapter(seam_backbone *backbone, const char *id, int64_t classes) {
  seam_adapter *made = NULL;
  OK(seam_adapter_create(backbone, id, OPTIONS(.classes = classes), &made, &error));
  return made;
}

/* ---- Structs that are read */

static void adapter_options(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_adapter *adapter = NULL;
  seam_session *session = NULL;
  OK(seam_session_create(backbone, &session, &error));
  seam_adapter_options zero = {.struct_size = sizeof zero};
  TOO_SHORT(brief, zero, SEAM_ADAPTER_OPTIONS_SIZE_1_0);
  FAILS(seam_adapter_create(backbone, "repcali", brief, &adapter, &error), SEAM_INVALID_ARGUMENT,
        "struct_size of argument options must be at least 96, found 92");
  FAILS(seam_session_add(session, NULL, "repcali", brief, &adapter, &error), SEAM_INVALID_ARGUMENT,
        "struct_size of argument options must be at least 96, found 92");
  free(brief);
  zero.struct_size = 0;
  FAILS(seam_adapter_create(backbone, "repcali", &zero, &adapter, &error), SEAM_INVALID_ARGUMENT, "found 0");
  CHECK(adapter == NULL && seam_session_adapter_count(session, NULL) == 0);

  LATER_OF(seam_adapter_options) wide = {.known = {.options_json = "{\"lambda\": 2.5}"}};
  FILL_LATER(wide);
  OK(seam_adapter_create(backbone, "repcali", &wide.known, &adapter, &error));
  seam_value value;
  OK(seam_adapter_call(adapter, "lambda", NULL, 0, &value, &error));
  CHECK(value.number == 2.5);
  seam_adapter_release(adapter);
  adapter = NULL;
  OK(seam_session_add(session, NULL, "repcali", &wide.known, &adapter, &error));
  CHECK(seam_session_adapter_count(session, NULL) == 1);
  CHECK_LATER(wide);
  seam_adapter_release(adapter);
  seam_session_release(session);

  adapter = NULL;
  FAILS(seam_adapter_create(backbone, "repcali", OPTIONS(.train_backbone = 2), &adapter, &error), SEAM_INVALID_ARGUMENT,
        "train_backbone must be 0 or 1, found 2");
  FAILS(seam_adapter_create(backbone, "repcali", OPTIONS(.score_kind = 5), &adapter, &error), SEAM_INVALID_ARGUMENT,
        "score_kind must be 0 ... 4, found 5");
  FAILS(seam_adapter_create(backbone, "repcali", OPTIONS(.seam = "\xff"), &adapter, &error), SEAM_INVALID_ARGUMENT,
        "argument options.seam is not valid UTF-8");
  FAILS(seam_adapter_create(backbone, "repcali", OPTIONS(.options_json = "{lambda"), &adapter, &error), SEAM_FORMAT,
        "argument options.options_json");
  CHECK(adapter == NULL);
}

static void sessions(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_session *session = NULL;
  seam_adapter *adapter = make_adapter(backbone, "repcali", 0);
  seam_sequences *sequences = NULL;
  DLManagedTensorVersioned *logits = NULL;
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_attach(session, NULL, adapter, -1, &error));

  seam_batch batch = tiny_batch();
  TOO_SHORT(brief_batch, batch, SEAM_BATCH_SIZE_1_0);
  FAILS(seam_session_forward(session, brief_batch, &logits, NULL, &error), SEAM_INVALID_ARGUMENT,
        "struct_size of argument batch must be at least 96, found 92");
  free(brief_batch);
  LATER_OF(seam_batch) wide = {.known = batch};
  FILL_LATER(wide);
  DLManagedTensorVersioned *expected = logits_of(session, &batch);
  logits = logits_of(session, &wide.known);
  CHECK(same_bits(expected, logits));
  give_back(expected);
  give_back(logits);

  LATER_OF(seam_generate_options) generate = {.known = {.ignore_generation_config = 1}};
  FILL_LATER(generate);
  OK(seam_generate_options_init(backbone, &generate.known, &error));
  CHECK_LATER(generate);
  generate.known.max_new_tokens = 2;
  OK(seam_session_generate(session, &wide.known, &generate.known, NULL, NULL, &sequences, &error));
  seam_sequences_release(sequences);
  sequences = NULL;
  TOO_SHORT(brief_generate, generate, SEAM_GENERATE_OPTIONS_SIZE_1_0);
  FAILS(seam_session_generate(session, &batch, brief_generate, NULL, NULL, &sequences, &error), SEAM_INVALID_ARGUMENT,
        "struct_size of argument options must be at least 112, found 108");
  FAILS(seam_generate_options_init(backbone, brief_generate, &error), SEAM_INVALID_ARGUMENT, "found 108");
  free(brief_generate);
  CHECK(sequences == NULL);

  LATER_OF(seam_train_options) train = {.known = {0}};
  LATER_OF(seam_step) step = {.known = {0}};
  FILL_LATER(train);
  FILL_LATER(step);
  OK(seam_train_options_init(&train.known, &error));
  CHECK_LATER(train);
  CHECK(train.known.learning_rate == 1e-3);
  TOO_SHORT(brief_train, train, SEAM_TRAIN_OPTIONS_SIZE_1_0);
  FAILS(seam_session_begin_training(session, brief_train, &error), SEAM_INVALID_ARGUMENT, "at least 136, found 132");
  free(brief_train);
  OK(seam_session_begin_training(session, &train.known, &error));
  TOO_SHORT(brief_step, step, SEAM_STEP_SIZE_1_0);
  FAILS(seam_session_train_step(session, &batch, brief_step, &error), SEAM_INVALID_ARGUMENT,
        "struct_size of argument out must be at least 40, found 36");
  free(brief_step);
  OK(seam_session_train_step(session, &batch, &step.known, &error));
  CHECK(step.known.step == 1 && step.known.learning_rate == 1e-3);
  CHECK_LATER(step);
  seam_session_release(session);
  seam_adapter_release(adapter);
}

/* ---- Structs that are filled: one that is shorter than version 1.0's is refused and left alone */

static void filled_structs(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_train_options train, untouched;
  memset(&train, GARBAGE, sizeof train);
  untouched = train;
  for (uint32_t size = 0; size < SEAM_TRAIN_OPTIONS_SIZE_1_0; size += 4) {
    train.struct_size = untouched.struct_size = size;
    FAILS(seam_train_options_init(&train, &error), SEAM_INVALID_ARGUMENT, "struct_size of argument options must be");
    CHECK(memcmp(&train, &untouched, sizeof train) == 0);
  }
  seam_fit_options fit;
  memset(&fit, GARBAGE, sizeof fit);
  fit.struct_size = SEAM_FIT_OPTIONS_SIZE_1_0 - 4;
  FAILS(seam_fit_options_init(&fit, &error), SEAM_INVALID_ARGUMENT, "struct_size of argument options must be");
  CHECK(((unsigned char *)&fit.prepare)[0] == GARBAGE);

  LATER_OF(seam_backbone_info) info;
  FILL_LATER(info);
  TOO_SHORT(brief, info, SEAM_BACKBONE_INFO_SIZE_1_0);
  FAILS(seam_backbone_get_info(backbone, brief, &error), SEAM_INVALID_ARGUMENT, "struct_size of argument out must be");
  free(brief);
  OK(seam_backbone_get_info(backbone, &info.known, &error));
  CHECK_LATER(info);
  CHECK(info.known.d_model == WIDTH && info.known.point_count == 0);
}

static void plugin_info(seam_runtime *runtime) {
  ERROR_SLOT;
  LATER_OF(seam_plugin_info) info;
  FILL_LATER(info);
  OK(seam_runtime_get_plugin(runtime, 0, &info.known, &error));
  CHECK_LATER(info);
  CHECK(strcmp(info.known.id, "org.seamkit.repcali") == 0);
  TOO_SHORT(brief, info, SEAM_PLUGIN_INFO_SIZE_1_0);
  FAILS(seam_runtime_get_plugin(runtime, 0, brief, &error), SEAM_INVALID_ARGUMENT,
        "struct_size of argument out must be at least 56, found 52");
  free(brief);
}

/* ---- Arrays */

static int32_t never(void *user, const seam_progress *progress) {
  (void)user, (void)progress;
  CHECK(!"called before the room was checked");
  return 1;
}

static void features(seam_backbone *backbone) {
  ERROR_SLOT;
  static const float scores[EXAMPLES * CLASSES] = {3, 1, 2, 1, 4, 3, 1, 2}, hidden[EXAMPLES * WIDTH] = {0};
  static const int32_t labels[EXAMPLES] = {0, 1, 0, 1};
  float found[EXAMPLES * CLASSES];
  double losses[3];
  seam_adapter *adapter = make_adapter(backbone, "test-calibration", CLASSES);
  LATER_OF(seam_fit_options) options;
  FILL_LATER(options);
  OK(seam_fit_options_init(&options.known, &error));
  CHECK_LATER(options);
  options.known.prepare = 2;
  FAILS(seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, &options.known, NULL, NULL, NULL, 0, &error),
        SEAM_INVALID_ARGUMENT, "prepare must be 0 or 1, found 2");
  options.known.prepare = 1;
  options.known.epochs = 3;
  FAILS(
      seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, &options.known, never, NULL, losses, 2, &error),
      SEAM_INVALID_ARGUMENT, "argument loss_capacity must be at least 3, for the losses of 3 epochs, found 2");
  FAILS(seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, NULL, never, NULL, losses, 3, &error),
        SEAM_INVALID_ARGUMENT, "argument loss_capacity must be at least 30");
  OK(seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, &options.known, NULL, NULL, losses, 3, &error));
  OK(seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, &options.known, NULL, NULL, NULL, 0, &error));
  TOO_SHORT(brief, options, SEAM_FIT_OPTIONS_SIZE_1_0);
  FAILS(seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, brief, never, NULL, losses, 3, &error),
        SEAM_INVALID_ARGUMENT, "at least 64, found 60");
  free(brief);
  FAILS(seam_adapter_classify(adapter, scores, hidden, EXAMPLES, found, EXAMPLES * CLASSES - 1, &error),
        SEAM_INVALID_ARGUMENT, "argument capacity must be at least 8, for 2 scores of each of 4 examples, found 7");
  FAILS(seam_adapter_classify(adapter, scores, hidden, EXAMPLES, found, SIZE_MAX, &error), SEAM_INVALID_ARGUMENT,
        "argument capacity must be at most");
  OK(seam_adapter_classify(adapter, scores, hidden, EXAMPLES, found, EXAMPLES * CLASSES, &error));
  OK(seam_adapter_classify(adapter, scores, hidden, EXAMPLES - 1, found, EXAMPLES * CLASSES, &error));
  seam_adapter_release(adapter);
}

static void session_arrays(seam_backbone *opaque, seam_backbone *attention) {
  ERROR_SLOT;
  seam_session *session = NULL;
  seam_batch batch = tiny_batch();
  seam_score scores[BATCH];
  float found[BATCH * CLASSES];
  OK(seam_session_create(opaque, &session, &error));
  FAILS(seam_session_score(session, &batch, scores, BATCH - 1, &error), SEAM_INVALID_ARGUMENT,
        "argument capacity must be at least 2, for the scores of 2 examples, found 1");
  OK(seam_session_score(session, &batch, scores, BATCH, &error));
  seam_session_release(session);

  OK(seam_session_create(attention, &session, &error));
  OK(seam_session_add(session, NULL, "linear-head", OPTIONS(.classes = CLASSES), NULL, &error));
  batch.target_length = 0;
  FAILS(seam_session_classify(session, &batch, found, BATCH * CLASSES - 1, &error), SEAM_INVALID_ARGUMENT,
        "argument capacity must be at least 4, for 2 scores of each of 2 texts, found 3");
  OK(seam_session_classify(session, &batch, found, BATCH * CLASSES, &error));
  seam_session_release(session);
}

static void texts(seam_backbone *backbone, seam_tokenizer *tokenizer) {
  ERROR_SLOT;
  static const char *const given[EXAMPLES] = {"hello", "world world", "hello world", "world"};
  static const int32_t labels[EXAMPLES] = {0, 1, 0, 1};
  float found[EXAMPLES * CLASSES];
  double losses[30];
  seam_classifier *classifier = NULL;
  seam_adapter *adapter = make_adapter(backbone, "test-calibration", CLASSES);
  OK(seam_classifier_create(backbone, tokenizer,
                            "{\"template\": \"{text} [MASK]\", \"labels\": {\"no\": \"hello\", \"yes\": \"world\"}}",
                            NULL, &classifier, &error));
  OK(seam_classifier_attach(classifier, adapter, &error));
  FAILS(seam_classifier_fit(classifier, given, NULL, labels, EXAMPLES, NULL, never, NULL, losses, 29, &error),
        SEAM_INVALID_ARGUMENT, "argument loss_capacity must be at least 30, for the losses of 30 epochs, found 29");
  FAILS(seam_classifier_predict(classifier, given, NULL, EXAMPLES, never, NULL, found, EXAMPLES * CLASSES - 1, &error),
        SEAM_INVALID_ARGUMENT, "argument capacity must be at least 8, for 2 scores of each of 4 texts, found 7");
  CHECK(seam_classifier_query_count(classifier) == 0);
  seam_classifier_release(classifier);
  seam_adapter_release(adapter);
}

static void query_arrays(seam_backbone *backbone) {
  ERROR_SLOT;
  enum { FEATURES = 2 };
  static const char *const prompts[EXAMPLES] = {"a", "b", "c", "d"}, *const answers[CLASSES] = {" yes", " no"};
  float scores[EXAMPLES * CLASSES], hidden[EXAMPLES * FEATURES];
  size_t answered = 7;
  FAILS(seam_backbone_query(backbone, prompts, EXAMPLES, answers, CLASSES, never, NULL, scores, EXAMPLES * CLASSES - 1,
                            NULL, 0, &answered, NULL, &error),
        SEAM_INVALID_ARGUMENT,
        "argument score_capacity must be at least 8, for 2 scores of each of 4 prompts, found 7");
  FAILS(seam_backbone_query(backbone, prompts, EXAMPLES, answers, CLASSES, never, NULL, scores, EXAMPLES * CLASSES,
                            hidden, EXAMPLES * FEATURES - 1, &answered, NULL, &error),
        SEAM_INVALID_ARGUMENT,
        "argument hidden_capacity must be at least 8, for 2 numbers of each of 4 prompts, found 7");
  CHECK(answered == 0);
  OK(seam_backbone_query(backbone, prompts, EXAMPLES, answers, CLASSES, NULL, NULL, scores, EXAMPLES * CLASSES, hidden,
                         EXAMPLES * FEATURES, &answered, NULL, &error));
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  static const char *const plugins[] = {"libCalibration.so", "libLinearHead.so", "libTinyAttention.so",
                                        "libTinyText.so"};
  char path[1000];
  seam_runtime *runtime = make_runtime(argv[1]);
  for (size_t i = 0; i < sizeof plugins / sizeof plugins[0]; i++)
    OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], plugins[i]), &error));
  seam_backbone *opaque = open_tiny(runtime), *attention = NULL, *text = NULL;
  seam_tokenizer *tokenizer = NULL;
  OK(seam_backbone_open(runtime, "tiny-attention", NULL, NULL, &attention, &error));
  OK(seam_backbone_open(runtime, "tiny-text", NULL, NULL, &text, &error));
  OK(seam_tokenizer_open(argv[2], &tokenizer, &error));
  adapter_options(opaque);
  sessions(opaque);
  filled_structs(opaque);
  plugin_info(runtime);
  features(opaque);
  session_arrays(opaque, attention);
  texts(opaque, tokenizer);
  query_arrays(text);
  seam_tokenizer_release(tokenizer);
  seam_backbone_release(text);
  seam_backbone_release(attention);
  seam_backbone_release(opaque);
  seam_runtime_release(runtime);
  return finish("structs");
}
