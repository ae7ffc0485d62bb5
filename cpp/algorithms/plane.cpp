// Direct convolution of single planes: depthwise layers and one-channel pictures
// (kernels/plane.hpp).
//
//   for each task (some planes, or a band of rows and a block of columns of one)    in parallel
//     for each plane
//       stage the spans that touch a border, or cannot be read as they lie      plane_rows.hpp
//       for each four output rows
//         for each span: filter, add bias, activate, store

#include <algorithm>
#include <limits>
#include <type_traits>

#include "algorithms/candidates.hpp"
#include "algorithms/channels.hpp"
#include "algorithms/costs.hpp"
#include "algorithms/plane_layout.hpp"
#include "algorithms/plane_rows.hpp"
#include "algorithms/rolling.hpp"
#include "algorithms/sampled.hpp"
#include "algorithms/tap_layout.hpp"
#include "algorithms/turned.hpp"
#include "core/rounding.hpp"
#include "pack/convert.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostReach = 64;  // of a kernel column, and strides: what is staged in vain
constexpr std::int64_t kMostStride = 16;
constexpr std::int64_t kMostBorder = 1 << 16;  // columns beside the input, each of which is listed
constexpr std::int64_t kMostOut = std::int64_t{1} << 30;  // columns, and so blocks
constexpr std::int64_t kMostSlices = 32;
constexpr std::int64_t kMostSlots = 256;  // that one output row sees, in all slices

const char* accepts(const Problem& problem) {
  if (problem.complex) return "complex numbers, whose fill value has two parts";
  if (slices_of(problem) > kMostSlices) return "a sum runs through too many planes";
  if (problem.axis[1].kernel * problem.axis[2].kernel > kMostPlaneTerms)
    return "the sum of one slice is too long for one chain";
  // row_stencil stages fewer rows twice.
  if (problem.terms() > kMostPlaneTerms && problem.axis[0].kernel == 1)
    return "the sum of all channels is too long for one chain";
  if (problem.out_channels > kMostTurned) return "a group has more than eight output channels";
  const Axis& height = problem.axis[1];
  const Axis& width = problem.axis[2];
  if (width.lo > kMostBorder || width.hi > kMostBorder) return "the border is too wide";
  if (width.out > kMostOut) return "the rows are too long";
  if (height.stride > kMostStride || width.stride > kMostStride) return "the stride is too long";
  if (height.span() > kMostReach + 1 || width.span() > 16 * kMostReach + 1)
    return "the dilated kernel is too long";
  if (slices_of(problem) > 1 && slices_of(problem) * height.span() > kMostSlots)
    return "a sum runs through too many rows";
  return nullptr;
}

// Whole rows are staged, those between the ones that taps see as well.
double rows_between(const Problem& problem) {
  const double in = static_cast<double>(problem.in_pixels()) /
                    static_cast<double>(problem.taps() * problem.out_pixels());
  return std::max(in / staged_share(problem), 1.0);
}

// Of planes whose channels lie side by side.
double cost_of_planes(const Problem& problem, const Machine& machine) {
  if (problem.groups != 1 || !problem.channels_last) return 0;
  const double filters = static_cast<double>(problem.out_channels);
  const double store = problem.out_channels == 1 ? 0 : 1.5 * filters * 16 / machine.lanes;
  const double turn = problem.in_channels == 2 ? 0.9 : kTurnPlane;
  return turn * rows_between(problem) * cost_of_turning(problem, machine) +
         store / static_cast<double>(problem.terms());
}

double cost(const Problem& problem, const Machine& machine) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  if (machine.chain < std::min(problem.terms(), kMostPlaneTerms)) return kNever;
  const double filters = static_cast<double>(problem.out_channels);
  const bool one_plane = is_single(problem) && problem.in_channels == 1;
  const bool rolls = roll_tiling(problem, machine).planes > 0;
  const double channels = cost_of_channels(problem, machine);
  if (channels > 0)
    return std::min(
        filters / machine.lanes + channels + filters * cost_of_group(problem, machine),
        filters_few_channels(problem, machine) ? cost_of_few_channels(problem, machine) : kNever);
  if (one_plane || rolls || (can_turn(problem) && turning_pays(problem, false, machine)))
    return filters / machine.lanes;
  if (problem.out_channels > kMostFilters) return kNever;
  // Output rows share loads, but filters do not.
  double row = problem.out_channels > 1 ? 1.8 : rows_share_loads(problem) ? 1.1 : 1.65;
  if (has_few_registers(problem, machine) && problem.axis[0].kernel == 1) {
    // Against pixel_lanes (Zen 3, AVX2: 5 channels to one on 100 x 100, 5 x 5 191 us, there 129;
    // one to two, 3 x 3, on 40 x 40 33 and 40).
    const auto& [depth, height, width] = problem.axis;
    if (problem.in_channels == 1) {
      const bool small = height.kernel > 1 && height.kernel <= 3 && width.kernel <= 3;
      if (small && height.stride == 1 && width.stride == 1 && problem.out_channels > 1) row = 1.25;
    } else if (problem.out_channels == 1 && problem.taps() == 1 && problem.in_channels <= 3) {
      row = 0.9;  // against pointwise_lanes (3 -> 1 on 186 x 186, 12 groups: 344 us there, 245)
    } else if (problem.out_channels == 1 && height.kernel > height.stride) {
      row = rows_share_loads(problem) && height.stride == 1 ? 1.9 : 2.4;
    }
  }
  const bool by_slices = problem.in_channels > 1 && problem.axis[2].out < 2 * machine.lanes;
  return row * width_waste(problem, machine) * filters / machine.lanes +
         (by_slices ? 0.3 * cost_of_slices(problem, machine) : 0.0) +
         cost_of_planes(problem, machine) +
         rows_between(problem) * cost_of_dealing(problem, machine) +
         cost_of_short_rows(problem, true, machine) + cost_of_picking(problem, 0.7, 12, machine);
}

// Several planes, of which each is staged for itself, are better read otherwise where each element
// has a cache line of its own; but for rows that can be turned, and channels side by side that
// fill a vector.
bool suits(const Problem& problem, const Tensor& x) {
  constexpr std::int64_t kLine = 64, kMostLanes = 16;
  if (slices_of(problem) == 1 || (-kLine < x.axis[2] && x.axis[2] < kLine)) return true;
  if (x.axis[1] == size_of(problem.x_type) && same_storage(problem.x_type, problem.compute))
    return true;
  return problem.groups >= kMostLanes && filters_channels(problem, x);
}

Tiling tile(const Problem& problem, const Tensor& x, const Machine& machine) {
  Tiling tiling;
  tiling.family = Family::plane;
  PlaneTiling& plane = tiling.plane;
  std::int64_t scratch;
  const RollTiling roll = roll_tiling(problem, machine);
  if (roll.planes > 0) {
    plane.roll = roll;
    plane.tasks = roll.tasks;
    scratch = roll_scratch_bytes(problem, roll, machine.element);
  } else {
    plane = make_plane_tiling(problem, x, machine);
    scratch = PlaneScratch(problem, plane, machine.element).total;
  }
  plane.channels = channel_tiling(problem, x, machine);
  if (plane.channels.tasks > 0)
    scratch = std::max(scratch, channel_scratch_bytes(problem, plane.channels, machine));
  if (can_sample(problem) && sampling_pays(problem, machine))
    plane.sampled = sampled_tiling(problem, x, machine);
  if (plane.sampled.tasks > 0)
    scratch = std::max(scratch, sampled_scratch_bytes(problem, plane.sampled, machine));
  if (can_turn(problem) && turning_pays(problem, roll.planes > 0, machine))
    plane.turned = turned_tiling(problem, x, machine);
  if (plane.turned.tasks > 0)
    scratch = std::max(scratch, turned_scratch_bytes(problem, plane.turned, machine));
  tiling.stage_elements = divide_up(scratch, machine.element);
  return tiling;
}

template <class T>
class PlaneRun {
 public:
  PlaneRun(const Problem& problem, const PlaneTiling& tiling, const KernelTable& table,
           const Operands& operands, char* scratch, std::int64_t scratch_each, Interrupt& interrupt)
      : problem_(problem),
        depth_(problem.axis[0]),
        height_(problem.axis[1]),
        shared_(height_),
        slices_(slices_of(problem)),
        slices_of_run_(slices_of_run(problem)),
        has_depth_border_(depth_.lo != 0 || depth_.hi != 0),
        tiling_(tiling),
        table_(table),
        kernels_(table.set<T>()),
        rows_(problem, tiling, table, operands.x),
        operands_(operands),
        scratch_(scratch),
        scratch_each_(scratch_each),
        layout_(problem, tiling, sizeof(T)),
        interrupt_(interrupt),
        w_(problem, operands),
        plain_output_(output_is_plain()),
        leaves_out_(leaves_out_border(problem)),
        kernel_(choose_kernel()) {}

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    PlaneTask<T> t;
    const std::int64_t blocks = static_cast<std::int64_t>(tiling_.blocks.size()) - 1;
    const std::size_t block = static_cast<std::size_t>(index % blocks);
    index /= blocks;
    t.spans = tiling_.spans.data() + tiling_.blocks[block];
    t.span_count = tiling_.blocks[block + 1] - tiling_.blocks[block];
    t.row = index % tiling_.bands * tiling_.rows;
    t.rows = std::min(tiling_.rows, height_.out - t.row);
    index /= tiling_.bands;
    t.first_column = t.spans[0].first;
    const PlaneSpan& last = t.spans[t.span_count - 1];
    t.columns = last.first + last.pixels - t.first_column;
    char* const at = scratch_ + worker * scratch_each_;
    t.fill = reinterpret_cast<T*>(at + layout_.fill);
    t.stage = reinterpret_cast<T*>(at + layout_.stage);
    t.dense = reinterpret_cast<T*>(at + layout_.dense);
    t.output = reinterpret_cast<T*>(at + layout_.output);
    t.sums[0] = reinterpret_cast<T*>(at + layout_.sums[0]);
    t.sums[1] = reinterpret_cast<T*>(at + layout_.sums[1]);
    t.table = reinterpret_cast<const T**>(at + layout_.table);
    t.source = reinterpret_cast<std::int64_t*>(at + layout_.source);
    t.held = reinterpret_cast<std::int64_t*>(at + layout_.held);
    rows_.prepare(t);

    const std::int64_t planes = problem_.batch * problem_.groups * depth_.out;
    const std::int64_t end = std::min((index + 1) * tiling_.planes, planes);
    const std::int64_t first = index * tiling_.planes;
    std::int64_t depth = first % depth_.out, group = first / depth_.out % problem_.groups;
    std::int64_t image = first / depth_.out / problem_.groups;
    PlaneArgs<T> args = common_args();
    for (std::int64_t p = first; p < end; ++p) {
      if (p == first || depth == 0) {
        rows_.begin_plane(t);
        t.finite = finite_filters(group);
      }
      run_plane(t, args, image, group, depth);
      if (++depth == depth_.out) {
        depth = 0;
        if (++group == problem_.groups) {
          group = 0;
          ++image;
        }
      }
      interrupt_.work_done(worker, t.rows * t.columns * problem_.out_channels * problem_.terms());
      if (interrupt_.stop_requested()) return;
    }
  }

 private:
  bool output_is_plain() const {
    const Tensor& y = operands_.y;
    constexpr std::int64_t kElement = sizeof(T);
    if (!same_storage(problem_.y_type, problem_.compute)) return false;
    if (!is_float(problem_.compute) && problem_.activation != Activation::none) return false;
    return y.axis[2] == kElement && y.axis[1] % kElement == 0;
  }

  PlaneKernel choose_kernel() const {
    const PlaneKernel fitting = fitting_kernel();
    return kernels_.plane[static_cast<int>(fitting)] != nullptr ? fitting : PlaneKernel::any;
  }

  PlaneKernel fitting_kernel() const {
    const Axis& width = problem_.axis[2];
    // The others would spill in a loop over slices.
    if (slices_ == 1 && width.kernel == 1 && height_.kernel > 1 && shared_.phases == 1)
      return PlaneKernel::column;
    if (height_.kernel != width.kernel || slices_ > 1) return PlaneKernel::any;
    if (shared_.phases == 1) {
      if (width.kernel == 3) return PlaneKernel::square3;
      const bool neighbours = width.stride == 1 && width.dilation == 1;
      if (width.kernel == 5 && neighbours) return PlaneKernel::square5;
      if (width.kernel == 7 && neighbours) return PlaneKernel::square7;
    }
    return width.kernel == 3 && height_.stride == 2 && height_.dilation == 1
               ? PlaneKernel::square3_by2
               : PlaneKernel::any;
  }

  // What all kernel calls share.
  PlaneArgs<T> common_args() const {
    PlaneArgs<T> args{};
    args.phases = shared_.phases;
    args.phase_step = shared_.dilation;
    args.row_step = args.advance = shared_.phases * shared_.dilation;
    if (kernel_ == PlaneKernel::square3_by2) args.row_step = 1;
    args.slices = slices_;
    args.slice_rows = tiling_.slots;
    args.kernel_rows = height_.kernel;
    const Axis& width = problem_.axis[2];
    args.kernel_columns = args.w_row = width.kernel;
    args.neighbours = width.stride == 1 && width.dilation == 1 && width.interleave == 1;
    args.activation = is_float(problem_.compute) ? problem_.activation : Activation::none;
    return args;
  }

  struct SliceRange {
    std::int64_t first, end;
  };

  // Slices of the kernel that do not lie in the border.
  SliceRange slices_seen(std::int64_t depth) const {
    // Kernels of one slice do not count slices.
    if (!has_depth_border_ || slices_ == 1 || problem_.in_channels != 1) return {0, slices_};
    const std::int64_t start = depth * depth_.stride - depth_.lo, dilation = depth_.dilation;
    SliceRange seen;
    seen.first = start < 0 ? std::min(divide_up(-start, dilation), slices_) : 0;
    seen.end = start < depth_.in ? std::min((depth_.in - 1 - start) / dilation + 1, slices_) : 0;
    if (start >= depth_.in || seen.end < seen.first) seen.end = seen.first = 0;
    return seen;
  }

  // Which filters of a group have finite weights alone, so that their products with the border may
  // be left out. Asked for once a plane.
  std::uint32_t finite_filters(std::int64_t group) const {
    std::uint32_t finite = 0;
    for (std::int64_t k = 0; leaves_out_ && k < problem_.out_channels; ++k)
      if (kernels_.are_finite(w_.row(group * problem_.out_channels + k), problem_.terms()))
        finite |= std::uint32_t{1} << k;
    return finite;
  }

  void run_plane(const PlaneTask<T>& t, PlaneArgs<T>& args, std::int64_t image, std::int64_t group,
                 std::int64_t depth) const {
    const Tensor& y = operands_.y;
    rows_.look_up(t, image, group, depth);
    for (std::int64_t k = 0; k < problem_.out_channels; ++k) {
      const std::int64_t channel = group * problem_.out_channels + k;
      args.w = w_.row(channel);
      const bool leaves_out = (t.finite >> k & 1) != 0;
      const SliceRange range = leaves_out ? slices_seen(depth) : SliceRange{0, slices_};
      args.nothing = leaves_out ? t.fill : nullptr;
      args.w += range.first * height_.kernel * args.w_row;
      if (operands_.bias != nullptr) args.bias = static_cast<const T*>(operands_.bias) + channel;
      filter(t, args, range,
             y.data + image * y.batch + y.channel_offset(channel) + depth * y.axis[0] +
                 t.row * y.axis[1] + t.first_column * y.axis[2]);
    }
  }

  // All rows of the band; `to` is the first of the output.
  void filter(const PlaneTask<T>& t, PlaneArgs<T>& args, SliceRange range, char* to) const {
    const std::int64_t apart = shared_.apart;
    const bool one_run = slices_of_run_ == slices_;
    const std::int64_t most = plain_output_ && one_run ? t.rows : tiling_.strip;
    for (std::int64_t phase = 0; phase < std::min(apart, t.rows); ++phase) {
      const std::int64_t rows = apart == 1 ? t.rows : divide_up(t.rows - phase, apart);
      for (std::int64_t r = 0; r < rows; r += most)
        filter_rows(t, args, range, phase + r * apart, apart, std::min(most, rows - r), to);
    }
  }

  // Output rows row, row + apart, ... of the band.
  void filter_rows(const PlaneTask<T>& t, PlaneArgs<T>& args, SliceRange range, std::int64_t row,
                   std::int64_t apart, std::int64_t rows, char* to) const {
    const Tensor& y = operands_.y;
    char* const first = to + row * y.axis[1];
    T* out;
    if (plain_output_) {
      out = reinterpret_cast<T*>(first);
      const std::int64_t pitch = y.axis[1] / std::int64_t{sizeof(T)};
      args.out_pitch = apart * pitch;
      args.room = apart == 1 && pitch == t.columns ? (t.rows - row) * pitch : kNoRoom;
    } else {
      out = t.output;
      args.out_pitch = tiling_.output_pitch;
      args.room = rows * tiling_.output_pitch;
    }
    args.rows = rows;
    const auto kernel = kernels_.plane[static_cast<int>(kernel_)];
    for (std::int64_t s = 0; s < t.span_count; ++s) {
      const PlaneSpan& span = t.spans[s];
      args.row = rows_.rows_of(t, s, 0) + row * height_.stride;
      args.column = span.column.data();
      const T* const w = args.w;
      args.kernel_columns = args.w_row;
      if (args.nothing != nullptr && kernel_ == PlaneKernel::any) {
        args.column += span.seen;
        args.w += span.seen;
        args.kernel_columns = span.seen_end - span.seen;
      }
      args.out = out + (span.first - t.first_column);
      args.pixels = span.pixels;
      if (slices_of_run_ < slices_) {
        filter_runs(t, args, range, span.first - t.first_column);
      } else {
        args.row += range.first * args.slice_rows;
        args.slices = range.end - range.first;
        kernel(args);
      }
      args.w = w;
    }
    if (plain_output_) return;
    for (std::int64_t r = 0; r < rows; ++r)
      write_row<T>(table_, problem_.y_type, out + r * args.out_pitch, first + r * apart * y.axis[1],
                   y.axis[2], t.columns, problem_.activation);
  }

  static T wrapping_sum(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      using Unsigned = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b));
    } else {
      return a + b;
    }
  }

  // Run after run of slices, each but the first added to the sums of those before it. `all` has the
  // weights of the first slice of the range.
  void filter_runs(const PlaneTask<T>& t, const PlaneArgs<T>& all, SliceRange range,
                   std::int64_t column) const {
    PlaneArgs<T> args = all;
    args.bias = nullptr;
    args.activation = Activation::none;
    args.out_pitch = tiling_.output_pitch;
    args.room = all.rows * args.out_pitch - column;
    T* const sums = t.sums[0] + column;
    std::int64_t slice = range.first;
    do {
      const std::int64_t end = std::min((slice / slices_of_run_ + 1) * slices_of_run_, range.end);
      args.slices = end - slice;
      args.row = all.row + slice * args.slice_rows;
      args.w = all.w + (slice - range.first) * args.kernel_rows * args.w_row;
      const bool first = slice == range.first;
      args.out = first ? sums : t.sums[1] + column;
      kernels_.plane[static_cast<int>(kernel_)](args);
      for (std::int64_t r = 0; !first && r < all.rows; ++r) {
        T* const total = sums + r * args.out_pitch;
        const T* const part = args.out + r * args.out_pitch;
        for (std::int64_t i = 0; i < all.pixels; ++i) total[i] = wrapping_sum(total[i], part[i]);
      }
      slice = end;
    } while (slice < range.end);
    for (std::int64_t r = 0; r < all.rows; ++r)
      kernels_.store({sums + r * args.out_pitch, 1, 0, all.pixels, 1, all.out + r * all.out_pitch,
                      1, 0, all.bias, all.activation});
  }

  const Problem& problem_;
  const Axis& depth_;
  const Axis& height_;
  const SharedRows shared_;
  const std::int64_t slices_;
  const std::int64_t slices_of_run_;
  const bool has_depth_border_;
  const PlaneTiling& tiling_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const PlaneRows<T> rows_;
  const Operands& operands_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  const PlaneScratch layout_;
  Interrupt& interrupt_;
  const WeightRows<T> w_;
  const bool plain_output_;
  const bool leaves_out_;
  const PlaneKernel kernel_;
};

template <class T>
void run_as(const Problem& problem, const Tiling& tiling, const KernelTable& kernels,
            const Operands& operands, char* scratch, int workers, Interrupt& interrupt) {
  const std::int64_t scratch_each = scratch_bytes(tiling, sizeof(T));
  if (tiling.plane.channels.tasks > 0 &&
      takes_channels(problem, operands.y, kernels.set<T>().lanes))
    return run_channels<T>(problem, tiling.plane.channels, kernels, operands, scratch, scratch_each,
                           workers, interrupt);
  if (tiling.plane.sampled.tasks > 0 && takes_sampled(problem, operands.y))
    return run_sampled<T>(problem, tiling.plane.sampled, kernels, operands, scratch, scratch_each,
                          workers, interrupt);
  if (tiling.plane.turned.tasks > 0 && takes_turned(problem, operands.y))
    return run_turned<T>(problem, tiling.plane.turned, kernels, operands, scratch, scratch_each,
                         workers, interrupt);
  if constexpr (std::is_floating_point_v<T>) {
    if (tiling.plane.roll.planes > 0)
      return run_rolling<T>(problem, tiling.plane.roll, kernels, operands, scratch, scratch_each,
                            workers, interrupt);
  }
  PlaneRun<T> run(problem, tiling.plane, kernels, operands, scratch, scratch_each, interrupt);
  parallel_for(tiling.plane.tasks, workers,
               [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
}

}  // namespace

const Candidate plane = {Algorithm::direct, "plane", accepts, cost, tile, nullptr, suits};

void run_planes(const Problem& problem, const Tiling& tiling, const KernelTable& kernels,
                const Operands& operands, char* scratch, int workers, Interrupt& interrupt) {
  as_compute(problem.compute, [&](auto zero) {
    run_as<decltype(zero)>(problem, tiling, kernels, operands, scratch, workers, interrupt);
  });
}

}  // namespace fastconv
