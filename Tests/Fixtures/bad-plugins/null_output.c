/* Leaves its output empty without saying why. */
#define ID "test-null-output"
#define OUTPUT(pass, hidden) NULL
#include "identity.h"
