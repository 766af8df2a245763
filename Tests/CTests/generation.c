/* Rows that join and leave a generation: each has what it has alone, misuse is a sentence.
 * Arguments: the folder of the plugins. */
#include "check.h"

enum { TEXTS = 4, MOST = 12, CAPACITY = 20 };

/* Texts of 3, 1, 5 and 2 tokens. */
static const int32_t ids[TEXTS][5] = {{3, 5, 7}, {9}, {2, 4, 6, 8, 10}, {11, 12}};
static const int64_t lengths[TEXTS] = {3, 1, 5, 2};
static const char *const routes[TEXTS] = {"a", NULL, "b", "a"};

static seam_batch text_of(int which) {
  seam_batch batch = {.struct_size = sizeof batch, .batch = 1, .source_length = lengths[which]};
  batch.input_ids = ids[which];
  batch.routes = &routes[which];
  return batch;
}

/* Text i is generated greedily, or drawn from seed i, as far as 4 + i tokens. */
static seam_generate_options options_of(seam_backbone *backbone, int which) {
  seam_generate_options options = {.struct_size = sizeof options};
  OK(seam_generate_options_init(backbone, &options, &error));
  options.max_new_tokens = 4 + which;
  options.do_sample = which % 2;
  options.seed = (uint64_t)which;
  return options;
}

/* What a text got, from its steps. */
typedef struct {
  int64_t row;
  int32_t tokens[MOST];
  int32_t count;
  double score, sum; /* sum: of the log-probabilities of the steps */
} received;

static void add(seam_generation *generation, seam_backbone *backbone, int which, received *out) {
  seam_batch batch = text_of(which);
  seam_generate_options options = options_of(backbone, which);
  OK(seam_generation_add(generation, &batch, &options, &out->row, 1, &error));
}

static size_t step(seam_generation *generation, received *all) {
  seam_row_step steps[TEXTS];
  size_t count = 0;
  OK(seam_generation_step(generation, steps, TEXTS, &count, &error));
  for (size_t i = 0; i < count; i++) {
    for (int t = 0; t < TEXTS; t++) {
      if (all[t].row != steps[i].row) continue;
      CHECK(steps[i].status == SEAM_OK && steps[i].message == NULL && all[t].count < MOST);
      all[t].tokens[all[t].count++] = steps[i].token;
      CHECK(steps[i].token_count == all[t].count && steps[i].log_probability <= 0);
      all[t].sum += steps[i].log_probability;
      const int ended = steps[i].finish_reason != SEAM_FINISH_NONE;
      CHECK(ended != isnan(steps[i].score));
      if (ended) {
        CHECK(steps[i].finish_reason == SEAM_FINISH_LENGTH && all[t].count == 4 + t);
        all[t].score = steps[i].score;
        CHECK(fabs(all[t].sum - all[t].score) < 1e-5);
      }
    }
  }
  return count;
}

static size_t rows_of(seam_generation *generation) {
  size_t count = 99;
  OK(seam_generation_rows(generation, NULL, 0, &count, &error));
  return count;
}

/* The texts come one after the other and leave as they end; one leaves before its end. */
static void join_and_leave(seam_backbone *backbone, seam_session *session) {
  seam_generation *generation = NULL;
  OK(seam_generation_create(session, CAPACITY, &generation, &error));
  received all[TEXTS];
  for (int t = 0; t < TEXTS; t++) all[t] = (received){.row = -1};
  CHECK(step(generation, all) == 0 && rows_of(generation) == 0);
  add(generation, backbone, 0, &all[0]);
  add(generation, backbone, 2, &all[2]);
  CHECK(step(generation, all) == 2);
  received gone = {.row = -1};
  add(generation, backbone, 3, &gone);
  add(generation, backbone, 1, &all[1]);
  int64_t rows[TEXTS] = {-1, -1, -1, -1};
  size_t count = 0;
  OK(seam_generation_rows(generation, rows, 2, &count, &error));
  CHECK(count == 4 && rows[0] == all[0].row && rows[1] == all[2].row && rows[2] == -1);
  CHECK(step(generation, all) == 4);
  OK(seam_generation_remove(generation, gone.row, &error));
  add(generation, backbone, 3, &all[3]);
  CHECK(all[3].row != gone.row && rows_of(generation) == 4);
  for (int steps = 0; rows_of(generation) > 0 && steps < 20; steps++) step(generation, all);
  CHECK(rows_of(generation) == 0);
  for (int t = 0; t < TEXTS; t++) {
    seam_batch batch = text_of(t);
    seam_generate_options options = options_of(backbone, t);
    seam_sequences *alone = NULL;
    OK(seam_session_generate(session, &batch, &options, NULL, NULL, &alone, &error));
    size_t length = 0;
    double score = 0;
    const int32_t *tokens = seam_sequences_tokens(alone, 0, 0, &length, &score);
    CHECK((int32_t)length == all[t].count && memcmp(tokens, all[t].tokens, length * sizeof *tokens) == 0);
    CHECK(fabs(score - all[t].score) < 1e-4);
    seam_sequences_release(alone);
  }
  seam_generation_release(generation);
}

/* Rows of one call are read together. */
static void several_at_once(seam_backbone *backbone, seam_session *session) {
  static const int32_t both[2 * 3] = {3, 5, 7, 9, 0, 0}, mask[2 * 3] = {1, 1, 1, 1, 0, 0};
  static const char *const two[2] = {"a", NULL};
  seam_batch batch = {.struct_size = sizeof batch, .batch = 2, .source_length = 3};
  batch.input_ids = both;
  batch.attention_mask = mask;
  batch.routes = two;
  seam_generation *generation = NULL;
  OK(seam_generation_create(session, CAPACITY, &generation, &error));
  int64_t rows[2] = {-1, -1};
  seam_generate_options options = options_of(backbone, 0);
  OK(seam_generation_add(generation, &batch, &options, rows, 2, &error));
  CHECK(rows[0] == 0 && rows[1] == 1);
  received all[TEXTS];
  for (int t = 0; t < TEXTS; t++) all[t] = (received){.row = t == 0 ? 0 : -1};
  for (int i = 0; i < 4; i++) CHECK(step(generation, all) == 2);
  seam_batch one = text_of(0);
  seam_sequences *alone = NULL;
  OK(seam_session_generate(session, &one, &options, NULL, NULL, &alone, &error));
  size_t length = 0;
  const int32_t *tokens = seam_sequences_tokens(alone, 0, 0, &length, NULL);
  CHECK(length == 4 && memcmp(tokens, all[0].tokens, sizeof all[0].tokens[0] * 4) == 0);
  seam_sequences_release(alone);
  seam_generation_release(generation);
}

static void misuse(seam_backbone *backbone, seam_session *session, seam_adapter *adapter) {
  ERROR_SLOT;
  seam_generation *generation = NULL;
  FAILS(seam_generation_create(NULL, 8, &generation, &error), SEAM_INVALID_ARGUMENT, "argument session is NULL");
  FAILS(seam_generation_create(session, 8, NULL, &error), SEAM_INVALID_ARGUMENT, "argument out is NULL");
  FAILS(seam_generation_create(session, 0, &generation, &error), SEAM_INVALID_ARGUMENT, "must be 1 ... 32");
  FAILS(seam_generation_create(session, INT64_MIN, &generation, &error), SEAM_INVALID_ARGUMENT, "must be 1 ... 32");
  FAILS(seam_generation_create(session, 33, &generation, &error), SEAM_INVALID_ARGUMENT, "found 33");
  CHECK(generation == NULL);
  OK(seam_generation_create(session, 8, &generation, &error));
  seam_batch batch = text_of(0);
  seam_generate_options options = options_of(backbone, 0);
  int64_t row = -1;
  FAILS(seam_generation_add(NULL, &batch, &options, &row, 1, &error), SEAM_INVALID_ARGUMENT, "generation is NULL");
  FAILS(seam_generation_add(generation, NULL, &options, &row, 1, &error), SEAM_INVALID_ARGUMENT, "batch is NULL");
  FAILS(seam_generation_add(generation, &batch, &options, NULL, 1, &error), SEAM_INVALID_ARGUMENT, "rows is NULL");
  FAILS(seam_generation_add(generation, &batch, &options, &row, 0, &error), SEAM_INVALID_ARGUMENT,
        "argument capacity must be at least 1, for the numbers of 1 rows, found 0");
  options.num_beams = 2;
  FAILS(seam_generation_add(generation, &batch, &options, &row, 1, &error), SEAM_UNSUPPORTED,
        "num_beams and num_return_sequences must be 1, found 2 and 1");
  options = options_of(backbone, 0);
  options.max_new_tokens = 7;
  FAILS(seam_generation_add(generation, &batch, &options, &row, 1, &error), SEAM_INVALID_ARGUMENT,
        "a prompt of 3 tokens and 7 new ones do not fit into the 8 tokens");
  options = options_of(backbone, 0);
  static const char *const unknown = "c";
  batch.routes = &unknown;
  FAILS(seam_generation_add(generation, &batch, &options, &row, 1, &error), SEAM_NOT_FOUND, "no route \"c\"");
  CHECK(row == -1 && rows_of(generation) == 0);
  batch = text_of(0);
  OK(seam_generation_add(generation, &batch, &options, &row, 1, &error));
  seam_row_step steps[2];
  size_t count = 7;
  FAILS(seam_generation_step(NULL, steps, 2, &count, &error), SEAM_INVALID_ARGUMENT, "generation is NULL");
  FAILS(seam_generation_step(generation, steps, 0, &count, &error), SEAM_INVALID_ARGUMENT,
        "argument capacity must be at least 1, for what 1 rows get, found 0");
  FAILS(seam_generation_step(generation, NULL, 2, &count, &error), SEAM_INVALID_ARGUMENT, "steps is NULL");
  FAILS(seam_generation_step(generation, steps, 2, NULL, &error), SEAM_INVALID_ARGUMENT, "count is NULL");
  FAILS(seam_generation_remove(generation, row + 1, &error), SEAM_INVALID_ARGUMENT,
        "row 1 is not in the batch, or has left it");
  FAILS(seam_generation_remove(generation, -1, &error), SEAM_INVALID_ARGUMENT, "row -1 is not in the batch");
  FAILS(seam_generation_rows(generation, NULL, 1, &count, &error), SEAM_INVALID_ARGUMENT, "rows is NULL");
  FAILS(seam_generation_rows(generation, NULL, 0, NULL, &error), SEAM_INVALID_ARGUMENT, "count is NULL");
  CHECK(count == 7 && rows_of(generation) == 1);

  /* While the session trains, and after its adapters have changed. */
  seam_train_options training = {.struct_size = sizeof training};
  OK(seam_train_options_init(&training, &error));
  training.routes = routes;
  training.route_count = 1;
  OK(seam_session_begin_training(session, &training, &error));
  FAILS(seam_generation_step(generation, steps, 2, &count, &error), SEAM_INVALID_ARGUMENT, "during training");
  FAILS(seam_generation_add(generation, &batch, &options, &row, 1, &error), SEAM_INVALID_ARGUMENT, "during training");
  seam_session_end_training(session);
  OK(seam_generation_step(generation, steps, 2, &count, &error));
  CHECK(count == 1);
  OK(seam_session_attach(session, "new", adapter, -1, &error));
  OK(seam_generation_step(generation, steps, 2, &count, &error));
  OK(seam_session_remove_route(session, "new", &error));
  OK(seam_session_attach(session, "a", adapter, -1, &error));
  FAILS(seam_generation_step(generation, steps, 2, &count, &error), SEAM_INVALID_ARGUMENT,
        "the adapters of route \"a\" have changed while rows that take it were decoded");
  CHECK(rows_of(generation) == 0);
  OK(seam_session_detach(session, "a", adapter, &error));
  seam_generation_release(generation);
  seam_generation_release(NULL);
}

/* The last of what holds the session gives it back. */
static void outlives_its_session(seam_backbone *backbone) {
  seam_session *session = NULL;
  seam_generation *generation = NULL;
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_generation_create(session, CAPACITY, &generation, &error));
  seam_session_release(session);
  seam_batch batch = text_of(1);
  seam_generate_options options = options_of(backbone, 0);
  int64_t row = -1;
  OK(seam_generation_add(generation, &batch, &options, &row, 1, &error));
  received all[TEXTS];
  for (int t = 0; t < TEXTS; t++) all[t] = (received){.row = t == 0 ? row : -1};
  for (int i = 0; i < 4; i++) CHECK(step(generation, all) == 1);
  CHECK(rows_of(generation) == 0);
  seam_generation_release(generation);
}

/* A backbone whose states take no rows in. */
static void refused(seam_runtime *runtime) {
  ERROR_SLOT;
  seam_backbone *backbone = NULL;
  seam_session *session = NULL;
  seam_generation *generation = NULL;
  OK(seam_backbone_open(runtime, "tiny-closed-state", NULL, NULL, &backbone, &error));
  OK(seam_session_create(backbone, &session, &error));
  FAILS(seam_generation_create(session, 8, &generation, &error), SEAM_UNSUPPORTED, "lets no row join others");
  seam_session_release(session);
  seam_backbone_release(backbone);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  char path[1000];
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_session *session = NULL;
  seam_adapter *a = NULL, *b = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libLowRank.so"), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libTinyState.so"), &error));
  OK(seam_backbone_open(runtime, "tiny-state", NULL, NULL, &backbone, &error));
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_add(session, "a", "steer", NULL, &a, &error));
  OK(seam_session_add(session, "b", "steer", NULL, &b, &error));
  disturb_all(a);
  disturb_all(b);
  disturb_all(b);
  join_and_leave(backbone, session);
  several_at_once(backbone, session);
  misuse(backbone, session, b);
  outlives_its_session(backbone);
  refused(runtime);
  seam_adapter_release(a);
  seam_adapter_release(b);
  seam_session_release(session);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("generation");
}
