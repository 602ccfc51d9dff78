#pragma once
#include "base/stream.h"

namespace trireme {

// Queues one more count of this rank's progress (base/progress.h), so that a step that runs long on a device after all
// its ops were queued is seen to move. The CPU back end does its work as it is called: there the ops' own counts do.
// One step's thread.
void mark_progress(Device device, const Stream& stream);

}  // namespace trireme
