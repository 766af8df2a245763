/* Tensors in and out: DLPack's lifetime rules, the native engine by itself, methods called by name.
 * Arguments: the folder of the plugins. */
#include "check.h"

typedef struct {
  DLManagedTensorVersioned tensor;
  int64_t shape[2];
  float values[6];
  int deleted;
} counted;

static void count_deleter(DLManagedTensorVersioned *self) { ((counted *)self->manager_ctx)->deleted++; }

/* A tensor [2, 3] of 1 ... 6 that counts the calls of its deleter. */
static counted make_counted(void) {
  counted made = {.shape = {2, 3}, .values = {1, 2, 3, 4, 5, 6}};
  return made;
}

static DLManagedTensorVersioned *lend(counted *from) {
  from->tensor = (DLManagedTensorVersioned){
      .version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION},
      .manager_ctx = from,
      .deleter = count_deleter,
      .dl_tensor =
          {.data = from->values, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}, .shape = from->shape},
  };
  return &from->tensor;
}

static void lifetime(seam_runtime *runtime) {
  ERROR_SLOT;
  const seam_ops *ops = seam_native_ops();
  seam_context *ctx = NULL;
  CHECK(ops == seam_native_ops() && ops->struct_size >= SEAM_OPS_SIZE_1_0 && ops->abi_major == SEAM_ABI_MAJOR);

  /* Borrowed until the pass and every view of it are gone. */
  counted source = make_counted();
  FAILS(seam_context_create(runtime, 2, &ctx, &error), SEAM_INVALID_ARGUMENT,
        "record_gradients must be 0 or 1, found 2");
  OK(seam_context_create(runtime, 0, &ctx, &error));
  seam_tensor *x = ops->from_dlpack(ctx, lend(&source));
  CHECK(ops->rank(ctx, x) == 2 && ops->size(ctx, x, -1) == 3 && ops->dtype(ctx, x) == SEAM_F32);
  DLManagedTensorVersioned *view = ops->to_dlpack(ctx, x);
  CHECK(data_of(view) == source.values);
  seam_context_release(ctx);
  CHECK(source.deleted == 0 && data_of(view)[5] == 6);
  give_back(view);
  CHECK(source.deleted == 1);

  /* Taken over on every failure too. */
  counted foreign = make_counted(), gone = make_counted(), wide = make_counted(), latched = make_counted();
  OK(seam_context_create(runtime, 0, &ctx, &error));
  lend(&foreign)->dl_tensor.device.device_type = kDLCUDA;
  CHECK(ops->from_dlpack(ctx, &foreign.tensor) == NULL && foreign.deleted == 1);
  FAILS(seam_context_error(ctx, &error), SEAM_UNSUPPORTED, "must be on the CPU");
  CHECK(ops->from_dlpack(ctx, lend(&latched)) == NULL && latched.deleted == 1);
  seam_context_release(ctx);
  OK(seam_context_create(runtime, 0, &ctx, &error));
  lend(&gone)->version.major = 7;
  CHECK(ops->from_dlpack(ctx, &gone.tensor) == NULL && gone.deleted == 1);
  FAILS(seam_context_error(ctx, &error), SEAM_INCOMPATIBLE, "DLPack major version must be 1, found 7");
  seam_context_release(ctx);
  OK(seam_context_create(runtime, 0, &ctx, &error));
  lend(&wide)->dl_tensor.dtype.bits = 64;
  CHECK(ops->from_dlpack(ctx, &wide.tensor) == NULL && wide.deleted == 1);
  FAILS(seam_context_error(ctx, &error), SEAM_SHAPE, "dtype must be f32, bf16, f16 or i32");
  seam_context_release(ctx);
}

/* The gradient of sum(x^2) + sum(x) is 2 x + 1. */
static void gradients(seam_runtime *runtime) {
  ERROR_SLOT;
  const seam_ops *ops = seam_native_ops();
  seam_context *ctx = NULL;
  counted source = make_counted();
  const int64_t flat = 6;
  const int32_t integers[2] = {1, 2};
  OK(seam_context_create(runtime, 1, &ctx, &error));
  seam_tensor *x = seam_context_leaf(ctx, ops->from_dlpack(ctx, lend(&source)));
  seam_tensor *row = ops->reshape(ctx, x, &flat, 1);
  seam_tensor *y = ops->sum(ctx, ops->add(ctx, ops->square(ctx, row), row), 0, 0);
  CHECK(seam_context_gradient(ctx, x) == NULL);
  FAILS(seam_context_backward(ctx, row, NULL, &error), SEAM_SHAPE, "must be a scalar");
  FAILS(seam_context_backward(ctx, NULL, NULL, &error), SEAM_INVALID_ARGUMENT, "argument y is NULL");
  OK(seam_context_backward(ctx, y, NULL, &error));
  FAILS(seam_context_backward(ctx, y, NULL, &error), SEAM_INVALID_ARGUMENT, "once");
  DLManagedTensorVersioned *gradient = ops->to_dlpack(ctx, seam_context_gradient(ctx, x));
  for (int i = 0; i < 6; i++) CHECK(data_of(gradient)[i] == 2 * source.values[i] + 1);
  give_back(gradient);
  const int64_t pair = 2;
  CHECK(seam_context_leaf(ctx, ops->constant_i32(ctx, integers, &pair, 1)) == NULL);
  FAILS(seam_context_error(ctx, &error), SEAM_SHAPE, "only an f32 tensor has a gradient");
  seam_context_release(ctx);
  CHECK(source.deleted == 1);

  /* Values only: nothing is recorded. */
  OK(seam_context_create(runtime, 0, &ctx, &error));
  x = seam_context_leaf(ctx, ops->from_dlpack(ctx, lend(&source)));
  y = ops->sum(ctx, ops->reshape(ctx, x, &flat, 1), 0, 0);
  FAILS(seam_context_backward(ctx, y, NULL, &error), SEAM_INVALID_ARGUMENT, "wants a gradient");
  seam_context_release(ctx);
}

static void methods(seam_backbone *backbone) {
  ERROR_SLOT;
  seam_adapter *calibration = NULL, *scale = NULL;
  OK(seam_adapter_create(backbone, "repcali", OPTIONS(.options_json = "{\"lambda\": 2.5}"), &calibration, &error));
  OK(seam_adapter_create(backbone, "scale-shift", NULL, &scale, &error));
  const char *name = NULL;
  DLManagedTensorVersioned *view = NULL;
  OK(seam_adapter_parameter(calibration, 0, &name, &view, &error));
  CHECK(strcmp(name, "embedding.weight") == 0 && count_of(view) == WIDTH);
  for (int i = 0; i < WIDTH; i++) data_of(view)[i] = (float)i;

  seam_value value;
  OK(seam_adapter_call(calibration, "lambda", NULL, 0, &value, &error));
  CHECK(value.kind == SEAM_VALUE_DOUBLE && value.number == 2.5);
  OK(seam_adapter_call(calibration, "shift", NULL, 0, NULL, &error));
  OK(seam_adapter_call(calibration, "shift", NULL, 0, &value, &error));
  CHECK(value.kind == SEAM_VALUE_TENSOR && count_of(value.tensor) == WIDTH);
  data_of(view)[3] = 100;
  for (int i = 0; i < WIDTH; i++) CHECK(data_of(value.tensor)[i] == 2.5f * (float)i);
  give_back(value.tensor);
  give_back(view);
  OK(seam_adapter_call(scale, "distance", NULL, 0, &value, &error));
  CHECK(value.kind == SEAM_VALUE_TENSOR && data_of(value.tensor)[0] == 0);
  give_back(value.tensor);

  counted one = make_counted(), two = make_counted(), three = make_counted();
  seam_value arguments[2] = {{.kind = SEAM_VALUE_TENSOR, .tensor = lend(&one)},
                             {.kind = SEAM_VALUE_DOUBLE, .number = 1}};
  FAILS(seam_adapter_call(calibration, "shift", arguments, 2, &value, &error), SEAM_INVALID_ARGUMENT,
        "method \"shift\" takes 0 arguments");
  CHECK(one.deleted == 1);
  arguments[0].tensor = lend(&two);
  arguments[1].kind = 77;
  FAILS(seam_adapter_call(calibration, "shift", arguments, 2, &value, &error), SEAM_INVALID_ARGUMENT,
        "arguments[1] has the unknown kind 77");
  CHECK(two.deleted == 1);
  arguments[0].tensor = lend(&three);
  FAILS(seam_adapter_call(NULL, "shift", arguments, 1, &value, &error), SEAM_INVALID_ARGUMENT,
        "argument adapter is NULL");
  CHECK(three.deleted == 1);
  FAILS(seam_adapter_call(calibration, "shrift", NULL, 0, &value, &error), SEAM_NOT_FOUND,
        "has no method \"shrift\"; it has shift, lambda");
  FAILS(seam_adapter_call(calibration, "shift", NULL, 1, &value, &error), SEAM_INVALID_ARGUMENT,
        "argument arguments is NULL");
  FAILS(seam_adapter_call(calibration, NULL, NULL, 0, &value, &error), SEAM_INVALID_ARGUMENT,
        "argument method is NULL");
  seam_adapter_release(scale);
  seam_adapter_release(calibration);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  seam_runtime *runtime = make_runtime(argv[1]);
  seam_backbone *backbone = open_tiny(runtime);
  lifetime(runtime);
  gradients(runtime);
  methods(backbone);
  seam_backbone_release(backbone);
  seam_runtime_release(runtime);
  return finish("tensors");
}
