#include "gateway/engine_client.h"

#include <poll.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "base/check.h"
#include "protocol/codec.h"
#include "protocol/socket.h"

namespace trireme {
namespace {

constexpr size_t kMostStrangers = 64, kMostEvents = 1'000'000, kMaxCommandBytes = size_t(1) << 30;
constexpr Duration kStrangerTimeout = std::chrono::seconds(5), kKeepalivePeriod = std::chrono::milliseconds(500);
constexpr int kPollMs = 50;

TimePoint now() { return std::chrono::steady_clock::now(); }

struct Connection {
  FileDescriptor socket;
  FrameReader<RankMessage> reader;
  std::string outgoing;
  int rank = -1;  // -1: has not proved itself
  TimePoint since;
  bool closed = false;
};

size_t event_weight(const ClientEvent& event) {
  const auto* batch = std::get_if<std::vector<EngineEvent>>(&event);
  return batch ? batch->size() : 1;
}

}  // namespace

struct EngineClient::State {
  State(const EngineClientOptions& client_options, FileDescriptor listening)
      : options(client_options),
        listener(std::move(listening)),
        watch(options.world, options.limits, now()) {}

  void run();
  void accept_strangers();
  void wait_for_sockets();
  void read_all();
  void read(Connection& connection);
  void handle(Connection& connection, RankMessage&& message);
  void greet(Connection& connection, const Hello& hello);
  void write_all();
  void declare(EngineFault fault);
  void push(ClientEvent event);
  void command(const FrontMessage& message);

  const EngineClientOptions options;
  FrontEndpoint endpoint;
  FileDescriptor listener;
  Wakeup wakeup;
  std::vector<std::unique_ptr<Connection>> connections;  // I/O thread
  TimePoint next_keepalive = now();                      // I/O thread
  std::optional<EngineFault> fault;                      // I/O thread: the first one

  mutable std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  RankWatch watch;
  std::deque<ClientEvent> events;
  size_t queued_events = 0;
  std::string commands;  // frames for rank 0
  std::deque<std::vector<RequestId>> announced;  // of the newest plans, at most `plans_in_flight`
  size_t plans_in_flight = 2;
  std::vector<RequestId> started;  // not taken yet
  bool over = false;  // a fault or the clean end: nothing more is read
  bool closing = false, woken = false;

  std::thread thread;
};

void EngineClient::State::push(ClientEvent event) {
  std::lock_guard lock(mutex);
  queued_events += event_weight(event);
  events.push_back(std::move(event));
  changed.notify_all();
}

void EngineClient::State::declare(EngineFault new_fault) {
  if (fault) return;
  fault = std::move(new_fault);
}

void EngineClient::State::accept_strangers() {
  for (;;) {
    FileDescriptor socket = accept_connection(listener);
    if (!socket.valid()) return;
    const auto strangers =
        std::count_if(connections.begin(), connections.end(), [](const auto& c) { return c->rank < 0; });
    if (size_t(strangers) >= kMostStrangers) continue;  // closed by the destructor; a rank dials again
    connections.push_back(std::make_unique<Connection>(Connection{
        std::move(socket), FrameReader<RankMessage>(options.attempt, kMaxHelloBytes), {}, -1, now(), false}));
  }
}

// Proves a stranger: the attempt's key, a rank that exists and has not called yet, the world we expect.
void EngineClient::State::greet(Connection& connection, const Hello& hello) {
  std::lock_guard lock(mutex);
  const bool proved = keys_equal(hello.key, endpoint.key);
  const std::string address = proved ? peer_address(connection.socket) : "";
  if (proved && connection.rank == hello.rank)  // its GPU, told later
    return watch.on_hello(hello.rank, hello, now(), address);
  if (!proved || connection.rank >= 0 || hello.rank < 0 || hello.rank >= options.world ||
      watch.ranks()[size_t(hello.rank)].connected) {
    connection.closed = true;
    return;
  }
  connection.rank = hello.rank;
  connection.reader.set_max_frame_bytes(kMaxFrameBytes);
  watch.on_hello(hello.rank, hello, now(), address);
  append_frame(connection.outgoing, FrontMessage(Welcome{}), options.attempt);
  changed.notify_all();
}

void EngineClient::State::handle(Connection& connection, RankMessage&& message) {
  const int rank = connection.rank;
  if (const auto* hello = std::get_if<Hello>(&message)) return greet(connection, *hello);
  if (rank < 0) {
    connection.closed = true;
    return;
  }
  if (auto* log = std::get_if<LogLine>(&message)) return push(RankLog{rank, std::move(*log)});
  if (auto* facts = std::get_if<EngineFacts>(&message)) {
    {
      std::lock_guard lock(mutex);
      plans_in_flight = size_t(std::clamp(facts->pp, 1, options.world)) + 1;
    }
    return push(std::move(*facts));
  }
  if (auto* batch = std::get_if<EventBatch>(&message)) {
    {
      std::lock_guard lock(mutex);
      watch.on_output(rank, now());
    }
    return push(std::move(batch->events));
  }
  std::lock_guard lock(mutex);
  if (const auto* beat = std::get_if<Beat>(&message)) watch.on_beat(rank, *beat, now());
  if (std::holds_alternative<Stopped>(message)) watch.on_stopped(rank);
  if (auto* announce = std::get_if<Announce>(&message)) {
    std::ranges::sort(announce->requests);
    for (RequestId request : announce->requests)
      if (std::ranges::none_of(announced, [&](const auto& plan) { return std::ranges::binary_search(plan, request); }))
        started.push_back(request);
    announced.push_back(std::move(announce->requests));
    if (announced.size() > plans_in_flight) announced.pop_front();
  }
  if (auto* failure = std::get_if<Failure>(&message)) {
    failure->rank = rank;
    declare(watch.failed(*failure, now()));
  }
}

void EngineClient::State::read(Connection& connection) {
  const SocketRead read = read_available(connection.socket, connection.rank < 0 ? 2 * kMaxHelloBytes : size_t(4) << 20);
  try {
    connection.reader.feed(read.bytes);
    if (connection.rank >= 0 && !read.bytes.empty()) {
      std::lock_guard lock(mutex);
      watch.on_heard(connection.rank, now());
    }
    while (!connection.closed && !fault)
      if (auto message = connection.reader.next())
        handle(connection, std::move(*message));
      else
        break;
  } catch (const Error& error) {
    connection.closed = true;
    std::lock_guard lock(mutex);
    if (connection.rank >= 0) declare(watch.fault(FaultKind::protocol, connection.rank, error.what(), now()));
  }
  if (!read.ended) return;
  connection.closed = true;
  if (connection.rank < 0) return;
  std::lock_guard lock(mutex);
  watch.on_ended(connection.rank);
}

void EngineClient::State::read_all() {
  for (auto& connection : connections) {
    if (fault) return;
    read(*connection);
    if (connection->rank < 0 && now() - connection->since > kStrangerTimeout) connection->closed = true;
  }
  std::erase_if(connections, [](const auto& connection) { return connection->closed; });
}

void EngineClient::State::write_all() {
  const bool keepalive = now() >= next_keepalive;
  if (keepalive) next_keepalive = now() + kKeepalivePeriod;
  for (auto& connection : connections) {
    if (connection->rank < 0) continue;
    if (keepalive && connection->outgoing.empty())
      append_frame(connection->outgoing, FrontMessage(Keepalive{}), options.attempt);
    if (connection->rank == 0) {
      std::lock_guard lock(mutex);
      connection->outgoing += commands;
      commands.clear();
    }
    write_available(connection->socket, connection->outgoing);  // a broken one shows as its end when read
  }
}

void EngineClient::State::wait_for_sockets() {
  std::vector<pollfd> entries = {{listener.get(), POLLIN, 0}, {wakeup.descriptor(), POLLIN, 0}};
  for (const auto& connection : connections)
    entries.push_back({connection->socket.get(), short(POLLIN | (connection->outgoing.empty() ? 0 : POLLOUT)), 0});
  ::poll(entries.data(), entries.size(), kPollMs);
  wakeup.drain();
}

void EngineClient::State::run() {
  for (;;) {
    wait_for_sockets();
    const TimePoint looked = now();  // what came before this is read before anybody is judged
    bool full = false;
    {
      std::lock_guard lock(mutex);
      if (closing) return;
      full = queued_events > kMostEvents;
    }
    accept_strangers();
    if (full)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the caller is behind: read nobody, judge nobody
    else
      read_all();
    write_all();
    std::unique_lock lock(mutex);
    if (!fault && !full) fault = watch.judge(looked);
    if (fault || watch.all_stopped()) {
      over = true;
      ClientEvent last = fault ? ClientEvent(*fault) : ClientEvent(EngineStopped{});
      lock.unlock();
      push(std::move(last));
      listener.close();
      return;
    }
  }
}

EngineClient::EngineClient(const EngineClientOptions& options)
    : state_(std::make_unique<State>(options, listen_on(options.listen_address))) {
  FrontEndpoint& endpoint = state_->endpoint;
  endpoint.attempt = options.attempt;
  endpoint.key = make_attempt_key();
  endpoint.address = options.listen_address;
  if (options.listen_address.rfind("tcp:", 0) == 0)
    endpoint.address = "tcp:" + options.advertised_host + ":" + std::to_string(listening_port(state_->listener));
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

EngineClient::~EngineClient() {
  {
    std::lock_guard lock(state_->mutex);
    state_->closing = true;
  }
  state_->wakeup.notify();
  state_->thread.join();
}

const FrontEndpoint& EngineClient::endpoint() const { return state_->endpoint; }

std::vector<ClientEvent> EngineClient::poll(std::chrono::milliseconds timeout) {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait_for(lock, timeout, [this] { return state_->woken || !state_->events.empty(); });
  state_->woken = false;
  std::vector<ClientEvent> events(std::make_move_iterator(state_->events.begin()),
                                  std::make_move_iterator(state_->events.end()));
  state_->events.clear();
  state_->queued_events = 0;
  return events;
}

void EngineClient::State::command(const FrontMessage& message) {
  std::lock_guard lock(mutex);
  if (over) return;
  append_frame(commands, message, options.attempt);
  if (commands.size() > kMaxCommandBytes) throw Error("too many requests are waiting for the engine");
  wakeup.notify();
}

void EngineClient::submit(Request request) { state_->command(SubmitCommand{std::move(request)}); }
void EngineClient::cancel(RequestId request, int32_t choice) { state_->command(CancelCommand{request, choice}); }
void EngineClient::shutdown(bool drain) { state_->command(ShutdownCommand{drain}); }

void EngineClient::wake() {
  std::lock_guard lock(state_->mutex);
  state_->woken = true;
  state_->changed.notify_all();
}

std::vector<RankState> EngineClient::ranks() const {
  std::lock_guard lock(state_->mutex);
  return state_->watch.ranks();
}

bool EngineClient::output_outstanding() const {
  std::lock_guard lock(state_->mutex);
  return !state_->events.empty();
}

std::vector<RequestId> EngineClient::take_started() {
  std::lock_guard lock(state_->mutex);
  return std::exchange(state_->started, {});
}

std::vector<RequestId> EngineClient::suspects() const {
  std::lock_guard lock(state_->mutex);
  std::set<RequestId> requests;
  for (const std::vector<RequestId>& plan : state_->announced) requests.insert(plan.begin(), plan.end());
  return {requests.begin(), requests.end()};
}

}  // namespace trireme
