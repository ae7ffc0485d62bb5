// How depthwise layers and groups of few channels, channels last, are cut for
// kernels/flat_lanes.hpp. Pure arithmetic; nothing here touches an array.
//
// A row is read where it lies, but for its ends, or staged: with its border, the pixels of a stride
// sorted by phase, and with an element for each output channel, so that input and output run alike.
//
//   2 channels, stride 2     a0 b0 a1 b1 a2 b2 a3 b3    ->    a0 b0 a2 b2 .. | a1 b1 a3 b3 ..
//   2 filters a channel      a0 b0 a1 b1                ->    a0 a0 b0 b0 a1 a1 b1 b1
//   2 channels a group       a0 b0 c0 d0 a1 b1 c1 d1    ->    a0 c0 a1 c1 ..   and   b0 d0 b1 d1 ..
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/machine.hpp"
#include "core/problem.hpp"

namespace fastconv {

// Padded positions of an axis that some outputs see, those that lie a stride apart side by side.
struct FlatAxis {
  struct Phase {
    std::int64_t residue;    // positions modulo the stride
    std::int64_t reach = 0;  // positions beyond one for each output
  };
  std::vector<Phase> phases;        // that the kernel sees
  std::vector<std::int64_t> phase;  // of each kernel element, as an index into them
  std::vector<std::int64_t> shift;  // of each kernel element within its phase

  explicit FlatAxis(const Axis& axis);
  // The slot where a phase begins, or, behind the last, the number of slots.
  std::int64_t begin(std::int64_t count, std::int64_t outputs) const {
    std::int64_t slot = 0;
    for (std::int64_t p = 0; p < count; ++p)
      slot += outputs + phases[static_cast<std::size_t>(p)].reach;
    return slot;
  }
  std::int64_t slots(std::int64_t outputs) const {
    return begin(static_cast<std::int64_t>(phases.size()), outputs);
  }
  // The slot that the first of so many outputs sees through a kernel element.
  std::int64_t slot(std::int64_t k, std::int64_t outputs) const {
    const auto i = static_cast<std::size_t>(k);
    return begin(phase[i], outputs) + shift[i];
  }
};

// Outputs [first, first + count) of slices, rows and columns.
struct FlatBox {
  std::int64_t first[3], count[3];
};

struct FlatLayout {
  std::int64_t in, out;  // channels of all groups
  FlatAxis axis[3];
  // Pointwise groups of several channels or filters are parted in registers (flat_groups), so many
  // groups at once, or 0.
  std::int64_t step;
  std::int64_t pixel;     // elements of a staged one
  std::int64_t channels;  // of a group that are staged apart
  // Output columns that see no border beside them, and read x as it lies. Those at the ends, here
  // the first and the last of eight, read what is staged:
  //
  //   . x x x x x x x x .
  //     e i i i i i i e
  std::int64_t inner = 0, inner_end = 0;
  bool has_fill;                // rows of the border
  std::int64_t bands;           // of output rows, those of all slices counted
  std::int64_t slice_rows = 1;  // which a band has whole
  // Output rows of a tile follow each other, so that they share what three kernel rows see. Of all
  // tiles or none: the order of sums is another one.
  bool shares;
  std::int64_t columns, blocks;  // output pixels of a row of it
  std::int64_t least_inner;      // so many of which are read in place, at least
  std::int64_t row_pitch;        // staged elements from one row to the next
  std::int64_t most_slots;       // rows that the largest task sees
  // Elements of weights and biases: of any channel on there is a tile.
  std::int64_t w_pitch;

  FlatLayout(const Problem& problem, const Tensor& x, std::int64_t room, const Machine& machine);

  // Whether channels are parted, or repeated for several filters, as they are staged.
  bool spreads(const Problem& problem) const {
    return step == 0 && (problem.in_channels > 1 || problem.out_channels > 1);
  }
  // Whether there is nothing to be staged.
  bool in_place(const Problem& problem) const {
    return inner == 0 && inner_end == problem.axis[2].out;
  }
  std::int64_t tasks(const Problem& problem) const { return problem.batch * bands * blocks; }
  // Of a band: as many rows as a tile has, or more, where there are so many.
  std::int64_t first_row(const Problem& problem, std::int64_t band) const {
    const std::int64_t rows = problem.axis[0].out * problem.axis[1].out;
    return band * (rows / slice_rows) / bands * slice_rows;
  }
  // The outputs of a task: all rows of a slice where there are several.
  FlatBox box(const Problem& problem, std::int64_t band, std::int64_t block) const;
  std::int64_t slots(const FlatBox& box) const {
    return axis[0].slots(box.count[0]) * axis[1].slots(box.count[1]);
  }
  std::int64_t packed_elements(const Problem& problem) const {
    return problem.terms() * w_pitch + 1;
  }
};

// Groups of a step of flat_groups, or 0 where there is another way.
std::int64_t flat_step(const Problem& problem, const Machine& machine);

// Whether all pixels can be one row, as where a tensor is read or written.
bool flat_is_pointwise(const Problem& problem);
bool flat_is_one_row(const Problem& problem, const Tensor& tensor, bool is_output);
Problem flat_as_one_row(const Problem& problem);

// Null, or why not.
const char* flat_accepts(const Problem& problem);
bool flat_suits(const Problem& problem, const Tensor& x);

// Vector operations a term and pixel of one group.
double flat_cost(const Problem& problem, const Machine& machine);

}  // namespace fastconv
