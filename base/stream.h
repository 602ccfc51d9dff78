#pragma once
// A queue of device work, a mark in it, and work recorded to be queued again. On the CPU the first two are empty and
// every call returns at once; nothing is ever recorded there.

#include <cstdint>
#include <functional>
#include <memory>

#include "base/device.h"

struct CUstream_st;
struct CUevent_st;
struct CUgraphExec_st;

namespace trireme {

// urgent: its kernels get processors before those of other streams, as soon as blocks of theirs end.
enum class StreamPriority : uint8_t { normal, urgent };

class Stream {
 public:
  explicit Stream(Device device, StreamPriority priority = StreamPriority::normal);
  ~Stream();
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;
  void synchronize() const;                     // waits for all work queued so far
  CUstream_st* get() const { return handle_; }  // null on the CPU
  Device device() const { return device_; }

 private:
  Device device_;
  CUstream_st* handle_ = nullptr;
};

class Event {
 public:
  explicit Event(Device device);
  ~Event();
  Event(Event&&) noexcept;
  Event& operator=(Event&&) noexcept;
  void record(const Stream& stream);
  void wait_on(const Stream& stream) const;     // later work of `stream` waits for the recorded mark
  bool done() const;                            // true when never recorded
  void synchronize() const;

 private:
  Device device_;
  CUevent_st* handle_ = nullptr;
};

// What `record` queues on a stream, kept and launched as one: pointers and sizes stay those of the recording. Whatever
// an op does at its first use (memory of its own, modules, connections) must have happened before.
class Graph {
 public:
  Graph() = default;
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  static bool supported(Device device) { return device.is_cuda(); }
  static Graph record(const Stream& stream, const std::function<void()>& record);  // queues nothing
  void launch(const Stream& stream) const;
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  CUgraphExec_st* handle_ = nullptr;
};

}  // namespace trireme
