/* Trains a RepCali adapter on a pretrained sequence-to-sequence model, in C: open the model, attach the adapter, train,
 * score, save, read it back and score again. examples/python and examples/swift do the same and print the same numbers.
 *
 * Build and run, from the root of the repository, after `swift build -c release`:
 *   cc -std=c11 -O2 -I include examples/c/train.c -o train -L .build/release -lSeam -Wl,-rpath,$PWD/.build/release
 *   ./train MODEL train.jsonl dev.jsonl adapter 100
 *
 * MODEL is a folder in the Hugging Face layout with a tokenizer.json; each line of the data is a JSON object with the
 * strings "source" and "target"; `adapter` is the folder to write; 100 is the number of steps. */
#include <seam/seam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_SIZE = 8, REPORT_EVERY = 10, MAX_LINE = 1 << 16, MAX_TOKENS = 1024 };

/* ---- Errors: most functions of SeamKit return SEAM_OK, or another code and an error object with a sentence. */

static seam_error *error = NULL;

static void check(seam_status status) {
  if (status == SEAM_OK) return;
  const char *origin = seam_error_origin(error); /* the plugin that failed, or "" */
  fprintf(stderr, "error: %s%s%s\n", origin, origin[0] != '\0' ? ": " : "", seam_error_message(error));
  seam_error_release(error);
  exit(1);
}

static void fail(const char *file, const char *sentence) {
  fprintf(stderr, "error: %s: %s\n", file, sentence);
  exit(1);
}

static void *room(void *memory, size_t size) {
  memory = realloc(memory, size > 0 ? size : 1);
  if (memory == NULL) fail("train", "out of memory");
  return memory;
}

/* ---- Data: pairs of token ids. */

typedef struct {
  int32_t *ids;
  int64_t length;
} tokens;

typedef struct {
  tokens *sources, *targets;
  int64_t count;
} pairs;

/* Writes a character as UTF-8. */
static char *put_character(char *out, unsigned code) {
  if (code < 0x80) {
    *out++ = (char)code;
  } else if (code < 0x800) {
    *out++ = (char)(0xC0 | code >> 6);
    *out++ = (char)(0x80 | (code & 0x3F));
  } else {
    *out++ = (char)(0xE0 | code >> 12);
    *out++ = (char)(0x80 | (code >> 6 & 0x3F));
    *out++ = (char)(0x80 | (code & 0x3F));
  }
  return out;
}

/* Copies the string under `key` out of a line that holds one flat JSON object. It reads what this data has: the usual
 * escapes, and \u for characters of the basic plane. Take a JSON library for anything more. */
static void read_string(const char *file, const char *line, const char *key, char *out) {
  char quoted[32];
  snprintf(quoted, sizeof quoted, "\"%s\"", key);
  const char *at = strstr(line, quoted);
  if (at != NULL) at = strchr(at + strlen(quoted), '"');
  if (at == NULL) fail(file, "a line lacks the string \"source\" or \"target\"");
  for (at++; *at != '"'; at++) {
    unsigned code = (unsigned char)*at;
    if (code == '\0') fail(file, "a string does not end on its line");
    if (code != '\\') {
      *out++ = *at;
      continue;
    }
    switch (*++at) {
      case 'n': code = '\n'; break;
      case 't': code = '\t'; break;
      case 'r': code = '\r'; break;
      case 'b': code = '\b'; break;
      case 'f': code = '\f'; break;
      case 'u':
        if (sscanf(at + 1, "%4x", &code) != 1 || strlen(at) < 5) fail(file, "a \\u escape lacks its digits");
        at += 4;
        break;
      default: code = (unsigned char)*at;
    }
    out = put_character(out, code);
  }
  *out = '\0';
}

static tokens encode(seam_tokenizer *tokenizer, const char *file, const char *text) {
  int32_t ids[MAX_TOKENS];
  size_t count = 0;
  check(seam_tokenizer_encode(tokenizer, text, ids, MAX_TOKENS, &count, &error));
  if (count == 0 || count > MAX_TOKENS) fail(file, "a text has no token, or too many");
  tokens result = {room(NULL, count * sizeof *ids), (int64_t)count};
  memcpy(result.ids, ids, count * sizeof *ids);
  return result;
}

/* A target that begins with the decoder's start token loses it: the model is given that token, and does not predict it. */
static pairs read_pairs(const char *file, seam_tokenizer *tokenizer, int64_t start_token) {
  static char line[MAX_LINE], text[MAX_LINE];
  pairs result = {NULL, NULL, 0};
  FILE *stream = fopen(file, "r");
  if (stream == NULL) fail(file, "cannot be opened");
  while (fgets(line, sizeof line, stream) != NULL) {
    if (line[strspn(line, " \r\n")] == '\0') continue;
    result.sources = room(result.sources, (size_t)(result.count + 1) * sizeof(tokens));
    result.targets = room(result.targets, (size_t)(result.count + 1) * sizeof(tokens));
    read_string(file, line, "source", text);
    result.sources[result.count] = encode(tokenizer, file, text);
    read_string(file, line, "target", text);
    tokens target = encode(tokenizer, file, text);
    if (target.ids[0] == start_token) memmove(target.ids, target.ids + 1, (size_t)--target.length * sizeof *target.ids);
    result.targets[result.count++] = target;
  }
  fclose(stream);
  if (result.count == 0) fail(file, "there are no pairs in it");
  return result;
}

static void release_pairs(pairs data) {
  for (int64_t i = 0; i < data.count; i++) {
    free(data.sources[i].ids);
    free(data.targets[i].ids);
  }
  free(data.sources);
  free(data.targets);
}

/* ---- Batches: rectangles, padded on the right. */

/* Rows of `from`, beginning at `first`, counted around its end. mask nullable. */
static int32_t *rectangle(const tokens *from, int64_t all, int64_t first, int64_t rows, int32_t padding,
                          int64_t *length, int32_t **mask) {
  *length = 0;
  for (int64_t i = 0; i < rows; i++)
    if (from[(first + i) % all].length > *length) *length = from[(first + i) % all].length;
  int32_t *ids = room(NULL, (size_t)(rows * *length) * sizeof *ids);
  if (mask != NULL) *mask = room(NULL, (size_t)(rows * *length) * sizeof **mask);
  for (int64_t i = 0; i < rows * *length; i++) {
    const tokens *row = &from[(first + i / *length) % all];
    int is_token = i % *length < row->length;
    ids[i] = is_token ? row->ids[i % *length] : padding;
    if (mask != NULL) (*mask)[i] = is_token;
  }
  return ids;
}

/* The arrays of a seam_batch stay ours; release_batch frees them after the call that read them. */
static seam_batch make_batch(const pairs *data, int64_t first, int64_t rows, int32_t padding) {
  seam_batch batch = {.struct_size = sizeof batch, .batch = rows};
  int32_t *mask = NULL;
  batch.input_ids = rectangle(data->sources, data->count, first, rows, padding, &batch.source_length, &mask);
  batch.attention_mask = mask;
  batch.labels = rectangle(data->targets, data->count, first, rows, -100, &batch.target_length, NULL);
  return batch;
}

static void release_batch(seam_batch *batch) {
  free((void *)batch->input_ids);
  free((void *)batch->attention_mask);
  free((void *)batch->labels);
}

/* Mean negative log-likelihood of a token of the targets. */
static double dev_loss(seam_session *session, const pairs *data, int32_t padding) {
  double sum = 0;
  int64_t count = 0;
  for (int64_t first = 0; first < data->count; first += BATCH_SIZE) {
    int64_t rows = data->count - first < BATCH_SIZE ? data->count - first : BATCH_SIZE;
    seam_batch batch = make_batch(data, first, rows, padding);
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

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: train MODEL TRAIN.jsonl DEV.jsonl ADAPTER STEPS\n");
    return 2;
  }
  /* The plugins are the libraries beside libSeam.so, or in the folders of SEAM_PLUGIN_PATH. */
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_tokenizer *tokenizer = NULL;
  check(seam_runtime_create(&runtime, &error));
  check(seam_runtime_load_plugins(runtime, NULL, NULL, &error));
  check(seam_backbone_open(runtime, NULL, argv[1], NULL, &backbone, &error));
  check(seam_tokenizer_open(argv[1], &tokenizer, &error));
  seam_backbone_info info = {.struct_size = sizeof info};
  check(seam_backbone_get_info(backbone, &info, &error));
  int32_t padding = (int32_t)info.pad_token_id;
  pairs train = read_pairs(argv[2], tokenizer, info.decoder_start_token_id);
  pairs dev = read_pairs(argv[3], tokenizer, info.decoder_start_token_id);

  /* The adapter and a session that runs it on the backbone's seam. */
  seam_adapter *adapter = NULL;
  seam_session *session = NULL;
  seam_adapter_options wanted = {.struct_size = sizeof wanted, .options_json = "{\"lambda\": 1.0}", .seed = 1};
  check(seam_adapter_create(backbone, "repcali", &wanted, &adapter, &error));
  check(seam_session_create(backbone, &session, &error));
  check(seam_session_attach(session, NULL, adapter, -1, &error));
  printf("before   dev loss %.6f\n", dev_loss(session, &dev, padding));

  seam_train_options options = {.struct_size = sizeof options};
  check(seam_train_options_init(&options, &error));
  options.learning_rate = 0.003;
  check(seam_session_begin_training(session, &options, &error));
  for (long step = 0; step < strtol(argv[5], NULL, 10); step++) {
    seam_batch batch = make_batch(&train, step * BATCH_SIZE, BATCH_SIZE, padding);
    seam_step report = {.struct_size = sizeof report};
    check(seam_session_train_step(session, &batch, &report, &error));
    release_batch(&batch);
    if (report.step % REPORT_EVERY == 0) printf("step %3d loss %.6f\n", (int)report.step, report.loss);
  }
  seam_session_end_training(session);
  printf("trained  dev loss %.6f\n", dev_loss(session, &dev, padding));
  check(seam_adapter_save(adapter, argv[4], NULL, "- data: pairs of the example", &error));

  /* What was saved gives the same numbers. */
  seam_adapter *loaded = NULL;
  check(seam_session_detach(session, NULL, adapter, &error));
  check(seam_adapter_load(backbone, argv[4], &loaded, &error));
  check(seam_session_attach(session, NULL, loaded, -1, &error));
  printf("reloaded dev loss %.6f\n", dev_loss(session, &dev, padding));

  /* In any order: an object keeps alive what it was made from. */
  seam_adapter_release(adapter);
  seam_adapter_release(loaded);
  seam_session_release(session);
  seam_tokenizer_release(tokenizer);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  release_pairs(train);
  release_pairs(dev);
  return 0;
}
