// Any bytes as tokenizer.json: an error, or a tokenizer that encodes and decodes.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  trireme::TokenizerSource source;
  source.tokenizer_json.assign(reinterpret_cast<const char*>(data), size);
  try {
    const auto tokenizer = trireme::make_tokenizer(source);
    const std::string text = "The ship's  1234 oars\r\n\u8239\u00e9e\u0301 \U0001F600 <|eot_id|> </s>  x";
    const trireme::TextSpan untrusted[] = {{4, 12}};
    auto ids = tokenizer->encode(text);
    tokenizer->encode(text, {.untrusted = untrusted});
    for (int32_t id = 0; id < 300; ++id) ids.push_back(id % 97 * 3);
    trireme::Detokenizer detokenizer(*tokenizer);
    std::string pieces;
    for (const int32_t id : ids) pieces += detokenizer.add(id), tokenizer->token_bytes(id);
    if (pieces + detokenizer.finish() != tokenizer->decode(ids)) __builtin_trap();
  } catch (const trireme::Error&) {
  }
  return 0;
}
