// Regular expressions that neither a hand scanner nor the own matcher knows. Optional: without PCRE2 only the factory's
// error remains.
#include <algorithm>
#include <string>

#include "base/error.h"
#include "text/pattern.h"
#include "text/unicode.h"

#ifdef TRIREME_WITH_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif

namespace trireme {

#ifdef TRIREME_WITH_PCRE2
namespace {

constexpr uint32_t kMatchLimit = 10'000'000;  // backtracking steps of one search

template <auto free>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    free(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free_8>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free_8>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free_8>>;

std::string pcre2_message(int error) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(error, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

// PCRE2's \s matches U+180E, Oniguruma's does not. Only offsets leave a search, so the subject gets another
// format character of three bytes in its place.
std::string without_180e(std::string_view text) {
  std::string subject(text);
  for (size_t at = subject.find("\xE1\xA0\x8E"); at != std::string::npos; at = subject.find("\xE1\xA0\x8E", at + 3))
    subject.replace(at, 3, "\xE2\x81\xA0");
  return subject;
}

class Pcre2Pattern final : public Pattern {
 public:
  explicit Pcre2Pattern(std::string_view expression) : expression_(expression) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression_.data()), expression_.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr));
    if (!code_)
      throw CheckpointError("the Split pattern `" + expression_ + "` does not compile: " + pcre2_message(error) +
                            " at offset " + std::to_string(offset));
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without JIT pcre2_match interprets
    context_.reset(pcre2_match_context_create(nullptr));
    pcre2_set_match_limit(context_.get(), kMatchLimit);
  }

  void find_matches(std::string_view text, std::vector<Span>& matches) const override {
    const std::string subject = without_180e(text);
    const MatchData data(pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    for (size_t at = 0; at < subject.size();) {
      const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), at,
                                    PCRE2_NO_UTF_CHECK, data.get(), context_.get());
      if (found == PCRE2_ERROR_NOMATCH) return;
      if (found < 0)
        throw RequestError("the tokenizer's pattern `" + expression_ +
                           "` gave up on this text: " + pcre2_message(found));
      const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data.get());
      if (bounds[1] > bounds[0] && bounds[0] >= at) matches.push_back({bounds[0], bounds[1]});
      at = bounds[1] > at ? bounds[1] : at + decode_char(subject, at).bytes;
    }
  }

 private:
  std::string expression_;
  Code code_;
  MatchContext context_;
};

}  // namespace

std::unique_ptr<Pattern> make_pcre2_pattern(std::string_view expression) {
  return std::make_unique<Pcre2Pattern>(expression);
}

#else

std::unique_ptr<Pattern> make_pcre2_pattern(std::string_view expression) {
  throw CheckpointError("the tokenizer's Split pattern `" + std::string(expression) +
                        "` needs PCRE2, which this build lacks: install libpcre2-dev and build again");
}

#endif

}  // namespace trireme
