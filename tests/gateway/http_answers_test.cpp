// Requests and their answers: bodies, streams, paths, ids.

#include <cstdio>
#include <thread>

#include "tests/gateway/http_server_fixture.h"

namespace trireme::test {
namespace {

class HttpAnswers : public HttpServerTest {};

TEST_F(HttpAnswers, KeepsAConnectionForManyRequests) {
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

TEST_F(HttpAnswers, AnswersPipelinedRequestsInOrder) {
  RawClient client(start().port());
  std::string all;
  for (int i = 0; i < 200; ++i) all += post("/echo", std::to_string(i));
  client.send(all);
  for (int i = 0; i < 200; ++i) ASSERT_EQ(client.response().body, std::to_string(i));
}

TEST_F(HttpAnswers, HoldsPipelinedRequestsBackUntilTheAnswerBeforeIsOut) {
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

TEST_F(HttpAnswers, ClosesAConnectionThatPipelinesTooMuch) {
  options.limits.max_pipelined_bytes = 1000;
  RawClient client(start().port());
  client.send(get("/hold") + post("/echo", std::string(100'000, 'x')));
  const auto exchange = held_->take();
  exchange->respond(200, "text/plain", "done");
  EXPECT_EQ(client.response().body, "done");
  EXPECT_TRUE(client.closed_by_server());
  EXPECT_TRUE(client.buffer().empty());
}

TEST_F(HttpAnswers, NoticesAHangUpBehindTooMuchPipelining) {
  options.limits.max_pipelined_bytes = 1000;
  RawClient client(start().port());
  client.send(get("/hold") + std::string(5000, 'x'));
  const auto exchange = held_->take();
  client.close();
  EXPECT_TRUE(eventually([&] { return held_->hangups == 1; }));
}

TEST_F(HttpAnswers, TakesAndSendsBigBodies) {
  RawClient client(start().port());
  const std::string body(20 << 20, 'b');
  std::thread sender([&] { client.send(post("/echo", body)); });
  const RawResponse answer = client.response();
  sender.join();
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.body == body);
}

TEST_F(HttpAnswers, TakesChunkedBodies) {
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

TEST_F(HttpAnswers, RefusesABodyOverTheLimitBeforeItComes) {
  options.limits.framing.max_body_bytes = 1000;
  start();
  const RawResponse answer = ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.field("Connection"), "close");
}

TEST_F(HttpAnswers, BoundsTheBodiesOfAllRequestsTogether) {
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

TEST_F(HttpAnswers, SendsContinueWhenAskedAndOnlyIfItWillTakeTheBody) {
  RawClient client(start().port());
  client.send("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  ASSERT_TRUE(client.read_until("HTTP/1.1 100 Continue\r\n\r\n"));
  client.send("ab");
  EXPECT_EQ(client.response().body, "ab");
  const RawResponse refused = ask("POST /none HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(refused.status, 404);
  EXPECT_EQ(refused.field("Connection"), "close");
}

TEST_F(HttpAnswers, ServesHttp10) {
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

TEST_F(HttpAnswers, AnswersHeadWithoutABody) {
  RawClient client(start().port());
  client.send("HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n" + get("/hello"));
  const RawResponse head = client.response(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.field("Content-Length"), "5");
  EXPECT_EQ(client.response().body, "hello");
}

TEST_F(HttpAnswers, KnowsItsPathsAndMethods) {
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

TEST_F(HttpAnswers, EchoesAValidRequestIdAndMakesOneOtherwise) {
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

TEST_F(HttpAnswers, NamesThePeer) {
  start();
  EXPECT_EQ(ask(get("/peer")).body.rfind("127.0.0.1:", 0), 0u);
}

TEST_F(HttpAnswers, AnswersForHandlersThatDoNot) {
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

TEST_F(HttpAnswers, CutsAStreamThatIsDroppedOrAborted) {
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

TEST_F(HttpAnswers, IgnoresWhatComesAfterTheEnd) {
  RawClient client(start().port());
  const auto exchange = hold(client);
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

TEST_F(HttpAnswers, WritesFromManyThreadsWithoutTearing) {
  RawClient client(start().port());
  const auto exchange = hold_stream(client);
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

}  // namespace
}  // namespace trireme::test
