/* Sources that are features, from C: the backbone of Tests/Fixtures/features-backbone, whose formula is recomputed here. */
#include "check.h"

enum { FRAME = 3, STRIDE = 2, FRAMES = 5, POSITIONS = 3 };

static void states(float out[POSITIONS][WIDTH], const float frames[FRAMES][FRAME]) {
  for (int i = 0; i < POSITIONS; i++)
    for (int j = 0; j < WIDTH; j++) {
      double sum = 0;
      for (int k = 0; k < STRIDE * FRAME; k++) {
        const int frame = i * STRIDE + k / FRAME;
        if (frame < FRAMES) sum += sin(0.3 + 1.7 * (j * STRIDE * FRAME + k)) * frames[frame][k % FRAME];
      }
      out[i][j] = (float)tanh(sum);
    }
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  char path[1000];
  ERROR_SLOT;
  seam_runtime *runtime = make_runtime(argv[1]);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libTinyFeatures.so"), &error));
  seam_backbone *backbone = NULL, *tokens = open_tiny(runtime);
  seam_session *session = NULL;
  OK(seam_backbone_open(runtime, "tiny-features", NULL, NULL, &backbone, &error));
  OK(seam_session_create(backbone, &session, &error));
  seam_backbone_info info = {.struct_size = sizeof info};
  OK(seam_backbone_get_info(backbone, &info, &error));
  CHECK(info.feature_width == FRAME && info.feature_stride == STRIDE);

  float frames[FRAMES][FRAME], expected[POSITIONS][WIDTH];
  for (int i = 0; i < FRAMES * FRAME; i++) frames[i / FRAME][i % FRAME] = (float)(i % 7) / 3 - 1;
  states(expected, (const float (*)[FRAME])frames);
  const int32_t labels[] = {5, 6};
  seam_batch batch = {.struct_size = sizeof batch,
                      .batch = 1,
                      .source_length = FRAMES,
                      .target_length = 2,
                      .labels = labels,
                      .input_features = frames[0]};
  DLManagedTensorVersioned *hidden = NULL;
  OK(seam_session_encode(session, &batch, &hidden, &error));
  CHECK(hidden->dl_tensor.ndim == 3 && hidden->dl_tensor.shape[1] == POSITIONS && hidden->dl_tensor.shape[2] == WIDTH);
  const float *found = data_of(hidden);
  /* Sums of six products in f32. */
  for (int i = 0; i < POSITIONS * WIDTH; i++) CHECK(fabsf(found[i] - expected[i / WIDTH][i % WIDTH]) < 1e-6f);
  give_back(hidden);
  seam_score score;
  OK(seam_session_score(session, &batch, &score, 1, &error));
  CHECK(score.token_count == 2 && score.log_probability < 0);

  seam_batch source = batch;
  source.target_length = 0;
  source.labels = NULL;
  seam_generate_options options = {.struct_size = sizeof options};
  OK(seam_generate_options_init(backbone, &options, &error));
  CHECK(options.language == NULL && options.task == NULL && options.return_timestamps == 0);
  options.max_new_tokens = 3;
  seam_sequences *texts = NULL;
  OK(seam_session_generate(session, &source, &options, NULL, NULL, &texts, &error));
  CHECK(seam_sequences_count(texts, 0) == 1);
  seam_sequences_release(texts);
  double start = -1, end = -1;
  OK(seam_session_transcribe(session, NULL, frames[0], FRAMES, 0.5, &options, NULL, NULL, &texts, &error));
  /* One window; half a second for each frame of its two whole positions. */
  CHECK(seam_sequences_count(texts, 0) == 1 && seam_sequences_times(texts, 0, 0, &start, &end) == 1);
  CHECK(start == 0 && end == 2);
  CHECK(seam_sequences_times(texts, 0, 1, &start, &end) == 0 && seam_sequences_times(NULL, 0, 0, NULL, NULL) == 0);
  CHECK(seam_sequences_times(texts, 1, 0, &start, &end) == 0);
  seam_sequences_release(texts);
  FAILS(seam_session_transcribe(session, NULL, NULL, FRAMES, 0.5, &options, NULL, NULL, &texts, &error),
        SEAM_INVALID_ARGUMENT, "features is NULL");
  options.language = "en";
  FAILS(seam_session_generate(session, &source, &options, NULL, NULL, &texts, &error), SEAM_UNSUPPORTED,
        "option language: the model's settings of a generation, as they are followed, name no languages");

  seam_batch wrong = batch;
  const int32_t ids[FRAMES] = {3, 4, 5, 6, 7};
  wrong.input_features = NULL;
  FAILS(seam_session_encode(session, &wrong, &hidden, &error), SEAM_INVALID_ARGUMENT, "batch.input_features is NULL");
  wrong.input_ids = ids;
  FAILS(seam_session_encode(session, &wrong, &hidden, &error), SEAM_INVALID_ARGUMENT,
        "give input_features of [batch, frames, 3] alone, found input_ids");
  wrong = batch;
  wrong.batch = 1 << 10;
  wrong.source_length = 1 << 18;
  FAILS(seam_session_encode(session, &wrong, &hidden, &error), SEAM_INVALID_ARGUMENT,
        "at most 268435456 numbers of features, found 1024 rows of 262144 frames of 3");
  frames[3][1] = INFINITY;
  FAILS(seam_session_encode(session, &batch, &hidden, &error), SEAM_NUMERIC, "NaN or infinity in row 0, frame 3");
  seam_session_release(session);
  OK(seam_session_create(tokens, &session, &error));
  FAILS(seam_session_encode(session, &batch, &hidden, &error), SEAM_INVALID_ARGUMENT,
        "sources of this backbone are token ids: give input_ids alone, found input_features");
  seam_session_release(session);
  seam_backbone_release(tokens);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("features");
}
