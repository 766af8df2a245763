// A process that forks. The child has the thread that called fork and no other, and everything as it was at that moment,
// locks included. So fork waits until no other thread holds one of ours, and the child's pool starts anew.

#include <pthread.h>

#include "blas.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void sk_lock(void) { pthread_mutex_lock(&lock); }
void sk_unlock(void) { pthread_mutex_unlock(&lock); }

static void before(void) {
  sk_blas_before_fork();
  sk_lock();
}

static void after_in_parent(void) {
  sk_unlock();
  sk_blas_after_fork(0);
}

static void after_in_child(void) {
  sk_unlock();
  sk_blas_after_fork(1);
  sk_pool_forget_workers();
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(before, after_in_parent, after_in_child); }
