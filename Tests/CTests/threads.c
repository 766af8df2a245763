/* Sessions on threads of their own that read one backbone and one adapter, while other objects are made and released:
 * the values are those of one thread.
 * Argument: the folder of the plugins. */
#include "check.h"

#include <pthread.h>

enum { THREADS = 4, ROUNDS = 8, NEW_TOKENS = 5 };

typedef struct {
  seam_backbone *backbone;
  seam_adapter *adapter;
  const DLManagedTensorVersioned *expected;
  const int32_t *tokens;
  int differs;
} share;

static seam_session *session_of(const share *given) {
  seam_session *made = NULL;
  OK(seam_session_create(given->backbone, &made, &error));
  OK(seam_session_attach(made, NULL, given->adapter, -1, &error));
  return made;
}

static void generate(seam_session *session, int32_t tokens[NEW_TOKENS]) {
  seam_batch batch = tiny_batch();
  seam_generate_options options = {.struct_size = sizeof options, .max_new_tokens = NEW_TOKENS};
  options.min_new_tokens = NEW_TOKENS;
  options.num_beams = options.num_return_sequences = 1;
  options.length_penalty = options.temperature = options.top_p = options.repetition_penalty = 1;
  options.ignore_generation_config = 1;
  seam_sequences *sequences = NULL;
  OK(seam_session_generate(session, &batch, &options, NULL, NULL, &sequences, &error));
  size_t length = 0;
  const int32_t *found = seam_sequences_tokens(sequences, 0, 0, &length, NULL);
  CHECK(length == NEW_TOKENS);
  memcpy(tokens, found, sizeof *tokens * NEW_TOKENS);
  seam_sequences_release(sequences);
}

static void *compute(void *argument) {
  share *given = argument;
  seam_batch batch = tiny_batch();
  for (int round = 0; round < ROUNDS; round++) {
    seam_session *session = session_of(given);
    DLManagedTensorVersioned *found = logits_of(session, &batch);
    int32_t tokens[NEW_TOKENS];
    generate(session, tokens);
    given->differs += !same_bits(found, given->expected) || memcmp(tokens, given->tokens, sizeof tokens) != 0;
    give_back(found);
    /* An object of this thread alone, with names that are lent out. */
    seam_adapter *own = NULL;
    const char *name = NULL;
    DLManagedTensorVersioned *view = NULL;
    OK(seam_adapter_create(given->backbone, "scale-shift", NULL, &own, &error));
    OK(seam_adapter_parameter(own, 0, &name, &view, &error));
    given->differs += name[0] == '\0' || count_of(view) != WIDTH;
    give_back(view);
    seam_adapter_release(own);
    seam_session_release(session);
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  seam_runtime *runtime = make_runtime(argv[1]);
  seam_set_thread_count(2);
  share first = {.backbone = open_tiny(runtime)};
  OK(seam_adapter_create(first.backbone, "repcali", OPTIONS(.seed = 7), &first.adapter, &error));
  for (size_t p = 0; p < seam_adapter_parameter_count(first.adapter); p++) {
    DLManagedTensorVersioned *view = NULL;
    OK(seam_adapter_parameter(first.adapter, p, NULL, &view, &error));
    for (int64_t i = 0; i < count_of(view); i++) data_of(view)[i] += 0.5f * (float)cos((double)i + 1);
    give_back(view);
  }
  seam_session *session = session_of(&first);
  seam_batch batch = tiny_batch();
  DLManagedTensorVersioned *expected = logits_of(session, &batch);
  int32_t tokens[NEW_TOKENS];
  generate(session, tokens);
  first.expected = expected;
  first.tokens = tokens;

  pthread_t threads[THREADS];
  share shares[THREADS];
  for (int i = 0; i < THREADS; i++) {
    shares[i] = first;
    CHECK(pthread_create(&threads[i], NULL, compute, &shares[i]) == 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    CHECK(shares[i].differs == 0);
  }
  /* Everything that the threads made is gone again. */
  OK(seam_runtime_unload_plugin(runtime, "org.seamkit.example.scale-shift", &error));
  give_back(expected);
  seam_session_release(session);
  seam_adapter_release(first.adapter);
  seam_backbone_release(first.backbone);
  seam_runtime_release(runtime);
  return finish("threads");
}
