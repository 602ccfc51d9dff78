#pragma once
// Plans and sampling orders as bytes for the control channel. Decoding checks every length and range: a
// malformed message is an InternalError, never a wild read. Version and step stand first.

#include <cstddef>
#include <span>
#include <vector>

#include "parallel/plan/plan.h"

namespace trireme {

std::vector<std::byte> encode_plan(const StepPlan& plan);
StepPlan decode_plan(std::span<const std::byte> bytes);
std::vector<std::byte> encode_sampling_orders(const SamplingOrders& orders);
SamplingOrders decode_sampling_orders(std::span<const std::byte> bytes);

}  // namespace trireme
