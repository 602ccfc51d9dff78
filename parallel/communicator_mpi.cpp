// The CPU back end: gathers what the ranks have and adds it in rank order, so that sums do not depend on the
// algorithm, the message's size or MPI's choice. Never MPI_Allreduce: its bits change with the row count.

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/progress.h"
#include "parallel/communicator_checks.h"
#include "parallel/make_communicator.h"
#include "parallel/rank_sum.h"

namespace trireme {
namespace {

constexpr int kCollectiveTag = 1, kPointToPointTag = 2;

// Up to here every rank sends its whole contribution to every other: one exchange, which on few cores costs
// the fewest switches between ranks. Above, each rank sums its slice and shares it: half the bytes at 4 ranks.
constexpr int64_t kDirectBytes = 16 << 10;
constexpr int64_t kBlockBytes = 8 << 20;      // a longer sum is done in blocks: scratch stays this small
constexpr size_t kMaxPendingSends = 32;

// Activations for the next stage: 512 tokens of a hidden size of 8,192. A longer message moves only while both sides are
// inside MPI, but a stage that has sent computes for a whole step, and the next one would wait for it all that time.
// Shared memory holds that much where mpirun is told so (launcher/mpirun_command.cpp).
constexpr int64_t kPipelineEagerBytes = 16 << 20;

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MpiGroup group, const IdleHook& idle)
      : group_(std::move(group)), idle_(idle), sends_(kMaxPendingSends) {}
  ~MpiCommunicator() override {
    if (std::uncaught_exceptions() == 0 && !sends_.flush(std::chrono::seconds(5)))
      log_warning("rank {} of a group ends with messages that nobody received", rank());
  }
  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }

  void all_reduce_sum(TensorView data, const Stream&) override {
    begin("all_reduce_sum", data);
    const int64_t width = dtype_bytes(data.dtype(), 1);
    char* bytes = static_cast<char*>(data.data());
    if (data.bytes() <= kDirectBytes) return reduce_whole(data.dtype(), bytes, data.elements());
    const int64_t block = kBlockBytes / width;
    for (int64_t at = 0; at < data.elements(); at += block)
      reduce_slices(data.dtype(), bytes + at * width, std::min(block, data.elements() - at));
  }

  void all_gather(TensorView out, TensorView in, const Stream&) override {
    begin("all_gather", in);
    check_parts(out, in, size(), kCpu, "all_gather");
    const auto part = [&](int r) { return static_cast<char*>(out.data()) + r * in.bytes(); };
    if (in.empty()) return;
    if (part(rank()) != in.data()) std::memcpy(part(rank()), in.data(), size_t(in.bytes()));
    exchange(in.bytes(), [&](int) { return part(rank()); }, part);
  }

  void reduce_scatter_sum(TensorView out, TensorView in, const Stream&) override {
    begin("reduce_scatter_sum", in);
    check_parts(in, out, size(), kCpu, "reduce_scatter_sum");
    const int64_t width = dtype_bytes(in.dtype(), 1), block = kBlockBytes / width;
    for (int64_t at = 0; at < out.elements(); at += block) {
      const int64_t count = std::min(block, out.elements() - at);
      const auto slice = [&](int r) { return static_cast<char*>(in.data()) + (r * out.elements() + at) * width; };
      char* received = scratch(count * width * size());
      exchange(count * width, slice, [&](int peer) { return received + peer * count * width; });
      sum(in.dtype(), static_cast<char*>(out.data()) + at * width, slice(rank()), received, count);
    }
  }

  // Buffered at the root, like send: it goes on while the others have yet to ask.
  void broadcast(TensorView data, int root, const Stream&) override {
    begin("broadcast", data);
    CHECK(root >= 0 && root < size()) << "broadcast from" << root;
    if (rank() == root)
      return send_copies(data, kCollectiveTag, kEagerMessageBytes, [root](int peer) { return peer != root; });
    transfers_.receive(group_, data.data(), data.bytes(), root, kCollectiveTag);
    transfers_.wait("broadcast", idle_);
  }

  void send(TensorView data, int destination, const Stream&) override {
    begin("send", data);
    check_peer(destination, rank(), size(), "send");
    send_copies(data, kPointToPointTag, kPipelineEagerBytes, [destination](int peer) { return peer == destination; });
  }

  void recv(TensorView data, int source, const Stream&) override {
    begin("recv", data);
    check_peer(source, rank(), size(), "recv");
    transfers_.receive(group_, data.data(), data.bytes(), source, kPointToPointTag, kPipelineEagerBytes);
    transfers_.wait("recv", idle_);
  }

 private:
  void begin(const char* operation, const TensorView& view) {
    rank_progress().tick(operation);
    operation_ = operation;
    check_view(view, kCpu, operation);
  }

  char* scratch(int64_t bytes) {
    if (int64_t(scratch_.size()) < bytes) scratch_.resize(size_t(bytes));
    return reinterpret_cast<char*>(scratch_.data());
  }

  // Every rank sends outgoing(peer) to each peer and receives into incoming(peer), `bytes` each.
  template <typename Outgoing, typename Incoming>
  void exchange(int64_t bytes, Outgoing outgoing, Incoming incoming) {
    exchange([&](int peer) { return Piece{outgoing(peer), bytes}; },
             [&](int peer) { return Piece{incoming(peer), bytes}; });
  }
  struct Piece {
    char* data;
    int64_t bytes;
  };
  template <typename Outgoing, typename Incoming>
  void exchange(Outgoing outgoing, Incoming incoming) {
    for (int distance = 1; distance < size(); ++distance) {   // receives first: what arrives finds its place
      const int peer = (rank() + distance) % size();
      const Piece piece = incoming(peer);
      transfers_.receive(group_, piece.data, piece.bytes, peer, kCollectiveTag);
    }
    for (int distance = 1; distance < size(); ++distance) {
      const int peer = (rank() + distance) % size();
      const Piece piece = outgoing(peer);
      transfers_.send(group_, piece.data, piece.bytes, peer, kCollectiveTag);
    }
    transfers_.wait(operation_, idle_);
  }

  // out = sum of own and of received[peer * elements ...], in rank order.
  void sum(DType dtype, char* out, const char* own, const char* received, int64_t elements) {
    terms_.clear();
    for (int r = 0; r < size(); ++r)
      terms_.push_back(r == rank() ? own : received + r * dtype_bytes(dtype, elements));
    sum_in_rank_order(dtype, out, terms_, elements);
  }

  void reduce_whole(DType dtype, char* data, int64_t elements) {
    const int64_t bytes = dtype_bytes(dtype, elements);
    char* received = scratch(bytes * size());
    exchange(bytes, [&](int) { return data; }, [&](int peer) { return received + peer * bytes; });
    sum(dtype, data, data, received, elements);
  }

  void reduce_slices(DType dtype, char* data, int64_t elements) {
    const auto cut = [&](int r) { return elements * r / size(); };
    const auto slice = [&](int r) {
      return Piece{data + dtype_bytes(dtype, cut(r)), dtype_bytes(dtype, cut(r + 1) - cut(r))};
    };
    const Piece own = slice(rank());
    char* received = scratch(own.bytes * size());
    exchange(slice, [&](int peer) { return Piece{received + peer * own.bytes, own.bytes}; });
    sum(dtype, own.data, own.data, received, cut(rank() + 1) - cut(rank()));
    exchange([&](int) { return own; }, slice);
  }

  template <typename Wanted>
  void send_copies(const TensorView& data, int tag, int64_t eager_limit, Wanted wanted) {
    if (data.empty()) return;
    const size_t slot = sends_.acquire(operation_, idle_);
    std::vector<std::byte>& copy = sends_.bytes(slot);
    const std::byte* begin = static_cast<const std::byte*>(data.data());
    copy.assign(begin, begin + data.bytes());
    for (int peer = 0; peer < size(); ++peer)
      if (wanted(peer)) sends_.transfers(slot).send(group_, copy.data(), data.bytes(), peer, tag, eager_limit);
  }

  MpiGroup group_;
  const IdleHook& idle_;
  const char* operation_ = "";
  Transfers transfers_;                // of the running operation; empty between calls
  std::vector<std::byte> scratch_;
  std::vector<const void*> terms_;
  PendingSends sends_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(MpiGroup group, const IdleHook& idle) {
  return std::make_unique<MpiCommunicator>(std::move(group), idle);
}

}  // namespace trireme
