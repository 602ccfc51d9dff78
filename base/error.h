#pragma once
// The error tree. What a person can mend is one of these, and its text says how; what only we can mend
// is an InternalError, raised by CHECK (base/check.h) and fatal for the engine.

#include <stdexcept>
#include <string>

namespace trireme {

// Something outside the program is wrong; what() names it and the remedy.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The client's fault: ends that one request (HTTP 4xx) and never reaches a CHECK.
class RequestError : public Error {
 public:
  using Error::Error;
};

// A flag, an environment variable or a combination of them that cannot work. Exit code 2.
class ConfigError : public Error {
 public:
  using Error::Error;
};

// A checkpoint file that is missing, truncated, malformed or does not fit its config. Exit code 1.
class CheckpointError : public Error {
 public:
  using Error::Error;
};

// A broken promise of our own code. Fatal for the engine.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

}  // namespace trireme
