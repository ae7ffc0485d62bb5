// How planes that are filtered one by one are cut, and the loop nest that runs them:
//
//   for each task (some planes, or a band of rows and a block of columns of one)    in parallel
//     for each plane
//       stage the spans that touch a border, or cannot be read as they lie
//       for each four output rows                                       kernels/plane.hpp
//         for each span: filter, add bias, activate, store
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

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

// How planes are dealt out that small square kernels filter without staging (rolling.hpp).
struct RollTiling {
  std::int64_t planes = 0;  // of a task; 0: such kernels cannot run the problem
  std::int64_t rows = 1;    // output rows of a band
  std::int64_t bands = 1;
  std::int64_t bands_per_task = 1;
  std::int64_t tasks = 0;
};

// Channels last (channels.hpp).
struct ChannelTiling {
  std::int64_t rows = 1;   // output rows of a task
  std::int64_t tasks = 0;  // 0: the input does not lie so
};

// Filters of one channel or group: more had better share their loads.
inline constexpr std::int64_t kMostFilters = 4;

// Small planes, turned (turned.hpp).
struct TurnedTiling {
  std::int64_t vecs = 1;   // channels of a block, in vectors
  std::int64_t units = 1;  // of a task: a block of one image each
  std::int64_t tasks = 0;  // 0: another way is faster
};

struct PlaneTiling {
  // Where they have tasks, instead of all that follows; channels first, if the output suits.
  ChannelTiling channels;
  TurnedTiling turned;
  RollTiling roll;

  std::int64_t most_tasks() const { return std::max({tasks, channels.tasks, turned.tasks}); }

  std::vector<PlaneSpan> spans;
  std::vector<std::int64_t> blocks;  // of columns: the first span of each, and the end
  std::int64_t rows = 1;             // output rows of a band
  std::int64_t bands = 1;
  std::int64_t planes = 1;  // of a task
  std::int64_t tasks = 0;
  std::int64_t slots = 0;           // input rows of a band, in each slice
  std::int64_t fill_elements = 0;   // a row of the fill value
  std::int64_t stage_elements = 0;  // all staged spans of one block
  std::int64_t strip = 1;           // rows of one kernel call where they wait in scratch
  std::int64_t output_pitch = 0;    // of these rows
};

}  // namespace fastconv
