// Groups of few channels, channels last, and depthwise layers of few channels
// (kernels/group_lanes.hpp):
//
//   for each task (some rows of one image, some blocks of groups)             in parallel
//     stage its input, where it is not read in place
//     for each block of groups, as many as fill a vector
//       for each output row: multiply, store
//
// Fewer channels than lanes are staged, so that a vector holds several pixels, whose outputs lie
// one after the other as well:
//
//   3 channels, 16 lanes     a0 b0 c0  a1 b1 c1  a2 b2 c2  a3 b3 c3  a4 b4 c4  .
//
// With a stride the columns of a row are staged by phase, so that such pixels are neighbours.
#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

#include "algorithms/candidates.hpp"
#include "algorithms/channels.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/border.hpp"
#include "core/rounding.hpp"
#include "pack/convert.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostTableColumns = 1 << 16;
constexpr std::int64_t kTaskMacs = 128 << 10;

const char* accepts(const Problem& problem) {
  if (problem.complex) return "complex numbers";
  if (!is_float(problem.compute)) return "integers";
  if (problem.groups == 1) return "one group";
  if (problem.in_channels > kMostGroupChannels || problem.out_channels > kMostGroupChannels)
    return "a group has more than eight channels or filters";
  if (problem.taps() > kMostChannelChain) return "the kernel is too large for one chain";
  if (problem.axis[2].interleave != 1) return "interleaved channels";
  if (padded_columns(problem.axis[2]) > kMostTableColumns) return "the rows are too long";
  return nullptr;
}

bool suits(const Problem& problem, const Tensor& x) {
  return x.part == 0 && x.channel == size_of(problem.x_type);
}

// Sums that each input is multiplied into: the kernel has so many or more.
int sums_of(const Problem& problem) {
  const int filters = static_cast<int>(problem.out_channels);
  return filters <= 4 ? filters : filters <= 6 ? 6 : 8;
}

// How channels lie in vectors.
struct GroupLayout {
  std::int64_t lanes;
  std::int64_t in, out;  // channels of all groups, of one pixel
  bool in_place;
  std::int64_t pixels = 1;  // of a vector
  std::int64_t pitch;       // staged: from one pixel to the next
  std::int64_t groups;      // of a block
  std::int64_t blocks;
  int sums;
  std::int64_t rounds;

  GroupLayout(const Problem& problem, bool reads_in_place, std::int64_t lanes_)
      : lanes(lanes_),
        in(problem.groups * problem.in_channels),
        out(problem.groups * problem.out_channels),
        in_place(reads_in_place && in >= lanes),
        groups(std::min(lanes / problem.in_channels, problem.groups)),
        blocks(divide_up(problem.groups, groups)),
        sums(sums_of(problem)),
        rounds(divide_up(problem.in_channels, problem.out_channels)) {
    if (!in_place && blocks == 1)
      pixels = std::clamp<std::int64_t>(lanes / in, 1, problem.axis[2].out);
    // A vector of one pixel is a cache line, or half.
    pitch = pixels == 1 ? round_up(in, lanes) : in;
  }

  std::int64_t first_group(std::int64_t block) const { return block * groups; }
  // The vector of the last block ends where the channels do.
  std::int64_t first_channel(const Problem& problem, std::int64_t block) const {
    const std::int64_t first = first_group(block) * problem.in_channels;
    return in_place ? std::min(first, in - lanes) : first;
  }
  std::int64_t groups_of(const Problem& problem, std::int64_t block) const {
    return std::min(groups, problem.groups - first_group(block));
  }
  // Of a block, and of all pixels of a vector.
  std::int64_t out_channels(const Problem& problem, std::int64_t block) const {
    return pixels * groups_of(problem, block) * problem.out_channels;
  }
  std::int64_t out_vectors(const Problem& problem) const {
    return divide_up(out_channels(problem, 0), lanes);
  }
  std::int64_t route_elements(const Problem& problem) const {
    return out_vectors(problem) * rounds * sums * lanes;
  }
  std::int64_t block_weights(const Problem& problem) const { return problem.taps() * sums * lanes; }
  // The lane of channel c of a group of a pixel.
  std::int64_t lane(const Problem& problem, std::int64_t block, std::int64_t pixel,
                    std::int64_t group, std::int64_t c) const {
    const std::int64_t shift =
        first_group(block) * problem.in_channels - first_channel(problem, block);
    return shift + pixel * pitch + group * problem.in_channels + c;
  }

  bool operator==(const GroupLayout& other) const = default;
};

// Runs of columns as they are staged: from the input, or of the fill value.
struct StagedRun {
  std::int64_t to;      // position
  std::int64_t source;  // column, or -1
  std::int64_t count;
};

struct StagedRows {
  std::vector<StagedRun> runs;
  std::vector<std::int64_t> position;  // of each padded column
  std::int64_t positions = 0;          // of a row

  StagedRows(const Problem& problem, const GroupLayout& layout) {
    if (layout.in_place) return;
    const Axis& width = problem.axis[2];
    const std::int64_t count = padded_columns(width) - 1, stride = width.stride;
    const std::int64_t phase = divide_up(count, stride);
    positions = phase * stride;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t to = i % stride * phase + i / stride;
      const std::int64_t source = source_index(problem.border, width, i - width.lo);
      position.push_back(to);
      if (!runs.empty()) {
        StagedRun& last = runs.back();
        const bool follows = last.source < 0 ? source < 0 : source == last.source + last.count;
        if (to == last.to + last.count && follows) {
          ++last.count;
          continue;
        }
      }
      runs.push_back({to, source, 1});
    }
  }
};

struct Range {
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  std::int64_t end = 0;

  void add(std::int64_t i) {
    first = std::min(first, i);
    end = std::max(end, i + 1);
  }
  std::int64_t count() const { return std::max<std::int64_t>(end - first, 0); }
};

// Slices or rows of the input that outputs [first, end) of an axis see.
Range seen_inputs(const Problem& problem, const Axis& axis, std::int64_t first, std::int64_t end) {
  Range seen;
  for (std::int64_t o = first; o < end; ++o) {
    for (std::int64_t k = 0; k < axis.kernel; ++k) {
      const std::int64_t source =
          source_index(problem.border, axis, o * axis.stride - axis.lo + k * axis.dilation);
      if (source >= 0) seen.add(source);
    }
  }
  if (seen.count() == 0) seen.first = seen.end = 0;
  return seen;
}

// Output rows of a task, those of all slices counted, and the input that they see.
struct RowBand {
  std::int64_t first, end;
  Range slices, rows;

  RowBand(const Problem& problem, std::int64_t first_row, std::int64_t end_row)
      : first(first_row), end(end_row) {
    const auto& [depth, height, width] = problem.axis;
    const std::int64_t d = first / height.out, last = (end - 1) / height.out;
    slices = seen_inputs(problem, depth, d, last + 1);
    const bool one = d == last;
    rows = seen_inputs(problem, height, one ? first % height.out : 0,
                       one ? (end - 1) % height.out + 1 : height.out);
  }
};

struct GroupTasks {
  std::int64_t rows = 1;    // of a band
  std::int64_t bands = 1;   // of an image
  std::int64_t blocks = 1;  // of a task
  std::int64_t parts = 1;   // of all blocks
};

template <class T>
class GroupRun {
 public:
  GroupRun(const Problem& problem, const GroupLayout& layout, const StagedRows& staged,
           const GroupTasks& tasks, const std::vector<std::int32_t>* routes,
           std::int64_t stage_elements, const KernelTable& table, const Operands& operands,
           char* scratch, Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        staged_(staged),
        tasks_(tasks),
        routes_(routes),
        stage_elements_(stage_elements),
        table_(table),
        kernels_(table.set<T>()),
        operands_(operands),
        scratch_(scratch),
        interrupt_(interrupt),
        leaves_out_(leaves_out_border(problem)),
        direct_(stores_itself()),
        store_(problem, table, operands.y, operands.bias) {}

  static std::int64_t scratch_bytes(const Problem& problem, const GroupLayout& layout,
                                    std::int64_t stage_elements) {
    return Pad(problem, layout, stage_elements, nullptr).bytes;
  }

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    const std::int64_t part = index % tasks_.parts;
    index /= tasks_.parts;
    const std::int64_t image = index / tasks_.bands;
    const std::int64_t first_row = index % tasks_.bands * tasks_.rows;
    const RowBand band(
        problem_, first_row,
        std::min(first_row + tasks_.rows, problem_.axis[0].out * problem_.axis[1].out));
    const Pad pad(problem_, layout_, stage_elements_,
                  scratch_ + worker * scratch_bytes(problem_, layout_, stage_elements_));
    std::fill_n(pad.fill, layout_.lanes, scalar_as<T>(problem_.fill[0]));
    list_columns(pad);
    if (!layout_.in_place) stage(band, image, pad.staged);
    const std::int64_t first = part * tasks_.blocks;
    const std::int64_t end = std::min(first + tasks_.blocks, layout_.blocks);
    for (std::int64_t block = first; block < end; ++block) {
      run_block(band, image, block, pad, worker);
      if (interrupt_.stop_requested()) return;
    }
  }

 private:
  struct Pad {
    T* fill = nullptr;
    T* limits = nullptr;
    T* bias = nullptr;
    T* sums = nullptr;
    T* convert = nullptr;
    T* staged = nullptr;
    std::int64_t* column = nullptr;
    std::int64_t* row = nullptr;
    std::int32_t* order = nullptr;
    std::int64_t bytes = 0;

    Pad(const Problem& problem, const GroupLayout& layout, std::int64_t stage_elements, char* at) {
      const auto take = [&](auto*& to, std::int64_t count) {
        if (at != nullptr) to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(at + bytes);
        bytes += round_to_line(count * std::int64_t{sizeof *to});
      };
      const std::int64_t kernel_rows = problem.axis[0].kernel * problem.axis[1].kernel;
      const std::int64_t outs = layout.out_vectors(problem) * layout.lanes;
      take(fill, layout.lanes);
      take(limits, 2 * layout.lanes);
      take(bias, outs);
      take(sums, problem.axis[2].out * outs);
      take(convert, problem.axis[2].out * outs);
      take(staged, stage_elements);
      take(column, padded_columns(problem.axis[2]));
      take(row, kernel_rows);
      take(order, kernel_rows);
    }
  };

  // Bias and a clamp are the kernel's.
  bool stores_itself() const {
    const Tensor& y = operands_.y;
    return channels_lie_side_by_side(problem_, problem_.y_type, y) &&
           (problem_.activation == Activation::none || problem_.activation == Activation::relu ||
            problem_.activation == Activation::relu6) &&
           (layout_.pixels == 1 || y.axis[2] == layout_.out * kElement);
  }

  void list_columns(const Pad& pad) const {
    if (layout_.in_place)
      return fastconv::list_columns(problem_, operands_.x.axis[2] / kElement, pad.column);
    const std::int64_t count = padded_columns(problem_.axis[2]) - 1;
    for (std::int64_t i = 0; i < count; ++i)
      pad.column[i] = staged_.position[static_cast<std::size_t>(i)] * layout_.pitch;
    pad.column[count] = kFillRow;
  }

  void stage(const RowBand& band, std::int64_t image, T* to) const {
    const Tensor& x = operands_.x;
    const std::int64_t in = layout_.in, pitch = layout_.pitch, type = size_of(problem_.x_type);
    const bool dense = x.axis[2] == in * type && pitch == in;
    const bool plain = same_storage(problem_.x_type, problem_.compute);
    const T fill = scalar_as<T>(problem_.fill[0]);
    for (std::int64_t d = band.slices.first; d < band.slices.end; ++d) {
      for (std::int64_t h = band.rows.first; h < band.rows.end; ++h) {
        const char* const from = x.data + image * x.batch + d * x.axis[0] + h * x.axis[1];
        for (const StagedRun& run : staged_.runs) {
          T* const at = to + run.to * pitch;
          const char* const source = from + run.source * x.axis[2];
          if (run.source < 0) {
            std::fill_n(at, run.count * pitch, fill);
          } else if (dense && (run.count > 1 || !plain)) {
            read_row<T>(table_, problem_.x_type, source, type, at, 1, run.count * in);
          } else if (plain) {
            for (std::int64_t i = 0; i < run.count; ++i)
              copy_few(reinterpret_cast<const T*>(source + i * x.axis[2]), in, at + i * pitch);
          } else {
            for (std::int64_t i = 0; i < run.count; ++i)
              read_row<T>(table_, problem_.x_type, source + i * x.axis[2], type, at + i * pitch, 1,
                          in);
          }
        }
        to += staged_.positions * pitch;
      }
    }
  }

  // Of so few elements a call of the C library's costs more. Two copies may overlap.
  static void copy_few(const T* from, std::int64_t count, T* to) {
    constexpr std::int64_t kMany = 8, kSome = 4;
    const auto copy = [&]<std::int64_t Count>() {
      for (std::int64_t i = 0; i + Count < count; i += Count)
        std::memcpy(to + i, from + i, Count * sizeof(T));
      std::memcpy(to + count - Count, from + count - Count, Count * sizeof(T));
    };
    if (count >= kMany) return copy.template operator()<kMany>();
    if (count >= kSome) return copy.template operator()<kSome>();
    for (std::int64_t i = 0; i < count; ++i) to[i] = from[i];
  }

  void run_block(const RowBand& band, std::int64_t image, std::int64_t block, const Pad& pad,
                 int worker) {
    const auto& [depth, height, width] = problem_.axis;
    const Tensor& x = operands_.x;
    const Tensor& y = operands_.y;
    const std::int64_t first_out = layout_.first_group(block) * problem_.out_channels;
    const std::int64_t outs = layout_.out_channels(problem_, block);
    const std::int64_t channels = outs / layout_.pixels;  // of one pixel
    const T* const packed = static_cast<const T*>(operands_.packed);
    const bool finite = packed[layout_.blocks * layout_.block_weights(problem_) + block] == T(0);
    const bool leaves_out = leaves_out_ && finite;

    GroupArgs<T> group{};
    ChannelArgs<T>& args = group.pixels;
    args.row = pad.row;
    args.column = pad.column;
    args.kernel_columns = width.kernel;
    args.dilation = width.dilation;
    args.stride = width.stride * layout_.pixels;
    args.seen = width.lo;
    args.seen_end = leaves_out && layout_.in_place ? width.lo + width.in : kAllColumns;
    args.fill = pad.fill;
    args.w = packed + block * layout_.block_weights(problem_);
    args.bias = pad.bias;
    args.vecs = 1;
    args.column_pitch = layout_.in_place ? 0 : layout_.pitch;
    args.pixels = width.out / layout_.pixels;
    args.out_pixel = direct_ ? y.axis[2] / kElement * layout_.pixels : outs;
    group.border = pad.column + padded_columns(width) - 1;
    group.sums = layout_.sums;
    group.route = routes_[block + 1 < layout_.blocks ? 0 : 1].data();
    group.rounds = layout_.rounds;
    group.out_channels = outs;
    group.low = pad.limits;
    begin(pad, first_out, channels, outs);

    std::int64_t slice_pitch = x.axis[0] / kElement, row_pitch = x.axis[1] / kElement;
    const T* from = reinterpret_cast<const T*>(x.data + image * x.batch);
    if (!layout_.in_place) {
      row_pitch = staged_.positions * layout_.pitch;
      slice_pitch = row_pitch * band.rows.count();
      from = pad.staged - (band.slices.first * slice_pitch + band.rows.first * row_pitch);
    }
    args.x = from + layout_.first_channel(problem_, block);
    const std::int64_t kernel_rows = depth.kernel * height.kernel;
    for (std::int64_t r = band.first; r < band.end; ++r) {
      const std::int64_t d = r / height.out, h = r % height.out;
      list_rows(problem_, slice_pitch, row_pitch, d, h, pad.row);
      std::int64_t kept = 0;
      for (std::int64_t u = 0; u < kernel_rows; ++u) {
        if (leaves_out && pad.row[u] == kFillRow) continue;
        pad.row[kept] = pad.row[u];
        pad.order[kept++] = static_cast<std::int32_t>(u);
      }
      args.kernel_rows = kept;
      args.order = kept < kernel_rows ? pad.order : nullptr;
      args.out =
          direct_ ? reinterpret_cast<T*>(y.data + image * y.batch + d * y.axis[0] + h * y.axis[1]) +
                        first_out
                  : pad.sums;
      kernels_.group_lanes(group);
      finish_row(group);
      if (!direct_) {
        const BoxAccumulators<T> acc{pad.sums, channels, 1, width.out, width.out};
        store_.store({image, 0, {d, h, 0}, {1, 1, width.out}}, first_out, channels, acc,
                     pad.convert);
      }
      interrupt_.work_done(worker, width.out * channels * problem_.terms());
      if (interrupt_.stop_requested()) return;
    }
  }

  // Pixels that do not fill a vector: one that overlaps.
  void finish_row(const GroupArgs<T>& all) const {
    const Axis& width = problem_.axis[2];
    if (width.out % layout_.pixels == 0) return;
    const std::int64_t first = width.out - layout_.pixels;
    GroupArgs<T> last = all;
    last.pixels.pixels = 1;
    last.pixels.column += first * width.stride;
    last.pixels.out += first * (all.pixels.out_pixel / layout_.pixels);
    kernels_.group_lanes(last);
  }

  // What sums start from and end at: of the rest, BoxStore takes care.
  void begin(const Pad& pad, std::int64_t first_out, std::int64_t channels,
             std::int64_t outs) const {
    const std::int64_t lanes = layout_.lanes;
    const bool clamps = direct_ && problem_.activation != Activation::none;
    constexpr T kInfinity = std::numeric_limits<T>::infinity();
    std::fill_n(pad.limits, lanes, clamps ? T(0) : -kInfinity);
    std::fill_n(pad.limits + lanes, lanes,
                clamps && problem_.activation == Activation::relu6 ? T(6) : kInfinity);
    std::fill_n(pad.bias, layout_.out_vectors(problem_) * lanes, T(0));
    if (!direct_ || operands_.bias == nullptr) return;
    const T* const bias = static_cast<const T*>(operands_.bias) + first_out;
    for (std::int64_t i = 0; i < outs; i += channels) std::copy_n(bias, channels, pad.bias + i);
  }

  static constexpr std::int64_t kElement = sizeof(T);

  const Problem& problem_;
  const GroupLayout& layout_;
  const StagedRows& staged_;
  const GroupTasks& tasks_;
  const std::vector<std::int32_t>* const routes_;
  const std::int64_t stage_elements_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  Interrupt& interrupt_;
  const bool leaves_out_;
  const bool direct_;
  const BoxStore<T> store_;
};

class GroupExecution final : public Execution {
 public:
  GroupExecution(const Problem& problem, const Tensor& x, const KernelTable& kernels,
                 const Machine& machine)
      : problem_(problem),
        kernels_(kernels),
        layout_(problem, channels_lie_side_by_side(problem, problem.x_type, x), machine.lanes),
        staged_(problem, layout_) {
    routes_[0] = make_route(0);
    routes_[1] = make_route(layout_.blocks - 1);
    deal_out(machine);
  }

  std::int64_t tasks() const override { return problem_.batch * tasks_.bands * tasks_.parts; }

  // And of each block, whether its weights are finite: 0.
  std::int64_t packed_bytes() const override {
    return layout_.blocks * (layout_.block_weights(problem_) + 1) * size_of(problem_.compute);
  }

  bool packs_like(const Execution& other) const override {
    return layout_ == static_cast<const GroupExecution&>(other).layout_;
  }

  bool takes_flagged() const override { return false; }

  bool pack(const Weights& w, void* to, int workers) const override {
    as_float([&](auto zero) {
      using T = decltype(zero);
      T* const packed = static_cast<T*>(to);
      parallel_for(layout_.blocks, workers,
                   [&](std::int64_t block, int) noexcept { pack_block<T>(w, block, packed); });
    });
    return true;
  }

  std::int64_t scratch_bytes() const override {
    std::int64_t bytes = 0;
    as_float([&](auto zero) {
      bytes = GroupRun<decltype(zero)>::scratch_bytes(problem_, layout_, stage_elements_);
    });
    return bytes;
  }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    as_float([&](auto zero) {
      GroupRun<decltype(zero)> run(problem_, layout_, staged_, tasks_, routes_, stage_elements_,
                                   kernels_, operands, scratch, interrupt);
      parallel_for(tasks(), workers,
                   [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
    });
  }

 private:
  template <class F>
  void as_float(const F& f) const {
    if (problem_.compute == Compute::f64) {
      f(double{});
    } else {
      f(float{});
    }
  }

  // Output k of a group takes from the lane of channel c what sum (k - c) modulo the filters has:
  // see pack_block.
  std::vector<std::int32_t> make_route(std::int64_t block) const {
    const std::int64_t filters = problem_.out_channels, lanes = layout_.lanes;
    std::vector<std::int32_t> route(static_cast<std::size_t>(layout_.route_elements(problem_)),
                                    static_cast<std::int32_t>(lanes));
    const std::int64_t groups = layout_.groups_of(problem_, block);
    for (std::int64_t o = 0; o < layout_.out_channels(problem_, block); ++o) {
      const std::int64_t k = o % filters, group = o / filters % groups;
      const std::int64_t pixel = o / filters / groups;
      for (std::int64_t c = 0; c < problem_.in_channels; ++c) {
        const std::int64_t round = c / filters, sum = ((k - c) % filters + filters) % filters;
        const std::int64_t place =
            ((o / lanes * layout_.rounds + round) * layout_.sums + sum) * lanes + o % lanes;
        route[static_cast<std::size_t>(place)] =
            static_cast<std::int32_t>(layout_.lane(problem_, block, pixel, group, c));
      }
    }
    return route;
  }

  // [tap][sum][lane]: sum j of channel c is filter c + j, modulo the filters.
  template <class T>
  void pack_block(const Weights& w, std::int64_t block, T* packed) const {
    const std::int64_t taps = problem_.taps(), lanes = layout_.lanes, sums = layout_.sums;
    const std::int64_t filters = problem_.out_channels, groups = layout_.groups_of(problem_, block);
    T* const to = packed + block * layout_.block_weights(problem_);
    std::fill_n(to, layout_.block_weights(problem_), T(0));
    T row[kMostGroupChannels * kMostChannelChain];
    T others = T(0);
    for (std::int64_t g = 0; g < groups; ++g) {
      for (std::int64_t k = 0; k < filters; ++k) {
        const std::int64_t channel = (layout_.first_group(block) + g) * filters + k;
        gather_weights<T>(kernels_, problem_, w, channel, 0, problem_.terms(), row);
        for (std::int64_t c = 0; c < problem_.in_channels; ++c) {
          const std::int64_t sum = ((k - c) % filters + filters) % filters;
          T* const at = to + sum * lanes + layout_.lane(problem_, block, 0, g, c);
          for (std::int64_t t = 0; t < taps; ++t) {
            const T weight = row[c * taps + t];
            others += weight * T(0);
            for (std::int64_t p = 0; p < layout_.pixels; ++p)
              at[t * sums * lanes + p * layout_.pitch] = weight;
          }
        }
      }
    }
    packed[layout_.blocks * layout_.block_weights(problem_) + block] = others;
  }

  void deal_out(const Machine& machine) {
    const std::int64_t all_rows = problem_.axis[0].out * problem_.axis[1].out;
    tasks_ = {std::max<std::int64_t>(all_rows, 1), 1, layout_.blocks, 1};
    if (machine.threads > 1) {
      const std::int64_t row_macs =
          std::max<std::int64_t>(problem_.axis[2].out * layout_.out * problem_.terms(), 1);
      const std::int64_t enough =
          divide_up(4 * machine.threads, std::max<std::int64_t>(problem_.batch, 1));
      tasks_.rows =
          std::min(all_rows, std::max(divide_up(all_rows, enough), divide_up(kTaskMacs, row_macs)));
      const std::int64_t parts = divide_up(enough, divide_up(all_rows, tasks_.rows));
      if (layout_.in_place && row_macs * tasks_.rows > kTaskMacs)
        tasks_.blocks = divide_up(layout_.blocks, std::min(parts, layout_.blocks));
    }
    // The blocks of a band find its input in L2.
    if (layout_.in_place && layout_.blocks > 1)
      tasks_.rows = std::min(tasks_.rows, rows_in_cache(machine));
    if (!layout_.in_place) {
      while (tasks_.rows > 1 && staged_elements() * machine.element > machine.l2 / 2)
        tasks_.rows = divide_up(tasks_.rows, 2);
      stage_elements_ = staged_elements() + machine.lanes;
    }
    tasks_.bands = divide_up(all_rows, tasks_.rows);
    tasks_.parts = divide_up(layout_.blocks, tasks_.blocks);
  }

  std::int64_t rows_in_cache(const Machine& machine) const {
    const std::int64_t kernel = (problem_.axis[1].kernel - 1) * problem_.axis[1].dilation + 1;
    const std::int64_t row = problem_.axis[2].in * layout_.in * machine.element;
    const std::int64_t most =
        machine.l2 / 3 / std::max<std::int64_t>(row * problem_.axis[0].kernel, 1);
    return std::max((most - kernel) / problem_.axis[1].stride, kernel);
  }

  // Of the largest band.
  std::int64_t staged_elements() const {
    const std::int64_t all_rows = problem_.axis[0].out * problem_.axis[1].out;
    std::int64_t most = 0;
    for (std::int64_t first = 0; first < all_rows; first += tasks_.rows) {
      const RowBand band(problem_, first, std::min(first + tasks_.rows, all_rows));
      most = std::max(most, band.slices.count() * band.rows.count());
    }
    return most * staged_.positions * layout_.pitch;
  }

  const Problem problem_;
  const KernelTable& kernels_;
  const GroupLayout layout_;
  const StagedRows staged_;
  GroupTasks tasks_;
  std::int64_t stage_elements_ = 0;
  std::vector<std::int32_t> routes_[2];  // of all blocks but the last, and of it
};

// Vector operations a term and pixel of one group.
double cost(const Problem& problem, const Machine& machine) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  if (!machine.routes || problem.in_channels > machine.lanes) return kNever;
  // Depthwise layers are filtered where they lie.
  const bool depthwise = problem.in_channels == 1 && problem.out_channels == 1;
  if (depthwise && problem.groups >= machine.lanes) return kNever;
  const GroupLayout layout(problem, same_storage(problem.x_type, problem.compute), machine.lanes);
  const double taps = static_cast<double>(problem.taps());
  const double sums = layout.sums, groups = static_cast<double>(problem.groups);
  const double outs = static_cast<double>(layout.out_vectors(problem));
  const double width = static_cast<double>(problem.axis[2].out);
  const double vectors =
      static_cast<double>(layout.blocks * divide_up(problem.axis[2].out, layout.pixels)) / width;
  // Several pixels of a vector lie across lines, and each load of theirs has one product.
  double product = layout.sums >= 6 ? 0.9 : layout.sums == 2 ? 1.3 : 1.1;
  if (layout.sums == 1) product = layout.pixels > 1 ? 3.7 : 1.25;
  const double store = outs * (4 + 1.5 * static_cast<double>(layout.rounds) * sums);
  const double pixels = static_cast<double>(problem.out_pixels());
  double staging = 0;
  if (!layout.in_place) {
    const Axis& row = problem.axis[2];
    const double positions = static_cast<double>(problem.axis[0].in * problem.axis[1].in * row.in);
    staging = positions / pixels * static_cast<double>(layout.in) *
              (row.stride == 1 && same_storage(problem.x_type, problem.compute) ? 0.15 : 1.0);
  }
  const double terms = static_cast<double>(problem.terms());
  const double all = vectors * (taps * sums * product + store) + staging;
  // A kernel call, and its tables.
  const double rows = 100.0 * static_cast<double>(layout.blocks) / width;
  double packing = 0;
  if (!problem.keeps_weights) packing = 2 * static_cast<double>(problem.out_channels) / pixels;
  return (all + rows) / (groups * terms) + packing;
}

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& x,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const GroupExecution>(problem, x, kernels, machine);
}

}  // namespace

const Candidate groups = {"direct", "group_lanes", accepts, cost, nullptr, execute, suits};

}  // namespace fastconv
