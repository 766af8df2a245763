// The header alone: nothing is linked, and the state is a value of a known size. XXH3, the newer hash, is left out.
#define XXH_INLINE_ALL
#define XXH_NO_XXH3
#include <xxhash.h>

// Swift does not see the names that the header gives its functions then.

typedef XXH64_state_t cxxhash_state;

/// Makes a state that nothing was added to, with seed 0.
static inline void cxxhash_reset(cxxhash_state *state) { XXH64_reset(state, 0); }

/// Adds bytes; NULL serves where there are none.
static inline void cxxhash_update(cxxhash_state *state, const void *bytes, size_t count) {
  XXH64_update(state, bytes, count);
}

/// The hash of what was added so far; more may be added.
static inline XXH64_hash_t cxxhash_value(const cxxhash_state *state) { return XXH64_digest(state); }
