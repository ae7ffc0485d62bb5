// The algorithms, one file each. `accepts` returns null, or why the algorithm cannot run a problem;
// `cost` estimates a multiplication's share of vector instructions, so that lower is faster.
#pragma once

#include <memory>

#include "algorithms/execution.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"

namespace fastconv {

struct Candidate {
  Algorithm algorithm;  // that names it
  const char* kernel;   // what runs
  const char* (*accepts)(const Problem& problem);
  double (*cost)(const Problem& problem, const Machine& machine);
  Tiling (*tile)(const Problem& problem, const Tensor& x, const Machine& machine);  // null: none
  // Where the algorithm has a loop nest of its own instead.
  std::unique_ptr<const Execution> (*execute)(const Problem& problem, const Tensor& x,
                                              const KernelTable& kernels,
                                              const Machine& machine) = nullptr;
  // Whether the input lies in an order that it can read well; null: any does.
  bool (*suits)(const Problem& problem, const Tensor& x) = nullptr;
  // True where there is no kernel, or plain loops take the place of instructions. Null: never.
  bool (*lacks_instructions)(const Problem& problem, const Machine& machine) = nullptr;
};

extern const Candidate amx_split;
extern const Candidate byte_dots;
extern const Candidate short_dots;
extern const Candidate winograd;
extern const Candidate fft;
extern const Candidate separable;
extern const Candidate columns;
extern const Candidate direct;
extern const Candidate tap_product;
extern const Candidate plane;
extern const Candidate flat;
extern const Candidate groups;
extern const Candidate pointwise;
extern const Candidate pixel_dots;
extern const Candidate pixel_quads;
extern const Candidate row_stencil;
extern const Candidate stencil;
extern const Candidate im2col_gemm;
extern const Candidate reference;

// The plain loop: no tiling, no kernels. `packed` holds panels of one channel.
void run_reference(const Problem& problem, const KernelTable& kernels, const Operands& operands,
                   int workers, Interrupt& interrupt);

}  // namespace fastconv
