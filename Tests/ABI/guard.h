/* Memory at whose end lies a page that must not be touched: what reads or writes a byte too far ends the process there.
 * Include it first: it asks for the system's functions beside those of C. */
#ifndef GUARD_H
#define GUARD_H

#define _DEFAULT_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* `size` bytes, a multiple of 8, copied from `source` (NULL: zeros). They stay until the process ends. */
static inline void *guarded(const void *source, size_t size) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
  char *memory = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory + room, page, PROT_NONE) != 0) abort();
  char *place = memory + room - size;
  if (source != NULL) memcpy(place, source, size);
  return place;
}

#endif
