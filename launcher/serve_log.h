#pragma once
// The lines of a server: when it is up, what it answered, how fast it is. On standard error, one write each; any
// thread. Not the log of base/log.h, which belongs to the rank where rank and server are one process.

#include <mutex>
#include <string>

#include "launcher/serve_flags.h"

namespace trireme {

class ServeLog {
 public:
  explicit ServeLog(LogFormat format) : format_(format) {}
  void line(const std::string& text) const;                          // "14:03:07.250 info [serve] text"
  void event(const std::string& text, json::object fields) const;    // JSON has the fields beside the text

 private:
  const LogFormat format_;
};

}  // namespace trireme
