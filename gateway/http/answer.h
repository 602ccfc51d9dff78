#pragma once
// One answer on its way from whoever produces it (any thread) to the connection that sends it (one I/O thread).
// HttpExchange is the producer's handle; Answer is what both sides hold.

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "gateway/http/exchange.h"
#include "gateway/http/http_core.h"

namespace trireme {

class Connection;
class IoThread;

// How the request wants to be answered.
struct AnswerRules {
  std::string request_id;
  bool http_1_0 = false;
  bool keep_alive = true;
  bool head_only = false;
  std::vector<HttpHeader> fields;  // CORS
};

// The status line and all fields, with the empty line. A body length below 0: a stream.
std::string response_head(int status, std::string_view content_type, int64_t body_bytes,
                          const std::vector<HttpHeader>& extra, const AnswerRules& rules, bool keep_alive);

class Answer final : public std::enable_shared_from_this<Answer> {
 public:
  Answer(std::shared_ptr<HttpCore> core, std::weak_ptr<IoThread> io, AnswerRules rules)
      : core_(std::move(core)), io_(std::move(io)), rules_(std::move(rules)) {}

  // The producer's side.
  void respond(int status, std::string_view content_type, std::string body, const std::vector<HttpHeader>& extra);
  void begin_stream(int status, std::string_view content_type, const std::vector<HttpHeader>& extra);
  void write(std::string_view bytes);
  void end_stream();
  void abort();
  void abandon();  // the last handle is gone: 500, or a cut if the answer had begun
  void on_hangup(std::function<void()> callback);
  size_t unsent_bytes() const { return unsent_.load(std::memory_order_relaxed); }

  // The connection's side.
  struct Taken {
    bool finished = false;  // nothing follows
    bool cut = false;       // the end is missing: close instead
    bool overflow = false;  // the reader is too slow: close at once
    bool keep_alive = false;
  };
  // Moves the bytes that wait to the end of `out`.
  Taken take(std::string& out);
  void set_unsent(size_t bytes_in_connection);
  bool leave();  // the client has gone; true: but the answer was finished before
  Connection* connection = nullptr;  // I/O thread only; null once they have parted
  const AnswerRules& rules() const { return rules_; }

 private:
  enum class State : uint8_t { waiting, streaming, finished };

  bool decide_keep_alive();
  void wake(std::unique_lock<std::mutex> lock);

  const std::shared_ptr<HttpCore> core_;
  const std::weak_ptr<IoThread> io_;
  const AnswerRules rules_;

  std::mutex mutex_;  // guards the rest
  State state_ = State::waiting;
  std::string pending_;  // bytes for the wire that the connection has not taken
  std::function<void()> hangup_;
  bool gone_ = false, cut_ = false, overflow_ = false, keep_alive_ = false;
  bool queued_ = false;  // for the I/O thread's next round
  std::atomic<size_t> unsent_{0};
};

class HttpExchange final : public Exchange {
 public:
  HttpExchange(HttpRequest request, std::shared_ptr<Answer> answer, std::shared_ptr<HttpCore> core);
  ~HttpExchange() override;

  const HttpRequest& request() const override { return request_; }
  void respond(int status, std::string_view content_type, std::string body, std::vector<HttpHeader> extra) override {
    log(status);
    answer_->respond(status, content_type, std::move(body), extra);
  }
  void begin_stream(int status, std::string_view content_type, std::vector<HttpHeader> extra) override {
    log(status);
    answer_->begin_stream(status, content_type, extra);
  }
  void write(std::string bytes) override { answer_->write(bytes); }
  void end_stream() override { answer_->end_stream(); }
  void abort() override { answer_->abort(); }
  void on_hangup(std::function<void()> callback) override { answer_->on_hangup(std::move(callback)); }
  size_t unsent_bytes() const override { return answer_->unsent_bytes(); }

 private:
  void log(int status) const {
    if (core_->options.on_answer) core_->options.on_answer(request_, status);
  }

  const HttpRequest request_;
  const std::shared_ptr<Answer> answer_;
  const std::shared_ptr<HttpCore> core_;
};

}  // namespace trireme
