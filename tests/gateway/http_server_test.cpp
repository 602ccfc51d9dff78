#include "gateway/http/http_server.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "tests/gateway/http_client.h"

namespace trireme::test {
namespace {

using namespace std::chrono_literals;

// Keeps the exchanges that come to "/hold", for the test to answer.
struct Held {
  std::mutex mutex;
  std::vector<std::shared_ptr<Exchange>> exchanges;
  std::atomic<int> hangups{0};

  std::shared_ptr<Exchange> take() {
    std::shared_ptr<Exchange> taken;
    eventually([&] {
      std::lock_guard lock(mutex);
      if (exchanges.empty()) return false;
      taken = exchanges.front();
      exchanges.erase(exchanges.begin());
      return true;
    });
    return taken;
  }
};

std::string get(const std::string& path, const std::string& fields = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}
std::string post(const std::string& path, const std::string& body, const std::string& fields = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + fields +
         "\r\n" + body;
}

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() { options.port = 0; }

  std::vector<Route> routes() {
    const auto held = held_;
    const Handler echo = [](std::shared_ptr<Exchange> e) { e->respond(200, "text/plain", e->request().body); };
    const Handler hold = [held](std::shared_ptr<Exchange> e) {
      e->on_hangup([held] { ++held->hangups; });
      std::lock_guard lock(held->mutex);
      held->exchanges.push_back(std::move(e));
    };
    return {{"GET", "/hello", Access::open, [](auto e) { e->respond(200, "text/plain", "hello"); }},
            {"POST", "/echo", Access::open, echo},
            {"GET", "/id", Access::open, [](auto e) { e->respond(200, "text/plain", e->request().id); }},
            {"GET", "/peer", Access::open, [](auto e) { e->respond(200, "text/plain", e->request().peer); }},
            {"GET", "/drop", Access::open, [](auto) {}},
            {"GET", "/throw", Access::open, [](auto) { throw std::runtime_error("secret detail"); }},
            {"GET", "/client-fault", Access::open, [](auto) { throw RequestError("n must be at least 1"); }},
            {"GET", "/evil", Access::open, [](auto e) { e->respond(200, "a/b", "", {{"X", "a\r\nSet-Cookie: b"}}); }},
            {"GET", "/files/*/content", Access::open, [](auto e) { e->respond(200, "a/b", e->request().path); }},
            {"GET", "/models/*", Access::open, [](auto e) { e->respond(200, "a/b", "m" + e->request().path); }},
            {"GET", "/guarded", Access::api_key, [](auto e) { e->respond(200, "a/b", "in"); }},
            {"POST", "/guarded", Access::api_key, echo},
            {"GET", "/metrics", Access::metrics_key, [](auto e) { e->respond(200, "a/b", "metrics"); }},
            {"GET", "/hold", Access::open, hold},
            {"POST", "/hold", Access::open, hold}};
  }
  HttpServer& start() {
    server_ = std::make_unique<HttpServer>(options, routes());
    server_->start();
    return *server_;
  }
  RawResponse ask(const std::string& request, bool head_only = false) {
    RawClient client(server_->port());
    client.send(request);
    return client.response(head_only);
  }

  HttpServerOptions options;
  std::shared_ptr<Held> held_ = std::make_shared<Held>();
  std::unique_ptr<HttpServer> server_;
};

// ---- answers

TEST_F(HttpServerTest, KeepsAConnectionForManyRequests) {
  RawClient client(start().port());
  for (int i = 0; i < 100; ++i) {
    client.send(i % 2 ? get("/hello") : post("/echo", std::string(size_t(i), 'x')));
    const RawResponse answer = client.response();
    ASSERT_EQ(answer.status, 200);
    ASSERT_EQ(answer.body, i % 2 ? "hello" : std::string(size_t(i), 'x'));
    ASSERT_EQ(answer.field("Connection"), "");
    ASSERT_NE(answer.field("Date"), "");
  }
  const HttpCounters counters = server_->counters();
  EXPECT_EQ(counters.connections_accepted, 1u);
  EXPECT_EQ(counters.connections_open, 1);
  EXPECT_EQ(counters.answers.at(200), 100u);
  EXPECT_GT(counters.bytes_in, 5000u);
  EXPECT_GT(counters.bytes_out, 10000u);
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  RawClient client(start().port());
  std::string all;
  for (int i = 0; i < 200; ++i) all += post("/echo", std::to_string(i));
  client.send(all);
  for (int i = 0; i < 200; ++i) ASSERT_EQ(client.response().body, std::to_string(i));
}

TEST_F(HttpServerTest, HoldsPipelinedRequestsBackUntilTheAnswerBeforeIsOut) {
  RawClient client(start().port());
  client.send(get("/hold") + get("/hello"));
  const auto exchange = held_->take();
  exchange->begin_stream(200, "text/event-stream");
  exchange->write("one");
  exchange->write("two");
  exchange->end_stream();
  EXPECT_EQ(client.response().body, "onetwo");
  EXPECT_EQ(client.response().body, "hello");
}

TEST_F(HttpServerTest, ClosesAConnectionThatPipelinesTooMuch) {
  options.limits.max_pipelined_bytes = 1000;
  RawClient client(start().port());
  client.send(get("/hold") + post("/echo", std::string(100'000, 'x')));
  const auto exchange = held_->take();
  exchange->respond(200, "text/plain", "done");
  EXPECT_EQ(client.response().body, "done");
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_TRUE(client.buffer().empty());
}

TEST_F(HttpServerTest, NoticesAHangUpBehindTooMuchPipelining) {
  options.limits.max_pipelined_bytes = 1000;
  RawClient client(start().port());
  client.send(get("/hold") + std::string(5000, 'x'));
  const auto exchange = held_->take();
  client.close();
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
}

TEST_F(HttpServerTest, TakesAndSendsBigBodies) {
  RawClient client(start().port());
  const std::string body(20 << 20, 'b');
  std::thread sender([&] { client.send(post("/echo", body)); });
  const RawResponse answer = client.response();
  sender.join();
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.body == body);
}

TEST_F(HttpServerTest, TakesChunkedBodies) {
  RawClient client(start().port());
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  std::string body;
  for (int i = 1; i < 300; ++i) {
    const std::string part(size_t(i), char('a' + i % 26));
    char size[16];
    std::snprintf(size, sizeof(size), "%x\r\n", i);
    client.send(size + part + "\r\n");
    body += part;
  }
  client.send("0\r\n\r\n");
  EXPECT_EQ(client.response().body, body);
}

TEST_F(HttpServerTest, RefusesABodyOverTheLimitBeforeItComes) {
  options.limits.framing.max_body_bytes = 1000;
  start();
  const RawResponse answer = ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.field("Connection"), "close");
}

TEST_F(HttpServerTest, BoundsTheBodiesOfAllRequestsTogether) {
  options.limits.max_buffered_body_bytes = 10'000;
  RawClient first(start().port());
  first.send(post("/hold", std::string(8000, 'x')));
  auto exchange = held_->take();
  const RawResponse refused = ask(post("/echo", std::string(4000, 'x')));
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.field("Retry-After"), "1");
  exchange->respond(200, "a/b", "");
  exchange.reset();
  EXPECT_EQ(first.response().status, 200);
  EXPECT_TRUE(eventually([&] { return server_->counters().buffered_body_bytes == 0; }));
  EXPECT_EQ(ask(post("/echo", std::string(4000, 'x'))).status, 200);
}

TEST_F(HttpServerTest, SendsContinueWhenAskedAndOnlyIfItWillTakeTheBody) {
  RawClient client(start().port());
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  ASSERT_TRUE(client.read_until("HTTP/1.1 100 Continue\r\n\r\n"));
  client.send("ab");
  EXPECT_EQ(client.response().body, "ab");
  const RawResponse refused = ask("POST /none HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(refused.status, 404);
  EXPECT_EQ(refused.field("Connection"), "close");
}

TEST_F(HttpServerTest, ServesHttp10) {
  RawClient client(start().port());
  client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(client.response().field("Connection"), "keep-alive");
  client.send("GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const auto exchange = held_->take();
  exchange->begin_stream(200, "text/plain");
  exchange->write("unframed");
  exchange->end_stream();
  const RawResponse stream = client.response();
  EXPECT_EQ(stream.field("Transfer-Encoding"), "");
  EXPECT_EQ(stream.field("Connection"), "close");
  EXPECT_EQ(stream.body, "unframed");
}

TEST_F(HttpServerTest, AnswersHeadWithoutABody) {
  RawClient client(start().port());
  client.send("HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n" + get("/hello"));
  const RawResponse head = client.response(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.field("Content-Length"), "5");
  EXPECT_EQ(client.response().body, "hello");
}

TEST_F(HttpServerTest, KnowsItsPathsAndMethods) {
  start();
  const RawResponse missing = ask(get("/nothing"));
  EXPECT_EQ(missing.status, 404);
  EXPECT_NE(missing.body.find("NotFoundError"), std::string::npos);
  const RawResponse method = ask("DELETE /hello HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.field("Allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(ask(get("/files/x/content")).body, "/files/x/content");
  EXPECT_EQ(ask(get("/files/x/y/content")).status, 404);
  EXPECT_EQ(ask(get("/files//content")).status, 404);
  EXPECT_EQ(ask(get("/models/org%2Fname")).body, "m/models/org/name");
  EXPECT_EQ(ask(get("/models/")).status, 404);
  const RawResponse options_answer = ask("OPTIONS /echo HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(options_answer.status, 204);
  EXPECT_EQ(options_answer.field("Allow"), "POST, OPTIONS");
  EXPECT_EQ(ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status, 204);
  EXPECT_EQ(ask("TRACE /hello HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
}

TEST_F(HttpServerTest, EchoesAValidRequestIdAndMakesOneOtherwise) {
  start();
  const RawResponse given = ask(get("/id", "X-Request-Id: job-7.a:b_c\r\n"));
  EXPECT_EQ(given.body, "job-7.a:b_c");
  EXPECT_EQ(given.field("X-Request-Id"), given.body);
  for (const std::string bad : {"a b", "a/b", "\xc3\xa9"}) {
    const RawResponse made = ask(get("/id", "X-Request-Id: " + bad + "\r\n"));
    EXPECT_EQ(made.body.size(), 32u);
    EXPECT_EQ(made.field("X-Request-Id"), made.body);
  }
  EXPECT_NE(ask(get("/id")).body, ask(get("/id")).body);
}

TEST_F(HttpServerTest, NamesThePeer) {
  start();
  EXPECT_EQ(ask(get("/peer")).body.rfind("127.0.0.1:", 0), 0u);
}

TEST_F(HttpServerTest, AnswersForHandlersThatDoNot) {
  RawClient client(start().port());
  client.send(get("/drop") + get("/throw") + get("/client-fault") + get("/evil"));
  EXPECT_EQ(client.response().status, 500);
  const RawResponse thrown = client.response();
  EXPECT_EQ(thrown.status, 500);
  EXPECT_EQ(thrown.body.find("secret"), std::string::npos);
  const RawResponse fault = client.response();
  EXPECT_EQ(fault.status, 400);
  EXPECT_NE(fault.body.find("n must be at least 1"), std::string::npos);
  EXPECT_EQ(client.response().head.find("\r\nSet-Cookie"), std::string::npos);
}

TEST_F(HttpServerTest, CutsAStreamThatIsDroppedOrAborted) {
  start();
  for (const bool aborts : {true, false}) {
    for (const std::string version : {"1.1", "1.0"}) {
      RawClient client(server_->port());
      client.send("GET /hold HTTP/" + version + "\r\nHost: a\r\n\r\n");
      auto exchange = held_->take();
      exchange->begin_stream(200, "text/plain");
      exchange->write("part");
      if (aborts) exchange->abort();
      exchange.reset();
      if (version == "1.1") {
        EXPECT_EQ(client.response().status, -1);
      } else {
        char byte;
        ssize_t count;
        while ((count = ::recv(client.socket(), &byte, 1, 0)) > 0) {
        }
        EXPECT_EQ(count, -1) << "an HTTP/1.0 client must see a reset, not an end";
      }
    }
  }
  EXPECT_EQ(held_->hangups, 0);
}

TEST_F(HttpServerTest, IgnoresWhatComesAfterTheEnd) {
  RawClient client(start().port());
  client.send(get("/hold"));
  const auto exchange = held_->take();
  exchange->write("before the beginning");
  exchange->respond(200, "text/plain", "first");
  exchange->respond(200, "text/plain", "second");
  exchange->begin_stream(200, "text/plain");
  exchange->write("x");
  exchange->end_stream();
  exchange->abort();
  EXPECT_EQ(client.response().body, "first");
  client.send(get("/hello"));
  EXPECT_EQ(client.response().body, "hello");
}

TEST_F(HttpServerTest, WritesFromManyThreadsWithoutTearing) {
  RawClient client(start().port());
  client.send(get("/hold"));
  const auto exchange = held_->take();
  exchange->begin_stream(200, "text/event-stream");
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) exchange->write("<" + std::string(20, char('a' + t)) + ">");
    });
  }
  for (std::thread& writer : writers) writer.join();
  exchange->end_stream();
  const std::string body = client.response().body;
  ASSERT_EQ(body.size(), 4u * 500 * 22);
  for (size_t i = 0; i < body.size(); i += 22) ASSERT_EQ(body.substr(i + 1, 20), std::string(20, body[i + 1]));
}

// ---- clients that leave

TEST_F(HttpServerTest, NoticesAClientThatLeavesWhileItsAnswerIsPending) {
  start();
  for (const bool resets : {false, true}) {
    RawClient client(server_->port());
    client.send(get("/hold"));
    const auto exchange = held_->take();
    const int before = held_->hangups;
    if (resets) {
      client.reset();
    } else {
      client.close();
    }
    EXPECT_TRUE(eventually([&] { return held_->hangups == before + 1; }));
    exchange->respond(200, "text/plain", "to nobody");
    bool called = false;
    exchange->on_hangup([&] { called = true; });
    EXPECT_TRUE(called) << "at once if it has left";
  }
  EXPECT_TRUE(eventually([&] { return server_->counters().connections_open == 0; }));
  EXPECT_EQ(server_->counters().hangups, 2u);
}

TEST_F(HttpServerTest, NoticesAClientThatLeavesInMidStream) {
  RawClient client(start().port());
  client.send(get("/hold"));
  const auto exchange = held_->take();
  exchange->begin_stream(200, "text/event-stream");
  exchange->write("data: 1\n\n");
  ASSERT_TRUE(client.read_until("data: 1"));
  client.close();
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
  exchange->write("data: 2\n\n");
  exchange->end_stream();
  EXPECT_EQ(exchange->unsent_bytes(), 0u);
}

TEST_F(HttpServerTest, TakesAHalfCloseForLeavingUnlessTheAnswerIsThere) {
  start();
  RawClient quick(server_->port());
  quick.send(get("/hello") + get("/hello"));
  quick.half_close();
  EXPECT_EQ(quick.response().body, "hello");
  EXPECT_EQ(quick.response().body, "hello");
  RawClient slow(server_->port());
  slow.send(get("/hold"));
  const auto exchange = held_->take();
  slow.half_close();
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
  RawClient behind(server_->port());
  behind.send(get("/hello") + get("/hold"));
  behind.half_close();
  EXPECT_EQ(behind.response().body, "hello");
  EXPECT_TRUE(eventually([&] { return held_->hangups == 2; }));
}

TEST_F(HttpServerTest, AnswersAHalfClosedClientIfToldTo) {
  options.allow_half_close = true;
  RawClient client(start().port());
  client.send(get("/hold"));
  client.half_close();
  const auto exchange = held_->take();
  ::usleep(20'000);
  exchange->respond(200, "text/plain", "late");
  EXPECT_EQ(client.response().body, "late");
  EXPECT_TRUE(client.closed_by_server());
}

// ---- clocks and limits, with short ones injected

TEST_F(HttpServerTest, EndsASlowHeader) {
  options.limits.header_timeout = 100ms;
  RawClient client(start().port());
  client.send("GET / HTTP/1.1\r\nHost: a\r\n");
  for (int i = 0; i < 400 && !client.read_some(5); ++i) client.send("X: y\r\n");
  const RawResponse answer = client.response();
  EXPECT_EQ(answer.status, 408);
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_EQ(server_->counters().timeouts, 1u);
}

TEST_F(HttpServerTest, EndsASilentConnection) {
  options.limits.header_timeout = 100ms;
  RawClient client(start().port());
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(HttpServerTest, EndsASlowBody) {
  options.limits.body_timeout = 100ms;
  options.limits.min_body_rate = 1'000'000;
  RawClient client(start().port());
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
  for (int i = 0; i < 400 && !client.read_some(5); ++i) client.send("x");
  EXPECT_EQ(client.response().status, 408);
}

TEST_F(HttpServerTest, EndsAnIdleConnectionButNotAPendingAnswer) {
  options.limits.idle_timeout = 100ms;
  options.limits.header_timeout = 100ms;
  RawClient client(start().port());
  client.send(get("/hold"));
  const auto exchange = held_->take();
  ::usleep(300'000);
  exchange->respond(200, "text/plain", "patience");
  EXPECT_EQ(client.response().body, "patience");
  EXPECT_TRUE(client.closed_by_server());
}

TEST_F(HttpServerTest, CutsAReaderThatHasStopped) {
  options.limits.write_timeout = 200ms;
  options.limits.socket_send_buffer = 8 << 10;
  options.limits.max_unsent_bytes = 100 << 20;
  RawClient client(start().port(), 8 << 10);
  client.send(get("/hold"));
  const auto exchange = held_->take();
  exchange->begin_stream(200, "text/event-stream");
  for (int i = 0; i < 2000 && held_->hangups == 0; ++i) exchange->write(std::string(1000, 'x'));
  EXPECT_GT(exchange->unsent_bytes(), 1'000'000u);
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
  EXPECT_EQ(exchange->unsent_bytes(), 0u);
  EXPECT_EQ(server_->counters().slow_readers_cut, 1u);
}

TEST_F(HttpServerTest, CutsAReaderThatIsBehindForTooLong) {
  options.limits.slow_reader_bytes = 50'000;
  options.limits.slow_reader_timeout = 200ms;
  options.limits.socket_send_buffer = 8 << 10;
  options.limits.max_unsent_bytes = 100 << 20;
  RawClient client(start().port(), 8 << 10);
  client.send(get("/hold"));
  const auto exchange = held_->take();
  exchange->begin_stream(200, "text/event-stream");
  for (int i = 0; i < 2000; ++i) exchange->write(std::string(1000, 'x'));
  while (held_->hangups == 0 && client.read_some(1)) ::usleep(2000);  // it reads, but slowly
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
}

TEST_F(HttpServerTest, CutsAReaderWhoseBacklogIsTooLarge) {
  options.limits.max_unsent_bytes = 100'000;
  options.limits.socket_send_buffer = 8 << 10;
  RawClient client(start().port(), 8 << 10);
  client.send(get("/hold"));
  const auto exchange = held_->take();
  exchange->begin_stream(200, "text/event-stream");
  for (int i = 0; i < 10'000 && held_->hangups == 0; ++i) exchange->write(std::string(1000, 'x'));
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
}

TEST_F(HttpServerTest, LetsASlowButSteadyReaderHaveABigAnswer) {
  options.limits.write_timeout = 150ms;
  options.limits.min_write_rate = 100;
  options.limits.socket_send_buffer = 8 << 10;
  RawClient client(start().port(), 8 << 10);
  client.send(get("/hold"));
  held_->take()->respond(200, "text/plain", std::string(400'000, 'y'));
  while (client.buffer().size() < 400'000 && client.read_some()) ::usleep(1000);
  EXPECT_EQ(client.response().body.size(), 400'000u);
}

TEST_F(HttpServerTest, RefusesConnectionsOverTheLimits) {
  options.limits.max_connections = 3;
  options.limits.max_connections_per_peer = 2;
  start();
  RawClient first(server_->port()), second(server_->port());
  first.send(get("/hello"));
  second.send(get("/hello"));
  EXPECT_EQ(first.response().status, 200);
  EXPECT_EQ(second.response().status, 200);
  RawClient third(server_->port());
  const RawResponse refused = third.response();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.field("Retry-After"), "1");
  EXPECT_EQ(server_->counters().connections_refused, 1u);
  first.close();
  EXPECT_TRUE(eventually([&] { return server_->counters().connections_open == 1; }));
  EXPECT_EQ(ask(get("/hello")).status, 200);
}

// ---- keys

TEST_F(HttpServerTest, AsksForAKeyWhereOneIsSet) {
  options.keys.api_keys = {"alpha", "beta"};
  start();
  EXPECT_EQ(ask(get("/hello")).status, 200);
  const RawResponse refused = ask(get("/guarded"));
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.field("WWW-Authenticate"), "Bearer");
  EXPECT_NE(refused.body.find("\"code\":401"), std::string::npos);
  for (const std::string good : {"Bearer alpha", "Bearer beta", "bearer beta", "Bearer   alpha"}) {
    EXPECT_EQ(ask(get("/guarded", "Authorization: " + good + "\r\n")).status, 200) << good;
  }
  for (const std::string bad : {"Bearer alph", "Bearer alphaa", "Bearer Alpha", "Bearer", "Basic alpha", "alpha", "Bearer ",
                                "Bearer alpha beta", "Beareralpha"}) {
    EXPECT_EQ(ask(get("/guarded", "Authorization: " + bad + "\r\n")).status, 401) << bad;
  }
  EXPECT_EQ(ask(get("/guarded", "Authorization: Bearer " + std::string(300, 'a') + "\r\n")).status, 401);
  EXPECT_EQ(ask(get("/metrics")).status, 200) << "no metrics key is set";
  const RawResponse early = ask("POST /guarded HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
  EXPECT_EQ(early.status, 401) << "before the body";
}

TEST_F(HttpServerTest, GuardsMetricsByItsOwnKey) {
  options.keys.api_keys = {"alpha"};
  options.keys.metrics_keys = {"gauge"};
  start();
  EXPECT_EQ(ask(get("/metrics")).status, 401);
  EXPECT_EQ(ask(get("/metrics", "Authorization: Bearer gauge\r\n")).status, 200);
  EXPECT_EQ(ask(get("/metrics", "Authorization: Bearer alpha\r\n")).status, 200);
  EXPECT_EQ(ask(get("/guarded", "Authorization: Bearer gauge\r\n")).status, 401);
}

TEST_F(HttpServerTest, RereadsTheKeyFile) {
  const std::string path = ::testing::TempDir() + "http_keys_" + std::to_string(::getpid());
  const auto write_keys = [&](const std::string& text) { std::ofstream(path) << text; };
  write_keys("# comment\nold-key\r\n\n");
  options.keys.api_key_file = path;
  start();
  const auto status = [&](const std::string& key) {
    return ask(get("/guarded", "Authorization: Bearer " + key + "\r\n")).status;
  };
  EXPECT_EQ(status("old-key"), 200);
  write_keys("new-key\n");
  EXPECT_EQ(status("new-key"), 401);
  server_->reload();
  EXPECT_EQ(status("new-key"), 200);
  EXPECT_EQ(status("old-key"), 401);
  write_keys("\n");
  EXPECT_THROW(server_->reload(), ConfigError);
  EXPECT_EQ(status("new-key"), 200) << "a bad file leaves the old keys";
  std::filesystem::remove(path);
  EXPECT_THROW(server_->reload(), ConfigError);
}

TEST_F(HttpServerTest, RefusesKeysThatNoHeaderCanCarry) {
  for (const std::string bad : {"", "a b", "a\n", "\xc3\xa9"}) {
    options.keys.api_keys = {bad};
    EXPECT_THROW(HttpServer(options, routes()), ConfigError);
  }
}

// ---- CORS

TEST_F(HttpServerTest, HasNoCorsByDefault) {
  start();
  EXPECT_EQ(ask(get("/hello", "Origin: https://x.example\r\n")).head.find("Access-Control"), std::string::npos);
  const RawResponse preflight =
      ask("OPTIONS /echo HTTP/1.1\r\nHost: a\r\nOrigin: https://x\r\nAccess-Control-Request-Method: POST\r\n\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.head.find("Access-Control"), std::string::npos);
}

TEST_F(HttpServerTest, AnswersAllowedOrigins) {
  options.cors.allowed_origins = {"https://x.example"};
  options.cors.allow_credentials = true;
  options.keys.api_keys = {"alpha"};
  start();
  const RawResponse allowed = ask(get("/guarded", "Origin: https://x.example\r\n"));
  EXPECT_EQ(allowed.field("Access-Control-Allow-Origin"), "https://x.example");
  EXPECT_EQ(allowed.field("Access-Control-Allow-Credentials"), "true");
  EXPECT_EQ(allowed.field("Vary"), "Origin");
  EXPECT_EQ(ask(get("/hello", "Origin: https://y.example\r\n")).field("Access-Control-Allow-Origin"), "");
  const RawResponse preflight =
      ask("OPTIONS /guarded HTTP/1.1\r\nHost: a\r\nOrigin: https://x.example\r\nAccess-Control-Request-Method: POST\r\n"
          "Access-Control-Request-Headers: authorization, content-type\r\n\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.field("Access-Control-Allow-Methods"), "POST");
  EXPECT_EQ(preflight.field("Access-Control-Allow-Headers"), "authorization, content-type");
}

// ---- addresses, draining, resources

TEST_F(HttpServerTest, SaysWhyItCannotListen) {
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

TEST_F(HttpServerTest, ServesAUnixSocket) {
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

TEST_F(HttpServerTest, AnswersAClientThatDialledBeforeItStarted) {
  server_ = std::make_unique<HttpServer>(options, routes());
  RawClient early(server_->port());
  early.send(get("/hello"));
  server_->start();
  EXPECT_EQ(early.response().body, "hello");
}

TEST_F(HttpServerTest, DrainsWhatIsUnderWay) {
  start();
  RawClient idle(server_->port()), busy(server_->port());
  idle.send(get("/hello"));
  EXPECT_EQ(idle.response().status, 200);
  busy.send(get("/hold"));
  const auto exchange = held_->take();
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

TEST_F(HttpServerTest, CutsWhatIsLeftWhenItCloses) {
  start();
  RawClient client(server_->port());
  client.send(get("/hold"));
  const auto exchange = held_->take();
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

TEST_F(HttpServerTest, LeaksNoFiles) {
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

TEST_F(HttpServerTest, ServesTwoThousandStreamsAtOnce) {
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
