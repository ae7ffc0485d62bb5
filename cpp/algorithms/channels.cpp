#include "algorithms/channels.hpp"

#include <algorithm>

#include "algorithms/tap_layout.hpp"
#include "core/border.hpp"
#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kTaskMacs = 128 << 10;
constexpr std::int64_t kMostTurnedVecs = 4;
constexpr std::int64_t kMostVecs = 16;
constexpr std::int64_t kWeightBytes = 8 << 10;       // of a block, a quarter of L1
constexpr std::int64_t kMostTerms = 4096;            // whose weights L2 holds
constexpr std::int64_t kMostTableColumns = 1 << 16;  // of the table
constexpr std::int64_t kMostRowBytes = 128 << 10;    // of sums that are turned

// Sums of one output row, where they may have to be turned: in pictures with channels first whose
// memory has them last. 0 where not even a vector of channels fits.
std::int64_t row_bytes(const Problem& problem, std::int64_t lanes, std::int64_t element) {
  const std::int64_t bytes = round_to_line(problem.axis[2].out * lanes * element);
  if (problem.channels_last || bytes > kMostRowBytes) return 0;
  return std::min(kMostTurnedVecs * bytes, kMostRowBytes);
}

// Vectors of channels of a block. Narrow tiles would read and write but a line of each pixel in a
// pass, so that they go over all channels that have weights in L1, a tile at a time.
std::int64_t vecs_of_block(const Problem& problem, std::int64_t tile_vecs, std::int64_t lanes,
                           std::int64_t element) {
  if (tile_vecs > 2) return tile_vecs;
  const std::int64_t fit = kWeightBytes / (problem.terms() * lanes * element);
  return std::clamp<std::int64_t>(fit / 2 * 2, 2, kMostVecs);
}

template <class T>
class ChannelRun {
 public:
  ChannelRun(const Problem& problem, const ChannelTiling& tiling, const KernelTable& table,
             const Operands& operands, char* scratch, std::int64_t scratch_each,
             Interrupt& interrupt)
      : problem_(problem),
        depth_(problem.axis[0]),
        height_(problem.axis[1]),
        width_(problem.axis[2]),
        tiling_(tiling),
        kernels_(table.set<T>()),
        operands_(operands),
        scratch_(scratch),
        scratch_each_(scratch_each),
        leaves_out_(channels_leave_out_border(problem)),
        turns_(!channels_lie_side_by_side(problem, problem.y_type, operands.y)),
        layout_(problem,
                vecs_of_block(problem, kernels_.channel_vecs, kernels_.lanes, sizeof(T)) *
                    kernels_.lanes,
                sizeof(T)),
        interrupt_(interrupt),
        w_(problem, operands) {}

  void task(std::int64_t index, int worker) noexcept {
    char* const at = scratch_ + worker * scratch_each_;
    const ChannelPad<T> pad(layout_, at);
    T* const sums = reinterpret_cast<T*>(at + layout_.end);
    const Tensor& x = operands_.x;
    const Tensor& y = operands_.y;
    list_columns(problem_, x.axis[2] / kElement, pad.column);
    const std::int64_t all_rows = depth_.out * height_.out;
    const std::int64_t bands = divide_up(all_rows, tiling_.rows);
    const std::int64_t image = index / bands;
    const std::int64_t first_row = index % bands * tiling_.rows;
    const std::int64_t end_row = std::min(first_row + tiling_.rows, all_rows);

    ChannelArgs<T> args = channel_args<T>(problem_, pad);
    args.column_pitch = x.axis[2] / kElement;
    args.out_pixel = y.axis[2] / kElement;
    const std::int64_t lanes = kernels_.lanes;
    std::fill_n(pad.fill, kernels_.channel_vecs * lanes, scalar_as<T>(problem_.fill[0]));
    for (std::int64_t c = 0; c < problem_.groups;) {
      args.vecs = block_of(divide_up(problem_.groups - c, lanes));
      const std::int64_t width = args.vecs * lanes;
      if (turns_) args.out_pixel = width;
      const std::int64_t first = std::min(c, problem_.groups - width);
      kernels_.pack({w_.row(first), w_.pitch, width, problem_.terms(), pad.weights, width});
      const bool leaves_out =
          leaves_out_ && kernels_.are_finite(pad.weights, problem_.terms() * width);
      args.seen = width_.lo;
      args.seen_end = leaves_out ? width_.lo + width_.in : kAllColumns;
      if (operands_.bias != nullptr) args.bias = static_cast<const T*>(operands_.bias) + first;
      args.x = reinterpret_cast<const T*>(x.data + image * x.batch) + first;
      for (std::int64_t r = first_row; r < end_row; ++r) {
        if (interrupt_.stop_requested()) return;
        const std::int64_t d = r / height_.out, h = r % height_.out;
        list_rows(problem_, x.axis[0] / kElement, x.axis[1] / kElement, d, h, pad.row);
        T* const out = reinterpret_cast<T*>(y.data + image * y.batch + d * y.axis[0] +
                                            h * y.axis[1] + first * y.channel);
        args.out = turns_ ? sums : out;
        filter_channels(problem_, kernels_, pad, args, leaves_out, true);
        if (turns_)
          kernels_.store({sums, width, 1, width_.out, width, out, y.axis[2] / kElement,
                          y.channel / kElement, nullptr, Activation::none});
        interrupt_.work_done(worker, width_.out * width * problem_.terms());
      }
      c = first + width;
    }
  }

 private:
  static constexpr std::int64_t kElement = sizeof(T);

  // Vectors of a block, if there are so many to do: whole tiles of the kernel.
  std::int64_t block_of(std::int64_t left) const {
    const std::int64_t lanes = kernels_.lanes,
                       most = vecs_of_block(problem_, kernels_.channel_vecs, lanes, kElement);
    // Weights of many terms stay near.
    if (problem_.terms() > kMostChannelChain) return 1;
    std::int64_t vecs = std::min({left, most, problem_.groups / lanes});
    if (turns_)
      vecs = std::min({vecs, kMostTurnedVecs, kMostRowBytes / (lanes * width_.out * kElement)});
    if (vecs < 2) return 1;
    return kernels_.channel_vecs > 2 && vecs < kernels_.channel_vecs ? 2 : vecs / 2 * 2;
  }

  const Problem& problem_;
  const Axis& depth_;
  const Axis& height_;
  const Axis& width_;
  const ChannelTiling& tiling_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  const bool leaves_out_;
  const bool turns_;
  const ChannelScratch layout_;
  Interrupt& interrupt_;
  const WeightRows<T> w_;
};

}  // namespace

bool suits_channel_lanes(const Problem& problem, std::int64_t most_columns) {
  // Integers are activated when they are converted, which needs another way out.
  const bool finished = is_float(problem.compute) || problem.activation == Activation::none;
  return problem.axis[2].kernel <= kMostChannelChain && problem.terms() <= kMostTerms && finished &&
         problem.axis[2].interleave == 1 && padded_columns(problem.axis[2]) <= most_columns &&
         same_storage(problem.y_type, problem.compute);
}

bool channels_leave_out_border(const Problem& problem) {
  const auto& [depth, height, width] = problem.axis;
  const bool rolls = depth.kernel * height.kernel == 3 && width.kernel == 3;
  return !rolls && leaves_out_border(problem);
}

std::int64_t rows_of_run(const Problem& problem) {
  const std::int64_t rows = problem.axis[0].kernel * problem.axis[1].kernel;
  const std::int64_t most = std::max<std::int64_t>(kMostChannelChain / problem.axis[2].kernel, 1);
  return divide_up(rows, divide_up(rows, most));
}

std::int64_t padded_columns(const Axis& width) { return width.seen_by(width.out) + 1; }

void list_columns(const Problem& problem, std::int64_t pitch, std::int64_t* column) {
  const Axis& width = problem.axis[2];
  const std::int64_t count = padded_columns(width) - 1;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t source = source_index(problem.border, width, i - width.lo);
    column[i] = source < 0 ? kFillRow : source * pitch;
  }
  column[count] = kFillRow;
}

void list_rows(const Problem& problem, std::int64_t slice_pitch, std::int64_t row_pitch,
               std::int64_t d, std::int64_t h, std::int64_t* row) {
  const auto& [depth, height, width] = problem.axis;
  for (std::int64_t i = 0; i < depth.kernel; ++i) {
    const std::int64_t slice =
        source_index(problem.border, depth, d * depth.stride - depth.lo + i * depth.dilation);
    for (std::int64_t j = 0; j < height.kernel; ++j) {
      const std::int64_t source =
          source_index(problem.border, height, h * height.stride - height.lo + j * height.dilation);
      *row++ = slice < 0 || source < 0 ? kFillRow : slice * slice_pitch + source * row_pitch;
    }
  }
}

bool channels_lie_side_by_side(const Problem& problem, DType type, const Tensor& tensor) {
  const std::int64_t element = size_of(problem.compute);
  return same_storage(type, problem.compute) && tensor.part == 0 && tensor.channel == element &&
         tensor.axis[0] % element == 0 && tensor.axis[1] % element == 0 &&
         tensor.axis[2] % element == 0;
}

bool takes_channels(const Problem& problem, const Tensor& y, std::int64_t lanes) {
  const std::int64_t element = size_of(problem.compute);
  return channels_lie_side_by_side(problem, problem.y_type, y) ||
         (row_bytes(problem, lanes, element) > 0 && y.part == 0 &&
          same_storage(problem.y_type, problem.compute) && y.axis[2] == element &&
          y.channel % element == 0 && y.axis[0] % element == 0 && y.axis[1] % element == 0);
}

bool filters_channels(const Problem& problem, const Tensor& x) {
  return problem.in_channels == 1 && problem.out_channels == 1 &&
         suits_channel_lanes(problem, kMostTableColumns) &&
         channels_lie_side_by_side(problem, problem.x_type, x);
}

ChannelTiling channel_tiling(const Problem& problem, const Tensor& x, const Machine& machine) {
  ChannelTiling tiling;
  if (problem.groups < machine.lanes || !filters_channels(problem, x)) return tiling;
  const std::int64_t all_rows = problem.axis[0].out * problem.axis[1].out;
  const std::int64_t row_macs = problem.axis[2].out * problem.groups * problem.terms();
  // Enough for every thread, but not so few rows that weights are packed too often. Several blocks
  // of channels find the rows in L2 that the first has read.
  std::int64_t rows = all_rows;
  const auto& [depth, height, width] = problem.axis;
  const std::int64_t vecs =
      vecs_of_block(problem, machine.channel_vecs, machine.lanes, machine.element);
  if (problem.groups > machine.lanes * vecs) {
    const std::int64_t row_bytes = width.in * problem.groups * machine.element * depth.kernel;
    const std::int64_t most = machine.l2 / 3 / (row_bytes * height.stride);
    rows = std::min(rows, std::max({most, 4 * height.kernel, divide_up(kTaskMacs, row_macs)}));
  }
  if (machine.threads > 1) {
    const std::int64_t bands =
        divide_up(4 * machine.threads, std::max<std::int64_t>(problem.batch, 1));
    rows = std::min(rows, std::max(divide_up(all_rows, bands), divide_up(kTaskMacs, row_macs)));
  }
  tiling.rows = rows;
  tiling.tasks = problem.batch * divide_up(all_rows, rows);
  return tiling;
}

std::int64_t channel_scratch_bytes(const Problem& problem, const Machine& machine) {
  const std::int64_t vecs =
      vecs_of_block(problem, machine.channel_vecs, machine.lanes, machine.element);
  return ChannelScratch(problem, vecs * machine.lanes, machine.element).end +
         row_bytes(problem, machine.lanes, machine.element);
}

ChannelScratch::ChannelScratch(const Problem& problem, std::int64_t width, std::int64_t element,
                               std::int64_t at) {
  constexpr std::int64_t kOffset = sizeof(std::int64_t);
  weights = at;
  fill = weights + round_to_line(problem.terms() * width * element);
  column = fill + round_to_line(width * element);
  row = column + round_to_line(padded_columns(problem.axis[2]) * kOffset);
  const std::int64_t rows = problem.axis[0].kernel * problem.axis[1].kernel;
  order = row + round_to_line(rows * kOffset);
  end = order + round_to_line(rows * std::int64_t{sizeof(std::int32_t)});
}

template <class T>
void run_channels(const Problem& problem, const ChannelTiling& tiling, const KernelTable& kernels,
                  const Operands& operands, char* scratch, std::int64_t scratch_each, int workers,
                  Interrupt& interrupt) {
  ChannelRun<T> run(problem, tiling, kernels, operands, scratch, scratch_each, interrupt);
  parallel_for(tiling.tasks, workers,
               [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
}

#define FASTCONV_INSTANTIATE(T)                                                           \
  template void run_channels<T>(const Problem&, const ChannelTiling&, const KernelTable&, \
                                const Operands&, char*, std::int64_t, int, Interrupt&);
FASTCONV_INSTANTIATE(float)
FASTCONV_INSTANTIATE(double)
FASTCONV_INSTANTIATE(std::int32_t)
FASTCONV_INSTANTIATE(std::int64_t)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
