/* What a plugin offers: adapters and backbones, as const tables behind one exported function.
 *
 * The host reads the tables after dlopen and may keep pointers into them until it unloads the library.
 * Arrays are arrays of pointers, so that structs can grow. Strings are UTF-8. Everything in the tables
 * is const, may be read from any thread, and has no initialisation of its own: calling the entry again
 * gives the same pointer.
 *
 * Names and numbers are checked when a plugin is loaded or an instance is made, and the first one that is wrong refuses
 * it, with a sentence. Ids and the names of seams, options and methods have 1 to 100 characters of [a-z0-9._-], the
 * first of [a-z0-9]; those of parameters may have capitals, too. Each is there once among its kind. Arrays have at most
 * 1000 entries, none of them NULL, and an instance at most 2^20 parameters.
 *
 * A function that the host calls must return: it must not throw, longjmp over the host, exit, or fork and go on. What
 * it does otherwise leaves the host's session unusable or ends the process. Within a pass a plugin calls seam_ops and
 * seam_host only, no function of client.h. Since 1.0. */
#ifndef SEAM_PLUGIN_H
#define SEAM_PLUGIN_H

#include "base.h"
#include "ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- What the host gives a plugin */

/* Options of an adapter or backbone, or a model's config.json: names to values. Keys of nested objects
 * are joined by dots ("rope_scaling.factor"), and an element of a list has its number for a key, from 0
 * ("eos_token_id.1"). Owned by the host. */
typedef struct seam_config seam_config;

/* A pretrained model on disk: its config.json and its tensors, already validated. Owned by the host. */
typedef struct seam_model seam_model;

/* [thread-safe] The host's services outside a forward. Lives as long as the instances that were made with it. */
typedef struct seam_host {
  uint32_t struct_size;
  uint32_t abi_major;
  uint32_t abi_minor;
  void *runtime; /* the host's own; plugins leave it alone */

  /* Sets *error (nullable: then nothing happens) to a new error; `message` is copied. Returns `code`, so that
   * a failing function can `return host->set_error(...)`; SEAM_PLUGIN for SEAM_OK and for a code that is none. A
   * function that has set an error has failed, whatever it returns. */
  seam_status (*set_error)(seam_error **error, seam_status code, const char *message);
  void (*log)(const struct seam_host *host, seam_log_level level, const char *message);

  /* Typed reads. SEAM_NOT_FOUND when the key is absent or, but for config_json, null, and *out is left alone;
   * SEAM_INVALID_ARGUMENT when it has another type (config_double accepts integers). No error object is
   * made. Strings are borrowed from the config and live as long as it. */
  seam_status (*config_bool)(const seam_config *config, const char *key, int32_t *out);
  seam_status (*config_int)(const seam_config *config, const char *key, int64_t *out);
  seam_status (*config_double)(const seam_config *config, const char *key, double *out);
  seam_status (*config_string)(const seam_config *config, const char *key, const char **out);
  /* How many elements a list has, or keys an object; SEAM_INVALID_ARGUMENT for any other value. */
  seam_status (*config_count)(const seam_config *config, const char *key, int64_t *out);
  /* Any value, lists, objects and null too, as JSON text without line breaks; borrowed likewise. key "": the whole
   * config. */
  seam_status (*config_json)(const seam_config *config, const char *key, const char **out);
  /* During create only: replaces a declared option by what the plugin resolved it to ("auto" to its
   * choice), so that the saved adapter is rebuilt the same. */
  seam_status (*config_set_string)(seam_config *config, const char *key, const char *value);

  /* The model's config.json, or what it would be for a GGUF file. */
  const seam_config *(*model_config)(const seam_model *model);
  /* Shape of a tensor; *rank is its rank. SEAM_NOT_FOUND when the model has no such tensor. */
  seam_status (*model_tensor)(const seam_model *model, const char *name, int64_t shape[SEAM_MAX_RANK], int32_t *rank);

  /* A table of functions beyond this header, by its id, "seam.NAME/REVISION" or, of others, reverse DNS with a revision
   * ("org.example.trace/1"); NULL: the host has none of that id. Const, lives as long as the host. */
  const void *(*extension)(const struct seam_host *host, const char *id);
} seam_host;

/* ---- What every pass has */

/* One pass through an adapter or a backbone, as its functions are given it. [during forward] */
typedef struct seam_pass {
  uint32_t struct_size;
  /* 1: a pass of a training: it will be differentiated, and dropout drops; 0: any other, also one whose gradient a
   * caller takes */
  int32_t training;
  seam_context *ctx;
  const seam_ops *ops;
  /* The instance's, in declared order; in a forward or a fold at a point the shared ones, then the point's. */
  seam_tensor *const *parameters;
  size_t parameter_count;
  /* Of the tokens whose states flow here, each NULL where it is not known: which are tokens (1) and which padding (0),
   * their positions in the text, and which the model generated itself (1) after a prompt or a start token (0); in
   * teacher forcing the tokens that are a label that counts stand for generated ones, and without labels none is known.
   * Inside the layers of a backbone, and [batch, n] i32; of encode, decode and other seams NULL. */
  seam_tensor *attention_mask;
  seam_tensor *position_ids;
  seam_tensor *generated_mask;
} seam_pass;

/* ---- What a plugin declares */

/* One option of a factory. The host refuses unknown keys and wrong values before the plugin sees them,
 * and fills in defaults, so a plugin only reads. "learning_rate" is reserved: a training gives it to every adapter. */
typedef int32_t seam_option_kind;
enum { SEAM_OPTION_BOOL = 0, SEAM_OPTION_INT = 1, SEAM_OPTION_DOUBLE = 2, SEAM_OPTION_STRING = 3 };

typedef struct seam_option {
  uint32_t struct_size;
  seam_option_kind kind;
  const char *name;
  const char *default_value; /* as JSON: "1.0", "\"ones\"", "true" */
  const char *choices;       /* nullable; the allowed strings, joined by '|' */
  double minimum, maximum;   /* allowed range of a number, an end may be infinite; both 0: any */
  const char *doc;           /* one sentence */
} seam_option;

/* How the host fills a parameter before training. The generator is seeded by the session, one stream a
 * parameter, so that adding a parameter does not change another. */
typedef int32_t seam_init;
enum {
  SEAM_INIT_ZEROS = 0,
  SEAM_INIT_ONES = 1,
  SEAM_INIT_CONSTANT = 2,       /* a */
  SEAM_INIT_NORMAL = 3,         /* mean a, standard deviation b */
  SEAM_INIT_UNIFORM = 4,        /* from a to b */
  SEAM_INIT_XAVIER_UNIFORM = 5, /* Glorot and Bengio 2010, gain a, from the last two sizes */
  SEAM_INIT_XAVIER_NORMAL = 6,
  SEAM_INIT_DATA = 7,  /* copied from `data` */
  SEAM_INIT_MODEL = 8, /* backbones: the model's tensor of this name: mapped, or f32 if quantised */
  /* Rank 2 or more, gain a: as [first size, the others together], orthonormal rows or, where there are more rows than
   * columns, columns (Saxe et al. 2014). */
  SEAM_INIT_ORTHOGONAL = 9
};

/* Bits of seam_parameter.flags. */
typedef uint32_t seam_parameter_flags;
enum { SEAM_PARAMETER_FROZEN = 1 }; /* a constant that is saved with the others but never trained */

/* The host presets `point` to -1. A name may have parts between dots, none of them empty; "a" and "a.b" are not there
 * together. The sizes of a shape are 0 or more and, 0 counted as 1, at most 2^40 together; all parameters together fit
 * the machine's memory. Every value at the start is finite in f32. */
typedef struct seam_parameter {
  uint32_t struct_size;
  seam_parameter_flags flags;
  const char *name; /* borrowed until the instance is destroyed, as is data */
  int32_t rank;
  seam_init init;
  int64_t shape[SEAM_MAX_RANK];
  double a, b;
  const float *data;
  /* an adapter's at a seam inside the layers: the index in seam_site.points of the point that it belongs to, where its
   * name is the point's own; -1: shared by all points. A saved adapter has it as "decoder.0.q.NAME" */
  int64_t point;
} seam_parameter;

/* ---- Methods: functions of a plugin's own, called by name through libffi */

/* Bits of seam_method.flags. */
typedef uint32_t seam_method_flags;
enum { SEAM_METHOD_RECORDED = 1 }; /* a tensor without arguments, whose values a trainer records over the steps */

/* `signature` is the C prototype without names, first the result, e.g.
 *   "seam_tensor *(void *, const seam_pass *, double)"
 * Every method takes the adapter's instance and the pass first. Results: void, int64_t, double, const char * (borrowed
 * until the next call on the adapter), seam_tensor *. Arguments after those two: int64_t, double, const char *,
 * seam_tensor *. A method fails with seam_ops.fail. */
typedef struct seam_method {
  uint32_t struct_size;
  seam_method_flags flags;
  const char *name;
  const char *signature;
  const char *doc;
  void (*function)(void);
} seam_method;

/* ---- Adapters */

/* The seams of version 1.0, by name. A backbone lists those it has, an adapter those it can attach to; decoder.output,
 * with prefix_layers the two of prefixes, and those that a point is of need not be listed.
 *
 * "encoder.output": inputs hidden [batch, source, d_model] f32 and mask [batch, source] i32 (1: a token,
 * 0: padding); one output, hidden of the same shape. */
#define SEAM_ENCODER_OUTPUT "encoder.output"
enum { SEAM_ENCODER_OUTPUT_HIDDEN = 0, SEAM_ENCODER_OUTPUT_MASK = 1 };

/* "decoder.output": inputs scores [batch, classes] f32, the backbone's for each class, and hidden
 * [batch, d_model] f32, its state where the answer stands; one output, scores of the same shape. The seam of a
 * classification: seam_site.classes is positive. Nothing of the backbone lies behind it, so every backbone has it.
 * Where it is trained together with adapters on other seams, the scores are 0 and hidden is the pooled vector of the
 * text.
 *
 * An adapter whose factory has reads_prompts reads the answers to several prompts about each text, seam_site.prompts of
 * them, always the same ones in the same order: inputs scores [batch, prompts, classes] and hidden [batch, prompts,
 * d_model], of one prompt too; its output is scores [batch, classes]. It comes first: the adapters behind it read its
 * output as the answer to one prompt, with the mean of hidden over the prompts. */
#define SEAM_DECODER_OUTPUT "decoder.output"
/* What the scores that enter decoder.output are, all of them or unknown. */
typedef int32_t seam_score_kind;
enum {
  SEAM_SCORES_UNKNOWN = 0,
  /* any real numbers, of which a softmax makes probabilities */
  SEAM_SCORES_LOGITS = 1,
  /* natural logarithms; over other words than the classes', so their sum is below 1 */
  SEAM_SCORES_LOG_PROBABILITIES = 2,
  /* likewise, from 0 to 1 */
  SEAM_SCORES_PROBABILITIES = 3,
  /* cosines, from -1 to 1 */
  SEAM_SCORES_SIMILARITIES = 4
};
enum { SEAM_DECODER_OUTPUT_SCORES = 0, SEAM_DECODER_OUTPUT_HIDDEN = 1 };

/* Attentions that can be given a prefix: an encoder's over its own tokens, a decoder's over its own, and a decoder's
 * over the encoder's. */
enum { SEAM_PREFIX_ENCODER = 0, SEAM_PREFIX_DECODER = 1, SEAM_PREFIX_CROSS = 2 };
#define SEAM_PREFIX_ATTENTIONS 3

/* "attention.prefix": keys and values that stand before those of the tokens, seen by every token. Layer by layer, since
 * their widths may differ: one input for each layer of each of the SEAM_PREFIX_ATTENTIONS attentions in turn, as many
 * as seam_backbone_info.prefix_layers says, what the adapter before gave, and as many outputs, what all have given up
 * to here: [2, kv_heads, prefix, head_dim] f32, keys at 0 and values at 1; NULL: no prefix there. All layers of an
 * attention have as many tokens. Inputs may be NULL, and are for the first adapter. The same for every example; an
 * output may not depend on anything but inputs and parameters.
 * The keys are used as they are: no rotation and no projection is applied to them. In a decoder, and in a model with an
 * encoder alone, the prefix takes the first positions and the text follows it, as with past_key_values in transformers;
 * in the encoder of an encoder-decoder and in cross-attention it has no position and no bias. */
#define SEAM_ATTENTION_PREFIX "attention.prefix"

/* "prefix.tokens": what has left attention.prefix, weighted. Inputs and outputs as there; an output has the shape of
 * its input, or is NULL as that is. Runs after all adapters on attention.prefix; every backbone with that seam has this
 * one. */
#define SEAM_PREFIX_TOKENS "prefix.tokens"

/* ---- Points: seams inside a backbone */

/* Which half of a model. */
typedef int32_t seam_stack;
enum { SEAM_STACK_ENCODER = 0, SEAM_STACK_DECODER = 1 };

/* "layer.output": one input, hidden [batch, n, d_model] f32 as it leaves a layer (of post-norm models behind the last
 * norm); one output of the same shape. */
#define SEAM_LAYER_OUTPUT "layer.output"

/* "projection": a matrix of a layer, y = x weight^T + bias. Before the product: inputs x [batch, n, in], weight [out,
 * in] and bias [out] (NULL where there is none), one output of x's shape, which is projected instead. After it: the
 * same inputs and y [batch, n, out], one output of y's shape. */
#define SEAM_PROJECTION "projection"
enum { SEAM_PROJECTION_X = 0, SEAM_PROJECTION_WEIGHT = 1, SEAM_PROJECTION_BIAS = 2, SEAM_PROJECTION_Y = 3 };

/* When the visitor is called at a point of seam "projection"; elsewhere always after. */
typedef uint32_t seam_phases;
enum { SEAM_PHASE_BEFORE = 1, SEAM_PHASE_AFTER = 2 };

/* "prompt.embedding": the embedded tokens of a stack, before its first layer. Inputs x [batch, n, d_model] f32 and mask
 * [batch, n] i32 (1: a token, 0: padding); outputs: vectors [1 or batch, prompt, d_model] that are put before those of
 * the text (NULL: none), and x itself, changed, of its shape (NULL: as it is). The number of vectors is the same in
 * every call, and the first positions are theirs. */
#define SEAM_PROMPT_EMBEDDING "prompt.embedding"
enum { SEAM_PROMPT_EMBEDDING_X = 0, SEAM_PROMPT_EMBEDDING_MASK = 1 };
enum { SEAM_PROMPT_EMBEDDING_PROMPT = 0, SEAM_PROMPT_EMBEDDING_CHANGED = 1 };

/* One place inside a backbone. Projections have the names "q", "k", "v" and "o" of attention over a stack's own tokens,
 * "cross_q" ... of a decoder's over the encoder's, "gate", "up" and "down" of the feed-forward network; one matrix that
 * does the work of several is one point whose name joins theirs ("qkv"), with the parts of its output in order. */
typedef struct seam_point {
  uint32_t struct_size;
  seam_stack stack;
  int32_t is_transposed; /* projection, 0 or 1: how its parameter lies, see weight_parameter */
  const char *seam;
  const char *name; /* "" for a whole layer and for embedded tokens */
  int64_t layer;    /* from 0; 0 for embedded tokens */
  int64_t input_width, output_width;
  const char *const *part_names; /* NULL: it is one */
  const int64_t *part_widths;
  size_t part_count;
  /* projection: the name of the backbone's parameter that is its matrix, [out, in] or, where is_transposed is 1, [in,
   * out];
   * NULL: none is, and nothing can be merged into it */
  const char *weight_parameter;
  const char *bias_parameter; /* likewise, [out]; NULL: it has no bias */
} seam_point;

/* What a backbone hands over at a point. */
typedef struct seam_visit {
  uint32_t struct_size;
  seam_phases phase;   /* one of them */
  size_t point;        /* index in seam_backbone_info.points */
  seam_tensor *x;      /* projection: as the seam says; else NULL */
  seam_tensor *weight; /* likewise */
  seam_tensor *bias;   /* likewise, nullable */
  /* in: what flows, x before a projection and y after it, hidden at layer.output, x at prompt.embedding; out: what goes
   * on in its place. After a projection or a layer the handle that went in must not be used any more: an adapter may
   * have its memory written (seam_ops.linear_low_rank) */
  seam_tensor *value;
  /* prompt.embedding, else NULL. In: those of the tokens in value, NULL where all are tokens, and where positions are
   * counted from what came before. Out: those of what goes on, which may have more positions, [batch, n] i32: the
   * backbone goes on with these three in the place of its own. What came before, in a state, has been given in earlier
   * calls. */
  seam_tensor *attention_mask;
  seam_tensor *position_ids;
} seam_visit;

/* The host's side of a pass with points that somebody wants. A backbone asks `wanted` at each of its points, so that
 * the others cost nothing, and calls `visit` with a struct of its own. The pass that it hands on says what it knows of
 * the tokens there (attention_mask and what follows). A visitor may not be kept beyond the pass. */
typedef struct seam_visitor {
  uint32_t struct_size;
  const uint8_t *wanted; /* seam_phases of each point of seam_backbone_info.points; 0: nobody wants it */
  size_t point_count;
  void (*visit)(const struct seam_visitor *visitor, const seam_pass *pass, seam_visit *io);
  void *host; /* the host's own */
} seam_visitor;

/* Where an adapter is attached. Zero: unknown or unlimited. */
typedef struct seam_site {
  uint32_t struct_size;
  int32_t backbone_frozen;    /* 1: only adapters are trained; 0: the backbone is trained with them */
  seam_score_kind score_kind; /* decoder.output: what the scores are */
  const char *seam;           /* borrowed during create, as all that the site points to */
  const struct seam_backbone_info *backbone;
  int64_t classes; /* of the classification that the adapter is part of; 0: none */
  int64_t prompts; /* decoder.output: about each text, 1 or more; always 1 where the factory has no reads_prompts */
  int64_t prefix_length[SEAM_PREFIX_ATTENTIONS]; /* tokens of what enters the seam, by attention; 0: none */
  /* of a seam inside the layers, those it is attached to, in the backbone's order: one or more; else NULL */
  const seam_point *const *points;
  size_t point_count;
} seam_site;

/* What flows through an adapter: it reads the inputs and fills every outputs[i], which is NULL on entry. */
typedef struct seam_forward {
  uint32_t struct_size;
  seam_phases phase;          /* at a projection: one of them */
  int64_t point;              /* index in seam_site.points; -1 at seams that have none */
  seam_tensor *const *inputs; /* as the seam defines */
  size_t input_count;
  seam_tensor **outputs;
  size_t output_count;
} seam_forward;

/* What an adapter may look at before its first training step, to start from the data: what flows into its seam, through
 * the adapters that are attached before it.
 *
 * Inputs are those of its forward, with all examples along the batch axis; rows shorter than the longest are filled
 * with 0 behind their own. At a point seam_pass.attention_mask says which are tokens, and generated_mask is given where
 * it is known of every example.
 * - encoder.output, decoder.output, layer.output, prompt.embedding: as the seam defines them.
 * - projection: x, weight, bias and y, as after the product.
 * - attention.prefix: the keys and values of one text, [2, kv_heads, n, head_dim] for each layer of each attention, as
 *   a prefix of the same tokens has them (rotated where the backbone rotates keys); NULL for a decoder's own attention
 *   where the text has no target.
 * - prefix.tokens: as the seam defines them, without examples. */
typedef struct seam_prepare {
  uint32_t struct_size;
  /* index in seam_site.points: at a seam that has points there is one call for each, in their order; -1 at other
   * seams */
  int64_t point;
  seam_tensor *const *inputs;
  size_t input_count;
  seam_tensor *labels;       /* [examples] i32: the class of each, every class has one; NULL where there are none */
  seam_tensor *empty_scores; /* decoder.output: the scores [1, classes] for an empty text, of a factory that has
                              * reads_prompts [1, prompts, classes]; else NULL */
  seam_tensor **values; /* out: one for each parameter of the instance, in declared order, NULL on entry; a tensor of a
                              * parameter's shape becomes its value, of frozen ones too; NULL leaves it. They are taken
                              * after the last call, and of several for one parameter the last */
  size_t value_count;
} seam_prepare;

/* From the parameters of an instance to those of one that was created with the same options and "folded": true. */
typedef struct seam_fold {
  uint32_t struct_size;
  seam_tensor **values; /* out: one for each parameter of the folded instance, in its declared order; NULL on entry */
  size_t value_count;
} seam_fold;

/* What a projection's matrix becomes: y = x weight^T + bias gives what the adapter gave. */
typedef struct seam_fold_weight {
  uint32_t struct_size;
  int64_t point;              /* index in seam_site.points */
  seam_tensor *weight;        /* [out, in] */
  seam_tensor *bias;          /* [out]; nullable */
  seam_tensor *folded_weight; /* out: [out, in] f32 */
  seam_tensor *folded_bias;   /* out: [out] f32; NULL where bias is, and else where it stays */
} seam_fold_weight;

/* While an instance is not trained, its forward may be called on several threads at once, each with a pass of its own:
 * it changes nothing that *self points to. Other calls on one instance never overlap. create and destroy are called on
 * any thread, and on different instances everything may be called at once, also while others are made and destroyed:
 * what instances share is the plugin's to guard. */
typedef struct seam_adapter_factory {
  uint32_t struct_size;
  int32_t reads_prompts;    /* 1: at decoder.output it reads several prompts about each text; 0: one */
  const char *id;           /* unique among all loaded plugins; what users type: "repcali" */
  const char *summary;      /* one sentence, with the paper */
  const char *const *seams; /* those it can attach to; the first is the default */
  size_t seam_count;
  const seam_option *const *options;
  size_t option_count;
  const seam_method *const *methods;
  size_t method_count;

  /* Makes an instance for a site, or fails through host->set_error. *self (nullable) is the plugin's own, NULL on
   * entry.
   * Where create fails, by its status or by an error that it has set, it has released what it made: destroy is not
   * called. */
  seam_status (*create)(const seam_host *host, seam_config *options, const seam_site *site, void **self,
                        seam_error **error);
  void (*destroy)(void *self);
  size_t (*parameter_count)(void *self);
  /* Fills *out, as base.h says; index < parameter_count. */
  void (*parameter)(void *self, size_t index, seam_parameter *out);
  void (*forward)(void *self, const seam_pass *pass, seam_forward *io);
  /* Called before the first step of a training that starts from new, once or once for each point; not when an adapter
   * is loaded. Nullable. An adapter all of whose parameters are frozen is fitted by this alone. What the calls for
   * several points are to have in common the instance may keep from one to the next: the one for point 0 begins
   * anew. */
  void (*prepare)(void *self, const seam_pass *pass, seam_prepare *io);
  /* Computes away what training needs and inference does not: the folded instance gives the same outputs. Nullable; a
   * factory that has it declares the bool option "folded", false by default. Not called on a folded instance. */
  void (*fold)(void *self, const seam_pass *pass, seam_fold *io);
  /* Seams inside the layers. The options "layers" and "targets", which choose among a backbone's points, are the host's
   * and may not be declared. Projections that it attaches to where a user names none, joined by '|' ("q|v"); NULL:
   * all. */
  const char *default_targets;
  /* At which phases it wants a projection; asked once for each point. Nullable: after. */
  seam_phases (*phases)(void *self, size_t point);
  /* An adapter on projections that is linear in the weight. Nullable: it cannot be merged. */
  void (*fold_weight)(void *self, const seam_pass *pass, seam_fold_weight *io);
} seam_adapter_factory;

/* ---- Backbones */

typedef int32_t seam_backbone_kind;
enum {
  SEAM_BACKBONE_TRACED = 0, /* computes with seam_ops: gradients flow wherever the engine offers them */
  SEAM_BACKBONE_OPAQUE = 1  /* computes by itself; gradients flow only through `vjp` */
};

/* Which functions of the factory a backbone is run with. */
typedef int32_t seam_architecture;
enum {
  SEAM_ENCODER_DECODER = 0, /* encode, then decode over its hidden states */
  SEAM_ENCODER_ONLY = 1,    /* encode; head and pool read its hidden states */
  SEAM_DECODER_ONLY = 2,    /* decode, without encoder states */
  SEAM_TEXT = 3             /* query: it reads text by itself */
};

/* What a backbone is. Zero: none, unknown, unlimited; the host presets the ids of tokens to -1, which is none. Strings
 * and arrays are borrowed until the backbone is destroyed. Layers are at most 2^16, positions, vocabularies and ids at
 * most 2^31 - 1, other numbers at most 2^20. */
typedef struct seam_backbone_info {
  uint32_t struct_size;
  seam_backbone_kind kind;
  seam_architecture architecture;
  int32_t has_head;   /* 1: scores of the vocabulary can be had; 0: hidden states only, as of a sentence encoder */
  const char *family; /* "t5", "bart", "marian" ... */
  /* nullable: what tells it apart from other models, where it has no files: a server's address and the model's name
   * there.
   * Answers are kept on disk under it. */
  const char *identity;
  const char *const *seams;
  size_t seam_count;
  int64_t d_model;
  int64_t encoder_layers, decoder_layers;
  int64_t heads, kv_heads, head_dim;
  int64_t max_source_positions, max_target_positions;
  int64_t vocab_size;
  int64_t source_vocab_size; /* where sources have a vocabulary of their own; 0: vocab_size serves both */
  int64_t decoder_start_token_id, pad_token_id, bos_token_id, mask_token_id;
  const int64_t *eos_token_ids; /* each ends a text */
  size_t eos_token_count;
  /* Layers whose attention takes a prefix, at most those of its stack (of cross-attention the decoder's); which ones,
   * in order, is the backbone's own. 0: none. A traced backbone where one is not. */
  int64_t prefix_layers[SEAM_PREFIX_ATTENTIONS];
  const int64_t *prefix_kv_heads[SEAM_PREFIX_ATTENTIONS]; /* those of each such layer; NULL: kv_heads in all */
  const int64_t *prefix_head_dim[SEAM_PREFIX_ATTENTIONS]; /* likewise; NULL: head_dim in all */
  int64_t max_prefix_length[SEAM_PREFIX_ATTENTIONS]; /* tokens that a prefix may have where it takes positions, which
                                                      * the text then has not; 0: it takes none, any length */
  const seam_point *const *points;                   /* at most 2^16; traced backbones */
  size_t point_count;
  /* Where sources are not tokens but features (sound, patches of an image): the numbers of a frame, and how many frames
   * are one position of the hidden states, 1 or more; 0 and 0: sources are token ids. Positions, also
   * max_source_positions, are those of the hidden states; of the frames' mask the first of each group is theirs, at
   * encoder.output, in cross-attention and for pool. */
  int64_t feature_width;
  int64_t feature_stride;
  /* Of encode and of decode. 1: it honours start_layer, start_state and stop_layer, so that a training of upper layers
   * computes the lower ones once for each example; 0: it is never given them. Traced backbones. */
  int32_t encodes_layer_ranges;
  int32_t decodes_layer_ranges;
} seam_backbone_info;

/* Decoding state (past keys and values): the backbone's own. */
typedef struct seam_state seam_state;

/* Source tokens to hidden states. Outputs are NULL on entry, here and in the structs that follow. */
typedef struct seam_encode {
  uint32_t struct_size;
  seam_tensor *input_ids;      /* [batch, source] i32, ids checked against the source's vocabulary; NULL for features */
  seam_tensor *input_features; /* [batch, frames, feature_width] f32; NULL for tokens */
  seam_tensor *attention_mask; /* [batch, source] i32; of features [batch, frames] */
  seam_tensor *token_type_ids; /* [batch, source] i32: which of two texts a token is of; NULL: all of the first */
  /* of attention.prefix, one for each encoder layer that takes a prefix (seam_backbone_info.prefix_layers of them, in
   * the order of the layers); NULL: none */
  const seam_prefix *const *prefix;
  const seam_visitor *visitor; /* NULL: nobody wants a point */
  seam_tensor *hidden;         /* out: [batch, source, d_model], longer by what was put before the source at
                                * prompt.embedding; of features [batch, frames / feature_stride rounded up, d_model] */
  seam_tensor **keys_values;   /* NULL: nobody wants them. Else one entry for each encoder layer that takes a prefix,
                                * NULL on entry; out: [2, batch, kv_heads, positions, head_dim], keys and values of the
                                * tokens as attention reads them. A backbone that has none leaves them NULL */
  /* A part of the layers, where the backbone has encodes_layer_ranges; both 0: all of them. At most one of start_layer
   * and stop_layer is not 0, and neither is more than encoder_layers. The cut is where layer.output is: behind a layer,
   * before its layer.output is visited.
   * stop_layer: the layers before this one run, and hidden is what leaves the last of them; nobody is called at its
   * layer.output, and a norm behind the layers is not applied.
   * start_layer: the layers before this one do not run, and nothing is embedded: start_state is what left the last of
   * them, as stop_layer gave it for these rows, with 0 at padding, of which there may be more or less. layer.output of
   * layer start_layer - 1 is visited first, then all goes on as in a whole run: ids or features and mask are the
   * source's, and positions, biases, masks and prefixes of the layers that run are as ever. With start_layer =
   * encoder_layers only that visit and the norm behind the layers are left.
   * Points of layers that do not run are not visited, nor, with start_layer, is prompt.embedding: the host wants none
   * of them then. In either case nothing is put before the source at prompt.embedding, and keys_values is NULL. */
  int64_t start_layer;
  int64_t stop_layer;
  seam_tensor *start_state; /* [batch, source, d_model], of features of the shape of hidden; NULL without start_layer */
} seam_encode;

/* Target tokens, given what left the encoder.output seam, to scores. In a decoder-only backbone the tokens are all
 * there is. */
typedef struct seam_decode {
  uint32_t struct_size;
  int32_t hidden_only;            /* 1: leave logits NULL and save their product */
  seam_tensor *decoder_input_ids; /* [batch, target] i32 */
  /* [batch, seen + target] i32 over the target's own tokens, those the state has seen first; NULL: all are tokens.
   * seen: the most that a row of the state has seen; a row that has seen fewer has its own tokens first, the new ones
   * behind them, and then 0 */
  seam_tensor *attention_mask;
  /* [batch, target] i32; NULL: counted from what the state has seen; given where its rows have seen different numbers
   * of tokens, and target is 1 then */
  seam_tensor *position_ids;
  /* [batch, source, d_model]; NULL on later steps of a state, and without an encoder */
  seam_tensor *encoder_hidden;
  /* [batch, source] i32; given in every call, with 0 behind a source that is shorter than the longest that has joined
   * the state; NULL without an encoder */
  seam_tensor *encoder_attention_mask;
  /* nullable. Given: decoder_input_ids continue what the state has seen; the first call also stores what it needs of
   * encoder_hidden */
  seam_state *state;
  /* of attention.prefix, one for each decoder layer that takes a prefix (seam_backbone_info.prefix_layers of them, in
   * the order of the layers); NULL: none. With a state in every call: the state keeps none of it, and its tokens count
   * neither to the state's capacity nor to attention_mask and position_ids, which are about the target's own tokens */
  const seam_prefix *const *prefix;
  /* the same, before the keys and values of encoder_hidden: one for each layer whose cross-attention takes a prefix */
  const seam_prefix *const *cross_prefix;
  const seam_visitor *visitor; /* NULL: nobody wants a point */
  seam_tensor *logits;         /* out: [batch, target, vocab_size], where target has what was put before the text at
                                * prompt.embedding, too */
  seam_tensor *hidden;         /* out: [batch, target, d_model], what the head reads */
  /* As seam_encode has it, for each decoder layer, of the target's own tokens and of encoder_hidden; each may be NULL.
   * Without a state. */
  seam_tensor **keys_values;
  seam_tensor **cross_keys_values;
  /* As seam_encode has them, with decodes_layer_ranges, up to decoder_layers and without a state: start_state is
   * [batch, target, d_model], and decoder_input_ids and masks are given as ever; position_ids too. With stop_layer
   * hidden_only is 1. encoder_hidden is given in either case: the layers that run look it up. */
  int64_t start_layer;
  int64_t stop_layer;
  seam_tensor *start_state;
} seam_decode;

/* Hidden states, as encode (encoder-only) or decode give them, to scores of the vocabulary: position by position. */
typedef struct seam_head {
  uint32_t struct_size;
  seam_tensor *hidden; /* [..., d_model] */
  seam_tensor *logits; /* out: [..., vocab_size] */
} seam_head;

/* Hidden states of a whole text to the one vector that stands for it. */
typedef struct seam_pool {
  uint32_t struct_size;
  seam_tensor *hidden;         /* [batch, source, d_model], from encode */
  seam_tensor *attention_mask; /* [batch, source] i32 */
  seam_tensor *pooled;         /* out: [batch, d_model] */
} seam_pool;

/* Texts to what decoder.output reads, for a backbone that is asked with text: a model behind an HTTP API. Strings are
 * UTF-8 and borrowed, arrays row-major and the host's. Rows may be filled in any order; only the first `answered`
 * count.
 * An answer that the model does not score gets an upper bound, never an infinity. */
typedef struct seam_query {
  uint32_t struct_size;
  const char *const *prompts;
  size_t prompt_count;
  const char *const *answers; /* words that may continue a prompt, with the space before them where there is one */
  size_t answer_count;
  int32_t (*should_continue)(void *user); /* nullable; asked between requests and while waiting, on the calling thread;
                                           * 0 stops with SEAM_CANCELLED */
  void *user;
  float *scores;    /* filled: [prompt_count, answer_count], natural logarithms of the answers' probabilities */
  float *hidden;    /* filled: [prompt_count, d_model] */
  size_t answered;  /* out: rows that are filled, the first ones; after a failure what came before it is not lost */
  int64_t requests; /* out: requests that were sent, repeated ones included */
} seam_query;

/* The gradient of an opaque backbone's decode: from that of its logits to that of encoder_hidden. */
typedef struct seam_decode_vjp {
  uint32_t struct_size;
  seam_tensor *decoder_input_ids; /* the same values that decode was given; the pass is a new one */
  seam_tensor *encoder_hidden;
  seam_tensor *encoder_attention_mask;
  seam_tensor *logits_gradient;         /* [batch, target, vocab_size] */
  seam_tensor *encoder_hidden_gradient; /* out: [batch, source, d_model] */
} seam_decode_vjp;

/* While an instance is not trained, encode, decode, decode_vjp, head, pool and, on different states, the functions of a
 * state may be called on several threads at once, each with a pass of its own: they change nothing that *self points
 * to.
 * Other calls on one instance never overlap. accepts, create and destroy are called on any thread, and on different
 * instances everything may be called at once, also while others are made and destroyed: what instances share is the
 * plugin's to guard. Failures inside encode, decode and decode_vjp go through seam_ops.fail. */
typedef struct seam_backbone_factory {
  uint32_t struct_size;
  const char *id; /* "transformer" */
  const char *summary;
  const seam_option *const *options;
  size_t option_count;

  /* How well this factory opens the model, judged by its config.json: 0 not at all, 100 as the one made for it. Among
   * all that are loaded the highest opens it; two of them are an error that names both. Where none does, create is
   * asked for the reason. Nullable: only by id. */
  int32_t (*accepts)(const seam_host *host, const seam_model *model);
  /* model is NULL for a backbone opened without a folder. *self is NULL on entry. Where create fails, by its status or
   * by an error that it has set, it has released what it made: destroy is not called. */
  seam_status (*create)(const seam_host *host, seam_config *options, const seam_model *model, void **self,
                        seam_error **error);
  void (*destroy)(void *self);
  /* Fills *out, as base.h says. */
  void (*info)(void *self, seam_backbone_info *out);
  size_t (*parameter_count)(void *self);
  void (*parameter)(void *self, size_t index, seam_parameter *out);

  /* Each nullable where no architecture of this factory's backbones runs it. */
  void (*encode)(void *self, const seam_pass *pass, seam_encode *io);
  void (*decode)(void *self, const seam_pass *pass, seam_decode *io);
  /* Opaque backbones; nullable: then no gradient passes. */
  void (*decode_vjp)(void *self, const seam_pass *pass, seam_decode_vjp *io);

  /* Incremental decoding; the first three or none. Without them the host runs whole histories. capacity: the most
   * target tokens the state will see, what is put before them at prompt.embedding included. Returns NULL after
   * seam_ops.fail. */
  seam_state *(*state_create)(void *self, const seam_pass *pass, int64_t batch, int64_t capacity);
  void (*state_destroy)(void *self, seam_state *state);
  /* New row i continues old row rows[i] (beam search, finished rows). May come before the first decode. */
  void (*state_select)(void *self, const seam_pass *pass, seam_state *state, const int32_t *rows, int64_t count);
  /* The rows of `other` come behind those of `state`; both have seen tokens, not always as many. The state can hold the
   * greater of both capacities afterwards. `other` is only destroyed then. Nullable: no row can join others. */
  void (*state_append)(void *self, const seam_pass *pass, seam_state *state, seam_state *other);

  /* Nullable: no backbone of this factory has a head by itself, or a pooled vector. */
  void (*head)(void *self, const seam_pass *pass, seam_head *io);
  void (*pool)(void *self, const seam_pass *pass, seam_pool *io);
  /* Backbones of architecture SEAM_TEXT, which need no encode and decode; else nullable. Fails through
   * host->set_error, with what was answered before in *io. */
  seam_status (*query)(void *self, seam_query *io, seam_error **error);
} seam_backbone_factory;

/* ---- The entry */

/* What a plugin needs beyond version 1.0. A host that lacks any of it refuses the plugin, with one sentence that lists
 * all that is missing. */
typedef struct seam_requirements {
  uint32_t struct_size;
  uint32_t abi_minor;            /* the least SEAM_ABI_MINOR of a host that will do */
  const char *const *operations; /* names in seam_ops: "linear_low_rank" */
  size_t operation_count;
  const char *const *extensions; /* ids for seam_host.extension */
  size_t extension_count;
} seam_requirements;

typedef struct seam_plugin {
  uint32_t struct_size;
  uint32_t abi_major; /* SEAM_ABI_MAJOR, SEAM_ABI_MINOR of the header it was compiled with */
  uint32_t abi_minor;
  const char *id; /* reverse DNS: "org.seamkit.repcali" */
  const char *version;
  const char *license; /* SPDX */
  const char *summary;
  const seam_adapter_factory *const *adapters;
  size_t adapter_count;
  const seam_backbone_factory *const *backbones;
  size_t backbone_count;
  const seam_requirements *requirements; /* nullable: none */
  /* A table of functions that the plugin offers beyond this header, by its id; NULL: none of that id. Nullable. Const,
   * valid until the library is unloaded. [thread-safe] */
  const void *(*extension)(const char *id);
} seam_plugin;

/* The one symbol a plugin exports. [thread-safe] May be called again and returns the same pointer, valid
 * until dlclose. */
#define SEAM_PLUGIN_ENTRY "seam_plugin_entry"
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const seam_plugin *seam_plugin_entry(void);

#ifdef __cplusplus
}
#endif
#endif
