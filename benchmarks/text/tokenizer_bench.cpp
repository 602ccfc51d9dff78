// tokenizer_bench FILE.json TEXT [SECONDS]: encodes and decodes the text over and over on one core and prints MB of
// text per second. benchmarks/text/tokenizer_bench.py prints the same for PyPI's `tokenizers`.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "text/tokenizer.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// MB/s of the fastest run.
template <typename Run>
double measure(size_t bytes, double seconds, Run run) {
  const auto start = Clock::now();
  double best = 1e9;
  do {
    const auto begin = Clock::now();
    run();
    best = std::min(best, seconds_since(begin));
  } while (seconds_since(start) < seconds);
  return double(bytes) / 1e6 / best;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: tokenizer_bench FILE.json TEXT [SECONDS]\n");
    return 2;
  }
  try {
    const double seconds = argc > 3 ? std::atof(argv[3]) : 2;
    trireme::TokenizerSource source;
    source.tokenizer_json = trireme::read_text_file(argv[1]);
    const std::string text = trireme::read_text_file(argv[2]);
    const auto start = Clock::now();
    const auto tokenizer = trireme::make_tokenizer(source);
    std::printf("load         %8.1f ms\n", seconds_since(start) * 1e3);
    std::vector<int32_t> ids;
    std::printf("encode       %8.1f MB/s", measure(text.size(), seconds, [&] { ids = tokenizer->encode(text); }));
    std::printf("   (%zu bytes, %zu ids)\n", text.size(), ids.size());
    const std::string prompt = text.substr(0, text.find('\n', 2000));
    std::printf("encode prompt%8.1f MB/s   (%zu bytes)\n",
                measure(prompt.size(), seconds, [&] { tokenizer->encode(prompt); }), prompt.size());
    std::printf("decode       %8.1f MB/s\n", measure(text.size(), seconds, [&] { tokenizer->decode(ids); }));
  } catch (const trireme::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
