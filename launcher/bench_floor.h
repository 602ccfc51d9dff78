#pragma once
// The least time that reading weights and KV cache takes: what a decode step cannot beat on this memory.

#include <string>

#include "protocol/messages.h"

namespace trireme {

// Seconds of `steps` decode steps that read `kv_tokens` cached tokens in all. A stage takes as long as its slowest
// rank; `overlapped`: stages work at the same time on different requests (throughput), else one after the other.
// 0 where the engine measured nothing.
double floor_seconds(const EngineFacts& facts, double steps, double kv_tokens, bool overlapped);

// "reached 61.0 % of it", or that the figure cannot be one: a time that was beaten is no floor.
std::string floor_verdict(double floor, double measured);

// Cached tokens read while `sequences` grow from `prompt` by `output` tokens: sum over the decode steps.
double decode_kv_tokens(double sequences, double prompt, double output);

}  // namespace trireme
