// Input: bytes of a connection; the first one says how they are cut. The framer must come to the same end however they
// are cut, stay within its limits, and accept nothing that its own rules forbid.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/http/http_framer.h"
#include "gateway/http/http_syntax.h"

namespace trireme::test {
namespace {

const FramingLimits kLimits{.max_header_bytes = 1024, .max_header_fields = 12, .max_target_bytes = 256,
                            .max_body_bytes = 512, .max_chunk_line_bytes = 32, .max_chunk_extension_bytes = 64};

void require(bool holds) {
  if (!holds) std::abort();
}

void require_sound(HttpFramer& framer) {
  HttpRequest& request = framer.request();
  require(is_token(request.method) && (request.path[0] == '/' || request.path == "*"));
  require(request.path.find("/../") == std::string::npos && request.path.find('\0') == std::string::npos);
  require(request.body.size() <= kLimits.max_body_bytes && request.headers.size() <= kLimits.max_header_fields);
  for (const HttpHeader& header : request.headers) require(is_token(header.name) && is_field_value(header.value));
  const std::string* length = request.header("Content-Length");
  require(!length || !request.header("Transfer-Encoding"));
  require(!length || std::to_string(request.body.size()) == *length);
  require(framer.is_http_1_0() || request.header("Host"));
}

struct Outcome {
  std::vector<std::string> bodies;
  std::vector<size_t> ends;
  int error = 0;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome_of(std::string_view bytes, size_t part, bool stop_after_head) {
  Outcome outcome;
  HttpFramer framer(kLimits);
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t taken = framer.feed(bytes.substr(at, part), stop_after_head);
    require(taken <= part && (taken > 0 || framer.error().status != 0));
    at += taken;
    if (framer.error().status != 0) {
      require(framer.error().status >= 400 && framer.error().status < 600 && !framer.error().message.empty());
      outcome.error = framer.error().status;
      return outcome;
    }
    if (!framer.complete()) continue;
    require_sound(framer);
    outcome.bodies.push_back(framer.request().path + "\n" + framer.request().body);
    outcome.ends.push_back(at);
    framer.reset();
  }
  return outcome;
}

}  // namespace
}  // namespace trireme::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trireme::test;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = outcome_of(bytes, bytes.size() + 1, false);
  require(outcome_of(bytes, size_t(data[0] & 63) + 1, (data[0] & 64) != 0) == whole);
  require(outcome_of(bytes, 1, true) == whole);
  return 0;
}
