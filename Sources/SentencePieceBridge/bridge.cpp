#include "SentencePieceBridge.h"

#include <sentencepiece_processor.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

struct spbridge_model {
  sentencepiece::SentencePieceProcessor processor;
};

namespace {

void copy(const std::string &text, char *target, size_t capacity) {
  if (capacity == 0) return;
  const size_t count = text.size() < capacity - 1 ? text.size() : capacity - 1;
  std::memcpy(target, text.data(), count);
  target[count] = 0;
}

/// What `body` gives, or `otherwise` where it throws, which only missing memory makes it do.
template <typename Result, typename Body> Result guarded(Result otherwise, Body body) noexcept {
  try {
    return body();
  } catch (...) {
    return otherwise;
  }
}

/// Copies to memory from malloc; false without memory.
template <typename Element>
bool hand_over(const Element *elements, size_t count, Element **target, size_t *target_count) {
  *target = static_cast<Element *>(std::malloc(count ? count * sizeof(Element) : 1));
  if (*target == nullptr) return false;
  if (count) std::memcpy(*target, elements, count * sizeof(Element));
  *target_count = count;
  return true;
}

} // namespace

extern "C" {

spbridge_model *spbridge_open(const char *path, char *error, size_t capacity) {
  try {
    auto model = std::make_unique<spbridge_model>();
    const auto status = model->processor.Load(path);
    if (status.ok()) return model.release();
    copy(status.ToString(), error, capacity);
  } catch (const std::exception &exception) {
    copy(exception.what(), error, capacity);
  } catch (...) {
    copy("an unknown failure", error, capacity);
  }
  return nullptr;
}

void spbridge_close(spbridge_model *model) { delete model; }

int32_t spbridge_size(const spbridge_model *model) { return model->processor.GetPieceSize(); }

const char *spbridge_token(const spbridge_model *model, int32_t id, size_t *count) {
  const std::string &token = model->processor.IdToPiece(id);
  *count = token.size();
  return token.data();
}

int32_t spbridge_id(const spbridge_model *model, const char *token, size_t count) {
  return guarded<int32_t>(-1, [&] {
    const std::string_view wanted(token, count);
    const int id = model->processor.PieceToId(wanted);
    // The library gives the unknown token for what it does not know.
    return model->processor.IdToPiece(id) == wanted ? id : -1;
  });
}

int32_t spbridge_named(const spbridge_model *model, int purpose) {
  switch (purpose) {
    case SPBRIDGE_UNKNOWN: return model->processor.unk_id();
    case SPBRIDGE_BEGIN: return model->processor.bos_id();
    case SPBRIDGE_END: return model->processor.eos_id();
    case SPBRIDGE_PADDING: return model->processor.pad_id();
    default: return -1;
  }
}

int spbridge_encode(const spbridge_model *model, const char *text, size_t count, int32_t **ids, size_t *id_count) {
  return guarded(1, [&] {
    std::vector<int> found;
    if (!model->processor.Encode(std::string_view(text, count), &found).ok()) return 1;
    return hand_over<int32_t>(found.data(), found.size(), ids, id_count) ? 0 : 1;
  });
}

int spbridge_decode(const spbridge_model *model, const char *const *tokens, size_t count, char **text,
                    size_t *text_count) {
  return guarded(1, [&] {
    const std::vector<std::string> pieces(tokens, tokens + count);
    std::string result;
    if (!model->processor.Decode(pieces, &result).ok()) return 1;
    return hand_over<char>(result.data(), result.size(), text, text_count) ? 0 : 1;
  });
}
}
