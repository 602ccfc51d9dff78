#pragma once
// Records a stretch of steps on this rank (base/profiler.h) and leaves it in a file of its own for the front to read.
// The worker's thread.

#include <string>
#include <vector>

#include "base/profiler.h"
#include "base/stream.h"
#include "parallel/plan/plan.h"

namespace trireme {

struct ProfileOptions {
  std::string directory;     // exists where the front runs; empty: nothing is recorded
  int skip = 16, steps = 32;  // steps with rows: passed over, then recorded
  bool from_decode = false;  // only steps that just decode are passed over, and the recording begins with one
  bool operator==(const ProfileOptions&) const = default;
};

struct ProfilePart {  // one rank's recording
  int rank = 0;
  std::string device;        // "cpu", "cuda:0"
  int64_t steps = 0;         // recorded
  int64_t decode_steps = 0;  // of these: one token of each sequence
  Recording recording;
};

std::string profile_part_path(const std::string& directory, int rank);
std::string profile_part_text(const ProfilePart& part);
// Throws CheckpointError naming `what` when the text is not of profile_part_text.
ProfilePart parse_profile_part(const std::string& text, const std::string& what);

class StepProfiler {
 public:
  // Throws ConfigError where the device cannot be recorded. Make it before the device's graphs.
  StepProfiler(const ProfileOptions& options, int rank, Device device);

  // Around the execution of every plan. Both wait for the stream at the ends of the recording and only there. The part
  // is written with the last step, or with the shutdown plan.
  void before_step(const StepPlan& plan, const Stream& stream);
  void after_step(const StepPlan& plan, const Stream& stream);

 private:
  bool begins_with(const StepPlan& plan);
  void write();

  ProfileOptions options_;
  ProfilePart part_;
  int passed_ = 0;
  bool recording_ = false, written_ = false;
};

}  // namespace trireme
