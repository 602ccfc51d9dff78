// Rank 0 sends every message to every rank itself. A tree would spare it some sends (about 1 us each on one
// host, 10 us between hosts), but a rank passes a message on only when it looks, and a rank that computes does
// not look: its subtree would get the plan late.

#include <cstring>
#include <utility>

#include "base/log.h"
#include "parallel/make_communicator.h"

namespace trireme {
namespace {

constexpr int kAckTag = 64;                               // above every ControlKind, which are tags themselves
constexpr size_t kMaxPendingBroadcasts = 64, kMaxPendingAcks = 256;
constexpr int kMaxMessageBytes = 256 << 20;               // histories of all slots at 128 K tokens are 128 MiB

class MpiControlChannel final : public ControlChannel {
 public:
  explicit MpiControlChannel(MpiGroup group)
      : group_(std::move(group)), sends_(is_root() ? kMaxPendingBroadcasts : kMaxPendingAcks) {
    if (is_root() && group_.size() > 1) listen_for_ack();
  }

  ~MpiControlChannel() override {
    if (std::uncaught_exceptions() > 0) return;
    if (!sends_.flush(std::chrono::seconds(5))) log_warning("control channel ends with messages that nobody received");
    for (MPI_Request* request : {&ack_request_, &receive_request_}) {
      if (*request == MPI_REQUEST_NULL) continue;
      MPI_Cancel(request);
      MPI_Wait(request, MPI_STATUS_IGNORE);              // local: the receive is cancelled or already complete
    }
  }

  void broadcast(ControlMessage message) override {
    CHECK(is_root()) << "control broadcast from rank" << group_.rank();
    CHECK_LE(message.bytes.size(), size_t(kMaxMessageBytes)) << "control message";
    if (group_.size() == 1) return;
    const size_t slot = sends_.acquire("control broadcast", IdleHook());
    sends_.bytes(slot) = std::move(message.bytes);
    for (int peer = 1; peer < group_.size(); ++peer)
      sends_.transfers(slot).send_whole(group_, sends_.bytes(slot), peer, int(message.kind));
  }

  // One message is in hand at a time, so a long one does not hold up this rank's thread.
  std::optional<ControlMessage> try_receive() override {
    CHECK(!is_root()) << "rank 0 receives no control messages";
    if (receive_request_ == MPI_REQUEST_NULL && !begin_receive()) return std::nullopt;
    int done = 0;
    MPI_CHECK(MPI_Test(&receive_request_, &done, MPI_STATUS_IGNORE));
    if (!done) return std::nullopt;
    return std::exchange(incoming_, ControlMessage());
  }

  void acknowledge(const StepAck& ack) override {
    CHECK(!is_root()) << "rank 0 acknowledges nothing to itself";
    const size_t slot = sends_.acquire("acknowledge", IdleHook());
    std::vector<std::byte>& bytes = sends_.bytes(slot);
    bytes.resize(sizeof(StepAck));
    std::memcpy(bytes.data(), &ack, sizeof(StepAck));
    sends_.transfers(slot).send_whole(group_, bytes, 0, kAckTag);
  }

  std::optional<StepAck> try_receive_ack() override {
    CHECK(is_root()) << "acknowledgements go to rank 0";
    if (ack_request_ == MPI_REQUEST_NULL) return std::nullopt;
    int done = 0;
    MPI_Status status;
    MPI_CHECK(MPI_Test(&ack_request_, &done, &status));
    if (!done) return std::nullopt;
    const StepAck ack = ack_;
    CHECK_EQ(ack.rank, status.MPI_SOURCE) << "acknowledgement's rank";
    listen_for_ack();
    return ack;
  }

  void pump() override { sends_.progress(); }

 private:
  bool is_root() const { return group_.rank() == 0; }

  void listen_for_ack() {
    MPI_CHECK(MPI_Irecv(&ack_, int(sizeof ack_), MPI_BYTE, MPI_ANY_SOURCE, kAckTag, group_.comm(), &ack_request_));
  }

  bool begin_receive() {
    int arrived = 0, size = 0;
    MPI_Status status;
    MPI_CHECK(MPI_Iprobe(0, MPI_ANY_TAG, group_.comm(), &arrived, &status));   // any kind: keeps their order
    if (!arrived) return false;
    MPI_CHECK(MPI_Get_count(&status, MPI_BYTE, &size));
    CHECK(size >= 0 && size <= kMaxMessageBytes) << "control message of" << size << "bytes";
    CHECK(status.MPI_TAG == int(ControlKind::plan) || status.MPI_TAG == int(ControlKind::sampling))
        << "control message of kind" << status.MPI_TAG;
    incoming_.kind = ControlKind(status.MPI_TAG);
    incoming_.bytes.resize(size_t(size));
    MPI_CHECK(MPI_Irecv(incoming_.bytes.data(), size, MPI_BYTE, 0, status.MPI_TAG, group_.comm(), &receive_request_));
    return true;
  }

  MpiGroup group_;
  PendingSends sends_;
  ControlMessage incoming_;
  StepAck ack_;
  MPI_Request receive_request_ = MPI_REQUEST_NULL, ack_request_ = MPI_REQUEST_NULL;
};

}  // namespace

std::unique_ptr<ControlChannel> make_control_channel(MpiGroup group) {
  return std::make_unique<MpiControlChannel>(std::move(group));
}

}  // namespace trireme
