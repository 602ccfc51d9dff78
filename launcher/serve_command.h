#pragma once
// trireme serve: the HTTP server listens at once and lives through every attempt of the engine; a ServeJob in the
// front's loop connects the two. SIGTERM lets open requests end (--shutdown-timeout), SIGHUP rereads keys and
// certificates, SIGUSR2 writes a report.

#include "gateway/http/http_options.h"
#include "launcher/serve_flags.h"

namespace trireme {

int run_serve(const ServeCommand& command);

HttpServerOptions http_server_options(const ServeCommand& command);

}  // namespace trireme
