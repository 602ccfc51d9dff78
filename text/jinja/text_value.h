#pragma once
// The strings of a template, with a mark on what came from a client: message contents, tools, documents. Operations
// that keep characters go through slice() and append() and carry the marks exactly; mapped() and derived() serve the
// others and rather mark too much.

#include <string>
#include <string_view>
#include <vector>

#include "text/text_span.h"

namespace trireme::jinja {

class Text {
 public:
  Text() = default;
  explicit Text(std::string bytes) : bytes_(std::move(bytes)) {}
  static Text untrusted(std::string bytes);

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  const std::vector<TextSpan>& untrusted_spans() const { return untrusted_; }  // in order, apart, none empty
  bool is_marked() const { return !untrusted_.empty(); }

  Text slice(size_t begin, size_t end) const;  // byte offsets
  void append(const Text& other);              // not itself
  void append(std::string_view trusted) { bytes_ += trusted; }
  void append(std::string_view bytes, bool untrusted);
  // Made of this text one character after the other: "ab" -> "AB".
  Text mapped(std::string bytes) const;
  // Made of this text in whatever way: all of it is marked if anything here is.
  Text derived(std::string bytes) const { return is_marked() ? untrusted(std::move(bytes)) : Text(std::move(bytes)); }

  // visit(std::string_view run, bool untrusted) for every stretch of one origin.
  template <typename Visit>
  void visit_runs(Visit visit) const {
    size_t at = 0;
    const std::string_view all = bytes_;
    for (const TextSpan& span : untrusted_) {
      if (at < span.begin) visit(all.substr(at, span.begin - at), false);
      visit(all.substr(span.begin, span.end - span.begin), true);
      at = span.end;
    }
    if (at < all.size()) visit(all.substr(at), false);
  }

  // Escaped for HTML (`| escape`, `| safe`): what is joined to it is escaped first, as Markup of Python does.
  bool is_markup() const { return markup_; }
  Text as_markup(bool markup = true) const;

 private:
  void mark(size_t begin, size_t end);  // at the end of what is marked

  std::string bytes_;
  std::vector<TextSpan> untrusted_;
  bool markup_ = false;
};

}  // namespace trireme::jinja
