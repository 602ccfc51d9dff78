#pragma once
// Ctrl-C, SIGTERM, SIGHUP and SIGUSR2 as flags that the front's loop looks at. One per process.

namespace trireme {

void install_signal_flags();  // also ignores SIGPIPE: a closed standard output is a failed write
int pending_signal();         // 0: none; otherwise the first that came
int signals_received();       // how many so far: the second means "now"
void take_hangup_as_reload();  // from now on SIGHUP ends nothing
bool take_reload_request();    // SIGHUP came since the last call
bool take_report_request();   // SIGUSR2 came since the last call: write a report of the running engine

}  // namespace trireme
