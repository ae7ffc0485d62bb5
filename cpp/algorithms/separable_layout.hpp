// How a layer is cut whose kernels are outer products, summed along one axis after the other
// (separable.cpp has the picture). Pure arithmetic; nothing here touches an array.
#pragma once

#include <cstdint>
#include <vector>

#include "algorithms/machine.hpp"
#include "core/problem.hpp"
#include "pack/stage.hpp"

namespace fastconv {

// Outputs [first, first + axis.out) of an axis as a layer of their own: the input that they see,
// from `first_input` on, and what is left of the border.
struct AxisPart {
  std::int64_t first = 0;
  std::int64_t first_input = 0;
  Axis axis;
};
AxisPart part_of(const Axis& axis, std::int64_t size, std::int64_t index);

// An axis in parts of as many outputs. Most are alike but for where they lie: `kinds` has each
// once.
struct CutAxis {
  std::vector<std::uint16_t> kind;  // of each part
  std::vector<Axis> kinds;

  CutAxis(const Axis& whole, std::int64_t part);
};

// The first and the last row of an input that some outputs along an axis see.
struct SeenRows {
  std::int64_t first = 0, last = -1;  // none: all lie in a border of one value
};
SeenRows seen_rows(const Problem& problem, int axis, std::int64_t first_output,
                   std::int64_t outputs);

struct SeparableLayout {
  int last = 1;              // the axis that is summed last, the first with several taps: 0 or 1
  bool nested = false;       // what is left of the kernel is an outer product as well
  std::int64_t band = 0;     // outputs along it, of a task
  std::int64_t step = 0;     // of these, that are made at once
  std::int64_t columns = 0;  // of a task
  std::int64_t parts = 0;    // outputs along the other axis, of a task
  // Rows along `last` that one call of the first pass makes, and those that are kept, a ring of
  // such.
  std::int64_t chunk = 0;
  std::int64_t kept = 0;
  std::int64_t pitch = 0;  // elements from one to the next
  double work = 0;         // multiply-adds of vectors, for a vector of outputs

  int other() const { return 1 - last; }
  // Where outputs are flagged (Execution::grid): those of a step.
  Index3 box() const {
    return last == 0 ? Index3{step, parts, columns} : Index3{parts, step, columns};
  }
  // What is kept: [output along the other axis][row][column].
  std::int64_t ring() const { return parts * kept * pitch; }
};

// Rows of the first pass that outputs of one step see, with those of the border.
std::int64_t rows_of_step(const Axis& last, std::int64_t outputs);

// Null, or why not.
const char* separable_accepts(const Problem& problem);
double separable_cost(const Problem& problem, const Machine& machine);
// Of a problem that is accepted.
SeparableLayout make_separable_layout(const Problem& problem, const Machine& machine);

// The first pass over some rows of a task, whose other axes are these.
Problem first_pass(const Problem& problem, const SeparableLayout& layout, std::int64_t rows,
                   const Axis& other, const Axis& width);

}  // namespace fastconv
