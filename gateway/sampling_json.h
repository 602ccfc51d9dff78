#pragma once
// Sampling values of a JSON object, by the names of Hugging Face, vLLM and OpenAI.

#include "base/json.h"
#include "gateway/sampling_flags.h"

namespace trireme {

// Takes the sampling keys out of `object`; null is as good as absent. Throws RequestError naming a value of the wrong
// type; ranges are checked later.
SamplingFlags take_sampling(json::object& object);

}  // namespace trireme
