/* The ridge head: fitted by prepare alone, saved and read again. Arguments: the folder of the plugins, a folder to write
 * to. */
#include "head.h"

enum { CLASSES = 3, EXAMPLES = 12 };

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  ERROR_SLOT;
  char path[1000];
  float scores[EXAMPLES * CLASSES], hidden[EXAMPLES * WIDTH], empty[CLASSES] = {1, 2, 3};
  float found[EXAMPLES * CLASSES];
  int32_t labels[EXAMPLES];
  for (int i = 0; i < EXAMPLES; i++) {
    labels[i] = i % CLASSES;
    for (int k = 0; k < CLASSES; k++) scores[i * CLASSES + k] = (float)sin(i * 5.0 + k);
    for (int d = 0; d < WIDTH; d++) hidden[i * WIDTH + d] = (float)sin(i * 7.0 + d) + (d == labels[i] ? 3 : 0);
  }
  seam_runtime *runtime = make_runtime(argv[1]);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libRidgeHead.so"), &error));
  seam_backbone *backbone = open_tiny(runtime);
  seam_adapter *adapter = NULL;
  const char *neither = "{\"hidden\": false, \"model_scores\": false}";
  FAILS(seam_adapter_create(backbone, "ridge-head", OPTIONS(.classes = CLASSES, .options_json = neither), &adapter,
                            &error),
        SEAM_INVALID_ARGUMENT, "one of hidden and model_scores must be true");
  OK(seam_adapter_create(backbone, "ridge-head", OPTIONS(.classes = CLASSES), &adapter, &error));
  OK(seam_adapter_fit(adapter, scores, hidden, labels, empty, EXAMPLES, NULL, NULL, NULL, NULL, 0, &error));
  OK(seam_adapter_classify(adapter, scores, hidden, EXAMPLES, found, EXAMPLES * CLASSES, &error));
  /* The states tell the classes, the scores do not. */
  for (int i = 0; i < EXAMPLES; i++)
    for (int k = 0; k < CLASSES; k++) CHECK(found[i * CLASSES + labels[i]] >= found[i * CLASSES + k]);
  expect_the_same_from_its_folder(backbone, adapter, argv[2], "ridge-head", scores, hidden, EXAMPLES, found,
                                  EXAMPLES * CLASSES);
  seam_adapter_release(adapter);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("ridge-head");
}
