/* The callback of what takes long: what it is told at each step, and that it stops the call there.
 * Arguments: the folder of the plugins, a folder with the tokenizer of Tests/Fixtures/tokenizer. */
#include "check.h"

enum { MOST_CALLS = 100, CLASSES = 2, EXAMPLES = 4, EPOCHS = 5, NEW_TOKENS = 6 };

/* What a callback was told, and at which call it says stop (from 1; 0: never). */
typedef struct {
  int calls, stop_at;
  seam_activity activity[MOST_CALLS];
  int64_t done[MOST_CALLS], total[MOST_CALLS];
  double loss[MOST_CALLS];
  size_t token_count[MOST_CALLS];
  int32_t tokens[MOST_CALLS][BATCH];
} record;

static int32_t watch(void *user, const seam_progress *progress) {
  record *told = user;
  CHECK(progress->struct_size >= SEAM_PROGRESS_SIZE_1_0 && told->calls < MOST_CALLS);
  const int call = told->calls++;
  told->activity[call] = progress->activity;
  told->done[call] = progress->done;
  told->total[call] = progress->total;
  told->loss[call] = progress->loss;
  told->token_count[call] = progress->token_count;
  CHECK((progress->tokens == NULL) == (progress->token_count == 0));
  for (size_t row = 0; row < progress->token_count && row < BATCH; row++)
    told->tokens[call][row] = progress->tokens[row];
  return told->calls != told->stop_at;
}

/* From `first` to `last` one activity counts from 0 to `total`, and never backwards. */
static void check_counts(const record *told, int first, int last, seam_activity activity, int64_t total) {
  CHECK(first < last && told->done[first] == 0 && told->done[last] == total);
  for (int call = first; call <= last; call++) {
    CHECK(told->activity[call] == activity && told->total[call] == total);
    CHECK(call == first || told->done[call] >= told->done[call - 1]);
    if (activity != SEAM_ACTIVITY_FIT) CHECK(isnan(told->loss[call]));
    if (activity != SEAM_ACTIVITY_GENERATE) CHECK(told->token_count[call] == 0);
  }
}

/* ---- Generation */

static seam_status generates(seam_session *session, int32_t beams, int32_t least, record *told, seam_sequences **out,
                             seam_error **error) {
  seam_batch batch = tiny_batch();
  seam_generate_options options = {.struct_size = sizeof options, .max_new_tokens = NEW_TOKENS};
  options.min_new_tokens = least;
  options.num_beams = beams;
  options.num_return_sequences = 1;
  options.length_penalty = options.temperature = options.top_p = options.repetition_penalty = 1;
  options.ignore_generation_config = 1;
  return seam_session_generate(session, &batch, &options, watch, told, out, error);
}

/* The tokens of the calls are those of the sequences, row by row, the end token with them. */
static void check_stream(const record *told, const seam_sequences *sequences) {
  for (size_t row = 0; row < BATCH; row++) {
    size_t length = 0;
    const int32_t *tokens = seam_sequences_tokens(sequences, row, 0, &length, NULL);
    for (int call = 1; call < told->calls; call++) {
      const int32_t found = told->tokens[call][row];
      CHECK(told->token_count[call] == BATCH && told->done[call] == call);
      CHECK(found == ((size_t)call <= length ? tokens[call - 1] : -1));
    }
    CHECK(told->calls > (int)length);
  }
}

static void generation(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_session *session = NULL;
  seam_sequences *sequences = NULL;
  OK(seam_session_create(backbone, &session, &error));
  record told = {0};
  OK(generates(session, 1, NEW_TOKENS, &told, &sequences, &error));
  CHECK(told.calls == NEW_TOKENS + 1 && told.token_count[0] == 0);
  check_counts(&told, 0, NEW_TOKENS, SEAM_ACTIVITY_GENERATE, NEW_TOKENS);
  check_stream(&told, sequences);
  seam_sequences_release(sequences);
  /* Rows may end before the others. */
  told = (record){0};
  OK(generates(session, 1, 0, &told, &sequences, &error));
  check_stream(&told, sequences);
  CHECK(told.total[told.calls - 1] == NEW_TOKENS);
  seam_sequences_release(sequences);

  told = (record){0};
  OK(generates(session, 3, NEW_TOKENS, &told, &sequences, &error));
  check_counts(&told, 0, told.calls - 1, SEAM_ACTIVITY_GENERATE, NEW_TOKENS);
  for (int call = 0; call < told.calls; call++) CHECK(told.token_count[call] == 0);
  seam_sequences_release(sequences);

  for (int32_t beams = 1; beams <= 3; beams += 2) {
    for (int stop = 1; stop <= NEW_TOKENS + 1; stop++) {
      told = (record){.stop_at = stop};
      sequences = NULL;
      FAILS(generates(session, beams, NEW_TOKENS, &told, &sequences, &error), SEAM_CANCELLED, "cancelled");
      CHECK(told.calls == stop && sequences == NULL);
    }
  }
  seam_session_release(session);
}

/* ---- Fitting */

static float scores[EXAMPLES * CLASSES], hidden[EXAMPLES * WIDTH];
static const int32_t labels[EXAMPLES] = {0, 1, 0, 1};

static seam_status fits(seam_adapter *adapter, record *told, double *losses, seam_error **error) {
  seam_fit_options options = {.struct_size = sizeof options};
  OK(seam_fit_options_init(&options, &error));
  options.epochs = EPOCHS;
  return seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, &options, watch, told, losses, EPOCHS,
                          error);
}

static void classes_of(seam_adapter *adapter, float *found) {
  OK(seam_adapter_classify(adapter, scores, hidden, EXAMPLES, found, EXAMPLES * CLASSES, &error));
}

static void fitting(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_adapter *adapter = NULL;
  float before[EXAMPLES * CLASSES], after[EXAMPLES * CLASSES];
  double losses[EPOCHS];
  for (int i = 0; i < EXAMPLES * CLASSES; i++) scores[i] = (float)sin(3.0 * i);
  for (int i = 0; i < EXAMPLES * WIDTH; i++) hidden[i] = (float)cos(5.0 * i + labels[i / WIDTH]);
  OK(seam_adapter_create(backbone, "dect", OPTIONS(.classes = CLASSES), &adapter, &error));
  classes_of(adapter, before);
  for (int stop = 1; stop <= EPOCHS + 1; stop++) {
    record told = {.stop_at = stop};
    FAILS(fits(adapter, &told, losses, &error), SEAM_CANCELLED, stop > 1 ? "stopped after epoch" : "before epoch 1");
    classes_of(adapter, after);
    CHECK(told.calls == stop && memcmp(before, after, sizeof before) == 0);
  }
  record told = {0};
  OK(fits(adapter, &told, losses, &error));
  CHECK(told.calls == EPOCHS + 1);
  check_counts(&told, 0, EPOCHS, SEAM_ACTIVITY_FIT, EPOCHS);
  CHECK(isnan(told.loss[0]));
  for (int epoch = 0; epoch < EPOCHS; epoch++) CHECK(told.loss[epoch + 1] == losses[epoch]);
  seam_adapter_release(adapter);

  /* Fitted by its `prepare` alone: all epochs at once. */
  OK(seam_adapter_create(backbone, "test-calibration", OPTIONS(.classes = CLASSES), &adapter, &error));
  told = (record){0};
  OK(fits(adapter, &told, losses, &error));
  CHECK(told.calls == 2 && told.loss[1] == losses[EPOCHS - 1]);
  check_counts(&told, 0, 1, SEAM_ACTIVITY_FIT, EPOCHS);
  seam_adapter_release(adapter);
}

/* ---- Classification of texts */

static const char *const texts[EXAMPLES] = {"hello", "world world", "hello world", "world"};

/* A classifier that has asked nothing yet, with an adapter. */
static seam_classifier *classifier_of(seam_backbone *backbone, seam_tokenizer *tokenizer, seam_adapter **adapter) {
  static const char *const task =
      "{\"template\": \"{text} world [MASK]\", \"labels\": {\"no\": [\"hello\"], \"yes\": [\"world\"]}}";
  seam_classifier *made = NULL;
  OK(seam_classifier_create(backbone, tokenizer, task, NULL, &made, &error));
  OK(seam_adapter_create(backbone, "dect", OPTIONS(.classes = CLASSES), adapter, &error));
  OK(seam_classifier_attach(made, *adapter, &error));
  return made;
}

static seam_status fits_texts(seam_classifier *classifier, record *told, double *losses, seam_error **error) {
  seam_fit_options options = {.struct_size = sizeof options};
  OK(seam_fit_options_init(&options, &error));
  options.epochs = EPOCHS;
  return seam_classifier_fit(classifier, texts, NULL, labels, EXAMPLES, &options, watch, told, losses, EPOCHS, error);
}

static void text_fitting(seam_backbone *backbone, seam_tokenizer *tokenizer, seam_activity asking) {
  ERROR_SLOT;
  seam_adapter *adapter = NULL;
  double losses[EPOCHS];
  record told = {0};
  seam_classifier *classifier = classifier_of(backbone, tokenizer, &adapter);
  OK(fits_texts(classifier, &told, losses, &error));
  /* The texts, the empty text, the epochs. */
  const int epochs = told.calls - EPOCHS - 1;
  int empty = 0;
  while (empty < epochs && told.total[empty] == EXAMPLES) empty++;
  check_counts(&told, 0, empty - 1, asking, EXAMPLES);
  check_counts(&told, empty, epochs - 1, asking, 1);
  check_counts(&told, epochs, told.calls - 1, SEAM_ACTIVITY_FIT, EPOCHS);
  for (int epoch = 0; epoch < EPOCHS; epoch++) CHECK(told.loss[epochs + 1 + epoch] == losses[epoch]);
  seam_classifier_release(classifier);
  seam_adapter_release(adapter);

  const int calls = told.calls;
  for (int stop = 1; stop <= calls; stop++) {
    float before[EXAMPLES * CLASSES], after[EXAMPLES * CLASSES];
    classifier = classifier_of(backbone, tokenizer, &adapter);
    OK(seam_adapter_classify(adapter, scores, hidden, 1, before, CLASSES, &error));
    told = (record){.stop_at = stop};
    FAILS(fits_texts(classifier, &told, losses, &error), SEAM_CANCELLED, "");
    OK(seam_adapter_classify(adapter, scores, hidden, 1, after, CLASSES, &error));
    CHECK(told.calls == stop && memcmp(before, after, CLASSES * sizeof before[0]) == 0);
    char *task = NULL;
    FAILS(seam_adapter_task(adapter, &task, &error), SEAM_NOT_FOUND, "holds no classification task");
    seam_classifier_release(classifier);
    seam_adapter_release(adapter);
  }
}

static void text_predicting(seam_backbone *backbone, seam_tokenizer *tokenizer, seam_activity asking) {
  ERROR_SLOT;
  seam_adapter *adapter = NULL;
  float found[EXAMPLES * CLASSES];
  for (int stop = 1;; stop++) {
    record told = {.stop_at = stop};
    seam_classifier *classifier = classifier_of(backbone, tokenizer, &adapter);
    seam_status status =
        seam_classifier_predict(classifier, texts, NULL, EXAMPLES, watch, &told, found, EXAMPLES * CLASSES, &error);
    if (status == SEAM_OK) {
      check_counts(&told, 0, told.calls - 1, asking, EXAMPLES);
      CHECK(stop > 2 && told.calls == stop - 1);
      /* What is known is not asked again, and nothing is left to wait for. */
      told = (record){.stop_at = 1};
      OK(seam_classifier_predict(classifier, texts, NULL, EXAMPLES, watch, &told, found, EXAMPLES * CLASSES, &error));
      CHECK(told.calls == 0);
    } else {
      FAILS(status, SEAM_CANCELLED, "");
      CHECK(told.calls == stop);
    }
    seam_classifier_release(classifier);
    seam_adapter_release(adapter);
    if (status == SEAM_OK) break;
  }
}

/* ---- Queries */

static void queries(seam_backbone *backbone) {
  ERROR_SLOT;
  static const char *const answers[CLASSES] = {" yes", " no"};
  float probabilities[EXAMPLES * CLASSES];
  size_t answered = 99;
  for (int stop = 0; stop <= EXAMPLES + 1; stop++) {
    record told = {.stop_at = stop};
    seam_status status = seam_backbone_query(backbone, texts, EXAMPLES, answers, CLASSES, watch, &told, probabilities,
                                             EXAMPLES * CLASSES, NULL, 0, &answered, NULL, &error);
    if (stop == 0) {
      CHECK(status == SEAM_OK && told.calls == EXAMPLES + 1 && answered == EXAMPLES);
      check_counts(&told, 0, EXAMPLES, SEAM_ACTIVITY_QUERY, EXAMPLES);
      for (int call = 0; call < told.calls; call++) CHECK(told.done[call] == call);
    } else {
      FAILS(status, SEAM_CANCELLED, "");
      CHECK(told.calls == stop && answered == (size_t)stop - 1);
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  static const char *const plugins[] = {"libDecT.so", "libCalibration.so", "libTinyText.so"};
  char path[1000];
  seam_runtime *runtime = make_runtime(argv[1]);
  for (size_t i = 0; i < sizeof plugins / sizeof plugins[0]; i++)
    OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], plugins[i]), &error));
  seam_backbone *reads_tokens = open_tiny(runtime), *reads_text = NULL;
  seam_tokenizer *tokenizer = NULL;
  OK(seam_backbone_open(runtime, "tiny-text", NULL, NULL, &reads_text, &error));
  OK(seam_tokenizer_open(argv[2], &tokenizer, &error));
  generation(reads_tokens);
  fitting(reads_tokens);
  text_fitting(reads_tokens, tokenizer, SEAM_ACTIVITY_CLASSIFY);
  text_fitting(reads_text, NULL, SEAM_ACTIVITY_QUERY);
  text_predicting(reads_tokens, tokenizer, SEAM_ACTIVITY_CLASSIFY);
  text_predicting(reads_text, NULL, SEAM_ACTIVITY_QUERY);
  queries(reads_text);
  seam_tokenizer_release(tokenizer);
  seam_backbone_release(reads_text);
  seam_backbone_release(reads_tokens);
  seam_runtime_release(runtime);
  return finish("progress");
}
