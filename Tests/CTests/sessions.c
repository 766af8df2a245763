/* The adapters of a session: enumerated, described, saved together and read back, detached, merged into the weights.
 * Arguments: the folder of the plugins, a folder to write to. */
#include "check.h"

enum { CLASSES = 2, VALUES = BATCH * CLASSES };

static void scores_of(seam_session *session, float scores[VALUES]) {
  seam_batch batch = tiny_texts();
  OK(seam_session_classify(session, &batch, scores, VALUES, &error));
}

static seam_adapter *adapter_at(seam_session *session, size_t index) {
  seam_adapter *found = NULL;
  OK(seam_session_adapter(session, NULL, index, &found, &error));
  return found;
}

/* The description holds each of the parts, which end with NULL. */
static void check_description(seam_adapter *adapter, const char *const *parts) {
  char *json = NULL;
  OK(seam_adapter_describe(adapter, &json, &error));
  for (; *parts != NULL; parts++) {
    if (strstr(json, *parts) != NULL) continue;
    check_failures++;
    fprintf(stderr, "%s:%d: no %s in %s\n", __FILE__, __LINE__, *parts, json);
  }
  seam_string_release(json);
}

static void check_ids(seam_session *session, const char *const *ids, size_t count) {
  CHECK(seam_session_adapter_count(session, NULL) == count);
  for (size_t i = 0; i < count; i++) {
    char part[100];
    snprintf(part, sizeof part, "\"id\": \"%s\"", ids[i]);
    seam_adapter *adapter = adapter_at(session, i);
    check_description(adapter, (const char *const[]){part, NULL});
    seam_adapter_release(adapter);
  }
}

static const char *const together[] = {"linear-head", "residual-prefix", "gate"};

/* A head, a prefix and a gate on its tokens, saved as one folder. */
static void save_together(seam_backbone *backbone, const char *path, float scores[VALUES]) {
  ERROR_SLOT;
  seam_session *session = NULL;
  OK(seam_session_create(backbone, &session, &error));
  CHECK(seam_session_adapter_count(session, NULL) == 0);
  FAILS(seam_session_save(session, NULL, path, NULL, NULL, &error), SEAM_INVALID_ARGUMENT,
        "there is no adapter to save");
  OK(seam_session_add(session, NULL, "linear-head", OPTIONS(.classes = CLASSES), NULL, &error));
  OK(seam_session_add(session, NULL, "residual-prefix", OPTIONS(.options_json = "{\"prefix_length\": 3}"), NULL,
                      &error));
  OK(seam_session_add(session, NULL, "gate", OPTIONS(.options_json = "{\"scope\": \"token\"}"), NULL, &error));
  check_ids(session, together, 3);
  for (size_t i = 0; i < 3; i++) {
    seam_adapter *adapter = adapter_at(session, i);
    disturb_all(adapter);
    seam_adapter_release(adapter);
  }
  scores_of(session, scores);
  OK(seam_session_save(session, NULL, path, NULL, "- made by a test", &error));
  /* Once more in its place, and never over anything else. */
  OK(seam_session_save(session, NULL, path, NULL, NULL, &error));
  char other[1100];
  snprintf(other, sizeof other, "%s-other", path);
  FILE *file = fopen(other, "w");
  CHECK(file != NULL && fclose(file) == 0);
  FAILS(seam_session_save(session, NULL, other, NULL, NULL, &error), SEAM_ALREADY_EXISTS, other);
  FAILS(seam_session_save(session, NULL, NULL, NULL, NULL, &error), SEAM_INVALID_ARGUMENT, "argument path is NULL");
  FAILS(seam_session_save(session, NULL, path, "/nowhere/at/all", NULL, &error), SEAM_NOT_FOUND, "/nowhere/at/all");
  seam_session_release(session);
}

static void load_together(seam_backbone *backbone, const char *path, const float expected[VALUES]) {
  ERROR_SLOT;
  float scores[VALUES], without[VALUES];
  seam_session *session = NULL;
  seam_adapter *absent = NULL;
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_load(session, NULL, path, &error));
  check_ids(session, together, 3);
  scores_of(session, scores);
  CHECK(memcmp(scores, expected, sizeof scores) == 0);
  FAILS(seam_session_adapter(session, NULL, 3, &absent, &error), SEAM_NOT_FOUND,
        "argument index must be below 3, the number of attached adapters, found 3");
  FAILS(seam_session_adapter(session, NULL, SIZE_MAX, &absent, &error), SEAM_NOT_FOUND, "found 18446744073709551615");
  FAILS(seam_session_adapter(session, NULL, 0, NULL, &error), SEAM_INVALID_ARGUMENT, "argument out is NULL");
  CHECK(absent == NULL);

  seam_adapter *head = adapter_at(session, 0), *prefix = adapter_at(session, 1), *gate = adapter_at(session, 2);
  check_description(head, (const char *const[]){"\"seam\": \"decoder.output\"", "\"classes\": 2", "\"points\": []",
                                                "\"name\": \"weight\"", "\"frozen\": false", NULL});
  check_description(
      gate, (const char *const[]){"\"seam\": \"prefix.tokens\"", "\"classes\": 0", "\"scope\": \"token\"", NULL});
  /* What was loaded is taken away and put back. */
  FAILS(seam_session_detach(session, NULL, prefix, &error), SEAM_INVALID_ARGUMENT, "gate");
  OK(seam_session_detach(session, NULL, gate, &error));
  OK(seam_session_detach(session, NULL, prefix, &error));
  check_ids(session, together, 1);
  scores_of(session, without);
  CHECK(memcmp(without, expected, sizeof without) != 0);
  OK(seam_session_attach(session, NULL, prefix, -1, &error));
  OK(seam_session_attach(session, NULL, gate, -1, &error));
  scores_of(session, scores);
  CHECK(memcmp(scores, expected, sizeof scores) == 0);

  /* One alone is saved as an adapter; it outlives its session. */
  OK(seam_session_detach(session, NULL, gate, &error));
  OK(seam_session_detach(session, NULL, prefix, &error));
  char alone[1100];
  snprintf(alone, sizeof alone, "%s-alone", path);
  OK(seam_session_save(session, NULL, alone, NULL, NULL, &error));
  seam_session_release(session);
  seam_adapter_release(prefix);
  seam_adapter_release(gate);
  seam_adapter *loaded = NULL;
  OK(seam_adapter_load(backbone, alone, &loaded, &error));
  for (size_t p = 0; p < seam_adapter_parameter_count(head); p++) {
    DLManagedTensorVersioned *one = NULL, *two = NULL;
    const char *name = NULL, *again = NULL;
    OK(seam_adapter_parameter(head, p, &name, &one, &error));
    OK(seam_adapter_parameter(loaded, p, &again, &two, &error));
    CHECK(strcmp(name, again) == 0 && same_bits(one, two));
    give_back(one);
    give_back(two);
  }
  seam_adapter_release(loaded);
  seam_adapter_release(head);
}

/* ---- Inside the layers */

static void points(seam_backbone *backbone, const char *path) {
  ERROR_SLOT;
  seam_session *session = NULL, *fresh = NULL;
  seam_adapter *adapter = NULL, *steer = NULL, *absent = NULL;
  seam_batch batch = tiny_texts();
  OK(seam_session_create(backbone, &session, &error));
  DLManagedTensorVersioned *plain = logits_of(session, &batch);
  FAILS(
      seam_session_add(session, NULL, "low-rank", OPTIONS(.options_json = "{\"targets\": [\"up\"]}"), &absent, &error),
      SEAM_NOT_FOUND, "has no projection \"up\"; it has decoder layers 0 ... 1 with q, k, v, o");
  CHECK(absent == NULL);
  OK(seam_session_add(session, NULL, "low-rank", OPTIONS(.options_json = "{\"rank\": 2, \"layers\": [1]}"), &adapter,
                      &error));
  check_description(adapter, (const char *const[]){"\"seam\": \"projection\"", "\"decoder.1.q\"", "\"decoder.1.v\"",
                                                   "\"name\": \"decoder.1.q.a\"", "\"name\": \"decoder.1.v.b\"", NULL});
  disturb_all(adapter);
  DLManagedTensorVersioned *adapted = logits_of(session, &batch);
  CHECK(!same_bits(plain, adapted));

  /* Merged, the weights give the same but for the order of sums; unmerged, everything is as it was. */
  OK(seam_session_create(backbone, &fresh, &error));
  FAILS(seam_session_save_merged(session, path, 0, &error), SEAM_INVALID_ARGUMENT, "is not merged");
  FAILS(seam_session_save_merged(session, path, 2, &error), SEAM_INVALID_ARGUMENT,
        "dequantize must be 0 or 1, found 2");
  OK(seam_session_merge(session, adapter, &error));
  DLManagedTensorVersioned *merged = logits_of(session, &batch), *others = logits_of(fresh, &batch);
  check_logits_near(adapted, merged, 1e-4f);
  CHECK(same_bits(plain, others));
  FAILS(seam_session_detach(session, NULL, adapter, &error), SEAM_INVALID_ARGUMENT, "merged");
  FAILS(seam_session_merge(session, adapter, &error), SEAM_INVALID_ARGUMENT, "merged");
  FAILS(seam_session_save(session, NULL, path, NULL, NULL, &error), SEAM_INVALID_ARGUMENT, "merged");
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  FAILS(seam_session_begin_training(session, &options, &error), SEAM_INVALID_ARGUMENT, "merged");
  OK(seam_session_unmerge(session, adapter, &error));
  DLManagedTensorVersioned *unmerged = logits_of(session, &batch);
  CHECK(same_bits(adapted, unmerged));
  FAILS(seam_session_unmerge(session, adapter, &error), SEAM_INVALID_ARGUMENT, "not merged");

  /* What is not linear in the weights stays beside them. */
  OK(seam_session_add(session, NULL, "steer", NULL, &steer, &error));
  check_description(steer, (const char *const[]){"\"seam\": \"layer.output\"", "\"decoder.0\"", "\"decoder.1\"",
                                                 "\"name\": \"decoder.0.vector\"", NULL});
  FAILS(seam_session_merge(session, steer, &error), SEAM_UNSUPPORTED, "steer");
  FAILS(seam_session_merge(fresh, adapter, &error), SEAM_NOT_FOUND, "is not attached");
  OK(seam_session_detach(session, NULL, steer, &error));
  OK(seam_session_save(session, NULL, path, NULL, NULL, &error));
  OK(seam_session_load(fresh, NULL, path, &error));
  DLManagedTensorVersioned *loaded = logits_of(fresh, &batch);
  CHECK(same_bits(adapted, loaded));

  DLManagedTensorVersioned *all[] = {plain, adapted, merged, others, unmerged, loaded};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) give_back(all[i]);
  seam_adapter_release(steer);
  seam_adapter_release(adapter);
  seam_session_release(fresh);
  seam_session_release(session);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  static const char *const plugins[] = {"libLinearHead.so",    "libResidualPrefix.so", "libGate.so",
                                        "libTinyAttention.so", "libLowRank.so",        "libTinyPoints.so"};
  char path[1000];
  float scores[VALUES];
  seam_runtime *runtime = NULL;
  seam_backbone *attention = NULL, *layered = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  for (size_t i = 0; i < sizeof plugins / sizeof plugins[0]; i++)
    OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], plugins[i]), &error));
  OK(seam_backbone_open(runtime, "tiny-attention", NULL, NULL, &attention, &error));
  OK(seam_backbone_open(runtime, "tiny-points", NULL, NULL, &layered, &error));
  save_together(attention, path_in(path, argv[2], "together"), scores);
  load_together(attention, path, scores);
  points(layered, path_in(path, argv[2], "inside"));
  seam_backbone_release(layered);
  seam_backbone_release(attention);
  seam_runtime_release(runtime);
  return finish("sessions");
}
