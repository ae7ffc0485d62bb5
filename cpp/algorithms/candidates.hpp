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
  // True where the processor lacks the instructions, and plain loops take their place.
  bool (*is_emulated)(const Problem& problem, const Machine& machine) = nullptr;
};

// What the store of a vector of outputs costs, in multiply-adds of a vector (cpp/README.md, Costs).
inline constexpr double kLanesStore = 2.5;     // pixels in the lanes, by the kernel itself
inline constexpr double kLanesPass = 8;        // in a pass of its own
inline constexpr double kLanesMask = 30;       // of rows shorter than a vector
inline constexpr double kColumnStore = 8;      // pixels in the lanes, a few to each of many planes
inline constexpr double kOuterStore = 3;       // channels in the lanes, channels last
inline constexpr double kOuterTranspose = 13;  // channels first: a pass, and a transpose

// Channels, and filters, of groups that share vectors (groups.cpp).
inline constexpr std::int64_t kMostGroupChannels = 8;

// Parts of estimates. What vectors compute in vain where each row is rounded up to whole ones:
double width_waste(const Problem& problem, const Machine& machine);
// Staging rows of channels first with a horizontal stride: dealt out by phase, or copied whole for
// kernels that read elements from anywhere. Short rows cost most.
double cost_of_dealing(const Problem& problem, const Machine& machine);
double cost_of_whole_rows(const Problem& problem, const Machine& machine);
// Staging rows shorter than a vector, one by one, turned where pixels are in the lanes.
double cost_of_short_rows(const Problem& problem, bool turns, const Machine& machine);
// Picking the pixels of a pointwise layer with a stride, channels first: of an element, and of a
// row.
double cost_of_picking(const Problem& problem, double element, double row, const Machine& machine);
// Of so few the calls decide.
inline constexpr std::int64_t kFewPixels = 64;
// Positions of a whole image's patch, borders included, for each product of an output and a tap.
double staged_share(const Problem& problem);
// Kernel rows of volumes, a call or a loop of its own for each.
double cost_of_slices(const Problem& problem, const Machine& machine);
// Taking the channels of pixels apart that have them side by side; plane by plane it costs more.
double cost_of_turning(const Problem& problem, const Machine& machine);
inline constexpr double kTurnPlane = 1.3;
// Taking a channel from among those beside it, by what filters planes of groups that
// `groups` filters side by side.
double cost_of_channels(const Problem& problem, const Machine& machine);
// Staging a group by itself, where `groups` takes many at once: channels last, of few.
double cost_of_group(const Problem& problem, const Machine& machine);
// Vectors of output channels of the outer product: in panels of the widest tile; the others, with
// what narrow tiles cost; as they are stored.
struct OuterVectors {
  double whole, tail, stored;
};
OuterVectors outer_vectors(const Problem& problem, const Machine& machine);
// Whether an input row that is loaded feeds several output rows.
bool rows_share_loads(const Problem& problem);

// Where a vector is shorter than a cache line, a tile of pixel_lanes shares lines of x with the
// next one, and all panels of filters share them. With so many channels they leave L1 in between,
// and of images beyond L2 they come from far away again. (AVX2, 8 images of 672 x 1500 to 8
// channels: 8.9 ms, by column_product 5.5; 512 of 28 x 28, 1.6 MB: 0.37 and 0.42.)
inline bool lines_come_again(const Problem& problem, const Machine& machine) {
  constexpr std::int64_t kLine = 64;
  const double bytes = static_cast<double>(problem.in_channels * machine.element) *
                       static_cast<double>(problem.out_pixels());
  return problem.taps() == 1 && machine.lanes * machine.element < kLine &&
         problem.in_channels * 2 * kLine > machine.l1 &&
         bytes > 3.0 * static_cast<double>(machine.l2);
}

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
