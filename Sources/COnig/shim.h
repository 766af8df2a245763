#include <oniguruma.h>
#include <stddef.h>

// Swift sees neither the macros nor the variadic function behind these.

static inline int conig_initialize(void) {
  OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
  return onig_initialize(encodings, 1);
}

static inline int conig_new(OnigRegex *regex, const OnigUChar *pattern, size_t count, OnigErrorInfo *error) {
  return onig_new(regex, pattern, pattern + count, ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, error);
}

/// Writes the text of an error of `conig_new`, at most ONIG_MAX_ERROR_MESSAGE_LEN bytes, and returns its length.
static inline int conig_pattern_error(OnigUChar *text, int status, OnigErrorInfo *error) {
  return onig_error_code_to_str(text, status, error);
}

/// As above for an error of `onig_search`.
static inline int conig_search_error(OnigUChar *text, int status) {
  return onig_error_code_to_str(text, status);
}
