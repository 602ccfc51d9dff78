#include "checkpoint/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/progress.h"

namespace trireme {
namespace {

constexpr int64_t kReadChunkBytes = int64_t(16) << 20;
constexpr int64_t kAdviceBytes = int64_t(1) << 20;
constexpr int64_t kSmallFileBytes = int64_t(256) << 20;

[[noreturn]] void fail(const std::string& path, const char* action) {
  throw CheckpointError(std::string("cannot ") + action + " " + path + ": " + std::strerror(errno));
}

}  // namespace

// O_NONBLOCK: a named pipe is refused below instead of waiting for its writer.
InputFile::InputFile(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail(path_, "open");
  struct stat status;
  const bool is_file = ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
  if (!is_file) {
    ::close(descriptor_);
    throw CheckpointError(path_ + " is not a regular file");
  }
  size_ = status.st_size;
  ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), size_(other.size_), descriptor_(std::exchange(other.descriptor_, -1)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(size_, other.size_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

void InputFile::read(int64_t offset, int64_t bytes, std::byte* destination, std::string_view what) const {
  while (bytes > 0) {
    rank_progress().tick("read checkpoint");
    const ssize_t count = ::pread(descriptor_, destination, size_t(std::min(bytes, kReadChunkBytes)), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, "read");
    if (count == 0)
      throw CheckpointError(path_ + " is truncated: " + std::string(what) + " needs byte " + std::to_string(offset) +
                            ", the file ends before it; download or copy the file again");
    offset += count;
    bytes -= count;
    destination += count;
  }
}

// In pieces: the kernel cuts one request to about what its device takes at once.
void InputFile::will_need(int64_t offset, int64_t bytes) const {
  const int64_t end = std::min(offset + bytes, size_);
  for (; offset < end; offset += kAdviceBytes)
    ::posix_fadvise(descriptor_, offset, std::min(kAdviceBytes, end - offset), POSIX_FADV_WILLNEED);
}

bool is_regular_file(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

bool is_directory(const std::string& path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

std::string read_small_file(const std::string& path) {
  const InputFile file(path);
  if (file.size() > kSmallFileBytes)
    throw CheckpointError(path + " has " + std::to_string(file.size()) + " bytes; the limit for this kind of file is " +
                          std::to_string(kSmallFileBytes));
  std::string text(size_t(file.size()), '\0');
  file.read(0, file.size(), reinterpret_cast<std::byte*>(text.data()), "the text");
  return text;
}

}  // namespace trireme
