#define _GNU_SOURCE
#include "platform.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int platform_own_path(char *path, size_t size) {
  Dl_info info;
  char *resolved = NULL;
  if (dladdr((void *)platform_own_path, &info) != 0 && info.dli_fname != NULL) resolved = realpath(info.dli_fname, NULL);
  // For a program dladdr gives argv[0], which may be a bare name.
  if (resolved == NULL) resolved = realpath("/proc/self/exe", NULL);
  if (resolved == NULL) return -1;
  size_t length = strlen(resolved);
  int fits = length < size;
  if (fits) memcpy(path, resolved, length + 1);
  free(resolved);
  return fits ? 0 : -1;
}

int platform_contains(const void *bytes, size_t count, const char *text) {
  return memmem(bytes, count, text, strlen(text)) != NULL;
}

int platform_flush_output(void) {
  int had_failed = ferror(stdout);
  errno = 0;
  if (fflush(stdout) == 0 && !had_failed) return 0;
  return errno != 0 ? errno : EIO;
}
