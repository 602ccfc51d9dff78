#pragma once

namespace trireme {

// Every connection is a file descriptor, and shells begin with a limit of 1,024: raises it as far as the hard limit
// allows, to at most 65,536 (mpirun, which inherits it, goes through all that may be open).
void raise_descriptor_limit();

}  // namespace trireme
