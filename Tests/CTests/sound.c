/* Features of sound.
 * Arguments: a folder with preprocessor_config.json of one second. */
#include "check.h"

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  ERROR_SLOT;
  seam_feature_extractor *extractor = NULL;
  FAILS(seam_feature_extractor_open("/nowhere/at/all", &extractor, &error), SEAM_NOT_FOUND, "/nowhere/at/all");
  FAILS(seam_feature_extractor_open(argv[1], NULL, &error), SEAM_INVALID_ARGUMENT, "argument out is NULL");
  CHECK(extractor == NULL);
  OK(seam_feature_extractor_open(argv[1], &extractor, &error));

  char *json = NULL;
  OK(seam_feature_extractor_describe(extractor, &json, &error));
  CHECK(strstr(json, "\"frames\":100,\"feature_size\":80,\"sampling_rate\":16000"));
  seam_string_release(json);

  /* A loud sample in silence reaches the frames whose windows hold it. */
  static float samples[16000], features[100 * 80 + 1];
  samples[8000] = 1;
  features[100 * 80] = -7;
  OK(seam_feature_extractor_extract(extractor, samples, 16000, 16000, 0, features, 100 * 80, &error));
  CHECK(features[50 * 80] > features[0] && features[50 * 80 + 79] > features[99 * 80 + 79]);
  CHECK(features[0] == features[99 * 80] && features[100 * 80] == -7);

  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, 16000, 0, features, 100 * 80 - 1, &error),
        SEAM_INVALID_ARGUMENT, "argument capacity must be at least 8000, for 100 frames of 80 features, found 7999");
  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, 8000, 0, features, 100 * 80, &error),
        SEAM_INVALID_ARGUMENT, "is 2.0 s long, and the model hears 1 s at once");
  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, -1, 0, features, 100 * 80, &error),
        SEAM_INVALID_ARGUMENT, "sampling rate from 63 to 4096000 Hz, found -1");
  FAILS(seam_feature_extractor_extract(extractor, NULL, 16000, 16000, 0, features, 100 * 80, &error),
        SEAM_INVALID_ARGUMENT, "argument samples is NULL");
  FAILS(seam_feature_extractor_extract(extractor, NULL, 0, 16000, 0, features, 100 * 80, &error), SEAM_INVALID_ARGUMENT,
        "argument samples has no samples");
  FAILS(seam_feature_extractor_extract(extractor, samples, SIZE_MAX, 16000, 0, features, 100 * 80, &error),
        SEAM_INVALID_ARGUMENT, "argument count");
  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, 16000, 2, features, 100 * 80, &error),
        SEAM_INVALID_ARGUMENT, "argument truncation must be 0 or 1, found 2");
  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, 16000, 0, NULL, 100 * 80, &error),
        SEAM_INVALID_ARGUMENT, "argument features is NULL");
  FAILS(seam_feature_extractor_read(extractor, "/nowhere.wav", 0, features, 100 * 80, &error), SEAM_NOT_FOUND,
        "/nowhere.wav");
  FAILS(seam_feature_extractor_read(extractor, argv[0], 0, features, 100 * 80, &error), SEAM_FORMAT,
        "is no sound file that libsndfile reads");
  FAILS(seam_feature_extractor_read(NULL, argv[0], 0, features, 100 * 80, &error), SEAM_INVALID_ARGUMENT,
        "argument extractor is NULL");
  seam_feature_extractor_release(extractor);
  seam_feature_extractor_release(NULL);
  return finish("sound");
}
