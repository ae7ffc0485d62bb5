// Depthwise layers of few channels, and groups of few, channels last (kernels/flat_lanes.hpp; how a
// layer is cut: flat_layout.hpp):
//
//   for each task (some rows of one image, or a block of columns of them)         in parallel
//     stage the input, or find the rows where they lie: the ends of rows, and what is between them
//     for each four output rows, or parts of rows where there are fewer: multiply, store
#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <type_traits>

#include "algorithms/candidates.hpp"
#include "algorithms/channels.hpp"
#include "algorithms/flat_layout.hpp"
#include "algorithms/flat_pixels.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/border.hpp"
#include "core/rounding.hpp"
#include "pack/convert.hpp"
#include "pack/weights.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostPhases = 32;  // of KernelSet::plane_stage

// Elements [0, count) over and over.
template <class T>
void repeat(T* row, std::int64_t count, std::int64_t end) {
  for (std::int64_t i = count; i < end; ++i) row[i] = row[i - count];
}

// Whether plane_stage parts channels by vectors.
template <class T>
bool is_dealt(const Problem& problem, const KernelSet<T>& kernels) {
  constexpr std::int64_t kMostDealt = 4, kLeastBytes = 32;
  return problem.in_channels == 2 ||
         (problem.in_channels <= kMostDealt &&
          kernels.lanes * static_cast<std::int64_t>(sizeof(T)) >= kLeastBytes);
}

// Pixels that follow each other, one channel of each group after the other.
template <class T>
void spread_pixels(const Problem& problem, const KernelSet<T>& kernels, const T* from,
                   std::int64_t count, T* to, std::int64_t row) {
  const std::int64_t channels = problem.in_channels, filters = problem.out_channels;
  const std::int64_t groups = count * problem.groups;
  if (filters == 1 && channels == 2) {
    kernels.every_second(from, to, groups);
    return kernels.every_second(from + 1, to + row, groups);
  }
  if (filters == 1 && is_dealt(problem, kernels))
    return kernels.plane_stage({from, 0, 1, channels * groups, channels, 0, row, ~0U, T(0), to, 0});
  if (filters == 1)
    return kernels.store(
        {from, channels, 1, groups, channels, to, 1, row, nullptr, Activation::none});
  for (std::int64_t c = 0; c < channels; ++c)
    repeat_channels(from + c, channels, groups, filters, to + c * row);
}

// Parts of a worker's scratch.
template <class T>
struct FlatPad {
  T* fill = nullptr;  // a row
  T* bias = nullptr;
  const T** place = nullptr;     // of each row that the task sees, of the first channels
  std::int64_t* slot = nullptr;  // that the first output sees through each kernel row
  const T** row = nullptr;
  const T** w = nullptr;
  std::int64_t* column = nullptr;
  T* converted = nullptr;
  T* sums = nullptr;
  T* convert = nullptr;
  T* staged = nullptr;
  std::int32_t* route = nullptr;
  std::int64_t bytes = 0;

  FlatPad(const Problem& problem, const FlatLayout& layout, const KernelSet<T>& kernels, char* at) {
    const auto take = [&](auto*& to, std::int64_t count) {
      if (at != nullptr) to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(at + bytes);
      bytes += round_to_line(count * std::int64_t{sizeof *to});
    };
    const auto& [depth, height, width] = problem.axis;
    const std::int64_t room = kernels.flat_room, lanes = kernels.lanes;
    const std::int64_t rows = problem.in_channels * depth.kernel * height.kernel;
    const bool converts = !same_storage(problem.x_type, problem.compute);
    take(fill, layout.has_fill ? layout.axis[2].slots(layout.columns) * layout.pixel + room : 0);
    take(bias, layout.w_pitch);
    take(place, layout.most_slots);
    take(slot, depth.kernel * height.kernel);
    take(row, rows * kFlatRows);
    take(w, rows);
    take(column, width.kernel);
    const std::int64_t seen = width.seen_by(layout.columns + 2) + 1;
    const bool spreads = layout.spreads(problem);
    take(converted, converts || spreads ? (std::min(seen, width.in) + 1) * layout.in + room : 0);
    take(sums, kFlatRows * layout.columns * layout.out);
    take(convert, layout.columns * layout.out);
    take(staged, layout.in_place(problem)
                     ? 0
                     : layout.channels * layout.most_slots * layout.row_pitch + 2 * room);
    take(route, layout.step > 0 ? problem.in_channels * lanes : 0);
  }
};

template <class T>
class FlatRun {
 public:
  FlatRun(const Problem& problem, const FlatLayout& layout, const KernelTable& table,
          const Operands& operands, char* scratch, std::int64_t scratch_each, Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        table_(table),
        kernels_(table.set<T>()),
        operands_(operands),
        scratch_(scratch),
        scratch_each_(scratch_each),
        interrupt_(interrupt),
        plain_(same_storage(problem.x_type, problem.compute)),
        direct_(stores_itself()),
        shared_(layout.shares),
        fill_(scalar_as<T>(problem.fill[0])),
        store_(problem, table, operands.y, operands.bias) {
    const T* const packed = static_cast<const T*>(operands.packed);
    leaves_out_ = leaves_out_border(problem) && packed[problem.terms() * layout.w_pitch] == T(0);
  }

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    const FlatPad<T> pad(problem_, layout_, kernels_, scratch_ + worker * scratch_each_);
    const std::int64_t block = index % layout_.blocks;
    index /= layout_.blocks;
    const std::int64_t band = index % layout_.bands, image = index / layout_.bands;
    FlatBox box = layout_.box(problem_, band, block);
    // Columns beside the border, those between, and those behind.
    const std::int64_t end = box.first[2] + box.count[2];
    for (const std::int64_t next : {layout_.inner, layout_.inner_end, end}) {
      box.count[2] = std::min(next, end) - box.first[2];
      if (box.count[2] <= 0) continue;
      run_columns(box, image, band, pad, worker);
      if (interrupt_.stop_requested()) return;
      box.first[2] += box.count[2];
    }
  }

 private:
  static constexpr std::int64_t kElement = sizeof(T);
  static constexpr std::int64_t kFlatRows = fastconv::kFlatRows;

  struct Output {
    std::int64_t slice, row, column;  // the last from that of the box on
  };

  // Some columns of a band.
  void run_columns(const FlatBox& box, std::int64_t image, std::int64_t band, const FlatPad<T>& pad,
                   int worker) const {
    begin(box, pad);
    stage(box, image, pad);

    const auto& [depth, height, width] = problem_.axis;
    const std::int64_t first_row = layout_.first_row(problem_, band);
    const std::int64_t rows = layout_.first_row(problem_, band + 1) - first_row;
    // Of fewer rows than a tile has, parts.
    const std::int64_t least =
        layout_.step > 0 ? 1
                         : std::max<std::int64_t>(divide_up(kernels_.flat_room, layout_.out), 1);
    std::int64_t part = box.count[2];
    if (rows < kFlatRows) part = std::min(part, std::max(divide_up(part * rows, kFlatRows), least));
    const std::int64_t parts = divide_up(box.count[2], part), items = rows * parts;
    const std::int64_t each = shared_ && depth.out > 1 ? height.out : items;
    for (std::int64_t start = 0; start < items; start += each) {
      for (std::int64_t i = 0; i < each; i += kFlatRows) {
        // The last rows once more, rather than fewer.
        const std::int64_t first = start + std::max<std::int64_t>(std::min(i, each - kFlatRows), 0);
        Output to[kFlatRows];
        for (std::int64_t r = 0; r < kFlatRows; ++r) {
          const std::int64_t item = std::min(first + r, items - 1), row = first_row + item / parts;
          to[r] = {row / height.out, row % height.out,
                   std::min(item % parts * part, box.count[2] - part)};
        }
        run_rows(box, image, to, part, std::min(items - first, kFlatRows), pad);
        interrupt_.work_done(worker, kFlatRows * part * layout_.out * problem_.terms());
        if (interrupt_.stop_requested()) return;
      }
    }
  }

  bool clamps() const {
    return problem_.activation == Activation::none || problem_.activation == Activation::relu ||
           problem_.activation == Activation::relu6;
  }

  bool stores_itself() const {
    return channels_lie_side_by_side(problem_, problem_.y_type, operands_.y) && clamps() &&
           operands_.y.axis[2] == layout_.out * kElement;
  }

  void begin(const FlatBox& box, const FlatPad<T>& pad) const {
    const Axis& width = problem_.axis[2];
    for (std::int64_t v = 0; v < width.kernel; ++v)
      pad.column[v] = layout_.axis[2].slot(v, box.count[2]) * layout_.pixel;
    const FlatAxis &slices = layout_.axis[0], &rows = layout_.axis[1];
    std::int64_t* slot = pad.slot;
    for (std::int64_t i = 0; i < problem_.axis[0].kernel; ++i)
      for (std::int64_t j = 0; j < problem_.axis[1].kernel; ++j)
        *slot++ =
            slices.slot(i, box.count[0]) * rows.slots(box.count[1]) + rows.slot(j, box.count[1]);
    if (layout_.has_fill)
      std::fill_n(pad.fill,
                  layout_.axis[2].slots(box.count[2]) * layout_.pixel + kernels_.flat_room, fill_);
    if (layout_.step > 0) list_route(pad.route);
    const T* const bias = direct_ ? static_cast<const T*>(operands_.bias) : nullptr;
    if (bias == nullptr) {
      std::fill_n(pad.bias, layout_.w_pitch, T(0));
    } else {
      std::copy_n(bias, layout_.out, pad.bias);
      repeat(pad.bias, layout_.out, layout_.w_pitch);
    }
  }

  // Lanes of the inputs that a step's outputs see, channel by channel.
  void list_route(std::int32_t* to) const {
    const std::int64_t lanes = kernels_.lanes, all = problem_.in_channels * lanes;
    std::int32_t input = 0;
    for (std::int64_t i = 0; i < lanes; input += static_cast<std::int32_t>(problem_.in_channels))
      for (std::int64_t k = 0; k < problem_.out_channels && i < lanes; ++k) to[i++] = input;
    for (std::int64_t i = lanes; i < all; ++i) to[i] = to[i - lanes] + 1;
  }

  bool reads_in_place(const FlatBox& box) const {
    return box.first[2] >= layout_.inner && box.first[2] + box.count[2] <= layout_.inner_end &&
           box.count[2] >= layout_.least_inner;
  }

  // Finds each row that is seen, and copies it where it cannot be read as it lies.
  void stage(const FlatBox& box, std::int64_t image, const FlatPad<T>& pad) const {
    const Tensor& x = operands_.x;
    const T** place = pad.place;
    T* to = pad.staged;
    const auto source = [&](int a, std::int64_t slot) {
      const Axis& axis = problem_.axis[static_cast<std::size_t>(a)];
      const FlatAxis::Phase* phase = layout_.axis[a].phases.data();
      for (; slot >= box.count[a] + phase->reach; ++phase) slot -= box.count[a] + phase->reach;
      return source_index(problem_.border, axis,
                          (box.first[a] + slot) * axis.stride + phase->residue - axis.lo);
    };
    const bool in_place = reads_in_place(box);
    const std::int64_t slices = layout_.axis[0].slots(box.count[0]);
    const std::int64_t rows = layout_.axis[1].slots(box.count[1]);
    for (std::int64_t i = 0; i < slices; ++i) {
      const std::int64_t d = source(0, i);
      for (std::int64_t j = 0; j < rows; ++j, ++place) {
        const std::int64_t h = d < 0 ? -1 : source(1, j);
        if (h < 0) {
          *place = pad.fill;
          continue;
        }
        const char* const from = x.data + image * x.batch + d * x.axis[0] + h * x.axis[1];
        if (in_place) {
          *place =
              reinterpret_cast<const T*>(from) + (box.first[2] - problem_.axis[2].lo) * layout_.in;
          continue;
        }
        *place = to;
        stage_row(box, from, pad, to);
        to += layout_.channels * layout_.row_pitch;
      }
    }
  }

  // Of all channels of a group, one after the other.
  void stage_row(const FlatBox& box, const char* row, const FlatPad<T>& pad, T* to) const {
    const Axis& width = problem_.axis[2];
    const FlatAxis& seen = layout_.axis[2];
    const std::int64_t s = width.stride;
    for (const FlatAxis::Phase& phase : seen.phases) {
      const std::int64_t positions = box.count[2] + phase.reach;
      const std::int64_t start = box.first[2] * s + phase.residue - width.lo;
      const std::int64_t inside =
          std::clamp<std::int64_t>(divide_up(std::max<std::int64_t>(-start, 0), s), 0, positions);
      const std::int64_t end = std::clamp<std::int64_t>(
          divide_up(std::max<std::int64_t>(width.in - start, 0), s), inside, positions);
      // In order, since what is written may go on behind a pixel.
      for (std::int64_t i = 0; i < positions; ++i) {
        if (i == inside && end > inside) {
          copy(row, start + inside * s, s, end - inside, pad, to + inside * layout_.pixel);
          i = end;
          if (i == positions) break;
        }
        const std::int64_t source = source_index(problem_.border, width, start + i * s);
        if (source >= 0) {
          copy(row, source, 1, 1, pad, to + i * layout_.pixel);
        } else {
          for (std::int64_t c = 0; c < layout_.channels; ++c)
            std::fill_n(to + c * layout_.row_pitch + i * layout_.pixel, layout_.pixel, fill_);
        }
      }
      to += positions * layout_.pixel;
    }
  }

  // Pixels `first`, `first` + `step`, ... of a row.
  void copy(const char* row, std::int64_t first, std::int64_t step, std::int64_t count,
            const FlatPad<T>& pad, T* to) const {
    const std::int64_t pixel = operands_.x.axis[2], in = layout_.in;
    const char* from = row + first * pixel;
    std::int64_t pitch = step * pixel;
    if (!plain_) {
      const std::int64_t type = size_of(problem_.x_type);
      const std::int64_t pixels = (count - 1) * step + 1;
      if (pixel == in * type) {
        read_row<T>(table_, problem_.x_type, from, type, pad.converted, 1, pixels * in);
        pitch = step * in * kElement;
      } else {
        for (std::int64_t i = 0; i < count; ++i)
          read_row<T>(table_, problem_.x_type, from + i * pitch, type, pad.converted + i * in, 1,
                      in);
        pitch = in * kElement;
      }
      from = reinterpret_cast<const char*>(pad.converted);
    }
    const bool spreads = layout_.spreads(problem_);
    // KernelSet::store reads whole vectors, and behind x there may be nothing.
    const bool reads_on =
        plain_ && spreads && problem_.out_channels == 1 && !is_dealt(problem_, kernels_);
    const std::int64_t bytes = in * kElement;
    const std::int64_t safe = count - divide_up(kernels_.lanes, in);
    if (reads_on && pitch == bytes && safe > 0) {
      spread_pixels(problem_, kernels_, reinterpret_cast<const T*>(from), safe, to,
                    layout_.row_pitch);
      from += safe * bytes;
      to += safe * layout_.out;
      count -= safe;
    }
    if (!spreads || reads_on || (pitch != bytes && count > 1)) {
      T* const dense = spreads ? pad.converted : to;
      copy_pixels(from, pitch, count, bytes, reinterpret_cast<char*>(dense));
      from = reinterpret_cast<const char*>(dense);
    }
    if (spreads)
      spread_pixels(problem_, kernels_, reinterpret_cast<const T*>(from), count, to,
                    layout_.row_pitch);
  }

  void run_rows(const FlatBox& box, std::int64_t image, const Output (&to)[kFlatRows],
                std::int64_t pixels, std::int64_t count, const FlatPad<T>& pad) const {
    const auto& [depth, height, width] = problem_.axis;
    const std::int64_t pitch = layout_.axis[1].slots(box.count[1]);
    const std::int64_t kernel_rows = depth.kernel * height.kernel;
    std::int64_t kept = 0, shared = 0;
    std::int64_t slot[kFlatRows];
    for (int r = 0; r < kFlatRows; ++r)
      slot[r] = (to[r].slice - box.first[0]) * pitch + to[r].row - box.first[1];
    // So many kernel rows from one on of a channel, or none where all lie in the border.
    const auto list = [&](std::int64_t c, std::int64_t row, std::int64_t count) {
      const std::int64_t before = kept;
      bool seen = !leaves_out_;
      const T* w = static_cast<const T*>(operands_.packed) +
                   (c * kernel_rows + row) * width.kernel * layout_.w_pitch;
      for (std::int64_t i = 0; i < count; ++i, ++kept, w += width.kernel * layout_.w_pitch) {
        const T* const* const place = pad.place + pad.slot[row + i];
        for (int r = 0; r < kFlatRows; ++r) {
          const T* at = place[slot[r]];
          seen = seen || at != pad.fill;
          if (at != pad.fill) at += c * layout_.row_pitch;
          pad.row[kept * kFlatRows + r] = at + to[r].column * layout_.pixel;
        }
        pad.w[kept] = w;
      }
      if (!seen) kept = before;
    };
    const std::int64_t by_threes =
        shared_ ? height.kernel / kFlatShared * kFlatShared : std::int64_t{0};
    for (const bool is_shared : {true, false}) {
      const std::int64_t step = is_shared ? kFlatShared : 1;
      for (std::int64_t c = 0; c < problem_.in_channels; ++c)
        for (std::int64_t i = 0; i < depth.kernel; ++i)
          for (std::int64_t j = is_shared ? 0 : by_threes;
               j < (is_shared ? by_threes : height.kernel); j += step)
            list(c, i * height.kernel + j, step);
      if (is_shared) shared = kept;
    }
    constexpr T kInfinity = std::numeric_limits<T>::infinity();
    const bool clamp = direct_ && problem_.activation != Activation::none;
    const Tensor& y = operands_.y;
    T* out[kFlatRows];
    for (int r = 0; r < kFlatRows; ++r)
      out[r] = direct_ ? reinterpret_cast<T*>(y.data + image * y.batch + to[r].slice * y.axis[0] +
                                              to[r].row * y.axis[1]) +
                             (box.first[2] + to[r].column) * layout_.out
                       : pad.sums + r * pixels * layout_.out;
    const FlatArgs<T> args = {pad.row,
                              kept,
                              shared,
                              pad.w,
                              layout_.w_pitch,
                              pad.column,
                              width.kernel,
                              layout_.out,
                              pad.bias,
                              clamp ? T(0) : -kInfinity,
                              clamp && problem_.activation == Activation::relu6 ? T(6) : kInfinity,
                              out,
                              pixels * layout_.out,
                              pad.route,
                              pixels * layout_.in,
                              layout_.step * problem_.in_channels,
                              layout_.step * problem_.out_channels};
    (layout_.step > 0 ? kernels_.flat_groups : kernels_.flat_lanes)(args);
    if (direct_) return;
    for (std::int64_t r = 0; r < count; ++r)
      store_.store(
          {image, 0, {to[r].slice, to[r].row, box.first[2] + to[r].column}, {1, 1, pixels}}, 0,
          layout_.out, {out[r], layout_.out, 1, pixels, pixels}, pad.convert);
  }

  const Problem& problem_;
  const FlatLayout& layout_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  Interrupt& interrupt_;
  const bool plain_;
  const bool direct_;
  const bool shared_;
  bool leaves_out_;
  const T fill_;
  const BoxStore<T> store_;
};

template <class T>
class FlatExecution final : public Execution {
 public:
  FlatExecution(const Problem& problem, const Tensor& x, const KernelTable& kernels,
                const Machine& machine)
      : problem_(problem), kernels_(kernels), layout_(problem, x, room(), machine) {
    if (!flat_is_pointwise(problem) || !flat_is_one_row(problem, x, false)) return;
    row_ = flat_as_one_row(problem);
    Tensor pixels = x;
    pixels.axis[2] = layout_.in * size_of(problem.x_type);
    row_layout_.emplace(row_, pixels, room(), machine);
  }

  std::int64_t tasks() const override { return layout_.tasks(problem_); }

  std::int64_t packed_bytes() const override {
    return layout_.packed_elements(problem_) * std::int64_t{sizeof(T)};
  }

  bool packs_like(const Execution& other) const override {
    return layout_.w_pitch == static_cast<const FlatExecution&>(other).layout_.w_pitch;
  }

  bool takes_flagged() const override { return false; }

  bool pack(const Weights& w, void* to, int /*workers*/, Interrupt& /*interrupt*/) const override {
    const std::int64_t terms = problem_.terms(), out = layout_.out, pitch = layout_.w_pitch;
    T* const packed = static_cast<T*>(to);
    T row[kMostChannelChain];
    T zero = 0;  // or NaN
    if (terms <= kMostPhases && w.out == terms * kElement && is_dense(problem_, w)) {
      const T* const from = reinterpret_cast<const T*>(w.data);
      const KernelSet<T>& kernels = kernels_.set<T>();
      kernels.plane_stage({from, 0, 1, out * terms, terms, 0, pitch, ~0U, T(0), packed, 0});
      if (!kernels.are_finite(from, out * terms)) zero = std::numeric_limits<T>::quiet_NaN();
    } else {
      for (std::int64_t o = 0; o < out; ++o) {
        gather_weights<T>(kernels_, problem_, w, o, 0, terms, row);
        for (std::int64_t t = 0; t < terms; ++t) {
          packed[t * pitch + o] = row[t];
          zero += row[t] * T(0);
        }
      }
    }
    for (std::int64_t t = 0; t < terms; ++t) repeat(packed + t * pitch, out, pitch);
    packed[terms * pitch] = zero;
    return true;
  }

  std::int64_t scratch_bytes() const override {
    const std::int64_t bytes = FlatPad<T>(problem_, layout_, kernels_.set<T>(), nullptr).bytes;
    if (!row_layout_) return bytes;
    return std::max(bytes, FlatPad<T>(row_, *row_layout_, kernels_.set<T>(), nullptr).bytes);
  }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    if (!row_layout_ || !flat_is_one_row(problem_, operands.y, true))
      return run(problem_, layout_, operands, scratch, workers, interrupt);
    Operands rows = operands;
    rows.x.axis[2] = layout_.in * size_of(problem_.x_type);
    rows.y.axis[2] = layout_.out * size_of(problem_.y_type);
    run(row_, *row_layout_, rows, scratch, workers, interrupt);
  }

 private:
  static constexpr std::int64_t kElement = sizeof(T);

  std::int64_t room() const { return kernels_.set<T>().flat_room; }

  void run(const Problem& problem, const FlatLayout& layout, const Operands& operands,
           char* scratch, int workers, Interrupt& interrupt) const {
    FlatRun<T> run(problem, layout, kernels_, operands, scratch, scratch_bytes(), interrupt);
    parallel_for(layout.tasks(problem), workers,
                 [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
  }

  const Problem problem_;
  const KernelTable& kernels_;
  const FlatLayout layout_;
  // Of pointwise layers: all pixels of an image as one row.
  Problem row_;
  std::optional<FlatLayout> row_layout_;
};

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& x,
                                         const KernelTable& kernels, const Machine& machine) {
  if (problem.compute == Compute::f64)
    return std::make_unique<const FlatExecution<double>>(problem, x, kernels, machine);
  return std::make_unique<const FlatExecution<float>>(problem, x, kernels, machine);
}

}  // namespace

const Candidate flat = {
    Algorithm::direct, "flat_lanes",
    flat_accepts,      flat_cost,
    nullptr,           execute,
    flat_suits,        [](const Problem&, const Machine& machine) { return !machine.flat; }};

}  // namespace fastconv
