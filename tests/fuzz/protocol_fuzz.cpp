// What goes over the line between front and ranks. The first byte says who speaks (bit 0: the front), in which form the
// rest is given (bit 1: the kind and the payload of one frame, whose header is made here, so that mutations reach the
// fields; else bytes as they come), and into what parts it is cut (the other bits). Whatever comes: the same messages
// and the same end however the bytes are cut; a message that was taken is written as the very bytes it was read from; a
// request that was taken is judged by its checks without a crash.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "protocol/codec.h"

namespace trireme::test {
namespace {

constexpr uint32_t kAttempt = 1;
constexpr size_t kMaxPayload = 4096;

void require(bool holds) {
  if (!holds) std::abort();
}

void judge(const RankMessage&) {}
void judge(const FrontMessage& message) {
  const auto* submit = std::get_if<SubmitCommand>(&message);
  if (!submit) return;
  try {
    validate(submit->request, 128, 64);
    require(beam_candidates(submit->request) <= 64 || !submit->request.sampling.is_beam_search());
  } catch (const RequestError& error) {
    require(error.what()[0] != '\0');
  }
}

struct Outcome {
  std::string written;  // the messages taken, as frames
  bool malformed = false;
  size_t left = 0;      // bytes of a frame that is not whole
  bool operator==(const Outcome&) const = default;
};

template <typename Message>
Outcome outcome_of(std::string_view bytes, size_t part) {
  Outcome outcome;
  FrameReader<Message> reader(kAttempt, kMaxPayload);
  try {
    for (size_t at = 0; at < bytes.size(); at += part) {
      reader.feed(bytes.substr(at, part));
      while (const auto message = reader.next()) {
        judge(*message);
        append_frame(outcome.written, *message, kAttempt);
      }
    }
    outcome.left = reader.buffered_bytes();
  } catch (const WireError&) {
    outcome.malformed = true;
  }
  return outcome;
}

template <typename Message>
void check(std::string_view bytes, size_t part) {
  const Outcome whole = outcome_of<Message>(bytes, bytes.size());
  require(bytes.starts_with(whole.written));
  require(whole.malformed || whole.written.size() + whole.left == bytes.size());
  require(outcome_of<Message>(bytes, part) == whole);
}

std::string framed(std::string_view kind_and_payload) {
  const uint32_t header[2] = {uint32_t(kind_and_payload.size() - 1), kAttempt};
  std::string frame(sizeof header, '\0');
  std::memcpy(frame.data(), header, sizeof header);
  return frame.append(kind_and_payload);
}

}  // namespace
}  // namespace trireme::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trireme;
  if (size < 2) return 0;
  std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] & 2) bytes = test::framed(bytes);
  const size_t part = size_t(data[0] >> 2) + 1;
  (data[0] & 1) != 0 ? test::check<FrontMessage>(bytes, part) : test::check<RankMessage>(bytes, part);
  return 0;
}
