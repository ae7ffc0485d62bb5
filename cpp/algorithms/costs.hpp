// What estimates share: stores, and the staging of input, in multiply-adds of a vector for each
// term and output pixel (cpp/README.md, Costs). benchmarks/choices.py tells how far they are off.
#pragma once

#include "algorithms/tiling.hpp"
#include "core/problem.hpp"

namespace fastconv {

// The store of a vector of outputs.
inline constexpr double kLanesStore = 2.5;     // pixels in the lanes, by the kernel itself
inline constexpr double kLanesPass = 8;        // in a pass of its own
inline constexpr double kLanesMask = 30;       // of rows shorter than a vector
inline constexpr double kColumnStore = 8;      // pixels in the lanes, a few to each of many planes
inline constexpr double kOuterStore = 3;       // channels in the lanes, channels last
inline constexpr double kOuterTranspose = 13;  // channels first: a pass, and a transpose

// Channels, and filters, of groups that share vectors (groups.cpp).
inline constexpr std::int64_t kMostGroupChannels = 8;

// What vectors compute in vain where each row is rounded up to whole ones:
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
// How often slices of input are staged by boxes of so many slices of output; those of a box that is
// staged in half of L2.
double slices_again(const Problem& problem, std::int64_t slices);
std::int64_t slices_of_box(const Problem& problem, const Machine& machine);
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

// Floats in 16 registers, as with AVX2: there a kernel that shares loads among output rows takes
// more instructions than one whose weights are shared by pixels alone.
bool has_few_registers(const Problem& problem, const Machine& machine);

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

}  // namespace fastconv
