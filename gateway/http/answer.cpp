#include "gateway/http/answer.h"

#include <array>
#include <charconv>
#include <ctime>

#include "base/log.h"
#include "gateway/http/error_body.h"
#include "gateway/http/io_thread.h"

namespace trireme {
namespace {

constexpr std::string_view kJson = "application/json";

// "Sun, 06 Nov 1994 08:49:37 GMT", made once a second and thread.
const std::string& http_date() {
  thread_local std::time_t made_for = 0;
  thread_local std::string date;
  const std::time_t now = std::time(nullptr);
  if (now == made_for) return date;
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm parts{};
  gmtime_r(&now, &parts);
  date = fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[parts.tm_wday], parts.tm_mday,
                     kMonths[parts.tm_mon], 1900 + parts.tm_year, parts.tm_hour, parts.tm_min, parts.tm_sec);
  made_for = now;
  return date;
}

// A value that came from elsewhere must not start a line of its own.
void append_field(std::string& head, std::string_view name, std::string_view value) {
  const size_t start = head.size();
  head.append(name).append(": ").append(value);
  for (size_t i = start; i < head.size(); ++i) {
    if (head[i] == '\r' || head[i] == '\n' || head[i] == '\0') head[i] = ' ';
  }
  head += "\r\n";
}

void append_chunk(std::string& out, std::string_view bytes) {
  std::array<char, 16> digits;
  const char* end = std::to_chars(digits.data(), digits.data() + digits.size(), bytes.size(), 16).ptr;
  out.append(digits.data(), size_t(end - digits.data())).append("\r\n").append(bytes).append("\r\n");
}

void run_guarded(const std::function<void()>& callback) {
  try {
    callback();
  } catch (const std::exception& error) {
    log_error("http: a hang-up callback failed: {}", error.what());
  }
}

bool has_no_body(int status) { return status == 204 || status == 304 || status < 200; }

}  // namespace

std::string response_head(int status, std::string_view content_type, int64_t body_bytes,
                          const std::vector<HttpHeader>& extra, const AnswerRules& rules, bool keep_alive) {
  std::string head;
  head.reserve(384);
  head.append("HTTP/1.1 ").append(std::to_string(status)).append(" ").append(reason_phrase(status)).append("\r\n");
  head.append("Date: ").append(http_date()).append("\r\nServer: trireme\r\n");
  append_field(head, "X-Request-Id", rules.request_id);
  if (!content_type.empty() && !has_no_body(status)) append_field(head, "Content-Type", content_type);
  if (body_bytes < 0) {
    if (!rules.http_1_0) head += "Transfer-Encoding: chunked\r\n";
  } else if (!has_no_body(status)) {
    head.append("Content-Length: ").append(std::to_string(body_bytes)).append("\r\n");
  }
  for (const HttpHeader& field : rules.fields) append_field(head, field.name, field.value);
  for (const HttpHeader& field : extra) append_field(head, field.name, field.value);
  if (!keep_alive) {
    head += "Connection: close\r\n";
  } else if (rules.http_1_0) {
    head += "Connection: keep-alive\r\n";
  }
  head += "\r\n";
  return head;
}

// Hands the answer to the I/O thread, once for all that is written before it comes round.
void Answer::wake(std::unique_lock<std::mutex> lock) {
  if (queued_) return;
  queued_ = true;
  lock.unlock();
  if (const auto io = io_.lock()) io->wake(shared_from_this());
}

bool Answer::decide_keep_alive() { return rules_.keep_alive && !core_->draining.load(std::memory_order_relaxed); }

void Answer::respond(int status, std::string_view content_type, std::string body,
                     const std::vector<HttpHeader>& extra) {
  std::unique_lock lock(mutex_);
  if (gone_) return;
  if (state_ != State::waiting) return log_error("http: a second answer to request {} is dropped", rules_.request_id);
  keep_alive_ = decide_keep_alive();
  pending_ = response_head(status, content_type, int64_t(body.size()), extra, rules_, keep_alive_);
  if (!rules_.head_only && !has_no_body(status)) pending_ += body;
  state_ = State::finished;
  hangup_ = nullptr;
  unsent_ = pending_.size();
  core_->counters.count_answer(status);
  wake(std::move(lock));
}

void Answer::begin_stream(int status, std::string_view content_type, const std::vector<HttpHeader>& extra) {
  std::unique_lock lock(mutex_);
  if (gone_) return;
  if (state_ != State::waiting) return log_error("http: a second answer to request {} is dropped", rules_.request_id);
  // An HTTP/1.0 client knows the end of a stream by the end of the connection.
  keep_alive_ = decide_keep_alive() && !rules_.http_1_0;
  pending_ = response_head(status, content_type, -1, extra, rules_, keep_alive_);
  state_ = State::streaming;
  unsent_ = pending_.size();
  core_->counters.count_answer(status);
  wake(std::move(lock));
}

void Answer::write(std::string_view bytes) {
  std::unique_lock lock(mutex_);
  if (gone_ || overflow_ || state_ != State::streaming || rules_.head_only || bytes.empty()) return;
  if (unsent_.load(std::memory_order_relaxed) > core_->options.limits.max_unsent_bytes) {
    overflow_ = true;
    pending_ = std::string();
    return wake(std::move(lock));
  }
  const size_t before = pending_.size();
  if (rules_.http_1_0) {
    pending_ += bytes;
  } else {
    append_chunk(pending_, bytes);
  }
  unsent_.fetch_add(pending_.size() - before, std::memory_order_relaxed);
  wake(std::move(lock));
}

void Answer::end_stream() {
  std::unique_lock lock(mutex_);
  if (gone_ || state_ != State::streaming) return;
  if (!rules_.http_1_0 && !rules_.head_only) pending_ += "0\r\n\r\n";
  state_ = State::finished;
  hangup_ = nullptr;
  wake(std::move(lock));
}

void Answer::abort() {
  std::unique_lock lock(mutex_);
  if (gone_ || state_ == State::finished) return;
  cut_ = true;
  state_ = State::finished;
  hangup_ = nullptr;
  wake(std::move(lock));
}

void Answer::abandon() {
  State state;
  {
    std::lock_guard lock(mutex_);
    if (gone_ || state_ == State::finished) return;
    state = state_;
  }
  log_error("http: request {} was dropped unanswered", rules_.request_id);
  if (state == State::streaming) return abort();
  respond(500, kJson, error_body(500, "the server dropped this request without an answer"), {});
}

void Answer::on_hangup(std::function<void()> callback) {
  {
    std::lock_guard lock(mutex_);
    if (state_ == State::finished) return;
    if (!gone_) {
      hangup_ = std::move(callback);
      return;
    }
  }
  callback();
}

Answer::Taken Answer::take(std::string& out) {
  std::lock_guard lock(mutex_);
  queued_ = false;
  if (out.empty()) {
    out.swap(pending_);
  } else {
    out += pending_;
  }
  pending_.clear();
  return {state_ == State::finished, cut_, overflow_, keep_alive_};
}

void Answer::set_unsent(size_t bytes_in_connection) {
  std::lock_guard lock(mutex_);
  unsent_.store(pending_.size() + bytes_in_connection, std::memory_order_relaxed);
}

bool Answer::leave() {
  std::function<void()> callback;
  {
    std::lock_guard lock(mutex_);
    if (state_ == State::finished || gone_) return state_ == State::finished;
    gone_ = true;
    pending_ = std::string();
    unsent_ = 0;
    callback = std::move(hangup_);
    hangup_ = nullptr;
  }
  core_->counters.hangups.fetch_add(1, std::memory_order_relaxed);
  if (callback) run_guarded(callback);
  return false;
}

HttpExchange::HttpExchange(HttpRequest request, std::shared_ptr<Answer> answer, std::shared_ptr<HttpCore> core)
    : request_(std::move(request)), answer_(std::move(answer)), core_(std::move(core)) {}

HttpExchange::~HttpExchange() {
  answer_->abandon();
  core_->counters.buffered_body_bytes.fetch_sub(int64_t(request_.body.size()));
}

}  // namespace trireme
