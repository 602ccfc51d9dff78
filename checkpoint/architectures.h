#pragma once
// The model families whose config.json is read: what each calls its figures and what it means by leaving one out.

#include <span>

#include "checkpoint/json_fields.h"
#include "checkpoint/model_config.h"

namespace trireme {

struct Architecture {
  const char* name;        // config.json "architectures"
  const char* model_type;  // stands in where "architectures" is absent
  // Everything but architecture, dtype and what the file says of token ids.
  ModelConfig (*read)(const JsonFields&);
  bool nested = false;  // the text model's figures are in "text_config"
};

std::span<const Architecture> architectures();

}  // namespace trireme
