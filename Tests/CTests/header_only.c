/* The one include is enough, in C and in C++, and an empty program links and runs. The library has the version of the
 * headers, unless the environment's SEAM_OTHER_MINOR says that another minor is tested. */
#include <seam/seam.h>

#include <stdio.h>
#include <stdlib.h>

int main(void) {
  uint32_t major = 0, minor = 0;
  seam_abi_version(&major, &minor);
  seam_abi_version(NULL, NULL);
  printf("header_only: SeamKit %s, ABI %u.%u: passed\n", seam_version(), major, minor);
  return major == SEAM_ABI_MAJOR && (minor == SEAM_ABI_MINOR) == (getenv("SEAM_OTHER_MINOR") == NULL) ? 0 : 1;
}
