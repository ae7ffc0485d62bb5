// Kernels of which a part sees nothing but a border of zeros, whatever the output, as in pictures
// far smaller than they are:
//
//   3 x 3 with dilation 2 on 2 x 2, padding 2       . x . x .  <- taps of the four outputs
//                                                   . . . . .
//   every output sees one tap of nine; all four     . x O x .     O: the picture
//   together those of the middle row and column     . . . . .
//                                                   . . . . .
//
// The rest of the kernel is left out, as long as its weights are finite: infinity times zero is not
// zero. What is left is a layer with less of a border, or none; of a kernel that sees no input at
// all it is one tap of one channel.
#pragma once

#include <optional>

#include "core/problem.hpp"
#include "kernels/table.hpp"

namespace fastconv {

struct SeenKernel {
  Problem problem;                    // with the taps that are seen, in the order of the reduction
  std::array<std::int64_t, 3> first;  // of these
  std::array<std::int64_t, 3> first_input;

  // Whether the same part of the kernel is left.
  bool keeps_like(const SeenKernel& other) const;
  std::int64_t weight_bytes() const;
  // To dense rows of the compute type. False where a weight is not finite.
  bool gather(const KernelTable& kernels, const Problem& whole, const Weights& w, char* to) const;
  Weights weights(const char* gathered) const;
  Tensor input(const Tensor& x) const;
};

// None where nothing is left out, or too little to be worth a copy of the weights.
std::optional<SeenKernel> seen_kernel(const Problem& problem);

}  // namespace fastconv
