// How fast weights come from the page cache, beside what memcpy does with the same bytes and threads.
//   load_bench [GB 2] [CPU threads 0 = all] [FOLDER for the file, default the temporary folder]
// Writes a bf16 safetensors directory of the shapes of Llama 3 8B, cut to GB, and removes it at the end.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "kernels/cpu/thread_pool.h"
#include "runtime/weight_loader.h"

namespace trireme {
namespace {

constexpr int kRepeats = 3;
constexpr int64_t kColumns = 4096, kTotalRows = 14336;

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double best_rate(int64_t bytes, const std::function<void()>& work) {
  double best = 0;
  for (int i = 0; i < kRepeats; ++i) best = std::max(best, double(bytes) / seconds(work));
  return best;
}

// [14336, 4096] bf16 matrices, 117 MB each; every element is 0.01 * (a small number).
int write_model(const std::string& folder, double gigabytes) {
  const int64_t bytes = kTotalRows * kColumns * 2;
  const int count = std::max(1, int(gigabytes * 1e9 / double(bytes)));
  std::string header = "{";
  for (int i = 0; i < count; ++i)
    header += std::string(i ? "," : "") + "\"w" + std::to_string(i) + "\":{\"dtype\":\"BF16\",\"shape\":[" +
              std::to_string(kTotalRows) + "," + std::to_string(kColumns) + "],\"data_offsets\":[" +
              std::to_string(i * bytes) + "," + std::to_string((i + 1) * bytes) + "]}";
  header += "}";
  std::ofstream file(folder + "/model.safetensors", std::ios::binary);
  const auto size = uint64_t(header.size());
  file.write(reinterpret_cast<const char*>(&size), 8) << header;
  std::vector<uint16_t> block(size_t(bytes / 2));
  for (size_t i = 0; i < block.size(); ++i) block[i] = uint16_t(0x3c00 + i % 251);
  for (int i = 0; i < count; ++i) file.write(reinterpret_cast<const char*>(block.data()), bytes);
  if (!file) throw ConfigError("cannot write " + folder + "/model.safetensors: name a folder with room");
  return count;
}

// `threads` threads copy a large buffer, each through a small one of its own: what a read from the page cache does.
double memcpy_rate(int threads) {
  const size_t bytes = size_t(1) << 30, chunk = size_t(1) << 20;
  std::vector<std::byte> from(bytes, std::byte{1});
  return best_rate(int64_t(bytes), [&] {
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; ++t)
      workers.emplace_back([&, t] {
        std::vector<std::byte> to(chunk);
        for (size_t at = size_t(t) * chunk; at < bytes; at += size_t(threads) * chunk)
          std::memcpy(to.data(), &from[at], chunk);
      });
    for (std::thread& worker : workers) worker.join();
  });
}

void line(const char* what, double rate, double limit) {
  std::printf("%-58s %6.2f GB/s  %5.1f %% of memcpy\n", what, rate / 1e9, 100 * rate / limit);
}

void run(const std::string& folder, double gigabytes) {
  const int count = write_model(folder, gigabytes);
  const auto source = open_safetensors(folder, "run again");
  const int64_t bytes = count * kTotalRows * kColumns * 2;
  const double limit = memcpy_rate(SliceStream::kThreads);
  line("memcpy, 4 threads, 1 MB at a time", limit, limit);
  line("memcpy, 1 thread", memcpy_rate(1), limit);
  const auto each = [&](auto&& load) {
    return best_rate(bytes, [&] {
      for (const TensorInfo& tensor : source->tensors()) load(tensor);
    });
  };
  std::vector<std::byte> whole(size_t(kTotalRows * kColumns * 2));
  line("read, 1 thread, a tensor at a time",
       each([&](const TensorInfo& t) { source->read(t, 0, kTotalRows, 0, kColumns, whole.data()); }), limit);
  SliceStream slices(*source);
  line("read ahead by 4 threads, bytes dropped", each([&](const TensorInfo& t) {
         slices.read(t, {0, kTotalRows}, {0, kColumns}, 16, {}, [](Range, const std::byte*) {});
       }),
       limit);
  line("read ahead, half of every row (row-parallel, tp 2), x 1/2",
       each([&](const TensorInfo& t) {
         slices.read(t, {0, kTotalRows}, {0, kColumns / 2}, 16, {}, [](Range, const std::byte*) {});
       }) / 2,
       limit);
  const Stream stream(kCpu);
  LinearWeight weight = make_linear_weight(kCpu, DType::bf16, kTotalRows, kColumns);
  line("bytes in memory into panels (no reading)",
       each([&](const TensorInfo&) { load_linear_rows(weight, 0, kTotalRows, whole.data(), DType::bf16, stream); }),
       limit);
  line("the same, memory allocated anew", each([&](const TensorInfo&) {
         LinearWeight fresh = make_linear_weight(kCpu, DType::bf16, kTotalRows, kColumns);
         load_linear_rows(fresh, 0, kTotalRows, whole.data(), DType::bf16, stream);
       }),
       limit);
  line("whole load into panels, memory used again", each([&](const TensorInfo& t) {
         slices.read(t, {0, kTotalRows}, {0, kColumns}, 16, {}, [&](Range rows, const std::byte* bytes) {
           load_linear_rows(weight, rows.begin, rows.size(), bytes, DType::bf16, stream);
         });
       }),
       limit);
  WeightLoader loader(source.get(), kCpu, stream, 0);
  line("whole load into panels, memory allocated anew", each([&](const TensorInfo& t) {
         loader.load_columns({{t.name, {0, kTotalRows}, kTotalRows}}, kColumns);
       }),
       limit);
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  const double gigabytes = argc > 1 ? std::atof(argv[1]) : 2;
  const int threads = argc > 2 ? std::atoi(argv[2]) : 0;
  const std::filesystem::path parent = argc > 3 ? argv[3] : std::filesystem::temp_directory_path();
  trireme::set_cpu_threads(threads > 0 ? threads : int(std::thread::hardware_concurrency()));
  const std::string folder = (parent / ("trireme_load_bench_" + std::to_string(::getpid()))).string();
  std::filesystem::create_directories(folder);
  std::printf("%.1f GB of bf16 from the page cache, %d CPU threads\n", gigabytes, trireme::cpu_threads());
  int status = 0;
  try {
    trireme::run(folder, gigabytes);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    status = 1;
  }
  std::filesystem::remove_all(folder);
  return status;
}
