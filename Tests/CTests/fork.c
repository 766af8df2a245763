/* A process forked after the engine was used, and while another thread uses it: the child gives the same values.
 * Argument: the folder of the plugins. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROWS = 64, LENGTH = 12, ROUNDS = 10 };

static int32_t ids[ROWS * LENGTH], labels[ROWS * LENGTH];
static volatile int stop;

static seam_batch wide_batch(void) {
  for (int i = 0; i < ROWS * LENGTH; i++) ids[i] = labels[i] = 2 + i % (VOCABULARY - 2);
  seam_batch batch = {.struct_size = sizeof batch, .batch = ROWS, .source_length = LENGTH, .target_length = LENGTH};
  batch.input_ids = ids;
  batch.labels = labels;
  return batch;
}

static seam_session *make_session(seam_runtime *runtime) {
  seam_backbone *backbone = open_tiny(runtime);
  seam_adapter *adapter = NULL;
  seam_session *session = NULL;
  OK(seam_adapter_create(backbone, "repcali", OPTIONS(.seed = 7), &adapter, &error));
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_attach(session, NULL, adapter, -1, &error));
  seam_adapter_release(adapter);
  seam_backbone_release(backbone);
  return session;
}

static void *compute(void *session) {
  seam_batch batch = wide_batch();
  while (!stop) give_back(logits_of(session, &batch));
  return NULL;
}

static void child_gives(seam_session *session, const DLManagedTensorVersioned *expected) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    /* One that hangs is ended by a signal. */
    alarm(60);
    seam_batch batch = wide_batch();
    DLManagedTensorVersioned *found = logits_of(session, &batch);
    _exit(same_bits(found, expected) ? 0 : 1);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  seam_runtime *runtime = make_runtime(arguments[1]);
  seam_session *session = make_session(runtime), *other = make_session(runtime);
  seam_set_thread_count(3);
  seam_batch batch = wide_batch();
  DLManagedTensorVersioned *expected = logits_of(session, &batch);
  child_gives(session, expected);

  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, compute, other) == 0);
  for (int round = 0; round < ROUNDS; round++) child_gives(session, expected);
  stop = 1;
  pthread_join(thread, NULL);
  give_back(expected);
  seam_session_release(session);
  seam_session_release(other);
  seam_runtime_release(runtime);
  return finish("fork");
}
