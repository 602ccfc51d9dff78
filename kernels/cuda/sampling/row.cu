// Sampling of whole rows at once: a cluster of blocks per row keeps the row in shared memory (row.cuh).

#include <cstddef>

#include "kernels/cuda/sampling/row_kernel.cuh"

namespace trireme::cuda {
namespace {

// Before sm_90 there are no clusters, and a block holds the whole row where it is small enough.
int max_row_blocks(Device device) {
  int major = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index));
  return major >= 9 ? kMaxRowBlocks : 1;
}

int shared_bytes_of_block(Device device) {
  int bytes = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device.index));
  return bytes;
}

struct RowLaunch {
  int blocks = 1, chunk = 0;  // per row; ids per block
  size_t shared_bytes = 0;
};

template <bool kLists>
RowLaunch row_launch(int vocab_local, int max_blocks) {
  RowLaunch launch;
  while (launch.blocks < max_blocks && vocab_local > launch.blocks * kMinChunk) launch.blocks *= 2;
  launch.chunk = int(ceil_div(ceil_div(vocab_local, launch.blocks), kChunkMultiple) * kChunkMultiple);
  launch.shared_bytes = kRowSharedBytes<kLists> + size_t(launch.chunk) * sizeof(float);
  return launch;
}

// What a block may ask for at its launch.
template <typename Kernel>
int prepare(Kernel* kernel, Device device) {
  cudaFuncAttributes attributes;
  CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
  const int limit = shared_bytes_of_block(device) - int(attributes.sharedSizeBytes);
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, limit));
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, 100));
  return limit;
}

template <bool kLists>
bool launch_rows(RowJob job, const Stream& stream) {
  thread_local int prepared_device = -1, max_blocks = 0, shared_limit = 0;
  if (prepared_device != job.shard.device.index) {
    prepared_device = job.shard.device.index;
    max_blocks = max_row_blocks(job.shard.device);
    shared_limit = prepare(rows_kernel<kLists>, job.shard.device);
  }
  const RowLaunch rows = row_launch<kLists>(job.shard.vocab_local, max_blocks);
  if (int64_t(rows.shared_bytes) > shared_limit) return false;
  if (job.ids) job.answered = answer_rows_directly(job, stream);
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {unsigned(rows.blocks), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(grid_size(int64_t(job.shard.num_rows) * rows.blocks));
  config.blockDim = dim3(kRowThreads);
  config.dynamicSmemBytes = rows.shared_bytes;
  config.stream = stream.get();
  config.attrs = attributes;
  config.numAttrs = max_blocks > 1 ? 2 : 0;
  CUDA_CHECK(cudaLaunchKernelEx(&config, rows_kernel<kLists>, job, rows.chunk));
  return true;
}

bool launch_rows(const RowJob& job, const Stream& stream) {
  const bool lists = job.shard.num_top > 0 || job.shard.num_candidates > 0;
  return lists ? launch_rows<true>(job, stream) : launch_rows<false>(job, stream);
}

}  // namespace

void sample_first_round(SampleHead* heads, SampleEntry* tops, SampleEntry* candidates, const SampleShard& shard,
                        const Stream& stream) {
  if (shard.num_rows == 0) return;
  if (shard.only_greedy && shard.vocab_local > 0) return sample_greedy_heads(heads, shard, stream);
  if (launch_rows({shard, heads, tops, candidates, nullptr}, stream)) return;
  cuda::sample_heads(heads, shard, stream);
  if (shard.num_top > 0) cuda::sample_tops(tops, shard, stream);
  if (shard.num_candidates > 0) cuda::sample_candidates(candidates, shard, stream);
}

bool sample_whole_rows(int32_t* ids, SampleHead* heads, SampleEntry* tops, SampleEntry* candidates,
                       const SampleShard& shard, const Stream& stream) {
  if (shard.num_rows > 0 && shard.only_greedy) {
    sample_greedy_rows(ids, shard, stream);
    return true;
  }
  if (shard.num_rows == 0) return true;
  return launch_rows({shard, heads, tops, candidates, ids}, stream);
}

}  // namespace trireme::cuda
