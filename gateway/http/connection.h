#pragma once
// One client's connection: reads requests one after the other, hands each to its handler, sends its answer. Lives on one
// I/O thread, and on it alone.
//
// While an answer is under way the connection goes on reading, because that is how it learns that the client has left.
// An end of file counts as leaving, as in uvicorn, Go and nginx: on the wire a closed socket and a half-closed one look
// the same, and a client of curl, httpx or openai never half-closes. What was answered already is still sent.
// HttpServerOptions::allow_half_close turns it off: then only a reset, or a failed write, is a hang-up.

#include <boost/asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/http/answer.h"
#include "gateway/http/http_framer.h"
#include "gateway/http/progress_window.h"
#include "gateway/http/tls.h"

namespace trireme {

class IoThread;

class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  Connection(IoThread& io, int socket, std::string peer);  // owns the socket
  ~Connection();

  void start();
  void pump();                      // the answer has news
  void check_time(TimePoint now);   // ends what is overdue
  void drain();                     // closes if idle
  void close();                     // at once; the answer under way is left

 private:
  enum class Phase : uint8_t { reading, answering, lingering, closed };

  void wait_readable();
  void on_readable();
  void on_end_of_file();
  void on_bytes(std::string_view bytes);
  void advance(std::string_view bytes);
  bool judge_head();
  bool count_body(size_t before);
  void dispatch();
  static void run_handler(const Route& route, const std::shared_ptr<Exchange>& exchange);
  AnswerRules rules_of_request(HttpRequest& request);
  void refuse(int status, std::string_view message, const std::vector<HttpHeader>& extra = {});

  void queue_plain(std::string_view bytes);
  void flush();
  void on_flushed();
  void finish_answer();
  void part_with_answer();
  void begin_linger();
  void time_out();
  void cut_slow_reader();

  bool overdue_reading(TimePoint now);
  bool overdue_writing(TimePoint now);
  bool slow_reader(TimePoint now);
  bool peer_closed() const;

  IoThread& io_;
  HttpCore& core_;
  boost::asio::posix::stream_descriptor socket_;
  const std::string peer_;
  std::unique_ptr<TlsSession> tls_;
  HttpFramer framer_;
  Phase phase_ = Phase::reading;

  const Route* route_ = nullptr;        // of the request being read, once judged
  std::optional<ReadyAnswer> ready_;
  bool judged_ = false;
  size_t counted_body_bytes_ = 0;

  std::shared_ptr<Answer> answer_;
  Answer::Taken taken_;
  std::string ahead_;                   // bytes read behind the request under way
  std::string out_;                     // for the socket; sent_ of them have gone
  size_t sent_ = 0;
  std::string staged_;                  // plaintext on its way through TLS
  bool waiting_read_ = false, waiting_write_ = false, end_of_file_ = false, ahead_full_ = false;
  bool close_when_flushed_ = false, shut_down_ = false, served_one_ = false, reset_ = false;

  TimePoint phase_since_, head_since_, slow_since_;
  ProgressWindow body_progress_, write_progress_;  // the latter while blocked_
  bool blocked_ = false, slow_ = false, head_begun_ = false;
};

}  // namespace trireme
