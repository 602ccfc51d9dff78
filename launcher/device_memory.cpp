#include "launcher/device_memory.h"

#include <dlfcn.h>

namespace trireme {
namespace {

constexpr int64_t kSlackBytes = int64_t(64) << 20;

struct NvmlMemory {  // nvmlMemory_t
  unsigned long long total, free, used;
};
using NvmlDevice = void*;

class Nvml final : public DeviceMemory {
 public:
  Nvml() {
    library_ = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library_) return;
    const auto initialize = function<int()>("nvmlInit_v2");
    count_ = function<int(unsigned*)>("nvmlDeviceGetCount_v2");
    handle_ = function<int(unsigned, NvmlDevice*)>("nvmlDeviceGetHandleByIndex_v2");
    memory_ = function<int(NvmlDevice, NvmlMemory*)>("nvmlDeviceGetMemoryInfo");
    usable_ = initialize && count_ && handle_ && memory_ && initialize() == 0;
  }
  ~Nvml() override {
    if (usable_)
      if (const auto shutdown = function<int()>("nvmlShutdown")) shutdown();
    if (library_) dlclose(library_);
  }
  bool usable() const { return usable_; }

  std::vector<int64_t> used_bytes() override {
    unsigned devices = 0;
    if (count_(&devices) != 0) return {};
    std::vector<int64_t> used;
    for (unsigned i = 0; i < devices; ++i) {
      NvmlDevice device = nullptr;
      NvmlMemory memory{};
      if (handle_(i, &device) != 0 || memory_(device, &memory) != 0) return {};
      used.push_back(int64_t(memory.used));
    }
    return used;
  }

 private:
  template <typename Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(library_, name));
  }

  void* library_ = nullptr;
  bool usable_ = false;
  int (*count_)(unsigned*) = nullptr;
  int (*handle_)(unsigned, NvmlDevice*) = nullptr;
  int (*memory_)(NvmlDevice, NvmlMemory*) = nullptr;
};

}  // namespace

std::unique_ptr<DeviceMemory> open_nvml() {
  auto nvml = std::make_unique<Nvml>();
  if (!nvml->usable()) return nullptr;
  return nvml;
}

bool memory_is_back(const std::vector<int64_t>& before, const std::vector<int64_t>& now) {
  if (before.size() != now.size()) return true;
  for (size_t i = 0; i < now.size(); ++i)
    if (now[i] > before[i] + kSlackBytes) return false;
  return true;
}

}  // namespace trireme
