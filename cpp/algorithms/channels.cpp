#include "algorithms/channels.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "algorithms/candidates.hpp"
#include "algorithms/plane_costs.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/border.hpp"
#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kTaskMacs = 128 << 10;
constexpr std::int64_t kMostTurnedVecs = 4;
constexpr std::int64_t kMostVecs = 16;
constexpr std::int64_t kMostLanes = 16;
constexpr std::int64_t kTile = 6;               // pixels, of tiles of one vector
constexpr std::int64_t kWeightBytes = 8 << 10;  // of a block, a quarter of L1
constexpr std::int64_t kStridedWeightBytes = 13 << 10;
constexpr std::int64_t kFar = 24;                    // times what L2 holds: of an image, in and out
constexpr std::int64_t kMostTerms = 4096;            // whose weights L2 holds
constexpr std::int64_t kMostTableColumns = 1 << 16;  // of the table
constexpr std::int64_t kMostRowBytes = 128 << 10;    // of sums that are turned

bool is_narrow(const Problem& problem, std::int64_t lanes) { return problem.groups < lanes; }

// Sums of one output row, where they may have to be turned: in pictures with channels first whose
// memory has them last. 0 where not even a vector of channels fits.
std::int64_t row_bytes(const Problem& problem, std::int64_t lanes, std::int64_t element) {
  const std::int64_t bytes = round_to_line(problem.axis[2].out * lanes * element);
  if (bytes > kMostRowBytes) return 0;
  if (problem.channels_last) return is_narrow(problem, lanes) ? bytes : 0;
  return std::min(kMostTurnedVecs * bytes, kMostRowBytes);
}

// Vectors of channels of a block. Narrow tiles would read and write but a line of each pixel in a
// pass, so that they go over all channels that have weights in L1, a tile at a time: with a stride,
// where weights are not shared with staged rows, of more (AVX2, 128 channels of 200 x 200, 5 x 5,
// stride 2: 5.4 ms with 8 KB, 4.7; 672 of 14 x 14, stride 1: 187 us, 243).
std::int64_t vecs_of_block(const Problem& problem, std::int64_t tile_vecs, std::int64_t lanes,
                           std::int64_t element) {
  if (tile_vecs > 2) return tile_vecs;
  const std::int64_t most = problem.axis[2].stride > 1 ? kStridedWeightBytes : kWeightBytes;
  const std::int64_t fit = most / (problem.terms() * lanes * element);
  return std::clamp<std::int64_t>(fit > kWideVecs ? fit / kWideVecs * kWideVecs : fit / 2 * 2, 2,
                                  kMostVecs);
}

std::int64_t whole_tiles(std::int64_t vecs, std::int64_t tile_vecs) {
  if (vecs < 2) return 1;
  return tile_vecs > 2 && vecs < tile_vecs ? 2 : vecs / 2 * 2;
}

// Of the next block, if there are so many to do: whole tiles of the kernel.
std::int64_t block_vecs(const Problem& problem, const ChannelTiling& tiling, std::int64_t left,
                        std::int64_t tile_vecs, std::int64_t lanes, std::int64_t element) {
  // Weights of many terms stay near.
  if (problem.terms() > kMostChannelChain) return 1;
  std::int64_t most = vecs_of_block(problem, tile_vecs, lanes, element);
  if (tiling.is_staged()) most = std::min(most, tiling.most_vecs);
  return whole_tiles(std::min({left, most, problem.groups / lanes}), tile_vecs);
}

// Of a staged row, and room for what is written behind the last of few channels.
std::int64_t staged_pixels(const Problem& problem) { return padded_columns(problem.axis[2]); }

// A block's input with its border beside it, where a kernel reads each row many times: rows that
// output rows share stay where they are, each in the place of one that is seen no more.
//
//   rows of 17 channels     a0 .. q0 | a1 .. q1 | ...          vectors cross lines
//   staged, first block     0 .. 0 | a0 .. p0 | a1 .. p1 | ... | 0 .. 0
//
// Of fewer channels than lanes some lanes are idle.
template <class T>
class ChannelStage {
 public:
  ChannelStage(const Problem& problem, const ChannelTiling& tiling, const KernelSet<T>& kernels,
               const Tensor& x, char* at)
      : problem_(problem),
        tiling_(tiling),
        kernels_(kernels),
        x_(x),
        columns_(padded_columns(problem.axis[2]) - 1),
        left_(std::clamp<std::int64_t>(problem.axis[2].lo, 0, columns_)),
        first_(std::max<std::int64_t>(-problem.axis[2].lo, 0)),
        count_(std::clamp<std::int64_t>(problem.axis[2].in - first_, 0, columns_ - left_)),
        held_(reinterpret_cast<std::int64_t*>(at)),
        rows_(reinterpret_cast<T*>(at + held_bytes(tiling))) {}

  static std::int64_t held_bytes(const ChannelTiling& tiling) {
    return round_to_line(tiling.slices_held * tiling.rows_held *
                         static_cast<std::int64_t>(sizeof(std::int64_t)));
  }

  const T* rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }

  // Channels from those of the row that begins at x on. Borders stay from one block to the next.
  void begin(const char* x, std::int64_t channels, std::int64_t width, T fill) {
    from_ = x;
    channels_ = channels;
    if (width != width_) {
      width_ = width;
      fill_ = fill;
      make_borders();
    }
    std::fill_n(held_, tiling_.slices_held * tiling_.rows_held, std::int64_t{-1});
    slice_ = -1;
  }

  // Elements from one staged row to the next.
  std::int64_t pitch() const { return staged_pixels(problem_) * width_; }

  // What output row h sees of a slice, one row after the other.
  void reach(std::int64_t slice, std::int64_t h) {
    const Axis& height = problem_.axis[1];
    if (slice != slice_) {
      slice_ = slice;
      reached_ = 0;
    }
    const TapSpan seen = taps_inside(height, h);
    const std::int64_t first = h * height.stride - height.lo;
    for (std::int64_t i = std::max(reached_, first + seen.first); i < first + seen.last; ++i) {
      stage(from_ + slice * x_.axis[0] + i * x_.axis[1], rows_ + i % tiling_.rows_held * pitch());
      reached_ = i + 1;
    }
  }

  // What the output row sees, and where that is.
  void list(std::int64_t d, std::int64_t h, std::int64_t* row) {
    const auto& [depth, height, width] = problem_.axis;
    for (std::int64_t i = 0; i < depth.kernel; ++i) {
      const std::int64_t slice = d * depth.stride - depth.lo + i * depth.dilation;
      const bool slice_seen = slice >= 0 && slice < depth.in;
      const std::int64_t place = slice_seen ? slice % tiling_.slices_held * tiling_.rows_held : 0;
      for (std::int64_t j = 0; j < height.kernel; ++j) {
        const std::int64_t source = h * height.stride - height.lo + j * height.dilation;
        const bool seen = slice_seen && source >= 0 && source < height.in;
        *row++ = seen ? offset(place, slice, source) : kFillRow;
      }
    }
  }

 private:
  std::int64_t offset(std::int64_t place, std::int64_t slice, std::int64_t source) {
    const bool all = tiling_.rows_held == problem_.axis[1].in;  // no division
    place += all ? source : source % tiling_.rows_held;
    const std::int64_t at = place * pitch();
    const std::int64_t id = slice * problem_.axis[1].in + source;
    if (held_[place] != id) {
      held_[place] = id;
      stage(from_ + slice * x_.axis[0] + source * x_.axis[1], rows_ + at);
    }
    return at;
  }

  // Staged columns [left_, left_ + count_) are input.
  void make_borders() const {
    for (std::int64_t i = 0; i < tiling_.slices_held * tiling_.rows_held; ++i) {
      T* const row = rows_ + i * pitch();
      std::fill_n(row, left_ * width_, fill_);
      std::fill_n(row + (left_ + count_) * width_, (columns_ - left_ - count_) * width_, fill_);
    }
  }

  void stage(const char* from, T* to) const {
    PlaneStageArgs<T> args{};
    args.from = reinterpret_cast<const T*>(from + first_ * x_.axis[2]);
    args.from_pitch = x_.axis[2] / std::int64_t{sizeof(T)};
    args.rows = count_;
    args.columns = channels_;
    args.stride = 1;
    args.fill = fill_;
    args.to = to + left_ * width_;
    args.to_pitch = width_;
    kernels_.plane_stage(args);
  }

  const Problem& problem_;
  const ChannelTiling& tiling_;
  const KernelSet<T>& kernels_;
  const Tensor& x_;
  const std::int64_t columns_, left_, first_, count_;
  std::int64_t* const held_;
  T* const rows_;
  const char* from_ = nullptr;
  std::int64_t channels_ = 0;
  std::int64_t width_ = 0;  // lanes of them
  T fill_{};
  std::int64_t slice_ = -1;
  std::int64_t reached_ = 0;  // rows of it before this one are staged, or are not seen any more
};

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
        stores_(is_narrow(problem, kernels_.lanes) ||
                !channels_lie_side_by_side(problem, problem.y_type, operands.y)),
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
    ChannelStage<T> stage(problem_, tiling_, kernels_, x,
                          at + layout_.end + row_bytes(problem_, kernels_.lanes, kElement));
    const bool staged = std::is_floating_point_v<T> && tiling_.is_staged();
    const bool windows = has_row_windows(problem_);
    if (!staged) {
      list_columns(problem_, x.axis[2] / kElement, pad.column);
      if (windows) list_padded_rows(problem_, x.axis[1] / kElement, height_.in, pad.padded);
    }
    const std::int64_t all_rows = depth_.out * height_.out;
    const std::int64_t bands = divide_up(all_rows, tiling_.rows);
    const std::int64_t image = index / bands;
    const std::int64_t first_row = index % bands * tiling_.rows;
    const std::int64_t end_row = std::min(first_row + tiling_.rows, all_rows);

    ChannelArgs<T> args = channel_args<T>(problem_, pad);
    args.column_pitch = x.axis[2] / kElement;
    args.out_pixel = y.axis[2] / kElement;
    args.x_is_far = tiling_.x_is_far;
    const std::int64_t lanes = kernels_.lanes;
    const std::int64_t most = vecs_of_block(problem_, kernels_.channel_vecs, lanes, kElement);
    std::fill_n(pad.fill, most * lanes, scalar_as<T>(problem_.fill[0]));
    T bias[kMostLanes] = {};
    for (std::int64_t c = 0; c < problem_.groups;) {
      args.vecs = block_of(divide_up(problem_.groups - c, lanes));
      const std::int64_t width = args.vecs * lanes;
      if (stores_) args.out_pixel = width;
      const std::int64_t channels = std::min(width, problem_.groups);
      const std::int64_t first = std::min(c, problem_.groups - channels);
      kernels_.pack({w_.row(first), w_.pitch, channels, problem_.terms(), pad.weights, width});
      const bool leaves_out =
          leaves_out_ && kernels_.are_finite(pad.weights, problem_.terms() * width);
      args.seen = width_.lo;
      args.seen_end = leaves_out ? width_.lo + width_.in : kAllColumns;
      if (operands_.bias != nullptr) {
        args.bias = static_cast<const T*>(operands_.bias) + first;
        if (staged && channels < width)
          args.bias = std::copy_n(args.bias, channels, bias) - channels;
      }
      const char* const from = x.data + image * x.batch + first * kElement;
      args.x = reinterpret_cast<const T*>(from);
      if (staged) {
        stage.begin(from, channels, width, *pad.fill);
        args.x = stage.rows();
        args.column_pitch = width;
        args.inside = 0;
        args.inside_end = stage.columns();
        for (std::int64_t i = 0; i < stage.columns(); ++i) pad.column[i] = i * width;
        pad.column[stage.columns()] = kFillRow;
        if (windows) list_padded_rows(problem_, stage.pitch(), tiling_.rows_held, pad.padded);
      }
      for (std::int64_t r = first_row; r < end_row; ++r) {
        if (interrupt_.stop_requested()) return;
        const std::int64_t d = r / height_.out, h = r % height_.out;
        if (windows) {
          if (staged) {
            stage.reach(d * depth_.stride, h);
          } else {
            args.x = reinterpret_cast<const T*>(from + d * depth_.stride * x.axis[0]);
          }
        } else if (staged) {
          stage.list(d, h, pad.row);
        } else {
          list_rows(problem_, x.axis[0] / kElement, x.axis[1] / kElement, d, h, pad.row);
        }
        T* const out = reinterpret_cast<T*>(y.data + image * y.batch + d * y.axis[0] +
                                            h * y.axis[1] + first * y.channel);
        args.out = stores_ ? sums : out;
        if (windows) {
          filter_row_window(problem_, kernels_, pad, args, h, leaves_out);
        } else {
          filter_channels(problem_, kernels_, pad, args, leaves_out, !staged);
        }
        if (stores_)
          kernels_.store({sums, width, 1, width_.out, channels, out, y.axis[2] / kElement,
                          y.channel / kElement, nullptr, Activation::none});
        interrupt_.work_done(worker, width_.out * width * problem_.terms());
      }
      c = first + width;
    }
  }

 private:
  static constexpr std::int64_t kElement = sizeof(T);

  std::int64_t block_of(std::int64_t left) const {
    const std::int64_t vecs =
        block_vecs(problem_, tiling_, left, kernels_.channel_vecs, kernels_.lanes, kElement);
    if (!stores_ || vecs < 2) return vecs;
    return whole_tiles(
        std::min({vecs, kMostTurnedVecs, kMostRowBytes / (kernels_.lanes * width_.out * kElement)}),
        kernels_.channel_vecs);
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
  const bool stores_;  // sums of a row, once it is done
  const ChannelScratch layout_;
  Interrupt& interrupt_;
  const WeightRows<T> w_;
};

// Places of rows that are staged, with what says which they are.
std::int64_t staged_bytes(const Problem& problem, const ChannelTiling& tiling,
                          const Machine& machine) {
  return ChannelStage<float>::held_bytes(tiling) +
         round_to_line(tiling.slices_held * tiling.rows_held * staged_pixels(problem) *
                       tiling.most_vecs * machine.lanes * machine.element);
}

// Where each column that is staged serves many products: to stage it takes as long as some ten of
// them gain where vectors cross no lines and tiles look up no borders. Kernels that roll look up
// few.
bool staging_pays(const Problem& problem, const Machine& machine) {
  constexpr double kLeastProducts = 10;
  if (!is_float(problem.compute) || problem.border != Border::constant || !machine.flat)
    return false;
  const auto& [depth, height, width] = problem.axis;
  const bool rolls = height.kernel == 3 && width.kernel == 3 && width.stride <= 2 &&
                     width.dilation == 1 && machine.channel_vecs > 2;
  // Of dilated kernels tiles that see a border leave out more columns, being shorter.
  if (depth.kernel > 1 && width.dilation > 1) return false;
  // Volumes of channels that fill whole vectors, or of many, roll by slices as fast.
  const std::int64_t vecs = problem.groups % machine.lanes == 0 ? 2 : 4;
  if (rolls && (depth.kernel == 1 || problem.groups >= vecs * machine.lanes)) return false;
  const double products = static_cast<double>(problem.out_pixels() * problem.terms()) *
                          (leaves_out_border(problem) ? seen_share(problem) : 1);
  const double staged = static_cast<double>(depth.in * height.in * padded_columns(width));
  return products > kLeastProducts * staged;
}

// Slices stay where they are while rows of the next are staged. Of a few vectors at a time, as
// their lines are neighbours (672 channels of 14 x 14, 5x5: one by one 108 us, four 87).
void hold_rows(const Problem& problem, const Machine& machine, ChannelTiling& tiling) {
  const auto& [depth, height, width] = problem.axis;
  ChannelTiling staged;
  staged.slices_held = std::min(depth.in, depth.span());
  staged.rows_held =
      depth.kernel > 1 && depth.out > 1 ? height.in : std::min(height.in, height.span());
  const bool one = problem.terms() > kMostChannelChain;
  staged.most_vecs =
      one ? 1 : vecs_of_block(problem, machine.channel_vecs, machine.lanes, machine.element);
  if (4 * staged_bytes(problem, staged, machine) <= 3 * machine.l2) tiling = staged;
}

}  // namespace

bool runs_strips(const Problem& problem, const Machine& machine) {
  const Axis& width = problem.axis[2];
  return machine.channel_vecs > 2 && machine.element == 4 && width.stride == 1 &&
         width.dilation == 1 && width.kernel > 1;
}

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

namespace {

bool can_filter_few_channels(const Problem& problem, const Machine& machine) {
  if (!problem.channels_last || machine.group_sums == 0 || !is_narrow(problem, machine.lanes) ||
      problem.in_channels != 1 || problem.out_channels != 1 || problem.groups == 1 ||
      problem.border != Border::constant || !same_storage(problem.x_type, problem.compute) ||
      !suits_channel_lanes(problem, kMostTableColumns) ||
      row_bytes(problem, machine.lanes, machine.element) == 0)
    return false;
  ChannelTiling tiling;
  hold_rows(problem, machine, tiling);
  return tiling.is_staged();
}

// Of an image; fitted to 200 random layers of up to fifteen channels (docs/tuning.md).
double cycles_of_few_channels(const Problem& problem, const Machine& machine) {
  const auto& [depth, height, width] = problem.axis;
  const double pixels = static_cast<double>(problem.out_pixels());
  const double rows = pixels / static_cast<double>(width.out);
  const double kernel_rows = static_cast<double>(depth.kernel * height.kernel);
  const double staged = static_cast<double>(depth.in * height.in * padded_columns(width));
  const bool strips = runs_strips(problem, machine);
  double product = strips ? 1.14 : 1.2;
  if (width.stride > 1) product = 1.9;
  // Products of a tile of few pixels wait for each other.
  const std::int64_t tile = std::min<std::int64_t>(width.out, strips ? kLongStrip : kTile);
  product *= std::max(1.0, 4.0 / static_cast<double>(tile));
  double seen = 1;
  if (leaves_out_border(problem)) {
    Problem of_rows = problem;
    if (strips) of_rows.axis[2] = Axis{};
    seen = seen_share(of_rows);
  }
  // Rows that leave L1 are written and read once more.
  ChannelTiling tiling;
  hold_rows(problem, machine, tiling);
  const double column = staged_bytes(problem, tiling, machine) > machine.l1 ? 5 : 3;
  constexpr double kCall = 500;
  return pixels * (static_cast<double>(problem.terms()) * seen * product + 11) +
         rows * (58 + 17 * kernel_rows) + column * staged + kCall;
}

}  // namespace

double cost_of_few_channels(const Problem& problem, const Machine& machine) {
  if (!can_filter_few_channels(problem, machine)) return std::numeric_limits<double>::infinity();
  // Of estimates of other kernels; with a stride these are the better ones.
  const double cycles_of_one = problem.axis[2].stride > 1 ? 1.0 : 1.2;
  return cycles_of_few_channels(problem, machine) /
         (cycles_of_one *
          static_cast<double>(problem.groups * problem.terms() * problem.out_pixels()));
}

bool filters_few_channels(const Problem& problem, const Machine& machine) {
  return can_filter_few_channels(problem, machine) &&
         cycles_of_few_channels(problem, machine) < 0.75 * cycles_of_planes(problem, machine);
}

ChannelTiling channel_tiling(const Problem& problem, const Tensor& x, const Machine& machine) {
  ChannelTiling tiling;
  const bool narrow = is_narrow(problem, machine.lanes);
  if ((narrow && !filters_few_channels(problem, machine)) || !filters_channels(problem, x))
    return tiling;
  const std::int64_t all_rows = problem.axis[0].out * problem.axis[1].out;
  const std::int64_t row_macs = problem.axis[2].out * problem.groups * problem.terms();
  // Enough for every thread, but not so few rows that weights are packed too often. Several blocks
  // of channels find the rows in L2 that the first has read.
  std::int64_t rows = all_rows;
  const auto& [depth, height, width] = problem.axis;
  if (narrow || staging_pays(problem, machine)) hold_rows(problem, machine, tiling);
  if (narrow && !tiling.is_staged()) return tiling;
  tiling.x_is_far = height.kernel > 1 && image_bytes(problem, machine.element) > kFar * machine.l2;
  const std::int64_t all_vecs = divide_up(problem.groups, machine.lanes);
  if (block_vecs(problem, tiling, all_vecs, machine.channel_vecs, machine.lanes, machine.element) <
      all_vecs) {
    const std::int64_t row_bytes = width.in * problem.groups * machine.element * depth.kernel;
    const std::int64_t most = machine.l2 / 3 / (row_bytes * height.stride);
    // Of those that are staged, bands stage some twice.
    const std::int64_t least = tiling.is_staged() ? 4 * height.kernel : 1;
    rows = std::min(rows, std::max({most, least, divide_up(kTaskMacs, row_macs)}));
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

std::int64_t channel_scratch_bytes(const Problem& problem, const ChannelTiling& tiling,
                                   const Machine& machine) {
  const std::int64_t vecs =
      vecs_of_block(problem, machine.channel_vecs, machine.lanes, machine.element);
  return ChannelScratch(problem, vecs * machine.lanes, machine.element).end +
         row_bytes(problem, machine.lanes, machine.element) +
         staged_bytes(problem, tiling, machine);
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
  padded = order + round_to_line(rows * std::int64_t{sizeof(std::int32_t)});
  const Axis& height = problem.axis[1];
  const std::int64_t listed = has_row_windows(problem) ? height.seen_by(height.out) : 0;
  end = padded + round_to_line(listed * kOffset);
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
FASTCONV_FOR_EACH_COMPUTE_TYPE(FASTCONV_INSTANTIATE)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
