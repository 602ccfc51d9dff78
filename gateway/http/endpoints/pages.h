#pragma once
// What the server tells people and Prometheus: "/" and "/metrics".

#include <functional>

#include "gateway/http/exchange.h"
#include "gateway/http/http_counters.h"
#include "gateway/metrics.h"

namespace trireme {

Route make_page_route();
// `counters`: the server's, asked at each scrape; answers are counted from them. `metrics` must outlive the route.
Route make_metrics_route(ServeMetrics& metrics, std::function<HttpCounters()> counters);

}  // namespace trireme
