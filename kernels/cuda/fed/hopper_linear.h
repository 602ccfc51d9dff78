#pragma once
#include "kernels/cuda/hopper_linear.h"
namespace trireme::cuda::fed {
int fed_hopper_tile_count();
bool fed_hopper_fits(const SkinnyLinear& problem, HopperChoice choice, Device device);
std::vector<HopperChoice> fed_hopper_candidates(const SkinnyLinear& problem, Device device);
void fed_hopper_linear(const SkinnyLinear& problem, HopperChoice choice, const Stream& stream);
}
