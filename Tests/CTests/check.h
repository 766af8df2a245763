/* What the C tests share: checks that name their line, and the objects that most of them start from. */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <seam/seam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failures = 0;

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      check_failures++;                                                         \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                           \
  } while (0)

/* `call` uses the variable `error` as its error slot and must succeed. */
#define OK(call)                                                                                \
  do {                                                                                          \
    seam_error *error = NULL;                                                                   \
    if ((call) != SEAM_OK) {                                                                    \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, seam_error_message(error)); \
      seam_error_release(error);                                                                \
      exit(1);                                                                                  \
    }                                                                                           \
    CHECK(error == NULL);                                                                       \
  } while (0)

/* `call` must fail with `code` and a sentence that contains `part`. */
#define FAILS(call, code, part) check_failure((call), &error, code, part, #call, __FILE__, __LINE__)
#define ERROR_SLOT seam_error *error = NULL

static inline void check_failure(seam_status status, seam_error **error, seam_status code, const char *part,
                                 const char *call, const char *file, int line) {
  const char *message = seam_error_message(*error);
  if (status != code || seam_error_code(*error) != code || strstr(message, part) == NULL) {
    check_failures++;
    fprintf(stderr, "%s:%d: %s\n  expected status %d and \"%s\", found %d and \"%s\"\n", file, line, call, (int)code,
            part, (int)status, message);
  }
  seam_error_release(*error);
  *error = NULL;
}

/* Which adapter is wanted: OPTIONS(.classes = 2). */
#define OPTIONS(...) (&(seam_adapter_options){.struct_size = sizeof(seam_adapter_options), __VA_ARGS__})

/* A path in a buffer that the next call with the same buffer overwrites. */
static inline const char *path_in(char *buffer, const char *folder, const char *name) {
  snprintf(buffer, 1000, "%s/%s", folder, name);
  return buffer;
}

/* A runtime with the plugins RepCali, ScaleShift and TinyOpaque of `folder`. */
static inline seam_runtime *make_runtime(const char *folder) {
  char path[1000];
  seam_runtime *runtime = NULL;
  seam_set_thread_count(1);
  OK(seam_runtime_create(&runtime, &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, folder, "libRepCali.so"), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, folder, "libScaleShift.so"), &error));
  OK(seam_runtime_load_plugin(runtime, path_in(path, folder, "libTinyOpaque.so"), &error));
  return runtime;
}

/* The tiny opaque backbone: 16 tokens, 8 features. */
static inline seam_backbone *open_tiny(seam_runtime *runtime) {
  seam_backbone *backbone = NULL;
  OK(seam_backbone_open(runtime, "tiny-opaque", NULL, "{\"seed\": 3}", &backbone, &error));
  return backbone;
}

enum { BATCH = 2, SOURCE = 3, TARGET = 4, VOCABULARY = 16, WIDTH = 8 };

/* A batch of two pairs; the second source is shorter, the second target ends early. */
static inline seam_batch tiny_batch(void) {
  static const int32_t ids[BATCH * SOURCE] = {3, 5, 7, 9, 2, 0};
  static const int32_t mask[BATCH * SOURCE] = {1, 1, 1, 1, 1, 0};
  static const int32_t labels[BATCH * TARGET] = {4, 6, 8, 1, 11, 1, -100, -100};
  seam_batch batch = {.struct_size = sizeof batch, .batch = BATCH, .source_length = SOURCE, .target_length = TARGET};
  batch.input_ids = ids;
  batch.attention_mask = mask;
  batch.labels = labels;
  return batch;
}

/* Two texts for a backbone of one stack; the second is shorter. */
static inline seam_batch tiny_texts(void) {
  static const int32_t ids[BATCH * SOURCE] = {1, 2, 3, 4, 5, 0}, mask[BATCH * SOURCE] = {1, 1, 1, 1, 1, 0};
  seam_batch batch = {.struct_size = sizeof batch, .batch = BATCH, .source_length = SOURCE};
  batch.input_ids = ids;
  batch.attention_mask = mask;
  return batch;
}

static inline void give_back(DLManagedTensorVersioned *tensor) {
  if (tensor != NULL && tensor->deleter != NULL) tensor->deleter(tensor);
}

static inline float *data_of(DLManagedTensorVersioned *tensor) {
  return (float *)((char *)tensor->dl_tensor.data + tensor->dl_tensor.byte_offset);
}

static inline int64_t count_of(const DLManagedTensorVersioned *tensor) {
  int64_t count = 1;
  for (int32_t axis = 0; axis < tensor->dl_tensor.ndim; axis++) count *= tensor->dl_tensor.shape[axis];
  return count;
}

/* The logits of `batch`; the caller gives them back. */
static inline DLManagedTensorVersioned *logits_of(seam_session *session, const seam_batch *batch) {
  DLManagedTensorVersioned *logits = NULL;
  OK(seam_session_forward(session, batch, &logits, NULL, &error));
  return logits;
}

static inline int same_bits(const DLManagedTensorVersioned *a, const DLManagedTensorVersioned *b) {
  return count_of(a) == count_of(b) && memcmp(a->dl_tensor.data, b->dl_tensor.data, (size_t)count_of(a) * 4) == 0;
}

/* The largest difference; infinite for other sizes. */
static inline float largest_difference(DLManagedTensorVersioned *a, DLManagedTensorVersioned *b) {
  float largest = count_of(a) == count_of(b) ? 0 : INFINITY;
  for (int64_t i = 0; i < count_of(a) && i < count_of(b); i++)
    largest = fmaxf(largest, fabsf(data_of(a)[i] - data_of(b)[i]));
  return largest;
}

/* Adds numbers of its own to every parameter. */
static inline void disturb_all(seam_adapter *adapter) {
  for (size_t p = 0; p < seam_adapter_parameter_count(adapter); p++) {
    DLManagedTensorVersioned *view = NULL;
    OK(seam_adapter_parameter(adapter, p, NULL, &view, &error));
    for (int64_t i = 0; i < count_of(view); i++) data_of(view)[i] += 0.3f * (float)sin(1.7 * (double)i + (double)p + 1);
    give_back(view);
  }
}

static inline void check_logits_near(const DLManagedTensorVersioned *a, const DLManagedTensorVersioned *b,
                                     float tolerance) {
  CHECK(count_of(a) == count_of(b));
  for (int64_t i = 0; i < count_of(a); i++) {
    const float one = ((const float *)a->dl_tensor.data)[i], two = ((const float *)b->dl_tensor.data)[i];
    if (fabsf(one - two) > tolerance) {
      check_failures++;
      fprintf(stderr, "%g and %g differ at %d\n", one, two, (int)i);
      return;
    }
  }
}

static inline int finish(const char *name) {
  if (check_failures == 0) printf("%s: passed\n", name);
  return check_failures == 0 ? 0 : 1;
}

#endif
