#include "launcher/config_file.h"

#if TRIREME_WITH_YAML
#include <yaml-cpp/yaml.h>
#endif

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "launcher/run_flags.h"

namespace trireme {
namespace {

constexpr size_t kMaxConfigBytes = 1 << 20;

bool is_switch(const CLI::Option& option) { return option.get_expected_max() == 0; }

const CLI::Option* find_option(const CLI::App& app, const std::string& flag) {
  for (const CLI::Option* option : app.get_options())
    if (option->check_lname(flag)) return option;
  return nullptr;
}

#if TRIREME_WITH_YAML

// The lines of yaml-cpp's marks count from 0.
std::string at_line(const std::string& name, const YAML::Mark& mark) {
  return mark.line < 0 ? name : name + " line " + std::to_string(mark.line + 1);
}

// A scalar in plain style is a number, a truth value or nothing where it looks like one; in quotes it is text.
json::value scalar_json(const YAML::Node& node) {
  const bool quoted = node.Tag() == "!";
  if (quoted) return json::value(node.Scalar());
  if (int64_t number = 0; YAML::convert<int64_t>::decode(node, number)) return number;
  if (double number = 0; YAML::convert<double>::decode(node, number)) return number;
  if (bool truth = false; YAML::convert<bool>::decode(node, truth)) return truth;
  return json::value(node.Scalar());
}

json::value to_json(const YAML::Node& node, int depth = 0) {
  if (depth > 32) throw ConfigError("--config: nested deeper than 32");
  if (node.IsMap()) {
    json::object object;
    for (const auto& entry : node) object[entry.first.Scalar()] = to_json(entry.second, depth + 1);
    return object;
  }
  if (node.IsSequence()) {
    json::array array;
    for (const YAML::Node& entry : node) array.push_back(to_json(entry, depth + 1));
    return array;
  }
  return node.IsScalar() ? scalar_json(node) : json::value();
}

std::string text_of(const YAML::Node& node) { return node.IsScalar() ? node.Scalar() : json::serialize(to_json(node)); }

// What the file's one key gives on the command line.
void append_flag(const CLI::Option& option, const std::string& flag, const YAML::Node& value, const std::string& where,
                 std::vector<std::string>& out) {
  if (is_switch(option)) {
    bool on = false;
    if (!value.IsScalar() || !YAML::convert<bool>::decode(value, on))
      throw ConfigError(where + ": " + flag + " must be true or false");
    if (on)
      out.push_back("--" + flag);
    else if (option.check_lname("no-" + flag))
      out.push_back("--no-" + flag);
    return;
  }
  if (!value.IsSequence()) {
    out.push_back("--" + flag + "=" + text_of(value));
    return;
  }
  if (option.get_expected_max() == 1) throw ConfigError(where + ": " + flag + " takes one value, not a list");
  if (!option.get_allow_extra_args()) {  // given several times, one value each
    for (const YAML::Node& entry : value) out.push_back("--" + flag + "=" + text_of(entry));
    return;
  }
  if (value.size() == 0) return;
  out.push_back("--" + flag);
  for (const YAML::Node& entry : value) out.push_back(text_of(entry));
}

#endif

}  // namespace

#if TRIREME_WITH_YAML

std::vector<std::string> config_arguments(const CLI::App& app, const std::string& yaml, const std::string& name,
                                          const std::vector<std::string>& given_flags) {
  YAML::Node root;
  try {
    root = YAML::Load(yaml);
  } catch (const YAML::Exception& error) {
    throw ConfigError(at_line(name, error.mark) + ": " + error.msg);
  }
  if (root.IsNull()) return {};
  if (!root.IsMap()) throw ConfigError(name + " must hold flags, one a line, such as \"port: 8000\"");
  std::vector<std::string> out;
  std::set<std::string> seen;
  for (const auto& entry : root) {
    const std::string where = at_line(name, entry.first.Mark());
    std::string flag = entry.first.IsScalar() ? entry.first.Scalar() : "";
    std::replace(flag.begin(), flag.end(), '_', '-');
    if (flag == "model-tag") flag = "model";
    const CLI::Option* option = flag.empty() || flag == "help" || flag == "config" ? nullptr : find_option(app, flag);
    if (!option) {
      const auto better = nearest("--" + flag, flag_names(app));
      throw ConfigError(where + ": no flag is named " + flag +
                        (better ? ": did you mean " + better->substr(2) + "?" : ""));
    }
    if (!seen.insert(option->get_lnames().front()).second) throw ConfigError(where + ": " + flag + " is given twice");
    const bool given = std::any_of(given_flags.begin(), given_flags.end(),
                                   [option](const std::string& other) { return option->check_lname(other); });
    if (!given && !entry.second.IsNull()) append_flag(*option, flag, entry.second, where, out);
  }
  return out;
}

#else

std::vector<std::string> config_arguments(const CLI::App&, const std::string&, const std::string& name,
                                          const std::vector<std::string>&) {
  throw ConfigError(name + ": this build cannot read YAML; build with yaml-cpp (libyaml-cpp-dev), or give the flags on "
                           "the command line");
}

#endif

std::vector<std::string> expand_config_file(const CLI::App& app, const std::vector<std::string>& arguments) {
  std::vector<std::string> rest, given;
  std::string path;
  bool in_value = false;
  for (size_t at = 0; at < arguments.size(); ++at) {
    const std::string& argument = arguments[at];
    const size_t end = std::min(argument.find('='), argument.size());
    const std::string name = argument.rfind("--", 0) == 0 ? argument.substr(2, end - 2) : "";
    if (name == "config") {
      if (!path.empty()) throw ConfigError("--config is given twice: one file holds everything");
      if (end == argument.size() && ++at == arguments.size()) throw ConfigError("--config needs a file");
      path = end < argument.size() ? argument.substr(end + 1) : arguments[at];
      in_value = false;
      continue;
    }
    rest.push_back(argument);
    if (!name.empty()) {
      given.push_back(name);
      const CLI::Option* option = find_option(app, name);
      in_value = option && !is_switch(*option) && end == argument.size();
    } else if (argument.empty() || argument[0] != '-') {
      if (!in_value) given.push_back("model");  // the positional
      in_value = false;
    }
  }
  if (path.empty()) return rest;
  std::string yaml;
  try {
    yaml = read_text_file(path, kMaxConfigBytes);
  } catch (const CheckpointError& error) {
    throw ConfigError("--config " + path + ": " + error.what());
  }
  std::vector<std::string> all = config_arguments(app, yaml, path, given);
  all.insert(all.begin(), rest.begin(), rest.end());
  return all;
}

}  // namespace trireme
