#include "base/device_profiler.h"

#include "base/error.h"

#if TRIREME_WITH_CUPTI
#include <cupti.h>
#include <cxxabi.h>
#include <dlfcn.h>
#include <link.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>
#endif

namespace trireme {

#if TRIREME_WITH_CUPTI
namespace {

constexpr size_t kBufferBytes = size_t(4) << 20, kBufferAlignment = 8;

// The few calls we make, found by name.
struct Cupti {
  decltype(&::cuptiActivityRegisterCallbacks) register_callbacks = nullptr;
  decltype(&::cuptiActivityEnable) enable = nullptr;
  decltype(&::cuptiActivityDisable) disable = nullptr;
  decltype(&::cuptiActivityFlushAll) flush = nullptr;
  decltype(&::cuptiActivityGetNextRecord) next_record = nullptr;
  decltype(&::cuptiGetTimestamp) timestamp = nullptr;
  decltype(&::cuptiGetResultString) result_string = nullptr;
};

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                         CUPTI_ACTIVITY_KIND_MEMSET};

Cupti cupti;
std::mutex records_mutex;
std::vector<TraceSpan> records;
int64_t dropped_records = 0;
int64_t clock_offset_ns = 0;  // CLOCK_MONOTONIC - CUPTI's clock
std::atomic<bool> wanted{false};  // what comes while false is dropped: the load, the warm-up

// Where the libraries of the toolkit may lie: what is loaded already, the usual variables and places.
std::vector<std::string> library_folders() {
  std::vector<std::string> folders = {""};  // LD_LIBRARY_PATH, ld.so.conf
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcudart.so.13", "libcudart.so.12"})
    if (void* library = dlopen(name, RTLD_LAZY | RTLD_NOLOAD)) {
      link_map* map = nullptr;
      if (dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map) {
        const std::string path = map->l_name;
        folders.push_back(path.substr(0, path.rfind('/') + 1));
        folders.push_back(folders.back() + "../extras/CUPTI/lib64/");
        folders.push_back(folders.back() + "../../cuda_cupti/lib/");
      }
      dlclose(library);
    }
  std::vector<std::string> roots = {TRIREME_CUDA_ROOT, "/usr/local/cuda"};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* root = std::getenv(variable)) roots.emplace_back(root);
  for (const std::string& root : roots)
    for (const char* below : {"/extras/CUPTI/lib64/", "/lib64/", "/lib/"}) folders.push_back(root + below);
  return folders;
}

void* open_library() {
  std::string first_error;
  for (const std::string& folder : library_folders())
    for (const char* name : {"libcupti.so.13", "libcupti.so"}) {
      if (void* library = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
      if (const char* error = dlerror(); error && first_error.empty()) first_error = error;
    }
  throw ConfigError("--profile: libcupti.so.13 cannot be loaded (" + first_error +
                    "); install the CUDA toolkit's cupti package, or put its folder into LD_LIBRARY_PATH");
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (!function) throw ConfigError(std::string("--profile: libcupti has no ") + name + "; use that of CUDA 12 or 13");
}

void require(CUptiResult result, const char* what) {
  if (result == CUPTI_SUCCESS) return;
  const char* text = nullptr;
  cupti.result_string(result, &text);
  throw ConfigError(std::string("--profile: CUPTI refuses ") + what + ": " + (text ? text : "unknown error") +
                    "; another profiler may be attached, or the driver may keep its counters to administrators");
}

std::string demangled(const char* name) {
  if (!name) return "kernel";
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string result = status == 0 && text ? text : name;
  std::free(text);
  return result;
}

const char* copy_name(uint8_t kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD: return "memcpy host to device";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH: return "memcpy device to host";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOD: return "memcpy device to device";
    case CUPTI_ACTIVITY_MEMCPY_KIND_PTOP: return "memcpy peer to peer";
    default: return "memcpy";
  }
}

// The structs of each kind only grow, so that one of an older header reads the records of a newer library.
template <typename Record>
void keep(const Record& record, std::string name, SpanCategory category) {
  if (record.end == 0) return;  // not finished
  if (records.size() >= kMaxSpans) {
    ++dropped_records;
    return;
  }
  records.push_back({std::move(name), category, kFirstStreamLane + int32_t(record.streamId),
                     int64_t(record.start) + clock_offset_ns, int64_t(record.end) + clock_offset_ns,
                     record.graphNodeId != 0});
}

void keep(const CUpti_Activity& activity) {
  if (activity.kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
    const auto& kernel = reinterpret_cast<const CUpti_ActivityKernel9&>(activity);
    std::string name = demangled(kernel.name);
    const SpanCategory category = kernel_category(name);
    keep(kernel, std::move(name), category);
  } else if (activity.kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
    const auto& copy = reinterpret_cast<const CUpti_ActivityMemcpy5&>(activity);
    keep(copy, copy_name(copy.copyKind), SpanCategory::copies);
  } else if (activity.kind == CUPTI_ACTIVITY_KIND_MEMSET) {
    keep(reinterpret_cast<const CUpti_ActivityMemset4&>(activity), "memset", SpanCategory::copies);
  }
}

// Both are called on a thread of CUPTI's, or on the one that flushes.
void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(kBufferAlignment, kBufferBytes));
  *size = *buffer ? kBufferBytes : 0;
  *max_records = 0;
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid_bytes) {
  if (wanted.load()) {
    std::lock_guard lock(records_mutex);
    CUpti_Activity* activity = nullptr;
    while (cupti.next_record(buffer, valid_bytes, &activity) == CUPTI_SUCCESS) keep(*activity);
  }
  std::free(buffer);
}

}  // namespace

std::string device_profiling_refusal() { return ""; }

void enable_device_records() {
  void* library = open_library();  // for the life of the process
  find(library, "cuptiActivityRegisterCallbacks", cupti.register_callbacks);
  find(library, "cuptiActivityEnable", cupti.enable);
  find(library, "cuptiActivityDisable", cupti.disable);
  find(library, "cuptiActivityFlushAll", cupti.flush);
  find(library, "cuptiActivityGetNextRecord", cupti.next_record);
  find(library, "cuptiGetTimestamp", cupti.timestamp);
  find(library, "cuptiGetResultString", cupti.result_string);
  require(cupti.register_callbacks(give_buffer, take_buffer), "its callbacks");
  for (CUpti_ActivityKind kind : kKinds) require(cupti.enable(kind), "to record kernels");
}

// What the load and the warm-up left in CUPTI's buffers goes away here.
void begin_device_records() {
  cupti.flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  uint64_t stamp = 0;
  require(cupti.timestamp(&stamp), "its clock");
  clock_offset_ns = profile_clock_ns() - int64_t(stamp);
  wanted.store(true);
}

void collect_device_records(int64_t start_ns) {
  cupti.flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  for (CUpti_ActivityKind kind : kKinds) cupti.disable(kind);
  wanted.store(false);
  std::lock_guard lock(records_mutex);
  for (TraceSpan& record : std::exchange(records, {}))
    if (record.start_ns >= start_ns) add_span(std::move(record));
  add_dropped_spans(std::exchange(dropped_records, 0));
}

#else

std::string device_profiling_refusal() {
  return "--profile: this build has no CUPTI headers; install the CUDA toolkit's cupti development files";
}
void enable_device_records() { throw ConfigError(device_profiling_refusal()); }
void begin_device_records() {}
void collect_device_records(int64_t) {}

#endif

}  // namespace trireme
