#include "parallel/communicator.h"
#include "parallel/communicator_checks.h"

namespace trireme {
namespace {

class LocalCommunicator final : public Communicator {
 public:
  explicit LocalCommunicator(Device device) : device_(device) {}
  int rank() const override { return 0; }
  int size() const override { return 1; }

  void all_reduce_sum(TensorView data, const Stream&) override { check_view(data, device_, "all_reduce_sum"); }
  void all_gather(TensorView out, TensorView in, const Stream& stream) override {
    check_parts(out, in, 1, device_, "all_gather");
    copy(out, in, stream);
  }
  void reduce_scatter_sum(TensorView out, TensorView in, const Stream& stream) override {
    check_parts(in, out, 1, device_, "reduce_scatter_sum");
    copy(out, in, stream);
  }
  void broadcast(TensorView data, int root, const Stream&) override {
    check_view(data, device_, "broadcast");
    CHECK_EQ(root, 0) << "broadcast in a group of one";
  }
  void send(TensorView, int destination, const Stream&) override { check_peer(destination, 0, 1, "send"); }
  void recv(TensorView, int source, const Stream&) override { check_peer(source, 0, 1, "recv"); }

 private:
  void copy(const TensorView& out, const TensorView& in, const Stream& stream) const {
    if (out.data() != in.data()) copy_async(out.data(), in.data(), size_t(in.bytes()), device_, stream);
  }
  Device device_;
};

}  // namespace

std::unique_ptr<Communicator> make_local_communicator(Device device) {
  return std::make_unique<LocalCommunicator>(device);
}

}  // namespace trireme
