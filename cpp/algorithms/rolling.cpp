#include "algorithms/rolling.hpp"

#include <algorithm>

#include "algorithms/costs.hpp"
#include "algorithms/plane_bands.hpp"
#include "algorithms/staged_planes.hpp"
#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kTaskMacs = 128 << 10;
constexpr std::int64_t kMostTerms = 256;  // of one chain
// A band's input, of which each strip of columns reads its part: half of L1, but enough rows for
// the first and last of them, which are read twice, to matter little.
constexpr std::int64_t kBandBytes = 16 << 10;
constexpr std::int64_t kMinRows = 24;
constexpr std::int64_t kMostBandBytes = 256 << 10;
constexpr std::int64_t kMostRollColumns = 1 << 14;

constexpr int kAnyKernel = KernelSet<float>::kRollSizes - 1;  // of KernelSet::rolling

bool is_square(const Problem& problem) {
  const Axis& height = problem.axis[1];
  const Axis& width = problem.axis[2];
  return height.kernel == width.kernel &&
         (width.kernel == 3 || width.kernel == 5 || width.kernel == 7) && height.dilation == 1 &&
         width.dilation == 1;
}

// Whether staged planes of kernels of any size are faster than plane.cpp, which reads long rows in
// place and shares more of its loads among the filters of a channel (docs/tuning.md).
bool suits_stages(const Problem& problem, const Machine& machine) {
  constexpr std::int64_t kMostDilated = 8, kLongDilation = 3;
  constexpr std::int64_t kTwo = 2, kShort = 4, kLong = 8, kLongest = 14;  // rows, in vectors
  const auto& [depth, height, width] = problem.axis;
  const std::int64_t dilation = SharedRows(height).dilation;
  if (problem.taps() == 1 || depth.kernel > kMostStagedSlices) return false;
  if ((dilation > 1 && height.stride > 1) || dilation > kMostDilated) return false;
  if (height.out < kAnyLeast * dilation) return false;
  const std::int64_t vectors = divide_up(width.out, machine.lanes);
  if (width.kernel == 1) return vectors == kTwo && width.stride == 1;  // no border beside them
  // Several filters share more in pixel_lanes.
  const std::int64_t most_products = vectors <= kShort ? 64 : vectors <= kLong ? 16 : 0;
  if (problem.out_channels > 1 && problem.out_channels * problem.taps() > most_products)
    return false;
  if (width.stride > 1) return vectors <= kLong && width.out >= machine.lanes;
  if (dilation > kLongDilation) return vectors <= kLong;
  const bool many_taps = height.kernel * width.kernel >= 12 || width.dilation > 1;
  return vectors <= kLongest || (height.kernel >= 3 && many_taps);
}

// Which of KernelSet::rolling filters the planes of a problem, or none.
int rolling_kernel(const Problem& problem, const Machine& machine) {
  constexpr int kNone = -1;
  const Axis& height = problem.axis[1];
  const Axis& width = problem.axis[2];
  const bool filled = problem.border == Border::constant || (width.lo == 0 && width.hi == 0);
  if (!is_float(problem.compute) || !filled || problem.in_channels != 1 ||
      problem.out_channels > kMostFilters || problem.terms() > kMostTerms ||
      height.stride != width.stride || width.stride > 2)
    return kNone;
  if (is_square(problem) && width.kernel <= machine.most_rolled)
    return static_cast<int>(width.kernel - 3) / 2;
  return machine.rolls_any && suits_stages(problem, machine) ? kAnyKernel : kNone;
}

// Long rows had better be read in place four at a time (three and seven taps over 1920 columns:
// half as fast here), and from L1 no rows that do not fit (16 channels of 400 x 400 0.8).
std::int64_t most_columns(const Problem& problem, const Machine& machine) {
  if (has_few_registers(problem, machine)) return 40 * machine.lanes;
  return is_single(problem) ? 24 * machine.lanes - 1 : kMostRollColumns;
}

// Rows of a band, so many or about, of which the last has no fewer than `least`, nor has `out`.
std::int64_t rows_of_bands(std::int64_t out, std::int64_t rows, std::int64_t least) {
  const auto suits = [&](std::int64_t n) { return n >= least && (out - 1) % n + 1 >= least; };
  std::int64_t fewer = rows;
  while (fewer >= least && !suits(fewer)) --fewer;
  if (fewer >= least) return fewer;
  while (!suits(rows)) ++rows;
  return rows;
}

// Of a band; enough for every thread, and not too much between two looks at the clock.
void deal_out(const Problem& problem, const Machine& machine, std::int64_t planes,
              std::int64_t rows, std::int64_t least, RollTiling& tiling) {
  const Axis& height = problem.axis[1];
  const std::int64_t slice_macs = problem.axis[2].out * problem.terms();
  const std::int64_t enough = machine.threads > 1 ? 4 * machine.threads : 1;
  const auto macs = [&] { return rows * slice_macs; };
  while (rows > 1 && macs() > kTaskMacs &&
         (macs() > 32 * kTaskMacs || planes * divide_up(height.out, rows) < enough))
    rows = divide_up(rows, 2);
  tiling.bands = divide_up(height.out, rows);
  tiling.rows = rows_of_bands(height.out, divide_up(height.out, tiling.bands), least);
  tiling.bands = divide_up(height.out, tiling.rows);
  tiling.bands_per_task = planes < enough ? 1 : tiling.bands;
  tiling.planes = 1;
  if (tiling.bands_per_task == tiling.bands) {
    // An empty batch has no planes, but a task must have one.
    const std::int64_t each = std::max<std::int64_t>(planes / enough, 1);
    const std::int64_t plane_macs = height.out * slice_macs * problem.axis[0].out;
    tiling.planes = std::clamp<std::int64_t>(4 * kTaskMacs / plane_macs, 1, each);
  }
  tiling.tasks = divide_up(planes, tiling.planes) * divide_up(tiling.bands, tiling.bands_per_task);
}

// Scratch of one worker: that of bands | another table, of fill rows alone | another buffer of
// sums.
struct RollScratch {
  BandScratch bands;
  std::int64_t nothing, sums, total;

  RollScratch(const Problem& problem, const RollTiling& tiling, std::int64_t element)
      : bands(problem, tiling, 1, element) {
    constexpr std::int64_t kOffset = sizeof(std::int64_t);
    nothing = bands.total;
    sums = nothing + round_to_line(band_slots(problem, tiling.rows) * kOffset);
    total = sums + bands.total - bands.sums;
  }
};

template <class T>
class RollRun : PlaneBands<T> {
 public:
  RollRun(const Problem& problem, const RollTiling& tiling, const KernelTable& table,
          const Operands& operands, char* scratch, std::int64_t scratch_each, Interrupt& interrupt)
      : Bands(problem, tiling, table, operands, 1, interrupt),
        scratch_(scratch),
        scratch_each_(scratch_each),
        layout_(problem, tiling, sizeof(T)) {}

  void task(std::int64_t index, int worker) noexcept {
    char* const at = scratch_ + worker * scratch_each_;
    Band t(problem_, layout_.bands, at);
    const auto nothing = reinterpret_cast<std::int64_t*>(at + layout_.nothing);
    const auto other = reinterpret_cast<T*>(at + layout_.sums);
    if (!is_single(problem_)) std::fill_n(nothing, band_slots(problem_, tiling_.rows), kFillRow);
    this->for_each_band(
        index, worker, t, [] {},
        [&](std::int64_t image, std::int64_t channel, std::int64_t count, std::int64_t d) {
          roll_band(t, nothing, other, image, channel, count, d);
        });
  }

 private:
  using Bands = PlaneBands<T>;
  using Band = typename Bands::Band;
  using Bands::depth_, Bands::height_, Bands::kernel_, Bands::operands_, Bands::plain_output_,
      Bands::problem_, Bands::tiling_, Bands::w_, Bands::width_;

  void roll_band(const Band& t, const std::int64_t* nothing, T* other, std::int64_t image,
                 std::int64_t channel, std::int64_t count, std::int64_t d) const {
    T* const sums[] = {t.sums, other};
    const char* const plane = this->input_plane(image, channel);
    char* const to = this->output_rows(t, image, channel, d);
    RollArgs<T> args = this->band_args(t, count);
    args.from_pitch = sums_pitch(problem_);
    const std::int64_t taps = height_.kernel * width_.kernel;
    for (std::int64_t slice = 0; slice < depth_.kernel; ++slice) {
      const bool last = slice == depth_.kernel - 1;
      const std::int64_t source = this->source_slice(d, slice);
      args.x = source < 0 ? t.fill : this->input(t, plane + source * operands_.x.axis[0]);
      args.row = source < 0 ? nothing : t.table;
      args.w = w_.row(channel) + slice * taps;
      args.from = slice == 0 ? nullptr : sums[(slice - 1) % 2];
      if (last && plain_output_) {
        this->put_out(args, t, to, count);
      } else {
        this->put_sums(args, t, sums[slice % 2]);
      }
      if (last) this->finish(args, channel);
      kernel_(args);
    }
    if (!plain_output_) this->write_sums(t, args.out, to);
  }

  char* const scratch_;
  const std::int64_t scratch_each_;
  const RollScratch layout_;
};

}  // namespace

bool is_single(const Problem& problem) {
  const Axis& depth = problem.axis[0];
  return problem.out_channels == 1 && depth.kernel == 1 && depth.lo == 0 && depth.hi == 0;
}

RollTiling roll_tiling(const Problem& problem, const Machine& machine) {
  RollTiling tiling;
  const Axis& height = problem.axis[1];
  const Axis& width = problem.axis[2];
  tiling.kernel = rolling_kernel(problem, machine);
  if (tiling.kernel < 0) return tiling;
  const bool few_registers = has_few_registers(problem, machine);
  if (width.out > most_columns(problem, machine)) return tiling;
  // One channel that four large filters share (AVX2, 200 x 200: 5 x 5 with a stride of 2 59 us, by
  // pixel_lanes 50; 7 x 7 309 and 282; two filters of several channels 0.7 to 0.9 of its time).
  const bool is_large = width.kernel == 7 || (width.kernel == 5 && width.stride == 2);
  if (few_registers && problem.groups == 1 && problem.out_channels == kMostFilters && is_large)
    return tiling;
  if (few_registers) {
    const std::int64_t rows = rows_to_stage(problem, machine, tiling);
    const bool any = tiling.kernel == kAnyKernel;
    deal_out(problem, machine, problem.batch * problem.groups, rows,
             any ? kAnyLeast * SharedRows(height).dilation : 1, tiling);
    make_room_to_stage(problem, machine, tiling);
    return tiling;
  }
  const std::int64_t row_bytes = width.in * machine.element;
  std::int64_t rows = std::max(std::min(kMinRows, kMostBandBytes / row_bytes),
                               kBandBytes / (row_bytes * height.stride));
  rows = std::clamp<std::int64_t>(rows, 1, height.out);
  deal_out(problem, machine, problem.batch * problem.groups * problem.out_channels, rows, 1,
           tiling);
  return tiling;
}

std::int64_t roll_scratch_bytes(const Problem& problem, const RollTiling& tiling, int element) {
  if (tiling.staged_elements > 0) return staged_scratch_bytes(problem, tiling, element);
  return RollScratch(problem, tiling, element).total;
}

template <class T>
void run_rolling(const Problem& problem, const RollTiling& tiling, const KernelTable& kernels,
                 const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                 Interrupt& interrupt) {
  if (tiling.staged_elements > 0)
    return run_staged_planes<T>(problem, tiling, kernels, operands, scratch, scratch_each, workers,
                                interrupt);
  RollRun<T> run(problem, tiling, kernels, operands, scratch, scratch_each, interrupt);
  parallel_for(tiling.tasks, workers,
               [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
}

template void run_rolling<float>(const Problem&, const RollTiling&, const KernelTable&,
                                 const Operands&, char*, std::int64_t, int, Interrupt&);
template void run_rolling<double>(const Problem&, const RollTiling&, const KernelTable&,
                                  const Operands&, char*, std::int64_t, int, Interrupt&);

}  // namespace fastconv
