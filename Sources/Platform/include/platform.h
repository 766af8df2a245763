/// What Swift's Glibc module does not show, or Swift cannot say: GNU functions, and a signal handler.
#ifndef SEAM_PLATFORM_H
#define SEAM_PLATFORM_H

#include <stddef.h>

/// Writes the absolute path of the library or program that holds this code; returns 0, or -1 when unknown.
int platform_own_path(char *path, size_t size);
/// Whether `text` occurs in the bytes.
int platform_contains(const void *bytes, size_t count, const char *text);
/// Writes what C's standard output still holds; returns 0, or the errno of why some of what was printed was lost.
int platform_flush_output(void);

/// Installs a handler of SIGBUS, which a read from a mapped file causes whose bytes another program cut off: it writes
/// the sentence of the mapping to standard error, and then the signal ends the process as it always does. For programs;
/// a library leaves signals alone.
void platform_watch_mappings(void);
/// Whether the handler is installed.
int platform_watches_mappings(void);
/// Says what the handler writes for an address in this mapping: a whole line, at most 1024 bytes, else nothing. Up to 256
/// mappings are known at once. Thread-safe.
void platform_note_mapping(const void *start, size_t size, const char *sentence);
void platform_forget_mapping(const void *start);

#endif
