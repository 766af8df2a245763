/* A client's structs of version 1.0's size, at the end of a page behind which nothing may be touched: the library reads
 * and fills them as far as their struct_size says, and computes what it computes with others.
 * Argument: the folder of the plugins. */
#include "guard.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../CTests/check.h"

/* The page does end a program that goes too far: else the rest would show nothing. */
static void guard_holds(void) {
  const volatile char *place = guarded(NULL, 8);
  const pid_t child = fork();
  if (child == 0) {
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    _exit(place[8]);
  }
  int status = 0;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* A struct of 1.0's size with its struct_size set. */
#define SHORT(type, size) ((type *)short_struct(size))

static void *short_struct(size_t size) {
  void *made = guarded(NULL, size);
  *(uint32_t *)made = (uint32_t)size;
  return made;
}

static void descriptions(seam_runtime *runtime, seam_backbone *backbone) {
  seam_plugin_info *plugin = SHORT(seam_plugin_info, SEAM_PLUGIN_INFO_SIZE_1_0);
  OK(seam_runtime_get_plugin(runtime, 0, plugin, &error));
  CHECK(plugin->struct_size == SEAM_PLUGIN_INFO_SIZE_1_0);
  CHECK(strcmp(plugin->id, "org.seamkit.repcali") == 0 && strstr(plugin->path, "libRepCali.so") != NULL);
  seam_backbone_info *info = SHORT(seam_backbone_info, SEAM_BACKBONE_INFO_SIZE_1_0);
  OK(seam_backbone_get_info(backbone, info, &error));
  CHECK(info->struct_size == SEAM_BACKBONE_INFO_SIZE_1_0);
  CHECK(info->d_model == WIDTH && info->eos_token_count == 1 && info->eos_token_ids[0] == 1 && info->point_count == 0);
}

static seam_adapter *attached(seam_session *session) {
  seam_adapter *adapter = NULL;
  seam_adapter_options *options = SHORT(seam_adapter_options, SEAM_ADAPTER_OPTIONS_SIZE_1_0);
  options->seed = 5;
  OK(seam_session_add(session, NULL, "repcali", options, &adapter, &error));
  return adapter;
}

static void passes(seam_session *session, const seam_batch *batch) {
  seam_batch ordinary = tiny_batch();
  DLManagedTensorVersioned *found = logits_of(session, batch), *expected = logits_of(session, &ordinary);
  CHECK(same_bits(found, expected));
  give_back(found);
  give_back(expected);
}

static int32_t go_on(void *user, const seam_progress *progress) {
  ++*(int *)user;
  return progress->struct_size >= SEAM_PROGRESS_SIZE_1_0;
}

static void generation(seam_backbone *backbone, seam_session *session) {
  static const int32_t ids[SOURCE] = {3, 5, 7};
  seam_batch *batch = SHORT(seam_batch, SEAM_BATCH_SIZE_1_0);
  batch->batch = 1;
  batch->source_length = SOURCE;
  batch->input_ids = ids;
  seam_generate_options *options = SHORT(seam_generate_options, SEAM_GENERATE_OPTIONS_SIZE_1_0);
  OK(seam_generate_options_init(backbone, options, &error));
  CHECK(options->struct_size == SEAM_GENERATE_OPTIONS_SIZE_1_0);
  options->max_new_tokens = 3;
  int steps = 0;
  seam_sequences *sequences = NULL;
  OK(seam_session_generate(session, batch, options, go_on, &steps, &sequences, &error));
  CHECK(steps > 0 && seam_sequences_count(sequences, 0) == 1);
  seam_sequences_release(sequences);
}

static void training(seam_session *session, const seam_batch *batch) {
  seam_train_options *options = SHORT(seam_train_options, SEAM_TRAIN_OPTIONS_SIZE_1_0);
  OK(seam_train_options_init(options, &error));
  CHECK(options->struct_size == SEAM_TRAIN_OPTIONS_SIZE_1_0 && options->beta2 == 0.999);
  OK(seam_session_begin_training(session, options, &error));
  seam_step *step = SHORT(seam_step, SEAM_STEP_SIZE_1_0);
  OK(seam_session_train_step(session, batch, step, &error));
  CHECK(step->struct_size == SEAM_STEP_SIZE_1_0 && step->step == 1 && step->loss > 0);
  CHECK(step->learning_rate == options->learning_rate);
  seam_session_end_training(session);
}

static void fitting(seam_backbone *backbone) {
  enum { EXAMPLES = 4, CLASSES = 2, EPOCHS = 3 };
  static const int32_t labels[EXAMPLES] = {0, 1, 0, 1};
  static const float scores[EXAMPLES * CLASSES] = {1, 0, 0, 1, 2, 0, 0, 3};
  static const float hidden[EXAMPLES * WIDTH] = {1, 2, 3};
  seam_adapter_options *wanted = SHORT(seam_adapter_options, SEAM_ADAPTER_OPTIONS_SIZE_1_0);
  wanted->classes = CLASSES;
  seam_adapter *adapter = NULL;
  OK(seam_adapter_create(backbone, "test-class-bias", wanted, &adapter, &error));
  seam_fit_options *options = SHORT(seam_fit_options, SEAM_FIT_OPTIONS_SIZE_1_0);
  OK(seam_fit_options_init(options, &error));
  CHECK(options->struct_size == SEAM_FIT_OPTIONS_SIZE_1_0 && options->epochs == 30);
  options->epochs = EPOCHS;
  double losses[EPOCHS] = {0};
  int calls = 0;
  OK(seam_adapter_fit(adapter, scores, hidden, labels, NULL, EXAMPLES, options, go_on, &calls, losses, EPOCHS, &error));
  CHECK(calls >= EPOCHS && losses[EPOCHS - 1] > 0);
  seam_adapter_release(adapter);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  guard_holds();
  char path[1000];
  seam_runtime *runtime = make_runtime(argv[1]);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libClassBias.so"), &error));
  seam_backbone *backbone = open_tiny(runtime);
  seam_session *session = NULL;
  OK(seam_session_create(backbone, &session, &error));
  descriptions(runtime, backbone);
  seam_adapter *adapter = attached(session);
  const seam_batch ordinary = tiny_batch();
  seam_batch *batch = guarded(&ordinary, SEAM_BATCH_SIZE_1_0);
  batch->struct_size = SEAM_BATCH_SIZE_1_0;
  passes(session, batch);
  generation(backbone, session);
  training(session, batch);
  passes(session, batch);
  fitting(backbone);
  seam_adapter_release(adapter);
  seam_session_release(session);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("short_structs");
}
