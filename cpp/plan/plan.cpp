#include "plan/plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "core/cpu.hpp"
#include "core/rounding.hpp"
#include "plan/one_row.hpp"
#include "runtime/scratch.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

// In order of preference: the first of equal cost wins, and the last accepts everything.
constexpr const Candidate* kCandidates[] = {
    &amx_split, &byte_dots,   &short_dots, &winograd,  &tap_product, &columns,     &direct,
    &flat,      &groups,      &plane,      &pointwise, &pixel_dots,  &pixel_quads, &row_stencil,
    &stencil,   &im2col_gemm, &fft,        &separable, &reference};

// Waking a worker costs microseconds; below this much work a call stays on its own thread.
constexpr std::int64_t kInlineMacs = 500'000;

template <class T>
Machine describe(const KernelSet<T>& kernels, int threads) {
  const CacheSizes& caches = cache_sizes();
  return {kernels.lanes,
          kernels.out_vecs,
          kernels.rows,
          kernels.pixels,
          kernels.chain,
          {kernels.column_vecs[0], kernels.column_vecs[1]},
          kernels.most_rolled,
          static_cast<int>(sizeof(T)),
          caches.l1d,
          caches.l2,
          threads,
          kernels.splices,
          kernels.halved,
          kernels.outer_half != nullptr,
          kernels.channel_vecs,
          kernels.group_sums,
          kernels.flat_lanes != nullptr,
          kernels.pixel_quads[1] != nullptr,
          kernels.rolling[KernelSet<T>::kRollSizes - 1][0] != nullptr,
          {}};
}

Machine describe_set(const KernelTable& kernels, Compute compute, int threads) {
  return as_compute(compute,
                    [&](auto zero) { return describe(kernels.set<decltype(zero)>(), threads); });
}

Machine describe(const KernelTable& kernels, Compute compute, int threads) {
  Machine machine = describe_set(kernels, compute, threads);
  for (int p = 0; p < kTileProducts; ++p) {
    machine.tile_rate[p] = kernels.tiles->product[p].rate;
    machine.tile_scattered[p] = kernels.tiles->product[p].rows.scattered;
  }
  return machine;
}

bool is_named(const Candidate& candidate, Algorithm algorithm) {
  return algorithm == Algorithm::automatic || algorithm == candidate.algorithm;
}

// Kernels expect an element of input at least: where there is but a border the plain loop runs.
Problem with_plain_loop(Problem problem) {
  if (problem.has_no_image()) problem.algorithm = Algorithm::reference;
  return problem;
}

Problem as_outer_product(Problem problem) {
  problem.outer_product = true;
  return problem;
}

// No candidate of the name that the caller gave accepts the problem.
[[noreturn]] void refuse(const Problem& problem) {
  for (const Candidate* candidate : kCandidates)
    if (is_named(*candidate, problem.algorithm))
      throw std::invalid_argument(std::string("algorithm '") + name_of(candidate->algorithm) +
                                  "' cannot compute this layer: " + candidate->accepts(problem));
  throw std::invalid_argument("unknown algorithm");
}

// Nobody wants the plain loops in the place of an instruction, unless he names them.
bool lacks_instructions(const Candidate& candidate, const Problem& problem,
                        const Machine& machine) {
  return candidate.lacks_instructions != nullptr && problem.algorithm != Algorithm::amx_split &&
         candidate.lacks_instructions(problem, machine);
}

std::string& preferred_kernel() {
  static std::string name;
  return name;
}

const Candidate* choose(const Problem& problem, const Tensor& x, const Machine& machine) {
  const Candidate* best = nullptr;
  double best_cost = 0;
  for (const Candidate* candidate : kCandidates) {
    if (!is_named(*candidate, problem.algorithm) || candidate->accepts(problem) != nullptr)
      continue;
    if (candidate->suits != nullptr && !candidate->suits(problem, x)) continue;
    if (lacks_instructions(*candidate, problem, machine)) continue;
    const bool preferred = preferred_kernel() == candidate->kernel;
    const double cost = preferred ? -1.0 : candidate->cost(problem, machine);
    if (best == nullptr || cost < best_cost) {
      best = candidate;
      best_cost = cost;
    }
  }
  if (best == nullptr) refuse(problem);
  return best;
}

// Products of the whole call, saturating: only ever compared with a bound.
double multiplications(const Problem& problem) {
  return static_cast<double>(problem.batch) * static_cast<double>(problem.groups) *
         static_cast<double>(problem.out_channels) * static_cast<double>(problem.out_pixels()) *
         static_cast<double>(problem.terms());
}

template <class T>
void pack_all(const Problem& problem, const KernelTable& kernels, const PanelShape& shape,
              const Weights& w, void* to, int workers) {
  const std::int64_t terms = problem.terms();
  if (shape.panel == 1 && pack_single_rows(kernels, problem, w, static_cast<T*>(to))) return;
  parallel_for(problem.groups * shape.panels(), workers, [&](std::int64_t index, int) noexcept {
    const std::int64_t group = index / shape.panels(), panel = index % shape.panels();
    pack_panel<T>(
        kernels, problem, w, shape, group, panel, 0, terms,
        static_cast<T*>(to) + (group * shape.group_width() + panel * shape.panel) * terms);
  });
}

// Who names the algorithm says that the kernel is an outer product.
Problem with_named_form(const Problem& problem) {
  return problem.algorithm == Algorithm::separable ? as_outer_product(problem) : problem;
}

}  // namespace

void prefer_kernel(const std::string& name) {
  const auto* const end = std::end(kCandidates);
  const auto is_named = [&](const Candidate* c) { return name == c->kernel; };
  if (!name.empty() && std::find_if(std::begin(kCandidates), end, is_named) == end)
    throw std::invalid_argument("no kernel is called '" + name.substr(0, 64) + "'");
  preferred_kernel() = name;
}

Plan::Plan(const Problem& problem, const Tensor& x, const KernelTable& kernels, int threads)
    : Plan(with_named_form(problem), x, kernels, threads,
           problem.has_no_image() ? std::nullopt : seen_kernel(problem), true) {
  separated_ = make_separated();
}

Plan::Plan(const Problem& problem, const Tensor& x, const KernelTable& kernels, int threads,
           std::optional<SeenKernel> seen, bool joins_axes)
    : given_(problem),
      given_x_(x),
      seen_(std::move(seen)),
      row_(joins_axes ? first_of_row(seen_of_given(), x) : 2),
      problem_(with_plain_loop(with_one_row(seen_of_given(), row_))),
      x_(with_one_row(problem, x, problem.x_type, row_)),
      kernels_(&kernels),
      machine_(describe(kernels, problem.compute,
                        multiplications(problem_) < kInlineMacs ? 1 : threads)) {
  x_.data = given_x_.data = nullptr;
  chosen_ = choose(problem_, x_, machine_);
  workers_ = machine_.threads;
  if (chosen_->tile != nullptr) {
    tiling_ = chosen_->tile(problem_, x_, machine_);
    workers_ = static_cast<int>(
        std::min<std::int64_t>(workers_, std::max<std::int64_t>(tiling_.tasks(problem_), 1)));
  } else if (chosen_->execute != nullptr) {
    execution_ = chosen_->execute(problem_, x_, kernels, machine_);
    workers_ = static_cast<int>(
        std::min<std::int64_t>(workers_, std::max<std::int64_t>(execution_->tasks(), 1)));
  }
}

// Of the same layer, where its kernels may be outer products and that would be faster.
std::shared_ptr<const Plan> Plan::make_separated() const {
  constexpr std::int64_t kLeastTaps = 16, kLine = 64;
  if (problem_.algorithm != Algorithm::automatic || seen_ || given_.outer_product ||
      given_.taps() < kLeastTaps)
    return nullptr;
  const Problem problem = as_outer_product(given_);
  // Elements that have a cache line each are better turned once.
  const bool is_apart = given_x_.axis[2] <= -kLine || given_x_.axis[2] >= kLine;
  if (is_apart || separable.accepts(problem) != nullptr) return nullptr;
  if (separable.cost(problem, machine_) >= chosen_->cost(problem_, machine_)) return nullptr;
  return std::make_shared<const Plan>(problem, given_x_, *kernels_, machine_.threads);
}

const Plan& Plan::suited_to(const Weights& w) const {
  if (separated_ == nullptr) return *this;
  const Scratch packed = Scratch::acquire(static_cast<std::size_t>(separated_->packed_bytes()));
  Interrupt none(nullptr);
  return separated_->pack(w, packed.data(), none) ? *separated_ : *this;
}

bool Plan::packs_like(const Plan& other) const {
  if (seen_.has_value() != other.seen_.has_value() || (seen_ && !seen_->keeps_like(*other.seen_)))
    return false;
  if (execution_ != nullptr || other.execution_ != nullptr)
    return chosen_ == other.chosen_ && kernels_ == other.kernels_ &&
           problem_.compute == other.problem_.compute &&
           problem_.complex == other.problem_.complex && execution_->packs_like(*other.execution_);
  const PanelShape a = panels(), b = other.panels();
  return kernels_ == other.kernels_ && problem_.compute == other.problem_.compute &&
         problem_.complex == other.problem_.complex && a.panel == b.panel && a.granule == b.granule;
}

PanelShape Plan::panels() const {
  if (chosen_->tile == nullptr) return {problem_.out_channels, 1, 1};
  return panel_shape(problem_, tiling_);
}

std::int64_t Plan::packed_bytes() const {
  if (execution_ != nullptr) return execution_->packed_bytes();
  return packed_elements(problem_, panels()) * machine_.element;
}

bool Plan::pack(const Weights& w, void* to, Interrupt& interrupt) const {
  if (!seen_) return pack_seen(w, to, interrupt);
  const Scratch gathered = Scratch::acquire(static_cast<std::size_t>(seen_->weight_bytes()));
  return seen_->gather(*kernels_, given_, w, gathered.data()) &&
         pack_seen(seen_->weights(gathered.data()), to, interrupt);
}

bool Plan::pack_seen(const Weights& w, void* to, Interrupt& interrupt) const {
  const int workers = packed_bytes() < (1 << 18) ? 1 : workers_;
  if (execution_ != nullptr) return execution_->pack(w, to, workers, interrupt);
  const PanelShape shape = panels();
  as_compute(problem_.compute, [&](auto zero) {
    pack_all<decltype(zero)>(problem_, *kernels_, shape, w, to, workers);
  });
  return true;
}

bool Plan::packs_as_it_runs(const Weights& w) const { return !seen_ && packs_seen_as_it_runs(w); }

bool Plan::packs_seen_as_it_runs(const Weights& w) const {
  if (execution_ != nullptr) return execution_->reads_in_place(w);
  constexpr std::int64_t kMostUses = 2;
  // Kernels of planes read the caller's order.
  if (chosen_->tile != nullptr && tiling_.family == Family::plane) return is_dense(problem_, w);
  const bool by_blocks = tiling_.family == Family::outer || tiling_.family == Family::lanes;
  return chosen_->tile != nullptr && by_blocks &&
         problem_.batch * tiling_.box_count() <= kMostUses && is_dense(problem_, w);
}

std::int64_t Plan::scratch_bytes_per_worker() const {
  if (execution_ != nullptr) return execution_->scratch_bytes();
  return chosen_->tile == nullptr ? 0 : fastconv::scratch_bytes(tiling_, machine_.element);
}

std::int64_t Plan::scratch_bytes() const { return scratch_bytes_per_worker() * workers(); }

bool Plan::run(const Operands& given, char* scratch, Interrupt& interrupt) const {
  if (!seen_ && row_ == 2) return run_as_planned(given, scratch, interrupt);
  if (!is_one_row(seen_of_given(), given.y, row_)) return run_apart(given, interrupt);
  Operands operands = given;
  if (seen_) operands.x = seen_->input(given.x);
  operands.x = with_one_row(problem_, operands.x, problem_.x_type, row_);
  operands.y = with_one_row(problem_, operands.y, problem_.y_type, row_);
  return run_as_planned(operands, scratch, interrupt);
}

bool Plan::run_as_planned(const Operands& operands, char* scratch, Interrupt& interrupt) const {
  if (operands.flagged != nullptr && !leaves_out(operands.flagged->grid)) {
    operands.flagged->take_all();
    Operands all = operands;
    all.flagged = nullptr;
    return run_as_planned(all, scratch, interrupt);
  }
  if (execution_ != nullptr) {
    std::vector<std::uint8_t> unsuitable(
        static_cast<std::size_t>(problem_.batch * execution_->grid().count));
    Operands with_flags = operands;
    with_flags.unsuitable = unsuitable.data();
    execution_->run(with_flags, scratch, workers_, interrupt);
    return !interrupt.stop_requested() && run_unsuitable(with_flags, scratch, interrupt);
  }
  if (chosen_->tile == nullptr) {
    run_reference(problem_, *kernels_, operands, workers_, interrupt);
  } else {
    run_tiled(problem_, tiling_, *kernels_, operands, scratch, workers_, interrupt);
  }
  return !interrupt.stop_requested();
}

// The output has gaps between rows that the input has not.
bool Plan::run_apart(const Operands& operands, Interrupt& interrupt) const {
  return Plan(given_, given_x_, *kernels_, machine_.threads, std::nullopt, false)
      .pack_and_run(operands, interrupt);
}

bool Plan::pack_and_run(Operands operands, Interrupt& interrupt) const {
  operands.packed = nullptr;
  if (separated_ != nullptr) {
    const std::size_t packed = static_cast<std::size_t>(round_to_line(separated_->packed_bytes()));
    const Scratch scratch =
        Scratch::acquire(packed + static_cast<std::size_t>(separated_->scratch_bytes()));
    if (separated_->pack(*operands.weights, scratch.data(), interrupt)) {
      operands.packed = scratch.data();
      return separated_->run(operands, scratch.data() + packed, interrupt);
    }
  }
  if (!seen_) return pack_and_run_seen(operands, interrupt);
  if (!is_one_row(seen_of_given(), operands.y, row_)) return run_apart(operands, interrupt);
  const Scratch gathered = Scratch::acquire(static_cast<std::size_t>(seen_->weight_bytes()));
  if (!seen_->gather(*kernels_, given_, *operands.weights, gathered.data()))
    return in_order().pack_and_run(operands, interrupt);
  const Weights weights = seen_->weights(gathered.data());
  operands.weights = &weights;
  return pack_and_run_seen(operands, interrupt);
}

bool Plan::pack_and_run_seen(Operands operands, Interrupt& interrupt) const {
  if (packs_seen_as_it_runs(*operands.weights)) {
    const Scratch scratch = Scratch::acquire(static_cast<std::size_t>(scratch_bytes()));
    return run(operands, scratch.data(), interrupt);
  }
  const std::size_t packed = static_cast<std::size_t>(round_to_line(packed_bytes()));
  {
    const Scratch scratch = Scratch::acquire(packed + static_cast<std::size_t>(scratch_bytes()));
    operands.packed = scratch.data();
    if (pack_seen(*operands.weights, scratch.data(), interrupt))
      return run(operands, scratch.data() + packed, interrupt);
    if (interrupt.stop_requested()) return false;
  }
  return in_order().pack_and_run(operands, interrupt);
}

Plan Plan::in_order() const {
  if (given_.algorithm == Algorithm::separable)
    throw std::invalid_argument(
        "algorithm 'separable' cannot compute this layer: its kernels are no outer products");
  Problem problem = given_;
  problem.algorithm = Algorithm::direct;
  // Either what was left out is not finite, or the algorithm does not suit the weights: then this
  // is the plan that is asked for by name.
  if (!seen_) return Plan(problem, given_x_, *kernels_, machine_.threads);
  return Plan(problem, given_x_, *kernels_, machine_.threads, std::nullopt, row_ != 2);
}

// Whether tasks can be left out that touch no box of such a grid.
bool Plan::leaves_out(const OutputGrid& grid) const {
  for (int a = 0; a < 3; ++a)
    if (problem_.axis[a].out != grid.out[a]) return false;
  return (execution_ != nullptr && execution_->takes_flagged()) ||
         (chosen_->tile != nullptr && tiling_.family != Family::plane);
}

// What was flagged, by another algorithm.
bool Plan::run_unsuitable(const Operands& operands, char* own_scratch, Interrupt& interrupt) const {
  const std::int64_t count = problem_.batch * execution_->grid().count;
  std::uint8_t* const flags = operands.unsuitable;
  if (std::none_of(flags, flags + count, [](std::uint8_t flag) { return flag != 0; })) return true;
  Problem problem = problem_;
  problem.algorithm = Algorithm::direct;
  problem.batch = 1;
  std::vector<std::uint8_t> overwritten(static_cast<std::size_t>(count));
  const Plan direct(problem, x_, *kernels_, machine_.threads);
  // A call that packs as it runs finds only then which weights are not finite.
  if (!run_flagged(direct, operands, overwritten.data(), interrupt))
    run_flagged(direct.in_order(), operands, overwritten.data(), interrupt);
  if (interrupt.stop_requested()) return false;
  // Once more what lies beside it and was overwritten, and nothing else.
  bool any = false;
  for (std::int64_t i = 0; i < count; ++i) {
    const bool again = flags[i] == 0 && overwritten[static_cast<std::size_t>(i)] != 0;
    any = any || again;
    flags[i] = again ? 0 : 1;
  }
  if (any) execution_->run(operands, own_scratch, workers_, interrupt);
  return !interrupt.stop_requested();
}

// The flagged images of the batch, or their flagged boxes, each by a plan for one image. False, and
// nothing done, where that does not suit the weights.
bool Plan::run_flagged(const Plan& plan, const Operands& operands, std::uint8_t* overwritten,
                       Interrupt& interrupt) const {
  const std::size_t packed_bytes = static_cast<std::size_t>(round_to_line(plan.packed_bytes()));
  const Scratch scratch =
      Scratch::acquire(packed_bytes + static_cast<std::size_t>(plan.scratch_bytes()));
  if (!plan.pack(*operands.weights, scratch.data(), interrupt)) return false;
  const OutputGrid grid = execution_->grid();
  for (std::int64_t n = 0; n < problem_.batch && !interrupt.stop_requested(); ++n) {
    const std::uint8_t* const of_image = operands.unsuitable + n * grid.count;
    if (std::all_of(of_image, of_image + grid.count, [](std::uint8_t flag) { return flag == 0; }))
      continue;
    const FlaggedBoxes boxes = {grid, of_image, overwritten + n * grid.count};
    Operands image = operands;
    if (grid.count > 1) image.flagged = &boxes;
    image.x.data += n * image.x.batch;
    image.y.data += n * image.y.batch;
    image.packed = scratch.data();
    plan.run(image, scratch.data() + packed_bytes, interrupt);
  }
  return true;
}

std::vector<Verdict> Plan::verdicts() const {
  std::vector<Verdict> verdicts;
  // Whether a kernel is an outer product is only asked where that would be faster.
  const auto considered = [&](const Candidate& candidate) {
    return &candidate == &separable && separated_ == nullptr ? as_outer_product(problem_)
                                                             : problem_;
  };
  for (const Candidate* candidate : kCandidates) {
    Verdict v{candidate->algorithm, candidate->kernel, candidate == chosen_, ""};
    char text[96];
    if (!is_named(*candidate, given_.algorithm)) {
      v.reason = "another algorithm was named";
    } else if (!is_named(*candidate, problem_.algorithm)) {
      v.reason = "most of the kernel sees nothing but the border";
    } else if (const char* refusal = candidate->accepts(considered(*candidate))) {
      v.reason = refusal;
    } else if (candidate->suits != nullptr && !candidate->suits(problem_, x_)) {
      v.reason = "the order of the input's axes";
    } else if (lacks_instructions(*candidate, problem_, machine_)) {
      v.reason = "no instruction or kernel for it on this processor";
    } else {
      const double cost = candidate->cost(considered(*candidate), machine_);
      std::snprintf(text, sizeof text,
                    candidate == &reference ? "only when it is named, or nothing else can run"
                    : !std::isfinite(cost)  ? "not for layers of this shape"
                    : v.chosen ? "lowest estimate, %.2f vector operations a term and pixel"
                               : "estimate %.2f vector operations a term and pixel",
                    cost);
      v.reason = text;
    }
    verdicts.push_back(v);
  }
  return verdicts;
}

}  // namespace fastconv
