/* A description shorter than version 1.0's: it ends before the adapters. */
#define ID "test-small-struct"
#define SIZE offsetof(seam_plugin, adapters)
#include "identity.h"
