/* The functions of libSeam.so: load plugins, open a backbone, attach adapters to its seams, run, train and
 * save them.
 *
 * Every object is released with its own _release function; NULL is allowed there. An object keeps alive what it
 * was made from: the order of releases does not matter. All functions that take `seam_error **error` return
 * SEAM_OK or the code of the error they set (see base.h); outputs are written on success only, unless a function says
 * otherwise. Strings and paths must be UTF-8, else SEAM_INVALID_ARGUMENT.
 *
 * Threads. What a function needs besides its own object is said here and nowhere else:
 *  - Calls on one object must not overlap, unless a function is [thread-safe].
 *  - A backbone that is not trained may be read by many sessions at once, each on a thread of its own, and so may an
 *    adapter that is not trained and is attached to several of them. While a session trains, nothing else may use its
 *    adapters or, where it trains that too, its backbone.
 *  - A seam_generation computes with its session: calls on the two must not overlap.
 *  - A seam_classifier uses its backbone, adapters and tokenizer as a session would. A seam_tokenizer is [thread-safe]
 *    but for its release.
 *  - Objects may be made and released on any thread, also while others compute.
 *  - Plugins are loaded and unloaded, and the log and the number of threads set, while nothing else runs.
 * A callback is called on the thread of the call that it was given to. It must return: it must not throw, longjmp or
 * exit, and must not use the object whose call it was given to; other objects it may use.
 *
 * After fork() the child may go on with every object that no other thread was using at that moment: computing starts
 * anew there, with threads of its own, and gives the same values. fork() waits until no thread is within a matrix
 * product or an allocation. What another thread was using must not be touched in the child, nor released. A session's
 * results are each process's own; files that both write are not.
 *
 * A program that shortens a model's or an adapter's file while it is open ends the process with SIGBUS at the next read
 * of what is gone; to replace a file by rename is safe. The library installs no signal handler.
 *
 * Sentences (seam_error_message, the log) are one line: control characters from files and plugins are written as \u and
 * four hexadecimal digits. */
#ifndef SEAM_CLIENT_H
#define SEAM_CLIENT_H

#include "base.h"
#include "../dlpack/dlpack.h"
#include "ops.h"
#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SEAM_API __attribute__((visibility("default")))
#else
#define SEAM_API
#endif

typedef struct seam_runtime seam_runtime;
typedef struct seam_backbone seam_backbone;
typedef struct seam_adapter seam_adapter;
typedef struct seam_session seam_session;
typedef struct seam_tokenizer seam_tokenizer;
typedef struct seam_feature_extractor seam_feature_extractor;
typedef struct seam_sequences seam_sequences;
typedef struct seam_generation seam_generation;

/* ---- Versions, errors, strings. [thread-safe] */

/* The ABI of the loaded library; any pointer nullable. */
SEAM_API void seam_abi_version(uint32_t *major, uint32_t *minor);
/* The version of the library ("0.1.0"); a constant string. */
SEAM_API const char *seam_version(void);

SEAM_API seam_status seam_error_code(const seam_error *error);
/* One sentence; borrowed, lives as long as the error. */
SEAM_API const char *seam_error_message(const seam_error *error);
/* The id of the plugin that failed, or "" for the core; borrowed likewise. */
SEAM_API const char *seam_error_origin(const seam_error *error);
SEAM_API void seam_error_release(seam_error *error);

/* Releases a string that a function of this header handed over. */
SEAM_API void seam_string_release(const char *string);

/* ---- Runtime: plugins, memory, log */

/* Called on the thread of the call that reports, so on several at once where calls run at once. It must not call the
 * library. */
typedef void (*seam_log_callback)(void *user, seam_log_level level, const char *message);

/* OpenBLAS is loaded by the first matrix product of the native engine, which fails with SEAM_NOT_FOUND where it cannot
 * be, and with SEAM_OUT_OF_MEMORY where the process may not have the address space that it needs (168 MiB; see ulimit
 * -v). */
SEAM_API seam_status seam_runtime_create(seam_runtime **out, seam_error **error);
SEAM_API void seam_runtime_release(seam_runtime *runtime);
/* callback nullable: nothing is reported. */
SEAM_API void seam_runtime_set_log(seam_runtime *runtime, seam_log_callback callback, void *user);
/* Threads of the native engine for the whole process; 0: one per core. Not while anything runs. */
SEAM_API void seam_set_thread_count(int32_t count);

/* Loads one plugin library. SEAM_NOT_FOUND, SEAM_FORMAT (not a library), SEAM_PLUGIN (no entry, broken tables),
 * SEAM_INCOMPATIBLE (another ABI major, or a host that lacks what it requires), SEAM_ALREADY_EXISTS (an id that is
 * already there). */
SEAM_API seam_status seam_runtime_load_plugin(seam_runtime *runtime, const char *path, seam_error **error);
/* Loads every plugin found in the folders of search_path (joined by ':'); NULL: those of the environment's
 * SEAM_PLUGIN_PATH, then the folder of libSeam.so. A plugin that cannot be loaded is logged as a warning and passed
 * over; so is silently one whose id an earlier folder offered. *loaded (nullable) is the number of new plugins. */
SEAM_API seam_status seam_runtime_load_plugins(seam_runtime *runtime, const char *search_path, size_t *loaded,
                                               seam_error **error);
/* SEAM_INVALID_ARGUMENT while a backbone or adapter of the plugin is alive. */
SEAM_API seam_status seam_runtime_unload_plugin(seam_runtime *runtime, const char *id, seam_error **error);

/* Strings are borrowed until the plugin is unloaded. */
typedef struct seam_plugin_info {
  uint32_t struct_size; /* set by the caller */
  uint32_t abi_major, abi_minor;
  const char *id, *version, *license, *summary, *path;
} seam_plugin_info;

SEAM_API size_t seam_runtime_plugin_count(seam_runtime *runtime);
SEAM_API seam_status seam_runtime_get_plugin(seam_runtime *runtime, size_t index, seam_plugin_info *out,
                                             seam_error **error);
/* A table of functions that a plugin offers beyond these headers, by its id ("org.example.trace/1"): const, valid until
 * the plugin is unloaded. SEAM_NOT_FOUND where there is no such plugin, or it has none of that id. */
SEAM_API seam_status seam_runtime_get_extension(seam_runtime *runtime, const char *plugin_id, const char *extension_id,
                                                const void **out, seam_error **error);
/* A JSON object that describes a plugin, an adapter or a backbone by its id: what it is, its seams, options with
 * defaults and ranges, methods with signatures. *json is owned by the caller (seam_string_release). */
SEAM_API seam_status seam_runtime_describe(seam_runtime *runtime, const char *id, char **json, seam_error **error);

/* ---- What takes long can be watched and stopped */

typedef int32_t seam_activity;
enum {
  SEAM_ACTIVITY_QUERY = 0,     /* prompts: done are those that are known to be answered */
  SEAM_ACTIVITY_GENERATE = 1,  /* done counts the steps, one token for each row, total the most there may be */
  SEAM_ACTIVITY_FIT = 2,       /* epochs */
  SEAM_ACTIVITY_CLASSIFY = 3,  /* texts that the model is asked about: each once, none that it has answered before */
  SEAM_ACTIVITY_PREPARE = 4,   /* batches that the model has read, some of them more than once where there are many */
  SEAM_ACTIVITY_TRANSCRIBE = 5 /* frames of a sound */
};

/* How far a call has come; borrowed during the callback. */
typedef struct seam_progress {
  uint32_t struct_size;
  seam_activity activity;
  int64_t done, total;
  double loss; /* SEAM_ACTIVITY_FIT: that of the last epoch; NaN where there is none */
  /* SEAM_ACTIVITY_GENERATE: the newest token of each row, for streaming; -1 in a row that has ended; NULL before the
   * first step, and in beam search, where rows still change */
  const int32_t *tokens;
  size_t token_count;
} seam_progress;

/* Called before each step and after the last, and again and again while a server is waited for, on the thread of the
 * call; 0 stops it with SEAM_CANCELLED. */
typedef int32_t (*seam_progress_callback)(void *user, const seam_progress *progress);

/* ---- Backbones */

/* Opens a pretrained model.
 * id: the backbone's id, or NULL to ask the loaded backbones which of them opens the model best; SEAM_INVALID_ARGUMENT
 * where two say so alike.
 * path: a Hugging Face folder, a GGUF file or a folder with one, or NULL for a backbone that needs none.
 * options_json: nullable; unknown keys are an error. */
SEAM_API seam_status seam_backbone_open(seam_runtime *runtime, const char *id, const char *path,
                                        const char *options_json, seam_backbone **out, seam_error **error);
/* Describes a model that an engine of the caller's runs: a backbone that adapters are made for, loaded and saved with
 * as with any other, and that computes nothing itself: sessions, queries and classifiers of it are refused with
 * SEAM_UNSUPPORTED. seam_adapter_forward runs its adapters.
 * info: copied; ids of tokens that there are none of are -1; vocab_size may be 0. path: nullable; the folder of the
 * model's weights, by which an adapter that is saved knows them again. */
SEAM_API seam_status seam_backbone_create(seam_runtime *runtime, const seam_backbone_info *info, const char *path,
                                          seam_backbone **out, seam_error **error);
SEAM_API void seam_backbone_release(seam_backbone *backbone);
/* Fills *out as far as the struct_size that the caller has set. Strings and arrays live as long as the backbone. */
SEAM_API seam_status seam_backbone_get_info(seam_backbone *backbone, seam_backbone_info *out, seam_error **error);
/* Writes the backbone, with its trained weights, as a Hugging Face folder: config and tokenizer files are copied, the
 * weights keep their names; trained ones are f32. Of a GGUF file the tokenizer is not written, and quantised weights
 * become f32. Atomic: the old folder or the new one. The folder of a model that SeamKit wrote is replaced, another
 * program's model and other files are refused with SEAM_ALREADY_EXISTS. */
SEAM_API seam_status seam_backbone_save(seam_backbone *backbone, const char *path, seam_error **error);

/* Asks a backbone of architecture SEAM_TEXT (any other: SEAM_UNSUPPORTED) how probable each answer is after each
 * prompt, and for its hidden state there. Requests may cost money, so these outputs are written after a failure, too:
 * *answered (nullable) is how many prompts have their rows, the first ones; *requests (nullable) how many requests
 * were sent, repeated ones included. Strings are UTF-8 and borrowed, arrays row-major and the caller's.
 * answers: words that may continue a prompt, with the space before them where there is one; at least one, none empty.
 * [thread-safe]: one query of a backbone runs at a time, and others wait, which `progress` is told and can stop; one
 * that is made in `progress` of another is SEAM_INVALID_ARGUMENT.
 * progress: nullable.
 * scores: [prompt_count, answer_count], natural logarithms; hidden: nullable, [prompt_count, d_model]; the capacities
 * are the floats that there is room for, at least that many. Rows that are not answered are left alone. SEAM_NUMERIC,
 * with the rows before, when the backbone gave NaN or infinity. */
SEAM_API seam_status seam_backbone_query(seam_backbone *backbone, const char *const *prompts, size_t prompt_count,
                                         const char *const *answers, size_t answer_count,
                                         seam_progress_callback progress, void *user, float *scores,
                                         size_t score_capacity, float *hidden, size_t hidden_capacity, size_t *answered,
                                         int64_t *requests, seam_error **error);

/* ---- Adapters */

/* Which adapter is wanted. All zero but struct_size is a frozen backbone and the adapter's defaults.
 * options_json: a JSON object, nullable: the defaults; unknown keys are an error. On a seam inside the layers "layers"
 * (a list of numbers), "targets" (a list of projections) and "stack" ("encoder" or "decoder") choose the points. */
typedef struct seam_adapter_options {
  uint32_t struct_size;
  int32_t train_backbone; /* 1: the backbone will be trained with it: some adapters start differently then; 0: frozen */
  seam_score_kind score_kind; /* decoder.output: what the scores are */
  const char *seam;           /* nullable: the adapter's default */
  const char *options_json;
  int64_t classes; /* of the classification that it is part of: 2 or more on decoder.output, else 0 */
  int64_t prompts; /* decoder.output: prompts about each text; 0: 1. More only of adapters that read several */
  uint64_t seed;   /* of its initial values */
  /* on a seam of prefixes: tokens of what enters it, by attention; seam_session_add knows them and reads them
   * nowhere */
  int64_t prefix_length[SEAM_PREFIX_ATTENTIONS];
  /* on a seam inside the layers: the names of its points ("decoder.0.q"), in place of the options that choose them;
   * NULL: these do */
  const char *const *points;
  size_t point_count;
} seam_adapter_options;

/* Makes an adapter for a backbone and initialises its parameters. id: "repcali". options nullable: all 0. */
SEAM_API seam_status seam_adapter_create(seam_backbone *backbone, const char *id, const seam_adapter_options *options,
                                         seam_adapter **out, seam_error **error);
/* Reads a saved adapter; SEAM_INCOMPATIBLE when it was made for a backbone of another shape. */
SEAM_API seam_status seam_adapter_load(seam_backbone *backbone, const char *path, seam_adapter **out,
                                       seam_error **error);
/* Writes a folder with adapter_config.json, adapter_model.safetensors and a model card; `notes` (nullable) are
 * Markdown lines for the card. backbone_path (nullable: what the backbone was opened from) is the folder of the weights
 * that the adapter belongs to: for a backbone trained with it, what seam_backbone_save wrote. Atomic. Nothing is
 * written when a parameter holds NaN or infinity. An adapter's folder that is there is replaced, one that holds other
 * files is refused with SEAM_ALREADY_EXISTS. */
SEAM_API seam_status seam_adapter_save(seam_adapter *adapter, const char *path, const char *backbone_path,
                                       const char *notes, seam_error **error);
/* A new adapter with the same outputs, without what only training needs: a prefix without the network that made it.
 * *out is owned by the caller. An adapter that has nothing of the kind is copied as it is: *out is `adapter` again,
 * with a reference of its own. */
SEAM_API seam_status seam_adapter_fold(seam_adapter *adapter, seam_adapter **out, seam_error **error);
SEAM_API void seam_adapter_release(seam_adapter *adapter);
/* Several adapters as one folder, in the order in which they run; one as seam_adapter_save does. All are of one
 * model. */
SEAM_API seam_status seam_adapters_save(seam_adapter *const *adapters, size_t count, const char *path,
                                        const char *backbone_path, const char *notes, seam_error **error);
/* Reads a folder of saved adapters, one or several, in their order: all or none. *count is how many there are; where
 * that is more than `capacity`, none is read: call again with room for them. out nullable when capacity is 0; each is
 * owned by the caller. */
SEAM_API seam_status seam_adapters_load(seam_backbone *backbone, const char *path, seam_adapter **out, size_t capacity,
                                        size_t *count, seam_error **error);
/* A JSON object that describes an adapter: "id", "plugin", "seam", "options" as they are in force, "classes",
 * "prompts", "score_kind", "prefix_length", "trains_backbone", "starts_from_examples" (it has a `prepare`), "foldable",
 * "points" ("decoder.0.q"), "phases" (seam_phases of each point), and "parameters" with "name", "shape", "frozen" and
 * "point" (-1: shared by all);
 * owned by the caller. */
SEAM_API seam_status seam_adapter_describe(seam_adapter *adapter, char **json, seam_error **error);

/* A learning rate of the adapter's own, 0 or more, for trainings that begin afterwards; negative: that of the
 * training. */
SEAM_API seam_status seam_adapter_set_learning_rate(seam_adapter *adapter, double learning_rate, seam_error **error);

SEAM_API size_t seam_adapter_parameter_count(seam_adapter *adapter);
/* *name is borrowed from the adapter. *tensor views the parameter's memory, not a copy: what is written there is the
 * new value; owned by the caller, who calls its deleter. A view taken before training starts or ends goes stale
 * then. */
SEAM_API seam_status seam_adapter_parameter(seam_adapter *adapter, size_t index, const char **name,
                                            DLManagedTensorVersioned **tensor, seam_error **error);

/* A value of a method call. Fixed: it never grows. */
typedef int32_t seam_value_kind;
enum { SEAM_VALUE_NONE = 0, SEAM_VALUE_INT = 1, SEAM_VALUE_DOUBLE = 2, SEAM_VALUE_STRING = 3, SEAM_VALUE_TENSOR = 4 };
typedef struct seam_value {
  seam_value_kind kind;
  int64_t integer;
  double number;
  const char *string;               /* argument: borrowed; result: owned by the caller (seam_string_release) */
  DLManagedTensorVersioned *tensor; /* argument: taken over; result: owned by the caller */
} seam_value;

/* Calls a method of the adapter's plugin by name ("shift"), with checked arguments. result nullable. */
SEAM_API seam_status seam_adapter_call(seam_adapter *adapter, const char *method, const seam_value *arguments,
                                       size_t argument_count, seam_value *result, seam_error **error);

/* ---- Adapters on an engine of the caller's: its compute table, its tensors. What else an adapter does, methods,
 * folding, saving, is computed natively on the values that seam_adapter_parameter views: the caller copies its own
 * there before, and fetches them after seam_adapter_prepare. */

/* Runs an adapter's forward on tensors of the caller's.
 * pass: ctx and ops are the caller's, and parameters its handles of the values that seam_adapter_describe lists: all of
 * them or, at a point, those shared by all and then the point's own.
 * io: inputs as the seam defines them, as many outputs, and at a point its index in the adapter's points and the phase.
 * Each outputs[i] is filled.
 * The table has every operation of version 1.0, none NULL (one that the engine cannot do latches SEAM_UNSUPPORTED), and
 * the operations that the plugin requires: SEAM_UNSUPPORTED, with their names, where it has not.
 * The table answers rank, size, dtype and status for what goes in and comes out, and for a weight whose numbers no
 * operation can read (a quantised one), too. SEAM_SHAPE for inputs that are not those of the seam, SEAM_PLUGIN for
 * outputs that are not. After an operation that has failed, the code that `status` gives; the sentence is then the
 * caller's own.
 * [thread-safe], with a pass for each thread. */
SEAM_API seam_status seam_adapter_forward(seam_adapter *adapter, const seam_pass *pass, seam_forward *io,
                                          seam_error **error);
/* What an adapter starts from (seam_adapter_prepare): what flows into its seam for all examples, on the CPU, as
 * seam_prepare has it. */
typedef struct seam_examples {
  uint32_t struct_size;                    /* set by the caller */
  int64_t point;                           /* index in the adapter's points; -1 at seams that have none */
  DLManagedTensorVersioned *const *inputs; /* NULL for a bias or a prefix that is not there */
  size_t input_count;
  DLManagedTensorVersioned *labels;         /* [examples] i32: the class of each; nullable */
  DLManagedTensorVersioned *empty_scores;   /* decoder.output: [1, classes], of an adapter that reads several prompts
                                             * [1, prompts, classes]; nullable */
  DLManagedTensorVersioned *attention_mask; /* at a point: which are tokens, [examples, n] i32; nullable: all are */
  DLManagedTensorVersioned *generated_mask; /* at a point: which the model generated, [examples, n] i32; nullable */
} seam_examples;

/* Lets an adapter start from examples, once, before the first step (seam_adapter_factory.prepare), as
 * seam_session_prepare does where the model is run natively; nothing happens to one that starts from nothing. At a seam
 * that has points there is one call for each, in their order (else SEAM_INVALID_ARGUMENT): the adapter's values stay as
 * they are until the call for the last point, which takes all that the plugin gave, of several for one parameter the
 * last. After an error none is taken, and preparing begins again with point 0. SEAM_SHAPE for inputs that are not those
 * of the seam.
 * The tensors of `given` are taken over, also on failure, but for a struct that is too short. */
SEAM_API seam_status seam_adapter_prepare(seam_adapter *adapter, const seam_examples *given, seam_error **error);

/* ---- Sessions */

SEAM_API seam_status seam_session_create(seam_backbone *backbone, seam_session **out, seam_error **error);
SEAM_API void seam_session_release(seam_session *session);

/* Adapters are attached to a route of the session: a chain of adapters under a name, and each row of a batch takes one
 * (seam_batch.routes). `route` may be NULL or "", here and below: the default route, which rows take that name none.
 * Other names have 1 to 100 characters. A route is there as long as an adapter is attached to it; one adapter may be
 * attached to several.
 * Training is that of the routes that seam_train_options names. */
/* position: among the adapters of the route, which run in that order; -1: last. */
SEAM_API seam_status seam_session_attach(seam_session *session, const char *route, seam_adapter *adapter,
                                         int32_t position, seam_error **error);
/* Makes an adapter for the place behind those of the route and attaches it there: seam_adapter_create and
 * seam_session_attach in one, and the way for an adapter that depends on those before it, such as a gate on the tokens
 * of a prefix. On decoder.output of an encoder-only backbone it is the head of a classification, with the text's pooled
 * vector as its hidden. options nullable. out nullable; *out is owned by the caller. */
SEAM_API seam_status seam_session_add(seam_session *session, const char *route, const char *id,
                                      const seam_adapter_options *options, seam_adapter **out, seam_error **error);
/* Reads a folder of saved adapters, one or several, and attaches them behind those of the route, in the order in which
 * they were. All or none. seam_session_adapter gives them. */
SEAM_API seam_status seam_session_load(seam_session *session, const char *route, const char *path, seam_error **error);
/* Writes the adapters of the route as one folder, that seam_session_load reads; the rest is as for
 * seam_adapter_save. */
SEAM_API seam_status seam_session_save(seam_session *session, const char *route, const char *path,
                                       const char *backbone_path, const char *notes, seam_error **error);
/* The adapters of the route, in the order in which they run; 0 for a route that is not there. *out is owned by the
 * caller. */
SEAM_API size_t seam_session_adapter_count(seam_session *session, const char *route);
SEAM_API seam_status seam_session_adapter(seam_session *session, const char *route, size_t index, seam_adapter **out,
                                          seam_error **error);
/* SEAM_INVALID_ARGUMENT while another adapter weights the tokens of its prefix: detach that one first. */
SEAM_API seam_status seam_session_detach(seam_session *session, const char *route, seam_adapter *adapter,
                                         seam_error **error);
SEAM_API seam_status seam_session_move(seam_session *session, const char *route, seam_adapter *adapter,
                                       int32_t position, seam_error **error);
/* Detaches all adapters of a route at once. SEAM_NOT_FOUND where there is none of that name. */
SEAM_API seam_status seam_session_remove_route(seam_session *session, const char *route, seam_error **error);
/* The routes with a name, in the order in which they came. The name is borrowed until routes change. NULL out of
 * range. */
SEAM_API size_t seam_session_route_count(seam_session *session);
SEAM_API const char *seam_session_route(seam_session *session, size_t index);
/* Computes an attached adapter on projections into the backbone's weights, once, for this session alone: its passes
 * then cost what the backbone's cost. The weights that it changes are copied as f32. SEAM_UNSUPPORTED for an adapter
 * that is not linear in the weights, SEAM_INVALID_ARGUMENT where another adapter on the same points runs before it, or
 * reads an input that it changes, or the session has routes with a name. Training, saving and detaching need it
 * unmerged. Values that the adapter or, in another session, the backbone gets afterwards are not seen until it is
 * unmerged and merged again. */
SEAM_API seam_status seam_session_merge(seam_session *session, seam_adapter *adapter, seam_error **error);
/* The backbone's own weights again, bit for bit. */
SEAM_API seam_status seam_session_unmerge(seam_session *session, seam_adapter *adapter, seam_error **error);
/* Writes the model with the merged adapters in its weights: a folder in the Hugging Face layout that needs neither them
 * nor SeamKit, with the matrices that they change in f32 and all else as it was. Atomic; a model that SeamKit wrote at
 * path is replaced, another program's and other files are not. `dequantize`: 1 writes weights that are stored as
 * quantised blocks in f32, all of them; with 0 such a model is SEAM_UNSUPPORTED. SEAM_INVALID_ARGUMENT while an adapter
 * of the session is not merged, or none is. Since 1.0. */
SEAM_API seam_status seam_session_save_merged(seam_session *session, const char *path, int32_t dequantize,
                                              seam_error **error);

/* Token ids, row-major, borrowed during the call. batch, source_length and target_length are at most 2^20, the tokens
 * of all rows, of sources and of targets, at most 2^28, and so are the numbers of input_features. */
typedef struct seam_batch {
  uint32_t struct_size; /* set by the caller */
  int64_t batch;
  int64_t source_length;
  int64_t target_length;            /* 0: no targets */
  const int32_t *input_ids;         /* [batch, source_length]; NULL for features */
  const int32_t *attention_mask;    /* [batch, source_length] of 0 and 1; nullable: all 1 */
  const int32_t *labels;            /* [batch, target_length], -100 counts nothing; nullable for forward; for a backbone
                                     * that is not an encoder-decoder target_length is source_length (of features the
                                     * number of hidden states) or 0 */
  const int32_t *decoder_input_ids; /* [batch, target_length], padding tokens behind those of a row and none before;
                                     * nullable: labels shifted right; encoder-decoders only */
  const int32_t *token_type_ids;    /* [batch, source_length], which of two texts a token is of; nullable: all of the
                                     * first; encoder-only backbones */
  const int32_t *classes;           /* [batch], from 0: training and scoring are then those of a classification by the
                                     * attached adapters on decoder.output; nullable; target_length must be 0, but for
                                     * seam_session_prepare */
  const char *const *routes;        /* [batch], the route of each row; NULL, also for a row: the default route */
  /* [batch, source_length, feature_width of the backbone], in the place of input_ids, for a backbone whose sources are
   * features, finite (SEAM_NUMERIC); source_length then counts frames; else NULL */
  const float *input_features;
} seam_batch;

/* What leaves the encoder.output seam, adapters applied: *hidden [batch, source_length, d_model] f32, longer by what
 * the adapters of prompt.embedding put before the source, the most of any row; rows with fewer have padding before
 * theirs. Owned by the caller. SEAM_UNSUPPORTED for a backbone without an encoder. */
SEAM_API seam_status seam_session_encode(seam_session *session, const seam_batch *batch,
                                         DLManagedTensorVersioned **hidden, seam_error **error);
/* Teacher-forced: *logits [batch, target_length, vocab_size], *hidden (nullable) [batch, target_length, d_model];
 * owned by the caller. For a backbone that is not an encoder-decoder: at every position of the source, in place of the
 * target. SEAM_UNSUPPORTED for a backbone without a head. */
SEAM_API seam_status seam_session_forward(seam_session *session, const seam_batch *batch,
                                          DLManagedTensorVersioned **logits, DLManagedTensorVersioned **hidden,
                                          seam_error **error);

/* One vector for each source, made as the backbone's options say of what seam_session_encode gives: *pooled
 * [batch, d_model] f32, owned by the caller. SEAM_UNSUPPORTED for a backbone that has none. */
SEAM_API seam_status seam_session_pool(seam_session *session, const seam_batch *batch,
                                       DLManagedTensorVersioned **pooled, seam_error **error);

/* Scores of the classes, from the attached adapters on decoder.output: class_scores [batch, classes], filled, with room
 * for `capacity` floats; the largest of a row is its choice. SEAM_INVALID_ARGUMENT without such an adapter. */
SEAM_API seam_status seam_session_classify(seam_session *session, const seam_batch *batch, float *class_scores,
                                           size_t capacity, seam_error **error);

/* Fixed: it never grows. */
typedef struct seam_score {
  double log_probability; /* sum over the labels, natural logarithm */
  int64_t token_count;    /* labels that count; 1 in a classification */
  int64_t correct_count;  /* of them, the model's first choice given the labels before */
} seam_score;

/* scores: batch->batch entries, filled in order; room for `capacity`. */
SEAM_API seam_status seam_session_score(seam_session *session, const seam_batch *batch, seam_score *scores,
                                        size_t capacity, seam_error **error);

/* Lets an attached adapter start from examples, once, before a training or in the place of one
 * (seam_adapter_factory.prepare): the model reads them through the adapters that are attached before it, and the
 * adapter is given what flows into its seam. Nothing happens to one that starts from nothing. Every value that the
 * plugin gives is taken or, after an error, none.
 * batches: the examples, without routes. `classes` are their labels, from 0 and each with an example, of all batches or
 * of none; targets may stand beside them. An adapter on attention.prefix takes one batch of one row, the text; one on
 * prefix.tokens takes none. An adapter inside a decoder that has an encoder needs targets.
 * What flows at one point is in memory for all examples at once (SEAM_OUT_OF_MEMORY, with the size, where there is not
 * enough); points are taken together up to 1 GiB, and for the others the batches are read again.
 * progress nullable: SEAM_ACTIVITY_PREPARE. Since 1.0. */
SEAM_API seam_status seam_session_prepare(seam_session *session, const char *route, seam_adapter *adapter,
                                          const seam_batch *const *batches, size_t batch_count,
                                          seam_progress_callback progress, void *user, seam_error **error);

/* When a beam search ends. */
typedef int32_t seam_early_stopping;
enum { SEAM_EARLY_STOPPING_HEURISTIC = 0, SEAM_EARLY_STOPPING_WHEN_FULL = 1, SEAM_EARLY_STOPPING_NEVER = 2 };

/* Names and meanings are those of Hugging Face generate. num_beams and num_return_sequences are at most 65536. */
typedef struct seam_generate_options {
  uint32_t struct_size;                   /* set by the caller, before seam_generate_options_init */
  int32_t max_new_tokens, min_new_tokens; /* -1: what max_length or min_length of the model's settings leaves beside
                                             a prompt, for a decoder-only backbone that has it */
  int32_t num_beams;
  int32_t num_return_sequences;
  seam_early_stopping early_stopping;
  double length_penalty;
  int32_t do_sample; /* 1: tokens are drawn; 0: the most probable ones are searched */
  int32_t top_k;
  double temperature, top_p;
  double repetition_penalty;
  int32_t no_repeat_ngram_size;
  uint64_t seed;
  int64_t ignore_generation_config; /* set by the caller, before seam_generate_options_init: 0, or 1 to take nothing of
                                       the model's own settings but its token ids */
  /* Of a speech model, whose settings name languages, tasks and times (Whisper): else NULL, NULL and 0. A language by
   * its token or the code in it ("de"), nullable: that of the settings or, where they have none, the most likely one of
   * each row (seam_session_transcribe: of the first window);
   * a task ("transcribe", "translate"), nullable: that of the settings, else transcribe where a language is given.
   * Borrowed during the call. */
  const char *language;
  const char *task;
  int64_t return_timestamps; /* 1: tokens of times are written, by the model's rules on them; 0: none */
} seam_generate_options;

/* The model's own settings: of generation_config.json or, where there is none, of config.json; with
 * ignore_generation_config 1 those of Hugging Face generate without them. Writes what lies within struct_size. What the
 * model sets is switched off by its neutral value: repetition_penalty 1, no_repeat_ngram_size 0, min_new_tokens 0,
 * do_sample 0, num_beams 1. Rules on single tokens (bad_words_ids, sequence_bias, suppress_tokens, forced_eos_token_id
 * ...) have no member here: they hold unless ignore_generation_config is 1 when seam_session_generate is called. */
SEAM_API seam_status seam_generate_options_init(seam_backbone *backbone, seam_generate_options *options,
                                                seam_error **error);
/* Generates targets for the batch's sources; for a decoder-only backbone, continuations of them. options nullable: the
 * model's own; progress nullable. */
SEAM_API seam_status seam_session_generate(seam_session *session, const seam_batch *batch,
                                           const seam_generate_options *options, seam_progress_callback progress,
                                           void *user, seam_sequences **out, seam_error **error);
/* Writes what a sound of any length says, window by window, each of as many frames as the model has positions for: a
 * window begins where the one before has ended or, if that breaks off within a part, where its last whole part has. For
 * a backbone whose sources are features.
 * route nullable: the default one. features [frames, feature_width], borrowed during the call; seconds_per_frame: of
 * them, 0.01 for Whisper. options nullable: the model's own, for each window; a sound longer than a window needs
 * return_timestamps. progress nullable: SEAM_ACTIVITY_TRANSCRIBE.
 * A language that nobody chose is that of the first window. *out has one item, the parts of the sound in their order,
 * without end tokens; the score of each is that of its window.
 * SEAM_UNSUPPORTED for a backbone that reads no features; SEAM_NUMERIC for features that are not finite;
 * SEAM_INVALID_ARGUMENT for a longer sound without times, and num_return_sequences other than 1. Since 1.0. */
SEAM_API seam_status seam_session_transcribe(seam_session *session, const char *route, const float *features,
                                             size_t frames, double seconds_per_frame,
                                             const seam_generate_options *options, seam_progress_callback progress,
                                             void *user, seam_sequences **out, seam_error **error);
/* Where a part of a sound, sequence `index` of item `item`, begins and ends, in seconds from the sound's beginning;
 * each nullable. 0, and nothing written, for an item or an index out of range and sequences that are no parts of a
 * sound; else 1. Since 1.0. */
SEAM_API int32_t seam_sequences_times(const seam_sequences *sequences, size_t item, size_t index, double *start,
                                      double *end);

/* Sequences of item `item`, best first for beams. */
SEAM_API size_t seam_sequences_count(const seam_sequences *sequences, size_t item);
/* Borrowed from `sequences`; NULL and 0 out of range. Without the start token, with the end token if one came.
 * score nullable: the sum of log-probabilities, over length^length_penalty for beams. */
SEAM_API const int32_t *seam_sequences_tokens(const seam_sequences *sequences, size_t item, size_t index,
                                              size_t *length, double *score);
SEAM_API void seam_sequences_release(seam_sequences *sequences);

/* ---- Generation for requests that come and go (continuous batching): each row has options of its own, gets one token
 * in every step, and leaves with its last one, while others go on and join. A row has the tokens that it has alone, up
 * to the rounding of sums in another order; rows that were there are not computed anew when others join. */

/* Makes a generation without rows.
 * session: kept alive. While rows take a route, its adapters stay as they are, with their values: a step, or new rows,
 * after one was attached, detached, moved or merged is SEAM_INVALID_ARGUMENT, and the rows are gone then. Other routes
 * may change, and new ones may come. While the session trains, rows are neither added nor decoded
 * (SEAM_INVALID_ARGUMENT).
 * capacity: the most tokens of a row, its prompt, or the start token of an encoder-decoder, and those it gets; each row
 * takes the memory of that many keys and values.
 * SEAM_UNSUPPORTED for a backbone without a decoder, or whose decoding states take no rows in; SEAM_INVALID_ARGUMENT
 * for a capacity that is not positive, or more than the backbone's positions. */
SEAM_API seam_status seam_generation_create(seam_session *session, int64_t capacity, seam_generation **out,
                                            seam_error **error);
SEAM_API void seam_generation_release(seam_generation *generation);
/* Adds the rows of a batch, which are generated from the next step on: sources or, for a decoder-only backbone,
 * prompts, and the route of each. Rows that are added at once are read together.
 * options: those of these rows, nullable: the model's own. Greedy search or sampling: SEAM_UNSUPPORTED for num_beams or
 * num_return_sequences other than 1. Rows with the same seed draw what each of them draws alone.
 * rows: filled with the number of each row, by which steps and seam_generation_remove name it; a generation gives no
 * number twice. Room for `capacity`, at least batch->batch.
 * SEAM_NOT_FOUND for a route that is not there; SEAM_INVALID_ARGUMENT for a prompt and new tokens that do not fit into
 * the capacity of a row or the backbone's positions: nothing has changed then. */
SEAM_API seam_status seam_generation_add(seam_generation *generation, const seam_batch *batch,
                                         const seam_generate_options *options, int64_t *rows, size_t capacity,
                                         seam_error **error);

/* Whether a row goes on. */
typedef int32_t seam_finish_reason;
enum {
  SEAM_FINISH_NONE = 0,   /* it goes on */
  SEAM_FINISH_STOP = 1,   /* ended by an end token */
  SEAM_FINISH_LENGTH = 2, /* it has as many tokens as it may have */
  SEAM_FINISH_ERROR = 3   /* no token could be chosen */
};

/* What a row got in a step. Fixed: it never grows. */
typedef struct seam_row_step {
  int64_t row;
  double score; /* of a row that has ended: the sum of its tokens' log-probabilities; else NaN */
  /* of token, natural logarithm, by the scores that it was chosen from; NaN where none was chosen, or it is not
   * known */
  double log_probability;
  const char *message; /* SEAM_FINISH_ERROR: the sentence; else NULL. Borrowed until the next step or the release */
  int32_t token;       /* the newest, an end token among them; -1 where none could be chosen */
  int32_t token_count; /* of the row so far */
  seam_finish_reason finish_reason; /* a row that has ended has left */
  seam_status status;               /* SEAM_FINISH_ERROR: the code; else SEAM_OK */
} seam_row_step;

/* Gives every row its next token.
 * steps: filled with one entry for each row that was there, in the order in which they were added; room for `capacity`.
 * *count is how many; 0 without rows. Where there is too little room, SEAM_INVALID_ARGUMENT and nothing has changed.
 * A row for which no token can be chosen, of logits without a largest number or by rules that forbid every token,
 * leaves with SEAM_FINISH_ERROR, and the others go on. After an error of the computation no row is there any more. */
SEAM_API seam_status seam_generation_step(seam_generation *generation, seam_row_step *steps, size_t capacity,
                                          size_t *count, seam_error **error);
/* Lets a row go before its end. SEAM_INVALID_ARGUMENT for one that is not there, or has left. */
SEAM_API seam_status seam_generation_remove(seam_generation *generation, int64_t row, seam_error **error);
/* The rows that are there, in the order in which they were added. Writes at most `capacity` numbers; *count is how many
 * there are, which may be more. rows nullable when capacity is 0. */
SEAM_API seam_status seam_generation_rows(seam_generation *generation, int64_t *rows, size_t capacity, size_t *count,
                                          seam_error **error);

/* ---- Training */

typedef int32_t seam_optimizer;
enum { SEAM_OPTIMIZER_ADAMW = 0, SEAM_OPTIMIZER_ADAM = 1 };
/* How the learning rate changes behind the warm-up. */
typedef int32_t seam_schedule;
enum { SEAM_SCHEDULE_CONSTANT = 0, SEAM_SCHEDULE_LINEAR = 1, SEAM_SCHEDULE_COSINE = 2 };

typedef struct seam_train_options {
  uint32_t struct_size; /* set by the caller, before seam_train_options_init */
  seam_optimizer optimizer;
  seam_schedule schedule;
  int32_t train_backbone;        /* 0: only the adapters; 1: the backbone with them */
  double learning_rate;          /* of the adapters */
  double backbone_learning_rate; /* of the backbone, where it is trained */
  double beta1, beta2, epsilon, weight_decay;
  double max_grad_norm; /* 2-norm over all gradients; 0: no clipping */
  double label_smoothing;
  int64_t warmup_steps;
  int64_t total_steps; /* where a linear or cosine schedule reaches 0 */
  /* The routes whose adapters are trained, each once, NULL for the default one; NULL for the list: the default one
   * alone.
   * Borrowed during seam_session_begin_training. */
  const char *const *routes;
  size_t route_count;
  /* What flows into the lowest layer that is trained is a constant of an example: it is computed once for each and kept
   * until the training ends, and steps begin at that layer. An example is known by what its row of seam_batch holds
   * without the padding. Bytes of memory for it; what is beyond goes into a file. 0: nothing is kept; -1: a quarter of
   * the machine's memory. Of a backbone that has no layer ranges the encoder's output alone is kept; nothing where the
   * first layer is trained. */
  int64_t seam_cache_bytes;
  /* The folder of that file, which has no name there and is gone with the training or the process; NULL: that of
   * TMPDIR, or /tmp. What a full disk has no room for is computed again. Borrowed during
   * seam_session_begin_training. */
  const char *seam_cache_folder;
  uint64_t seed; /* of what a step draws: which elements dropout takes */
} seam_train_options;

/* AdamW, 1e-3 (backbone 1e-4), betas 0.9 and 0.999, epsilon 1e-8, weight decay 0.01, clipping at 1, constant rate,
 * no seam cache, seed 0. Writes what lies within the caller's struct_size. */
SEAM_API seam_status seam_train_options_init(seam_train_options *options, seam_error **error);

typedef struct seam_step {
  uint32_t struct_size; /* set by the caller */
  int64_t step;         /* counted from 1 */
  double loss;          /* mean over the labels that count, before the update */
  double gradient_norm; /* before clipping */
  double learning_rate; /* of the adapters, in this step */
} seam_step;

/* Starts training of the adapters of the options' routes (and the backbone); attach and detach are refused until it
 * ends.
 * Several routes are trained side by side, each as it is by its own rows alone: by the mean over its labels, its
 * gradient clipped by its own norm, an update in the steps that have rows of it. The schedule of the learning rate
 * counts all steps.
 * Adapters that start from examples are prepared before (seam_session_prepare).
 * SEAM_INVALID_ARGUMENT when no adapter has a parameter that is trained; SEAM_NOT_FOUND for a route or a
 * seam_cache_folder that is not there; SEAM_UNSUPPORTED for an adapter that is on two of the routes, and for
 * train_backbone with a route that has a name. */
SEAM_API seam_status seam_session_begin_training(seam_session *session, const seam_train_options *options,
                                                 seam_error **error);
/* One forward, backward and update; seam_step.loss is the mean over the labels of all rows, gradient_norm that of all
 * gradients.
 * SEAM_INVALID_ARGUMENT for a row on a route that is not trained. SEAM_NUMERIC, without an update, when the loss or the
 * gradient is not finite. The first step names trained parameters that its loss does not reach in a warning of the log;
 * SEAM_INVALID_ARGUMENT when it reaches none. */
SEAM_API seam_status seam_session_train_step(seam_session *session, const seam_batch *batch, seam_step *out,
                                             seam_error **error);
/* Ends training; the trained values stay. Nothing happens when none was started. */
SEAM_API void seam_session_end_training(seam_session *session);

/* ---- Training on features: adapters on decoder.output, from what a backbone said of each example once */

typedef struct seam_fit_options {
  uint32_t struct_size; /* set by the caller, before seam_fit_options_init */
  int32_t prepare;      /* 1: the adapter starts from the examples; 0: it goes on from its values */
  int64_t epochs;       /* passes over all examples, one update each; at most 2^24 */
  double learning_rate; /* of Adam */
  double beta1, beta2, epsilon;
  double max_grad_norm; /* 2-norm over all gradients; 0: no clipping */
  int64_t chunk_size;   /* examples computed at once: changes memory and rounding only */
} seam_fit_options;

/* 30 epochs, 0.01, betas 0.9 and 0.999, epsilon 1e-8, no clipping, 4096 examples at once, prepare 1. Writes what lies
 * within the caller's struct_size. */
SEAM_API seam_status seam_fit_options_init(seam_fit_options *options, seam_error **error);

/* Trains an adapter on decoder.output by cross-entropy over the classes. One without a parameter that is trained, such
 * as a calibration, is fitted by its `prepare` alone, and every entry of losses is the loss that this gives. Arrays are
 * row-major and borrowed during the call, not copied.
 * scores [examples, classes]: the backbone's for each class. hidden [examples, d_model]: its states where the answer
 * stands. Of an adapter that was made for several prompts: scores [examples, prompts, classes], hidden [examples,
 * prompts, d_model] and empty_scores [prompts, classes], here and below. labels [examples]: the class of each, from 0;
 * every class has one. empty_scores [classes]: for an empty text;
 * nullable where they are not known. options nullable: the defaults.
 * losses (nullable): one for each epoch of the options, the mean over the examples before the update; room for
 * loss_capacity. progress nullable; stopped by it, the adapter is as before.
 * SEAM_NUMERIC for NaN or infinity in the features, naming the example, or in training. SEAM_INVALID_ARGUMENT where
 * there is neither a parameter to train nor a `prepare` to call. A trained parameter that the first epoch's loss does
 * not reach is named in a warning of the log. After an error the adapter is as before. A view of a parameter goes
 * stale, as when training begins and ends. */
SEAM_API seam_status seam_adapter_fit(seam_adapter *adapter, const float *scores, const float *hidden,
                                      const int32_t *labels, const float *empty_scores, size_t examples,
                                      const seam_fit_options *options, seam_progress_callback progress, void *user,
                                      double *losses, size_t loss_capacity, seam_error **error);
/* The scores that an adapter on decoder.output gives to each class: class_scores [examples, classes], filled, with room
 * for `capacity` floats; the largest of a row is its choice. */
SEAM_API seam_status seam_adapter_classify(seam_adapter *adapter, const float *scores, const float *hidden,
                                           size_t examples, float *class_scores, size_t capacity, seam_error **error);

/* ---- Classification of texts: a prompt, label words, and adapters on decoder.output */

typedef struct seam_classifier seam_classifier;

/* A question to a model, which is asked once about each distinct text.
 * tokenizer: the model's; NULL for a backbone that reads text by itself.
 * task_json: {"template": "{text} It was [MASK]", "labels": {"negative": ["bad"], "positive": ["great", "good"]}}, the
 * classes in the order of the labels; or "templates", a list of several prompts about each text, in the place of
 * "template"; also "multi_token": "first" (default) or "mean", and "scores": "logit" (default) or
 * "probability". docs/fewshot.md says what they mean.
 * cache_path nullable: a folder that keeps the model's answers, so that a later process need not ask again. */
SEAM_API seam_status seam_classifier_create(seam_backbone *backbone, seam_tokenizer *tokenizer, const char *task_json,
                                            const char *cache_path, seam_classifier **out, seam_error **error);
SEAM_API void seam_classifier_release(seam_classifier *classifier);
/* Adds an adapter on decoder.output, made for the task's number of classes and, the first one, of prompts; adapters run
 * in the order added. Without one the scores are the model's own, of several prompts their mean. */
SEAM_API seam_status seam_classifier_attach(seam_classifier *classifier, seam_adapter *adapter, seam_error **error);
/* Trains the attached adapters on `count` texts. texts_b: second texts of pairs for a template with {text_b}, else
 * NULL.
 * labels [count]: from 0; every class has an example. options nullable: the defaults. losses as in seam_adapter_fit.
 * progress nullable: first as that of seam_classifier_predict, then SEAM_ACTIVITY_FIT.
 * The task is saved with the adapters from then on. Errors as seam_adapter_fit. */
SEAM_API seam_status seam_classifier_fit(seam_classifier *classifier, const char *const *texts,
                                         const char *const *texts_b, const int32_t *labels, size_t count,
                                         const seam_fit_options *options, seam_progress_callback progress, void *user,
                                         double *losses, size_t loss_capacity, seam_error **error);
/* scores [count, classes], filled, with room for `capacity` floats; the largest of a row is the text's class. progress
 * nullable: SEAM_ACTIVITY_CLASSIFY or, where the model is asked over a network, SEAM_ACTIVITY_QUERY. */
SEAM_API seam_status seam_classifier_predict(seam_classifier *classifier, const char *const *texts,
                                             const char *const *texts_b, size_t count, seam_progress_callback progress,
                                             void *user, float *scores, size_t capacity, seam_error **error);
/* How many prompts the model was asked; -1 for NULL. */
SEAM_API int64_t seam_classifier_query_count(seam_classifier *classifier);
/* The task that a loaded or trained adapter was saved with, to create its classifier; owned by the caller.
 * SEAM_NOT_FOUND when there is none. */
SEAM_API seam_status seam_adapter_task(seam_adapter *adapter, char **task_json, seam_error **error);
/* What is saved with the adapter in its place: a JSON object, which is carried along as it is; NULL: nothing. */
SEAM_API seam_status seam_adapter_set_task(seam_adapter *adapter, const char *task_json, seam_error **error);

/* ---- Tokenizers */

/* Opens the tokenizer of a model: a folder with tokenizer.json or, where there is none, a SentencePiece model
 * (spiece.model, tokenizer.model, sentencepiece.bpe.model), or a GGUF file. */
SEAM_API seam_status seam_tokenizer_open(const char *path, seam_tokenizer **out, seam_error **error);
SEAM_API void seam_tokenizer_release(seam_tokenizer *tokenizer);
/* Ids of a text, special tokens included. Writes at most `capacity` ids; *count is how many there are, which may be
 * more: call again with room for them. ids nullable when capacity is 0. */
SEAM_API seam_status seam_tokenizer_encode(seam_tokenizer *tokenizer, const char *text, int32_t *ids, size_t capacity,
                                           size_t *count, seam_error **error);
/* Text of ids, special tokens left out; owned by the caller. */
SEAM_API seam_status seam_tokenizer_decode(seam_tokenizer *tokenizer, const int32_t *ids, size_t count, char **text,
                                           seam_error **error);

/* ---- Sound: features, which a model of speech reads in the place of token ids (input_features of seam_batch) */

/* Opens the feature extractor of a model's folder, a WhisperFeatureExtractor of transformers that
 * preprocessor_config.json describes (or "feature_extractor" in processor_config.json). */
SEAM_API seam_status seam_feature_extractor_open(const char *path, seam_feature_extractor **out, seam_error **error);
SEAM_API void seam_feature_extractor_release(seam_feature_extractor *extractor);
/* A JSON object with the sizes: "frames" of a whole chunk and "feature_size", "sampling_rate" in Hz, "chunk_length" in
 * seconds, "hop_length" and "n_fft" in samples; owned by the caller (seam_string_release). [thread-safe] */
SEAM_API seam_status seam_feature_extractor_describe(seam_feature_extractor *extractor, char **json,
                                                     seam_error **error);
/* What becomes of sound that is longer than a chunk, which the model hears at once. */
typedef int32_t seam_long_sound;
enum {
  SEAM_LONG_SOUND_REFUSE = 0,   /* SEAM_INVALID_ARGUMENT */
  SEAM_LONG_SOUND_TRUNCATE = 1, /* what is behind the chunk is left out */
  SEAM_LONG_SOUND_WHOLE = 2     /* it has as many frames as it is long: seam_session_transcribe reads it in windows */
};
/* The features of a sound file (WAV, FLAC, Ogg and what else libsndfile reads): features [*frames, feature_size],
 * filled, with room for `capacity` floats. Channels are mixed into one, another sampling rate is converted, and sound
 * that is shorter than a chunk is followed by silence.
 * *frames is how many there are: those of a chunk, or more of a longer sound as a whole, of which 2^24 are the most. It
 * is written also where the room is too small; features NULL and capacity 0: nothing else is asked for, and where a
 * file's header tells its length the rest is not read.
 * SEAM_FORMAT for what is no sound file, damaged or without sound, SEAM_NUMERIC for NaN or infinity in it,
 * SEAM_NOT_FOUND also where libsndfile, libsamplerate or kissfft is needed and not installed. [thread-safe] */
SEAM_API seam_status seam_feature_extractor_read(seam_feature_extractor *extractor, const char *path,
                                                 seam_long_sound long_sound, float *features, size_t capacity,
                                                 size_t *frames, seam_error **error);
/* The same of `count` samples of one channel, from -1 to 1, sampling_rate of them a second. [thread-safe] */
SEAM_API seam_status seam_feature_extractor_extract(seam_feature_extractor *extractor, const float *samples,
                                                    size_t count, int32_t sampling_rate, seam_long_sound long_sound,
                                                    float *features, size_t capacity, size_t *frames,
                                                    seam_error **error);

/* ---- The native engine by itself: for other bindings, and for testing plugins */

/* The compute table of the native engine; constant, lives as long as the library. [thread-safe] */
SEAM_API const seam_ops *seam_native_ops(void);
/* A forward pass. record_gradients 0: values only. */
SEAM_API seam_status seam_context_create(seam_runtime *runtime, int32_t record_gradients, seam_context **out,
                                         seam_error **error);
/* Releases the pass and every handle made in it. */
SEAM_API void seam_context_release(seam_context *ctx);
/* The error latched in the pass, as an error object; SEAM_OK when there is none. */
SEAM_API seam_status seam_context_error(seam_context *ctx, seam_error **error);
/* x as a leaf that wants a gradient: same values. NULL on failure, latched. */
SEAM_API seam_tensor *seam_context_leaf(seam_context *ctx, seam_tensor *x);
/* Gradients of `y` with respect to every leaf. seed (nullable for a scalar): the gradient of y. Once per pass. */
SEAM_API seam_status seam_context_backward(seam_context *ctx, seam_tensor *y, seam_tensor *seed, seam_error **error);
/* The gradient of a leaf after backward; NULL when none reached it. */
SEAM_API seam_tensor *seam_context_gradient(seam_context *ctx, seam_tensor *leaf);

#ifdef __cplusplus
}
#endif
#endif
