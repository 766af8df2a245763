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
static inline int conig_search_error(OnigUChar *text, int status) { return onig_error_code_to_str(text, status); }

/// `onig_search` that gives up after `limit` attempts, at most 2^31.
static inline int conig_search(OnigRegex regex, const OnigUChar *start, const OnigUChar *end, const OnigUChar *from,
                               OnigRegion *region, unsigned long limit) {
  OnigMatchParam *parameters = onig_new_match_param();
  if (parameters == NULL) return ONIGERR_MEMORY;
  onig_set_retry_limit_in_match_of_match_param(parameters, limit);
  onig_set_retry_limit_in_search_of_match_param(parameters, limit);
  int status = onig_search_with_param(regex, start, end, from, end, region, ONIG_OPTION_NONE, parameters);
  onig_free_match_param(parameters);
  return status;
}

/// Whether a status of `conig_search` says that the limit was reached.
static inline int conig_gave_up(int status) {
  return status == ONIGERR_RETRY_LIMIT_IN_MATCH_OVER || status == ONIGERR_RETRY_LIMIT_IN_SEARCH_OVER;
}
