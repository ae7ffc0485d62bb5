#include "algorithms/sampled.hpp"

#include <algorithm>

#include "algorithms/turned.hpp"
#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kStageBytes = 16 << 10;  // half of L1

// Scratch of one worker: picked pixels, a row for each channel | a table of these rows.
struct SampledScratch {
  std::int64_t pitch, table, total;  // the first in elements

  SampledScratch(const Problem& problem, const SampledTiling& tiling, std::int64_t lanes,
                 std::int64_t element) {
    pitch = tiling.rows * problem.axis[2].out + lanes;
    table = round_to_line(problem.in_channels * pitch * element);
    total = table + round_to_line(problem.in_channels * std::int64_t{sizeof(void*)});
  }
};

template <class T>
class SampledRun {
 public:
  SampledRun(const Problem& problem, const SampledTiling& tiling, const KernelTable& table,
             const Operands& operands, char* scratch, std::int64_t scratch_each,
             Interrupt& interrupt)
      : problem_(problem),
        tiling_(tiling),
        kernels_(table.set<T>()),
        operands_(operands),
        scratch_(scratch),
        scratch_each_(scratch_each),
        layout_(problem, tiling, kernels_.lanes, sizeof(T)),
        interrupt_(interrupt),
        w_(problem, operands) {}

  // Some rows of the output, of one group and image.
  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    const auto& [depth, height, width] = problem_.axis;
    const std::int64_t all = depth.out * height.out, bands = divide_up(all, tiling_.rows);
    const std::int64_t first = index % bands * tiling_.rows;
    const std::int64_t end = std::min(first + tiling_.rows, all);
    const std::int64_t group = index / bands % problem_.groups;
    const std::int64_t image = index / bands / problem_.groups;
    char* const at = scratch_ + worker * scratch_each_;
    T* const stage = reinterpret_cast<T*>(at);
    const T** const rows = reinterpret_cast<const T**>(at + layout_.table);
    const Tensor& x = operands_.x;
    for (std::int64_t c = 0; c < problem_.in_channels; ++c) {
      T* const to = stage + c * layout_.pitch;
      rows[c] = to;
      pick(x.data + image * x.batch + (group * problem_.in_channels + c) * x.channel, first, end,
           to);
    }
    constexpr std::int32_t kColumn = 0;
    PlaneArgs<T> args{};
    args.row = rows;
    args.row_step = args.advance = args.phases = args.phase_step = args.slice_rows = 1;
    args.slices = problem_.in_channels;
    args.kernel_rows = args.kernel_columns = args.w_row = args.rows = 1;
    args.column = &kColumn;
    args.activation = problem_.activation;
    args.pixels = (end - first) * width.out;
    args.room = kNoRoom;
    const Tensor& y = operands_.y;
    for (std::int64_t k = 0; k < problem_.out_channels; ++k) {
      const std::int64_t channel = group * problem_.out_channels + k;
      args.w = w_.row(channel);
      if (operands_.bias != nullptr) args.bias = static_cast<const T*>(operands_.bias) + channel;
      args.out =
          reinterpret_cast<T*>(y.data + image * y.batch + channel * y.channel) + first * width.out;
      kernels_.plane[static_cast<int>(PlaneKernel::any)](args);
    }
    interrupt_.work_done(worker, args.pixels * problem_.out_channels * problem_.in_channels);
  }

 private:
  // Rows [first, end) of the output's, of all slices, from a channel of x.
  void pick(const char* from, std::int64_t first, std::int64_t end, T* to) const {
    const auto& [depth, height, width] = problem_.axis;
    const Tensor& x = operands_.x;
    constexpr std::int64_t kElement = sizeof(T);
    while (first < end) {
      const std::int64_t d = first / height.out, h = first % height.out;
      const std::int64_t rows = std::min(end - first, height.out - h);
      const T* row = reinterpret_cast<const T*>(from + d * depth.stride * x.axis[0] +
                                                h * height.stride * x.axis[1]);
      const std::int64_t pitch = height.stride * x.axis[1] / kElement;
      if (width.stride > 2) {
        kernels_.plane_stage({row, pitch, rows, (width.out - 1) * width.stride + 1, width.stride, 0,
                              0, 1, T(0), to, width.out});
        to += rows * width.out;
      } else {
        for (std::int64_t r = 0; r < rows; ++r, row += pitch, to += width.out) {
          if (width.stride == 1) {
            std::copy_n(row, width.out, to);
          } else {
            kernels_.every_second(row, to, width.out);
          }
        }
      }
      first += rows;
    }
  }

  const Problem& problem_;
  const SampledTiling& tiling_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  const SampledScratch layout_;
  Interrupt& interrupt_;
  const WeightRows<T> w_;
};

}  // namespace

bool can_sample(const Problem& problem) {
  const auto& axis = problem.axis;
  bool strided = false;
  for (const Axis& a : axis) strided = strided || a.stride > 1;
  return strided && problem.taps() == 1 && !problem.padded() && !problem.complex &&
         axis[2].interleave == 1 && same_storage(problem.x_type, problem.compute) &&
         same_storage(problem.y_type, problem.compute) &&
         (is_float(problem.compute) || problem.activation == Activation::none);
}

SampledTiling sampled_tiling(const Problem& problem, const Tensor& x, const Machine& machine) {
  SampledTiling tiling;
  const std::int64_t element = machine.element;
  const bool slices = problem.axis[0].in == 1 || x.axis[0] % element == 0;
  if (!has_plain_rows(problem, x) || !slices || x.channel % element != 0 || x.part != 0)
    return tiling;
  const std::int64_t all = problem.axis[0].out * problem.axis[1].out;
  const std::int64_t row = problem.in_channels * problem.axis[2].out * element;
  tiling.rows = std::clamp<std::int64_t>(kStageBytes / row, 1, all);
  tiling.tasks = problem.batch * problem.groups * divide_up(all, tiling.rows);
  return tiling;
}

std::int64_t sampled_scratch_bytes(const Problem& problem, const SampledTiling& tiling,
                                   const Machine& machine) {
  return SampledScratch(problem, tiling, machine.lanes, machine.element).total;
}

bool takes_sampled(const Problem& problem, const Tensor& y) { return takes_turned(problem, y); }

template <class T>
void run_sampled(const Problem& problem, const SampledTiling& tiling, const KernelTable& kernels,
                 const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                 Interrupt& interrupt) {
  SampledRun<T> run(problem, tiling, kernels, operands, scratch, scratch_each, interrupt);
  parallel_for(tiling.tasks, workers,
               [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
}

#define FASTCONV_INSTANTIATE(T)                                                          \
  template void run_sampled<T>(const Problem&, const SampledTiling&, const KernelTable&, \
                               const Operands&, char*, std::int64_t, int, Interrupt&);
FASTCONV_FOR_EACH_COMPUTE_TYPE(FASTCONV_INSTANTIATE)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
