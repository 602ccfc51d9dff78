#include "base/fault_injection.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <optional>

#include "base/error.h"

namespace trireme {

bool any_fault_armed = false;

namespace {

constexpr int kPlantedExit = 3;

struct ArmedFault {
  FaultOrder order;
  int64_t passed = 0;
};
std::mutex mutex;
std::vector<ArmedFault> armed;

constexpr struct {
  const char* name;
  FaultPoint point;
  bool numbered;
} kPoints[] = {{"dial", FaultPoint::dial, false},   {"join", FaultPoint::join, false},
               {"load", FaultPoint::load, false},   {"ready", FaultPoint::ready, false},
               {"step", FaultPoint::step, true},    {"sampling", FaultPoint::sampling, false},
               {"drain", FaultPoint::drain, false}, {"request", FaultPoint::request, true}};

constexpr struct {
  const char* name;
  FaultAction action;
} kActions[] = {{"kill", FaultAction::kill},
                {"stop", FaultAction::stop},
                {"exit", FaultAction::exit},
                {"throw", FaultAction::throw_error},
                {"hang", FaultAction::hang}};

[[noreturn]] void refuse(std::string_view order, const char* why) {
  throw ConfigError("TRIREME_FAULT: " + std::string(order) + ": " + why +
                    "; it is RANK:POINT:ACTION[:COUNT][@ATTEMPT,...] with POINT one of dial, join, load, ready, "
                    "step<N>, sampling, drain, request<ID> and ACTION one of kill, stop, exit, throw, hang");
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t end; (end = text.find(separator)) != std::string_view::npos; text.remove_prefix(end + 1))
    parts.push_back(text.substr(0, end));
  parts.push_back(text);
  return parts;
}

std::optional<int64_t> number_in(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

void parse_point(FaultOrder& order, std::string_view text, std::string_view whole) {
  for (const auto& row : kPoints) {
    const std::string_view name = row.name;
    if (!row.numbered && text == name) return void(order.point = row.point);
    if (!row.numbered || text.substr(0, name.size()) != name) continue;
    const auto number = number_in(text.substr(name.size()));
    if (!number) refuse(whole, "a number must follow step and request");
    order.point = row.point;
    order.number = *number;
    return;
  }
  refuse(whole, "unknown point");
}

FaultOrder parse_order(std::string_view whole) {
  FaultOrder order;
  const size_t at = whole.find('@');
  if (at != std::string_view::npos)
    for (std::string_view attempt : split(whole.substr(at + 1), ',')) {
      const auto number = number_in(attempt);
      if (!number || *number < 1) refuse(whole, "attempts are numbers from 1");
      order.attempts.push_back(uint32_t(*number));
    }
  const auto parts = split(whole.substr(0, at), ':');
  if (parts.size() < 3 || parts.size() > 4) refuse(whole, "three or four parts are needed");
  const auto rank = number_in(parts[0]);
  if (!rank) refuse(whole, "the rank is not a number");
  order.rank = int(*rank);
  parse_point(order, parts[1], whole);
  const auto action =
      std::find_if(std::begin(kActions), std::end(kActions), [&](const auto& row) { return parts[2] == row.name; });
  if (action == std::end(kActions)) refuse(whole, "unknown action");
  order.action = action->action;
  if (parts.size() == 4) {
    const auto count = number_in(parts[3]);
    if (!count || *count < 1) refuse(whole, "the count is a number from 1");
    order.count = *count;
  }
  return order;
}

void act(FaultAction action) {
  switch (action) {
    case FaultAction::kill: ::raise(SIGKILL); break;
    case FaultAction::stop: ::kill(getpid(), SIGSTOP); break;
    case FaultAction::exit: _exit(kPlantedExit);
    case FaultAction::throw_error: throw InternalError("a planted failure");
    case FaultAction::hang:
      for (;;) ::pause();
  }
}

}  // namespace

std::vector<FaultOrder> parse_fault_orders(std::string_view text) {
  std::vector<FaultOrder> orders;
  for (std::string_view order : split(text, ';'))
    if (!order.empty()) orders.push_back(parse_order(order));
  return orders;
}

void arm_faults(int rank, uint32_t attempt) {
  const char* text = std::getenv("TRIREME_FAULT");
  if (!text) return;
  std::lock_guard lock(mutex);
  armed.clear();
  for (FaultOrder& order : parse_fault_orders(text)) {
    const bool now = order.attempts.empty() || std::ranges::find(order.attempts, attempt) != order.attempts.end();
    if (order.rank == rank && now) armed.push_back({std::move(order)});
  }
  any_fault_armed = !armed.empty();
}

void pass_armed_fault_point(FaultPoint point, int64_t number) {
  std::optional<FaultAction> action;
  {
    std::lock_guard lock(mutex);
    for (ArmedFault& fault : armed)
      if (fault.order.point == point && (fault.order.number < 0 || fault.order.number == number) &&
          ++fault.passed == fault.order.count)
        action = fault.order.action;
  }
  if (action) act(*action);
}

}  // namespace trireme
