// How groups of few channels are cut for kernels/group_lanes.hpp. Pure arithmetic; nothing here
// touches an array.
//
// Fewer channels than lanes are staged, so that a vector holds several pixels, whose outputs lie
// one after the other as well:
//
//   3 channels, 16 lanes     a0 b0 c0  a1 b1 c1  a2 b2 c2  a3 b3 c3  a4 b4 c4  .
//
// With a stride the columns of a row are staged by phase, so that such pixels are neighbours.
//
// Short vectors of many channels are copied a block at a time, too: lines a pixel apart would leave
// L1 before the next row sees them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "algorithms/machine.hpp"
#include "core/problem.hpp"
#include "core/rounding.hpp"

namespace fastconv {

// What a block is read from: x, a copy of all channels, or one of its own.
enum class GroupSource { x, staged, blocks };

// How channels lie in vectors.
struct GroupLayout {
  std::int64_t lanes;
  std::int64_t in, out;  // channels of all groups, of one pixel
  GroupSource source;
  std::int64_t pixels = 1;  // of a vector
  std::int64_t pitch;       // staged: from one pixel to the next
  std::int64_t groups;      // of a block
  std::int64_t blocks;
  int sums;
  std::int64_t rounds;

  GroupLayout(const Problem& problem, bool reads_in_place, const Machine& machine);

  bool in_place() const { return source == GroupSource::x; }

  std::int64_t first_group(std::int64_t block) const { return block * groups; }
  // The vector of the last block ends where the channels do.
  std::int64_t first_channel(const Problem& problem, std::int64_t block) const {
    const std::int64_t first = first_group(block) * problem.in_channels;
    return source == GroupSource::staged ? first : std::min(first, in - lanes);
  }
  std::int64_t groups_of(const Problem& problem, std::int64_t block) const {
    return std::min(groups, problem.groups - first_group(block));
  }
  // Of a block, and of all pixels of a vector.
  std::int64_t out_channels(const Problem& problem, std::int64_t block) const {
    return pixels * groups_of(problem, block) * problem.out_channels;
  }
  std::int64_t out_vectors(const Problem& problem) const {
    return divide_up(out_channels(problem, 0), lanes);
  }
  std::int64_t route_elements(const Problem& problem) const {
    return out_vectors(problem) * rounds * sums * lanes;
  }
  std::int64_t block_weights(const Problem& problem) const { return problem.taps() * sums * lanes; }
  // The lane of channel c of a group of a pixel.
  std::int64_t lane(const Problem& problem, std::int64_t block, std::int64_t pixel,
                    std::int64_t group, std::int64_t c) const {
    const std::int64_t shift =
        first_group(block) * problem.in_channels - first_channel(problem, block);
    return shift + pixel * pitch + group * problem.in_channels + c;
  }

  bool operator==(const GroupLayout& other) const = default;
};

// The columns of a padded row as they are staged.
struct StagedColumns {
  struct Run {
    std::int64_t to;      // position
    std::int64_t source;  // column, or -1: the fill value
    std::int64_t count;
  };
  std::vector<Run> runs;
  std::vector<std::int64_t> position;  // of each padded column
  std::int64_t positions = 0;          // of a row

  StagedColumns(const Problem& problem, const GroupLayout& layout);
};

struct InputRange {
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  std::int64_t end = 0;

  void add(std::int64_t i) {
    first = std::min(first, i);
    end = std::max(end, i + 1);
  }
  std::int64_t count() const { return std::max<std::int64_t>(end - first, 0); }
};

// Output rows of a task, those of all slices counted, and the input that they see.
struct GroupBand {
  std::int64_t first, end;
  InputRange slices, rows;

  GroupBand(const Problem& problem, std::int64_t first_row, std::int64_t end_row);
};

struct GroupTasks {
  std::int64_t rows = 1;    // of a band
  std::int64_t bands = 1;   // of an image
  std::int64_t blocks = 1;  // of a task
  std::int64_t parts = 1;   // of all blocks
  std::int64_t staged = 0;  // elements, of the largest band

  std::int64_t count(const Problem& problem) const { return problem.batch * bands * parts; }
};

GroupTasks deal_out_groups(const Problem& problem, const GroupLayout& layout,
                           const StagedColumns& columns, const Machine& machine);

// Null, or why not.
const char* groups_accepts(const Problem& problem);
bool groups_suit(const Problem& problem, const Tensor& x);

// Vector operations a term and pixel of one group.
double groups_cost(const Problem& problem, const Machine& machine);

}  // namespace fastconv
