/* The routes of a session: which rows take which, in what order they stand, how they come and go.
 * Arguments: the folder of the plugins, a folder to write to. */
#include "check.h"

enum { ROWS = 6, LENGTH = 3 };

static const int32_t ids[ROWS * LENGTH] = {1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4};
static const char *const mixed[ROWS] = {"b", NULL, "a", "", "b", "a"};

static seam_batch rows(int64_t first, int64_t count, const char *const *routes) {
  seam_batch batch = {.struct_size = sizeof batch, .batch = count, .source_length = LENGTH};
  batch.input_ids = ids + first * LENGTH;
  batch.routes = routes;
  return batch;
}

static void disturb(seam_adapter *adapter, float size) {
  for (size_t p = 0; p < seam_adapter_parameter_count(adapter); p++) {
    DLManagedTensorVersioned *view = NULL;
    OK(seam_adapter_parameter(adapter, p, NULL, &view, &error));
    for (int64_t i = 0; i < count_of(view); i++) data_of(view)[i] += size * (float)sin(1.7 * (double)i + (double)p + 1);
    give_back(view);
  }
}

/* Row `row` of `all` is the one row of `one`. */
static void check_row(const DLManagedTensorVersioned *all, int64_t row, const DLManagedTensorVersioned *one) {
  const int64_t width = count_of(one);
  const float *found = (const float *)all->dl_tensor.data + row * width, *wanted = (const float *)one->dl_tensor.data;
  float largest = 0, difference = 0;
  for (int64_t i = 0; i < width; i++) {
    largest = fmaxf(largest, fabsf(wanted[i]));
    difference = fmaxf(difference, fabsf(found[i] - wanted[i]));
  }
  CHECK(count_of(all) == ROWS * width && difference <= 1e-5f * largest);
}

/* Each row is what it is alone in a session with its route's adapter. */
static void check_rows(seam_backbone *backbone, seam_session *session, seam_adapter *a, seam_adapter *b) {
  seam_batch batch = rows(0, ROWS, mixed);
  DLManagedTensorVersioned *all = logits_of(session, &batch);
  for (int64_t row = 0; row < ROWS; row++) {
    const char *route = mixed[row];
    seam_session *alone = NULL;
    OK(seam_session_create(backbone, &alone, &error));
    if (route != NULL && route[0] != 0) OK(seam_session_attach(alone, NULL, route[0] == 'a' ? a : b, -1, &error));
    seam_batch one = rows(row, 1, NULL);
    DLManagedTensorVersioned *expected = logits_of(alone, &one);
    check_row(all, row, expected);
    if (route != NULL && route[0] != 0) {
      seam_session *plain = NULL;
      OK(seam_session_create(backbone, &plain, &error));
      DLManagedTensorVersioned *without = logits_of(plain, &one);
      CHECK(!same_bits(without, expected));
      give_back(without);
      seam_session_release(plain);
    }
    give_back(expected);
    seam_session_release(alone);
  }
  give_back(all);
}

/* Two routes side by side: each has the losses that it has alone, and the default one changes nothing. */
static void train(seam_backbone *backbone) {
  ERROR_SLOT;
  const char *const both[] = {"a", "b"}, *const taken[] = {"b", "a", "a", "b"};
  seam_session *sessions[3];
  seam_adapter *adapters[3][2];
  for (int s = 0; s < 3; s++) {
    OK(seam_session_create(backbone, &sessions[s], &error));
    OK(seam_session_add(sessions[s], "a", "low-rank", OPTIONS(.options_json = "{\"rank\": 2}"), &adapters[s][0],
                        &error));
    OK(seam_session_add(sessions[s], "b", "steer", NULL, &adapters[s][1], &error));
    for (int r = 0; r < 2; r++) disturb(adapters[s][r], 0.3f);
    seam_train_options options = {.struct_size = sizeof options};
    OK(seam_train_options_init(&options, &error));
    options.routes = s == 2 ? both : &both[s];
    options.route_count = s == 2 ? 2 : 1;
    OK(seam_session_begin_training(sessions[s], &options, &error));
  }
  for (int i = 0; i < 4; i++) {
    double sum = 0, squares = 0, loss = 0, norm = 0;
    for (int s = 0; s < 3; s++) {
      /* Rows 1 and 2 take "a", rows 0 and 3 "b". */
      int32_t own[2 * LENGTH];
      const int mine[2][2] = {{1, 2}, {0, 3}};
      for (int r = 0; r < 2; r++) memcpy(own + r * LENGTH, ids + mine[s % 2][r] * LENGTH, LENGTH * sizeof *own);
      const char *const names[2] = {both[s % 2], both[s % 2]};
      seam_batch batch = s == 2 ? rows(0, 4, taken) : (seam_batch){.struct_size = sizeof batch, .batch = 2};
      if (s < 2) {
        batch.source_length = LENGTH;
        batch.input_ids = own;
        batch.routes = names;
      }
      batch.target_length = LENGTH;
      batch.labels = batch.input_ids;
      seam_step step = {.struct_size = sizeof step};
      OK(seam_session_train_step(sessions[s], &batch, &step, &error));
      CHECK(step.step == i + 1);
      if (s < 2) sum += step.loss / 2;
      if (s < 2) squares += step.gradient_norm * step.gradient_norm;
      loss = step.loss;
      norm = step.gradient_norm;
    }
    CHECK(fabs(loss - sum) < 1e-5 * sum && fabs(norm - sqrt(squares)) < 1e-4 * norm);
  }
  for (int s = 0; s < 3; s++) {
    seam_session_end_training(sessions[s]);
    for (int r = 0; r < 2; r++) seam_adapter_release(adapters[s][r]);
    seam_session_release(sessions[s]);
  }
  seam_session *session = NULL;
  OK(seam_session_create(backbone, &session, &error));
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  options.route_count = 1;
  FAILS(seam_session_begin_training(session, &options, &error), SEAM_INVALID_ARGUMENT, "options.routes is NULL");
  options.routes = both;
  FAILS(seam_session_begin_training(session, &options, &error), SEAM_NOT_FOUND, "there is no route \"a\"");
  options.route_count = 0;
  FAILS(seam_session_begin_training(session, &options, &error), SEAM_INVALID_ARGUMENT, "one or more, found none");
  options.route_count = SIZE_MAX;
  FAILS(seam_session_begin_training(session, &options, &error), SEAM_INVALID_ARGUMENT, "route_count");
  seam_session_release(session);
}

static void come_and_go(seam_backbone *backbone, const char *path) {
  ERROR_SLOT;
  seam_session *session = NULL;
  seam_adapter *a = NULL, *b = NULL, *found = NULL;
  OK(seam_session_create(backbone, &session, &error));
  CHECK(seam_session_route_count(session) == 0 && seam_session_route(session, 0) == NULL);
  OK(seam_session_add(session, "a", "low-rank", OPTIONS(.options_json = "{\"rank\": 2}"), &a, &error));
  OK(seam_session_add(session, "b", "steer", NULL, &b, &error));
  disturb(a, 0.3f);
  disturb(b, 0.6f);
  CHECK(seam_session_route_count(session) == 2);
  CHECK(strcmp(seam_session_route(session, 0), "a") == 0 && strcmp(seam_session_route(session, 1), "b") == 0);
  CHECK(seam_session_route(session, 2) == NULL && seam_session_route(session, SIZE_MAX) == NULL);
  CHECK(seam_session_adapter_count(session, NULL) == 0 && seam_session_adapter_count(session, "b") == 1 &&
        seam_session_adapter_count(session, "c") == 0);
  check_rows(backbone, session, a, b);

  seam_batch batch = rows(0, 2, (const char *const[]){"a", "c"});
  DLManagedTensorVersioned *logits = NULL;
  FAILS(seam_session_forward(session, &batch, &logits, NULL, &error), SEAM_NOT_FOUND,
        "there is no route \"c\": the session has \"a\", \"b\" and the default one");
  batch = rows(0, 1, (const char *const[]){"\xff"});
  FAILS(seam_session_forward(session, &batch, &logits, NULL, &error), SEAM_INVALID_ARGUMENT,
        "argument batch.routes[0] is not valid UTF-8");
  FAILS(seam_session_attach(session, "\xff", a, -1, &error), SEAM_INVALID_ARGUMENT,
        "argument route is not valid UTF-8");
  char name[102];
  memset(name, 'x', sizeof name - 1);
  name[sizeof name - 1] = 0;
  FAILS(seam_session_attach(session, name, a, -1, &error), SEAM_INVALID_ARGUMENT, "1 to 100 characters, found 101");
  FAILS(seam_session_attach(session, "a", a, -1, &error), SEAM_ALREADY_EXISTS, "already attached");
  FAILS(seam_session_adapter(session, "c", 0, &found, &error), SEAM_NOT_FOUND, "no route \"c\"");
  FAILS(seam_session_detach(session, "a", b, &error), SEAM_NOT_FOUND, "is not attached to route \"a\"");
  FAILS(seam_session_save(session, "c", path, NULL, NULL, &error), SEAM_NOT_FOUND, "no route \"c\"");

  /* Merged weights are those of all rows. */
  OK(seam_session_attach(session, NULL, a, -1, &error));
  FAILS(seam_session_merge(session, a, &error), SEAM_INVALID_ARGUMENT, "while the session has route \"a\"");
  OK(seam_session_detach(session, "", a, &error));

  /* Training is that of the default route, where no other is named. */
  OK(seam_session_attach(session, NULL, b, -1, &error));
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  OK(seam_session_begin_training(session, &options, &error));
  seam_step step = {.struct_size = sizeof step};
  batch = rows(0, 2, (const char *const[]){NULL, "a"});
  batch.target_length = LENGTH;
  batch.labels = ids;
  FAILS(seam_session_train_step(session, &batch, &step, &error), SEAM_INVALID_ARGUMENT,
        "a row of route \"a\", which is not trained: the training is of the default route");
  FAILS(seam_session_remove_route(session, "a", &error), SEAM_INVALID_ARGUMENT, "during training");
  seam_session_end_training(session);
  OK(seam_session_remove_route(session, NULL, &error));
  CHECK(seam_session_adapter_count(session, NULL) == 0 && seam_session_route_count(session) == 2);

  /* Saved and read back on another route, behind what it has. */
  OK(seam_session_save(session, "a", path, NULL, NULL, &error));
  OK(seam_session_load(session, "b", path, &error));
  CHECK(seam_session_adapter_count(session, "b") == 2);
  OK(seam_session_adapter(session, "b", 1, &found, &error));
  OK(seam_session_move(session, "b", found, 0, &error));
  OK(seam_session_detach(session, "b", found, &error));
  check_rows(backbone, session, a, b);

  OK(seam_session_detach(session, "a", a, &error));
  CHECK(seam_session_route_count(session) == 1 && strcmp(seam_session_route(session, 0), "b") == 0);
  OK(seam_session_remove_route(session, "b", &error));
  FAILS(seam_session_remove_route(session, "b", &error), SEAM_NOT_FOUND,
        "no route \"b\": the session has the default one alone");
  CHECK(seam_session_route_count(session) == 0);
  seam_adapter_release(found);
  seam_adapter_release(a);
  seam_adapter_release(b);
  seam_session_release(session);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  char path[1000];
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libLowRank.so"), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libTinyPoints.so"), &error));
  OK(seam_backbone_open(runtime, "tiny-points", NULL, NULL, &backbone, &error));
  train(backbone);
  come_and_go(backbone, path_in(path, argv[2], "routes"));
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("routes");
}
