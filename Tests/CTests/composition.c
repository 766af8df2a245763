/* Attached, detached, moved: detaching restores the outputs bit for bit, and the order of two adapters counts.
 * Arguments: the folder of the plugins. */
#include "check.h"

static void fill(seam_adapter *adapter, float amount) {
  for (size_t p = 0; p < seam_adapter_parameter_count(adapter); p++) {
    const char *name = NULL;
    DLManagedTensorVersioned *view = NULL;
    OK(seam_adapter_parameter(adapter, p, &name, &view, &error));
    CHECK(name != NULL && name[0] != 0);
    for (int64_t i = 0; i < count_of(view); i++) data_of(view)[i] += amount * (float)cos((double)(i + 1));
    give_back(view);
  }
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  seam_runtime *runtime = make_runtime(argv[1]);
  seam_backbone *backbone = open_tiny(runtime);
  seam_session *session = NULL;
  seam_adapter *calibration = NULL, *scale = NULL;
  seam_batch batch = tiny_batch();
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_adapter_create(backbone, "repcali", NULL, &calibration, &error));
  OK(seam_adapter_create(backbone, "scale-shift", NULL, &scale, &error));

  DLManagedTensorVersioned *plain = logits_of(session, &batch), *plain_hidden = NULL, *hidden = NULL;
  OK(seam_session_encode(session, &batch, &plain_hidden, &error));
  CHECK(plain_hidden->dl_tensor.ndim == 3 && plain_hidden->dl_tensor.shape[0] == BATCH);
  CHECK(plain_hidden->dl_tensor.shape[1] == SOURCE && plain_hidden->dl_tensor.shape[2] == WIDTH);

  /* Both start as the identity, to the last bit. */
  OK(seam_session_attach(session, NULL, calibration, -1, &error));
  OK(seam_session_attach(session, NULL, scale, -1, &error));
  DLManagedTensorVersioned *identity = logits_of(session, &batch);
  CHECK(same_bits(plain, identity));

  fill(calibration, 0.5f);
  fill(scale, 0.5f);
  DLManagedTensorVersioned *first = logits_of(session, &batch);
  CHECK(!same_bits(plain, first));
  OK(seam_session_encode(session, &batch, &hidden, &error));
  CHECK(!same_bits(plain_hidden, hidden));

  OK(seam_session_move(session, NULL, scale, 0, &error));
  DLManagedTensorVersioned *second = logits_of(session, &batch);
  CHECK(!same_bits(first, second));
  OK(seam_session_move(session, NULL, scale, -1, &error));
  DLManagedTensorVersioned *third = logits_of(session, &batch);
  CHECK(same_bits(first, third));

  /* Attached at the front is what moving there gives. */
  OK(seam_session_detach(session, NULL, scale, &error));
  OK(seam_session_attach(session, NULL, scale, 0, &error));
  DLManagedTensorVersioned *fourth = logits_of(session, &batch);
  CHECK(same_bits(second, fourth));

  OK(seam_session_detach(session, NULL, calibration, &error));
  OK(seam_session_detach(session, NULL, scale, &error));
  DLManagedTensorVersioned *restored = logits_of(session, &batch);
  CHECK(same_bits(plain, restored));

  /* Everything a tensor needs outlives the objects that made it. */
  seam_runtime_release(runtime);
  seam_backbone_release(backbone);
  seam_session_release(session);
  seam_adapter_release(scale);
  seam_adapter_release(calibration);
  CHECK(same_bits(plain, restored));
  DLManagedTensorVersioned *all[] = {plain, plain_hidden, hidden, identity, first, second, third, fourth, restored};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) give_back(all[i]);
  return finish("composition");
}
