#pragma once
// Single elements and rows of a linear weight's panels (linear_layout.h): loading, filling, embedding.

#include "kernels/linear.h"

namespace trireme::cpu {

// row[k] = weight[n, k] in float32, as the matrix loops see it.
void read_panel_row(float* row, const LinearWeight& weight, int64_t n);

// weight[n, k] = row[k], rounded to the storage; plain storages only.
void write_panel_row(LinearWeight& weight, int64_t n, const float* row);

}  // namespace trireme::cpu
