#include "gateway/http/endpoints/pages.h"

#include <map>
#include <memory>
#include <mutex>

#include "gateway/http/page/chat_page.h"

namespace trireme {
namespace {

// Two scrapes at once must not count the same answers.
struct CountedAnswers {
  std::mutex mutex;
  std::map<int, uint64_t> by_status;
};

}  // namespace

Route make_page_route() {
  return {"GET", "/", Access::open, [](const std::shared_ptr<Exchange>& exchange) {
            exchange->respond(200, "text/html; charset=utf-8", std::string(chat_page()),
                              {{"Content-Security-Policy", kChatPagePolicy},
                               {"X-Content-Type-Options", "nosniff"},
                               {"Cache-Control", "no-cache"}});
          }};
}

Route make_metrics_route(ServeMetrics& metrics, std::function<HttpCounters()> counters) {
  const auto counted = std::make_shared<CountedAnswers>();
  return {"GET", "/metrics", Access::metrics_key,
          [&metrics, counters = std::move(counters), counted](const std::shared_ptr<Exchange>& exchange) {
            {
              const std::lock_guard lock(counted->mutex);
              for (const auto& [status, count] : counters().answers) {
                uint64_t& before = counted->by_status[status];
                if (count > before) metrics.on_http_response(status, count - before);
                before = std::max(before, count);
              }
            }
            exchange->respond(200, "text/plain; version=0.0.4; charset=utf-8", metrics.exposition());
          }};
}

}  // namespace trireme
