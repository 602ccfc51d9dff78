#pragma once
// Counts what the whole program allocates with new: to be included by one source file of a test program.

#include <malloc.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace trireme::test {

struct AllocatedBytes {
  std::atomic<int64_t> now = 0, peak = 0;
  void add(int64_t bytes) {
    const int64_t total = now.fetch_add(bytes) + bytes;
    for (int64_t seen = peak; total > seen && !peak.compare_exchange_weak(seen, total);) {
    }
  }
};
inline AllocatedBytes allocated_bytes;

// The most that was allocated at once while `action` ran, beyond what was allocated before.
template <typename Action>
int64_t peak_bytes_of(const Action& action) {
  const int64_t before = allocated_bytes.now;
  allocated_bytes.peak = before;
  action();
  return allocated_bytes.peak - before;
}

}  // namespace trireme::test

void* operator new(size_t bytes) {
  void* data = std::malloc(bytes > 0 ? bytes : 1);
  if (!data) throw std::bad_alloc();
  trireme::test::allocated_bytes.add(int64_t(malloc_usable_size(data)));
  return data;
}
void operator delete(void* data) noexcept {
  if (data) trireme::test::allocated_bytes.now -= int64_t(malloc_usable_size(data));
  std::free(data);
}
void operator delete(void* data, size_t) noexcept { operator delete(data); }
