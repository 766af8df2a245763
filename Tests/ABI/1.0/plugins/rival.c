/* A second backbone that opens llama models as well as reader.c's. */
#define ID "test-rival"
#define PLUGIN_ID "org.seamkit.test.rival"
#include "reader.c"
