/* Adapters that start from examples in a session (seam_session_prepare): what they are given at points, what is watched,
 * stopped and refused. Argument: the folder of the plugins. */
#include "check.h"

enum { EXAMPLES = 4, LAYERS = 2 };

/* Texts of several lengths; the classes are of the first ones. */
static seam_batch texts(int64_t first, int64_t count) {
  static const int32_t ids[EXAMPLES * SOURCE] = {3, 4, 5, 6, 7, 0, 8, 9, 10, 2, 11, 0};
  static const int32_t mask[EXAMPLES * SOURCE] = {1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0};
  static const int32_t classes[EXAMPLES] = {1, 0, 0, 1};
  return (seam_batch){.struct_size = sizeof(seam_batch),
                      .batch = count,
                      .source_length = SOURCE,
                      .input_ids = ids + first * SOURCE,
                      .attention_mask = mask + first * SOURCE,
                      .classes = classes + first};
}

static const float *direction(seam_adapter *adapter, size_t index, DLManagedTensorVersioned **held) {
  const char *name = NULL;
  OK(seam_adapter_parameter(adapter, index, &name, held, &error));
  CHECK(strstr(name, "direction") != NULL && count_of(*held) == WIDTH);
  return data_of(*held);
}

static int is_zero(seam_adapter *adapter) {
  int zeros = 0;
  for (size_t i = 0; i < LAYERS; i++) {
    DLManagedTensorVersioned *held = NULL;
    const float *values = direction(adapter, i, &held);
    for (int j = 0; j < WIDTH; j++) zeros += values[j] == 0;
    give_back(held);
  }
  return zeros == LAYERS * WIDTH;
}

typedef struct {
  int calls, last;
  int64_t done, total;
} watched;

static int32_t watch(void *user, const seam_progress *progress) {
  watched *told = user;
  CHECK(progress->activity == SEAM_ACTIVITY_PREPARE && progress->done == told->calls && isnan(progress->loss));
  told->done = progress->done;
  told->total = progress->total;
  return told->calls++ < told->last;
}

/* The last layer's states are what the head reads: the difference of their means is known without the adapter. */
static void check_values(seam_session *plain, seam_adapter *adapter) {
  static const int last[EXAMPLES] = {2, 1, 2, 1}, class[EXAMPLES] = {1, 0, 0, 1};
  const seam_batch all = texts(0, EXAMPLES);
  seam_batch unlabelled = all;
  DLManagedTensorVersioned *logits = NULL, *hidden = NULL, *held = NULL;
  unlabelled.classes = NULL;
  OK(seam_session_forward(plain, &unlabelled, &logits, &hidden, &error));
  const float *found = direction(adapter, LAYERS - 1, &held), *states = data_of(hidden);
  float largest = 0;
  for (int j = 0; j < WIDTH; j++) {
    float expected = 0;
    for (int i = 0; i < EXAMPLES; i++)
      expected += (class[i] == 1 ? 0.5f : -0.5f) * states[(i * SOURCE + last[i]) * WIDTH + j];
    largest = fmaxf(largest, fabsf(expected));
    CHECK(fabsf(found[j] - expected) <= 1e-5f);
  }
  CHECK(largest > 1e-2f);
  give_back(held);
  give_back(logits);
  give_back(hidden);
}

static void refusals(seam_session *session, seam_session *plain, seam_adapter *adapter) {
  ERROR_SLOT;
  const seam_batch all = texts(0, EXAMPLES);
  const seam_batch *given[] = {&all, NULL};
  watched told = {.last = 0};
  FAILS(seam_session_prepare(plain, NULL, adapter, given, 1, NULL, NULL, &error), SEAM_NOT_FOUND, "is not attached");
  FAILS(seam_session_prepare(session, "other", adapter, given, 1, NULL, NULL, &error), SEAM_NOT_FOUND, "\"other\"");
  FAILS(seam_session_prepare(session, NULL, adapter, given, 0, NULL, NULL, &error), SEAM_INVALID_ARGUMENT,
        "there are none");
  FAILS(seam_session_prepare(session, NULL, adapter, given, 2, NULL, NULL, &error), SEAM_INVALID_ARGUMENT,
        "batches[1]");
  FAILS(seam_session_prepare(session, NULL, adapter, NULL, 1, NULL, NULL, &error), SEAM_INVALID_ARGUMENT, "batches");
  FAILS(seam_session_prepare(session, NULL, adapter, given, (size_t)-1, NULL, NULL, &error), SEAM_INVALID_ARGUMENT,
        "batch_count");
  FAILS(seam_session_prepare(session, NULL, NULL, given, 1, NULL, NULL, &error), SEAM_INVALID_ARGUMENT, "adapter");
  FAILS(seam_session_prepare(session, NULL, adapter, given, 1, watch, &told, &error), SEAM_CANCELLED,
        "stopped after 0 of 1 batches");
  seam_batch unlabelled = all;
  unlabelled.classes = NULL;
  given[0] = &unlabelled;
  FAILS(seam_session_prepare(session, NULL, adapter, given, 1, NULL, NULL, &error), SEAM_INVALID_ARGUMENT,
        "there are none");
  CHECK(is_zero(adapter));
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  char path[1000];
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_session *session = NULL, *plain = NULL;
  seam_adapter *adapter = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libPrepare.so"), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libTinyPoints.so"), &error));
  OK(seam_backbone_open(runtime, "tiny-points", NULL, NULL, &backbone, &error));
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_create(backbone, &plain, &error));
  OK(seam_session_add(session, NULL, "mean-difference", NULL, &adapter, &error));
  refusals(session, plain, adapter);

  const seam_batch halves[] = {texts(0, 2), texts(2, 2)};
  const seam_batch *const given[] = {&halves[0], &halves[1]};
  watched told = {.last = 100};
  OK(seam_session_prepare(session, NULL, adapter, given, 2, watch, &told, &error));
  CHECK(told.calls == 3 && told.done == 2 && told.total == 2);
  CHECK(!is_zero(adapter));
  check_values(plain, adapter);

  seam_adapter_release(adapter);
  seam_session_release(plain);
  seam_session_release(session);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("preparing");
}
