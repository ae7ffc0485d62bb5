// One problem as one algorithm will run it, for algorithms with a loop nest of their own.
// Immutable, so that any number of calls may share one.
#pragma once

#include <cstdint>

#include "algorithms/output_boxes.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"

namespace fastconv {

class Execution {
 public:
  Execution() = default;
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;
  virtual ~Execution() = default;

  virtual std::int64_t tasks() const = 0;

  virtual std::int64_t packed_bytes() const = 0;
  // False where the algorithm would not be accurate with these weights, or was interrupted; `to` is
  // then of no use.
  virtual bool pack(const Weights& w, void* to, int workers, Interrupt& interrupt) const = 0;
  // Whether two executions of the same kind read the same packed weights.
  virtual bool packs_like(const Execution& other) const = 0;

  // True where `run` needs no packed weights: it reads operands.weights as they lie.
  virtual bool reads_in_place(const Weights& /*w*/) const { return false; }

  // Whether tasks that touch no box of Operands::flagged are left out.
  virtual bool takes_flagged() const { return true; }

  virtual std::int64_t scratch_bytes() const = 0;  // of one worker
  // Parts of an image that are flagged one by one.
  virtual OutputGrid grid() const { return {}; }
  // Leaves out what is flagged in operands.unsuitable, [image][part], and flags parts for which the
  // algorithm would not be accurate; their output is then undefined.
  virtual void run(const Operands& operands, char* scratch, int workers,
                   Interrupt& interrupt) const = 0;
};

}  // namespace fastconv
