#pragma once
// Can the hosts of an ended attempt be reached again? mpirun would not know before time-outs of its own, and each start
// in vain counts towards giving up. A host is asked by a TCP connection to its ssh port: any answer, a refusal too, says
// that it is there. Only hosts that answered while the engine ran are asked: where a firewall drops the question,
// silence says nothing. No threads and no waiting: sockets that are looked at when called. One thread.

#include <string>
#include <vector>

#include "base/clock.h"
#include "gateway/rank_watch.h"
#include "protocol/socket.h"

namespace trireme {

class HostReach {
 public:
  explicit HostReach(int port = 22) : port_(port) {}

  // Of a running engine, as often as wished: ranks of other hosts, each host asked once.
  void learn(const std::vector<RankState>& ranks, TimePoint now);

  // Before a start. all_answer() asks whoever has not answered since begin(): 1 s for an answer, then pauses of 0.25 s
  // doubling to 4 s.
  void begin(TimePoint now);
  bool all_answer(TimePoint now);
  std::vector<std::string> missing() const;  // "hostb (10.77.0.2)": asked since begin(), and no answer yet

 private:
  struct Host {
    std::string name, address;
    bool known = false;     // has answered at least once
    bool answered = false;  // since begin()
    int in_vain = 0;        // since begin()
    FileDescriptor question;
    TimePoint asked, next;
  };
  void ask(Host& host, TimePoint now);
  void conclude(Host& host, int error, TimePoint now);
  void look(Host& host, TimePoint now);  // has the answer come, or is it too late for one?

  int port_;
  std::vector<Host> hosts_;  // of the last engine that ran, without the front's own
};

}  // namespace trireme
