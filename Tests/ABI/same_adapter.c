/* Two adapters of different plugins that must be the same method: they compute, learn and answer alike to the last bit.
 * Arguments: the folder of the plugins, the library and the id of one, the library and the id of the other. */
#include "../CTests/check.h"

typedef struct {
  DLManagedTensorVersioned *logits; /* after training */
  double loss, distance;
  size_t parameter_count;
} outcome;

static outcome trained(seam_backbone *backbone, const char *id) {
  outcome found = {0};
  seam_session *session = NULL;
  seam_adapter *adapter = NULL;
  seam_batch batch = tiny_batch();
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_add(session, NULL, id, NULL, &adapter, &error));
  found.parameter_count = seam_adapter_parameter_count(adapter);
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  OK(seam_session_begin_training(session, &options, &error));
  seam_step step = {.struct_size = sizeof step};
  for (int i = 0; i < 5; i++) OK(seam_session_train_step(session, &batch, &step, &error));
  seam_session_end_training(session);
  found.loss = step.loss;
  found.logits = logits_of(session, &batch);
  seam_value result = {0};
  OK(seam_adapter_call(adapter, "distance", NULL, 0, &result, &error));
  CHECK(result.kind == SEAM_VALUE_TENSOR && count_of(result.tensor) == 1);
  found.distance = data_of(result.tensor)[0];
  give_back(result.tensor);
  seam_adapter_release(adapter);
  seam_session_release(session);
  return found;
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  seam_runtime *runtime = NULL;
  char path[1000];
  OK(seam_runtime_create(&runtime, &error));
  seam_set_thread_count(1);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libTinyOpaque.so"), &error));
  OK(seam_runtime_load_plugin(runtime, argv[2], &error));
  OK(seam_runtime_load_plugin(runtime, argv[4], &error));
  seam_backbone *backbone = open_tiny(runtime);
  outcome one = trained(backbone, argv[3]), other = trained(backbone, argv[5]);
  CHECK(one.parameter_count == 2 && other.parameter_count == 2);
  CHECK(one.loss > 0 && one.loss == other.loss);
  CHECK(one.distance > 0 && one.distance == other.distance);
  CHECK(same_bits(one.logits, other.logits));
  give_back(one.logits);
  give_back(other.logits);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("same_adapter");
}
