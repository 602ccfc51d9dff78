#pragma once
// Where `generate` writes: standard output carries the answers only, standard error everything else.

#include <cstdio>
#include <memory>
#include <string>

#include "gateway/generate_job.h"
#include "launcher/command_line.h"

namespace trireme {

// Text of one prompt as it comes; of several, whole answers under their prompts. `out` must outlive the sink.
std::unique_ptr<OutputSink> make_text_sink(std::FILE* out, size_t num_prompts, bool stream);
std::unique_ptr<OutputSink> make_json_sink(std::FILE* out);

// "12 prompts, 340 prompt tokens at 1020.3 tok/s, ..."; empty before anything was generated.
std::string summary_line(const GenerateSummary& summary);

// "[#####.....]  12% 120/1000"; `width` characters in all, at least 20.
std::string progress_bar(size_t done, size_t total, int width);

}  // namespace trireme
