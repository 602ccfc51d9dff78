#pragma once
// Messages as bytes. A frame: u32 payload length, u32 attempt, u8 kind, payload; integers little-endian, floats as
// their IEEE bits, texts and lists with a u32 count. Every length and enumerator is checked against what is there:
// a malformed frame is a WireError, never a wild read and never an allocation larger than a small multiple of its
// bytes.

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "protocol/messages.h"

namespace trireme {

class WireError : public Error {
 public:
  using Error::Error;
};

inline constexpr size_t kFrameHeaderBytes = 9;
inline constexpr size_t kMaxFrameBytes = size_t(64) << 20;  // payload, after the peer has proved itself
inline constexpr size_t kMaxHelloBytes = 4096;              // payload, before
inline constexpr size_t kMaxTextBytes = size_t(1) << 20;
inline constexpr size_t kMaxLogLineBytes = 8192;  // longer lines are cut by the sender

// Appends one frame. Throws WireError when the message exceeds kMaxFrameBytes.
void append_frame(std::string& out, const RankMessage& message, uint32_t attempt);
void append_frame(std::string& out, const FrontMessage& message, uint32_t attempt);

// Cuts a byte stream into messages. One reader per connection.
template <typename Message>
class FrameReader {
 public:
  explicit FrameReader(uint32_t attempt, size_t max_frame_bytes = kMaxFrameBytes)
      : attempt_(attempt), max_frame_bytes_(max_frame_bytes) {}

  void set_max_frame_bytes(size_t bytes) { max_frame_bytes_ = bytes; }
  void feed(std::string_view bytes) { buffer_.append(bytes); }
  // The next whole message; empty: more bytes are needed. Throws WireError; the stream is unusable afterwards.
  std::optional<Message> next();
  size_t buffered_bytes() const { return buffer_.size() - used_; }

 private:
  uint32_t attempt_;
  size_t max_frame_bytes_;
  std::string buffer_;
  size_t used_ = 0;
};

extern template class FrameReader<RankMessage>;
extern template class FrameReader<FrontMessage>;

}  // namespace trireme
