#pragma once
// The strings of a template. Every operation that keeps characters goes through slice() and append(), so that
// where each stretch came from (the template or a client's message) can be carried here without touching the
// filters and methods above.

#include <string>
#include <string_view>

namespace trireme::jinja {

class Text {
 public:
  Text() = default;
  explicit Text(std::string bytes) : bytes_(std::move(bytes)) {}

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  Text slice(size_t begin, size_t end) const { return Text(bytes_.substr(begin, end - begin)); }  // byte offsets
  void append(const Text& other) { bytes_ += other.bytes_; }
  void append(std::string_view bytes) { bytes_ += bytes; }

 private:
  std::string bytes_;
};

}  // namespace trireme::jinja
