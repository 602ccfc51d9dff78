#include "launcher/host_reach.h"

#include <algorithm>
#include <cerrno>

#include "base/error.h"

namespace trireme {
namespace {

constexpr Duration kAnswerWithin = std::chrono::seconds(1);
constexpr Duration kFirstPause = std::chrono::milliseconds(250), kLongestPause = std::chrono::seconds(4);

bool is_answer(int error) { return error == 0 || error == ECONNREFUSED || error == ECONNRESET; }

Duration pause_after(int in_vain) { return std::min(kLongestPause, kFirstPause * (1 << std::min(in_vain - 1, 10))); }

}  // namespace

void HostReach::ask(Host& host, TimePoint now) {
  int error = 0;
  try {
    host.question = begin_dial("tcp:" + host.address + ":" + std::to_string(port_), error);
  } catch (const Error&) {
    error = EMFILE;  // no socket to be had now
  }
  host.asked = now;
  if (error != EINPROGRESS) conclude(host, error, now);
}

void HostReach::conclude(Host& host, int error, TimePoint now) {
  host.question.close();
  if (is_answer(error))
    host.known = host.answered = true;
  else
    host.next = now + pause_after(++host.in_vain);
}

void HostReach::look(Host& host, TimePoint now) {
  const int error = dial_error(host.question);
  if (error == EINPROGRESS && now - host.asked < kAnswerWithin) return;
  conclude(host, error, now);
}

void HostReach::learn(const std::vector<RankState>& ranks, TimePoint now) {
  const std::string own = local_host_name();
  for (const RankState& rank : ranks) {
    if (rank.address.empty() || rank.hello.host == own) continue;
    const auto same = [&rank](const Host& host) { return host.address == rank.address; };
    if (std::ranges::any_of(hosts_, same)) continue;
    Host& host = hosts_.emplace_back();
    host.name = rank.hello.host;
    host.address = rank.address;
    ask(host, now);
  }
  for (Host& host : hosts_)
    if (host.question.valid()) look(host, now);
}

void HostReach::begin(TimePoint now) {
  std::erase_if(hosts_, [](const Host& host) { return !host.known; });
  for (Host& host : hosts_) {
    host.answered = false;
    host.in_vain = 0;
    host.next = now;
    host.question.close();
  }
}

bool HostReach::all_answer(TimePoint now) {
  for (Host& host : hosts_) {
    if (host.answered) continue;
    if (host.question.valid())
      look(host, now);
    else if (now >= host.next)
      ask(host, now);
  }
  return std::ranges::all_of(hosts_, &Host::answered);
}

std::vector<std::string> HostReach::missing() const {
  std::vector<std::string> names;
  for (const Host& host : hosts_)
    if (!host.answered && host.in_vain > 0) names.push_back(host.name + " (" + host.address + ")");
  return names;
}

}  // namespace trireme
