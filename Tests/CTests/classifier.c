/* A classifier head trained on features, by DecT and by a C plugin: options, losses, scores, and the memory of it all.
 * Arguments: the folder of the plugins, a folder to write to. */
#include "check.h"

enum { CLASSES = 3, EXAMPLES = 9 };

static float scores[EXAMPLES * CLASSES], hidden[EXAMPLES * WIDTH], found[EXAMPLES * CLASSES], again[EXAMPLES * CLASSES];
static int32_t labels[EXAMPLES];
static const float empty_scores[CLASSES] = {-4.0f, -3.0f, -5.0f};

static void make_examples(void) {
  for (int i = 0; i < EXAMPLES; i++) {
    labels[i] = i % CLASSES;
    for (int k = 0; k < CLASSES; k++) scores[i * CLASSES + k] = (float)sin(i * 3.0 + k) - 4.0f;
    for (int j = 0; j < WIDTH; j++) hidden[i * WIDTH + j] = (float)(cos(labels[i] * 5.0 + j) + 0.3 * sin(i * 7.0 + j));
  }
}

static void trains(seam_backbone *backbone, const char *id, const char *folder) {
  char path[1000];
  seam_adapter *adapter = NULL, *loaded = NULL;
  double losses[40];
  seam_fit_options options = {.struct_size = sizeof options};
  OK(seam_fit_options_init(&options, &error));
  CHECK(options.epochs == 30 && options.learning_rate == 0.01 && options.chunk_size == 4096 && options.prepare == 1);
  CHECK(options.beta1 == 0.9 && options.beta2 == 0.999 && options.epsilon == 1e-8 && options.max_grad_norm == 0.0);
  options.epochs = 40;
  options.chunk_size = 4;
  OK(seam_adapter_create(backbone, id, OPTIONS(.classes = CLASSES, .seed = 1), &adapter, &error));
  OK(seam_adapter_fit(adapter, scores, hidden, labels, empty_scores, EXAMPLES, &options, NULL, NULL, losses, 40,
                      &error));
  CHECK(losses[39] < losses[0]);
  OK(seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, NULL, NULL, NULL, NULL, 0, &error));
  OK(seam_adapter_classify(adapter, scores, hidden, EXAMPLES, found, EXAMPLES * CLASSES, &error));
  OK(seam_adapter_save(adapter, path_in(path, folder, id), NULL, NULL, &error));
  OK(seam_adapter_load(backbone, path, &loaded, &error));
  OK(seam_adapter_classify(loaded, scores, hidden, EXAMPLES, again, EXAMPLES * CLASSES, &error));
  CHECK(memcmp(found, again, sizeof found) == 0);

  ERROR_SLOT;
  options.learning_rate = 1e300;
  FAILS(seam_adapter_fit(loaded, scores, hidden, labels, empty_scores, EXAMPLES, &options, NULL, NULL, losses, 40,
                         &error),
        SEAM_NUMERIC, "the learning rate may be too high");
  OK(seam_adapter_classify(loaded, scores, hidden, EXAMPLES, again, EXAMPLES * CLASSES, &error));
  CHECK(memcmp(found, again, sizeof found) == 0);
  seam_adapter_release(adapter);
  seam_adapter_release(loaded);
}

static void refuses(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_adapter *adapter = NULL;
  FAILS(seam_adapter_create(backbone, "dect", NULL, &adapter, &error), SEAM_INVALID_ARGUMENT, "at least 2 classes");
  FAILS(
      seam_adapter_create(backbone, "dect", OPTIONS(.options_json = "{\"width\": 1}", .classes = 2), &adapter, &error),
      SEAM_INVALID_ARGUMENT, "unknown option \"width\"");
  FAILS(seam_adapter_create(backbone, "dect", OPTIONS(.classes = 2, .prompts = 3), &adapter, &error), SEAM_UNSUPPORTED,
        "adapter \"dect\" on decoder.output reads one prompt about each text, found 3");
  FAILS(seam_adapter_create(backbone, "dect", OPTIONS(.classes = 2, .prompts = -1), &adapter, &error),
        SEAM_INVALID_ARGUMENT, "the number of prompts must be 1 ... 1048576, found -1");
  OK(seam_adapter_create(backbone, "dect", OPTIONS(.classes = CLASSES), &adapter, &error));
  FAILS(seam_adapter_fit(adapter, NULL, hidden, labels, NULL, EXAMPLES, NULL, NULL, NULL, NULL, 0, &error),
        SEAM_INVALID_ARGUMENT, "argument scores is NULL");
  FAILS(seam_adapter_fit(adapter, scores, NULL, labels, NULL, EXAMPLES, NULL, NULL, NULL, NULL, 0, &error),
        SEAM_INVALID_ARGUMENT, "argument hidden is NULL");
  FAILS(seam_adapter_fit(adapter, scores, hidden, NULL, NULL, EXAMPLES, NULL, NULL, NULL, NULL, 0, &error),
        SEAM_INVALID_ARGUMENT, "argument labels is NULL");
  FAILS(seam_adapter_fit(adapter, scores, hidden, labels, NULL, (size_t)-1, NULL, NULL, NULL, NULL, 0, &error),
        SEAM_INVALID_ARGUMENT, "argument examples must be at most 2147483648, found 18446744073709551615");
  FAILS(seam_adapter_classify(adapter, scores, hidden, EXAMPLES, NULL, 0, &error), SEAM_INVALID_ARGUMENT,
        "argument class_scores is NULL");
  FAILS(seam_adapter_classify(adapter, scores, hidden, 0, found, EXAMPLES * CLASSES, &error), SEAM_INVALID_ARGUMENT,
        "no examples");
  seam_adapter_release(adapter);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  char path[1000];
  make_examples();
  seam_runtime *runtime = make_runtime(argv[1]);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libDecT.so"), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libClassBias.so"), &error));
  seam_backbone *backbone = open_tiny(runtime);
  trains(backbone, "dect", argv[2]);
  trains(backbone, "test-class-bias", argv[2]);
  refuses(backbone);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("classifier");
}
