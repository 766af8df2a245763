/// What Swift's Glibc module does not show: GNU functions.
#ifndef SEAM_PLATFORM_H
#define SEAM_PLATFORM_H

#include <stddef.h>

/// Writes the absolute path of the library or program that holds this code; returns 0, or -1 when unknown.
int platform_own_path(char *path, size_t size);
/// Whether `text` occurs in the bytes.
int platform_contains(const void *bytes, size_t count, const char *text);
/// Writes what C's standard output still holds; returns 0, or the errno of why some of what was printed was lost.
int platform_flush_output(void);

#endif
