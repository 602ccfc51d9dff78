// The CUDA back end: every call is queued on the caller's stream and nothing here waits once the communicator
// stands. NCCL adds in an order of its own, so sums may differ from the CPU's in their last bits.
// A failed peer is never answered with ncclCommAbort (it can hang, and frees memory that peers still use): the
// process ends instead.

#include <cuda_runtime.h>
#include <nccl.h>

#include <cstdlib>
#include <exception>

#include "base/cuda_check.h"
#include "base/log.h"
#include "base/progress.h"
#include "parallel/communicator_checks.h"
#include "parallel/make_communicator.h"
#include "parallel/versions.h"

namespace trireme {
namespace {

#define NCCL_CHECK(call)                                                                                 \
  do {                                                                                                   \
    const ncclResult_t nccl_check_status = (call);                                                       \
    CHECK(nccl_check_status == ncclSuccess) << #call << "->" << ncclGetErrorString(nccl_check_status) \
                                            << ncclGetLastError(nullptr);                                \
  } while (0)

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::f32: return ncclFloat32;
    case DType::f64: return ncclFloat64;
    case DType::f16: return ncclFloat16;
    case DType::bf16: return ncclBfloat16;
    case DType::i64: return ncclInt64;
    case DType::i32: return ncclInt32;
    default: CHECK(false) << "no NCCL sum for" << dtype_name(dtype);
  }
}

// A receive that was posted early waits on the GPU and keeps processors from the step that runs: few, then. They move
// some 25 GB/s each, and what they move has a whole step's time. NCCL_MAX_CTAS overrules it.
constexpr int kPipelineCtas = 4;

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(const MpiGroup& group, Device device, GroupUse use)
      : device_(device), rank_(group.rank()), size_(group.size()) {
    ncclUniqueId id{};
    if (rank_ == 0) NCCL_CHECK(ncclGetUniqueId(&id));
    MPI_CHECK(MPI_Bcast(&id, int(sizeof id), MPI_BYTE, 0, group.comm()));
    set_current_device(device);
    rank_progress().tick("joining NCCL");
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 1;
    if (use == GroupUse::pipeline) config.maxCTAs = kPipelineCtas;
    NCCL_CHECK(ncclCommInitRankConfig(&comm_, size_, id, rank_, &config));
    rank_progress().tick("connecting NCCL");
    connect(use);
  }

  ~NcclCommunicator() override {
    // Only at a clean end, which all ranks of the group come to; otherwise the process is about to be gone.
    if (std::uncaught_exceptions() > 0) return;
    const ncclResult_t status = ncclCommDestroy(comm_);
    if (status != ncclSuccess) log_warning("ncclCommDestroy: {}", ncclGetErrorString(status));
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce_sum(TensorView data, const Stream& stream) override {
    begin("all_reduce_sum", data);
    if (data.empty()) return;
    NCCL_CHECK(ncclAllReduce(data.data(), data.data(), size_t(data.elements()), nccl_type(data.dtype()), ncclSum, comm_,
                             stream.get()));
  }

  void all_gather(TensorView out, TensorView in, const Stream& stream) override {
    begin("all_gather", in);
    check_parts(out, in, size_, device_, "all_gather");
    if (in.empty()) return;
    NCCL_CHECK(ncclAllGather(in.data(), out.data(), size_t(in.bytes()), ncclUint8, comm_, stream.get()));
  }

  void reduce_scatter_sum(TensorView out, TensorView in, const Stream& stream) override {
    begin("reduce_scatter_sum", in);
    check_parts(in, out, size_, device_, "reduce_scatter_sum");
    if (out.empty()) return;
    NCCL_CHECK(ncclReduceScatter(in.data(), out.data(), size_t(out.elements()), nccl_type(out.dtype()), ncclSum, comm_,
                                 stream.get()));
  }

  void broadcast(TensorView data, int root, const Stream& stream) override {
    begin("broadcast", data);
    CHECK(root >= 0 && root < size_) << "broadcast from" << root;
    if (data.empty()) return;
    NCCL_CHECK(ncclBroadcast(data.data(), data.data(), size_t(data.bytes()), ncclUint8, root, comm_, stream.get()));
  }

  void send(TensorView data, int destination, const Stream& stream) override {
    begin("send", data);
    check_peer(destination, rank_, size_, "send");
    if (data.empty()) return;
    NCCL_CHECK(ncclSend(data.data(), size_t(data.bytes()), ncclUint8, destination, comm_, stream.get()));
  }

  void recv(TensorView data, int source, const Stream& stream) override {
    begin("recv", data);
    check_peer(source, rank_, size_, "recv");
    if (data.empty()) return;
    NCCL_CHECK(ncclRecv(data.data(), size_t(data.bytes()), ncclUint8, source, comm_, stream.get()));
  }

  void check_health() override {
    ncclResult_t status = ncclSuccess;
    NCCL_CHECK(ncclCommGetAsyncError(comm_, &status));
    CHECK(status == ncclSuccess || status == ncclInProgress)
        << "NCCL on" << to_string(device_) << "in step" << rank_progress().step.load() << "at"
        << rank_progress().operation.load() << ":" << ncclGetErrorString(status) << ncclGetLastError(comm_);
  }

 private:
  void begin(const char* operation, const TensorView& view) {
    rank_progress().tick(operation);
    check_view(view, device_, operation);
  }

  // NCCL connects peers on first use, which allocates and must not fall into a graph's capture or a timed step.
  void connect(GroupUse use) {
    Stream stream(device_);
    const Tensor sent(DType::f32, {size_}, device_), received(DType::f32, {size_}, device_);
    fill_zero_async(sent.data(), size_t(sent.view().bytes()), device_, stream);
    all_reduce_sum(sent, stream);
    all_gather(received, sent.view().slice(0, 0, 1), stream);
    broadcast(sent, 0, stream);
    if (use == GroupUse::pipeline) {
      NCCL_CHECK(ncclGroupStart());
      for (int peer = 0; peer < size_; ++peer) {
        if (peer == rank_) continue;
        send(sent.view().slice(0, peer, peer + 1), peer, stream);
        recv(received.view().slice(0, peer, peer + 1), peer, stream);
      }
      NCCL_CHECK(ncclGroupEnd());
    }
    stream.synchronize();
  }

  Device device_;
  int rank_, size_;
  ncclComm_t comm_ = nullptr;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_communicator(const MpiGroup& group, Device device, GroupUse use) {
  // NVLink multicast is opt-in: its objects outlive a killed process badly, and kill is how our ranks end.
  setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/0);
  return std::make_unique<NcclCommunicator>(group, device, use);
}

std::string gpu_identity(int index) {
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char byte : properties.uuid.bytes) {
    text += kDigits[uint8_t(byte) >> 4];
    text += kDigits[uint8_t(byte) & 15];
  }
  return text;
}

std::string nccl_version_text() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "unknown";
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

std::string cuda_version_text() {
  int version = 0;
  if (cudaRuntimeGetVersion(&version) != cudaSuccess) return "unknown";
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace trireme
