// The thread pool: persistent workers, each with a mailbox of its own. A worker spins for a moment after
// its last piece and then sleeps on a futex, so the back-to-back regions of a training step start in well
// under a microsecond and an idle process costs nothing.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

typedef void (*Body)(void *context, int64_t begin, int64_t end);

enum { MAX_THREADS = 256, SPIN_NANOSECONDS = 50000 };

enum {
  IDLE,         // the worker spins, waiting for work
  ASLEEP,       // the worker sleeps, waiting for work
  WORKING,      // a piece is in the mailbox; its caller spins or is busy
  WORKING_WAKE, // the same, and its caller sleeps until it is done
};

typedef struct {
  _Alignas(64) _Atomic uint32_t state;
  Body body; // null asks the worker to leave
  void *context;
  int64_t begin, end;
  pthread_t thread;
} Worker;

static Worker workers[MAX_THREADS - 1];
static int started;              // workers running, guarded by `busy`
static _Atomic int thread_count; // 0: not chosen yet
static atomic_flag busy = ATOMIC_FLAG_INIT;

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

// Spins until state is no longer `value`, or for SPIN_NANOSECONDS. Returns the last state seen.
static uint32_t spin_while(_Atomic uint32_t *state, uint32_t value) {
  int64_t deadline = 0;
  for (;;) {
    for (int i = 0; i < 64; i++) {
      uint32_t seen = atomic_load_explicit(state, memory_order_acquire);
      if (seen != value) return seen;
      relax();
    }
    int64_t time = now();
    if (deadline == 0) deadline = time + SPIN_NANOSECONDS;
    if (time >= deadline) return value;
  }
}

static void sleep_while(_Atomic uint32_t *state, uint32_t value) {
  while (atomic_load_explicit(state, memory_order_acquire) == value)
    syscall(SYS_futex, state, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *state) { syscall(SYS_futex, state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }

static void *worker_main(void *argument) {
  Worker *self = argument;
  for (;;) {
    uint32_t state = spin_while(&self->state, IDLE);
    if (state == IDLE && atomic_compare_exchange_strong(&self->state, &state, ASLEEP))
      sleep_while(&self->state, ASLEEP);
    Body body = self->body;
    if (body) body(self->context, self->begin, self->end);
    if (atomic_exchange_explicit(&self->state, IDLE, memory_order_acq_rel) == WORKING_WAKE) wake(&self->state);
    if (!body) return NULL;
  }
}

static void post(Worker *worker, Body body, void *context, int64_t begin, int64_t end) {
  worker->body = body;
  worker->context = context;
  worker->begin = begin;
  worker->end = end;
  if (atomic_exchange_explicit(&worker->state, WORKING, memory_order_acq_rel) == ASLEEP) wake(&worker->state);
}

static void await(Worker *worker) {
  uint32_t state = spin_while(&worker->state, WORKING);
  if (state == WORKING && atomic_compare_exchange_strong(&worker->state, &state, WORKING_WAKE))
    sleep_while(&worker->state, WORKING_WAKE);
}

static int available_cores(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  int count = CPU_COUNT(&set);
  return count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count;
}

void sk_set_thread_count(int count) {
  if (count <= 0) count = available_cores();
  atomic_store(&thread_count, count > MAX_THREADS ? MAX_THREADS : count);
}

int sk_thread_count(void) {
  if (atomic_load(&thread_count) == 0) sk_set_thread_count(0);
  return atomic_load(&thread_count);
}

// Starts workers until there are `wanted`; returns how many there are.
static int start_workers(int wanted) {
  while (started < wanted) {
    Worker *worker = &workers[started];
    atomic_store(&worker->state, IDLE);
    if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) break;
    started++;
  }
  return started;
}

void sk_parallel_for(int64_t count, int64_t grain, Body body, void *context) {
  if (count <= 0) return;
  int64_t pieces = count / (grain > 0 ? grain : 1);
  if (pieces > 1) pieces = sk_min64(pieces, sk_thread_count());
  if (pieces <= 1 || atomic_flag_test_and_set_explicit(&busy, memory_order_acquire)) {
    body(context, 0, count);
    return;
  }
  pieces = sk_min64(pieces, start_workers((int)pieces - 1) + 1);
  int64_t size = count / pieces, extra = count % pieces;
  int64_t first = size + (extra > 0);
  int64_t begin = first;
  for (int64_t i = 1; i < pieces; i++) {
    int64_t end = begin + size + (i < extra);
    post(&workers[i - 1], body, context, begin, end);
    begin = end;
  }
  body(context, 0, first);
  for (int64_t i = 1; i < pieces; i++) await(&workers[i - 1]);
  atomic_flag_clear_explicit(&busy, memory_order_release);
}

void sk_pool_forget_workers(void) {
  started = 0;
  atomic_flag_clear(&busy);
}

// Ends the workers before the code they run is unmapped (exit, dlclose). Not when a region is running (exit
// called from a body).
__attribute__((destructor)) static void stop_workers(void) {
  if (atomic_flag_test_and_set(&busy)) return;
  for (int i = 0; i < started; i++) post(&workers[i], NULL, NULL, 0, 0);
  for (int i = 0; i < started; i++) pthread_join(workers[i].thread, NULL);
  started = 0;
  atomic_flag_clear(&busy);
}

// ---- Scratch memory, one block per thread

typedef struct {
  size_t size;
  void *memory;
} Scratch;

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void free_scratch(void *argument) {
  free(((Scratch *)argument)->memory);
  free(argument);
}

static void make_scratch_key(void) { pthread_key_create(&scratch_key, free_scratch); }

void *sk_scratch(size_t bytes) {
  pthread_once(&scratch_once, make_scratch_key);
  Scratch *scratch = pthread_getspecific(scratch_key);
  if (!scratch) {
    scratch = calloc(1, sizeof *scratch);
    if (!scratch) return NULL;
    pthread_setspecific(scratch_key, scratch);
  }
  if (scratch->size < bytes) {
    free(scratch->memory);
    scratch->size = (bytes + 4095) / 4096 * 4096;
    scratch->memory = aligned_alloc(64, scratch->size);
    if (!scratch->memory) scratch->size = 0;
  }
  return scratch->memory;
}
