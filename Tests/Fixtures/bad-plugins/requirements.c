/* Needs a later minor version, an operation and an extension, none of which the host has. */
#include <seam/seam.h>

static const char *const operations[] = {"linear", "fourier_transform"};
static const char *const extensions[] = {"org.seamkit.test.nothing/1"};
static const seam_requirements needs = {
    .struct_size = sizeof needs,
    .abi_minor = 7,
    .operations = operations,
    .operation_count = 2,
    .extensions = extensions,
    .extension_count = 1,
};

#define ID "test-requirements"
#define REQUIREMENTS &needs
#include "identity.h"
