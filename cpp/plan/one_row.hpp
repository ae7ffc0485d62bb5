// A pointwise layer whose rows lie without gaps, as a layer of one long row a plane:
//
//   w00 w01 w02          x (N, C, H, W)  ->  (N, C, 1, H * W)
//   w10 w11 w12    ->    w00 w01 w02 w10 w11 w12 ...
//
// Rows are whole vectors then, whatever W is, and every kernel gains (32 channels of 17 x 17 x 17,
// depthwise: 5.2 -> 0.4 us a channel).
#pragma once

#include "core/problem.hpp"

namespace fastconv {

// The first of the axes that can be taken as one row with those that follow; the last axis where
// none can.
int first_of_row(const Problem& problem, const Tensor& x);

// Whether the output lies so that its axes from `first` on are one row as well.
bool is_one_row(const Problem& problem, const Tensor& y, int first);

Problem with_one_row(const Problem& problem, int first);
Tensor with_one_row(const Problem& problem, const Tensor& tensor, DType type, int first);

}  // namespace fastconv
