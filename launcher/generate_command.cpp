#include "launcher/generate_command.h"

#include <unistd.h>

#include <iostream>
#include <iterator>

#include "base/error.h"
#include "launcher/generate_output.h"
#include "launcher/profile_trace.h"
#include "launcher/run_engine.h"

namespace trireme {
namespace {

constexpr size_t kMaxPromptBytes = size_t(1) << 30;
constexpr Duration kBarPeriod = std::chrono::milliseconds(200);

std::vector<PromptLine> read_prompts(const GenerateCommand& command) {
  std::vector<PromptLine> prompts;
  for (const std::string& text : command.prompts) prompts.emplace_back().text = text;
  if (!prompts.empty()) return prompts;
  if (!command.prompts_file.empty() && command.prompts_file != "-") {
    prompts = parse_prompt_file(read_text_file(command.prompts_file, kMaxPromptBytes), command.prompts_file);
  } else {
    if (command.prompts_file.empty() && isatty(STDIN_FILENO))
      throw ConfigError("no prompt: give one as an argument, a file with --prompts, or text on standard input");
    const std::string text((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
    prompts = parse_prompt_file(text, "standard input");
  }
  if (prompts.empty())
    throw ConfigError("there is no prompt in " +
                      (command.prompts_file.empty() ? "standard input" : command.prompts_file));
  return prompts;
}

// The job and what it holds on to; a bar on standard error while many prompts run, a summary at the end.
class GenerateRun final : public FrontJob {
 public:
  explicit GenerateRun(const GenerateCommand& command)
      : prompts_(read_prompts(command)),
        assets_(open_model_assets(command.run.engine.model, !command.skip_tokenizer, command.chat_template)),
        sink_(make_sink(command, prompts_.size())),
        profile_(command.run),
        job_(prompts_, assets_, options(command), *sink_),
        bar_(prompts_.size() > 1 && isatty(STDERR_FILENO)) {}

  void start(const EngineFacts& facts, RequestPort& port, TimePoint now) override { job_.start(facts, port, now); }
  void on_events(const std::vector<EngineEvent>& events, TimePoint now) override { job_.on_events(events, now); }
  void on_engine_lost(const EngineFault& fault, TimePoint now) override { job_.on_engine_lost(fault, now); }
  void cancel() override { job_.cancel(); }
  bool done() const override { return job_.done(); }
  int exit_code() const override { return job_.exit_code(); }

  void on_tick(TimePoint now) override {
    if (!bar_ || now - last_bar_ < kBarPeriod) return;
    last_bar_ = now;
    const GenerateSummary& summary = job_.summary();
    std::fprintf(stderr, "\r%s", progress_bar(summary.finished + summary.failed, summary.prompts, 70).c_str());
  }

  void finish(TimePoint) override {
    if (bar_) std::fprintf(stderr, "\r%70s\r", "");
    if (const std::string line = summary_line(job_.summary()); !line.empty())
      std::fprintf(stderr, "%s\n", line.c_str());
    std::fputs(breakdown_text(profile_.finish(), 0).c_str(), stderr);
  }

 private:
  static GenerateOptions options(const GenerateCommand& command) {
    return {.sampling = command.sampling,
            .chat = command.chat,
            .chat_template_kwargs = command.chat_template_kwargs,
            .trust_special_tokens = command.trust_special_tokens};
  }

  static std::unique_ptr<OutputSink> make_sink(const GenerateCommand& command, size_t num_prompts) {
    if (command.format == OutputFormat::json) return make_json_sink(stdout);
    return make_text_sink(stdout, num_prompts, true);
  }

  std::vector<PromptLine> prompts_;
  ModelAssets assets_;
  std::unique_ptr<OutputSink> sink_;
  ProfileTrace profile_;
  GenerateJob job_;
  bool bar_;
  TimePoint last_bar_;
};

}  // namespace

int run_generate(const GenerateCommand& command) {
  return run_with_engine(command.run, [&command] { return std::make_unique<GenerateRun>(command); });
}

}  // namespace trireme
