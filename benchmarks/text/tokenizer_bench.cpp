// tokenizer_bench FILE.json TEXT [SECONDS]: encodes and decodes the text over and over on one core and prints MB of
// text per second. benchmarks/text/tokenizer_bench.py prints the same for PyPI's `tokenizers`.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "text/tokenizer.h"

namespace {

// CPU time: other programs on the machine do not count.
double now() { return double(std::clock()) / CLOCKS_PER_SEC; }

// MB/s of the fastest run.
template <typename Run>
double measure(size_t bytes, double seconds, Run run) {
  const double start = now();
  double best = 1e9;
  do {
    // Short texts many times over: the clock ticks in microseconds.
    const size_t repeats = std::max<size_t>(1, 100'000 / bytes);
    const double begin = now();
    for (size_t i = 0; i < repeats; ++i) run();
    best = std::min(best, (now() - begin) / double(repeats));
  } while (now() - start < seconds);
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
    const double start = now();
    const auto tokenizer = trireme::make_tokenizer(source);
    std::printf("load         %8.1f ms\n", (now() - start) * 1e3);
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
