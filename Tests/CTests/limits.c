/* Counts, sizes and numbers that cannot be meant, from a plugin and from a client: a status and a sentence, and nothing is
 * read that is not there. And adapters that `prepare` alone fits.
 * Arguments: the folder of the plugins, a folder to write to, a model's folder with a tokenizer. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

enum { CLASSES = 2, EXAMPLES = 4 };

static char warning[1000];

static void keep_warning(void *user, seam_log_level level, const char *message) {
  (void)user;
  if (level == SEAM_LOG_WARNING) snprintf(warning, sizeof warning, "%s", message);
}

/* What hostile.c breaks in its tables, and in an instance. */
static void hostile_plugins(const char *folder) {
  static const struct {
    const char *rule;
    seam_status code;
    const char *part;
  } tables[] =
      {
          {"plugin that is a path", SEAM_PLUGIN, "found \"/etc/passwd\""},
          {"adapter count of SIZE_MAX", SEAM_PLUGIN, "must be at most 1000, found 18446744073709551615"},
          {"adapter count beyond counting", SEAM_PLUGIN, "must be at most 1000, found 9223372036854775807"},
          {"adapter of NULL", SEAM_PLUGIN, "adapter 0 of the plugin is NULL"},
          {"backbone count of SIZE_MAX", SEAM_PLUGIN, "the number of backbones of the plugin"},
          {"adapter that is a path", SEAM_PLUGIN, "found \"x/../../../escaped\""},
          {"adapter with a long id", SEAM_PLUGIN, "must have 1 to 100 characters"},
          {"seam count of SIZE_MAX", SEAM_PLUGIN, "the number of seams"},
          {"seam of NULL", SEAM_PLUGIN, "seam 0 of adapter \"test-hostile\" is NULL"},
          {"option count of SIZE_MAX", SEAM_PLUGIN, "the number of options"},
          {"option twice", SEAM_PLUGIN, "the option \"strength\" is declared twice"},
          {"option of the host's", SEAM_PLUGIN, "\"learning_rate\""},
          {"option that is small", SEAM_PLUGIN, "struct_size of an option"},
          {"option that folds as a number", SEAM_PLUGIN, "with the default false, found another"},
          {"method count of SIZE_MAX", SEAM_PLUGIN, "the number of methods"},
          {"method twice", SEAM_PLUGIN, "the method \"first\" is declared twice"},
          {"method that is small", SEAM_PLUGIN, "struct_size of a method"},
      },
    instances[] = {
        {"error with SEAM_OK", SEAM_PLUGIN, "all went well"},
        {"error and success", SEAM_UNSUPPORTED, "not on a Sunday"},
        {"unknown status", SEAM_PLUGIN, "status 77"},
        {"option resolved to what it refuses", SEAM_PLUGIN, "option \"spare\" must be one of a, b, found \"c\""},
        {"parameter count of SIZE_MAX", SEAM_PLUGIN, "must be at most 1048576, found 18446744073709551615"},
        {"parameter count of 1e9", SEAM_PLUGIN, "found 1000000000"},
        {"parameter twice", SEAM_PLUGIN, "the parameter \"Bias\" is declared twice"},
        {"parameter inside another", SEAM_PLUGIN, "must not be the beginning of \"Bias.weight\""},
        {"parameter that is a path", SEAM_PLUGIN, "found \"../../escaped\""},
        {"shape of 1e11", SEAM_OUT_OF_MEMORY, "needs 400.0 GB of memory"},
        {"shape beyond counting", SEAM_SHAPE, "too many elements"},
        {"shape of nothing beyond counting", SEAM_SHAPE, "too many elements"},
        {"negative shape", SEAM_SHAPE, "a negative size"},
        {"rank of 9", SEAM_SHAPE, "rank must be 0 ... 8"},
        {"start of NaN", SEAM_PLUGIN, "starts with NaN or infinity at element 0"},
        {"data of NaN", SEAM_PLUGIN, "starts with NaN or infinity at element 1"},
        {"no data", SEAM_PLUGIN, "data that is NULL"},
    };
  char path[1000];
  ERROR_SLOT;
  path_in(path, folder, "libHostile.so");
  for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
    seam_runtime *runtime = make_runtime(folder);
    setenv("SEAM_HOSTILE", tables[i].rule, 1);
    FAILS(seam_runtime_load_plugin(runtime, path, &error), tables[i].code, tables[i].part);
    CHECK(seam_runtime_plugin_count(runtime) == 3);
    seam_runtime_release(runtime);
  }
  unsetenv("SEAM_HOSTILE");
  seam_runtime *runtime = make_runtime(folder);
  seam_backbone *backbone = open_tiny(runtime);
  seam_adapter *adapter = NULL;
  OK(seam_runtime_load_plugin(runtime, path, &error));
  OK(seam_adapter_create(backbone, "test-hostile", OPTIONS(.classes = CLASSES), &adapter, &error));
  seam_adapter_release(adapter);
  adapter = NULL;
  for (size_t i = 0; i < sizeof instances / sizeof instances[0]; i++) {
    setenv("SEAM_HOSTILE", instances[i].rule, 1);
    seam_status status = seam_adapter_create(backbone, "test-hostile", OPTIONS(.classes = CLASSES), &adapter, &error);
    CHECK(strcmp(seam_error_origin(error), "org.seamkit.test.hostile") == 0);
    FAILS(status, instances[i].code, instances[i].part);
    CHECK(adapter == NULL);
  }
  unsetenv("SEAM_HOSTILE");
  /* None of them is left alive. */
  OK(seam_runtime_unload_plugin(runtime, "org.seamkit.test.hostile", &error));
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
}

static const size_t HUGE_COUNTS[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 62, (size_t)1 << 40};

static void client_counts(seam_runtime *runtime, seam_backbone *backbone, const char *folder) {
  ERROR_SLOT;
  char path[1000];
  static const char *const texts[] = {"a"};
  float scores[4], hidden[4];
  int32_t ids[4] = {1, 2, 3, 4};
  seam_backbone *text_backbone = NULL;
  seam_adapter *adapter = NULL;
  seam_value value = {.kind = SEAM_VALUE_INT};
  OK(seam_runtime_load_plugin(runtime, path_in(path, folder, "libTinyText.so"), &error));
  OK(seam_backbone_open(runtime, "tiny-text", NULL, NULL, &text_backbone, &error));
  OK(seam_adapter_create(backbone, "repcali", NULL, &adapter, &error));
  for (size_t i = 0; i < sizeof HUGE_COUNTS / sizeof HUGE_COUNTS[0]; i++) {
    size_t count = HUGE_COUNTS[i];
    FAILS(seam_backbone_query(text_backbone, texts, count, texts, 1, NULL, NULL, scores, 4, hidden, 4, NULL, NULL,
                              &error),
          SEAM_INVALID_ARGUMENT, "argument prompt_count must be at most 67108864, found ");
    FAILS(seam_backbone_query(text_backbone, texts, 1, texts, count, NULL, NULL, scores, 4, hidden, 4, NULL, NULL,
                              &error),
          SEAM_INVALID_ARGUMENT, "argument answer_count must be at most");
    FAILS(seam_adapter_call(adapter, "shift", &value, count, NULL, &error), SEAM_INVALID_ARGUMENT,
          "argument argument_count must be at most 127");
    FAILS(seam_adapter_parameter(adapter, count, NULL, NULL, &error), SEAM_NOT_FOUND, "argument index must be below 3");
    FAILS(seam_adapter_fit(adapter, scores, hidden, ids, NULL, count, NULL, NULL, NULL, NULL, 0, &error),
          SEAM_INVALID_ARGUMENT, "argument examples must be at most");
    FAILS(seam_adapter_classify(adapter, scores, hidden, count, scores, 4, &error), SEAM_INVALID_ARGUMENT,
          "argument examples must be at most");
    seam_plugin_info info = {.struct_size = sizeof info};
    FAILS(seam_runtime_get_plugin(runtime, count, &info, &error), SEAM_NOT_FOUND, "argument index must be below");
  }
  seam_adapter_release(adapter);
  adapter = NULL;
  static const int64_t class_counts[] = {INT64_MAX, INT64_MIN, -1, 1, (int64_t)1 << 33};
  for (size_t i = 0; i < sizeof class_counts / sizeof class_counts[0]; i++)
    FAILS(seam_adapter_create(backbone, "test-calibration", OPTIONS(.classes = class_counts[i]), &adapter, &error),
          SEAM_INVALID_ARGUMENT, "classes");
  CHECK(adapter == NULL);
  seam_backbone_release(text_backbone);
}

static void tokenizer_counts(const char *folder) {
  ERROR_SLOT;
  seam_tokenizer *tokenizer = NULL;
  int32_t ids[4] = {1, 2, 3, 4};
  size_t found = 0;
  char *text = NULL;
  OK(seam_tokenizer_open(folder, &tokenizer, &error));
  FAILS(seam_tokenizer_encode(tokenizer, "x", ids, SIZE_MAX, &found, &error), SEAM_INVALID_ARGUMENT,
        "argument capacity must be at most");
  for (size_t i = 0; i < sizeof HUGE_COUNTS / sizeof HUGE_COUNTS[0]; i++)
    FAILS(seam_tokenizer_decode(tokenizer, ids, HUGE_COUNTS[i], &text, &error), SEAM_INVALID_ARGUMENT,
          "argument count must be at most");
  CHECK(text == NULL);
  seam_tokenizer_release(tokenizer);
}

static void session_sizes(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_session *session = NULL;
  seam_adapter *adapter = NULL;
  DLManagedTensorVersioned *logits = NULL;
  seam_sequences *sequences = NULL;
  seam_batch batch = tiny_batch();
  OK(seam_session_create(backbone, &session, &error));
  batch.batch = batch.source_length = 1 << 20;
  FAILS(seam_session_forward(session, &batch, &logits, NULL, &error), SEAM_INVALID_ARGUMENT,
        "a batch must have at most 268435456 tokens");
  batch = tiny_batch();

  seam_generate_options generate = {.struct_size = sizeof generate};
#define GENERATES(member, value, code, part) GENERATES_BY(0, member, value, code, part)
#define GENERATES_BY(draws, member, value, code, part)                                                    \
  do {                                                                                                    \
    OK(seam_generate_options_init(backbone, &generate, &error));                                          \
    generate.do_sample = draws;                                                                           \
    generate.member = value;                                                                              \
    FAILS(seam_session_generate(session, &batch, &generate, NULL, NULL, &sequences, &error), code, part); \
  } while (0)
  GENERATES(num_beams, INT32_MAX, SEAM_INVALID_ARGUMENT, "num_beams: expected at most 65536");
  GENERATES(num_beams, INT32_MIN, SEAM_INVALID_ARGUMENT, "num_beams: expected 1 or more");
  GENERATES(num_return_sequences, INT32_MAX, SEAM_INVALID_ARGUMENT, "num_return_sequences: expected at most 65536");
  GENERATES(max_new_tokens, INT32_MIN, SEAM_INVALID_ARGUMENT, "max_new_tokens");
  GENERATES_BY(1, temperature, NAN, SEAM_INVALID_ARGUMENT, "temperature");
  GENERATES_BY(1, temperature, 1e300, SEAM_INVALID_ARGUMENT, "temperature");
  GENERATES(length_penalty, INFINITY, SEAM_INVALID_ARGUMENT, "length_penalty");
  GENERATES_BY(1, top_p, NAN, SEAM_INVALID_ARGUMENT, "top_p");
  OK(seam_generate_options_init(backbone, &generate, &error));
  generate.top_k = generate.no_repeat_ngram_size = INT32_MAX;
  generate.do_sample = 1;
  generate.max_new_tokens = 2;
  OK(seam_session_generate(session, &batch, &generate, NULL, NULL, &sequences, &error));
  seam_sequences_release(sequences);

  OK(seam_adapter_create(backbone, "repcali", NULL, &adapter, &error));
  FAILS(seam_session_attach(session, NULL, adapter, INT32_MAX, &error), SEAM_INVALID_ARGUMENT,
        "position must be 0 ... 0");
  FAILS(seam_session_attach(session, NULL, adapter, INT32_MIN, &error), SEAM_INVALID_ARGUMENT,
        "position must be 0 ... 0");
  FAILS(seam_adapter_set_learning_rate(adapter, NAN, &error), SEAM_INVALID_ARGUMENT, "learning_rate");
  OK(seam_session_attach(session, NULL, adapter, -1, &error));
  seam_train_options train = {.struct_size = sizeof train};
#define TRAINS_NOT(member, value, part)                                                       \
  do {                                                                                        \
    OK(seam_train_options_init(&train, &error));                                              \
    train.member = value;                                                                     \
    FAILS(seam_session_begin_training(session, &train, &error), SEAM_INVALID_ARGUMENT, part); \
  } while (0)
  TRAINS_NOT(total_steps, INT64_MIN, "total_steps must be 0 or more");
  TRAINS_NOT(warmup_steps, INT64_MIN, "warmup_steps must be 0 or more");
  TRAINS_NOT(learning_rate, NAN, "learning_rate");
  TRAINS_NOT(epsilon, INFINITY, "epsilon must be positive");
  OK(seam_train_options_init(&train, &error));
  train.warmup_steps = INT64_MAX;
  OK(seam_session_begin_training(session, &train, &error));
  seam_step step = {.struct_size = sizeof step};
  OK(seam_session_train_step(session, &batch, &step, &error));
  CHECK(step.learning_rate == 0);
  seam_session_release(session);
  seam_adapter_release(adapter);
}

/* The operations of a plugin's pass, on the native engine. */
static void operations(seam_runtime *runtime) {
  ERROR_SLOT;
  const seam_ops *ops = seam_native_ops();
  static const float numbers[4] = {1, 2, 3, 4};
  static const int64_t four[1] = {4}, large[1] = {100000000000}, nothing[3] = {0, INT64_MAX, INT64_MAX};
  static const int32_t rows[1] = {0};
#define LATCHES(code, part, ...)                                      \
  do {                                                                \
    seam_context *ctx = NULL;                                         \
    OK(seam_context_create(runtime, 1, &ctx, &error));                \
    seam_tensor *x = ops->constant_f32(ctx, numbers, four, 1);        \
    seam_buffer *buffer = ops->buffer_create(ctx, SEAM_F32, four, 1); \
    (void)x;                                                          \
    __VA_ARGS__;                                                      \
    FAILS(seam_context_error(ctx, &error), code, part);               \
    ops->buffer_release(buffer);                                      \
    seam_context_release(ctx);                                        \
  } while (0)
  LATCHES(SEAM_OUT_OF_MEMORY, "out of memory", ops->constant_f32(ctx, numbers, large, 1));
  LATCHES(SEAM_OUT_OF_MEMORY, "out of memory", ops->constant_i32(ctx, rows, large, 1));
  LATCHES(SEAM_OUT_OF_MEMORY, "out of memory", ops->full(ctx, 1.0, SEAM_F32, large, 1));
  LATCHES(SEAM_OUT_OF_MEMORY, "out of memory", ops->buffer_create(ctx, SEAM_F32, large, 1));
  LATCHES(SEAM_SHAPE, "too many elements", ops->full(ctx, 1.0, SEAM_F32, nothing, 3));
  LATCHES(SEAM_SHAPE, "reshape", ops->reshape(ctx, ops->slice(ctx, x, 0, 0, 0), nothing, 3));
  LATCHES(SEAM_SHAPE, "expand", ops->expand(ctx, x, nothing, 3));
  LATCHES(SEAM_INVALID_ARGUMENT, "concat: the number of parts must be at most", ops->concat(ctx, &x, SIZE_MAX, 0));
  LATCHES(SEAM_INVALID_ARGUMENT, "concat: the number of parts must be at most", ops->concat(ctx, &x, SIZE_MAX / 2, 0));
  LATCHES(SEAM_INVALID_ARGUMENT, "scope_end: the number of kept tensors", ops->scope_begin(ctx),
          ops->scope_end(ctx, &x, SIZE_MAX));
  LATCHES(SEAM_SHAPE, "buffer_write", ops->buffer_write(ctx, buffer, 0, INT64_MAX, x));
  LATCHES(SEAM_SHAPE, "buffer_write", ops->buffer_write(ctx, buffer, INT32_MIN, 0, x));
  LATCHES(SEAM_SHAPE, "buffer_read", ops->buffer_read(ctx, buffer, 0, INT64_MAX));
  LATCHES(SEAM_INVALID_ARGUMENT, "buffer_select: the number of rows", ops->buffer_select(ctx, buffer, rows, INT64_MAX));
  LATCHES(SEAM_INVALID_ARGUMENT, "buffer_select: the number of rows", ops->buffer_select(ctx, buffer, rows, INT64_MIN));
  LATCHES(SEAM_INVALID_ARGUMENT, "buffer_write_rows: the number of rows",
          ops->buffer_write_rows(ctx, buffer, 1, four, INT64_MAX, x));
  LATCHES(SEAM_PLUGIN, "buffer_write_rows: the buffer or the starts are NULL",
          ops->buffer_write_rows(ctx, buffer, 1, NULL, 1, x));
  LATCHES(SEAM_SHAPE, "buffer_write_rows", ops->buffer_write_rows(ctx, buffer, INT32_MAX, four, 1, x));
  LATCHES(SEAM_SHAPE, "buffer_append", ops->buffer_append(ctx, buffer, INT32_MIN, buffer));
  LATCHES(SEAM_PLUGIN, "buffer_append: one of the buffers is NULL", ops->buffer_append(ctx, buffer, 0, NULL));
  LATCHES(SEAM_SHAPE, "slice", ops->slice(ctx, x, 0, INT64_MAX, INT64_MAX));
  LATCHES(SEAM_SHAPE, "softmax", ops->softmax(ctx, x, INT32_MIN));
  LATCHES(SEAM_INVALID_ARGUMENT, "does not fit i32", ops->full(ctx, NAN, SEAM_I32, four, 1));
  LATCHES(SEAM_NUMERIC, "does not fit i32", ops->cast(ctx, ops->affine(ctx, x, 1e30, 0.0), SEAM_I32));

  /* DLPack tensors whose numbers reach beyond their memory are refused, and given back. */
  int64_t shape[2] = {2, 2}, strides[2] = {2, 1};
#define IMPORTS_NOT(code, part, ...)                                          \
  do {                                                                        \
    DLManagedTensorVersioned tensor = {.version = {DLPACK_MAJOR_VERSION, 0}}; \
    tensor.dl_tensor.data = (void *)numbers;                                  \
    tensor.dl_tensor.device.device_type = kDLCPU;                             \
    tensor.dl_tensor.ndim = 2;                                                \
    tensor.dl_tensor.dtype = (DLDataType){kDLFloat, 32, 1};                   \
    tensor.dl_tensor.shape = shape;                                           \
    tensor.dl_tensor.strides = strides;                                       \
    shape[0] = shape[1] = strides[0] = 2, strides[1] = 1;                     \
    __VA_ARGS__;                                                              \
    LATCHES(code, part, ops->from_dlpack(ctx, &tensor));                      \
  } while (0)
  IMPORTS_NOT(SEAM_SHAPE, "rank must be 0 ... 8", tensor.dl_tensor.ndim = INT32_MIN);
  IMPORTS_NOT(SEAM_SHAPE, "rank must be 0 ... 8", tensor.dl_tensor.ndim = INT32_MAX);
  IMPORTS_NOT(SEAM_SHAPE, "rank must be 0 ... 8", tensor.dl_tensor.shape = NULL);
  IMPORTS_NOT(SEAM_SHAPE, "too many elements", shape[0] = INT64_MAX);
  IMPORTS_NOT(SEAM_SHAPE, "a negative size", shape[0] = -2);
  IMPORTS_NOT(SEAM_UNSUPPORTED, "reach too far", strides[0] = INT64_MAX);
  IMPORTS_NOT(SEAM_UNSUPPORTED, "reach too far", strides[0] = (int64_t)1 << 40, shape[0] = 1 << 30, shape[1] = 1);
  IMPORTS_NOT(SEAM_UNSUPPORTED, "are negative", strides[0] = -2);
  IMPORTS_NOT(SEAM_UNSUPPORTED, "byte_offset must be at most", tensor.dl_tensor.byte_offset = UINT64_MAX);
  IMPORTS_NOT(SEAM_UNSUPPORTED, "must be aligned", tensor.dl_tensor.byte_offset = 2);
  IMPORTS_NOT(SEAM_INVALID_ARGUMENT, "the data pointer is NULL", tensor.dl_tensor.data = NULL);
}

/* Adapters without a parameter that is trained: what `prepare` sets is all, and every loss is the one that it gives. */
static void fits_by_preparing(seam_backbone *backbone, const char *folder) {
  ERROR_SLOT;
  char path[1000];
  static const float scores[EXAMPLES * CLASSES] = {3, 1, 2, 1, 4, 3, 1, 2}, empty[CLASSES] = {2, 0.5f};
  static const float hidden[EXAMPLES * WIDTH] = {0};
  static const int32_t labels[EXAMPLES] = {0, 1, 0, 1};
  float found[EXAMPLES * CLASSES];
  double losses[3] = {-1, -1, -1};
  seam_adapter *adapter = NULL, *loaded = NULL;
  seam_fit_options options = {.struct_size = sizeof options};
  OK(seam_fit_options_init(&options, &error));
  options.epochs = 3;
  OK(seam_adapter_create(backbone, "test-calibration", OPTIONS(.classes = CLASSES), &adapter, &error));
  OK(seam_adapter_fit(adapter, scores, hidden, labels, empty, EXAMPLES, &options, NULL, NULL, losses, 3, &error));
  OK(seam_adapter_save(adapter, path_in(path, folder, "calibration"), NULL, NULL, &error));
  OK(seam_adapter_load(backbone, path, &loaded, &error));
  OK(seam_adapter_classify(loaded, scores, hidden, EXAMPLES, found, EXAMPLES * CLASSES, &error));
  double loss = 0;
  for (int i = 0; i < EXAMPLES; i++) {
    double total = 0, own = 0;
    for (int k = 0; k < CLASSES; k++) {
      double expected = (double)scores[i * CLASSES + k] - (double)empty[k];
      CHECK(found[i * CLASSES + k] == (float)expected);
      total += exp(expected);
      if (k == labels[i]) own = expected;
    }
    loss += (log(total) - own) / EXAMPLES;
  }
  /* f32 against double. */
  for (int i = 0; i < 3; i++) CHECK(fabs(losses[i] - loss) < 1e-6);

  options.prepare = 0;
  FAILS(seam_adapter_fit(adapter, scores, hidden, labels, empty, EXAMPLES, &options, NULL, NULL, losses, 3, &error),
        SEAM_INVALID_ARGUMENT, "there is nothing to train");
  options.prepare = 1;
  options.epochs = INT64_MAX;
  FAILS(seam_adapter_fit(adapter, scores, hidden, labels, empty, EXAMPLES, &options, NULL, NULL, NULL, 0, &error),
        SEAM_INVALID_ARGUMENT, "epochs must be at most");
  options.epochs = 3;
  options.chunk_size = INT64_MAX;
  OK(seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, &options, NULL, NULL, losses, 3, &error));
  seam_adapter_release(adapter);
  seam_adapter_release(loaded);

  OK(seam_adapter_create(backbone, "test-constant", OPTIONS(.classes = CLASSES), &adapter, &error));
  FAILS(seam_adapter_fit(adapter, scores, hidden, labels, empty, EXAMPLES, NULL, NULL, NULL, NULL, 0, &error),
        SEAM_INVALID_ARGUMENT,
        "there is nothing to train: no adapter has a parameter that is not frozen, or starts from the examples");
  seam_adapter_release(adapter);

  CHECK(warning[0] == 0);
  OK(seam_adapter_create(backbone, "test-unused", OPTIONS(.classes = CLASSES), &adapter, &error));
  OK(seam_adapter_fit(adapter, scores, hidden, labels, empty, EXAMPLES, NULL, NULL, NULL, NULL, 0, &error));
  CHECK(strcmp(warning,
               "adapter \"test-unused\": the loss of epoch 1 does not reach the trained parameter \"unused\", which "
               "is not updated") == 0);
  seam_adapter_release(adapter);
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  char path[1000];
  hostile_plugins(argv[1]);
  seam_runtime *runtime = make_runtime(argv[1]);
  seam_runtime_set_log(runtime, keep_warning, NULL);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libCalibration.so"), &error));
  seam_backbone *backbone = open_tiny(runtime);
  client_counts(runtime, backbone, argv[1]);
  tokenizer_counts(argv[3]);
  session_sizes(backbone);
  operations(runtime);
  fits_by_preparing(backbone, argv[2]);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("limits");
}
