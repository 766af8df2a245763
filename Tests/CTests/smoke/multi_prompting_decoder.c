/* The multi-prompting decoder: several prompts a text from C, trained, saved and read again.
 * Arguments: the folder of the plugins, a folder to write to. */
#include "head.h"

enum { CLASSES = 2, PROMPTS = 3, EXAMPLES = 8, EPOCHS = 20 };

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  ERROR_SLOT;
  char path[1000];
  float scores[EXAMPLES * PROMPTS * CLASSES], hidden[EXAMPLES * PROMPTS * WIDTH], empty[PROMPTS * CLASSES];
  float found[EXAMPLES * CLASSES];
  double losses[EPOCHS];
  int32_t labels[EXAMPLES];
  for (int i = 0; i < EXAMPLES; i++) {
    labels[i] = i % CLASSES;
    for (int p = 0; p < PROMPTS; p++) {
      float *h = hidden + (i * PROMPTS + p) * WIDTH, *s = scores + (i * PROMPTS + p) * CLASSES;
      for (int k = 0; k < CLASSES; k++) s[k] = (float)sin(i + 2.0 * p + k) + 3;
      for (int d = 0; d < WIDTH; d++) h[d] = (float)sin(5.0 * i + 3.0 * p + d) + (float)(d == labels[i]);
    }
  }
  for (int i = 0; i < PROMPTS * CLASSES; i++) empty[i] = (float)(1 + i);
  seam_runtime *runtime = make_runtime(argv[1]);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libMultiPromptingDecoder.so"), &error));
  seam_backbone *backbone = open_tiny(runtime);
  seam_adapter *adapter = NULL;
  const char *id = "multi-prompting-decoder";
  FAILS(seam_adapter_create(backbone, id, OPTIONS(.classes = CLASSES, .options_json = "{\"epsilon\": 0}"), &adapter,
                            &error),
        SEAM_INVALID_ARGUMENT, "epsilon");
  OK(seam_adapter_create(backbone, id,
                         OPTIONS(.classes = CLASSES, .prompts = PROMPTS, .options_json = "{\"projection_width\": 4}"),
                         &adapter, &error));
  seam_fit_options options = {.struct_size = sizeof options};
  OK(seam_fit_options_init(&options, &error));
  options.epochs = EPOCHS;
  OK(seam_adapter_fit(adapter, scores, hidden, labels, empty, EXAMPLES, &options, NULL, NULL, losses, EPOCHS, &error));
  CHECK(losses[EPOCHS - 1] < losses[0]);
  OK(seam_adapter_classify(adapter, scores, hidden, EXAMPLES, found, EXAMPLES * CLASSES, &error));
  expect_the_same_from_its_folder(backbone, adapter, argv[2], id, scores, hidden, EXAMPLES, found, EXAMPLES * CLASSES);
  seam_adapter_release(adapter);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish(id);
}
