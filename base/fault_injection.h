#pragma once
// Deaths on purpose, for tests of what happens after: TRIREME_FAULT=RANK:POINT:ACTION[:COUNT][@ATTEMPT,...], several
// separated by ';' (docs/operations.md). Nothing but a test of a bool where the variable is not set.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

enum class FaultPoint : uint8_t { dial, join, load, ready, step, sampling, drain, request };
enum class FaultAction : uint8_t { kill, stop, exit, throw_error, hang };

struct FaultOrder {
  int rank = 0;
  FaultPoint point = FaultPoint::step;
  int64_t number = -1;  // step<N>, request<ID>; -1: any
  FaultAction action = FaultAction::kill;
  int64_t count = 1;              // acts when the point is passed for the count-th time
  std::vector<uint32_t> attempts;  // empty: all
  bool operator==(const FaultOrder&) const = default;
};

// Throws ConfigError naming the part that cannot be read.
std::vector<FaultOrder> parse_fault_orders(std::string_view text);

// Reads TRIREME_FAULT for this process. Once, before other threads pass a point; throws ConfigError.
void arm_faults(int rank, uint32_t attempt);

extern bool any_fault_armed;
void pass_armed_fault_point(FaultPoint point, int64_t number);

// Called where a rank may be made to fail. `number`: the step or request, where there is one. May throw InternalError.
inline void fault_point(FaultPoint point, int64_t number = -1) {
  if (any_fault_armed) [[unlikely]]
    pass_armed_fault_point(point, number);
}

}  // namespace trireme
