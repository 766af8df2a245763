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
  enum { BINS = 80, CHUNK = 100 * BINS, REFUSE = SEAM_LONG_SOUND_REFUSE, WHOLE = SEAM_LONG_SOUND_WHOLE };
  static float samples[16000], features[200 * BINS + 1];
  size_t frames = 0;
  samples[8000] = 1;
  features[CHUNK] = -7;
  OK(seam_feature_extractor_extract(extractor, samples, 16000, 16000, REFUSE, features, CHUNK, &frames, &error));
  CHECK(frames == 100 && features[50 * BINS] > features[0]);
  CHECK(features[50 * BINS + 79] > features[99 * BINS + 79]);
  CHECK(features[0] == features[99 * BINS] && features[CHUNK] == -7);

  /* Two seconds as a whole: asked how many frames there are, then for them. */
  OK(seam_feature_extractor_extract(extractor, samples, 16000, 8000, WHOLE, NULL, 0, &frames, &error));
  CHECK(frames == 200);
  features[200 * BINS] = -7;
  OK(seam_feature_extractor_extract(extractor, samples, 16000, 8000, WHOLE, features, 200 * BINS, &frames, &error));
  CHECK(features[100 * BINS] > features[0] && features[0] == features[199 * BINS] && features[200 * BINS] == -7);
  frames = 0;
  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, 8000, WHOLE, features, CHUNK, &frames, &error),
        SEAM_INVALID_ARGUMENT, "argument capacity must be at least 16000, for 200 frames of 80 features, found 8000");
  CHECK(frames == 200);
  OK(seam_feature_extractor_extract(extractor, samples, 16000, 8000, SEAM_LONG_SOUND_TRUNCATE, features, CHUNK, &frames,
                                    &error));
  CHECK(frames == 100);
  /* Shorter sound is a chunk, also as a whole. */
  OK(seam_feature_extractor_extract(extractor, samples, 1, 16000, WHOLE, NULL, 0, &frames, &error));
  CHECK(frames == 100);
  FAILS(seam_feature_extractor_extract(extractor, samples, (size_t)1 << 40, 16000, WHOLE, NULL, 0, &frames, &error),
        SEAM_INVALID_ARGUMENT, "features are made of at most 167772 s: cut it");

  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, 16000, REFUSE, features, CHUNK - 1, &frames, &error),
        SEAM_INVALID_ARGUMENT, "argument capacity must be at least 8000, for 100 frames of 80 features, found 7999");
  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, 8000, REFUSE, features, CHUNK, &frames, &error),
        SEAM_INVALID_ARGUMENT, "is 2.0 s long, and the model hears 1 s at once");
  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, -1, REFUSE, features, CHUNK, &frames, &error),
        SEAM_INVALID_ARGUMENT, "sampling rate from 63 to 4096000 Hz, found -1");
  FAILS(seam_feature_extractor_extract(extractor, NULL, 16000, 16000, REFUSE, features, CHUNK, &frames, &error),
        SEAM_INVALID_ARGUMENT, "argument samples is NULL");
  FAILS(seam_feature_extractor_extract(extractor, NULL, 0, 16000, REFUSE, features, CHUNK, &frames, &error),
        SEAM_INVALID_ARGUMENT, "argument samples has no samples");
  FAILS(seam_feature_extractor_extract(extractor, samples, SIZE_MAX, 16000, REFUSE, features, CHUNK, &frames, &error),
        SEAM_INVALID_ARGUMENT, "argument count");
  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, 16000, 3, features, CHUNK, &frames, &error),
        SEAM_INVALID_ARGUMENT, "argument long_sound must be 0, 1 or 2, found 3");
  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, 16000, REFUSE, NULL, CHUNK, &frames, &error),
        SEAM_INVALID_ARGUMENT, "argument features is NULL");
  FAILS(seam_feature_extractor_extract(extractor, samples, 16000, 16000, REFUSE, features, CHUNK, NULL, &error),
        SEAM_INVALID_ARGUMENT, "argument frames is NULL");
  FAILS(seam_feature_extractor_read(extractor, "/nowhere.wav", WHOLE, NULL, 0, &frames, &error), SEAM_NOT_FOUND,
        "/nowhere.wav");
  FAILS(seam_feature_extractor_read(extractor, argv[0], REFUSE, features, CHUNK, &frames, &error), SEAM_FORMAT,
        "is no sound file that libsndfile reads");
  FAILS(seam_feature_extractor_read(NULL, argv[0], REFUSE, features, CHUNK, &frames, &error), SEAM_INVALID_ARGUMENT,
        "argument extractor is NULL");
  seam_feature_extractor_release(extractor);
  seam_feature_extractor_release(NULL);
  return finish("sound");
}
