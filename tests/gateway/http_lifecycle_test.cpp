// From the address to the last connection: listening, draining, closing, and what is left.

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "tests/gateway/http_server_fixture.h"

namespace trireme::test {
namespace {

class HttpLifecycle : public HttpServerTest {};

TEST_F(HttpLifecycle, SaysWhyItCannotListen) {
  options.port = start().port();
  try {
    HttpServer second(options, routes());
    FAIL() << "bound twice";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("127.0.0.1:" + std::to_string(options.port)), std::string::npos) << text;
    EXPECT_NE(text.find("--port"), std::string::npos) << text;
  }
  options.host = "no-such-host.invalid";
  EXPECT_THROW(HttpServer(options, routes()), Error);
}

TEST_F(HttpLifecycle, ServesAUnixSocket) {
  options.uds = ::testing::TempDir() + "http_" + std::to_string(::getpid()) + ".sock";
  for (int round = 0; round < 2; ++round) {
    start();
    EXPECT_THROW(HttpServer(options, routes()), Error) << "somebody listens";
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    options.uds.copy(address.sun_path, options.uds.size());
    ASSERT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const std::string request = get("/peer", "Connection: close\r\n");
    ASSERT_EQ(::send(socket, request.data(), request.size(), 0), ssize_t(request.size()));
    std::string answer(4096, '\0');
    size_t size = 0;
    for (ssize_t count; (count = ::recv(socket, answer.data() + size, answer.size() - size, 0)) > 0;) size += size_t(count);
    answer.resize(size);
    EXPECT_TRUE(answer.ends_with("\r\n\r\nunix")) << answer;
    ::close(socket);
    server_.reset();
    EXPECT_FALSE(std::filesystem::exists(options.uds));
    // A socket that a dead process left is taken over.
    const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(::bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ::close(dead);
  }
  std::filesystem::remove(options.uds);
}

TEST_F(HttpLifecycle, AnswersAClientThatDialledBeforeItStarted) {
  server_ = std::make_unique<HttpServer>(options, routes());
  RawClient early(server_->port());
  early.send(get("/hello"));
  server_->start();
  EXPECT_EQ(early.response().body, "hello");
}

TEST_F(HttpLifecycle, DrainsWhatIsUnderWay) {
  start();
  RawClient idle(server_->port()), busy(server_->port());
  idle.send(get("/hello"));
  EXPECT_EQ(idle.response().status, 200);
  const auto exchange = hold(busy);
  EXPECT_FALSE(server_->drain(50ms)) << "an answer is still pending";
  EXPECT_TRUE(idle.closed_by_server());
  std::thread later([&] {
    ::usleep(20'000);
    exchange->begin_stream(200, "text/event-stream");
    exchange->write("last words");
    exchange->end_stream();
  });
  const RawResponse answer = busy.response();
  EXPECT_EQ(answer.body, "last words");
  EXPECT_EQ(answer.field("Connection"), "close");
  busy.close();
  idle.close();
  EXPECT_TRUE(server_->drain(10s));
  later.join();
}

TEST_F(HttpLifecycle, CutsWhatIsLeftWhenItCloses) {
  start();
  RawClient client(server_->port());
  const auto exchange = hold(client);
  server_.reset();
  EXPECT_EQ(held_->hangups, 1);
  exchange->respond(200, "text/plain", "to nobody");  // outlives its server
  EXPECT_TRUE(client.closed_by_server());
}

size_t open_files() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

TEST_F(HttpLifecycle, LeaksNoFiles) {
  start();
  EXPECT_EQ(ask(get("/hello")).status, 200);
  EXPECT_TRUE(eventually([&] { return server_->counters().connections_open == 0; }));
  const size_t before = open_files();
  for (int i = 0; i < 200; ++i) {
    RawClient client(server_->port());
    switch (i % 5) {
      case 0: client.send(get("/hello")); break;
      case 1: client.send("garbage\r\n\r\n"); break;
      case 2: client.send(get("/hold")); break;
      case 3: client.send("GET / HT"); break;
      default: break;
    }
    if (i % 2) client.reset();
  }
  EXPECT_TRUE(eventually([&] { return server_->counters().connections_open == 0; }));
  EXPECT_EQ(open_files(), before);
}

TEST_F(HttpLifecycle, ServesTwoThousandStreamsAtOnce) {
  constexpr size_t kStreams = 2000;
  start();
  std::vector<RawClient> clients;
  for (size_t i = 0; i < kStreams; ++i) {
    clients.emplace_back(server_->port());
    clients.back().send(get("/hold"));
  }
  std::vector<std::shared_ptr<Exchange>> exchanges;
  for (size_t i = 0; i < kStreams; ++i) {
    exchanges.push_back(held_->take());
    ASSERT_TRUE(exchanges.back());
    exchanges.back()->begin_stream(200, "text/event-stream");
  }
  std::string wanted;
  for (int event = 0; event < 10; ++event) {
    const std::string bytes = "data: " + std::to_string(event) + "\n\n";
    wanted += bytes;
    for (const auto& exchange : exchanges) exchange->write(bytes);
  }
  for (const auto& exchange : exchanges) exchange->end_stream();
  for (RawClient& client : clients) ASSERT_EQ(client.response().body, wanted);
  EXPECT_EQ(server_->counters().connections_open, int64_t(kStreams));
  clients.clear();
  EXPECT_TRUE(eventually([&] { return server_->counters().connections_open == 0; }));
}

}  // namespace
}  // namespace trireme::test
