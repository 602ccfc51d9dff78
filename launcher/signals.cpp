#include "launcher/signals.h"

#include <signal.h>

#include <atomic>
#include <initializer_list>

namespace trireme {
namespace {

std::atomic<int> first_signal{0}, count{0};

void on_signal(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  count.fetch_add(1);
}

}  // namespace

void install_signal_flags() {
  struct sigaction action {};
  action.sa_handler = on_signal;  // no SA_RESTART: a write that blocks on a stopped terminal comes back
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int pending_signal() { return first_signal.load(); }
int signals_received() { return count.load(); }

}  // namespace trireme
