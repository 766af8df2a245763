#include <stddef.h>
#include <utf8proc.h>

// Swift sees no option set made of or-ed C enumerators.

/// Writes a normal form of `text` to memory from malloc; the number of bytes, or a negative error.
static inline ptrdiff_t cutf8proc_normalize(const unsigned char *text, size_t count, int composes, int compatibly,
                                            unsigned char **result) {
  int options = UTF8PROC_STABLE | (composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  if (compatibly) options |= UTF8PROC_COMPAT;
  return utf8proc_map(text, (utf8proc_ssize_t)count, result, (utf8proc_option_t)options);
}
