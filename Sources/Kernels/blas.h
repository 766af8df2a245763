// The functions of OpenBLAS that gemm.c calls, filled by sk_blas_load.
#ifndef SEAM_KERNELS_BLAS_H
#define SEAM_KERNELS_BLAS_H

#include "internal.h"

enum { BLAS_ROW_MAJOR = 101, BLAS_NO_TRANSPOSE = 111, BLAS_TRANSPOSE = 112 };

struct sk_blas {
  void (*sgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a, int lda,
                const float *b, int ldb, float beta, float *c, int ldc);
  void (*sgemv)(int order, int transpose, int m, int n, float alpha, const float *a, int lda, const float *x, int incx,
                float beta, float *y, int incy);
};

extern struct sk_blas sk_blas __attribute__((visibility("hidden")));

// Loads OpenBLAS; ends the process with a message if there is none (callers check sk_blas_load first).
void sk_blas_require(void) __attribute__((visibility("hidden")));

// Around each call of a function of sk_blas: waits until OpenBLAS has a buffer for it. Not nested. (buffers.c)
void sk_blas_enter(void) __attribute__((visibility("hidden")));
void sk_blas_leave(void) __attribute__((visibility("hidden")));
// Whether the process may still map so much memory.
int sk_address_space(int mebibytes) __attribute__((visibility("hidden")));
// Has OpenBLAS make a buffer; further ones are made when they are needed. Returns -1 where there is no address space.
int sk_blas_first_buffer(void *library) __attribute__((visibility("hidden")));
void sk_blas_before_fork(void) __attribute__((visibility("hidden")));
void sk_blas_after_fork(int is_child) __attribute__((visibility("hidden")));

// Products of few rows, C[m,n] = A[m,k] * W[n,k]^T with m <= SK_FEW_ROWS, W of any storage kind. (few.c)
enum { SK_FEW_ROWS = 8 };
void sk_few_rows(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, int kind, const void *w,
                 int64_t ldw, float beta, float *c, int64_t ldc) __attribute__((visibility("hidden")));
// This one is for a W of f32 that lies as [k,n].
void sk_few_rows_as_stored(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *w,
                           int64_t ldw, float beta, float *c, int64_t ldc) __attribute__((visibility("hidden")));

#endif
