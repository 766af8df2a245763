/* The entry gives nothing. */
#define ID "test-null-entry"
#define ENTRY NULL
#include "identity.h"
