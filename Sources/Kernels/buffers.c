// Who may be inside OpenBLAS. A call there takes a work buffer of 128 MiB of address space, and OpenBLAS asks for it
// again and again, for ever, where the system has none left. So buffers are made here, where they can be refused, and a
// call waits while all are taken. The same gate closes while the process forks: a child would find OpenBLAS's own lock
// held, and buffers in use, by threads that it does not have.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "blas.h"

enum { MEBIBYTE = 1 << 20, BUFFER_MEBIBYTES = 128, UNLIMITED = 1 << 30 };

static void *(*take_buffer)(int);
static void (*give_buffer)(void *);
static int most_buffers;

// All threads of a region come at once, for a moment: they spin rather than sleep.
static pthread_mutex_t gate = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
// Guarded by `gate`.
static int buffers; // that OpenBLAS has
static int inside;  // calls that may have one
static int closed;  // nobody enters until it is opened again
static int waiting; // on `changed`
static int refused; // the system had no address space for more

int sk_address_space(int mebibytes) {
  size_t size = (size_t)mebibytes * MEBIBYTE;
  void *place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return 0;
  munmap(place, size);
  return 1;
}

// OpenBLAS gets up to `wanted` buffers, which it keeps, by taking that many at once; nobody may be inside.
static void make_buffers(int wanted) {
  if (wanted > most_buffers) wanted = most_buffers;
  while (wanted > buffers && !sk_address_space((wanted - buffers) * BUFFER_MEBIBYTES)) {
    refused = 1;
    wanted--;
  }
  if (wanted <= buffers) return;
  void **taken = calloc((size_t)wanted, sizeof *taken);
  if (!taken) {
    refused = 1;
    return;
  }
  for (int i = 0; i < wanted; i++) taken[i] = take_buffer(0);
  for (int i = 0; i < wanted; i++) give_buffer(taken[i]);
  free(taken);
  buffers = wanted;
}

int sk_blas_first_buffer(void *library) {
  *(void **)&take_buffer = dlsym(library, "blas_memory_alloc");
  *(void **)&give_buffer = dlsym(library, "blas_memory_free");
  if (!take_buffer || !give_buffer) {
    buffers = UNLIMITED;
    return 0;
  }
  // OpenBLAS has a fixed number of places for buffers: two for each thread that it was built for.
  const char *(*get_config)(void);
  *(void **)&get_config = dlsym(library, "openblas_get_config");
  const char *most = get_config ? strstr(get_config(), "MAX_THREADS=") : NULL;
  most_buffers = 2 * (most ? atoi(most + strlen("MAX_THREADS=")) : 8);
  if (most_buffers < 1) most_buffers = 1;
  make_buffers(1);
  return buffers > 0 ? 0 : -1;
}

static void wait_for_change(void) {
  waiting++;
  pthread_cond_wait(&changed, &gate);
  waiting--;
}

// With the gate held: nobody is inside afterwards, and nobody enters.
static void close_gate(void) {
  while (closed) wait_for_change();
  closed = 1;
  while (inside > 0) wait_for_change();
}

static void open_gate(void) {
  closed = 0;
  if (waiting > 0) pthread_cond_broadcast(&changed);
}

void sk_blas_enter(void) {
  pthread_mutex_lock(&gate);
  while (closed || inside >= buffers) {
    if (closed || refused || buffers >= most_buffers) {
      wait_for_change();
      continue;
    }
    close_gate();
    if (buffers < most_buffers && !refused) make_buffers(2 * buffers);
    open_gate();
  }
  inside++;
  pthread_mutex_unlock(&gate);
}

void sk_blas_leave(void) {
  pthread_mutex_lock(&gate);
  inside--;
  if (waiting > 0) pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&gate);
}

void sk_blas_before_fork(void) {
  pthread_mutex_lock(&gate);
  close_gate();
}

void sk_blas_after_fork(int is_child) {
  if (is_child) {
    // Those who waited are not in this process.
    pthread_cond_init(&changed, NULL);
    waiting = 0;
  }
  open_gate();
  pthread_mutex_unlock(&gate);
}
