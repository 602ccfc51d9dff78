#pragma once

namespace trireme {

// The whole program. main() calls nothing else.
int run_program(int argc, char** argv);

}  // namespace trireme
