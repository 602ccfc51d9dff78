#pragma once
// Texts -> ids in one flat table: the look-up that every piece of a text needs.

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

inline uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15u;
  uint64_t hash = bytes.size() * kOdd;
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = (std::rotl(hash, 29) ^ word) * kOdd;
  }
  uint64_t tail = 0;
  for (size_t i = 0; i < left; ++i) tail |= uint64_t(uint8_t(at[i])) << (8 * i);
  hash = (std::rotl(hash, 29) ^ tail) * kOdd;
  return hash ^ hash >> 32;
}

// Open addressing over tokens that the caller keeps: every call gets the same vector, indexed by id.
class TokenIndex {
 public:
  // Empty tokens are left out; of equal ones the first stays, or the last with `last_wins`.
  explicit TokenIndex(const std::vector<std::string>& tokens, bool last_wins = false) {
    slots_.resize(std::bit_ceil(tokens.size() * 2 + 16));
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (tokens[id].empty()) continue;
      Slot& slot = slots_[find_slot(tokens, tokens[id], hash_bytes(tokens[id]))];
      if (slot.id < 0 || last_wins) slot = {uint32_t(hash_bytes(tokens[id])), int32_t(id)};
    }
  }

  int32_t find(const std::vector<std::string>& tokens, std::string_view token) const {  // -1 when absent
    return slots_[find_slot(tokens, token, hash_bytes(token))].id;
  }

 private:
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;
  };

  size_t find_slot(const std::vector<std::string>& tokens, std::string_view token, uint64_t hash) const {
    size_t at = size_t(hash >> 16) & (slots_.size() - 1);
    while (slots_[at].id >= 0 && (slots_[at].hash != uint32_t(hash) || tokens[size_t(slots_[at].id)] != token))
      at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  std::vector<Slot> slots_;
};

}  // namespace trireme
