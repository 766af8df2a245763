/* Methods called by name through libffi: every kind of value in and out, and what a wrong call is told;
 * and tables that a plugin offers beyond the headers.
 * Arguments: the folder of the plugins. */
#include "check.h"

static seam_value integer(int64_t value) { return (seam_value){.kind = SEAM_VALUE_INT, .integer = value}; }
static seam_value number(double value) { return (seam_value){.kind = SEAM_VALUE_DOUBLE, .number = value}; }
static seam_value string(const char *value) { return (seam_value){.kind = SEAM_VALUE_STRING, .string = value}; }

static void right_calls(seam_adapter *adapter) {
  seam_value value;
  seam_value integers[] = {integer(INT64_MAX - 5), integer(-7)};
  OK(seam_adapter_call(adapter, "add_integers", integers, 2, &value, &error));
  CHECK(value.kind == SEAM_VALUE_INT && value.integer == INT64_MAX - 12);
  /* An integer is taken where a number is asked for. */
  seam_value mixed[] = {number(0.5), integer(-4), integer(3)};
  OK(seam_adapter_call(adapter, "weigh", mixed, 3, &value, &error));
  CHECK(value.kind == SEAM_VALUE_DOUBLE && value.number == 1.0);
  seam_value words[] = {string("gr\xc3\xbc\xc3\x9f")};
  OK(seam_adapter_call(adapter, "echo", words, 1, &value, &error));
  CHECK(value.kind == SEAM_VALUE_STRING && strcmp(value.string, words[0].string) == 0);
  CHECK(value.string != words[0].string);
  seam_string_release(value.string);
  OK(seam_adapter_call(adapter, "echo", words, 1, NULL, &error));

  float data[4] = {1, 2, 3, 4};
  int64_t shape[2] = {2, 2};
  DLManagedTensorVersioned tensor = {
      .version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION},
      .dl_tensor = {.data = data, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}, .shape = shape}};
  seam_value scaled[] = {{.kind = SEAM_VALUE_TENSOR, .tensor = &tensor}, number(10)};
  OK(seam_adapter_call(adapter, "scale", scaled, 2, &value, &error));
  CHECK(value.kind == SEAM_VALUE_TENSOR && value.tensor->dl_tensor.ndim == 2 && data_of(value.tensor)[3] == 40);
  give_back(value.tensor);
}

static void wrong_calls(seam_adapter *adapter) {
  ERROR_SLOT;
  seam_value value = integer(42);
  seam_value one[] = {integer(1)}, text[] = {string("a")}, pair[] = {integer(1), number(0.5)};
  seam_value fraction[] = {number(1), number(0.5), number(1)}, bad_text[] = {string("\xff\xfe")}, none[] = {{0}};
  FAILS(seam_adapter_call(adapter, "add_integers", one, 1, &value, &error), SEAM_INVALID_ARGUMENT,
        "takes 2 arguments (int64_t(void *, const seam_pass *, int64_t, int64_t)), found 1");
  FAILS(seam_adapter_call(adapter, "add_integers", pair, 2, &value, &error), SEAM_INVALID_ARGUMENT,
        "argument 2 must be int64_t, found double");
  FAILS(seam_adapter_call(adapter, "weigh", fraction, 3, &value, &error), SEAM_INVALID_ARGUMENT,
        "argument 2 must be int64_t");
  FAILS(seam_adapter_call(adapter, "echo", one, 1, &value, &error), SEAM_INVALID_ARGUMENT,
        "argument 1 must be const char *");
  FAILS(seam_adapter_call(adapter, "echo", bad_text, 1, &value, &error), SEAM_INVALID_ARGUMENT, "not valid UTF-8");
  FAILS(seam_adapter_call(adapter, "echo", none, 1, &value, &error), SEAM_INVALID_ARGUMENT, "found void");
  FAILS(seam_adapter_call(adapter, "scale", text, 1, &value, &error), SEAM_INVALID_ARGUMENT, "takes 2 arguments");
  CHECK(seam_adapter_call(adapter, "refuse", NULL, 0, &value, &error) == SEAM_UNSUPPORTED);
  CHECK(strcmp(seam_error_message(error), "not today") == 0);
  CHECK(strcmp(seam_error_origin(error), "org.seamkit.test.calling") == 0);
  seam_error_release(error);
  error = NULL;
  FAILS(seam_adapter_call(adapter, "nothing", NULL, 0, &value, &error), SEAM_PLUGIN,
        "method \"nothing\" returned NULL");
  /* Nothing was written by the failed calls. */
  CHECK(value.kind == SEAM_VALUE_INT && value.integer == 42);
}

/* What a plugin offers beyond the headers. */
static void extensions(seam_runtime *runtime) {
  ERROR_SLOT;
  typedef struct {
    uint32_t struct_size;
    int32_t (*sum)(int32_t a, int32_t b);
  } sums;
  static const char *const plugin = "org.seamkit.test.calling", *const id = "org.seamkit.test.sums/1";
  const void *found = NULL, *again = NULL;
  OK(seam_runtime_get_extension(runtime, plugin, id, &found, &error));
  const sums *table = found;
  CHECK(table->struct_size == sizeof *table && table->sum(3, 4) == 7);
  OK(seam_runtime_get_extension(runtime, plugin, id, &again, &error));
  CHECK(again == found);
  again = NULL;
  FAILS(seam_runtime_get_extension(runtime, plugin, "org.seamkit.test.sums/2", &again, &error), SEAM_NOT_FOUND,
        "plugin org.seamkit.test.calling offers no extension \"org.seamkit.test.sums/2\"");
  FAILS(seam_runtime_get_extension(runtime, "org.seamkit.repcali", id, &again, &error), SEAM_NOT_FOUND,
        "offers no extension");
  FAILS(seam_runtime_get_extension(runtime, "org.example.absent", id, &again, &error), SEAM_NOT_FOUND,
        "no plugin with the id \"org.example.absent\" is loaded");
  FAILS(seam_runtime_get_extension(runtime, plugin, NULL, &again, &error), SEAM_INVALID_ARGUMENT,
        "argument extension_id is NULL");
  FAILS(seam_runtime_get_extension(runtime, plugin, id, NULL, &error), SEAM_INVALID_ARGUMENT, "argument out is NULL");
  CHECK(again == NULL);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  char path[1000];
  seam_runtime *runtime = make_runtime(argv[1]);
  OK(seam_runtime_load_plugin(runtime, path_in(path, argv[1], "libCalling.so"), &error));
  seam_backbone *backbone = open_tiny(runtime);
  seam_adapter *adapter = NULL;
  OK(seam_adapter_create(backbone, "test-calling", NULL, &adapter, &error));
  right_calls(adapter);
  wrong_calls(adapter);
  extensions(runtime);
  seam_adapter_release(adapter);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("methods");
}
