/* A factory without the function that makes an instance. */
#define ID "test-missing-function"
#define CREATE NULL
#include "identity.h"
