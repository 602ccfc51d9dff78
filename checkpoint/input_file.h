#pragma once
// A regular file open for positioned reads. Threads may read at once. A file that shrinks after it was opened
// gives an error, not a signal.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trireme {

class InputFile {
 public:
  explicit InputFile(std::string path);  // throws CheckpointError
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }  // when it was opened

  // Fills [destination, destination + bytes) from `offset`; `what` names the reader's business in the error.
  // Moves the rank's progress counter, so that a long load is seen to be alive.
  void read(int64_t offset, int64_t bytes, std::byte* destination, std::string_view what) const;
  // Asks the kernel to have those bytes in its page cache soon. A hint: costs little, never fails.
  void will_need(int64_t offset, int64_t bytes) const;

 private:
  std::string path_;
  int64_t size_ = 0;
  int descriptor_ = -1;
};

bool is_regular_file(const std::string& path);  // follows links; false on any error
bool is_directory(const std::string& path);

// The text of a small regular file. Throws CheckpointError.
std::string read_small_file(const std::string& path);

}  // namespace trireme
