/* Compiled, it says, with another major version of the headers, of whose description only the first members are known. */
#define ID "test-other-major"
#define SIZE offsetof(seam_plugin, id)
#define MAJOR (SEAM_ABI_MAJOR + 1)
#define MINOR 0
#include "identity.h"
