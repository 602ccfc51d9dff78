#pragma once
// A queue of device work, and a mark in it. On the CPU both are empty and every call returns at once.

#include <memory>

#include "base/device.h"

struct CUstream_st;
struct CUevent_st;

namespace trireme {

class Stream {
 public:
  explicit Stream(Device device);
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

}  // namespace trireme
