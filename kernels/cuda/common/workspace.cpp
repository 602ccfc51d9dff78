#include "kernels/cuda/common/workspace.h"

#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <tuple>

#include "base/check.h"
#include "base/cuda_check.h"

namespace trireme::cuda {
namespace {

struct Piece {
  void* data = nullptr;
  size_t bytes = 0;
};

}  // namespace

void* workspace(WorkspaceUse use, size_t bytes, const Stream& stream) {
  static std::mutex mutex;
  static std::map<std::tuple<int, CUstream_st*, WorkspaceUse>, Piece> pieces;  // lives as long as the process
  std::lock_guard lock(mutex);
  Piece& piece = pieces[{stream.device().index, stream.get(), use}];
  if (!piece.data) {
    CHECK_LE(pieces.size(), kMaxWorkspaces) << "streams that run kernels with scratch memory";
    piece = {device_allocate(stream.device(), bytes), bytes};
    fill_zero_async(piece.data, bytes, stream.device(), stream);
  }
  CHECK_LE(bytes, piece.bytes) << "workspace grew";
  return piece.data;
}

int multiprocessor_count(Device device) {
  int count = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device.index));
  return count;
}

}  // namespace trireme::cuda
