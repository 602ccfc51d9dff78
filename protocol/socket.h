#pragma once
// The few socket calls front and ranks need: Unix or TCP by the address's prefix, non-blocking, close-on-exec.

#include <chrono>
#include <string>
#include <utility>

namespace trireme {

// Owns a descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  ~FileDescriptor() { close(); }
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  int get() const { return descriptor_; }
  bool valid() const { return descriptor_ >= 0; }
  void close();

 private:
  int descriptor_ = -1;
};

// "unix:/path", "tcp:host:port" ("tcp:0.0.0.0:0" lets the kernel choose). Throws Error with the reason.
FileDescriptor listen_on(const std::string& address);
int listening_port(const FileDescriptor& listener);                // TCP only
FileDescriptor accept_connection(const FileDescriptor& listener);  // invalid: nobody is waiting
// Tries until the timeout while the connection is refused or the path is not there yet.
FileDescriptor dial(const std::string& address, std::chrono::milliseconds timeout);

// A TCP connection that is being made; invalid when it is refused at once, `error` says why. No waiting.
FileDescriptor begin_dial(const std::string& address, int& error);
int dial_error(const FileDescriptor& socket);                  // EINPROGRESS, 0 once connected, or why it failed
std::string peer_address(const FileDescriptor& socket);        // numeric, without the port; empty: not TCP over IP

struct SocketRead {
  std::string bytes;
  bool ended = false;  // end of file or a broken connection, after `bytes`
};
SocketRead read_available(const FileDescriptor& socket, size_t max_bytes);
// Sends what the kernel takes now and erases it from `pending`; false: the connection is broken.
bool write_available(const FileDescriptor& socket, std::string& pending);

// Readable or (if asked) writable within the timeout?
bool wait_socket(const FileDescriptor& socket, bool for_write, std::chrono::milliseconds timeout);

std::string local_host_name();

// A pipe that wakes a poll(): notify() from any thread, drain() by the polling one.
class Wakeup {
 public:
  Wakeup();
  void notify();
  void drain();
  int descriptor() const { return event_.get(); }

 private:
  FileDescriptor event_;
};

}  // namespace trireme
