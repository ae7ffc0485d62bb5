#include "algorithms/turned.hpp"

#include <algorithm>

#include "algorithms/channels.hpp"
#include "core/border.hpp"
#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kTaskMacs = 128 << 10;
constexpr std::int64_t kMostBytes = 24 << 10;  // of a turned block and its sums, near L1
constexpr std::int64_t kMostRolled = 16;       // pixels of an output slice
constexpr std::int64_t kMostPadded = 4096;     // columns, each of which is listed

std::int64_t in_pixels(const Problem& problem) {
  return problem.axis[0].in * problem.axis[1].in * problem.axis[2].in;
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

// Scratch of one worker: turned input | sums | what the kernel needs besides.
struct TurnedScratch {
  std::int64_t input, sums;
  ChannelScratch channels;

  TurnedScratch(const Problem& problem, std::int64_t width, std::int64_t element)
      : input(0),
        sums(input + round_to_line(in_pixels(problem) * width * element)),
        channels(problem, width, element,
                 sums + round_to_line(problem.out_pixels() * width * element)) {}
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
        interrupt_(interrupt),
        w_(problem, operands) {}

  void task(std::int64_t index, int worker) noexcept {
    char* const at = scratch_ + worker * scratch_each_;
    T* const input = reinterpret_cast<T*>(at + layout_.input);
    T* const sums = reinterpret_cast<T*>(at + layout_.sums);
    const ChannelPad<T> pad(layout_.channels, at);
    const auto& [depth, height, width] = problem_.axis;
    list_columns(problem_, width_, pad.column);
    std::fill_n(pad.fill, width_, scalar_as<T>(problem_.fill[0]));
    ChannelArgs<T> args = channel_args<T>(problem_, pad);
    args.x = input;
    args.column_pitch = width_;
    args.vecs = tiling_.vecs;
    args.out_pixel = width_;

    const Tensor& x = operands_.x;
    const Tensor& y = operands_.y;
    const std::int64_t blocks = divide_up(problem_.groups, width_);
    const std::int64_t end = std::min((index + 1) * tiling_.units, blocks * problem_.batch);
    std::int64_t packed = -1;
    for (std::int64_t unit = index * tiling_.units; unit < end; ++unit) {
      if (interrupt_.stop_requested()) return;
      const std::int64_t block = unit / problem_.batch, image = unit % problem_.batch;
      // The last block overlaps the one before it, within a task and between two: see below.
      const std::int64_t first = std::min(block * width_, problem_.groups - width_);
      const std::int64_t fresh = block * width_ - first;
      if (block != packed) {
        kernels_.pack({w_.row(first), w_.pitch, width_, problem_.terms(), pad.weights, width_});
        packed = block;
      }
      if (operands_.bias != nullptr) args.bias = static_cast<const T*>(operands_.bias) + first;
      kernels_.pack({reinterpret_cast<const T*>(x.data + image * x.batch + first * x.channel),
                     x.channel / kElement, width_, in_pixels(problem_), input, width_});
      args.out = sums;
      for (std::int64_t d = 0; d < depth.out; ++d) {
        for (std::int64_t h = 0; h < height.out; ++h, args.out += width.out * width_) {
          list_rows(problem_, height.in * width.in * width_, width.in * width_, d, h, pad.row);
          kernels_.channel_lanes(args);
        }
      }
      // Only those channels that the block before has not: another thread may write them.
      StoreArgs<T> store{};
      store.acc = sums + fresh;
      store.acc_pixel = width_;
      store.acc_channel = 1;
      store.pixels = problem_.out_pixels();
      store.channels = width_ - fresh;
      store.out = reinterpret_cast<T*>(y.data + image * y.batch + (first + fresh) * y.channel);
      store.out_pixel = 1;
      store.out_channel = y.channel / kElement;
      kernels_.store(store);
      interrupt_.work_done(worker, problem_.out_pixels() * width_ * problem_.terms());
    }
  }

 private:
  static constexpr std::int64_t kElement = sizeof(T);

  const Problem& problem_;
  const TurnedTiling& tiling_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  const TurnedScratch layout_;
  const std::int64_t width_;  // channels of a block
  Interrupt& interrupt_;
  const WeightRows<T> w_;
};

}  // namespace

// Cycles of one plane on Zen 4, AVX-512, measured over 75 layers of 64 channels (docs/tuning.md).
bool turning_pays(const Problem& problem, bool rolling, const Machine& machine) {
  const auto& [depth, height, width] = problem.axis;
  const std::int64_t pixels = in_pixels(problem) + problem.out_pixels();
  if (pixels * machine.lanes * machine.element > machine.l2 / 4) return false;
  // The last block overlaps the one before it.
  const double waste = static_cast<double>(round_up(problem.groups, machine.lanes)) /
                       static_cast<double>(problem.groups);
  if (rolling && height.out * width.out > kMostRolled) return false;
  if (rolling) return waste < 1.3;
  const double lanes = machine.lanes, taps = static_cast<double>(problem.terms());
  const double turned = 0.55 * static_cast<double>(pixels) +
                        2.0 * static_cast<double>(problem.out_pixels()) * taps / lanes;
  // A call, staged rows, and products. With a stride of three or more columns are dealt out.
  const double vectors_in = static_cast<double>(divide_up(width.in, machine.lanes));
  const double row = 10 + 8 * vectors_in + (width.stride > 2 ? static_cast<double>(width.in) : 0);
  const double vectors = static_cast<double>(height.out * divide_up(width.out, machine.lanes));
  // Slices that several outputs see stay staged.
  const std::int64_t staged = depth.out > 1 ? std::min(depth.kernel, depth.stride) : depth.kernel;
  const double slice = 250 + static_cast<double>(height.in * staged) * row +
                       (depth.kernel > 1 ? 1.5 : 1.3) * vectors * taps;
  return waste * turned < 0.95 * static_cast<double>(depth.out) * slice;
}

bool can_turn(const Problem& problem, const Machine& machine) {
  return suits_channel_lanes(problem, kMostPadded, machine) &&
         same_storage(problem.x_type, problem.compute);
}

bool takes_turned(const Problem& problem, const Tensor& y) {
  const auto& axis = problem.axis;
  return is_dense_plane(y, {axis[0].out, axis[1].out, axis[2].out}, size_of(problem.compute));
}

TurnedTiling turned_tiling(const Problem& problem, const Tensor& x, const Machine& machine) {
  TurnedTiling tiling;
  const auto& axis = problem.axis;
  if (!is_dense_plane(x, {axis[0].in, axis[1].in, axis[2].in}, machine.element)) return tiling;
  const std::int64_t pixels = in_pixels(problem) + problem.out_pixels();
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
      4 * kTaskMacs / (width * problem.out_pixels() * problem.terms()), 1, each);
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
FASTCONV_INSTANTIATE(float)
FASTCONV_INSTANTIATE(double)
FASTCONV_INSTANTIATE(std::int32_t)
FASTCONV_INSTANTIATE(std::int64_t)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
