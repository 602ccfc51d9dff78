#include "protocol/link.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "base/run_queue.h"
#include "protocol/codec.h"
#include "protocol/socket.h"

namespace trireme {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

constexpr size_t kMaxOutgoingBytes = size_t(64) << 20;
constexpr size_t kMaxOutgoingLogBytes = size_t(1) << 20;
constexpr size_t kMaxCommands = 65536;
constexpr size_t kMaxCommandBytes = size_t(64) << 20;
constexpr std::chrono::milliseconds kFailureFlush{500}, kStopFlush{2000}, kFrontsTurn{5000};

SteadyTime now() { return std::chrono::steady_clock::now(); }

Beat current_beat() {
  const RankProgress& progress = rank_progress();
  Beat beat{progress.phase.load(std::memory_order_relaxed), progress.step.load(std::memory_order_relaxed),
            progress.moved(), progress.operation.load(std::memory_order_relaxed),
            progress.loaded.load(std::memory_order_relaxed)};
  if (beat.phase == Phase::stepping) beat.waited_ns = uint64_t(std::chrono::nanoseconds(run_queue_delay()).count());
  return beat;
}

size_t command_bytes(const EngineCommand& command) {
  const auto* submit = std::get_if<SubmitCommand>(&command);
  size_t ids = 0;
  if (submit) {
    ids = submit->request.prompt.size();
    for (const EmittedChoice& choice : submit->request.emitted) ids += choice.ids.size();
    const SamplingParams& sampling = submit->request.sampling;
    ids += sampling.allowed_token_ids.size() + sampling.stop_token_ids.size() + 2 * sampling.logit_bias.size();
    for (const std::vector<int32_t>& word : sampling.bad_words) ids += 1 + word.size();
  }
  return 64 + ids * sizeof(int32_t);
}

}  // namespace

struct FrontLink::State {
  explicit State(const LinkOptions& link_options)
      : options(link_options),
        socket(dial(options.front.address, options.dial_timeout)),
        reader(options.front.attempt),
        exit_code(options.front_is_a_rank ? kExitEngineFailure : kExitFrontLost) {}

  void handshake();
  void run();                           // the beat thread
  void read_front();                    // beat thread
  void accept(FrontMessage&& message);  // beat thread
  void send(const RankMessage& message);      // leaves it to the beat thread
  void send_now(const RankMessage& message);  // by the caller: no thread is woken while the kernel takes it
  void queue(const RankMessage& message);
  bool write_out();                               // what the kernel takes now; false: the connection is broken
  bool flush(std::chrono::milliseconds timeout);  // false: bytes are left
  Hello hello() const;
  [[noreturn]] void front_lost() const { _exit(exit_code); }

  const LinkOptions options;
  FileDescriptor socket;
  Wakeup wakeup;
  FrameReader<FrontMessage> reader;  // beat thread, after the handshake
  SteadyTime last_heard;             // beat thread

  std::mutex writing;   // taken before `mutex`; guards `sending` and the order of bytes on the socket
  std::string sending;  // taken from `outgoing`, not yet in the kernel

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::atomic<int> exit_code;  // when the front is lost: a front that leaves because this rank has failed is no news
  std::string gpu;
  std::string outgoing;
  size_t sending_bytes = 0;  // of `sending`
  int64_t dropped_lines = 0;
  std::deque<EngineCommand> commands;
  size_t queued_command_bytes = 0;
  bool stopping = false;
  bool forwarding = false;

  std::thread thread;
};

Hello FrontLink::State::hello() const {
  return {options.front.key, options.identity.rank, options.identity.world, int64_t(getpid()), local_host_name(), gpu};
}

// Blocking, before the thread exists: Hello out, Welcome in.
void FrontLink::State::handshake() {
  append_frame(outgoing, RankMessage(hello()), options.front.attempt);
  const SteadyTime deadline = now() + options.dial_timeout;
  while (now() < deadline) {
    if (!write_available(socket, outgoing)) break;
    wait_socket(socket, !outgoing.empty(), std::chrono::milliseconds(50));
    const SocketRead read = read_available(socket, 4096);
    reader.feed(read.bytes);
    if (const auto message = reader.next()) {
      CHECK(std::holds_alternative<Welcome>(*message)) << "the front's first word";
      last_heard = now();
      return;
    }
    if (read.ended) break;
  }
  throw Error("the front at " + options.front.address + " refused rank " + std::to_string(options.identity.rank) +
              " or did not answer");
}

void FrontLink::State::queue(const RankMessage& message) {
  std::lock_guard lock(mutex);
  append_frame(outgoing, message, options.front.attempt);
  if (outgoing.size() + sending_bytes > kMaxOutgoingBytes) front_lost();
}

void FrontLink::State::send(const RankMessage& message) {
  queue(message);
  wakeup.notify();
}

// The beat thread waits for the kernel to take more only once it knows that something is left. It also is who notices a
// broken connection.
void FrontLink::State::send_now(const RankMessage& message) {
  queue(message);
  const bool intact = write_out();
  std::lock_guard lock(mutex);
  if (!intact || sending_bytes > 0 || !outgoing.empty()) wakeup.notify();
}

bool FrontLink::State::flush(std::chrono::milliseconds timeout) {
  wakeup.notify();
  std::unique_lock lock(mutex);
  return changed.wait_for(lock, timeout, [this] { return outgoing.empty() && sending_bytes == 0; });
}

void FrontLink::State::accept(FrontMessage&& message) {
  std::optional<EngineCommand> command;
  if (auto* submit = std::get_if<SubmitCommand>(&message)) command = std::move(*submit);
  if (auto* cancel = std::get_if<CancelCommand>(&message)) command = *cancel;
  if (auto* shutdown = std::get_if<ShutdownCommand>(&message)) command = *shutdown;
  if (!command) return;  // Welcome, Keepalive: that something came is all they say
  std::lock_guard lock(mutex);
  queued_command_bytes += command_bytes(*command);
  commands.push_back(std::move(*command));
  if (commands.size() > kMaxCommands || queued_command_bytes > kMaxCommandBytes) front_lost();
  changed.notify_all();
}

void FrontLink::State::read_front() {
  try {
    const SocketRead read = read_available(socket, size_t(1) << 20);
    if (!read.bytes.empty()) last_heard = now();
    reader.feed(read.bytes);
    while (auto message = reader.next()) accept(std::move(*message));
    if (!read.ended) return;
  } catch (const Error&) {
  }
  std::lock_guard lock(mutex);
  if (!stopping) front_lost();
}

bool FrontLink::State::write_out() {
  std::lock_guard order(writing);
  {
    std::lock_guard lock(mutex);
    if (sending.empty()) sending.swap(outgoing);
    sending_bytes = sending.size();
  }
  const bool intact = write_available(socket, sending);
  std::lock_guard lock(mutex);
  sending_bytes = sending.size();
  if (outgoing.empty() && sending.empty()) changed.notify_all();
  return intact;
}

void FrontLink::State::run() {
  SteadyTime next_beat = now();
  for (;;) {
    if (now() >= next_beat) {
      const Beat beat = current_beat();
      // A backlog is news enough: whatever arrives shows that this rank lives.
      std::lock_guard lock(mutex);
      if (outgoing.empty() && sending_bytes == 0) append_frame(outgoing, RankMessage(beat), options.front.attempt);
      next_beat = now() + options.beat_period;
    }
    const bool intact = write_out();
    bool blocked = false;  // the kernel takes no more now
    {
      std::lock_guard lock(mutex);
      blocked = sending_bytes > 0;
      if (stopping && ((outgoing.empty() && !blocked) || !intact)) return;
      if (!intact || now() - last_heard > options.front_timeout) front_lost();
      if (!outgoing.empty() && !blocked) continue;
    }
    pollfd entries[2] = {{socket.get(), short(POLLIN | (blocked ? POLLOUT : 0)), 0},
                         {wakeup.descriptor(), POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next_beat - now()).count();
    ::poll(entries, 2, int(std::max<int64_t>(left, 1)));
    wakeup.drain();
    if (entries[0].revents & (POLLIN | POLLHUP | POLLERR)) read_front();
  }
}

FrontLink::FrontLink(const LinkOptions& options) : state_(std::make_unique<State>(options)) {
  state_->gpu = options.identity.gpu;
  state_->handshake();
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

FrontLink::~FrontLink() {
  if (!state_->thread.joinable()) return;
  if (state_->forwarding) set_log_forwarder({});
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->outgoing.clear();
  }
  state_->wakeup.notify();
  state_->thread.join();
}

void FrontLink::set_gpu(const std::string& gpu) {
  {
    std::lock_guard lock(state_->mutex);
    state_->gpu = gpu;
  }
  state_->send(state_->hello());
}

void FrontLink::send_ready(const EngineFacts& facts) { state_->send(facts); }

void FrontLink::emit(std::vector<EngineEvent> events) {
  if (!events.empty()) state_->send_now(EventBatch{std::move(events)});
}

void FrontLink::announce(int64_t step, std::span<const RequestId> requests) {
  state_->send_now(Announce{step, {requests.begin(), requests.end()}});  // the plan may be this process's last deed
}

std::vector<EngineCommand> FrontLink::receive(std::chrono::microseconds timeout) {
  std::unique_lock lock(state_->mutex);
  if (state_->commands.empty() && timeout.count() > 0)
    state_->changed.wait_for(lock, timeout, [this] { return !state_->commands.empty(); });
  std::vector<EngineCommand> commands(std::make_move_iterator(state_->commands.begin()),
                                      std::make_move_iterator(state_->commands.end()));
  state_->commands.clear();
  state_->queued_command_bytes = 0;
  return commands;
}

void FrontLink::forward_logs() {
  state_->forwarding = true;
  set_log_forwarder([state = state_.get()](int level, const std::string& line) {
    LogLine message{level, line.substr(0, kMaxLogLineBytes)};
    std::lock_guard lock(state->mutex);
    if (state->outgoing.size() + state->sending_bytes > kMaxOutgoingLogBytes) {
      ++state->dropped_lines;
      return;
    }
    if (state->dropped_lines > 0)
      message.line +=
          " (" + std::to_string(std::exchange(state->dropped_lines, 0)) + " lines before this were dropped)";
    append_frame(state->outgoing, RankMessage(std::move(message)), state->options.front.attempt);
    state->wakeup.notify();
  });
}

void FrontLink::report_failure(const std::exception& error) {
  FailureKind kind = FailureKind::environment;  // an Error: something outside the program, with its remedy
  if (dynamic_cast<const ConfigError*>(&error))
    kind = FailureKind::config;
  else if (dynamic_cast<const CheckpointError*>(&error))
    kind = FailureKind::checkpoint;
  else if (!dynamic_cast<const Error*>(&error))
    kind = FailureKind::internal;
  report_failure(kind, error.what());
}

void FrontLink::report_failure(FailureKind kind, const std::string& text) {
  const Beat beat = current_beat();
  state_->exit_code = kExitEngineFailure;
  state_->send(Failure{kind, state_->options.identity.rank, beat.step, beat.operation, text.substr(0, 65536)});
  state_->flush(kFailureFlush);
}

void FrontLink::fail(const std::exception& error) {
  report_failure(error);
  if (state_->options.front_is_a_rank) std::this_thread::sleep_for(kFrontsTurn);  // the beat thread sees it leave
  _exit(kExitEngineFailure);
}

void FrontLink::stop() {
  if (!state_->thread.joinable()) return;
  if (state_->forwarding) set_log_forwarder({});
  {
    std::lock_guard lock(state_->mutex);  // one step: a front that has read the one may be gone before the other
    append_frame(state_->outgoing, RankMessage(Stopped{}), state_->options.front.attempt);
    state_->stopping = true;
  }
  if (!state_->flush(kStopFlush)) state_->front_lost();
  state_->wakeup.notify();
  state_->thread.join();
  state_->socket.close();
}

void die_with_parent() {
  const pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kExitFrontLost);
}

static int environment_number(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* value = std::getenv(name); value && *value >= '0' && *value <= '9') return std::atoi(value);
  return -1;
}

int rank_from_environment() { return environment_number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"}); }
int world_from_environment() {
  return environment_number({"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"});
}

}  // namespace trireme
