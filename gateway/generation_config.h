#pragma once
// Which sampling defaults a model's requests start from: --generation-config and --override-generation-config.

#include <string>

#include "gateway/model_assets.h"

namespace trireme {

// `source`: "auto" (the model's own), "vllm" (none: temperature 1 and no cuts), or a folder with a
// generation_config.json. `override_json`: an object in that file's form whose values win; "": none. End-of-sequence
// ids found there are added to the model's. Throws ConfigError naming the flag.
void choose_generation_defaults(ModelAssets& assets, const std::string& source, const std::string& override_json);

}  // namespace trireme
