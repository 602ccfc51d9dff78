#include "base/log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <memory>
#include <mutex>

namespace trireme {
namespace {

using Forwarder = std::function<void(int, const std::string&)>;

// Writes to standard error, or hands lines to the forwarder while there is one.
class ForwardingSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  void set(Forwarder forwarder) {
    std::lock_guard lock(mutex_);
    forwarder_ = std::move(forwarder);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (forwarder_) {
      forwarder_(int(message.level), std::string(message.payload.data(), message.payload.size()));
      return;
    }
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
  void flush_() override { std::fflush(stderr); }

 private:
  Forwarder forwarder_;
};

std::shared_ptr<ForwardingSink>& sink() {
  static auto instance = std::make_shared<ForwardingSink>();
  return instance;
}

}  // namespace

void initialize_logging(const std::string& prefix, const std::string& level) {
  auto logger = std::make_shared<spdlog::logger>(prefix, sink());
  logger->set_level(spdlog::level::from_str(level));
  logger->set_pattern("%H:%M:%S.%e %l [%n] %v");
  spdlog::set_default_logger(std::move(logger));
}

void set_log_forwarder(Forwarder forwarder) { sink()->set(std::move(forwarder)); }

}  // namespace trireme
