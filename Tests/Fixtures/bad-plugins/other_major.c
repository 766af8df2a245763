/* Compiled, it says, with another major version of the headers. */
#define ID "test-other-major"
#define MAJOR (SEAM_ABI_MAJOR + 1)
#define MINOR 0
#include "identity.h"
