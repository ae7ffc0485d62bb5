// Where each term of the reduction lies in what is staged: the tables that kernels walk.
#pragma once

#include "algorithms/tiling.hpp"

namespace fastconv {

// Fills `tap`, or for Family::rows `groups`, `runs` and `column`, once chunks and layouts are
// settled. `element` is the size of the compute type in bytes.
void make_offsets(const Problem& problem, const Tensor& x, int element, Tiling& tiling);

}  // namespace fastconv
