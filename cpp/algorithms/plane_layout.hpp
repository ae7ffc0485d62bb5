// How planes that are filtered one by one are cut (plane.cpp). Pure arithmetic; nothing here
// touches an array.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "algorithms/machine.hpp"
#include "core/problem.hpp"

namespace fastconv {

// A block of output columns in spans, one kernel call a row each:
//
//   staged   |         in place         | staged      wide planes, read in place but for their ends
//   staged                                            all others
//
// The kernel's last vector overlaps, and so do these spans where they are narrower than a vector.
struct PlaneSpan {
  std::int64_t first = 0;   // output column
  std::int64_t pixels = 0;  // output columns
  bool in_place = false;
  std::vector<std::int32_t> column;  // offset of each kernel column in a row
  // Kernel columns [seen, seen_end) see the input from one of the pixels, others the border alone.
  std::int64_t seen = 0, seen_end = 0;

  // Staged: position p, in padded columns from the span's first, lies at
  // p % stride * phase_pitch + p / stride of its row.
  std::int64_t source = 0;  // input columns [source, source + columns) are copied
  std::int64_t columns = 0;
  std::int64_t to = 0;       // position of the first of them
  std::uint32_t phases = 0;  // of positions that the kernel sees
  std::int64_t phase_pitch = 0;
  std::int64_t pitch = 0;
  std::int64_t rows_at = 0;      // where its rows begin in the staged elements
  std::int64_t slice_pitch = 0;  // from the rows of one slice to those of the next
  struct BorderColumn {
    std::int64_t offset;
    std::int64_t source;  // the input column that it shows, unless it shows the fill value
  };
  std::vector<BorderColumn> border;
};

// How planes are dealt out that are filtered row by row (rolling.hpp, staged_planes.hpp).
struct RollTiling {
  std::int64_t planes = 0;  // of a task; 0: such kernels cannot run the problem
  int kernel = 0;           // KernelSet::rolling
  std::int64_t rows = 1;    // output rows of a band
  std::int64_t bands = 1;
  std::int64_t bands_per_task = 1;
  std::int64_t tasks = 0;
  // Where kernels stage planes: how many elements at a time. Of volumes in so many places; slice i
  // in that of number i modulo all but the last, if they are a ring, the border in the last.
  std::int64_t staged_elements = 0;
  std::int64_t places = 0;
  std::int64_t place_elements = 0;
  bool is_ring = true;
};

// Channels last (channels.hpp).
struct ChannelTiling {
  std::int64_t rows = 1;   // output rows of a task
  std::int64_t tasks = 0;  // 0: the input does not lie so
  // Slices and rows of a block that are staged at a time, those that an output row sees among them;
  // {0, 0}: all are read in place.
  std::int64_t slices_held = 0, rows_held = 0;
  std::int64_t most_vecs = 0;  // of a block that is staged
  bool x_is_far = false;       // ChannelArgs

  bool is_staged() const { return slices_held > 0; }
};

// Filters of one channel or group: more had better share their loads.
inline constexpr std::int64_t kMostFilters = 4;
// Channels and filters of a group where they are turned: each is a plane of its own.
inline constexpr std::int64_t kMostTurned = 8;

// Small planes, turned (turned.hpp).
struct TurnedTiling {
  std::int64_t vecs = 1;   // channels of a block, in vectors
  std::int64_t units = 1;  // of a task: a block of one image each
  std::int64_t tasks = 0;  // 0: another way is faster
};

// Pointwise layers with a stride (sampled.hpp).
struct SampledTiling {
  std::int64_t rows = 1;   // output rows of a task
  std::int64_t tasks = 0;  // 0: the input does not lie so
};

struct PlaneTiling {
  // Where they have tasks, instead of all that follows; channels first, if the output suits.
  ChannelTiling channels;
  SampledTiling sampled;
  TurnedTiling turned;
  RollTiling roll;

  std::int64_t most_tasks() const {
    return std::max({tasks, channels.tasks, sampled.tasks, turned.tasks});
  }

  std::vector<PlaneSpan> spans;
  std::vector<std::int64_t> blocks;  // of columns: the first span of each, and the end
  std::int64_t rows = 1;             // output rows of a band
  std::int64_t bands = 1;
  std::int64_t planes = 1;  // of a task
  std::int64_t tasks = 0;
  std::int64_t slots = 0;           // input rows of a band, in each slice
  std::int64_t fill_elements = 0;   // a row of the fill value
  std::int64_t stage_elements = 0;  // all staged spans of one block
  std::int64_t dense_elements = 0;  // rows that are made dense before they are staged
  std::int64_t strip = 1;           // rows of one kernel call where they wait in scratch
  std::int64_t output_pitch = 0;    // of these rows
};

// Terms of one chain; a longer sum is cut between slices, for accuracy.
inline constexpr std::int64_t kMostPlaneTerms = 256;

// Planes whose products one output adds: input channels, and slices of a kernel with depth.
std::int64_t slices_of(const Problem& problem);
// A sum is made of runs of slices, each a chain of its own.
std::int64_t slices_of_run(const Problem& problem);

// Where slices are staged, so that those which consecutive output slices share stay where they are:
//
//   3 kernel slices     output slice 0: [0 1 2]     1: [3 1 2]     2: [3 4 2]     3: [3 4 5]
struct SliceRing {
  std::int64_t places;  // of one channel
  bool shared;

  explicit SliceRing(const Axis& depth) {
    const std::int64_t reach = depth.span();
    shared = depth.out > 1 && depth.stride < reach && reach <= 3 * depth.kernel;
    places = shared ? reach : depth.kernel;
  }
};

// Which output rows see the same input rows, through kernel rows some phases apart:
//
//   stride 2, dilation 3      output row r,     kernel rows 0, 1, 2:  input rows 2r, 2r+3, 2r+6
//                             output row r + 3, kernel rows 0, 1, 2:  input rows 2r+6, 2r+9, 2r+12
//                             -> rows 3 apart; kernel rows 0 and 2 are one phase, 1 the other
struct SharedRows {
  std::int64_t dilation, phases, apart;

  explicit SharedRows(const Axis& height) : dilation(height.kernel > 1 ? height.dilation : 1) {
    const std::int64_t common = std::gcd(height.stride, dilation);
    phases = height.stride / common;
    apart = dilation / common;
  }
};

// Rows of the compute type, whose columns lie side by side.
bool has_plain_rows(const Problem& problem, const Tensor& x);

PlaneTiling make_plane_tiling(const Problem& problem, const Tensor& x, const Machine& machine);

// Scratch of one worker: fill row | staged spans | dense rows | output rows | two buffers of sums |
// tables of rows | source rows | what is staged.
struct PlaneScratch {
  std::int64_t fill, stage, dense, output, sums[2], table, source, held, total;

  PlaneScratch(const Problem& problem, const PlaneTiling& tiling, std::int64_t element);
};

}  // namespace fastconv
