// How fast weights come from the page cache onto a GPU, beside the bus: pinned copies of 256 MB.
//   gpu_load_bench FOLDER [GB 16.1] [CONFIG configs/models/llama-3.1-8b.json] [files]
// Writes a bf16 safetensors directory of CONFIG's shape there, cut to GB, if it is not there yet, and leaves it; with
// `files` that is all it does.
// Needs as much memory for the page cache and on the GPU.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/tensor.h"
#include "benchmarks/checkpoint/llama_files.h"
#include "checkpoint/checkpoint.h"
#include "kernels/linear.h"
#include "runtime/models/model.h"
#include "runtime/upload_queue.h"
#include "runtime/weight_loader.h"

namespace trireme {
namespace {

constexpr int64_t kCopyBytes = int64_t(256) << 20;
constexpr int kCopies = 20;
constexpr std::chrono::milliseconds kTick(50);

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void line(const std::string& what, double bytes, double duration, double limit) {
  const double rate = bytes / duration;
  std::printf("%-62s %7.3f s %7.2f GB/s", what.c_str(), duration, rate / 1e9);
  if (limit > 0) std::printf("  %5.1f %% of H2D", 100 * rate / limit);
  std::printf("\n");
  std::fflush(stdout);
}

double pinned_copy_rate(Device device, const Stream& stream) {
  void* host = pinned_allocate(size_t(kCopyBytes));
  std::memset(host, 1, size_t(kCopyBytes));
  const Tensor target(DType::u8, {kCopyBytes}, device);
  const auto copy = [&] { copy_async(target.data(), host, size_t(kCopyBytes), device, stream); };
  copy();
  stream.synchronize();
  const double duration = seconds([&] {
    for (int i = 0; i < kCopies; ++i) copy();
    stream.synchronize();
  });
  pinned_free(host);
  line("pinned host to device, 256 MB copies", double(kCopies) * double(kCopyBytes), duration, 0);
  return double(kCopies) * double(kCopyBytes) / duration;
}

// Each thread copies its share of a large buffer through a small one of its own, as a read from the page cache does.
void memcpy_line(int threads, double limit) {
  const auto bytes = size_t(4) << 30, chunk = size_t(UploadQueue::kChunkBytes);
  static const std::vector<std::byte> from(bytes, std::byte{1});
  const double duration = seconds([&] {
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t)
      workers.emplace_back([&, t] {
        std::vector<std::byte> to(chunk);
        for (size_t at = size_t(t) * chunk; at < bytes; at += size_t(threads) * chunk)
          std::memcpy(to.data(), &from[at], chunk);
      });
    for (std::thread& worker : workers) worker.join();
  });
  line("memcpy, " + std::to_string(threads) + " threads, 4 MB at a time", double(bytes), duration, limit);
}

// Every tensor, all rows, through an upload queue.
double pass(const TensorSource& source, Device device, int threads, const UploadQueue::Deliver& deliver) {
  UploadQueue queue(source, device, threads);
  return seconds([&] {
    for (const TensorInfo& tensor : source.tensors())
      queue.add({&tensor, {0, tensor.rows()}, {0, tensor.columns()}, {}, false, deliver});
    while (!queue.wait_for(kTick)) {
    }
  });
}

void queue_lines(const TensorSource& source, Device device, int64_t bytes, double limit) {
  const auto drop = [](Range, const std::byte*, void*, const Stream&) {};
  line("first read (fills the page cache), 8 threads", double(bytes), pass(source, device, 8, drop), limit);
  for (const int threads : {1, 4, 8, 16})
    line("read into pinned memory, dropped, " + std::to_string(threads) + " threads", double(bytes),
         pass(source, device, threads, drop), limit);
  const Tensor target(DType::u8, {UploadQueue::kChunkBytes}, device);
  const auto copy = [&](Range, const std::byte* from, void*, const Stream& stream) {  // whole buffers, to one place
    copy_async(target.data(), from, size_t(UploadQueue::kChunkBytes), device, stream);
  };
  for (const int threads : {4, 8, 16})
    line("the same, copied to the device, " + std::to_string(threads) + " threads", double(bytes),
         pass(source, device, threads, copy), limit);
}

void allocation_line(const TensorSource& source, Device device, int64_t bytes) {
  std::vector<Tensor> tensors;
  const double duration = seconds([&] {
    for (const TensorInfo& tensor : source.tensors())
      tensors.push_back(Tensor(DType::u8, {tensor.bytes}, device));
  });
  line("allocating the tensors on the device, nothing else", double(bytes), duration, 0);
}

// As a rank does it (RankRuntime): the real model, one rank.
void model_line(const Checkpoint& checkpoint, Device device, const Stream& stream, const char* what, double limit) {
  const Topology topology(1, 1, 1, 0);
  std::unique_ptr<Model> model;
  int64_t bytes = 0;
  const double duration = seconds([&] {
    WeightLoader loader(checkpoint.source.get(), device, stream, 0);
    model = make_model({checkpoint.config, topology, loader, 16, 8192});
    stream.synchronize();
    bytes = loader.bytes_read();
  });
  line(what, double(bytes), duration, limit);
}

int host_cores() { return int(std::max(1u, std::thread::hardware_concurrency())); }

int64_t write_files(const std::string& folder, double gigabytes, const std::string& config) {
  int64_t bytes = 0;
  const double writing = seconds([&] { bytes = write_llama_files(config, folder, gigabytes, host_cores()); });
  line("writing (or finding) the files", double(bytes), writing, 0);
  return bytes;
}

void run(const std::string& folder, double gigabytes, const std::string& config) {
  if (cuda_device_count() == 0) throw ConfigError("no GPU here (or a build without CUDA): see load_bench for the CPU");
  const Device device{DeviceKind::cuda, 0};
  set_current_device(device);
  std::printf("%s, %d cores\n", device_description(device).c_str(), host_cores());
  const int64_t bytes = write_files(folder, gigabytes, config);
  const Checkpoint checkpoint = open_checkpoint(folder, {.need_weights = true, .need_tokenizer = false});
  const Stream stream(device);
  const double limit = pinned_copy_rate(device, stream);
  for (const int threads : {1, 4, 8}) memcpy_line(threads, limit);
  queue_lines(*checkpoint.source, device, bytes, limit);
  allocation_line(*checkpoint.source, device, bytes);
  for (const char* what : {"the model, loaded as a rank does", "once more", "once more"})
    model_line(checkpoint, device, stream, what, limit);
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "gpu_load_bench FOLDER [GB 16.1] [CONFIG configs/models/llama-3.1-8b.json] [files]\n");
    return 2;
  }
  try {
    const double gigabytes = argc > 2 ? std::atof(argv[2]) : 16.1;
    const char* config = argc > 3 ? argv[3] : "configs/models/llama-3.1-8b.json";
    if (argc > 4 && std::strcmp(argv[4], "files") == 0)
      trireme::write_files(argv[1], gigabytes, config);
    else
      trireme::run(argv[1], gigabytes, config);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
