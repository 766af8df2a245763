/* Texts to ids and back.
 * Arguments: a folder with the tokenizer of Tests/Fixtures/tokenizer. */
#include "check.h"

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  ERROR_SLOT;
  seam_tokenizer *tokenizer = NULL;
  FAILS(seam_tokenizer_open("/nowhere/at/all", &tokenizer, &error), SEAM_NOT_FOUND, "/nowhere/at/all");
  CHECK(tokenizer == NULL);
  OK(seam_tokenizer_open(argv[1], &tokenizer, &error));

  /* Asked for the count first, then with room. */
  size_t count = 0;
  OK(seam_tokenizer_encode(tokenizer, "hello gr\xc3\xbcn world", NULL, 0, &count, &error));
  CHECK(count == 4);
  int32_t ids[8] = {-7, -7, -7, -7, -7, -7, -7, -7};
  OK(seam_tokenizer_encode(tokenizer, "hello gr\xc3\xbcn world", ids, 2, &count, &error));
  CHECK(count == 4 && ids[0] == 2 && ids[1] == 4 && ids[2] == -7);
  OK(seam_tokenizer_encode(tokenizer, "hello gr\xc3\xbcn world", ids, 8, &count, &error));
  CHECK(count == 4 && ids[2] == 3 && ids[3] == 1 && ids[4] == -7);

  char *text = NULL;
  OK(seam_tokenizer_decode(tokenizer, ids, count, &text, &error));
  CHECK(strcmp(text, "hello gr\xc3\xbcn world") == 0);
  seam_string_release(text);
  OK(seam_tokenizer_decode(tokenizer, NULL, 0, &text, &error));
  CHECK(text[0] == '\0');
  seam_string_release(text);

  /* An id that is no token is passed over, as Hugging Face does. */
  ids[0] = 99;
  OK(seam_tokenizer_decode(tokenizer, ids, count, &text, &error));
  CHECK(strcmp(text, "gr\xc3\xbcn world") == 0);
  seam_string_release(text);
  text = NULL;
  FAILS(seam_tokenizer_decode(tokenizer, NULL, 2, &text, &error), SEAM_INVALID_ARGUMENT, "argument ids is NULL");
  FAILS(seam_tokenizer_encode(tokenizer, "x", NULL, 2, &count, &error), SEAM_INVALID_ARGUMENT, "argument ids is NULL");
  FAILS(seam_tokenizer_encode(tokenizer, "x", ids, 8, NULL, &error), SEAM_INVALID_ARGUMENT, "argument count is NULL");
  FAILS(seam_tokenizer_encode(tokenizer, "\xff", ids, 8, &count, &error), SEAM_INVALID_ARGUMENT, "not valid UTF-8");
  CHECK(text == NULL);
  seam_tokenizer_release(tokenizer);
  return finish("tokenizer");
}
