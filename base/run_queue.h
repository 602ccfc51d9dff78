#pragma once
// How long this process's threads waited for a core so far, summed: /proc/self/task/*/schedstat. 0 where the kernel
// does not tell. Tells a process that is short of processor time from one that hangs.

#include "base/clock.h"

namespace trireme {

Duration run_queue_delay();

}  // namespace trireme
