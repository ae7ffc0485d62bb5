#include "algorithms/turned.hpp"

#include <algorithm>
#include <cstring>

#include "algorithms/channels.hpp"
#include "algorithms/costs.hpp"
#include "algorithms/plane_costs.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/border.hpp"
#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kTaskMacs = 128 << 10;
constexpr std::int64_t kMostBytes = 24 << 10;  // of a turned block and its sums, near L1
// Pixels of a slice, lanes in vain included; by sixteen lanes more.
constexpr double kMostRolled = 26, kMostRolledByMany = 52;
constexpr std::int64_t kMostPadded = 4096;  // columns, each of which is listed

// Pixels from one turned row to the next. With columns of the border beside them, tiles know where
// all of theirs are without a look at the table; 3 x 3 kernels that roll look up few.
std::int64_t turned_pitch(const Problem& problem) {
  const Axis& width = problem.axis[2];
  const std::int64_t rows = problem.axis[0].kernel * problem.axis[1].kernel;
  if ((rows == 3 && width.kernel == 3) || (width.lo == 0 && width.hi == 0)) return width.in;
  return std::max(padded_columns(width) - 1, width.lo + width.in);
}

std::int64_t turned_pixels(const Problem& problem) {
  return problem.axis[0].in * problem.axis[1].in * turned_pitch(problem);
}

// Rows and slices without gaps.
bool is_dense_plane(const Tensor& tensor, const Index3& size, std::int64_t element) {
  std::int64_t pitch = element;
  for (int a = 2; a >= 0; --a) {
    if (size[a] > 1 && tensor.axis[a] != pitch) return false;
    pitch *= size[a];
  }
  return tensor.part == 0 && tensor.channel % element == 0 && tensor.batch % element == 0;
}

// Channels of a block that has so many lanes: the last block overlaps the one before it, and of
// fewer channels than lanes some lanes are idle.
std::int64_t channels_of_block(const Problem& problem, std::int64_t width) {
  return std::min(problem.groups, width);
}

// Scratch of one worker: turned input | sums | biases | what the kernel needs besides.
struct TurnedScratch {
  std::int64_t input, each_input, sums, bias;
  ChannelScratch channels;

  TurnedScratch(const Problem& problem, std::int64_t width, std::int64_t element)
      : input(0),
        each_input(round_to_line(turned_pixels(problem) * width * element)),
        sums(input + problem.in_channels * each_input),
        bias(sums + round_to_line(problem.out_pixels() * width * element)),
        channels(problem, width, element, bias + round_to_line(width * element)) {}
};

template <class T>
class TurnedRun {
 public:
  TurnedRun(const Problem& problem, const TurnedTiling& tiling, const KernelTable& table,
            const Operands& operands, char* scratch, std::int64_t scratch_each,
            Interrupt& interrupt)
      : problem_(problem),
        tiling_(tiling),
        kernels_(table.set<T>()),
        operands_(operands),
        scratch_(scratch),
        scratch_each_(scratch_each),
        layout_(problem, tiling.vecs * kernels_.lanes, sizeof(T)),
        width_(tiling.vecs * kernels_.lanes),
        channels_(channels_of_block(problem, width_)),
        pitch_(turned_pitch(problem)),
        leaves_out_(channels_leave_out_border(problem)),
        interrupt_(interrupt),
        w_(problem, operands) {}

  void task(std::int64_t index, int worker) noexcept {
    char* const at = scratch_ + worker * scratch_each_;
    T* const input = reinterpret_cast<T*>(at + layout_.input);
    const ChannelPad<T> pad(layout_.channels, at);
    list_columns(problem_, width_, pad.column);
    std::fill_n(pad.fill, width_, scalar_as<T>(problem_.fill[0]));
    ChannelArgs<T> args = channel_args<T>(problem_, pad);
    if (has_row_windows(problem_))
      list_padded_rows(problem_, pitch_ * width_, problem_.axis[1].in, pad.padded);
    args.x = input;
    args.column_pitch = width_;
    args.vecs = tiling_.vecs;
    args.out_pixel = width_;
    args.seen = problem_.axis[2].lo;
    if (is_padded()) {
      for (std::int64_t i = 0; i < pitch_; ++i) pad.column[i] = i * width_;
      args.inside = 0;
      args.inside_end = pitch_;
    }

    const std::int64_t blocks = divide_up(problem_.groups, width_), filters = problem_.out_channels;
    const std::int64_t end = std::min((index + 1) * tiling_.units, blocks * problem_.batch);
    T* const sums = reinterpret_cast<T*>(at + layout_.sums);
    std::int64_t packed = -1;
    bool leaves_out = false;
    for (std::int64_t unit = index * tiling_.units; unit < end; ++unit) {
      if (interrupt_.stop_requested()) return;
      const std::int64_t block = unit / problem_.batch, image = unit % problem_.batch;
      // The last block overlaps the one before it, within a task and between two: see below.
      const std::int64_t first = std::min(block * width_, problem_.groups - channels_);
      turn(image, first, pad.fill, input);
      for (std::int64_t k = 0; k < filters; ++k) {
        if (filters > 1 || block != packed) {
          kernels_.pack({w_.row(first * filters + k), filters * w_.pitch, channels_,
                         problem_.terms(), pad.weights, width_});
          leaves_out = leaves_out_ && kernels_.are_finite(pad.weights, problem_.terms() * width_);
          packed = block;
        }
        args.seen_end = leaves_out ? args.seen + problem_.axis[2].in : kAllColumns;
        args.bias = biases(first, k, reinterpret_cast<T*>(at + layout_.bias));
        filter(args, pad, leaves_out, sums);
        store(image, first, block * width_ - first, k, sums);
        interrupt_.work_done(worker, problem_.out_pixels() * width_ * problem_.terms());
      }
    }
  }

 private:
  bool is_padded() const { return pitch_ != problem_.axis[2].in; }

  // Rows that lie one after the other get their borders, the last row first.
  void spread(const T* fill, T* input) const {
    const auto& [depth, height, width] = problem_.axis;
    const std::size_t bytes = static_cast<std::size_t>(width.in * width_) * sizeof(T);
    for (std::int64_t r = depth.in * height.in - 1; r >= 0; --r) {
      T* const row = input + r * pitch_ * width_;
      T* const inside = row + width.lo * width_;
      std::memmove(inside, input + r * width.in * width_, bytes);
      const auto border = [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t i = from; i < to; ++i) {
          const std::int64_t source = source_index(problem_.border, width, i - width.lo);
          // A loop over the elements took half of the time (13x13, stride 3, on 13x13).
          std::memcpy(row + i * width_, source < 0 ? fill : inside + source * width_,
                      static_cast<std::size_t>(width_) * sizeof(T));
        }
      };
      border(0, width.lo);
      border(width.lo + width.in, pitch_);
    }
  }

  // The input of a block, one channel of its groups after the other.
  void turn(std::int64_t image, std::int64_t first, const T* fill, T* to) const {
    const Tensor& x = operands_.x;
    const std::int64_t in = problem_.in_channels;
    for (std::int64_t c = 0; c < in; ++c, to += layout_.each_input / kElement) {
      kernels_.pack(
          {reinterpret_cast<const T*>(x.data + image * x.batch + (first * in + c) * x.channel),
           in * x.channel / kElement, channels_, problem_.in_pixels(), to, width_});
      if (is_padded()) spread(fill, to);
    }
  }

  // Of filter k of each group.
  const T* biases(std::int64_t first, std::int64_t k, T* to) const {
    if (operands_.bias == nullptr) return nullptr;
    const std::int64_t filters = problem_.out_channels;
    const T* const from = static_cast<const T*>(operands_.bias) + first * filters + k;
    if (filters == 1 && channels_ == width_) return from;
    for (std::int64_t i = 0; i < width_; ++i) to[i] = i < channels_ ? from[i * filters] : T(0);
    return to;
  }

  // Sums over the channels of a group add up in scratch.
  void filter(ChannelArgs<T> args, const ChannelPad<T>& pad, bool leaves_out, T* sums) const {
    const auto& [depth, height, width] = problem_.axis;
    const std::int64_t row = pitch_ * width_;
    const bool windows = has_row_windows(problem_);
    const T* const bias = args.bias;
    const Activation activation = args.activation;
    for (std::int64_t c = 0; c < problem_.in_channels; ++c) {
      const bool last = c + 1 == problem_.in_channels;
      args.accumulate = c > 0;
      args.bias = last ? bias : nullptr;
      args.activation = last ? activation : Activation::none;
      args.out = sums;
      const T* const input = args.x;
      for (std::int64_t d = 0; d < depth.out; ++d) {
        for (std::int64_t h = 0; h < height.out; ++h, args.out += width.out * width_) {
          if (windows) {
            args.x = input + d * depth.stride * height.in * row;
            filter_row_window(problem_, kernels_, pad, args, h, leaves_out);
          } else {
            list_rows(problem_, height.in * row, row, d, h, pad.row);
            filter_channels(problem_, kernels_, pad, args, leaves_out, !is_padded());
          }
        }
      }
      args.x = input + layout_.each_input / kElement;
      args.w += problem_.taps() * width_;
    }
  }

  // Only those channels that the block before has not: another thread may write them.
  void store(std::int64_t image, std::int64_t first, std::int64_t fresh, std::int64_t k,
             const T* sums) const {
    const Tensor& y = operands_.y;
    const std::int64_t filters = problem_.out_channels;
    StoreArgs<T> store{};
    store.acc = sums + fresh;
    store.acc_pixel = width_;
    store.acc_channel = 1;
    store.pixels = problem_.out_pixels();
    store.channels = channels_ - fresh;
    store.out = reinterpret_cast<T*>(y.data + image * y.batch +
                                     ((first + fresh) * filters + k) * y.channel);
    store.out_pixel = 1;
    store.out_channel = filters * y.channel / kElement;
    kernels_.store(store);
  }

  static constexpr std::int64_t kElement = sizeof(T);

  const Problem& problem_;
  const TurnedTiling& tiling_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  const TurnedScratch layout_;
  const std::int64_t width_;     // lanes of a block
  const std::int64_t channels_;  // in as many of them
  const std::int64_t pitch_;     // pixels from one turned row to the next
  const bool leaves_out_;
  Interrupt& interrupt_;
  const WeightRows<T> w_;
};

// Of a group that is turned.
class TurnedCycles : public PlaneCycles {
 public:
  TurnedCycles(const Problem& problem, const Machine& machine) : PlaneCycles(problem, machine) {
    const Axis& width = problem.axis[2];
    if (runs_strips(problem, machine) && width.out >= kLongStrip / 2)
      strip_ = static_cast<double>(width.kernel) *
               static_cast<double>(std::min(strip_cycles<kLongStrip>(width.out),
                                            strip_cycles<kShortStrip>(width.out)));
    if (!has_row_windows(problem)) {
      kernel_row_ = 21;
      row_ = 31;
    }
  }

  double turned() const {
    if (strip_ > 0) {
      const double in_blocks = rows_ * (row_ + kernel_rows_ * seen_rows_ * (kernel_row_ + strip_)) +
                               108 * filters_ * in_;
      return 0.24 * inputs_ + 0.86 * outputs_ + 0.45 * weights_ + in_blocks / lanes_;
    }
    const double in_blocks = rows_ * (31 + 11 * kernel_rows_) +
                             1.8 * seen_ * outputs_ / filters_ * weights_ + 108 * filters_ * in_;
    return 0.24 * inputs_ + 0.86 * outputs_ + 0.45 * weights_ + in_blocks / lanes_;
  }

 private:
  double strip_ = 0;  // of a kernel row, which takes besides
  double kernel_row_ = 10, row_ = 20;
};

// The last block overlaps the one before it.
double waste_of(const Problem& problem, const Machine& machine) {
  return static_cast<double>(round_up(problem.groups, machine.lanes)) /
         static_cast<double>(problem.groups);
}

}  // namespace

bool turning_pays(const Problem& problem, bool rolling, const Machine& machine) {
  const std::int64_t pixels = problem.in_channels * turned_pixels(problem) + problem.out_pixels();
  if (4 * pixels * machine.lanes * machine.element > 3 * machine.l2) return false;
  const double waste = waste_of(problem, machine);
  const auto& [depth, height, width] = problem.axis;
  if (rolling && has_few_registers(problem, machine)) {
    const TurnedCycles cycles(problem, machine);
    // Of 850 layers those chosen take 1.04 times as long as the faster.
    const double least = depth.kernel == 1 && depth.out == 1 ? 0.65 : 0.8;
    return waste * cycles.turned() < least * cycles.staged();
  }
  const bool large = rolling && height.kernel > 3;
  if (rolling && depth.kernel == 1) {
    const std::int64_t both = height.in * width.in + height.out * width.out;
    const double most = machine.lanes == 16 ? kMostRolledByMany : kMostRolled;
    if (0.5 * static_cast<double>(both) * waste <= most) return true;
    if (!large) return false;
  }
  const TurnedCycles cycles(problem, machine);
  double best = rolling ? cycles.rolling() : cycles.otherwise();
  if (large && depth.kernel == 1) best = cycles.rolling_large();
  // Single planes by plane.cpp, of some filters by it or another.
  if (!rolling && problem.out_channels == 1) best = cycles.by_planes();
  if (!rolling && problem.out_channels > 1 && problem.out_channels <= kMostFilters)
    best = 0.5 * (std::min(best, cycles.by_planes()) + cycles.by_planes());
  return waste * cycles.turned() < 0.95 * best;
}

bool sampling_pays(const Problem& problem, const Machine& machine) {
  if (!can_turn(problem)) return true;
  const TurnedCycles cycles(problem, machine);
  return cycles.sampled() < waste_of(problem, machine) * cycles.turned();
}

bool can_turn(const Problem& problem) {
  return problem.in_channels <= kMostTurned && problem.out_channels <= kMostTurned &&
         suits_channel_lanes(problem, kMostPadded) && same_storage(problem.x_type, problem.compute);
}

bool takes_turned(const Problem& problem, const Tensor& y) {
  const auto& axis = problem.axis;
  return is_dense_plane(y, {axis[0].out, axis[1].out, axis[2].out}, size_of(problem.compute));
}

TurnedTiling turned_tiling(const Problem& problem, const Tensor& x, const Machine& machine) {
  TurnedTiling tiling;
  const auto& axis = problem.axis;
  if (!is_dense_plane(x, {axis[0].in, axis[1].in, axis[2].in}, machine.element)) return tiling;
  const std::int64_t pixels = turned_pixels(problem) + problem.out_pixels();
  tiling.vecs = machine.out_vecs >= 4 ? 4 : 2;
  const auto is_wide = [&] {
    const std::int64_t width = tiling.vecs * machine.lanes;
    const std::int64_t computed = round_up(problem.groups, width);
    return width > problem.groups || width * pixels * machine.element > kMostBytes ||
           8 * computed > 9 * round_up(problem.groups, machine.lanes);
  };
  while (tiling.vecs > 1 && is_wide()) tiling.vecs /= 2;
  const std::int64_t width = tiling.vecs * machine.lanes;
  const std::int64_t units = divide_up(problem.groups, width) * problem.batch;
  const std::int64_t enough = machine.threads > 1 ? 4 * machine.threads : 1;
  const std::int64_t each = std::max<std::int64_t>(units / enough, 1);
  tiling.units = std::clamp<std::int64_t>(
      4 * kTaskMacs / (width * problem.out_pixels() * problem.out_channels * problem.terms()), 1,
      each);
  tiling.tasks = divide_up(units, tiling.units);
  return tiling;
}

std::int64_t turned_scratch_bytes(const Problem& problem, const TurnedTiling& tiling,
                                  const Machine& machine) {
  return TurnedScratch(problem, tiling.vecs * machine.lanes, machine.element).channels.end;
}

template <class T>
void run_turned(const Problem& problem, const TurnedTiling& tiling, const KernelTable& kernels,
                const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                Interrupt& interrupt) {
  TurnedRun<T> run(problem, tiling, kernels, operands, scratch, scratch_each, interrupt);
  parallel_for(tiling.tasks, workers,
               [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
}

#define FASTCONV_INSTANTIATE(T)                                                        \
  template void run_turned<T>(const Problem&, const TurnedTiling&, const KernelTable&, \
                              const Operands&, char*, std::int64_t, int, Interrupt&);
FASTCONV_FOR_EACH_COMPUTE_TYPE(FASTCONV_INSTANTIATE)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
