/* The plugin of the file SOURCE, whose tables are no longer than version 1.0 had them: each lies at the end of a page
 * behind which nothing may be touched, and so does each array. A host of a later version that reads a table as its
 * own header has it ends there. */
#include "guard.h"

#define seam_plugin_entry entry_of_source
#include SOURCE
#undef seam_plugin_entry

/* A copy of a table of version 1.0's size. */
static void *short_table(const void *table, size_t size) {
  void *copy = guarded(table, size);
  *(uint32_t *)copy = (uint32_t)size;
  return copy;
}

typedef void *copier(const void *table);

/* A copy of an array of pointers to tables and of each of these; NULL for none. */
static const void *short_tables(const void *array, size_t count, copier *copy) {
  if (count == 0) return NULL;
  const void **pointers = guarded(array, count * sizeof *pointers);
  for (size_t i = 0; i < count; i++) pointers[i] = copy(pointers[i]);
  return pointers;
}

static const void *strings(const void *array, size_t count) {
  return count == 0 ? NULL : guarded(array, count * sizeof(const char *));
}

static void *short_option(const void *table) { return short_table(table, SEAM_OPTION_SIZE_1_0); }
static void *short_method(const void *table) { return short_table(table, SEAM_METHOD_SIZE_1_0); }
static void *short_point(const void *table) { return short_table(table, SEAM_POINT_SIZE_1_0); }

static void *short_adapter(const void *table) {
  seam_adapter_factory *copy = short_table(table, SEAM_ADAPTER_FACTORY_SIZE_1_0);
  copy->seams = strings(copy->seams, copy->seam_count);
  copy->options = short_tables(copy->options, copy->option_count, short_option);
  copy->methods = short_tables(copy->methods, copy->method_count, short_method);
  return copy;
}

/* A backbone says what it is in a struct of the host's, so its points are copied there. A plugin has one backbone. */
static void (*info_of_source)(void *self, seam_backbone_info *out);

static void short_info(void *self, seam_backbone_info *out) {
  info_of_source(self, out);
  out->seams = strings(out->seams, out->seam_count);
  out->points = short_tables(out->points, out->point_count, short_point);
}

static void *short_backbone(const void *table) {
  seam_backbone_factory *copy = short_table(table, SEAM_BACKBONE_FACTORY_SIZE_1_0);
  copy->options = short_tables(copy->options, copy->option_count, short_option);
  info_of_source = copy->info;
  copy->info = short_info;
  return copy;
}

static void *short_requirements(const void *table) {
  seam_requirements *copy = short_table(table, SEAM_REQUIREMENTS_SIZE_1_0);
  copy->operations = strings(copy->operations, copy->operation_count);
  copy->extensions = strings(copy->extensions, copy->extension_count);
  return copy;
}

__attribute__((visibility("default"))) const seam_plugin *seam_plugin_entry(void);

const seam_plugin *seam_plugin_entry(void) {
  static seam_plugin *plugin_copy = NULL;
  if (plugin_copy == NULL) {
    plugin_copy = short_table(entry_of_source(), SEAM_PLUGIN_SIZE_1_0);
    plugin_copy->adapters = short_tables(plugin_copy->adapters, plugin_copy->adapter_count, short_adapter);
    plugin_copy->backbones = short_tables(plugin_copy->backbones, plugin_copy->backbone_count, short_backbone);
    if (plugin_copy->requirements != NULL) plugin_copy->requirements = short_requirements(plugin_copy->requirements);
  }
  return plugin_copy;
}
