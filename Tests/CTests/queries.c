/* Queries to a text backbone: rows, partial answers, and a plugin that breaks the contract.
 * Arguments: the folder of the plugins. */
#include "check.h"

#include <pthread.h>

enum { PROMPTS = 3, ANSWERS = 2, FEATURES = 2 };

static const char *const prompts[PROMPTS] = {"a", "bcd", "ef"};
static const char *const answers[ANSWERS] = {" yes", " no"};

/* What a query writes; everything starts as -7. */
typedef struct {
  float scores[PROMPTS * ANSWERS], hidden[PROMPTS * FEATURES];
  size_t answered;
  int64_t requests;
} answer;

static answer untouched(void) {
  answer out = {.answered = 7, .requests = -7};
  for (int i = 0; i < PROMPTS * ANSWERS; i++) out.scores[i] = out.hidden[i] = -7;
  return out;
}

static seam_status ask(seam_backbone *backbone, const char *const *texts, seam_progress_callback callback, void *user,
                       answer *out, seam_error **error) {
  *out = untouched();
  return seam_backbone_query(backbone, texts, PROMPTS, answers, ANSWERS, callback, user, out->scores, PROMPTS * ANSWERS,
                             out->hidden, PROMPTS * FEATURES, &out->answered, &out->requests, error);
}

/* The first rows are those of `texts`, the others untouched. */
static void check_rows(const answer *found, const char *const *texts, size_t answered) {
  CHECK(found->answered == answered && found->requests == (int64_t)answered);
  for (size_t row = 0; row < PROMPTS; row++) {
    const int filled = row < answered;
    const float length = (float)strlen(texts[row]);
    CHECK(found->scores[row * ANSWERS] == (filled ? -length - 4 : -7));
    CHECK(found->scores[row * ANSWERS + 1] == (filled ? -length - 3 : -7));
    CHECK(found->hidden[row * FEATURES] == (filled ? length : -7));
    CHECK(found->hidden[row * FEATURES + 1] == (filled ? (float)texts[row][0] : -7));
  }
}

static int32_t count_down(void *user, const seam_progress *progress) {
  CHECK(progress->activity == SEAM_ACTIVITY_QUERY && progress->total == PROMPTS);
  return (*(int *)user)-- > 0;
}

static seam_backbone *open_text(seam_runtime *runtime, const char *options) {
  seam_backbone *backbone = NULL;
  OK(seam_backbone_open(runtime, "tiny-text", NULL, options, &backbone, &error));
  return backbone;
}

static void answers_in_rows(seam_runtime *runtime) {
  ERROR_SLOT;
  answer found;
  seam_backbone *backbone = open_text(runtime, NULL);
  seam_backbone_info info = {.struct_size = sizeof info};
  OK(seam_backbone_get_info(backbone, &info, &error));
  CHECK(info.architecture == SEAM_TEXT && info.d_model == FEATURES && info.vocab_size == 0 && !info.has_head);
  CHECK(info.seam_count == 1 && strcmp(info.seams[0], SEAM_DECODER_OUTPUT) == 0);

  OK(ask(backbone, prompts, NULL, NULL, &found, &error));
  check_rows(&found, prompts, PROMPTS);
  int left = 100;
  OK(ask(backbone, prompts, count_down, &left, &found, &error));
  /* Before each prompt and after the last. */
  CHECK(left == 100 - PROMPTS - 1);
  OK(seam_backbone_query(backbone, prompts, PROMPTS, answers, ANSWERS, NULL, NULL, found.scores, PROMPTS * ANSWERS,
                         NULL, 0, NULL, NULL, &error));
  OK(seam_backbone_query(backbone, NULL, 0, answers, ANSWERS, NULL, NULL, found.scores, PROMPTS * ANSWERS, NULL, 0,
                         &found.answered, NULL, &error));
  CHECK(found.answered == 0);

  left = 2;
  FAILS(ask(backbone, prompts, count_down, &left, &found, &error), SEAM_CANCELLED, "stopped");
  check_rows(&found, prompts, 2);
  const char *const failing[PROMPTS] = {"a", "fail", "b"};
  FAILS(ask(backbone, failing, NULL, NULL, &found, &error), SEAM_IO, "no line");
  check_rows(&found, failing, 1);
  seam_backbone_release(backbone);
}

static void arguments(seam_runtime *runtime) {
  ERROR_SLOT;
  answer found;
  seam_backbone *backbone = open_text(runtime, NULL);
  const char *const odd[PROMPTS] = {"a", "\xff", "b"}, *const holes[PROMPTS] = {"a", NULL, "b"};
  FAILS(ask(NULL, prompts, NULL, NULL, &found, &error), SEAM_INVALID_ARGUMENT, "argument backbone is NULL");
  FAILS(ask(backbone, NULL, NULL, NULL, &found, &error), SEAM_INVALID_ARGUMENT, "argument prompts is NULL");
  FAILS(ask(backbone, holes, NULL, NULL, &found, &error), SEAM_INVALID_ARGUMENT, "argument prompts[1] is NULL");
  FAILS(ask(backbone, odd, NULL, NULL, &found, &error), SEAM_INVALID_ARGUMENT, "prompts[1] is not valid UTF-8");
  check_rows(&found, prompts, 0);
  FAILS(seam_backbone_query(backbone, prompts, PROMPTS, answers, ANSWERS, NULL, NULL, NULL, 0, NULL, 0, NULL, NULL,
                            &error),
        SEAM_INVALID_ARGUMENT, "argument scores is NULL");
  FAILS(seam_backbone_query(backbone, prompts, PROMPTS, NULL, 0, NULL, NULL, found.scores, PROMPTS * ANSWERS, NULL, 0,
                            NULL, NULL, &error),
        SEAM_INVALID_ARGUMENT, "needs answers");
  seam_backbone_release(backbone);

  backbone = open_tiny(runtime);
  FAILS(ask(backbone, prompts, NULL, NULL, &found, &error), SEAM_UNSUPPORTED, "reads tokens and answers no queries");
  seam_backbone_release(backbone);
}

static void defects(seam_runtime *runtime) {
  static const struct {
    const char *options;
    seam_status status;
    const char *sentence;
  } cases[] = {
      {"{\"defect\": \"more\"}", SEAM_PLUGIN, "query reports 4 of 3 prompts answered and no failure"},
      {"{\"defect\": \"fewer\"}", SEAM_PLUGIN, "query reports 2 of 3 prompts answered and no failure"},
      {"{\"defect\": \"countless\"}", SEAM_PLUGIN, "query reports 18446744073709551615 of 3 prompts answered"},
      {"{\"defect\": \"requests\"}", SEAM_PLUGIN, "query reports 9223372036854775807 requests"},
  };
  ERROR_SLOT;
  answer found;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    seam_backbone *backbone = open_text(runtime, cases[i].options);
    FAILS(ask(backbone, prompts, NULL, NULL, &found, &error), cases[i].status, cases[i].sentence);
    check_rows(&found, prompts, 0);
    seam_backbone_release(backbone);
  }
  /* NaN, which costs no row before it; a failure after the last row; one without a sentence. */
  seam_backbone *backbone = open_text(runtime, "{\"defect\": \"nan\"}");
  FAILS(ask(backbone, prompts, NULL, NULL, &found, &error), SEAM_NUMERIC, "query gave nan in hidden of prompt 1");
  CHECK(found.answered == 1 && found.requests == PROMPTS && found.hidden[1] == 'a' && found.hidden[FEATURES] == -7);
  seam_backbone_release(backbone);
  backbone = open_text(runtime, "{\"defect\": \"late\"}");
  FAILS(ask(backbone, prompts, NULL, NULL, &found, &error), SEAM_IO, "failed after the last");
  check_rows(&found, prompts, PROMPTS);
  seam_backbone_release(backbone);
  backbone = open_text(runtime, "{\"defect\": \"speechless\"}");
  FAILS(ask(backbone, prompts, NULL, NULL, &found, &error), SEAM_IO, "a query failed with status 6 and no message");
  CHECK(found.answered == 2);
  seam_backbone_release(backbone);
}

/* Two queries of other threads, the second of which does not wait, and one from within: all while a first one runs. */
typedef struct {
  seam_backbone *backbone;
  pthread_t threads[2];
  answer found[2];
  int begun;
} crowd;

static int32_t impatient(void *user, const seam_progress *progress) {
  (void)user;
  CHECK(progress->done == 0 && progress->total == PROMPTS);
  return 0;
}

static void *wait_for_it(void *user) {
  crowd *own = user;
  OK(ask(own->backbone, prompts, NULL, NULL, &own->found[0], &error));
  return NULL;
}

static void *give_up(void *user) {
  crowd *own = user;
  ERROR_SLOT;
  FAILS(ask(own->backbone, prompts, impatient, NULL, &own->found[1], &error), SEAM_CANCELLED,
        "cancelled while another one was answered");
  return NULL;
}

static int32_t call_others(void *user, const seam_progress *progress) {
  crowd *own = user;
  (void)progress;
  if (own->begun++ > 0) return 1;
  answer found;
  ERROR_SLOT;
  FAILS(ask(own->backbone, prompts, NULL, NULL, &found, &error), SEAM_INVALID_ARGUMENT,
        "asked again in its own progress");
  CHECK(pthread_create(&own->threads[0], NULL, wait_for_it, own) == 0);
  CHECK(pthread_create(&own->threads[1], NULL, give_up, own) == 0);
  CHECK(pthread_join(own->threads[1], NULL) == 0);
  return 1;
}

static void several_at_once(seam_runtime *runtime) {
  crowd all = {.backbone = open_text(runtime, NULL)};
  answer found;
  OK(ask(all.backbone, prompts, call_others, &all, &found, &error));
  CHECK(pthread_join(all.threads[0], NULL) == 0);
  check_rows(&found, prompts, PROMPTS);
  check_rows(&all.found[0], prompts, PROMPTS);
  check_rows(&all.found[1], prompts, 0);
  seam_backbone_release(all.backbone);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  char path[1000];
  seam_runtime *runtime = make_runtime(argv[1]);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libTinyText.so"), &error));
  answers_in_rows(runtime);
  arguments(runtime);
  defects(runtime);
  several_at_once(runtime);
  seam_runtime_release(runtime);
  return finish("queries");
}
