#include "algorithms/staged_planes.hpp"

#include <algorithm>

#include "algorithms/plane_bands.hpp"
#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kStagedBytes = 16 << 10;  // of planes that are staged at a time: half of L1
constexpr std::int64_t kVolumeBytes = 48 << 10;  // of slices
constexpr std::int64_t kLeastRows = 14;          // of a band
constexpr std::int64_t kMostDilation = 4;        // of slices that stay staged

// Places of slices that hold none: with the border of those that have been there, or without.
constexpr std::int64_t kBorderSlice = -1, kNoSlice = -2, kNoBorder = -3;

std::int64_t staged_elements(const Problem& problem, const Machine& machine, std::int64_t rows) {
  const auto& [depth, height, width] = problem.axis;
  return StagedLayout(rows, width.out, height.span(), width.span(), width.stride, machine.lanes)
      .plane;
}

// Scratch of one worker: that of bands | what is staged | rows that kernels copy | which slice is
// in each place.
struct StagedScratch {
  BandScratch bands;
  std::int64_t rows, copied, held, total;

  StagedScratch(const Problem& problem, const RollTiling& tiling, std::int64_t element)
      : bands(problem, tiling, slices(problem, tiling), element) {
    rows = bands.total;
    copied = rows + round_to_line(tiling.staged_elements * element);
    held = copied + round_to_line(tiling.rows * kMostBandLanes * element);
    total = held + round_to_line(tiling.places * std::int64_t{sizeof(std::int64_t)});
  }

  // Those that are staged in one call are converted apart.
  static std::int64_t slices(const Problem& problem, const RollTiling& tiling) {
    return tiling.places > 0 ? problem.axis[0].kernel : 1;
  }
};

template <class T>
class StagedRun : PlaneBands<T> {
 public:
  StagedRun(const Problem& problem, const RollTiling& tiling, const KernelTable& table,
            const Operands& operands, char* scratch, std::int64_t scratch_each,
            Interrupt& interrupt)
      : Bands(problem, tiling, table, operands, problem.out_channels, interrupt),
        scratch_(scratch),
        scratch_each_(scratch_each),
        layout_(problem, tiling, sizeof(T)) {}

  void task(std::int64_t index, int worker) noexcept {
    char* const at = scratch_ + worker * scratch_each_;
    Band t(problem_, layout_.bands, at);
    Staged staged{reinterpret_cast<T*>(at + layout_.rows), 0,
                  reinterpret_cast<T*>(at + layout_.copied),
                  reinterpret_cast<std::int64_t*>(at + layout_.held)};
    this->for_each_band(
        index, worker, t,
        [&] {
          staged.bordered = 0;
          std::fill_n(staged.held, tiling_.places, kNoBorder);
        },
        [&](std::int64_t image, std::int64_t plane, std::int64_t count, std::int64_t d) {
          if (d == 0) forget_slices(staged);
          stage_band(t, staged, image, plane, count, d);
        });
  }

 private:
  using Bands = PlaneBands<T>;
  using Band = typename Bands::Band;
  using Bands::depth_, Bands::filters_, Bands::kernel_, Bands::operands_, Bands::plain_output_,
      Bands::problem_, Bands::tiling_, Bands::w_;

  struct Staged {
    T* rows;
    std::int64_t bordered;  // planes whose borders are staged
    T* copied;
    std::int64_t* held;  // which slice is in each place
  };

  // Of a plane, but for the one of the border.
  void forget_slices(const Staged& staged) const {
    for (std::int64_t i = 0; i + 1 < tiling_.places; ++i)
      if (staged.held[i] != kNoBorder) staged.held[i] = kNoSlice;
  }

  // All slices at once; those that the next output slice sees as well stay staged.
  void stage_band(const Band& t, Staged& staged, std::int64_t image, std::int64_t plane,
                  std::int64_t count, std::int64_t d) const {
    const char* const from = this->input_plane(image, plane);
    const std::int64_t channel = plane * filters_;
    RollArgs<T> args = this->band_args(t, count);
    args.staged = staged.rows;
    args.copied = staged.copied;
    args.staged_elements = tiling_.staged_elements;
    args.slices = depth_.kernel;
    RollSlice<T> slice[kMostStagedSlices];
    if (tiling_.places > 0) {
      args.slice = slice;
      for (std::int64_t i = 0; i < depth_.kernel; ++i)
        slice[i] = stage_slice(t, staged, from, d, i);
    } else {
      args.has_borders = count <= staged.bordered;
      staged.bordered = count;
      args.x = this->input(t, from);
    }
    // Filters share what is staged.
    const bool together = plain_output_ && this->evenly_filtered_;
    if (!together) args.filters = 1;
    for (std::int64_t f = 0; f < filters_; f += args.filters) {
      char* const to = this->output_rows(t, image, channel + f, d);
      args.w = w_.row(channel + f);
      this->finish(args, channel + f);
      if (plain_output_) {
        this->put_out(args, t, to, count);
      } else {
        this->put_sums(args, t, t.sums);
      }
      kernel_(args);
      if (!plain_output_) this->write_sums(t, t.sums, to);
      for (std::int64_t i = 0; i < depth_.kernel; ++i) slice[i].x = nullptr;
    }
  }

  // Slice i that output slice d sees.
  RollSlice<T> stage_slice(const Band& t, const Staged& staged, const char* plane, std::int64_t d,
                           std::int64_t i) const {
    const std::int64_t source = std::max(this->source_slice(d, i), kBorderSlice),
                       last = tiling_.places - 1;
    const std::int64_t place = source < 0 ? last : tiling_.is_ring ? source % last : i;
    RollSlice<T> slice{nullptr, staged.rows + place * tiling_.place_elements, true};
    std::int64_t& held = staged.held[place];
    if (held == source) return slice;
    slice.has_border = held != kNoBorder;
    held = source;
    if (source >= 0) {
      slice.x = this->input(t, plane + source * operands_.x.axis[0], i);
    } else {
      std::fill_n(slice.staged, tiling_.place_elements, *t.fill);
    }
    return slice;
  }

  char* const scratch_;
  const std::int64_t scratch_each_;
  const StagedScratch layout_;
};

}  // namespace

std::int64_t rows_to_stage(const Problem& problem, const Machine& machine, RollTiling& tiling) {
  const Axis& depth = problem.axis[0];
  const std::int64_t out = problem.axis[1].out;
  // Elsewhere slices of the border are not those that follow; and of a long dilation there would be
  // many.
  const std::int64_t seen = std::min(depth.in, depth.span());
  tiling.is_ring = (problem.border == Border::constant || (depth.lo <= 0 && depth.hi <= 0)) &&
                   seen <= kMostDilation * depth.kernel;
  if (!is_flat(problem)) tiling.places = 1 + (tiling.is_ring ? seen : depth.kernel);
  const std::int64_t most = tiling.places == 0 ? kStagedBytes : kVolumeBytes / tiling.places;
  // Of a dilation whole tiles for each phase.
  const std::int64_t dilation = SharedRows(problem.axis[1]).dilation, tile = 8 * dilation;
  std::int64_t rows = out;
  while (rows > std::max(kLeastRows, tile) &&
         staged_elements(problem, machine, rows) * machine.element > most)
    --rows;
  // Whole tiles.
  rows = divide_up(out, divide_up(out, rows));
  if (dilation > 1) return std::min(round_up(rows, tile), out);
  return std::min({round_up(rows, 7), round_up(rows, 8), out});
}

void make_room_to_stage(const Problem& problem, const Machine& machine, RollTiling& tiling) {
  tiling.place_elements = round_up(
      staged_elements(problem, machine, tiling.rows) + StagedLayout::kBehind, kMostBandLanes);
  tiling.staged_elements = std::max({tiling.place_elements, kStagedBytes / machine.element,
                                     tiling.places * tiling.place_elements});
}

std::int64_t staged_scratch_bytes(const Problem& problem, const RollTiling& tiling, int element) {
  return StagedScratch(problem, tiling, element).total;
}

template <class T>
void run_staged_planes(const Problem& problem, const RollTiling& tiling, const KernelTable& kernels,
                       const Operands& operands, char* scratch, std::int64_t scratch_each,
                       int workers, Interrupt& interrupt) {
  StagedRun<T> run(problem, tiling, kernels, operands, scratch, scratch_each, interrupt);
  parallel_for(tiling.tasks, workers,
               [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
}

template void run_staged_planes<float>(const Problem&, const RollTiling&, const KernelTable&,
                                       const Operands&, char*, std::int64_t, int, Interrupt&);
template void run_staged_planes<double>(const Problem&, const RollTiling&, const KernelTable&,
                                        const Operands&, char*, std::int64_t, int, Interrupt&);

}  // namespace fastconv
