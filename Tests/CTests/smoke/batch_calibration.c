/* Batch calibration: fitted by prepare alone, against its formula.
 * Arguments: the folder of the plugins, a folder to write to. */
#include "head.h"

enum { CLASSES = 3, EXAMPLES = 6 };

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  ERROR_SLOT;
  char path[1000];
  float scores[EXAMPLES * CLASSES], hidden[EXAMPLES * WIDTH] = {0}, found[EXAMPLES * CLASSES];
  double logarithms[EXAMPLES * CLASSES], mean[CLASSES] = {0};
  int32_t labels[EXAMPLES];
  for (int i = 0; i < EXAMPLES; i++) {
    labels[i] = i % CLASSES;
    double sum = 0;
    for (int k = 0; k < CLASSES; k++) sum += exp(scores[i * CLASSES + k] = (float)sin(i * 3.0 + k) - (float)k);
    for (int k = 0; k < CLASSES; k++) {
      logarithms[i * CLASSES + k] = scores[i * CLASSES + k] - log(sum);
      mean[k] += exp(logarithms[i * CLASSES + k]) / EXAMPLES;
    }
  }
  seam_runtime *runtime = make_runtime(argv[1]);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libBatchCalibration.so"), &error));
  seam_backbone *backbone = open_tiny(runtime);
  seam_adapter *adapter = NULL;
  FAILS(seam_adapter_create(backbone, "batch-calibration",
                            OPTIONS(.classes = CLASSES, .score_kind = SEAM_SCORES_SIMILARITIES), &adapter, &error),
        SEAM_UNSUPPORTED, "it calibrates probabilities, and the scores here are similarities");
  OK(seam_adapter_create(backbone, "batch-calibration", OPTIONS(.classes = CLASSES, .options_json = "{\"gamma\": 0.5}"),
                         &adapter, &error));
  OK(seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, NULL, NULL, NULL, NULL, 0, &error));
  OK(seam_adapter_classify(adapter, scores, hidden, EXAMPLES, found, EXAMPLES * CLASSES, &error));
  for (int i = 0; i < EXAMPLES * CLASSES; i++)
    CHECK(fabs(found[i] - (logarithms[i] - 0.5 * log(mean[i % CLASSES]))) < 1e-5);
  expect_the_same_from_its_folder(backbone, adapter, argv[2], "batch-calibration", scores, hidden, EXAMPLES, found,
                                  EXAMPLES * CLASSES);
  seam_adapter_release(adapter);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("batch-calibration");
}
