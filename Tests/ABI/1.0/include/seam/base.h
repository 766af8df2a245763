/* Versions, status codes, errors and the rules that every struct at the border follows.
 *
 * "Since 1.0" in the first comment of a header holds for all that the header declares, unless a declaration says a
 * later version of its own. docs/abi.md says what the numbers promise. Since 1.0. */
#ifndef SEAM_BASE_H
#define SEAM_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version 1 is for platforms whose pointers and size_t have 64 bits. */
#if UINTPTR_MAX != UINT64_MAX
#error "SeamKit's ABI 1 is for platforms whose pointers have 64 bits"
#endif

/* The ABI version. Another major version is refused with a message. Minor versions only add: functions,
 * enum values, and members at the end of structs and tables. */
#define SEAM_ABI_MAJOR 1u
#define SEAM_ABI_MINOR 0u

/* Every struct that crosses the border starts with `struct_size`, set by whoever fills the struct to the
 * size that its own header gives it. A reader must not touch a member that lies beyond it; this macro
 * asks. A struct passed with a struct_size smaller than version 1.0 gives it (sizes.h) is refused. Later versions add
 * members at the end only: no struct has bytes at its end that belong to no member. A struct that says "Fixed" has no
 * struct_size and never grows.
 * A member or argument that is said to be 0 or 1 has no other value: it is refused, SEAM_INVALID_ARGUMENT from a
 * program, SEAM_PLUGIN from a plugin.
 * A struct that the callee fills has its struct_size set by the caller, who also presets every member: to 0, unless the
 * struct's comment says another value. */
#define SEAM_HAS(pointer, member) \
  ((pointer)->struct_size >=      \
   (size_t)((const char *)&(pointer)->member - (const char *)(pointer)) + sizeof((pointer)->member))

/* What a function returns. The number is for the program; the sentence for the user is in seam_error. */
typedef int32_t seam_status;
enum {
  SEAM_OK = 0,
  SEAM_INVALID_ARGUMENT = 1, /* a value outside what the function accepts */
  SEAM_NOT_FOUND = 2,        /* no such file, plugin, tensor, parameter, method */
  SEAM_ALREADY_EXISTS = 3,   /* a second registration of an id */
  SEAM_INCOMPATIBLE = 4,     /* another ABI major version, an adapter made for another backbone */
  SEAM_SHAPE = 5,            /* tensor shapes or dtypes that do not fit together */
  SEAM_IO = 6,               /* the operating system or a server refused an operation on a file or a connection */
  SEAM_FORMAT = 7,           /* a file whose content is not what its format promises */
  SEAM_UNSUPPORTED = 8,      /* valid, but not offered by this backbone, engine or build */
  SEAM_NUMERIC = 9,          /* NaN or infinity where a number is needed */
  SEAM_OUT_OF_MEMORY = 10,
  SEAM_CANCELLED = 11, /* a callback, or a limit set beforehand, asked to stop */
  SEAM_PLUGIN = 12,    /* a plugin failed or broke its contract */
  SEAM_INTERNAL = 13   /* a defect in SeamKit: please report it */
};

/* What went wrong, for people. Functions take `seam_error **error`, nullable; on failure, and only then,
 * *error is set to an object owned by the caller, released with seam_error_release (client.h). Plugins
 * make errors with seam_host.set_error or seam_ops.fail, never by themselves. */
typedef struct seam_error seam_error;

/* Element types. Real numbers are computed in the engine's own type, on the native engine f32, and "f32" in the
 * comments of these headers is that type; bf16 and f16 are storage for weights; i32 is for token ids, masks and
 * indices. */
typedef int32_t seam_dtype;
enum { SEAM_F32 = 0, SEAM_BF16 = 1, SEAM_F16 = 2, SEAM_I32 = 3 };

/* No tensor has more dimensions. */
#define SEAM_MAX_RANK 8

/* How much a line of the log matters. */
typedef int32_t seam_log_level;
enum { SEAM_LOG_DEBUG = 0, SEAM_LOG_INFO = 1, SEAM_LOG_WARNING = 2, SEAM_LOG_ERROR = 3 };

#ifdef __cplusplus
}
#endif
#endif
