/* An id that a bundled plugin has. */
#define ID "repcali"
#include "identity.h"
