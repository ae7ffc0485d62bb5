// Direct convolution of small padded pictures, output channels in the lanes, without the products
// of taps that lie in the border (tap_layout.hpp):
//
//   for each task (image, group, box of pixels, range of panels)          in parallel
//     for each chunk of the reduction                                     usually one
//       stage the input that the box sees        [block of channels][position][channel]
//       for each panel of output channels
//         for each block of channels             its weights packed here, or by a plan
//           for each tap
//             multiply the pixels that see input through it               outer_product.hpp
//         store, once the last chunk is in
//
// A zero of the border times a weight that is infinite or NaN is NaN. So packing looks at the
// weights: where one of a block is not finite, its taps are multiplied with all pixels. Whether or
// not, sums are made of the same runs, so that nothing else changes.
#include <algorithm>
#include <memory>
#include <type_traits>

#include "algorithms/candidates.hpp"
#include "algorithms/costs.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"
#include "pack/convert.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

template <class T>
struct BlockOfWeights {
  const T* data;
  bool finite;
};

// Where packed weights lie, the marks of finite blocks behind them.
template <class T>
class PackedTaps {
 public:
  PackedTaps(const Problem& problem, const TapLayout& layout, const PanelShape& shape)
      : problem_(problem), layout_(layout), shape_(shape) {}

  std::int64_t bytes() const {
    return weight_bytes() + problem_.groups * shape_.panels() * layout_.blocks;
  }
  std::int64_t channels(std::int64_t block) const {
    return std::min(layout_.block, problem_.in_channels - block * layout_.block);
  }
  // Elements before a block.
  std::int64_t offset(std::int64_t group, std::int64_t panel, std::int64_t block) const {
    return (group * shape_.group_width() + panel * shape_.panel) * rows() +
           block * TapLayout::tap_rows(layout_.block) * problem_.taps() * shape_.width(panel);
  }
  // Bytes before its mark.
  std::int64_t mark(std::int64_t group, std::int64_t panel, std::int64_t block) const {
    return weight_bytes() + (group * shape_.panels() + panel) * layout_.blocks + block;
  }
  // True where all are finite, as integers are.
  bool pack(const KernelTable& kernels, const Weights& w, std::int64_t group, std::int64_t panel,
            std::int64_t block, T* to) const {
    const std::int64_t taps = problem_.taps();
    const auto& order = block + 1 < layout_.blocks ? layout_.order : layout_.last_order;
    return pack_panel_placed<T>(kernels, problem_, w, shape_, group, panel,
                                block * layout_.block * taps, channels(block) * taps, order.data(),
                                to);
  }

 private:
  // Of all blocks.
  std::int64_t rows() const {
    return ((layout_.blocks - 1) * TapLayout::tap_rows(layout_.block) +
            TapLayout::tap_rows(channels(layout_.blocks - 1))) *
           problem_.taps();
  }
  std::int64_t weight_bytes() const {
    return round_to_line(problem_.groups * shape_.group_width() * rows() * std::int64_t{sizeof(T)});
  }

  const Problem& problem_;
  const TapLayout& layout_;
  const PanelShape& shape_;
};

template <class T>
class TapRun {
 public:
  TapRun(const Problem& problem, const TapLayout& layout, const PanelShape& shape,
         const KernelTable& table, const Operands& operands, char* scratch, Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        shape_(shape),
        packed_(problem, layout, shape),
        table_(table),
        kernels_(table.set<T>()),
        operands_(operands),
        scratch_(scratch),
        interrupt_(interrupt),
        store_(problem, table, operands.y, operands.bias) {}

  static std::int64_t scratch_bytes(const Problem& problem, const TapLayout& layout,
                                    const PanelShape& shape) {
    return Pad(problem, layout, shape, nullptr).bytes;
  }

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    const PanelTasks::Task task = layout_.tasks.task(index);
    const TapBox& box = layout_.boxes[static_cast<std::size_t>(task.box % layout_.box_count())];
    Tile tile = box.tile;
    tile.group = task.box / layout_.box_count() % problem_.groups;
    tile.image = task.box / layout_.box_count() / problem_.groups;
    if (operands_.flagged != nullptr && !operands_.flagged->take(tile)) return;
    const Pad pad(problem_, layout_, shape_,
                  scratch_ + worker * scratch_bytes(problem_, layout_, shape_));
    for (std::int64_t first = 0; first < layout_.blocks; first += layout_.chunk) {
      const std::int64_t last = std::min(first + layout_.chunk, layout_.blocks);
      for (std::int64_t b = first; b < last; ++b)
        stage(box, tile, b, pad.staged + (b - first) * layout_.staged_block());
      for (std::int64_t p = task.first_panel; p < task.last_panel; ++p) {
        T* const acc = pad.acc + (layout_.chunks() == 1 ? 0 : p - task.first_panel) *
                                     layout_.most_pixels * shape_.panel;
        if (first == 0) std::fill_n(acc, box.pixels() * shape_.width(p), T(0));
        for (std::int64_t b = first; b < last; ++b) {
          multiply(box, tile, p, b, pad.staged + (b - first) * layout_.staged_block(), acc, pad,
                   worker);
          if (interrupt_.stop_requested()) return;
        }
        if (last == layout_.blocks) store(tile, p, acc, pad);
      }
    }
  }

 private:
  struct Pad {
    T* staged = nullptr;
    T* acc = nullptr;
    T* convert = nullptr;
    T* weights = nullptr;
    std::int32_t* pixel = nullptr;
    std::int64_t bytes = 0;

    Pad(const Problem& problem, const TapLayout& l, const PanelShape& shape, char* at) {
      const auto take = [&](auto*& to, std::int64_t count) {
        if (at != nullptr) to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(at + bytes);
        bytes += round_to_line(count * std::int64_t{sizeof *to});
      };
      take(staged, l.chunk * l.staged_block());
      take(acc, (l.chunks() == 1 ? 1 : shape.panels()) * l.most_pixels * shape.panel);
      take(convert, l.most_pixels * shape.panel);
      take(weights, TapLayout::tap_rows(l.block) * problem.taps() * shape.panel);
      take(pixel, l.most_pixels);
    }
  };

  // Planes as they lie, and a zero behind each.
  void copy_planes(const TapBox& box, const char* from, std::int64_t channels, T* to) const {
    const Tensor& x = operands_.x;
    const auto& [depth, height, width] = box.seen;
    std::int64_t slices = depth.count(), rows = height.count(), row = width.count();
    if (x.axis[1] == row * x.axis[2]) {
      row *= rows;
      rows = 1;
      if (x.axis[0] == row * x.axis[2]) {
        row *= slices;
        slices = 1;
      }
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      const char* const channel = from + x.channel_offset(c) - x.channel_offset(0);
      T* at = to + c * layout_.channel_step;
      for (std::int64_t d = 0; d < slices; ++d)
        for (std::int64_t h = 0; h < rows; ++h, at += row)
          read_row<T>(table_, problem_.x_type, channel + d * x.axis[0] + h * x.axis[1], x.axis[2],
                      at, 1, row);
      *at = T(0);
    }
  }

  // The channels of a block side by side at each position, and zeros behind the last one.
  void stage(const TapBox& box, const Tile& tile, std::int64_t block, T* to) const {
    const Tensor& x = operands_.x;
    const std::int64_t channels = packed_.channels(block), step = layout_.block;
    const auto& [depth, height, width] = box.seen;
    const char* from = x.data + tile.image * x.batch +
                       x.channel_offset(tile.group * problem_.in_channels + block * step);
    for (int a = 0; a < 3; ++a) from += box.seen[a].first * x.axis[a];
    if (layout_.channel_step != 1) return copy_planes(box, from, channels, to);
    std::int64_t rows = height.count(), row = width.count();
    if (x.axis[1] == row * x.axis[2]) {
      row *= rows;
      rows = 1;
    }
    constexpr std::int64_t kElement = sizeof(T);
    const bool turns = same_storage(problem_.x_type, problem_.compute) && x.axis[2] == kElement &&
                       x.channel % kElement == 0 && x.channel != kElement;
    for (std::int64_t d = 0; d < depth.count(); ++d) {
      for (std::int64_t h = 0; h < rows; ++h, to += row * step) {
        const char* const at = from + d * x.axis[0] + h * x.axis[1];
        if (turns) {
          kernels_.pack(
              {reinterpret_cast<const T*>(at), x.channel / kElement, channels, row, to, step});
        } else {
          for (std::int64_t w = 0; w < row; ++w)
            read_row<T>(table_, problem_.x_type, at + w * x.axis[2], x.channel, to + w * step, 1,
                        channels);
        }
      }
    }
    std::fill_n(to, step, T(0));
  }

  void multiply(const TapBox& box, const Tile& tile, std::int64_t panel, std::int64_t block,
                const T* x, T* acc, const Pad& pad, int worker) {
    const std::int64_t width = shape_.width(panel), channels = packed_.channels(block);
    const std::int64_t taps = problem_.taps();
    const BlockOfWeights<T> w = weights(tile.group, panel, block, pad);
    OuterArgs<T> args{};
    args.x = x;
    args.tap = layout_.term.data();
    args.taps = channels;
    args.acc = acc;
    args.accumulate = true;
    args.adjacent = layout_.channel_step == 1;
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      const TapPixels& seen = box.tap[static_cast<std::size_t>(tap)];
      args.w = w.data + tap * TapLayout::tap_rows(channels) * width;
      args.pixel = layout_.pixel.data() + seen.first;
      args.pixels = seen.count;
      args.place = layout_.place.data() + seen.first;
      if (!w.finite) {
        list_all_pixels(layout_, box, tap, pad.pixel);
        args.pixel = pad.pixel;
        args.pixels = box.pixels();
        args.place = nullptr;
      }
      args.upcoming = upcoming(tile.group, panel, block, tap);
      if (args.pixels != 0) outer_kernel(kernels_, width)(args);
    }
    interrupt_.work_done(worker, channels * taps * width * box.pixels());
  }

  BlockOfWeights<T> weights(std::int64_t group, std::int64_t panel, std::int64_t block,
                            const Pad& pad) const {
    if (operands_.packed == nullptr) {
      const bool finite =
          packed_.pack(table_, *operands_.weights, group, panel, block, pad.weights);
      return {pad.weights, finite};
    }
    const char* const at = static_cast<const char*>(operands_.packed);
    return {reinterpret_cast<const T*>(at) + packed_.offset(group, panel, block),
            at[packed_.mark(group, panel, block)] != 0};
  }

  // What follows while tap is multiplied: packed weights of the next, or a share of the channels of
  // the next block as they lie.
  Upcoming upcoming(std::int64_t group, std::int64_t panel, std::int64_t block,
                    std::int64_t tap) const {
    const std::int64_t taps = problem_.taps();
    constexpr std::int64_t kElement = sizeof(T), kRun = 512;
    if (operands_.packed != nullptr) {
      // Blocks follow each other, of one panel and the next.
      const std::int64_t each = TapLayout::tap_rows(packed_.channels(block)) * shape_.width(panel);
      const T* const w = static_cast<const T*>(operands_.packed) +
                         packed_.offset(group, panel, block) + (tap + 1) * each;
      return {reinterpret_cast<const char*>(w), kRun, kRun, each * kElement / kRun};
    }
    if (++block == layout_.blocks) {
      block = 0;
      if (++panel == shape_.panels()) return {};
    }
    const Weights& w = *operands_.weights;
    if (!is_dense(problem_, w)) return {};
    const std::int64_t rows = shape_.channels(panel);
    const std::int64_t first = rows * tap / taps, last = rows * (tap + 1) / taps;
    const std::int64_t channel = group * problem_.out_channels + panel * shape_.panel + first;
    return {w.data + channel * w.out + block * layout_.block * taps * kElement, w.out,
            packed_.channels(block) * taps * kElement, last - first};
  }

  void store(const Tile& tile, std::int64_t panel, const T* acc, const Pad& pad) const {
    const BoxAccumulators<T> from{acc, shape_.width(panel), 1, tile.size[2],
                                  tile.size[1] * tile.size[2]};
    store_.store(tile, tile.group * problem_.out_channels + panel * shape_.panel,
                 shape_.channels(panel), from, pad.convert);
  }

  const Problem& problem_;
  const TapLayout& layout_;
  const PanelShape& shape_;
  const PackedTaps<T> packed_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  Interrupt& interrupt_;
  const BoxStore<T> store_;
};

class TapExecution final : public Execution {
 public:
  TapExecution(const Problem& problem, const KernelTable& kernels, const Machine& machine)
      : problem_(problem),
        kernels_(kernels),
        shape_(tap_panels(problem, machine)),
        layout_(make_tap_layout(problem, shape_, machine)) {}

  std::int64_t tasks() const override { return layout_.tasks.count(); }

  std::int64_t packed_bytes() const override {
    return as_compute(problem_.compute, [&](auto zero) {
      return PackedTaps<decltype(zero)>(problem_, layout_, shape_).bytes();
    });
  }

  bool packs_like(const Execution& other) const override {
    return layout_.block == static_cast<const TapExecution&>(other).layout_.block;
  }

  // Weights that one box or two use are packed where they are used.
  bool reads_in_place(const Weights& /*w*/) const override {
    constexpr std::int64_t kMostUses = 2;
    return problem_.batch * layout_.box_count() <= kMostUses;
  }

  bool pack(const Weights& w, void* to, int workers, Interrupt& /*interrupt*/) const override {
    as_compute(problem_.compute, [&](auto zero) {
      using T = decltype(zero);
      const PackedTaps<T> packed(problem_, layout_, shape_);
      const std::int64_t panels = shape_.panels(), blocks = layout_.blocks;
      parallel_for(problem_.groups * panels * blocks, workers,
                   [&](std::int64_t index, int) noexcept {
                     const std::int64_t block = index % blocks, panel = index / blocks % panels;
                     const std::int64_t group = index / blocks / panels;
                     const bool finite =
                         packed.pack(kernels_, w, group, panel, block,
                                     static_cast<T*>(to) + packed.offset(group, panel, block));
                     static_cast<char*>(to)[packed.mark(group, panel, block)] = finite ? 1 : 0;
                   });
      return 0;
    });
    return true;
  }

  std::int64_t scratch_bytes() const override {
    return as_compute(problem_.compute, [&](auto zero) {
      return TapRun<decltype(zero)>::scratch_bytes(problem_, layout_, shape_);
    });
  }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    as_compute(problem_.compute, [&](auto zero) {
      TapRun<decltype(zero)> run(problem_, layout_, shape_, kernels_, operands, scratch, interrupt);
      parallel_for(tasks(), workers,
                   [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
      return 0;
    });
  }

 private:
  const Problem problem_;
  const KernelTable& kernels_;
  const PanelShape shape_;
  const TapLayout layout_;
};

// The products that are made, a call for each tap as much as one pixel more, the accumulators that
// calls read and write, the packing of a call that is no plan's, and the turning of the input.
// Measured on 2 x 2 to 14 x 14: within 7 %, where weights come from L2.
// Of few channels a call has a few terms: what it costs, and the sums that it reads and writes. In
// cycles; the multiplications of a tile of one vector hide none of it.
double cost_of_short_calls(const Problem& problem, const Machine& machine,
                           const OuterVectors& vectors) {
  constexpr double kPanel = 40, kSums = 2.5;
  if (problem.in_channels >= machine.lanes || problem.out_pixels() <= kFewPixels / 2) return 0;
  const PanelShape shape = tap_panels(problem, machine);
  const double panels = static_cast<double>(shape.panels());
  const double channels = static_cast<double>(problem.in_channels);
  const double pixels = static_cast<double>(problem.out_pixels());
  const double calls = seen_taps(problem) / static_cast<double>(problem.taps()) / pixels;
  const double sums = vectors.whole > 0 ? 0.0 : kSums * panels;
  const double operations = 64.0 / (machine.lanes * machine.element);
  return operations * (kPanel * panels * calls + sums * seen_share(problem)) / channels;
}

double cost(const Problem& problem, const Machine& machine) {
  const OuterVectors vectors = outer_vectors(problem, machine);
  const double multiply = vectors.whole + vectors.tail;
  const double pixels = static_cast<double>(problem.out_pixels());
  const double taps = static_cast<double>(problem.taps());
  const double terms = static_cast<double>(problem.terms());
  const double positions = static_cast<double>(problem.axis[0].in * problem.axis[1].in) *
                           static_cast<double>(problem.axis[2].in);
  const double block =
      static_cast<double>(tap_block(problem, tap_panels(problem, machine), machine));
  const double made = seen_share(problem) + seen_taps(problem) / (taps * pixels);
  const double store = problem.channels_last ? kOuterStore : kOuterTranspose;
  // A tile of one vector hides little of what it reads and writes of the accumulators, nor does one
  // of short vectors for few channels (400 random layers of 3 x 3 to 14 x 14).
  const bool hides_little = has_few_registers(problem, machine) && problem.in_channels <= 16;
  const double sums = hides_little ? 7.5 : vectors.stored <= 1 ? 4.0 : 2.5;
  // An element in its place among the channels: more where lines come from afar.
  const double bytes = positions * static_cast<double>(problem.in_channels * machine.element);
  const double l2 = static_cast<double>(machine.l2);
  const bool strided =
      problem.channels_last && has_strides(problem) && problem.out_pixels() > kFewPixels;
  const bool from_afar = !problem.channels_last && bytes > l2 / 4 && bytes < 8 * l2;
  const double turn = from_afar ? 12 : strided ? 8 : 2;
  const double turning = turn * positions / (pixels * taps * machine.lanes);
  // What a call itself takes; 2 to 7 channels were off by a fifth without it.
  constexpr double kCall = 40;
  const double calls = kCall * seen_taps(problem) / (terms * pixels);
  return multiply * made * (1 + sums / block) + cost_of_short_calls(problem, machine, vectors) +
         store * vectors.stored / terms + packing_cost(problem, machine) + turning + calls +
         cost_of_group(problem, machine) / 2;
}

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& /*x*/,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const TapExecution>(problem, kernels, machine);
}

}  // namespace

const Candidate tap_product = {Algorithm::direct, "tap_product", tap_product_accepts, cost,
                               nullptr,           execute};

}  // namespace fastconv
