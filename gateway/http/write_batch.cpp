#include "gateway/http/write_batch.h"

#include <algorithm>
#include <cstdlib>

#include "gateway/http/io_thread.h"

namespace trireme {
namespace {

thread_local WriteBatch* current_batch = nullptr;

// An experiment; to be taken back.
size_t group_size() {
  static const char* text = std::getenv("TRIREME_WRITE_GROUP");
  static const size_t size = text ? size_t(std::atoi(text)) : WriteBatch::kGroup;
  return size;
}

}  // namespace

WriteBatch::WriteBatch() : outermost_(!current_batch) {
  if (outermost_) current_batch = this;
}

WriteBatch::~WriteBatch() {
  if (!outermost_) return;
  current_batch = nullptr;
  for (Group& group : groups_) group.io->wake(group.answers);
}

WriteBatch* WriteBatch::current() { return current_batch; }

void WriteBatch::add(std::shared_ptr<IoThread> io, std::shared_ptr<Answer> answer) {
  auto group = std::ranges::find(groups_, io, &Group::io);
  if (group == groups_.end()) group = groups_.insert(group, Group{std::move(io), {}});
  group->answers.push_back(std::move(answer));
  if (group->answers.size() >= group_size()) group->io->wake(group->answers);
}

}  // namespace trireme
