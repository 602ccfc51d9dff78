#pragma once
// What its thread writes to exchanges while one lives reaches the I/O threads in groups: a step's tokens go to hundreds of
// streams, and to wake a thread that has just fallen asleep takes as long as to make an event. A group waits for the
// making of its last event at most. On the stack; one inside another does nothing.

#include <memory>
#include <vector>

namespace trireme {

class Answer;
class IoThread;

class WriteBatch final {
 public:
  static constexpr size_t kGroup = 16;  // answers

  WriteBatch();
  ~WriteBatch();
  WriteBatch(const WriteBatch&) = delete;
  WriteBatch& operator=(const WriteBatch&) = delete;

  static WriteBatch* current();  // this thread's; null: none
  void add(std::shared_ptr<IoThread> io, std::shared_ptr<Answer> answer);

 private:
  struct Group {
    std::shared_ptr<IoThread> io;
    std::vector<std::shared_ptr<Answer>> answers;
  };
  bool outermost_;
  std::vector<Group> groups_;  // by I/O thread: a few
};

}  // namespace trireme
