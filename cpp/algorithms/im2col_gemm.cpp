// im2col and a matrix product, a panel at a time: the patch of every output pixel becomes a column
// (Chellapilla, Puri, Simard: High Performance Convolutional Neural Networks for Document
// Processing, 2006), but only for as many pixels and terms as fit in scratch.
#include "algorithms/candidates.hpp"

namespace fastconv {
namespace {

const char* accepts(const Problem&) { return nullptr; }

bool few_channels(const Problem& problem, const Machine& machine) {
  return problem.out_channels * 2 < machine.lanes;
}

// The product runs at the speed of the direct kernels; each term is copied besides.
double cost(const Problem& problem, const Machine& machine) {
  const double copies = 0.5;
  return copies + (few_channels(problem, machine) ? stencil : direct).cost(problem, machine);
}

Tiling tile(const Problem& problem, const Tensor& x, const Machine& machine) {
  return make_tiling(problem, x, Staging::columns,
                     few_channels(problem, machine) ? Family::lanes : Family::outer, false,
                     machine);
}

}  // namespace

const Candidate im2col_gemm = {Algorithm::im2col, "im2col_gemm", accepts, cost, tile};

}  // namespace fastconv
