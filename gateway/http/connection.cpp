#include "gateway/http/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "gateway/http/error_body.h"
#include "gateway/http/io_thread.h"

namespace trireme {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using std::chrono::steady_clock;

constexpr std::string_view kJson = "application/json";
constexpr size_t kKeptBufferBytes = 16 << 10;

}  // namespace

Connection::Connection(IoThread& io, int socket, std::string peer)
    : io_(io), core_(io.core()), socket_(io.context(), socket), peer_(std::move(peer)),
      framer_(core_.options.limits.framing) {
  tls_ = core_.accept_tls();
}

Connection::~Connection() {
  core_.counters.buffered_body_bytes.fetch_sub(int64_t(counted_body_bytes_));
  core_.leave_connection(peer_);
}

void Connection::start() {
  phase_since_ = steady_clock::now();
  wait_readable();
}

// ---- reading

void Connection::wait_readable() {
  if (waiting_read_ || phase_ == Phase::closed || end_of_file_ || ahead_full_) return;
  waiting_read_ = true;
  socket_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](const error_code& error) {
    self->waiting_read_ = false;
    if (!error && self->phase_ != Phase::closed) self->on_readable();
  });
}

void Connection::on_readable() {
  std::vector<char>& buffer = io_.read_buffer();
  const ssize_t count = ::recv(socket_.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count < 0) {
    if (errno != EAGAIN && errno != EINTR) return close();
    return wait_readable();
  }
  if (count == 0) return on_end_of_file();
  core_.counters.bytes_in.fetch_add(uint64_t(count), std::memory_order_relaxed);
  std::string_view bytes(buffer.data(), size_t(count));
  if (tls_) {
    std::string& plain = io_.plain_buffer();
    plain.clear();
    const bool good = tls_->receive(bytes, plain);
    queue_plain({});
    flush();
    if (phase_ == Phase::closed) return;
    bytes = plain;
    if (!bytes.empty()) on_bytes(bytes);
    if (!good && phase_ != Phase::closed) return on_end_of_file();
  } else {
    on_bytes(bytes);
  }
  wait_readable();
}

void Connection::on_end_of_file() {
  end_of_file_ = true;
  if (phase_ == Phase::closed) return;
  if (phase_ != Phase::answering) {
    if (out_.empty() || phase_ == Phase::lingering) close();
    return;
  }
  if (core_.options.allow_half_close) return;
  if (answer_->leave()) return pump();  // all of it is here: send it, the client may have half-closed
  close();
}

void Connection::on_bytes(std::string_view bytes) {
  if (phase_ == Phase::lingering || close_when_flushed_) return;
  if (phase_ == Phase::reading) return advance(bytes);
  ahead_.append(bytes);
  ahead_full_ = ahead_.size() > core_.options.limits.max_pipelined_bytes;
}

// Feeds the framer; what lies behind the request is kept for after its answer.
void Connection::advance(std::string_view bytes) {
  while (!bytes.empty()) {
    if (!head_begun_) head_since_ = steady_clock::now();
    head_begun_ = true;
    const size_t body_before = framer_.request().body.size();
    bytes.remove_prefix(framer_.feed(bytes, true));
    if (const FramingError& error = framer_.error(); error.status != 0) {
      core_.counters.requests_malformed.fetch_add(1, std::memory_order_relaxed);
      return refuse(error.status, error.message);
    }
    if (!count_body(body_before)) return;
    if (framer_.head_complete() && !judged_ && !judge_head()) return;
    if (!framer_.complete()) continue;
    ahead_.assign(bytes);
    return dispatch();
  }
  if (end_of_file_ && out_.empty()) close();
}

bool Connection::count_body(size_t before) {
  const size_t grown = framer_.request().body.size() - before;
  if (grown == 0) return true;
  counted_body_bytes_ += grown;
  body_progress_.add(grown);
  const int64_t limit = int64_t(core_.options.limits.max_buffered_body_bytes);
  if (core_.counters.buffered_body_bytes.fetch_add(int64_t(grown)) + int64_t(grown) <= limit) return true;
  refuse(503, "too many request bodies are under way: try again later", {{"Retry-After", "1"}});
  return false;
}

// Refuses before the body is read what its head already condemns. False: refused.
bool Connection::judge_head() {
  judged_ = true;
  body_progress_.start(steady_clock::now());
  ready_ = core_.judge(framer_.request(), route_);
  if (framer_.complete() || !framer_.has_body()) return true;
  if (ready_ && ready_->status >= 400) {
    refuse(ready_->status, ready_->message, ready_->extra);
    return false;
  }
  if (framer_.expects_continue()) {
    queue_plain("HTTP/1.1 100 Continue\r\n\r\n");
    flush();
  }
  return phase_ != Phase::closed;
}

AnswerRules Connection::rules_of_request(HttpRequest& request) {
  const std::string* given = request.header("X-Request-Id");
  request.id = given && is_request_id(*given) ? *given : make_request_id();
  request.peer = peer_;
  return {request.id, framer_.is_http_1_0(), framer_.keep_alive(), request.method == "HEAD",
          core_.cors.fields_for(request)};
}

void Connection::dispatch() {
  phase_ = Phase::answering;
  phase_since_ = steady_clock::now();
  HttpRequest request = std::move(framer_.request());
  answer_ = std::make_shared<Answer>(io_.shared_core(), io_.weak_from_this(), rules_of_request(request));
  answer_->connection = this;
  const Route* route = std::exchange(route_, nullptr);
  const std::optional<ReadyAnswer> ready = std::exchange(ready_, std::nullopt);
  framer_.reset();
  judged_ = head_begun_ = false;
  counted_body_bytes_ = 0;  // the exchange's now
  auto exchange = std::make_shared<HttpExchange>(std::move(request), answer_, io_.shared_core());
  if (ready) {
    const bool is_error = ready->status >= 400;
    exchange->respond(ready->status, is_error ? kJson : "", is_error ? error_body(ready->status, ready->message) : "",
                      ready->extra);
  } else {
    run_handler(*route, exchange);
  }
  // The client ended its side before this request was reached: it has left, unless the answer is here already.
  if (end_of_file_ && !core_.options.allow_half_close && !answer_->leave()) close();
}

void Connection::run_handler(const Route& route, const std::shared_ptr<Exchange>& exchange) {
  try {
    route.handler(exchange);
  } catch (const RequestError& error) {
    exchange->respond(400, kJson, error_body(400, error.what()), {});
  } catch (const std::exception& error) {
    log_error("http: request {} failed: {}", exchange->request().id, error.what());
    exchange->respond(500, kJson, error_body(500, "internal error"), {});
  }
}

// Answers outside of any exchange and closes: the rest of what the client sends has no meaning.
void Connection::refuse(int status, std::string_view message, const std::vector<HttpHeader>& extra) {
  HttpRequest& request = framer_.request();
  AnswerRules rules = rules_of_request(request);
  const std::string body = error_body(status, message);
  std::string answer = response_head(status, kJson, int64_t(body.size()), extra, rules, false);
  if (!rules.head_only) answer += body;
  core_.counters.count_answer(status);
  if (core_.options.on_answer) core_.options.on_answer(request, status);
  phase_ = Phase::lingering;
  phase_since_ = steady_clock::now();
  close_when_flushed_ = true;
  queue_plain(answer);
  flush();
}

// ---- writing

void Connection::queue_plain(std::string_view bytes) {
  if (!tls_) {
    out_.append(bytes);
    return;
  }
  if (!bytes.empty()) tls_->send(bytes);
  tls_->take_output(out_);
}

void Connection::pump() {
  if (phase_ != Phase::answering) return;
  if (tls_) {
    staged_.clear();
    taken_ = answer_->take(staged_);
    queue_plain(staged_);
  } else {
    taken_ = answer_->take(out_);
  }
  if (taken_.overflow) return cut_slow_reader();
  flush();
}

void Connection::flush() {
  if (waiting_write_ || phase_ == Phase::closed) return;
  while (sent_ < out_.size()) {
    const ssize_t count = ::send(socket_.native_handle(), out_.data() + sent_, out_.size() - sent_,
                                 MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno != EAGAIN) return close();
    if (count < 0) break;
    sent_ += size_t(count);
    write_progress_.add(size_t(count));
    core_.counters.bytes_out.fetch_add(uint64_t(count), std::memory_order_relaxed);
  }
  if (answer_) answer_->set_unsent(out_.size() - sent_);
  if (sent_ == out_.size()) {
    out_.clear();
    sent_ = 0;
    blocked_ = false;
    if (out_.capacity() > kKeptBufferBytes) out_ = std::string();
    return on_flushed();
  }
  if (!blocked_) {
    blocked_ = true;
    write_progress_.start(steady_clock::now());
  }
  if (sent_ > out_.size() / 2) {  // so that a stream which never catches up does not grow for ever
    out_.erase(0, sent_);
    sent_ = 0;
  }
  waiting_write_ = true;
  socket_.async_wait(asio::posix::stream_descriptor::wait_write, [self = shared_from_this()](const error_code& error) {
    self->waiting_write_ = false;
    if (!error) self->flush();
  });
}

void Connection::on_flushed() {
  if (close_when_flushed_) return begin_linger();
  if (phase_ == Phase::reading && end_of_file_) return close();
  if (phase_ != Phase::answering) return;
  if (taken_.cut) return close();
  if (taken_.finished) finish_answer();
}

void Connection::finish_answer() {
  const bool keep_alive = taken_.keep_alive && !ahead_full_;
  part_with_answer();
  served_one_ = true;
  phase_since_ = steady_clock::now();
  if (!keep_alive || (core_.draining && ahead_.empty())) return begin_linger();
  phase_ = Phase::reading;
  if (ahead_.empty()) {
    if (end_of_file_) close();
    return;
  }
  const std::string bytes = std::exchange(ahead_, std::string());
  advance(bytes);
}

void Connection::part_with_answer() {
  if (!answer_) return;
  answer_->connection = nullptr;
  answer_.reset();
  taken_ = {};
  slow_ = false;
}

// Ends our side and waits for the client's end: closing with its bytes unread would reset the connection, and the
// answer with it.
void Connection::begin_linger() {
  phase_ = Phase::lingering;
  ahead_.clear();
  ahead_full_ = false;
  if (tls_ && !shut_down_) {
    shut_down_ = true;
    tls_->close();
    queue_plain({});
    close_when_flushed_ = true;
    return flush();
  }
  close_when_flushed_ = true;
  phase_since_ = steady_clock::now();
  ::shutdown(socket_.native_handle(), SHUT_WR);
  if (end_of_file_) return close();
  wait_readable();
}

// With a reset: after a plain close the kernel would keep what it holds for this client, for as long as it keeps asking.
void Connection::cut_slow_reader() {
  core_.counters.slow_readers_cut.fetch_add(1, std::memory_order_relaxed);
  reset_ = true;
  close();
}

void Connection::close() {
  if (phase_ == Phase::closed) return;
  const auto self = shared_from_this();
  phase_ = Phase::closed;
  // An answer whose end is missing must not look like one that a closed connection ends.
  const bool cut_short = answer_ && answer_->rules().http_1_0 && !(taken_.finished && !taken_.cut && out_.empty());
  if (cut_short || reset_) {
    const linger reset{1, 0};
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  error_code ignored;
  socket_.close(ignored);
  if (const auto answer = answer_) {
    part_with_answer();
    answer->leave();
  }
  io_.remove(this);
}

void Connection::drain() {
  if (phase_ != Phase::reading || framer_.started() || !out_.empty()) return;
  char byte;  // a request that has arrived but not been read is still served
  if (::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) begin_linger();
}

// ---- clocks

bool Connection::overdue_reading(TimePoint now) {
  const HttpLimits& limits = core_.options.limits;
  if (!framer_.started()) return now - phase_since_ > (served_one_ ? limits.idle_timeout : limits.header_timeout);
  if (!framer_.head_complete()) return now - head_since_ > limits.header_timeout;
  return body_progress_.overdue(now, limits.body_timeout, limits.min_body_rate);
}

bool Connection::overdue_writing(TimePoint now) {
  const HttpLimits& limits = core_.options.limits;
  return blocked_ && write_progress_.overdue(now, limits.write_timeout, limits.min_write_rate);
}

bool Connection::slow_reader(TimePoint now) {
  const HttpLimits& limits = core_.options.limits;
  if (phase_ != Phase::answering || taken_.finished || answer_->unsent_bytes() <= limits.slow_reader_bytes) {
    slow_ = false;
    return false;
  }
  if (!slow_) slow_since_ = now;
  slow_ = true;
  return now - slow_since_ > limits.slow_reader_timeout;
}

// Asked where reading has stopped, and so cannot tell.
bool Connection::peer_closed() const {
  pollfd state{const_cast<Connection*>(this)->socket_.native_handle(), POLLRDHUP, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void Connection::check_time(TimePoint now) {
  if (phase_ == Phase::closed) return;
  if (overdue_writing(now) || slow_reader(now)) {
    core_.counters.timeouts.fetch_add(1, std::memory_order_relaxed);
    return cut_slow_reader();
  }
  if (phase_ == Phase::reading && overdue_reading(now)) return time_out();
  const bool lingers = phase_ == Phase::lingering && !blocked_;
  if (lingers && now - phase_since_ > core_.options.limits.linger_timeout) return close();
  if (phase_ == Phase::answering && ahead_full_ && peer_closed()) {
    ahead_full_ = false;
    on_end_of_file();
  }
}

void Connection::time_out() {
  if (!framer_.started()) return served_one_ ? begin_linger() : close();
  core_.counters.timeouts.fetch_add(1, std::memory_order_relaxed);
  refuse(408, framer_.head_complete() ? "the body came too slowly" : "the header came too slowly");
}

}  // namespace trireme
