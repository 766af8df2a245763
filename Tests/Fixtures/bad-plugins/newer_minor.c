/* Not bad: a plugin from a later minor version, whose structs have grown. It must load and work. */
#define ID "test-newer-minor"
#define seam_plugin_entry entry_of_today
#include "identity.h"
#undef seam_plugin_entry

typedef struct {
  seam_adapter_factory today;
  void (*added)(void *self, int32_t level);
} later_factory;

typedef struct {
  seam_plugin today;
  const char *homepage;
} later_plugin;

static later_factory grown_factory;
static const seam_adapter_factory *const grown_adapters[] = {&grown_factory.today};
static later_plugin grown_plugin = {.homepage = "https://example.org"};

__attribute__((visibility("default"))) const seam_plugin *seam_plugin_entry(void);

const seam_plugin *seam_plugin_entry(void) {
  grown_factory.today = factory;
  grown_factory.today.struct_size = sizeof grown_factory;
  grown_plugin.today = *entry_of_today();
  grown_plugin.today.struct_size = sizeof grown_plugin;
  grown_plugin.today.abi_minor = SEAM_ABI_MINOR + 1;
  grown_plugin.today.adapters = grown_adapters;
  return &grown_plugin.today;
}
