#include "algorithms/rolling.hpp"

#include <algorithm>

#include "algorithms/costs.hpp"
#include "algorithms/tiling.hpp"
#include "core/border.hpp"
#include "core/rounding.hpp"
#include "pack/convert.hpp"
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

bool is_square(const Problem& problem) {
  const Axis& height = problem.axis[1];
  const Axis& width = problem.axis[2];
  return height.kernel == width.kernel && height.stride == width.stride &&
         (width.kernel == 3 || width.kernel == 5 || width.kernel == 7) && width.stride <= 2 &&
         height.dilation == 1 && width.dilation == 1;
}

bool is_rollable(const Problem& problem) {
  const Axis& width = problem.axis[2];
  const bool filled = problem.border == Border::constant || (width.lo == 0 && width.hi == 0);
  return is_float(problem.compute) && is_square(problem) && filled && problem.in_channels == 1 &&
         problem.out_channels <= kMostFilters && problem.terms() <= kMostTerms;
}

// Input rows that so many output rows see, and one more, which kernels with a stride may look up.
std::int64_t slots(const Problem& problem, std::int64_t rows) {
  return (rows - 1) * problem.axis[1].stride + problem.axis[1].kernel + 1;
}

// Sums in scratch keep their rows apart, whole vectors each.
constexpr std::int64_t kMostLanes = 16;
std::int64_t sums_pitch(const Problem& problem) {
  return divide_up(problem.axis[2].out, kMostLanes) * kMostLanes;
}

// Scratch of one worker: row of the fill value | table of rows | another of fill rows alone |
// converted input | two buffers of sums.
struct RollScratch {
  std::int64_t fill, table, nothing, input, sums[2], total;

  RollScratch(const Problem& problem, const RollTiling& tiling, std::int64_t element) {
    const std::int64_t count = slots(problem, tiling.rows);
    const std::int64_t table_bytes = round_to_line(count * std::int64_t{sizeof(std::int64_t)});
    const std::int64_t sum_bytes = round_to_line(tiling.rows * sums_pitch(problem) * element);
    fill = 0;
    table = fill + round_to_line(problem.axis[2].in * element);
    nothing = table + table_bytes;
    input = nothing + table_bytes;
    sums[0] = input + round_to_line(count * problem.axis[2].in * element);
    sums[1] = sums[0] + sum_bytes;
    total = sums[1] + sum_bytes;
  }
};

template <class T>
class RollRun {
 public:
  RollRun(const Problem& problem, const RollTiling& tiling, const KernelTable& table,
          const Operands& operands, char* scratch, std::int64_t scratch_each, Interrupt& interrupt)
      : problem_(problem),
        depth_(problem.axis[0]),
        height_(problem.axis[1]),
        width_(problem.axis[2]),
        tiling_(tiling),
        table_(table),
        kernel_(table.set<T>().rolling[(width_.kernel - 3) / 2][width_.stride - 1]),
        operands_(operands),
        scratch_(scratch),
        scratch_each_(scratch_each),
        layout_(problem, tiling, sizeof(T)),
        interrupt_(interrupt),
        plain_input_(is_plain(problem.x_type, operands.x)),
        plain_output_(is_plain(problem.y_type, operands.y)),
        channels_(problem.groups * problem.out_channels),
        w_(problem, operands) {
    // Planes of one image that differ in nothing but where they begin.
    evenly_ = plain_input_ && plain_output_ && depth_.kernel == 1 && depth_.out == 1 &&
              problem.out_channels == 1 && operands.x.part == 0 && w_.pitch == problem.terms() &&
              operands.x.channel % std::int64_t{sizeof(T)} == 0 &&
              operands.y.channel % std::int64_t{sizeof(T)} == 0;
  }

  void task(std::int64_t index, int worker) noexcept {
    Task t{};
    char* const at = scratch_ + worker * scratch_each_;
    t.fill = reinterpret_cast<T*>(at + layout_.fill);
    t.table = reinterpret_cast<std::int64_t*>(at + layout_.table);
    t.nothing = reinterpret_cast<std::int64_t*>(at + layout_.nothing);
    t.input = reinterpret_cast<T*>(at + layout_.input);
    t.sums[0] = reinterpret_cast<T*>(at + layout_.sums[0]);
    t.sums[1] = reinterpret_cast<T*>(at + layout_.sums[1]);
    std::fill_n(t.fill, width_.in, scalar_as<T>(problem_.fill[0]));
    if (!is_single(problem_)) std::fill_n(t.nothing, slots(problem_, tiling_.rows), kFillRow);

    const std::int64_t ranges = divide_up(tiling_.bands, tiling_.bands_per_task);
    const std::int64_t first_band = index % ranges * tiling_.bands_per_task;
    const std::int64_t end_band = std::min(first_band + tiling_.bands_per_task, tiling_.bands);
    const std::int64_t first = index / ranges * tiling_.planes;
    const std::int64_t end = std::min(first + tiling_.planes, problem_.batch * channels_);
    for (std::int64_t p = first; p < end;) {
      const std::int64_t image = p / channels_, channel = p % channels_;
      const std::int64_t count = evenly_ ? std::min(end - p, channels_ - channel) : 1;
      // Several planes at a time lie in one band.
      for (std::int64_t band = first_band; band < end_band; ++band) {
        if (interrupt_.stop_requested()) return;
        if (tiling_.bands > 1 || p == first) look_up_rows(t, band);
        for (std::int64_t d = 0; d < depth_.out; ++d) {
          run_band(t, image, channel, count, d);
          interrupt_.work_done(worker, count * t.rows * width_.out * problem_.terms());
          if (interrupt_.stop_requested()) return;
        }
      }
      p += count;
    }
  }

 private:
  struct Task {
    std::int64_t row, rows;  // of the output
    T* fill;
    std::int64_t* table;    // input row of each slot, as an offset
    std::int64_t* nothing;  // the same of a slice in the border
    T* input;
    T* sums[2];
  };

  bool is_plain(DType type, const Tensor& tensor) const {
    constexpr std::int64_t kElement = sizeof(T);
    return same_storage(type, problem_.compute) && tensor.axis[2] == kElement &&
           tensor.axis[1] % kElement == 0;
  }

  std::int64_t source_row(const Task& t, std::int64_t slot) const {
    return source_index(problem_.border, height_, t.row * height_.stride - height_.lo + slot);
  }

  void look_up_rows(Task& t, std::int64_t band) const {
    t.row = band * tiling_.rows;
    t.rows = std::min(tiling_.rows, height_.out - t.row);
    const std::int64_t pitch = operands_.x.axis[1] / std::int64_t{sizeof(T)};
    const std::int64_t count = slots(problem_, t.rows);
    for (std::int64_t i = 0; i < count - 1; ++i) {
      const std::int64_t source = source_row(t, i);
      t.table[i] = source < 0 ? kFillRow : plain_input_ ? source * pitch : i * width_.in;
    }
    t.table[count - 1] = kFillRow;
  }

  // Rows of a slice in the compute type.
  const T* input(const Task& t, const char* slice) const {
    if (plain_input_) return reinterpret_cast<const T*>(slice);
    const Tensor& x = operands_.x;
    const std::int64_t count = slots(problem_, t.rows) - 1;
    for (std::int64_t i = 0, end; i < count; i = end) {
      end = i + 1;
      const std::int64_t source = source_row(t, i);
      if (source < 0) continue;
      while (end < count && source_row(t, end) == source + end - i) ++end;
      read_rows<T>(table_, problem_.x_type, slice + source * x.axis[1], x.axis[1], end - i,
                   x.axis[2], t.input + i * width_.in, width_.in);
    }
    return t.input;
  }

  void run_band(const Task& t, std::int64_t image, std::int64_t channel, std::int64_t count,
                std::int64_t d) const {
    constexpr std::int64_t kElement = sizeof(T);
    const Tensor& x = operands_.x;
    const Tensor& y = operands_.y;
    const char* const plane =
        x.data + image * x.batch + x.channel_offset(channel / problem_.out_channels);
    char* const to =
        y.data + image * y.batch + y.channel_offset(channel) + d * y.axis[0] + t.row * y.axis[1];
    const std::int64_t pitch = sums_pitch(problem_);
    RollArgs<T> args{};
    args.fill_row = t.fill;
    args.width = width_.in;
    args.border = width_.lo;
    args.from_pitch = pitch;
    args.rows = t.rows;
    args.pixels = width_.out;
    args.planes = count;
    args.x_plane = x.channel / kElement;
    args.out_plane = y.channel / kElement;
    const std::int64_t taps = height_.kernel * width_.kernel;
    for (std::int64_t slice = 0; slice < depth_.kernel; ++slice) {
      const bool last = slice == depth_.kernel - 1;
      const std::int64_t source = source_index(
          problem_.border, depth_, d * depth_.stride - depth_.lo + slice * depth_.dilation);
      args.x = source < 0 ? t.fill : input(t, plane + source * x.axis[0]);
      args.row = source < 0 ? t.nothing : t.table;
      args.w = w_.row(channel) + slice * taps;
      args.from = slice == 0 ? nullptr : t.sums[(slice - 1) % 2];
      if (last && plain_output_) {
        args.out = reinterpret_cast<T*>(to);
        args.out_pitch = y.axis[1] / kElement;
        args.room = room(t, count);
      } else {
        args.out = t.sums[slice % 2];
        args.out_pitch = pitch;
        args.room = t.rows * pitch;
      }
      if (last) {
        args.activation = problem_.activation;
        if (operands_.bias != nullptr) args.bias = static_cast<const T*>(operands_.bias) + channel;
      }
      kernel_(args);
    }
    if (plain_output_) return;
    for (std::int64_t r = 0; r < t.rows; ++r)
      write_row<T>(table_, problem_.y_type, args.out + r * pitch, to + r * y.axis[1], y.axis[2],
                   width_.out, problem_.activation);
  }

  // Elements that follow the first of the output and are written later or by this vector: rows and
  // planes that lie without gaps.
  std::int64_t room(const Task& t, std::int64_t count) const {
    constexpr std::int64_t kElement = sizeof(T);
    const Tensor& y = operands_.y;
    if (y.axis[1] != width_.out * kElement) return kNoRoom;
    const std::int64_t plane = t.rows * width_.out;
    if (count == 1) return plane;
    return y.channel == plane * kElement ? count * plane : kNoRoom;
  }

  const Problem& problem_;
  const Axis& depth_;
  const Axis& height_;
  const Axis& width_;
  const RollTiling& tiling_;
  const KernelTable& table_;
  void (*const kernel_)(const RollArgs<T>&);
  const Operands& operands_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  const RollScratch layout_;
  Interrupt& interrupt_;
  const bool plain_input_;
  const bool plain_output_;
  const std::int64_t channels_;
  const WeightRows<T> w_;
  bool evenly_;
};

}  // namespace

bool is_single(const Problem& problem) {
  const Axis& depth = problem.axis[0];
  return problem.out_channels == 1 && depth.kernel == 1 && depth.lo == 0 && depth.hi == 0;
}

// The sums of a volume are stored after each of its slices, if they roll. Tiles of staged rows keep
// them, and where there are few registers, and so strips of one vector, they are faster if they are
// full. (AVX2, Zen 3, 3x3x3: 54 channels of 8 x 28 x 28 1.79 ms rolling, 1.5 staged; 64 of 8 x 18 x
// 18 0.86, 1.08.)
bool staged_volume_pays(const Axis& width, const Machine& machine) {
  if (width.stride > 1) return false;
  const std::int64_t vectors = divide_up(width.out, machine.lanes);
  if (width.kernel == 3) return vectors > 1 && 4 * vectors * machine.lanes <= 5 * width.out;
  return vectors > 4 || (vectors > 1 && machine.element == 8);
}

RollTiling roll_tiling(const Problem& problem, const Machine& machine) {
  RollTiling tiling;
  const Axis& height = problem.axis[1];
  const Axis& width = problem.axis[2];
  if (!is_rollable(problem) || width.kernel > machine.most_rolled) return tiling;
  // Long rows had better be read in place four at a time (three and seven taps over 1920 columns:
  // half as fast here); and where there are few registers, staged ones from three vectors on, but
  // for 3 x 3 with a stride of 2 (112 x 112: 2.6 us a channel staged, 2.3 here).
  const bool few_registers = has_few_registers(problem, machine);
  const bool only_short = few_registers && !(width.kernel == 3 && width.stride == 2);
  const std::int64_t widest = only_short ? 2 * machine.lanes : 24 * machine.lanes - 1;
  if (width.out > (is_single(problem) ? widest : kMostRollColumns)) return tiling;
  if (few_registers && problem.out_channels == 1 && !is_single(problem) &&
      staged_volume_pays(width, machine))
    return tiling;
  // Filters share nothing; pixel_lanes reads a vector once for all (Zen 3, AVX2, one channel to
  // four, 5 x 5 with a stride of 2 on 200 x 200: 123 us, there 52).
  const bool small = width.kernel == 3 || (width.kernel == 5 && width.stride == 2);
  if (few_registers && problem.out_channels > 1 && (!small || width.out > 2 * machine.lanes))
    return tiling;

  const std::int64_t row_bytes = width.in * machine.element;
  std::int64_t rows = std::max(std::min(kMinRows, kMostBandBytes / row_bytes),
                               kBandBytes / (row_bytes * height.stride));
  rows = std::clamp<std::int64_t>(rows, 1, height.out);
  const std::int64_t planes = problem.batch * problem.groups * problem.out_channels;
  const std::int64_t slice_macs = width.out * problem.terms();
  // Enough for every thread, and not too much between two looks at the clock.
  const std::int64_t enough = machine.threads > 1 ? 4 * machine.threads : 1;
  const auto macs = [&] { return rows * slice_macs; };
  while (rows > 1 && macs() > kTaskMacs &&
         (macs() > 32 * kTaskMacs || planes * divide_up(height.out, rows) < enough))
    rows = divide_up(rows, 2);
  tiling.bands = divide_up(height.out, rows);
  tiling.rows = divide_up(height.out, tiling.bands);
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
  return tiling;
}

std::int64_t roll_scratch_bytes(const Problem& problem, const RollTiling& tiling, int element) {
  return RollScratch(problem, tiling, element).total;
}

template <class T>
void run_rolling(const Problem& problem, const RollTiling& tiling, const KernelTable& kernels,
                 const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                 Interrupt& interrupt) {
  RollRun<T> run(problem, tiling, kernels, operands, scratch, scratch_each, interrupt);
  parallel_for(tiling.tasks, workers,
               [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
}

template void run_rolling<float>(const Problem&, const RollTiling&, const KernelTable&,
                                 const Operands&, char*, std::int64_t, int, Interrupt&);
template void run_rolling<double>(const Problem&, const RollTiling&, const KernelTable&,
                                  const Operands&, char*, std::int64_t, int, Interrupt&);

}  // namespace fastconv
