#include "launcher/http_stream.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"

namespace trireme {
namespace {

// The body, however the bytes are cut.
std::string body_of(const std::string& bytes, size_t cut, bool close = false) {
  HttpResponseReader reader;
  std::string body;
  for (size_t at = 0; at < bytes.size(); at += cut)
    reader.feed(std::string_view(bytes).substr(at, cut), [&body](std::string_view part) { body += part; });
  if (close) reader.on_close();
  return reader.complete() ? std::to_string(reader.status()) + " " + body : "incomplete";
}

TEST(HttpResponseReader, ReadsEveryKindOfBodyHoweverItIsCut) {
  for (size_t cut : {1, 2, 3, 7, 1000}) {
    EXPECT_EQ(body_of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", cut), "200 hello");
    EXPECT_EQ(
        body_of("HTTP/1.1 404 Not\r\ntransfer-encoding:  Chunked \r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: x\r\n\r\n",
                cut),
        "404 hello");
    EXPECT_EQ(body_of("HTTP/1.0 200 OK\r\n\r\nhello", cut, true), "200 hello");
    EXPECT_EQ(body_of("HTTP/1.1 204 None\r\n\r\n", cut), "204 ");
    EXPECT_EQ(body_of("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", cut), "200 ");
  }
}

TEST(HttpResponseReader, RefusesWhatIsNoAnswer) {
  EXPECT_THROW(body_of("SSH-2.0-OpenSSH\r\n", 100), Error);
  EXPECT_THROW(body_of("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 100), Error);
  EXPECT_THROW(body_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 100), Error);
  EXPECT_THROW(body_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 100), Error);
  EXPECT_THROW(body_of("HTTP/1.1 200 OK\r\nX: " + std::string(70000, 'x'), 1000), Error);
  EXPECT_THROW(body_of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", 100, true), Error);
  EXPECT_THROW(body_of("HTTP/1.1 200 OK\r\n", 100, true), Error);
  EXPECT_THROW(HttpResponseReader().on_close(), Error);
}

TEST(SseReader, JoinsLinesAndSkipsWhatIsNoData) {
  const std::string bytes = ": comment\r\n\r\ndata: a\r\n\r\nevent: x\ndata:b\ndata: c\n\nid: 7\n\ndata: unfinished\n";
  for (size_t cut : {1, 2, 5, 1000}) {
    SseReader reader;
    std::vector<std::string> events;
    for (size_t at = 0; at < bytes.size(); at += cut)
      reader.feed(std::string_view(bytes).substr(at, cut), [&](std::string_view data) { events.emplace_back(data); });
    EXPECT_EQ(events, (std::vector<std::string>{"a", "b\nc"}));
  }
}

}  // namespace
}  // namespace trireme
