#pragma once
// Reads and writes the fields of plain structs in order. A struct takes part by an overload of
// members(Is<T> auto& value) that ties its fields; reading and writing follow from that one list.

#include <bit>
#include <concepts>
#include <cstring>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "protocol/codec.h"

static_assert(std::endian::native == std::endian::little, "frames are written as the machine holds its integers");

namespace trireme::wire {

template <typename T, typename U>
concept Is = std::same_as<std::remove_const_t<T>, U>;

// Enumerators run from 0 to last_enumerator(E{}).
template <typename E>
concept WireEnum = std::is_enum_v<E> && requires {
  last_enumerator(E{});
};

// Fields gather in a piece of its own: a step's events are thousands of them, and a string grows by a call each.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  void flush() {  // before, the string lacks what was written last
    out_.append(piece_, used_);
    used_ = 0;
  }

  template <typename T>
  requires std::is_arithmetic_v<T>
  void write(T value) {
    if constexpr (std::same_as<T, bool>) return write(uint8_t(value));
    if (used_ + sizeof(T) > sizeof piece_) flush();
    std::memcpy(piece_ + used_, &value, sizeof(T));
    used_ += sizeof(T);
  }
  template <WireEnum E>
  void write(E value) {
    write(uint8_t(value));
  }
  void write(const std::string& text) {
    if (text.size() > kMaxTextBytes)
      throw WireError("a text of " + std::to_string(text.size()) + " bytes is too long to send");
    write(uint32_t(text.size()));
    if (text.empty()) return;
    flush();
    out_.append(text);
  }
  template <typename T>
  void write(const std::vector<T>& list) {
    if (list.size() > kMaxFrameBytes) throw WireError("a list is too long to send");
    write(uint32_t(list.size()));
    for (const T& item : list) write(item);
  }
  template <typename... Ts>
  void write(const std::variant<Ts...>& choice) {
    write(uint8_t(choice.index()));
    std::visit([this](const auto& value) { write(value); }, choice);
  }
  template <typename T>
  requires requires(const T& value) { members(value); }
  void write(const T& value) {
    std::apply([this](const auto&... fields) { (write(fields), ...); }, members(value));
  }

 private:
  std::string& out_;
  char piece_[1024];
  size_t used_ = 0;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  bool at_end() const { return rest_.empty(); }

  template <typename T>
  requires std::is_arithmetic_v<T>
  void read(T& value) {
    if constexpr (std::same_as<T, bool>) {
      uint8_t byte = 0;
      read(byte);
      if (byte > 1) throw WireError("malformed frame: a flag that is neither 0 nor 1");
      value = byte == 1;
    } else {
      std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    }
  }
  template <WireEnum E>
  void read(E& value) {
    uint8_t byte = 0;
    read(byte);
    if (byte > uint8_t(last_enumerator(E{})))
      throw WireError("malformed frame: unknown enumerator " + std::to_string(byte));
    value = E(byte);
  }
  void read(std::string& text) {
    const uint32_t size = count();
    if (size > kMaxTextBytes) throw WireError("malformed frame: a text of " + std::to_string(size) + " bytes");
    text = std::string(take(size));
  }
  template <typename T>
  void read(std::vector<T>& list) {
    const uint32_t size = count();  // <= bytes left; grows by push_back, so a lying count allocates nothing
    list.clear();
    for (uint32_t i = 0; i < size; ++i) read(list.emplace_back());
  }
  template <typename... Ts>
  void read(std::variant<Ts...>& choice) {
    uint8_t index = 0;
    read(index);
    if (!read_alternative(choice, index, std::index_sequence_for<Ts...>{}))
      throw WireError("malformed frame: unknown alternative " + std::to_string(index));
  }
  template <typename T>
  requires requires(T& value) { members(value); }
  void read(T& value) {
    std::apply([this](auto&... fields) { (read(fields), ...); }, members(value));
  }

 private:
  std::string_view take(size_t bytes) {
    if (bytes > rest_.size()) throw WireError("malformed frame: it ends in the middle of a field");
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }
  uint32_t count() {
    uint32_t size = 0;
    read(size);
    if (size > rest_.size())
      throw WireError("malformed frame: a count of " + std::to_string(size) + " exceeds the frame");
    return size;
  }
  template <typename Variant, size_t... I>
  bool read_alternative(Variant& choice, size_t index, std::index_sequence<I...>) {
    return ((index == I && (read(choice.template emplace<I>()), true)) || ...);
  }

  std::string_view rest_;
};

}  // namespace trireme::wire
