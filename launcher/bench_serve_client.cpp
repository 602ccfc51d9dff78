#include <boost/asio.hpp>

#include <algorithm>
#include <chrono>
#include <deque>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "launcher/bench_serve.h"
#include "launcher/descriptor_limit.h"
#include "launcher/http_stream.h"
#include "launcher/version.h"

namespace trireme {
namespace {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;
using boost::system::error_code;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

constexpr size_t kMaxErrorBytes = 4096;  // kept of an answer that is no stream

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string request_text(const BenchServeCommand& command, const std::string& method, const std::string& path,
                         const std::string& body) {
  std::string text = method + " " + path + " HTTP/1.1\r\nHost: " + command.host + ":" + command.port +
                     "\r\nUser-Agent: trireme-bench\r\nConnection: close\r\n";
  if (!command.api_key.empty()) text += "Authorization: Bearer " + command.api_key + "\r\n";
  for (const auto& [name, value] : command.headers) text += name + ": " + value + "\r\n";
  if (!body.empty())
    text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + body;
}

std::string endpoint_of(const BenchServeCommand& command) {
  if (!command.endpoint.empty()) return command.base_path + command.endpoint;
  return command.base_path + (command.backend == ServeBackend::chat ? "/v1/chat/completions" : "/v1/completions");
}

std::string body_of(const BenchServeCommand& command, const std::string& model, const ServePromptText& prompt) {
  json::object body;
  body["model"] = model;
  if (command.backend == ServeBackend::chat) {
    body["messages"] = json::array{json::object{{"role", "user"}, {"content", prompt.prompt}}};
    body["max_completion_tokens"] = prompt.output_len;
  } else {
    body["prompt"] = prompt.prompt;
    body["max_tokens"] = prompt.output_len;
  }
  body["temperature"] = 0.0;
  body["stream"] = true;
  body["stream_options"] = json::object{{"include_usage", true}};
  if (command.ignore_eos) body["ignore_eos"] = true;
  for (const auto& [key, value] : command.extra_body) body[key] = value;
  return json::serialize(body);
}

// Reads the events of one answer into its sample.
class StreamReading {
 public:
  StreamReading(ServeSample& sample, bool chat, TimePoint begun, bool keep_text)
      : sample_(sample), chat_(chat), keep_text_(keep_text), begun_(begun) {}

  void on_event(std::string_view data, TimePoint now) {
    if (data == "[DONE]") {
      done_ = true;
      return;
    }
    error_code error;
    const json::value value = json::parse(json::string_view(data.data(), data.size()), error);
    if (error || !value.is_object()) throw Error("the server sent an event that is no JSON object");
    const json::object& event = value.get_object();
    if (const json::value* told = event.if_contains("error")) throw Error("the server says " + json::serialize(*told));
    if (const json::value* usage = event.if_contains("usage"); usage && usage->is_object())
      take_usage(usage->get_object());
    if (const json::value* choices = event.if_contains("choices"); choices && choices->is_array())
      for (const json::value& choice : choices->get_array())
        if (choice.is_object()) take_choice(choice.get_object(), now);
  }

  void finish(double now) {
    if (!done_) throw Error("the server closed the connection in the middle of its answer");
    if (sample_.token_times.empty() && any_choice_) sample_.ttft = first_choice_;
    if (!counted_) sample_.output_len = int64_t(sample_.token_times.size());
    if (!any_choice_) throw Error("the server's answer holds no choice");
    sample_.end = now;
    sample_.success = true;
  }

 private:
  void take_usage(const json::object& usage) {
    const auto number = [&usage](const char* key, int64_t& into) {
      const json::value* value = usage.if_contains(key);
      if (value && value->is_int64() && value->get_int64() > 0) into = value->get_int64();
      return value && value->is_int64();
    };
    number("prompt_tokens", sample_.input_len);
    counted_ |= number("completion_tokens", sample_.output_len);
    const json::value* details = usage.if_contains("prompt_tokens_details");
    const json::value* cached = details && details->is_object() ? details->get_object().if_contains("cached_tokens") : nullptr;
    if (cached && cached->is_int64()) sample_.cached_len = cached->get_int64();
  }

  void take_choice(const json::object& choice, TimePoint now) {
    const double at = seconds(now - begun_);
    if (!any_choice_) first_choice_ = at - sample_.start;
    any_choice_ = true;
    const std::string_view text = text_of(choice);
    if (text.empty()) return;
    if (keep_text_) sample_.text += text;
    if (sample_.token_times.empty())
      sample_.ttft = at - sample_.start;
    else
      sample_.itls.push_back(at - sample_.token_times.back());
    sample_.token_times.push_back(at);
  }

  // What a reader would see; the role that begins a chat and the end that closes it are no tokens.
  std::string_view text_of(const json::object& choice) const {
    const json::value* holder = chat_ ? choice.if_contains("delta") : nullptr;
    if (chat_ && !(holder && holder->is_object())) return {};
    const json::object& object = chat_ ? holder->get_object() : choice;
    const char* const completion_keys[] = {"text"};
    const char* const chat_keys[] = {"content", "reasoning_content", "reasoning"};
    const auto find = [&object](auto& keys) -> std::string_view {
      for (const char* key : keys)
        if (const json::value* text = object.if_contains(key); text && text->is_string() && !text->get_string().empty())
          return {text->get_string().data(), text->get_string().size()};
      return {};
    };
    return chat_ ? find(chat_keys) : find(completion_keys);
  }

  ServeSample& sample_;
  const bool chat_, keep_text_;
  const TimePoint begun_;
  bool done_ = false, counted_ = false, any_choice_ = false;
  double first_choice_ = 0;
};

// All requests of one run; everything on the one thread that runs io_.
class Load {
 public:
  Load(const BenchServeCommand& command, const std::string& model, const std::vector<ServePromptText>& prompts)
      : command_(command), model_(model), prompts_(prompts), samples_(prompts.size()), io_(1) {
    error_code error;
    servers_ = Tcp::resolver(io_).resolve(command.host, command.port, error);
    if (error) throw Error("--host " + command.host + ": " + error.message());
  }

  std::vector<ServeSample> run(double& duration) {
    arrivals_ = arrival_times(int(prompts_.size()), command_.request_rate, command_.burstiness, command_.seed);
    begun_ = std::chrono::steady_clock::now();
    asio::co_spawn(io_, arrive(), asio::detached);
    if (command_.show_progress) asio::co_spawn(io_, show_progress(), asio::detached);
    io_.run();
    duration = last_end_;
    return std::move(samples_);
  }

 private:
  double now() const { return seconds(std::chrono::steady_clock::now() - begun_); }

  asio::awaitable<void> arrive() {
    asio::steady_timer timer(io_);
    for (size_t index = 0; index < prompts_.size(); ++index) {
      if (arrivals_[index] > 0) {
        timer.expires_at(begun_ +
                         std::chrono::duration_cast<Duration>(std::chrono::duration<double>(arrivals_[index])));
        co_await timer.async_wait(kTuple);
      }
      waiting_.push_back(index);
      start_waiting();
    }
  }

  void start_waiting() {
    while (!waiting_.empty() && (command_.max_concurrency <= 0 || running_ < command_.max_concurrency)) {
      const size_t index = waiting_.front();
      waiting_.pop_front();
      ++running_;
      asio::co_spawn(io_, one(index), asio::detached);
    }
  }

  asio::awaitable<void> one(size_t index) {
    ServeSample& sample = samples_[index];
    sample.input_len = prompts_[index].input_len;
    const std::string text =
        request_text(command_, "POST", endpoint_of(command_), body_of(command_, model_, prompts_[index]));
    sample.start = now();
    try {
      co_await stream(text, sample);
    } catch (const std::exception& error) {
      sample.success = false;
      sample.error = error.what();
      sample.end = now();
    }
    last_end_ = std::max(last_end_, sample.end);
    --running_;
    ++finished_;
    start_waiting();
  }

  asio::awaitable<void> stream(const std::string& text, ServeSample& sample) {
    Tcp::socket socket(io_);
    const auto [refused, endpoint] = co_await asio::async_connect(socket, servers_, kTuple);
    if (refused) throw Error("cannot connect to " + command_.host + ":" + command_.port + ": " + refused.message());
    socket.set_option(Tcp::no_delay(true));
    const auto [unsent, sent] = co_await asio::async_write(socket, asio::buffer(text), kTuple);
    if (unsent) throw Error("the server closed the connection before it had the request: " + unsent.message());

    HttpResponseReader response;
    SseReader events;
    StreamReading reading(sample, command_.backend == ServeBackend::chat, begun_, command_.save_detailed);
    std::string other;  // body of an answer that is an error
    std::array<char, 16384> buffer;
    while (!response.complete()) {
      const auto [ended, count] = co_await socket.async_read_some(asio::buffer(buffer), kTuple);
      const TimePoint arrived = std::chrono::steady_clock::now();
      if (ended) {
        if (ended != asio::error::eof) throw Error("the connection broke: " + ended.message());
        response.on_close();
        break;
      }
      response.feed({buffer.data(), count}, [&](std::string_view body) {
        if (response.status() == 200)
          events.feed(body, [&](std::string_view data) { reading.on_event(data, arrived); });
        else if (other.size() < kMaxErrorBytes)
          other += body.substr(0, kMaxErrorBytes - other.size());
      });
    }
    if (response.status() != 200) throw Error("HTTP " + std::to_string(response.status()) + ": " + other);
    reading.finish(now());
  }

  asio::awaitable<void> show_progress() {
    asio::steady_timer timer(io_);
    for (;;) {
      const double percent = 100.0 * double(finished_) / double(std::max<size_t>(prompts_.size(), 1));
      const std::string bar(size_t(percent / 4), '#');
      std::fprintf(stderr, "\r%3.0f%%|%-25s| %zu/%zu [%.0fs, %.2f req/s, %d in work]   ", percent, bar.c_str(),
                   finished_, prompts_.size(), now(), now() > 0 ? double(finished_) / now() : 0, running_);
      if (finished_ == prompts_.size()) break;
      timer.expires_after(std::chrono::milliseconds(200));
      co_await timer.async_wait(kTuple);
    }
    std::fputc('\n', stderr);
  }

  const BenchServeCommand& command_;
  const std::string& model_;
  const std::vector<ServePromptText>& prompts_;
  std::vector<ServeSample> samples_;
  asio::io_context io_;
  Tcp::resolver::results_type servers_;
  std::vector<double> arrivals_;
  TimePoint begun_;
  std::deque<size_t> waiting_;
  int running_ = 0;
  size_t finished_ = 0;
  double last_end_ = 0;
};

std::string model_list(const BenchServeCommand& command) {
  asio::io_context io(1);
  Tcp::socket socket(io);
  error_code refused;
  const auto servers = Tcp::resolver(io).resolve(command.host, command.port, refused);
  if (!refused) asio::connect(socket, servers, refused);
  if (refused) throw Error(refused.message());
  asio::write(socket, asio::buffer(request_text(command, "GET", command.base_path + "/v1/models", "")));
  HttpResponseReader response;
  std::string body;
  std::array<char, 4096> buffer;
  while (!response.complete()) {
    error_code ended;
    const size_t count = socket.read_some(asio::buffer(buffer), ended);
    if (ended) {
      response.on_close();
      break;
    }
    response.feed({buffer.data(), count}, [&body](std::string_view part) { body += part; });
  }
  if (response.status() != 200)
    throw Error("HTTP " + std::to_string(response.status()) + " for /v1/models: " + body.substr(0, kMaxErrorBytes));
  return body;
}

}  // namespace

std::string served_model(const BenchServeCommand& command) {
  const std::string server = command.host + ":" + command.port;
  const TimePoint give_up = std::chrono::steady_clock::now() +
                            std::chrono::duration_cast<Duration>(std::chrono::duration<double>(command.ready_timeout));
  for (;;) {
    try {
      const json::value list = json::parse(model_list(command));
      return std::string(list.at("data").at(0).at("id").as_string());
    } catch (const std::exception& error) {
      if (std::chrono::steady_clock::now() >= give_up)
        throw Error("no model to be had from http://" + server + command.base_path + "/v1/models (" + error.what() +
                    "): is the server up? --ready-check-timeout-sec waits for it, --model names the model");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

std::vector<ServeSample> drive_server(const BenchServeCommand& command, const std::string& model,
                                      const std::vector<ServePromptText>& prompts, double& duration) {
  raise_descriptor_limit();
  return Load(command, model, prompts).run(duration);
}

}  // namespace trireme
