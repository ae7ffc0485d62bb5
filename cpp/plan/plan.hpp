// A plan: everything about one problem that is settled before data moves. Immutable, so one plan
// serves any number of concurrent calls.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "algorithms/candidates.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "plan/seen_kernel.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

// What became of one candidate, for explain().
struct Verdict {
  Algorithm algorithm;
  const char* kernel;
  bool chosen;
  std::string reason;
};

// Makes plans from now on take the kernel of this name, as explain tells it, wherever one of its
// candidates accepts a problem; empty: the lowest estimate again. For measuring estimates
// (benchmarks/choices.py), before the first call: plans that are kept are not made again.
void prefer_kernel(const std::string& name);

class Plan {
 public:
  // `x` gives the strides that the call will bring; its data may be null.
  Plan(const Problem& problem, const Tensor& x, const KernelTable& kernels, int threads);

  const Problem& problem() const { return given_; }
  const Candidate& chosen() const { return *chosen_; }
  const KernelTable& kernels() const { return *kernels_; }
  int workers() const { return workers_; }

  // Weights in the order this plan reads them. For two plans of the same weights and options
  // packs_like says whether they can share them.
  bool packs_like(const Plan& other) const;
  std::int64_t packed_bytes() const;
  // False where the plan does not suit these weights, as its algorithm would not be accurate or
  // what it leaves out is not finite: `to` is then of no use, and in_order() is the plan to take,
  // which adds products one by one (and may itself leave something out). Also where it was
  // interrupted.
  bool pack(const Weights& w, void* to, Interrupt& interrupt) const;
  Plan in_order() const;
  // The plan for these weights: this one, or, where they are outer products and that is faster, one
  // that sums along one axis after the other.
  const Plan& suited_to(const Weights& w) const;
  const std::shared_ptr<const Plan>& separated() const { return separated_; }
  // Better not packed for one call: so few boxes use a weight that each packs it anew, a block at a
  // time, in the cache. Operands::packed is null then.
  bool packs_as_it_runs(const Weights& w) const;

  std::int64_t scratch_bytes() const;  // of all workers
  std::int64_t scratch_bytes_per_worker() const;

  // False where the call was interrupted; the output is then undefined. operands.weights must be
  // set: images that the algorithm does not suit are computed by another.
  bool run(const Operands& operands, char* scratch, Interrupt& interrupt) const;
  // The same with weights packed for this call, and scratch of its own.
  bool pack_and_run(Operands operands, Interrupt& interrupt) const;

  std::vector<Verdict> verdicts() const;

 private:
  // The layer that runs in the place of the caller's: without the part of the kernel that sees
  // nothing (seen_kernel.hpp), and with axes taken as one where `joins_axes` (one_row.hpp).
  Plan(const Problem& problem, const Tensor& x, const KernelTable& kernels, int threads,
       std::optional<SeenKernel> seen, bool joins_axes);
  const Problem& seen_of_given() const { return seen_ ? seen_->problem : given_; }
  PanelShape panels() const;
  // Of the weights that are seen.
  bool pack_seen(const Weights& w, void* to, Interrupt& interrupt) const;
  bool packs_seen_as_it_runs(const Weights& w) const;
  bool pack_and_run_seen(Operands operands, Interrupt& interrupt) const;
  bool run_as_planned(const Operands& operands, char* scratch, Interrupt& interrupt) const;
  bool run_apart(const Operands& operands, Interrupt& interrupt) const;
  bool leaves_out(const OutputGrid& grid) const;
  bool run_unsuitable(const Operands& operands, char* scratch, Interrupt& interrupt) const;
  bool run_flagged(const Plan& plan, const Operands& operands, std::uint8_t* overwritten,
                   Interrupt& interrupt) const;

  std::shared_ptr<const Plan> make_separated() const;

  Problem given_;
  Tensor given_x_;
  std::optional<SeenKernel> seen_;
  int row_;          // axes from this one on are one
  Problem problem_;  // what runs
  Tensor x_;         // strides alone
  const KernelTable* kernels_;
  Machine machine_;
  const Candidate* chosen_ = nullptr;
  Tiling tiling_;                               // of algorithms that share the loop nest
  std::unique_ptr<const Execution> execution_;  // of one that has its own
  std::shared_ptr<const Plan> separated_;       // for kernels that are outer products; or null
  int workers_ = 1;
};

}  // namespace fastconv
