/* What the smoke tests of methods inside the layers share: a method on "tiny-points", from start to saved folder. */
#ifndef SMOKE_INSIDE_H
#define SMOKE_INSIDE_H

#include "../check.h"

typedef struct {
  const char *library, *id;
  const char *options;   /* JSON, nullable */
  const char *parameter; /* a name that its description has */
  const char *refused; /* the option that is a mistake of `options`'s kind, JSON, and a part of the sentence about it */
  const char *sentence;
  float start; /* how far the logits may be moved at the start; 0: not by a bit */
  int merges;  /* 1: it becomes weights; 0: it stays beside them */
} inside_method;

static inline seam_session *inside_session(seam_backbone *backbone) {
  seam_session *session = NULL;
  OK(seam_session_create(backbone, &session, &error));
  return session;
}

/* Three steps, which lower the loss. */
static inline void inside_training(seam_session *session, const seam_batch *batch) {
  static const int32_t labels[BATCH * SOURCE] = {2, 3, 7, 5, 9, -100};
  seam_batch labelled = *batch;
  labelled.target_length = SOURCE;
  labelled.labels = labels;
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  options.learning_rate = 0.01;
  OK(seam_session_begin_training(session, &options, &error));
  double first = 0;
  for (int i = 0; i < 3; i++) {
    seam_step step = {.struct_size = sizeof step};
    OK(seam_session_train_step(session, &labelled, &step, &error));
    CHECK(step.step == i + 1 && (i == 0 || step.loss < first));
    first = i == 0 ? step.loss : first;
  }
  seam_session_end_training(session);
}

static inline void inside_merging(seam_session *session, seam_adapter *adapter, const inside_method *method,
                                  const seam_batch *batch, const DLManagedTensorVersioned *adapted) {
  ERROR_SLOT;
  if (!method->merges) {
    FAILS(seam_session_merge(session, adapter, &error), SEAM_UNSUPPORTED, method->id);
    return;
  }
  OK(seam_session_merge(session, adapter, &error));
  DLManagedTensorVersioned *merged = logits_of(session, batch);
  check_logits_near(adapted, merged, 1e-4f);
  OK(seam_session_unmerge(session, adapter, &error));
  DLManagedTensorVersioned *unmerged = logits_of(session, batch);
  CHECK(same_bits(adapted, unmerged));
  give_back(merged);
  give_back(unmerged);
}

/* Runs it all; `argv` are the folder of the plugins and a folder to write to. */
static inline int inside_main(int argc, char **argv, const inside_method *method) {
  if (argc < 3) return 2;
  ERROR_SLOT;
  char path[1000];
  seam_runtime *runtime = NULL;
  seam_backbone *backbone = NULL;
  seam_adapter *adapter = NULL, *absent = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], method->library), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libTinyPoints.so"), &error));
  OK(seam_backbone_open(runtime, "tiny-points", NULL, NULL, &backbone, &error));
  seam_session *session = inside_session(backbone), *fresh = inside_session(backbone);
  const seam_batch batch = tiny_texts();
  DLManagedTensorVersioned *plain = logits_of(session, &batch);

  FAILS(seam_session_add(session, NULL, method->id, OPTIONS(.options_json = method->refused), &absent, &error),
        SEAM_INVALID_ARGUMENT, method->sentence);
  CHECK(absent == NULL);
  OK(seam_session_add(session, NULL, method->id, OPTIONS(.options_json = method->options), &adapter, &error));
  char *description = NULL;
  OK(seam_adapter_describe(adapter, &description, &error));
  CHECK(strstr(description, method->parameter) != NULL);
  seam_string_release(description);

  DLManagedTensorVersioned *started = logits_of(session, &batch);
  if (method->start > 0) check_logits_near(plain, started, method->start);
  CHECK(method->start > 0 || same_bits(plain, started));
  inside_training(session, &batch);
  disturb_all(adapter);
  DLManagedTensorVersioned *adapted = logits_of(session, &batch);
  CHECK(!same_bits(plain, adapted));
  inside_merging(session, adapter, method, &batch, adapted);

  OK(seam_session_save(session, NULL, path_in(path, argv[2], method->id), NULL, NULL, &error));
  OK(seam_session_load(fresh, NULL, path, &error));
  DLManagedTensorVersioned *loaded = logits_of(fresh, &batch);
  CHECK(same_bits(adapted, loaded));
  OK(seam_session_detach(session, NULL, adapter, &error));
  DLManagedTensorVersioned *without = logits_of(session, &batch);
  CHECK(same_bits(plain, without));

  DLManagedTensorVersioned *all[] = {plain, started, adapted, loaded, without};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) give_back(all[i]);
  seam_adapter_release(adapter);
  seam_session_release(fresh);
  seam_session_release(session);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish(method->id);
}

#endif
