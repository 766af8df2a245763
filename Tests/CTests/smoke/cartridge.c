/* Cartridges: a prefix that is a text, whose first token stays as it is in a training. Arguments: the folder of the
 * plugins, a folder to write to. */
#include "../check.h"

enum { TOKENS = 4, PREFIX = 3 };

static seam_batch text(const int32_t *ids, int64_t count) {
  return (seam_batch){.struct_size = sizeof(seam_batch), .batch = 1, .source_length = count, .input_ids = ids};
}

/* The last state of some text. */
static void last_state(seam_session *session, const seam_batch *batch, float state[WIDTH]) {
  DLManagedTensorVersioned *hidden = NULL;
  OK(seam_session_encode(session, batch, &hidden, &error));
  CHECK(count_of(hidden) == batch->source_length * WIDTH);
  memcpy(state, data_of(hidden) + (batch->source_length - 1) * WIDTH, WIDTH * sizeof(float));
  give_back(hidden);
}

static void train(seam_session *session, const seam_batch *batch) {
  const int32_t class = 1;
  seam_batch labelled = *batch;
  labelled.classes = &class;
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  options.learning_rate = 0.05;
  OK(seam_session_begin_training(session, &options, &error));
  double before = INFINITY;
  for (int i = 0; i < 3; i++) {
    seam_step step = {.struct_size = sizeof step};
    OK(seam_session_train_step(session, &labelled, &step, &error));
    CHECK(step.loss < before);
    before = step.loss;
  }
  seam_session_end_training(session);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  static const char *const plugins[] = {"libCartridge.so", "libTinyAttention.so", "libLinearHead.so"};
  static const int32_t ids[TOKENS] = {3, 4, 5, 6};
  char path[1000];
  float whole[WIDTH], behind[WIDTH], trained[WIDTH], loaded[WIDTH];
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_session *session = NULL, *plain = NULL, *fresh = NULL;
  seam_adapter *adapter = NULL;
  DLManagedTensorVersioned *frozen = NULL, *after = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  for (size_t i = 0; i < sizeof plugins / sizeof plugins[0]; i++)
    OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], plugins[i]), &error));
  OK(seam_backbone_open(runtime, "tiny-attention", NULL, NULL, &backbone, &error));
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_create(backbone, &plain, &error));
  OK(seam_session_create(backbone, &fresh, &error));
  ERROR_SLOT;
  FAILS(seam_session_add(session, NULL, "cartridge",
                         OPTIONS(.options_json = "{\"prefix_length\": 3, \"frozen_tokens\": 4}"), &adapter, &error),
        SEAM_INVALID_ARGUMENT, "'frozen_tokens' must be at most 3");
  OK(seam_session_add(session, NULL, "cartridge", OPTIONS(.options_json = "{\"prefix_length\": 3}"), &adapter, &error));
  const seam_batch all = text(ids, TOKENS), first = text(ids, PREFIX), rest = text(ids + PREFIX, TOKENS - PREFIX);
  const seam_batch *given[] = {&rest};
  FAILS(seam_session_prepare(session, NULL, adapter, given, 1, NULL, NULL, &error), SEAM_INVALID_ARGUMENT,
        "in the encoder attention as the prefix, 3, or more, found 1");
  given[0] = &first;
  OK(seam_session_prepare(session, NULL, adapter, given, 1, NULL, NULL, &error));

  /* One attention of the embedded tokens, which have no positions: behind the prefix it is as in the text. */
  last_state(plain, &all, whole);
  last_state(session, &rest, behind);
  for (int i = 0; i < WIDTH; i++) CHECK(fabsf(whole[i] - behind[i]) <= 1e-6f);

  OK(seam_session_add(session, NULL, "linear-head", OPTIONS(.classes = 2), NULL, &error));
  OK(seam_adapter_parameter(adapter, 0, NULL, &frozen, &error));
  CHECK(count_of(frozen) == 2 * WIDTH);
  float kept[2 * WIDTH];
  memcpy(kept, data_of(frozen), sizeof kept);
  train(session, &rest);
  OK(seam_adapter_parameter(adapter, 0, NULL, &after, &error));
  CHECK(memcmp(kept, data_of(after), sizeof kept) == 0);
  last_state(session, &rest, trained);
  CHECK(memcmp(trained, behind, sizeof trained) != 0);
  OK(seam_session_save(session, NULL, path_in(path, argv[2], "cartridge"), NULL, NULL, &error));
  OK(seam_session_load(fresh, NULL, path, &error));
  last_state(fresh, &rest, loaded);
  CHECK(memcmp(trained, loaded, sizeof trained) == 0);

  give_back(frozen);
  give_back(after);
  seam_adapter_release(adapter);
  seam_session_release(fresh);
  seam_session_release(plain);
  seam_session_release(session);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("cartridge");
}
