/* libcurl, with its functions of variable arguments, which Swift cannot call, once for each type. */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static inline CURLcode curl_set_long(CURL *transfer, CURLoption option, long value) {
  return curl_easy_setopt(transfer, option, value);
}
static inline CURLcode curl_set_text(CURL *transfer, CURLoption option, const char *value) {
  return curl_easy_setopt(transfer, option, value);
}
static inline CURLcode curl_set_pointer(CURL *transfer, CURLoption option, void *value) {
  return curl_easy_setopt(transfer, option, value);
}
static inline CURLcode curl_set_write_function(CURL *transfer, curl_write_callback value) {
  return curl_easy_setopt(transfer, CURLOPT_WRITEFUNCTION, value);
}
static inline CURLcode curl_get_long(CURL *transfer, CURLINFO info, long *value) {
  return curl_easy_getinfo(transfer, info, value);
}
static inline CURLcode curl_get_offset(CURL *transfer, CURLINFO info, curl_off_t *value) {
  return curl_easy_getinfo(transfer, info, value);
}
