/* Texts classified by a prompt, label words and a head, on a model that reads tokens and on one that reads text.
 * Arguments: the folder of the plugins, a folder to write to, a folder with the tokenizer of Tests/Fixtures/tokenizer. */
#include "check.h"

enum { TEXTS = 4, CLASSES = 2 };

static const char *const task =
    "{\"template\": \"{text} world [MASK]\", \"labels\": {\"no\": [\"hello\"], \"yes\": [\"world\", \"gr\xc3\xbcn\"]}}";
static const char *const texts[TEXTS] = {"hello", "world world", "hello world", "gr\xc3\xbcn"};
static const int32_t labels[TEXTS] = {0, 1, 0, 1};

static void classifies(seam_backbone *backbone, seam_tokenizer *tokenizer, const char *folder, const char *name) {
  char path[1000], cache[1000];
  float before[TEXTS * CLASSES], after[TEXTS * CLASSES], again[TEXTS * CLASSES];
  double losses[30];
  char *saved_task = NULL;
  seam_classifier *classifier = NULL, *loaded = NULL;
  seam_adapter *adapter = NULL, *copy = NULL;
  path_in(cache, folder, name);
  strcat(cache, "-cache");

  OK(seam_classifier_create(backbone, tokenizer, task, cache, &classifier, &error));
  OK(seam_classifier_predict(classifier, texts, NULL, TEXTS, NULL, NULL, before, TEXTS * CLASSES, &error));
  const int64_t asked = seam_classifier_query_count(classifier);
  CHECK(asked >= TEXTS);
  OK(seam_adapter_create(backbone, "dect", OPTIONS(.classes = CLASSES, .seed = 3), &adapter, &error));
  OK(seam_classifier_attach(classifier, adapter, &error));
  OK(seam_classifier_fit(classifier, texts, NULL, labels, TEXTS, NULL, NULL, NULL, losses, 30, &error));
  CHECK(losses[29] < losses[0]);
  OK(seam_classifier_predict(classifier, texts, NULL, TEXTS, NULL, NULL, after, TEXTS * CLASSES, &error));
  CHECK(memcmp(before, after, sizeof before) != 0);
  for (int i = 0; i < TEXTS * CLASSES; i++) CHECK(isfinite(after[i]));

  /* Saved and loaded it says the same, and the model is asked nothing: its answers are on the disk. */
  OK(seam_adapter_save(adapter, path_in(path, folder, name), NULL, NULL, &error));
  OK(seam_adapter_load(backbone, path, &copy, &error));
  OK(seam_adapter_task(copy, &saved_task, &error));
  OK(seam_classifier_create(backbone, tokenizer, saved_task, cache, &loaded, &error));
  OK(seam_classifier_attach(loaded, copy, &error));
  OK(seam_classifier_predict(loaded, texts, NULL, TEXTS, NULL, NULL, again, TEXTS * CLASSES, &error));
  CHECK(memcmp(after, again, sizeof after) == 0);
  CHECK(seam_classifier_query_count(loaded) == 0 || strcmp(name, "tokens") == 0);
  seam_string_release(saved_task);
  seam_classifier_release(loaded);
  seam_adapter_release(copy);
  seam_classifier_release(classifier);
  seam_adapter_release(adapter);
}

static void refuses(seam_backbone *backbone, seam_tokenizer *tokenizer) {
  ERROR_SLOT;
  seam_classifier *classifier = NULL;
  seam_adapter *adapter = NULL;
  char *json = NULL;
  float scores[2 * CLASSES];
  FAILS(seam_classifier_create(backbone, tokenizer, "{\"template\": \"x\"}", NULL, &classifier, &error), SEAM_FORMAT,
        "there is no {text} in it");
  FAILS(seam_classifier_create(backbone, tokenizer, "{\"prompt\": \"{text}\"}", NULL, &classifier, &error), SEAM_FORMAT,
        "unknown key \"prompt\"");
  FAILS(seam_classifier_create(backbone, tokenizer,
                               "{\"template\": \"{text}\", \"labels\": {\"a\": \"hello\", \"b\": \"dog\"}}", NULL,
                               &classifier, &error),
        SEAM_INVALID_ARGUMENT, "the word \"dog\" of label \"b\" is not in the model's vocabulary");
  FAILS(seam_classifier_create(backbone, NULL, task, NULL, &classifier, &error), SEAM_INVALID_ARGUMENT,
        "needs its tokenizer");
  OK(seam_classifier_create(backbone, tokenizer, task, NULL, &classifier, &error));
  FAILS(seam_classifier_fit(classifier, texts, NULL, labels, TEXTS, NULL, NULL, NULL, NULL, 0, &error),
        SEAM_INVALID_ARGUMENT, "there is no adapter");
  OK(seam_adapter_create(backbone, "dect", OPTIONS(.classes = 3), &adapter, &error));
  FAILS(seam_classifier_attach(classifier, adapter, &error), SEAM_INCOMPATIBLE,
        "was made for 3 classes, the task has 2");
  FAILS(seam_adapter_task(adapter, &json, &error), SEAM_NOT_FOUND, "holds no classification task");
  FAILS(seam_classifier_predict(classifier, NULL, NULL, 2, NULL, NULL, scores, 2 * CLASSES, &error),
        SEAM_INVALID_ARGUMENT, "argument texts is NULL");
  FAILS(seam_classifier_predict(classifier, texts, NULL, 0, NULL, NULL, scores, 2 * CLASSES, &error),
        SEAM_INVALID_ARGUMENT, "count must be positive");
  FAILS(seam_classifier_predict(classifier, texts, texts, 2, NULL, NULL, scores, 2 * CLASSES, &error),
        SEAM_INVALID_ARGUMENT, "{text_b}");
  CHECK(seam_classifier_query_count(NULL) == -1);
  CHECK(json == NULL);
  seam_adapter_release(adapter);
  seam_classifier_release(classifier);
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  seam_runtime *runtime = make_runtime(argv[1]);
  seam_backbone *reads_tokens = NULL, *reads_text = NULL;
  seam_tokenizer *tokenizer = NULL;
  char path[1000];
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libDecT.so"), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libTinyText.so"), &error));
  OK(seam_tokenizer_open(argv[3], &tokenizer, &error));
  OK(seam_backbone_open(runtime, "tiny-opaque", NULL, NULL, &reads_tokens, &error));
  OK(seam_backbone_open(runtime, "tiny-text", NULL, NULL, &reads_text, &error));
  classifies(reads_tokens, tokenizer, argv[2], "tokens");
  classifies(reads_text, NULL, argv[2], "text");
  refuses(reads_tokens, tokenizer);
  seam_tokenizer_release(tokenizer);
  seam_backbone_release(reads_text);
  seam_backbone_release(reads_tokens);
  seam_runtime_release(runtime);
  return finish("text_classifier");
}
