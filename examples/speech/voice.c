/* Teaches a model of speech a voice, in C: the features of sound files, RepCali on the frozen model, and what the model
 * writes of a sentence that it has not learned, before and after. voice.py and swift/main.swift do the same and print
 * the same.
 *
 * Build and run, from the root of the repository, after `examples/speech/run` has made model and sentences:
 *   cc -std=c11 -O2 -I include examples/speech/voice.c -o voice -L .build/release -lSeam -Wl,-rpath,$PWD/.build/release
 *   ./voice MODEL train.tsv dev.tsv adapter 48
 *
 * MODEL is a Whisper folder in the Hugging Face layout; the data have a header line, then the path of a sound file,
 * which begins at their own folder, a tab and what is said; `adapter` is the folder to write; 48 is the number of
 * steps. */
#include <seam/seam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_SIZE = 16, REPORT_EVERY = 4, MAX_LINE = 1 << 12, MAX_TOKENS = 512, MAX_SENTENCES = 1024 };

static seam_error *error = NULL;

static void check(seam_status status) {
  if (status == SEAM_OK) return;
  fprintf(stderr, "error: %s\n", seam_error_message(error));
  seam_error_release(error);
  exit(1);
}

static void fail(const char *file, const char *sentence) {
  fprintf(stderr, "error: %s: %s\n", file, sentence);
  exit(1);
}

static void *room(size_t count, size_t size) {
  void *memory = calloc(count > 0 ? count : 1, size);
  if (memory == NULL) fail("voice", "out of memory");
  return memory;
}

/* ---- Sentences: sounds as features, and the tokens that are to be written of them */

typedef struct {
  float *features; /* [frames, width] */
  int32_t tokens[MAX_TOKENS];
  int64_t token_count;
} sentence;

typedef struct {
  sentence *all;
  int64_t count, frames, width;
} sentences;

/* The sizes of features: every sound that the model hears at once has as many frames as the first. */
static void read_features(seam_feature_extractor *extractor, const char *path, sentences *data, sentence *one) {
  size_t frames = 0;
  check(seam_feature_extractor_read(extractor, path, SEAM_LONG_SOUND_REFUSE, NULL, 0, &frames, &error));
  const size_t capacity = frames * (size_t)data->width;
  one->features = room(capacity, sizeof(float));
  check(seam_feature_extractor_read(extractor, path, SEAM_LONG_SOUND_REFUSE, one->features, capacity, &frames, &error));
  data->frames = (int64_t)frames;
}

static sentences read_sentences(const char *file, seam_feature_extractor *extractor, seam_tokenizer *tokenizer,
                                const seam_backbone_info *info) {
  static char line[MAX_LINE], path[2 * MAX_LINE], text[MAX_LINE + 1];
  sentences data = {room(MAX_SENTENCES, sizeof(sentence)), 0, 0, info->feature_width};
  const char *slash = strrchr(file, '/');
  const int folder = slash == NULL ? 0 : (int)(slash - file) + 1;
  FILE *stream = fopen(file, "r");
  if (stream == NULL || fgets(line, sizeof line, stream) == NULL) fail(file, "cannot be read");
  while (fgets(line, sizeof line, stream) != NULL) {
    if (data.count == MAX_SENTENCES) fail(file, "there are more sentences than this program reads");
    if (strchr(line, '\n') == NULL && !feof(stream)) fail(file, "a line is too long");
    line[strcspn(line, "\r\n")] = '\0';
    char *tab = strchr(line, '\t');
    if (tab == NULL) fail(file, "a line has no tab between the sound and what is said");
    *tab = '\0';
    sentence *one = &data.all[data.count++];
    snprintf(path, sizeof path, "%.*s%s", folder, file, line);
    read_features(extractor, path, &data, one);
    /* With a space in front, as Whisper writes. */
    snprintf(text, sizeof text, " %s", tab + 1);
    size_t count = 0;
    check(seam_tokenizer_encode(tokenizer, text, one->tokens, MAX_TOKENS, &count, &error));
    if (count == 0 || count > MAX_TOKENS) fail(file, "a text has no token, or too many");
    /* The model is given the start token, and does not predict it. */
    if (one->tokens[0] == info->decoder_start_token_id)
      memmove(one->tokens, one->tokens + 1, --count * sizeof(int32_t));
    one->token_count = (int64_t)count;
  }
  fclose(stream);
  if (data.count == 0) fail(file, "there are no sentences in it");
  return data;
}

static void release_sentences(sentences data) {
  for (int64_t i = 0; i < data.count; i++) free(data.all[i].features);
  free(data.all);
}

/* Rows from `first`, counted around the end. The arrays are ours; release_batch frees them after the call. */
static seam_batch make_batch(const sentences *data, int64_t first, int64_t rows) {
  seam_batch batch = {.struct_size = sizeof batch, .batch = rows, .source_length = data->frames};
  for (int64_t i = 0; i < rows; i++) {
    const int64_t length = data->all[(first + i) % data->count].token_count;
    if (length > batch.target_length) batch.target_length = length;
  }
  const size_t size = (size_t)(data->frames * data->width);
  float *features = room((size_t)rows * size, sizeof *features);
  int32_t *labels = room((size_t)(rows * batch.target_length), sizeof *labels);
  for (int64_t i = 0; i < rows; i++) {
    const sentence *one = &data->all[(first + i) % data->count];
    memcpy(features + (size_t)i * size, one->features, size * sizeof *features);
    for (int64_t j = 0; j < batch.target_length; j++)
      labels[i * batch.target_length + j] = j < one->token_count ? one->tokens[j] : -100;
  }
  batch.input_features = features;
  batch.labels = labels;
  return batch;
}

static void release_batch(seam_batch *batch) {
  free((void *)batch->input_features);
  free((void *)batch->labels);
}

/* Mean negative log-likelihood of a token of the targets. */
static double dev_loss(seam_session *session, const sentences *data) {
  double sum = 0;
  int64_t count = 0;
  for (int64_t first = 0; first < data->count; first += BATCH_SIZE) {
    const int64_t rows = data->count - first < BATCH_SIZE ? data->count - first : BATCH_SIZE;
    seam_batch batch = make_batch(data, first, rows);
    seam_score scores[BATCH_SIZE];
    check(seam_session_score(session, &batch, scores, BATCH_SIZE, &error));
    release_batch(&batch);
    for (int64_t i = 0; i < rows; i++) {
      sum -= scores[i].log_probability;
      count += scores[i].token_count;
    }
  }
  return sum / (double)count;
}

static void report(const char *name, seam_session *session, seam_tokenizer *tokenizer, const sentences *data) {
  const seam_batch sound = {
      .struct_size = sizeof sound, .batch = 1, .source_length = data->frames, .input_features = data->all[0].features};
  seam_sequences *written = NULL;
  size_t length = 0;
  char *text = NULL;
  check(seam_session_generate(session, &sound, NULL, NULL, NULL, &written, &error));
  const int32_t *tokens = seam_sequences_tokens(written, 0, 0, &length, NULL);
  check(seam_tokenizer_decode(tokenizer, tokens, length, &text, &error));
  printf("%s dev loss %.5f, writes:%s\n", name, dev_loss(session, data), text);
  seam_string_release(text);
  seam_sequences_release(written);
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: voice MODEL TRAIN.tsv DEV.tsv ADAPTER STEPS\n");
    return 2;
  }
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_tokenizer *tokenizer = NULL;
  seam_feature_extractor *extractor = NULL;
  check(seam_runtime_create(&runtime, &error));
  check(seam_runtime_load_plugins(runtime, NULL, NULL, &error));
  check(seam_backbone_open(runtime, NULL, argv[1], NULL, &backbone, &error));
  check(seam_tokenizer_open(argv[1], &tokenizer, &error));
  check(seam_feature_extractor_open(argv[1], &extractor, &error));
  seam_backbone_info info = {.struct_size = sizeof info};
  check(seam_backbone_get_info(backbone, &info, &error));
  const sentences train = read_sentences(argv[2], extractor, tokenizer, &info);
  const sentences dev = read_sentences(argv[3], extractor, tokenizer, &info);

  /* A shift of what the encoder gives, one number for each of its features and one more for its size. */
  seam_adapter *adapter = NULL, *saved = NULL;
  seam_session *session = NULL, *fresh = NULL;
  const seam_adapter_options wanted = {.struct_size = sizeof wanted, .options_json = "{\"norm\": \"none\"}"};
  check(seam_adapter_create(backbone, "repcali", &wanted, &adapter, &error));
  check(seam_session_create(backbone, &session, &error));
  check(seam_session_attach(session, NULL, adapter, -1, &error));
  report("before  ", session, tokenizer, &dev);

  seam_train_options options = {.struct_size = sizeof options};
  check(seam_train_options_init(&options, &error));
  options.learning_rate = 3e-2;
  options.weight_decay = 0;
  options.seam_cache_bytes = -1; /* what the encoder gives is computed once for each sound */
  check(seam_session_begin_training(session, &options, &error));
  for (long step = 0; step < strtol(argv[5], NULL, 10); step++) {
    seam_batch batch = make_batch(&train, step * BATCH_SIZE, BATCH_SIZE);
    seam_step done = {.struct_size = sizeof done};
    check(seam_session_train_step(session, &batch, &done, &error));
    release_batch(&batch);
    if (done.step % REPORT_EVERY == 0) printf("step %3d loss %.5f\n", (int)done.step, done.loss);
  }
  seam_session_end_training(session);
  report("trained ", session, tokenizer, &dev);
  check(seam_adapter_save(adapter, argv[4], NULL, "- data: sentences of the example", &error));

  /* What was saved gives the same numbers. */
  check(seam_adapter_load(backbone, argv[4], &saved, &error));
  check(seam_session_create(backbone, &fresh, &error));
  check(seam_session_attach(fresh, NULL, saved, -1, &error));
  report("reloaded", fresh, tokenizer, &dev);

  release_sentences(train);
  release_sentences(dev);
  seam_session_release(fresh);
  seam_session_release(session);
  seam_adapter_release(saved);
  seam_adapter_release(adapter);
  seam_feature_extractor_release(extractor);
  seam_tokenizer_release(tokenizer);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return 0;
}
