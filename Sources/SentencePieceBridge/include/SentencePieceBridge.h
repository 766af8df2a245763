// The SentencePiece library behind C functions, which no C++ exception leaves.
#ifndef SENTENCEPIECE_BRIDGE_H
#define SENTENCEPIECE_BRIDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct spbridge_model spbridge_model;

/// The tokens that a model marks by their purpose.
enum { SPBRIDGE_UNKNOWN, SPBRIDGE_BEGIN, SPBRIDGE_END, SPBRIDGE_PADDING };

/// Reads a model file. NULL on failure, with at most `capacity` bytes of what the library says, ended by a zero,
/// in `error`. The model goes back by `spbridge_close`. Every other function may be called from any thread.
spbridge_model *spbridge_open(const char *path, char *error, size_t capacity);
void spbridge_close(spbridge_model *model);

int32_t spbridge_size(const spbridge_model *model);

/// The token of an id from 0 to the size; lives as long as the model.
const char *spbridge_token(const spbridge_model *model, int32_t id, size_t *count);

/// The id of a token, -1 where there is none.
int32_t spbridge_id(const spbridge_model *model, const char *token, size_t count);

/// The id of the token of a purpose, -1 where there is none.
int32_t spbridge_named(const spbridge_model *model, int purpose);

/// The ids of a text, in memory from malloc; 0 on success, else the library or the memory failed.
int spbridge_encode(const spbridge_model *model, const char *text, size_t count, int32_t **ids, size_t *id_count);

/// The text of tokens, in memory from malloc; 0 on success.
int spbridge_decode(const spbridge_model *model, const char *const *tokens, size_t count, char **text,
                    size_t *text_count);

#ifdef __cplusplus
}
#endif

#endif
