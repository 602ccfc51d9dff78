#pragma once
// --config FILE, as vLLM has it: a YAML mapping of long flags without their dashes (max-model-len or max_model_len) to
// values. Lists give a flag several values, mappings give a flag JSON, `true` gives a switch, `false` its --no- form,
// null nothing. A flag on the command line wins over the file.

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace trireme {

// `arguments`: of `app`, normalised (engine_flags.h), without the sub-command. Returns them without --config and with
// the file's values behind them. Throws ConfigError: an unreadable file, YAML's own complaints with line and column,
// unknown keys with the nearest flag, keys given twice, values of the wrong kind.
std::vector<std::string> expand_config_file(const CLI::App& app, const std::vector<std::string>& arguments);

// The same with the file's text; `name` is for errors.
std::vector<std::string> config_arguments(const CLI::App& app, const std::string& yaml, const std::string& name,
                                          const std::vector<std::string>& given_flags);

}  // namespace trireme
