/* Loading: what a bad plugin is told, several plugins together, looking them up, unloading.
 * Arguments: the folder of the good plugins, the folder of the bad ones. */
#include "check.h"

static int warnings = 0;

static void count_warnings(void *user, seam_log_level level, const char *message) {
  CHECK(user == &warnings && message[0] != 0);
  if (level == SEAM_LOG_WARNING) warnings++;
}

static void bad_plugins(seam_runtime *runtime, const char *folder) {
  static const struct {
    const char *file;
    seam_status code;
    const char *part;
  } cases[] = {
      {"absent.so", SEAM_NOT_FOUND, "there is no such file"},
      {"text.so", SEAM_FORMAT, "cannot be loaded as a dynamic library"},
      {"no_entry.so", SEAM_PLUGIN, "does not export seam_plugin_entry"},
      {"null_entry.so", SEAM_PLUGIN, "returned NULL"},
      {"other_major.so", SEAM_INCOMPATIBLE, "built for ABI 2.0, this core has 1."},
      {"small_struct.so", SEAM_PLUGIN, "struct_size of seam_plugin"},
      {"missing_function.so", SEAM_PLUGIN, "lacks the required function create"},
      {"requirements.so", SEAM_INCOMPATIBLE,
       "needs ABI 1.7, the operation \"fourier_transform\", the extension \"org.seamkit.test.nothing/1\""},
      {"duplicate_id.so", SEAM_ALREADY_EXISTS, "repcali"},
  };
  char path[1000];
  ERROR_SLOT;
  size_t before = seam_runtime_plugin_count(runtime);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    FAILS(seam_runtime_load_plugin(runtime, path_in(path, folder, cases[i].file), &error), cases[i].code,
          cases[i].part);
  CHECK(seam_runtime_plugin_count(runtime) == before);
  /* Without an error slot the status alone comes back. */
  CHECK(seam_runtime_load_plugin(runtime, path_in(path, folder, "absent.so"), NULL) == SEAM_NOT_FOUND);
  OK(seam_runtime_load_plugin(runtime, path_in(path, folder, "newer_minor.so"), &error));
}

/* Plugins that load, but break their contract in a pass. */
static void bad_passes(seam_runtime *runtime, seam_backbone *backbone, const char *folder) {
  static const struct {
    const char *file, *id, *part;
  } cases[] = {
      {"wrong_shape.so", "test-wrong-shape", "must return output 0 as f32 [2, 3, 8]"},
      {"null_output.so", "test-null-output", "returned NULL for output 0"},
  };
  char path[1000];
  ERROR_SLOT;
  seam_batch batch = tiny_batch();
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    seam_adapter *adapter = NULL;
    seam_session *session = NULL;
    DLManagedTensorVersioned *logits = NULL;
    OK(seam_runtime_load_plugin(runtime, path_in(path, folder, cases[i].file), &error));
    OK(seam_adapter_create(backbone, cases[i].id, NULL, &adapter, &error));
    OK(seam_session_create(backbone, &session, &error));
    OK(seam_session_attach(session, NULL, adapter, -1, &error));
    seam_status status = seam_session_forward(session, &batch, &logits, NULL, &error);
    CHECK(strstr(seam_error_origin(error), "test-") != NULL);
    FAILS(status, SEAM_PLUGIN, cases[i].part);
    CHECK(logits == NULL);
    seam_session_release(session);
    seam_adapter_release(adapter);
  }
  seam_adapter *adapter = NULL;
  OK(seam_adapter_create(backbone, "test-newer-minor", NULL, &adapter, &error));
  seam_adapter_release(adapter);
}

static void look_up(seam_runtime *runtime) {
  ERROR_SLOT;
  seam_plugin_info info = {.struct_size = sizeof info};
  OK(seam_runtime_get_plugin(runtime, 0, &info, &error));
  CHECK(strcmp(info.id, "org.seamkit.repcali") == 0 && info.abi_major == SEAM_ABI_MAJOR);
  CHECK(strstr(info.path, "libRepCali.so") != NULL && info.version[0] != 0 && info.license[0] != 0);
  FAILS(seam_runtime_get_plugin(runtime, 1000, &info, &error), SEAM_NOT_FOUND, "argument index");
  info.struct_size = 8;
  FAILS(seam_runtime_get_plugin(runtime, 0, &info, &error), SEAM_INVALID_ARGUMENT, "struct_size of argument out");

  static const char *const parts[][2] = {
      {"org.seamkit.repcali", "\"adapters\""}, {"repcali", "\"lambda\""}, {"tiny-opaque", "\"seed\""}};
  for (size_t i = 0; i < 3; i++) {
    char *json = NULL;
    OK(seam_runtime_describe(runtime, parts[i][0], &json, &error));
    CHECK(strstr(json, parts[i][1]) != NULL);
    seam_string_release(json);
  }
  char *json = NULL;
  FAILS(seam_runtime_describe(runtime, "nonsense", &json, &error), SEAM_NOT_FOUND, "\"nonsense\"; there are");
  CHECK(json == NULL);
}

static void search(const char *good, const char *bad) {
  ERROR_SLOT;
  char both[2001];
  size_t loaded = 0;
  seam_runtime *runtime = NULL;
  snprintf(both, sizeof both, "%s:%s", good, bad);
  OK(seam_runtime_create(&runtime, &error));
  seam_runtime_set_log(runtime, count_warnings, &warnings);
  OK(seam_runtime_load_plugins(runtime, both, &loaded, &error));
  CHECK(loaded == seam_runtime_plugin_count(runtime) && loaded >= 3);
  /* Only what is named like a library is tried there. */
  CHECK(warnings == 1);
  OK(seam_runtime_load_plugins(runtime, good, &loaded, &error));
  CHECK(loaded == 0);
  FAILS(seam_runtime_load_plugins(runtime, "/nowhere/at/all", NULL, &error), SEAM_NOT_FOUND, "is not a folder");
  seam_runtime_release(runtime);
}

static void unload(seam_runtime *runtime, seam_backbone *backbone) {
  ERROR_SLOT;
  seam_adapter *adapter = NULL;
  OK(seam_adapter_create(backbone, "scale-shift", NULL, &adapter, &error));
  FAILS(seam_runtime_unload_plugin(runtime, "org.seamkit.example.scale-shift", &error), SEAM_INVALID_ARGUMENT,
        "in use");
  FAILS(seam_runtime_unload_plugin(runtime, "org.example.absent", &error), SEAM_NOT_FOUND, "no plugin with the id");
  seam_adapter_release(adapter);
  size_t before = seam_runtime_plugin_count(runtime);
  OK(seam_runtime_unload_plugin(runtime, "org.seamkit.example.scale-shift", &error));
  CHECK(seam_runtime_plugin_count(runtime) == before - 1);
  FAILS(seam_adapter_create(backbone, "scale-shift", NULL, &adapter, &error), SEAM_NOT_FOUND,
        "no loaded plugin offers an adapter \"scale-shift\"");
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  seam_runtime *runtime = make_runtime(argv[1]);
  seam_backbone *backbone = open_tiny(runtime);
  look_up(runtime);
  bad_plugins(runtime, argv[2]);
  bad_passes(runtime, backbone, argv[2]);
  unload(runtime, backbone);
  /* In the wrong order on purpose. */
  seam_runtime_release(runtime);
  seam_backbone_release(backbone);
  search(argv[1], argv[2]);
  return finish("loader");
}
