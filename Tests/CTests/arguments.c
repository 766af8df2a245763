/* Wrong arguments get a status and a sentence, and nothing crashes on NULL.
 * Arguments: the folder of the plugins. */
#include "check.h"

static void null_objects(void) {
  ERROR_SLOT;
  seam_batch batch = tiny_batch();
  char *text = NULL;
  size_t count = 0;
  const void *table = NULL;
  seam_step step = {.struct_size = sizeof step};
  seam_score scores[BATCH];
  float floats[BATCH];
  seam_classifier *classifier = NULL;
  seam_value value;
  DLManagedTensorVersioned *tensor = NULL;
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_adapter *adapter = NULL;
  seam_session *session = NULL;
  seam_sequences *sequences = NULL;
  seam_tokenizer *tokenizer = NULL;
  seam_context *ctx = NULL;
  seam_plugin_info plugin = {.struct_size = sizeof plugin};
  seam_train_options train = {.struct_size = sizeof train};
  seam_generate_options generate = {.struct_size = sizeof generate};
  OK(seam_train_options_init(&train, &error));

  static const char *const is_null = "is NULL";
#define NULL_FAILS(call) FAILS(call, SEAM_INVALID_ARGUMENT, is_null)
  NULL_FAILS(seam_runtime_create(NULL, &error));
  NULL_FAILS(seam_runtime_load_plugin(NULL, "x", &error));
  NULL_FAILS(seam_runtime_load_plugins(NULL, NULL, &count, &error));
  NULL_FAILS(seam_runtime_unload_plugin(NULL, "x", &error));
  NULL_FAILS(seam_runtime_get_plugin(NULL, 0, &plugin, &error));
  NULL_FAILS(seam_runtime_get_extension(NULL, "x", "y", &table, &error));
  NULL_FAILS(seam_runtime_describe(NULL, "x", &text, &error));
  NULL_FAILS(seam_backbone_open(NULL, "x", NULL, NULL, &backbone, &error));
  NULL_FAILS(seam_backbone_save(NULL, "x", &error));
  NULL_FAILS(seam_backbone_get_info(NULL, NULL, &error));
  NULL_FAILS(seam_train_options_init(NULL, &error));
  NULL_FAILS(seam_fit_options_init(NULL, &error));
  NULL_FAILS(seam_adapter_create(NULL, "x", NULL, &adapter, &error));
  NULL_FAILS(seam_adapter_fit(NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL, 0, &error));
  NULL_FAILS(seam_adapter_classify(NULL, NULL, NULL, 1, NULL, 0, &error));
  NULL_FAILS(seam_adapter_load(NULL, "x", &adapter, &error));
  NULL_FAILS(seam_adapter_save(NULL, "x", NULL, NULL, &error));
  NULL_FAILS(seam_adapter_describe(NULL, &text, &error));
  NULL_FAILS(seam_adapter_parameter(NULL, 0, NULL, &tensor, &error));
  NULL_FAILS(seam_adapter_call(NULL, "shift", NULL, 0, &value, &error));
  NULL_FAILS(seam_session_create(NULL, &session, &error));
  NULL_FAILS(seam_session_attach(NULL, NULL, NULL, -1, &error));
  NULL_FAILS(seam_session_detach(NULL, NULL, NULL, &error));
  NULL_FAILS(seam_session_move(NULL, NULL, NULL, 0, &error));
  NULL_FAILS(seam_session_add(NULL, NULL, "x", NULL, &adapter, &error));
  NULL_FAILS(seam_session_load(NULL, NULL, "x", &error));
  NULL_FAILS(seam_session_save(NULL, NULL, "x", NULL, NULL, &error));
  NULL_FAILS(seam_session_adapter(NULL, NULL, 0, &adapter, &error));
  NULL_FAILS(seam_session_remove_route(NULL, NULL, &error));
  NULL_FAILS(seam_session_merge(NULL, NULL, &error));
  NULL_FAILS(seam_session_unmerge(NULL, NULL, &error));
  NULL_FAILS(seam_session_encode(NULL, &batch, &tensor, &error));
  NULL_FAILS(seam_session_forward(NULL, &batch, &tensor, NULL, &error));
  NULL_FAILS(seam_session_score(NULL, &batch, scores, BATCH, &error));
  NULL_FAILS(seam_session_classify(NULL, &batch, floats, BATCH, &error));
  NULL_FAILS(seam_backbone_query(NULL, NULL, 0, NULL, 0, NULL, NULL, floats, 0, NULL, 0, NULL, NULL, &error));
  NULL_FAILS(seam_classifier_create(NULL, NULL, "{}", NULL, &classifier, &error));
  NULL_FAILS(seam_classifier_attach(NULL, NULL, &error));
  NULL_FAILS(seam_classifier_fit(NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL, 0, &error));
  NULL_FAILS(seam_classifier_predict(NULL, NULL, NULL, 1, NULL, NULL, floats, BATCH, &error));
  NULL_FAILS(seam_adapter_task(NULL, &text, &error));
  NULL_FAILS(seam_generate_options_init(NULL, &generate, &error));
  NULL_FAILS(seam_session_generate(NULL, &batch, NULL, NULL, NULL, &sequences, &error));
  NULL_FAILS(seam_session_begin_training(NULL, &train, &error));
  NULL_FAILS(seam_session_train_step(NULL, &batch, &step, &error));
  NULL_FAILS(seam_tokenizer_open(NULL, &tokenizer, &error));
  NULL_FAILS(seam_tokenizer_encode(NULL, "x", NULL, 0, &count, &error));
  NULL_FAILS(seam_tokenizer_decode(NULL, NULL, 0, &text, &error));
  NULL_FAILS(seam_context_create(NULL, 0, &ctx, &error));
  NULL_FAILS(seam_context_error(NULL, &error));
  NULL_FAILS(seam_context_backward(NULL, NULL, NULL, &error));
  CHECK(seam_context_leaf(NULL, NULL) == NULL && seam_context_gradient(NULL, NULL) == NULL);
  CHECK(seam_runtime_plugin_count(NULL) == 0 && seam_adapter_parameter_count(NULL) == 0 &&
        seam_session_adapter_count(NULL, NULL) == 0);
  CHECK(seam_session_route_count(NULL) == 0 && seam_session_route(NULL, 0) == NULL);
  CHECK(seam_sequences_count(NULL, 0) == 0 && seam_sequences_tokens(NULL, 0, 0, &count, NULL) == NULL && count == 0);
  CHECK(seam_error_code(NULL) == SEAM_OK && seam_error_message(NULL)[0] == 0 && seam_error_origin(NULL)[0] == 0);
  seam_runtime_set_log(NULL, NULL, NULL);
  seam_session_end_training(NULL);
  seam_string_release(NULL);
  seam_error_release(NULL);
  seam_runtime_release(runtime);
  seam_backbone_release(backbone);
  seam_adapter_release(adapter);
  seam_session_release(session);
  seam_sequences_release(sequences);
  seam_tokenizer_release(tokenizer);
  seam_context_release(ctx);
  seam_classifier_release(classifier);
}

static void backbones(seam_runtime *runtime) {
  ERROR_SLOT;
  seam_backbone *backbone = NULL;
  FAILS(seam_backbone_open(runtime, NULL, NULL, NULL, &backbone, &error), SEAM_INVALID_ARGUMENT, "needs its id");
  FAILS(seam_backbone_open(runtime, "absent", NULL, NULL, &backbone, &error), SEAM_NOT_FOUND,
        "no loaded plugin offers a backbone \"absent\"; there are tiny-opaque");
  FAILS(seam_backbone_open(runtime, "tiny-opaque", NULL, "{\"sede\": 1}", &backbone, &error), SEAM_INVALID_ARGUMENT,
        "unknown option \"sede\"; known are seed");
  FAILS(seam_backbone_open(runtime, "tiny-opaque", NULL, "{\"seed\": \"x\"}", &backbone, &error), SEAM_INVALID_ARGUMENT,
        "option \"seed\" must be an integer");
  FAILS(seam_backbone_open(runtime, "tiny-opaque", NULL, "{seed", &backbone, &error), SEAM_FORMAT, "options_json");
  FAILS(seam_backbone_open(runtime, "tiny-opaque", NULL, "\xff", &backbone, &error), SEAM_INVALID_ARGUMENT, "UTF-8");
  FAILS(seam_backbone_open(runtime, NULL, "/nowhere/at/all", NULL, &backbone, &error), SEAM_NOT_FOUND,
        "there is no such folder");
  CHECK(backbone == NULL);

  backbone = open_tiny(runtime);
  seam_backbone_info info = {.struct_size = sizeof info};
  OK(seam_backbone_get_info(backbone, &info, &error));
  CHECK(info.kind == SEAM_BACKBONE_OPAQUE && info.d_model == WIDTH && info.vocab_size == VOCABULARY);
  CHECK(info.seam_count == 2 && strcmp(info.seams[0], SEAM_ENCODER_OUTPUT) == 0);
  CHECK(strcmp(info.seams[1], SEAM_DECODER_OUTPUT) == 0);
  CHECK(strcmp(info.family, "tiny-opaque") == 0 && info.struct_size == sizeof info);
  CHECK(info.eos_token_count == 1 && info.eos_token_ids[0] == 1);
  /* A struct that is shorter than version 1.0's is refused, and left alone. */
  info.struct_size = offsetof(seam_backbone_info, vocab_size);
  info.d_model = info.vocab_size = -7;
  FAILS(seam_backbone_get_info(backbone, &info, &error), SEAM_INVALID_ARGUMENT, "struct_size of argument out must be");
  CHECK(info.d_model == -7 && info.vocab_size == -7);
  FAILS(seam_backbone_save(backbone, "/nowhere", &error), SEAM_UNSUPPORTED, "without a folder");
  seam_backbone_release(backbone);
}

static void adapters(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_adapter *adapter = NULL;
  FAILS(seam_adapter_create(backbone, NULL, NULL, &adapter, &error), SEAM_INVALID_ARGUMENT, "argument id is NULL");
  FAILS(seam_adapter_create(backbone, "repcali", NULL, NULL, &error), SEAM_INVALID_ARGUMENT, "argument out is NULL");
  FAILS(seam_adapter_create(backbone, "repcali", OPTIONS(.seam = "decoder.output"), &adapter, &error),
        SEAM_INVALID_ARGUMENT, "attaches to encoder.output, not to \"decoder.output\"");
  FAILS(seam_adapter_create(backbone, "repcali", OPTIONS(.options_json = "{\"lambada\": 1}"), &adapter, &error),
        SEAM_INVALID_ARGUMENT, "unknown option \"lambada\"; known are lambda");
  FAILS(seam_adapter_create(backbone, "repcali", OPTIONS(.options_json = "{\"norm\": \"batch\"}"), &adapter, &error),
        SEAM_INVALID_ARGUMENT, "must be one of layer, none");
  FAILS(seam_adapter_create(backbone, "repcali", OPTIONS(.options_json = "[]"), &adapter, &error),
        SEAM_INVALID_ARGUMENT, "must be a JSON object");
  FAILS(seam_adapter_load(backbone, "/nowhere", &adapter, &error), SEAM_NOT_FOUND, "there is no such folder");
  CHECK(adapter == NULL);

  OK(seam_adapter_create(backbone, "repcali", NULL, &adapter, &error));
  FAILS(seam_adapter_parameter(adapter, 99, NULL, NULL, &error), SEAM_NOT_FOUND, "argument index must be below 3");
  FAILS(seam_adapter_save(adapter, NULL, NULL, NULL, &error), SEAM_INVALID_ARGUMENT, "argument path is NULL");
  char *json = NULL;
  OK(seam_adapter_describe(adapter, &json, &error));
  CHECK(strstr(json, "\"initialization\":\"identity\"") != NULL || strstr(json, "\"initialization\": \"identity\""));
  seam_string_release(json);

  seam_session *session = NULL;
  OK(seam_session_create(backbone, &session, &error));
  FAILS(seam_session_attach(session, NULL, NULL, -1, &error), SEAM_INVALID_ARGUMENT, "argument adapter is NULL");
  FAILS(seam_session_attach(session, NULL, adapter, 5, &error), SEAM_INVALID_ARGUMENT,
        "position must be 0 ... 0, found 5");
  FAILS(seam_session_detach(session, NULL, adapter, &error), SEAM_NOT_FOUND, "is not attached");
  OK(seam_session_attach(session, NULL, adapter, -1, &error));
  FAILS(seam_session_attach(session, NULL, adapter, -1, &error), SEAM_ALREADY_EXISTS, "is already attached");
  FAILS(seam_session_move(session, NULL, adapter, 3, &error), SEAM_INVALID_ARGUMENT, "position must be 0 ... 0");
  seam_session_release(session);
  seam_adapter_release(adapter);
}

static void batches(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_session *session = NULL;
  DLManagedTensorVersioned *logits = NULL;
  OK(seam_session_create(backbone, &session, &error));
#define REFUSED(member, value, part)                                                                  \
  do {                                                                                                \
    seam_batch batch = tiny_batch();                                                                  \
    batch.member = value;                                                                             \
    FAILS(seam_session_forward(session, &batch, &logits, NULL, &error), SEAM_INVALID_ARGUMENT, part); \
  } while (0)
  int32_t ids[BATCH * SOURCE] = {3, 5, 7, 9, 16, 0}, negative[BATCH * SOURCE] = {3, 5, -1, 9, 2, 0};
  int32_t mask[BATCH * SOURCE] = {1, 1, 1, 2, 1, 0}, hidden[BATCH * SOURCE] = {1, 1, 1, 0, 0, 0};
  int32_t labels[BATCH * TARGET] = {4, 6, 8, 1, 11, 99, -100, -100};
  REFUSED(struct_size, 8, "struct_size of argument batch must be at least");
  REFUSED(batch, 0, "the batch is empty");
  REFUSED(source_length, 0, "the batch is empty");
  REFUSED(batch, -1, "must be 0 ...");
  REFUSED(target_length, INT64_MAX, "must be 0 ...");
  REFUSED(target_length, 0, "the batch has no targets");
  REFUSED(input_ids, NULL, "argument batch.input_ids is NULL");
  REFUSED(input_ids, ids, "input_ids: token id 16 in row 1 is outside the vocabulary of 16");
  REFUSED(input_ids, negative, "input_ids: token id -1 in row 0");
  REFUSED(attention_mask, mask, "attention_mask must hold 0 and 1, found 2 in row 1");
  REFUSED(attention_mask, hidden, "attention_mask hides every token of row 1");
  REFUSED(labels, labels, "labels: token id 99 in row 1");
  REFUSED(labels, NULL, "a target needs labels or decoder_input_ids");
  FAILS(seam_session_forward(session, NULL, &logits, NULL, &error), SEAM_INVALID_ARGUMENT, "argument batch is NULL");
  CHECK(logits == NULL);
  seam_batch batch = tiny_batch();
  FAILS(seam_session_forward(session, &batch, NULL, NULL, &error), SEAM_INVALID_ARGUMENT, "argument logits is NULL");
  FAILS(seam_session_pool(session, &batch, &logits, &error), SEAM_UNSUPPORTED, "has no pooled vector");
  FAILS(seam_session_pool(session, &batch, NULL, &error), SEAM_INVALID_ARGUMENT, "argument pooled is NULL");
  batch.token_type_ids = batch.attention_mask;
  FAILS(seam_session_pool(session, &batch, &logits, &error), SEAM_UNSUPPORTED, "are for encoder-only backbones");
  batch.token_type_ids = NULL;

  seam_step step = {.struct_size = sizeof step};
  FAILS(seam_session_train_step(session, &batch, &step, &error), SEAM_INVALID_ARGUMENT, "has not begun");
  seam_train_options train = {.struct_size = sizeof train};
  OK(seam_train_options_init(&train, &error));
  CHECK(train.struct_size == sizeof train && train.learning_rate == 1e-3 && train.max_grad_norm == 1);
  FAILS(seam_session_begin_training(session, &train, &error), SEAM_INVALID_ARGUMENT, "there is nothing to train");
  train.train_backbone = 2;
  FAILS(seam_session_begin_training(session, &train, &error), SEAM_INVALID_ARGUMENT,
        "train_backbone must be 0 or 1, found 2");
  train.train_backbone = 1;
  FAILS(seam_session_begin_training(session, &train, &error), SEAM_UNSUPPORTED, "is opaque");
  train.beta1 = 1.5;
  FAILS(seam_session_begin_training(session, &train, &error), SEAM_INVALID_ARGUMENT, "beta1 must be in [0, 1)");
  train.optimizer = 7;
  FAILS(seam_session_begin_training(session, &train, &error), SEAM_INVALID_ARGUMENT, "optimizer must be 0 or 1");
  train.struct_size = 4;
  FAILS(seam_session_begin_training(session, &train, &error), SEAM_INVALID_ARGUMENT, "struct_size of argument options");
  seam_session_release(session);
}

static int32_t stop_at_two(void *user, const seam_progress *progress) {
  CHECK(progress->activity == SEAM_ACTIVITY_GENERATE);
  return (*(int *)user)++ < 2;
}

static void generation(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_session *session = NULL;
  seam_sequences *sequences = NULL;
  seam_generate_options options = {.struct_size = sizeof options};
  seam_batch batch = tiny_batch();
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_generate_options_init(backbone, &options, &error));
  CHECK(options.struct_size == sizeof options && options.num_beams == 1 && options.temperature == 1);
  options.max_new_tokens = 6;
  options.min_new_tokens = 6;
  OK(seam_session_generate(session, &batch, &options, NULL, NULL, &sequences, &error));
  size_t length = 0;
  double score = 1;
  const int32_t *tokens = seam_sequences_tokens(sequences, 1, 0, &length, &score);
  CHECK(seam_sequences_count(sequences, 0) == 1 && seam_sequences_count(sequences, 2) == 0);
  CHECK(tokens != NULL && length == 6 && score < 0);
  CHECK(seam_sequences_tokens(sequences, 0, 1, &length, NULL) == NULL && length == 0);
  seam_sequences_release(sequences);
  options.num_beams = 3;
  options.num_return_sequences = 2;
  OK(seam_session_generate(session, &batch, &options, NULL, NULL, &sequences, &error));
  CHECK(seam_sequences_count(sequences, 1) == 2);
  seam_sequences_release(sequences);
  sequences = NULL;
  int calls = 0;
  FAILS(seam_session_generate(session, &batch, &options, stop_at_two, &calls, &sequences, &error), SEAM_CANCELLED,
        "cancelled");
  CHECK(calls == 3 && sequences == NULL);
  options.early_stopping = 9;
  FAILS(seam_session_generate(session, &batch, &options, NULL, NULL, &sequences, &error), SEAM_INVALID_ARGUMENT,
        "early_stopping");
  options.early_stopping = 0;
  options.do_sample = 2;
  FAILS(seam_session_generate(session, &batch, &options, NULL, NULL, &sequences, &error), SEAM_INVALID_ARGUMENT,
        "do_sample must be 0 or 1, found 2");
  options.do_sample = 0;
  options.ignore_generation_config = 2;
  FAILS(seam_session_generate(session, &batch, &options, NULL, NULL, &sequences, &error), SEAM_INVALID_ARGUMENT,
        "ignore_generation_config must be 0 or 1, found 2");
  FAILS(seam_generate_options_init(backbone, &options, &error), SEAM_INVALID_ARGUMENT,
        "ignore_generation_config must be 0 or 1, found 2");
  options.ignore_generation_config = 1;
  OK(seam_generate_options_init(backbone, &options, &error));
  CHECK(options.ignore_generation_config == 1 && options.num_beams == 1 && options.max_new_tokens == 20);
  OK(seam_session_generate(session, &batch, &options, NULL, NULL, &sequences, &error));
  seam_sequences_release(sequences);
  sequences = NULL;
  options.max_new_tokens = 0;
  FAILS(seam_session_generate(session, &batch, &options, NULL, NULL, &sequences, &error), SEAM_INVALID_ARGUMENT,
        "1 or more");
  seam_session_release(session);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  null_objects();
  seam_runtime *runtime = make_runtime(argv[1]);
  backbones(runtime);
  seam_backbone *backbone = open_tiny(runtime);
  adapters(backbone);
  batches(backbone);
  generation(backbone);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("arguments");
}
