// Loading OpenBLAS. It is opened at first use, not linked, because the kernels it takes are chosen when it
// is loaded, from environment variables that must be set before.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "blas.h"

struct sk_blas sk_blas;

static char failure[512];
static int failure_status = -1;
static char core_name[64] = "none";

// Chips with AVX-512 that OpenBLAS does not know by name (AMD's) get AVX2 kernels, at half the speed.
static int deserves_avx512(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
  return 0;
#endif
}

static void *open_library(void) {
  Dl_info info;
  if (dladdr((void *)&open_library, &info) && info.dli_fname) {
    const char *slash = strrchr(info.dli_fname, '/');
    char path[4096];
    int length = slash ? (int)(slash - info.dli_fname) : -1;
    if (length >= 0 &&
        snprintf(path, sizeof path, "%.*s/libopenblas.so.0", length, info.dli_fname) < (int)sizeof path) {
      void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
      if (library) return library;
    }
  }
  return dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
}

// The library takes less than 40 MiB, and its first buffer 128, before it can report anything.
enum { LEAST_MEBIBYTES = 168 };

static void refuse_address_space(void) {
  snprintf(failure, sizeof failure,
           "out of memory: OpenBLAS needs %d MiB of address space to start, more than the limit of this process leaves"
           " (ulimit -v)",
           LEAST_MEBIBYTES);
  failure_status = -2;
}

static void load(void) {
  if (!sk_address_space(LEAST_MEBIBYTES)) {
    refuse_address_space();
    return;
  }
  // The variables are read by OpenBLAS's constructor only and are taken back, so that child processes do
  // not inherit them.
  int set_core = !getenv("OPENBLAS_CORETYPE") && deserves_avx512();
  int set_threads = !getenv("OPENBLAS_NUM_THREADS");
  if (set_core) setenv("OPENBLAS_CORETYPE", "SkylakeX", 1);
  if (set_threads) setenv("OPENBLAS_NUM_THREADS", "1", 1);
  void *library = open_library();
  if (!library) snprintf(failure, sizeof failure, "OpenBLAS could not be loaded: %s", dlerror());
  if (set_core) unsetenv("OPENBLAS_CORETYPE");
  if (set_threads) unsetenv("OPENBLAS_NUM_THREADS");
  if (!library) return;

  *(void **)&sk_blas.sgemm = dlsym(library, "cblas_sgemm");
  *(void **)&sk_blas.sgemv = dlsym(library, "cblas_sgemv");
  if (!sk_blas.sgemm || !sk_blas.sgemv) {
    snprintf(failure, sizeof failure, "the libopenblas.so.0 that was found has no cblas_sgemm or cblas_sgemv");
    return;
  }
  void (*set_num_threads)(int);
  *(void **)&set_num_threads = dlsym(library, "openblas_set_num_threads");
  if (set_num_threads) set_num_threads(1);
  char *(*get_corename)(void);
  *(void **)&get_corename = dlsym(library, "openblas_get_corename");
  snprintf(core_name, sizeof core_name, "%s", get_corename ? get_corename() : "unknown");
  if (sk_blas_first_buffer(library) != 0) refuse_address_space();
}

int sk_blas_load(char *message, size_t message_size) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  if (!failure[0]) return 0;
  if (message && message_size) snprintf(message, message_size, "%s", failure);
  return failure_status;
}

const char *sk_blas_core_name(void) {
  sk_blas_load(NULL, 0);
  return core_name;
}

void sk_blas_require(void) {
  if (sk_blas_load(NULL, 0) == 0) return;
  fprintf(stderr, "seam: a matrix product was asked for, but %s\n", failure);
  abort();
}
