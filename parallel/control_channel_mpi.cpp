// Rank 0 sends every message to every rank itself. A tree would spare it some sends (about 1 us each on one
// host, 10 us between hosts), but a rank passes a message on only when it looks, and a rank that computes does
// not look: its subtree would get the plan late.
//
// A message is its length (8 bytes), then the bytes in pieces that arrive without rank 0 looking after them: right
// after a broadcast rank 0's thread may be inside a device call that ends only when a peer has the plan, too.

#include <cstring>
#include <utility>

#include "base/log.h"
#include "parallel/make_communicator.h"

namespace trireme {
namespace {

constexpr int kAckTag = 64;                               // above every ControlKind, which are tags themselves
constexpr size_t kMaxPendingBroadcasts = 64, kMaxPendingAcks = 256;
constexpr int64_t kMaxMessageBytes = 256 << 20;           // histories of all slots at 128 K tokens are 128 MiB
constexpr int64_t kEagerPlanBytes = 8 << 20;
constexpr size_t kLengthBytes = sizeof(uint64_t);

class MpiControlChannel final : public ControlChannel {
 public:
  explicit MpiControlChannel(MpiGroup group)
      : group_(std::move(group)), sends_(is_root() ? kMaxPendingBroadcasts : kMaxPendingAcks) {
    if (is_root() && group_.size() > 1) listen_for_ack();
  }

  ~MpiControlChannel() override {
    if (std::uncaught_exceptions() > 0) return;
    if (!sends_.flush(std::chrono::seconds(5))) log_warning("control channel ends with messages that nobody received");
    if (ack_request_ == MPI_REQUEST_NULL) return;
    MPI_Cancel(&ack_request_);
    MPI_Wait(&ack_request_, MPI_STATUS_IGNORE);          // local: the receive is cancelled or already complete
  }

  void broadcast(ControlMessage message) override {
    CHECK(is_root()) << "control broadcast from rank" << group_.rank();
    CHECK_LE(int64_t(message.bytes.size()), kMaxMessageBytes) << "control message";
    if (group_.size() == 1) return;
    const size_t slot = sends_.acquire("control broadcast", IdleHook());
    const uint64_t length = message.bytes.size();
    std::vector<std::byte>& bytes = sends_.bytes(slot);
    bytes.resize(kLengthBytes);
    std::memcpy(bytes.data(), &length, kLengthBytes);
    bytes.insert(bytes.end(), message.bytes.begin(), message.bytes.end());
    for (int peer = 1; peer < group_.size(); ++peer) {
      sends_.transfers(slot).send(group_, bytes.data(), kLengthBytes, peer, int(message.kind));
      sends_.transfers(slot).send(group_, bytes.data() + kLengthBytes, int64_t(length), peer, int(message.kind), kEagerPlanBytes);
    }
  }

  // One message is in hand at a time, so a long one does not hold up this rank's thread.
  std::optional<ControlMessage> try_receive() override {
    CHECK(!is_root()) << "rank 0 receives no control messages";
    if (!receiving_ && !begin_receive()) return std::nullopt;
    if (!receive_.done()) return std::nullopt;
    receiving_ = false;
    return std::exchange(incoming_, ControlMessage());
  }

  void acknowledge(const StepAck& ack) override {
    CHECK(!is_root()) << "rank 0 acknowledges nothing to itself";
    const size_t slot = sends_.acquire("acknowledge", IdleHook());
    std::vector<std::byte>& bytes = sends_.bytes(slot);
    bytes.resize(sizeof(StepAck));
    std::memcpy(bytes.data(), &ack, sizeof(StepAck));
    sends_.transfers(slot).send(group_, bytes.data(), int64_t(bytes.size()), 0, kAckTag);
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
    CHECK_EQ(size_t(size), kLengthBytes) << "length of a control message";
    CHECK(status.MPI_TAG == int(ControlKind::plan) || status.MPI_TAG == int(ControlKind::sampling))
        << "control message of kind" << status.MPI_TAG;
    uint64_t length = 0;   // has arrived: this receive does not wait
    MPI_CHECK(MPI_Recv(&length, int(kLengthBytes), MPI_BYTE, 0, status.MPI_TAG, group_.comm(), MPI_STATUS_IGNORE));
    CHECK_LE(length, uint64_t(kMaxMessageBytes)) << "control message";
    incoming_.kind = ControlKind(status.MPI_TAG);
    incoming_.bytes.resize(length);
    receive_.receive(group_, incoming_.bytes.data(), int64_t(length), 0, status.MPI_TAG, kEagerPlanBytes);
    receiving_ = true;
    return true;
  }

  MpiGroup group_;
  PendingSends sends_;
  ControlMessage incoming_;
  StepAck ack_;
  Transfers receive_;
  bool receiving_ = false;
  MPI_Request ack_request_ = MPI_REQUEST_NULL;
};

}  // namespace

std::unique_ptr<ControlChannel> make_control_channel(MpiGroup group) {
  return std::make_unique<MpiControlChannel>(std::move(group));
}

}  // namespace trireme
