#include "launcher/signals.h"

#include <signal.h>

#include <atomic>
#include <initializer_list>

namespace trireme {
namespace {

std::atomic<int> first_signal{0}, count{0};
std::atomic<bool> report_requested{false}, reload_requested{false};

void on_signal(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  count.fetch_add(1);
}

void on_report_request(int) { report_requested.store(true); }
void on_reload_request(int) { reload_requested.store(true); }

}  // namespace

void install_signal_flags() {
  struct sigaction action {};
  action.sa_handler = on_signal;  // no SA_RESTART: a write that blocks on a stopped terminal comes back
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  struct sigaction report {};
  report.sa_handler = on_report_request;
  report.sa_flags = SA_RESTART;
  sigaction(SIGUSR2, &report, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int pending_signal() { return first_signal.load(); }
int signals_received() { return count.load(); }
void take_hangup_as_reload() {
  struct sigaction reload {};
  reload.sa_handler = on_reload_request;
  reload.sa_flags = SA_RESTART;
  sigaction(SIGHUP, &reload, nullptr);
}

bool take_reload_request() { return reload_requested.exchange(false); }
bool take_report_request() { return report_requested.exchange(false); }

}  // namespace trireme
