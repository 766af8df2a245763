/* Training RepCali through the derivative of an opaque backbone: the gradient against finite differences, the loss
 * falls, what is saved comes back bit for bit.
 * Arguments: the folder of the plugins, a folder for files. */
#include "check.h"

enum { MAXIMUM = 64 };

/* A view of each parameter's memory; the caller gives them back. */
static size_t views_of(seam_adapter *adapter, DLManagedTensorVersioned *views[8]) {
  size_t count = seam_adapter_parameter_count(adapter);
  for (size_t i = 0; i < count; i++) OK(seam_adapter_parameter(adapter, i, NULL, &views[i], &error));
  return count;
}

static double mean_loss(seam_session *session, const seam_batch *batch) {
  seam_score scores[BATCH];
  OK(seam_session_score(session, batch, scores, BATCH, &error));
  double sum = 0;
  int64_t count = 0;
  for (int64_t i = 0; i < BATCH; i++) {
    sum -= scores[i].log_probability;
    count += scores[i].token_count;
    CHECK(scores[i].correct_count >= 0 && scores[i].correct_count <= scores[i].token_count);
  }
  CHECK(count == 6);
  return sum / (double)count;
}

/* One step of Adam from no moments moves a parameter by -rate g / (|g| + epsilon): with a rate and an epsilon of 1 the
 * gradient can be read off. */
static void gradient_is_right(seam_backbone *backbone, const char *id, const char *given, size_t parameters) {
  seam_adapter *adapter = NULL;
  seam_session *session = NULL;
  seam_batch batch = tiny_batch();
  DLManagedTensorVersioned *views[8];
  OK(seam_adapter_create(backbone, id, OPTIONS(.options_json = given), &adapter, &error));
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_attach(session, NULL, adapter, -1, &error));

  double expected[MAXIMUM], before[MAXIMUM];
  size_t total = 0, count = views_of(adapter, views);
  CHECK(count == parameters);
  /* Away from the identity, so that every parameter has a gradient of its own. */
  for (size_t p = 0; p < count; p++)
    for (int64_t i = 0; i < count_of(views[p]); i++) data_of(views[p])[i] += 0.3f * (float)sin(1.7 * (double)i + p);
  for (size_t p = 0; p < count; p++) {
    for (int64_t i = 0; i < count_of(views[p]); i++) {
      float *x = data_of(views[p]) + i, kept = *x;
      const double h = 0.01;
      *x = kept + (float)h;
      double up = mean_loss(session, &batch);
      *x = kept - (float)h;
      double down = mean_loss(session, &batch);
      *x = kept;
      before[total] = kept;
      expected[total++] = (up - down) / (2 * h);
    }
    give_back(views[p]);
  }

  seam_train_options options = {.struct_size = sizeof options};
  seam_step step = {.struct_size = sizeof step};
  OK(seam_train_options_init(&options, &error));
  options.optimizer = SEAM_OPTIMIZER_ADAM;
  options.learning_rate = options.epsilon = 1;
  options.weight_decay = options.max_grad_norm = 0;
  double loss = mean_loss(session, &batch);
  OK(seam_session_begin_training(session, &options, &error));
  OK(seam_session_train_step(session, &batch, &step, &error));
  seam_session_end_training(session);
  CHECK(step.step == 1 && step.learning_rate == 1 && fabs(step.loss - loss) < 1e-5);

  double norm = 0;
  views_of(adapter, views);
  size_t position = 0;
  for (size_t p = 0; p < count; p++) {
    for (int64_t i = 0; i < count_of(views[p]); i++, position++) {
      double moved = before[position] - data_of(views[p])[i];
      double gradient = moved / (1 - fabs(moved));
      norm += gradient * gradient;
      if (fabs(gradient - expected[position]) > 2e-4 + 1e-2 * fabs(expected[position])) {
        fprintf(stderr, "parameter %zu, element %d: gradient %g, finite differences %g\n", p, (int)i, gradient,
                expected[position]);
        check_failures++;
      }
    }
    give_back(views[p]);
  }
  CHECK(fabs(sqrt(norm) - step.gradient_norm) < 1e-4 * step.gradient_norm);
  seam_session_release(session);
  seam_adapter_release(adapter);
}

static seam_adapter *train(seam_backbone *backbone, seam_session *session) {
  ERROR_SLOT;
  seam_adapter *adapter = NULL, *other = NULL;
  seam_batch batch = tiny_batch();
  seam_train_options options = {.struct_size = sizeof options};
  seam_step step = {.struct_size = sizeof step};
  OK(seam_adapter_create(backbone, "repcali",
                         OPTIONS(.options_json = "{\"seed\": \"positions\", \"max_positions\": 5}", .seed = 7),
                         &adapter, &error));
  OK(seam_adapter_create(backbone, "repcali", OPTIONS(.seed = 7), &other, &error));
  OK(seam_session_attach(session, NULL, adapter, -1, &error));
  OK(seam_train_options_init(&options, &error));
  options.learning_rate = 0.05;
  OK(seam_session_begin_training(session, &options, &error));
  FAILS(seam_session_begin_training(session, &options, &error), SEAM_INVALID_ARGUMENT, "has begun already");
  FAILS(seam_session_attach(session, NULL, other, -1, &error), SEAM_INVALID_ARGUMENT,
        "cannot be attached during training");
  FAILS(seam_session_detach(session, NULL, adapter, &error), SEAM_INVALID_ARGUMENT,
        "cannot be detached during training");
  FAILS(seam_session_move(session, NULL, adapter, 0, &error), SEAM_INVALID_ARGUMENT, "cannot be moved during training");
  double first = 0;
  for (int i = 1; i <= 60; i++) {
    OK(seam_session_train_step(session, &batch, &step, &error));
    CHECK(step.step == i && step.gradient_norm > 0);
    if (i == 1) first = step.loss;
  }
  /* One vector moves all targets of a source alike: no more can be learned here. */
  CHECK(step.loss < 0.85 * first);
  batch.labels = NULL;
  batch.decoder_input_ids = batch.input_ids;
  batch.target_length = SOURCE;
  FAILS(seam_session_train_step(session, &batch, &step, &error), SEAM_INVALID_ARGUMENT, "need labels");
  seam_session_end_training(session);
  seam_session_end_training(session);
  printf("training: loss %.4f, after 60 steps %.4f\n", first, step.loss);
  seam_adapter_release(other);
  return adapter;
}

static void saved_is_the_same(seam_backbone *backbone, seam_session *session, seam_adapter *adapter,
                              const char *folder) {
  ERROR_SLOT;
  char path[1000];
  seam_batch batch = tiny_batch();
  path_in(path, folder, "adapter");
  OK(seam_adapter_save(adapter, path, NULL, "- data: two pairs\n", &error));
  OK(seam_adapter_save(adapter, path, NULL, NULL, &error));
  DLManagedTensorVersioned *expected = logits_of(session, &batch);
  for (int again = 0; again < 2; again++) {
    seam_adapter *loaded = NULL;
    seam_session *fresh = NULL;
    OK(seam_adapter_load(backbone, path, &loaded, &error));
    OK(seam_session_create(backbone, &fresh, &error));
    OK(seam_session_attach(fresh, NULL, loaded, -1, &error));
    /* The session keeps its adapter. */
    seam_adapter_release(loaded);
    DLManagedTensorVersioned *found = logits_of(fresh, &batch);
    CHECK(same_bits(expected, found));
    give_back(found);
    seam_session_release(fresh);
  }
  give_back(expected);

  /* NaN is never written. */
  DLManagedTensorVersioned *views[8];
  size_t count = views_of(adapter, views);
  float kept = data_of(views[0])[1];
  data_of(views[0])[1] = NAN;
  FAILS(seam_adapter_save(adapter, path, NULL, NULL, &error), SEAM_NUMERIC, "holds NaN or infinity at element 1");
  seam_train_options options = {.struct_size = sizeof options};
  seam_step step = {.struct_size = sizeof step};
  OK(seam_train_options_init(&options, &error));
  OK(seam_session_begin_training(session, &options, &error));
  FAILS(seam_session_train_step(session, &batch, &step, &error), SEAM_NUMERIC, "loss of step 1 is nan");
  seam_session_end_training(session);
  data_of(views[0])[1] = kept;
  for (size_t i = 0; i < count; i++) give_back(views[i]);
}

/* The losses of six steps on two batches in turn. */
static void losses_of(seam_backbone *backbone, int64_t cache_bytes, const char *folder, double losses[6]) {
  seam_adapter *adapter = NULL;
  seam_session *session = NULL;
  seam_batch batches[2] = {tiny_batch(), tiny_batch()};
  seam_train_options options = {.struct_size = sizeof options};
  seam_step step = {.struct_size = sizeof step};
  batches[1].batch = 1;
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_add(session, NULL, "repcali",
                      OPTIONS(.options_json = "{\"seed\": \"positions\", \"max_positions\": 5}"), &adapter, &error));
  OK(seam_train_options_init(&options, &error));
  CHECK(options.seam_cache_bytes == 0 && options.seam_cache_folder == NULL);
  options.learning_rate = 0.05;
  options.seam_cache_bytes = cache_bytes;
  options.seam_cache_folder = folder;
  OK(seam_session_begin_training(session, &options, &error));
  for (int i = 0; i < 6; i++) {
    OK(seam_session_train_step(session, &batches[i % 2], &step, &error));
    losses[i] = step.loss;
  }
  seam_session_end_training(session);
  seam_session_release(session);
  seam_adapter_release(adapter);
}

/* What an opaque backbone's encoder gives may be kept, in memory or in a file. */
static void kept_is_the_same(seam_backbone *backbone, const char *folder) {
  ERROR_SLOT;
  double whole[6], kept[6], in_file[6];
  losses_of(backbone, 0, NULL, whole);
  losses_of(backbone, -1, NULL, kept);
  losses_of(backbone, 1, folder, in_file);
  for (int i = 0; i < 6; i++) CHECK(fabs(whole[i] - kept[i]) < 1e-5 && kept[i] == in_file[i]);
  CHECK(whole[4] < whole[0]);

  seam_session *session = NULL;
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_session_create(backbone, &session, &error));
  OK(seam_session_add(session, NULL, "repcali", NULL, NULL, &error));
  OK(seam_train_options_init(&options, &error));
  options.seam_cache_bytes = -2;
  FAILS(seam_session_begin_training(session, &options, &error), SEAM_INVALID_ARGUMENT,
        "seam_cache_bytes must be a number of bytes");
  options.seam_cache_bytes = 1;
  options.seam_cache_folder = "/no/such/folder";
  FAILS(seam_session_begin_training(session, &options, &error), SEAM_NOT_FOUND,
        "seam_cache_folder must be a folder, found \"/no/such/folder\"");
  options.seam_cache_folder = NULL;
  OK(seam_session_begin_training(session, &options, &error));
  seam_session_release(session);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  char path[1000];
  seam_runtime *runtime = make_runtime(argv[1]);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libBottleneck.so"), &error));
  seam_backbone *backbone = open_tiny(runtime);
  gradient_is_right(backbone, "repcali", NULL, 3);
  gradient_is_right(backbone, "bottleneck", "{\"rank\": 2}", 2);
  seam_session *session = NULL;
  OK(seam_session_create(backbone, &session, &error));
  seam_adapter *adapter = train(backbone, session);
  saved_is_the_same(backbone, session, adapter, argv[2]);
  kept_is_the_same(backbone, argv[2]);

  /* Released in the middle of training: nothing leaks and nothing is left trainable. */
  seam_train_options options = {.struct_size = sizeof options};
  OK(seam_train_options_init(&options, &error));
  OK(seam_session_begin_training(session, &options, &error));
  seam_session_release(session);
  seam_adapter_release(adapter);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("training");
}
