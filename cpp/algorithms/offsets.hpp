// Where each term of the reduction lies in what is staged: the tables that kernels walk.
#pragma once

#include "algorithms/tiling.hpp"

namespace fastconv {

// Offset in a patch of tap (i, j, k) of its first channel.
std::int64_t tap_offset(const Patch& patch, std::int64_t i, std::int64_t j, std::int64_t k);

// Fills `tap`, or for Family::rows `groups`, `runs` and `column`, once chunks and layouts are
// settled. `element` is the size of the compute type in bytes.
void make_offsets(const Problem& problem, const Tensor& x, int element, Tiling& tiling);

}  // namespace fastconv
