#define _GNU_SOURCE
#include "platform.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int platform_own_path(char *path, size_t size) {
  Dl_info info;
  char *resolved = NULL;
  if (dladdr((void *)platform_own_path, &info) != 0 && info.dli_fname != NULL)
    resolved = realpath(info.dli_fname, NULL);
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

// ---- Mapped files whose pages are gone

enum { MAX_MAPPINGS = 256, MAX_SENTENCE = 1024 };

// Read by a signal handler, so that nothing here is allocated or freed: a place is free while its size is 0, and its
// sentence is whole before the size says so.
static struct {
  uintptr_t start;
  char sentence[MAX_SENTENCE];
  size_t length;
  _Atomic size_t size;
} mappings[MAX_MAPPINGS];

static pthread_mutex_t mapping_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int watches_mappings;

static void report_lost_page(int number, siginfo_t *info, void *context) {
  (void)context;
  const char *sentence = NULL;
  size_t length = 0;
  // A positive code is the kernel's: the signal is about an address, and not sent by a program.
  if (info->si_code > 0) {
    uintptr_t address = (uintptr_t)info->si_addr;
    for (int i = 0; i < MAX_MAPPINGS && !sentence; i++) {
      size_t size = atomic_load(&mappings[i].size);
      if (address < mappings[i].start || address - mappings[i].start >= size) continue;
      sentence = mappings[i].sentence;
      length = mappings[i].length;
    }
  }
  if (sentence && write(STDERR_FILENO, sentence, length) < 0) {
    // There is nobody to tell.
  }
  // The action is the default one again: the process ends as it would have, with a core file where those are written.
  raise(number);
}

void platform_watch_mappings(void) {
  struct sigaction action = {.sa_sigaction = report_lost_page, .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER};
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, NULL) == 0) atomic_store(&watches_mappings, 1);
}

int platform_watches_mappings(void) { return atomic_load(&watches_mappings); }

void platform_note_mapping(const void *start, size_t size, const char *sentence) {
  size_t length = strlen(sentence);
  if (length > MAX_SENTENCE) return;
  pthread_mutex_lock(&mapping_lock);
  int place = 0;
  while (place < MAX_MAPPINGS && atomic_load(&mappings[place].size) != 0) place++;
  if (place < MAX_MAPPINGS) {
    mappings[place].start = (uintptr_t)start;
    mappings[place].length = length;
    memcpy(mappings[place].sentence, sentence, length);
    atomic_store(&mappings[place].size, size);
  }
  pthread_mutex_unlock(&mapping_lock);
}

void platform_forget_mapping(const void *start) {
  pthread_mutex_lock(&mapping_lock);
  for (int i = 0; i < MAX_MAPPINGS; i++)
    if (mappings[i].start == (uintptr_t)start) atomic_store(&mappings[i].size, 0);
  pthread_mutex_unlock(&mapping_lock);
}
