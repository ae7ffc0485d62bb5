#include "algorithms/tap_layout.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "algorithms/tiling.hpp"
#include "core/rounding.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostPixels = 512;  // of a box, as elsewhere (tiling.cpp)
constexpr std::int64_t kMostListed = std::int64_t{1} << 20;
// Products left out below which the sums in runs of one tap are not worth it.
constexpr double kMostSeen = 0.97;
constexpr double kMostSeenOfPlanes = 0.95;
// Of few channels calls are many and short, which takes more to be worth it.
constexpr std::int64_t kFewChannels = 16;
constexpr double kMostSeenOfFew = 0.9;

bool is_zero(const Scalar& value, Compute compute) {
  return as_compute(compute, [&](auto zero) { return scalar_as<decltype(zero)>(value) == zero; });
}

// What tap k adds to stride * output: a position of the input, or one before it.
std::int64_t shift_of(const Axis& axis, std::int64_t k) { return k * axis.dilation - axis.lo; }

TapSpan clip(const TapSpan& span, std::int64_t first, std::int64_t last) {
  TapSpan s = {std::max(span.first, first), std::min(span.last, last)};
  s.last = std::max(s.first, s.last);
  return s;
}

// Positions of the input that outputs [first, last) of an axis see.
TapSpan seen_inputs(const Axis& axis, std::int64_t first, std::int64_t last) {
  TapSpan seen = {axis.in, 0};
  for (std::int64_t k = 0; k < axis.kernel; ++k) {
    const TapSpan outputs = clip(seeing_outputs(axis, k), first, last);
    if (outputs.count() == 0) continue;
    seen.first = std::min(seen.first, outputs.first * axis.stride + shift_of(axis, k));
    seen.last = std::max(seen.last, (outputs.last - 1) * axis.stride + shift_of(axis, k) + 1);
  }
  if (seen.last <= seen.first) seen = {0, 0};
  return seen;
}

class Builder {
 public:
  Builder(const Problem& problem, const PanelShape& panels, const Machine& machine)
      : problem_(problem), panels_(panels), machine_(machine) {}

  TapLayout build() {
    layout_.block = tap_block(problem_, panels_, machine_);
    layout_.blocks = divide_up(problem_.in_channels, layout_.block);
    // The kernel reads single elements, so that planes need not be turned. Of many channels a term
    // would be a line of its own.
    const bool turns = problem_.channels_last || layout_.block >= machine_.lanes;
    layout_.position_step = turns ? layout_.block : 1;
    cut_boxes();
    layout_.channel_step = turns ? 1 : layout_.most_positions + 1;
    choose_chunks();
    list_terms();
    layout_.tasks = PanelTasks::make(problem_.batch * problem_.groups * layout_.box_count(),
                                     panels_.panels(), machine_.threads);
    return std::move(layout_);
  }

 private:
  void cut_boxes() {
    Index3 size;
    for (int a = 0; a < 3; ++a) size[a] = problem_.axis[a].out;
    for (int a = 0; a < 3; ++a) {
      while (size[0] * size[1] * size[2] > kMostPixels && size[a] > 1)
        size[a] = divide_up(size[a], 2);
      size[a] = divide_up(problem_.axis[a].out, divide_up(problem_.axis[a].out, size[a]));
    }
    Tile tile;
    for (tile.origin[0] = 0; tile.origin[0] < problem_.axis[0].out; tile.origin[0] += size[0])
      for (tile.origin[1] = 0; tile.origin[1] < problem_.axis[1].out; tile.origin[1] += size[1])
        for (tile.origin[2] = 0; tile.origin[2] < problem_.axis[2].out; tile.origin[2] += size[2]) {
          for (int a = 0; a < 3; ++a)
            tile.size[a] = std::min(size[a], problem_.axis[a].out - tile.origin[a]);
          add_box(tile);
        }
  }

  void add_box(const Tile& tile) {
    TapBox box;
    box.tile = tile;
    for (int a = 0; a < 3; ++a)
      box.seen[a] = seen_inputs(problem_.axis[a], tile.origin[a], tile.origin[a] + tile.size[a]);
    const auto& axis = problem_.axis;
    for (std::int64_t i = 0; i < axis[0].kernel; ++i)
      for (std::int64_t j = 0; j < axis[1].kernel; ++j)
        for (std::int64_t k = 0; k < axis[2].kernel; ++k) list_pixels(box, {i, j, k});
    layout_.most_pixels = std::max(layout_.most_pixels, box.pixels());
    layout_.most_positions = std::max(layout_.most_positions, box.positions());
    layout_.boxes.push_back(std::move(box));
  }

  void list_pixels(TapBox& box, const Index3& tap) {
    const auto& axis = problem_.axis;
    const Tile& tile = box.tile;
    std::array<TapSpan, 3> span;
    for (int a = 0; a < 3; ++a)
      span[a] =
          clip(seeing_outputs(axis[a], tap[a]), tile.origin[a], tile.origin[a] + tile.size[a]);
    const std::int64_t first = static_cast<std::int64_t>(layout_.pixel.size());
    const auto at = [&](int a, std::int64_t out) {
      return out * axis[a].stride + shift_of(axis[a], tap[a]) - box.seen[a].first;
    };
    for (std::int64_t d = span[0].first; d < span[0].last; ++d)
      for (std::int64_t h = span[1].first; h < span[1].last; ++h)
        for (std::int64_t w = span[2].first; w < span[2].last; ++w) {
          const std::int64_t position =
              (at(0, d) * box.seen[1].count() + at(1, h)) * box.seen[2].count() + at(2, w);
          layout_.pixel.push_back(static_cast<std::int32_t>(position * layout_.position_step));
          layout_.place.push_back(static_cast<std::int32_t>(
              ((d - tile.origin[0]) * tile.size[1] + h - tile.origin[1]) * tile.size[2] + w -
              tile.origin[2]));
        }
    box.tap.push_back({first, static_cast<std::int64_t>(layout_.pixel.size()) - first});
  }

  // The staged input in half of L2; where that is not all of it, the sums of all panels wait.
  void choose_chunks() {
    const std::int64_t budget = machine_.l2 / 2 / machine_.element;
    layout_.chunk = std::clamp<std::int64_t>(budget / layout_.staged_block(), 1, layout_.blocks);
    layout_.chunk = divide_up(layout_.blocks, divide_up(layout_.blocks, layout_.chunk));
  }

  void list_terms() {
    layout_.term.resize(static_cast<std::size_t>(layout_.block));
    for (std::int64_t c = 0; c < layout_.block; ++c)
      layout_.term[static_cast<std::size_t>(c)] =
          static_cast<std::int32_t>(c * layout_.channel_step);
    layout_.order = order_of(layout_.block);
    layout_.last_order = order_of(problem_.in_channels - (layout_.blocks - 1) * layout_.block);
  }

  std::vector<std::int32_t> order_of(std::int64_t channels) const {
    std::vector<std::int32_t> order;
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t t = 0; t < problem_.taps(); ++t)
        order.push_back(static_cast<std::int32_t>(t * TapLayout::tap_rows(channels) + c));
    return order;
  }

  const Problem& problem_;
  const PanelShape& panels_;
  const Machine& machine_;
  TapLayout layout_;
};

}  // namespace

TapSpan seeing_outputs(const Axis& axis, std::int64_t k) {
  // 0 <= out * stride + before < in
  const std::int64_t before = shift_of(axis, k);
  TapSpan span;
  if (before < 0) span.first = divide_up(-before, axis.stride);
  if (before < axis.in) span.last = (axis.in - 1 - before) / axis.stride + 1;
  return clip(span, 0, axis.out);
}

TapSpan outputs_inside(const Axis& axis) {
  const std::int64_t room = axis.in + axis.lo - axis.span();
  const std::int64_t last =
      std::clamp<std::int64_t>(room < 0 ? 0 : room / axis.stride + 1, 0, axis.out);
  return {std::min(divide_up(std::max<std::int64_t>(axis.lo, 0), axis.stride), last), last};
}

TapSpan taps_inside(const Axis& axis, std::int64_t output) {
  const std::int64_t before = axis.lo - output * axis.stride;
  const auto taps_of = [&](std::int64_t positions) {
    return positions <= 0 ? 0 : std::min(divide_up(positions, axis.dilation), axis.kernel);
  };
  const std::int64_t first = taps_of(before);
  return {first, std::max(first, taps_of(before + axis.in))};
}

namespace {

double share_of(const Axis& axis) {
  std::int64_t seen = 0;
  for (std::int64_t k = 0; k < axis.kernel; ++k) seen += seeing_outputs(axis, k).count();
  return static_cast<double>(seen) / static_cast<double>(axis.kernel * axis.out);
}

}  // namespace

bool has_zero_border(const Problem& problem) {
  if (!problem.padded()) return true;
  return problem.border == Border::constant && is_zero(problem.fill[0], problem.compute) &&
         (!problem.complex || is_zero(problem.fill[1], problem.compute));
}

double seen_share(const Problem& problem) {
  double share = 1;
  for (const Axis& axis : problem.axis) share *= share_of(axis);
  return share;
}

bool leaves_out_border(const Problem& problem) {
  return problem.padded() && has_zero_border(problem) && seen_share(problem) < kMostSeenOfPlanes;
}

double seen_slices(const Problem& problem) {
  return has_zero_border(problem) ? share_of(problem.axis[0]) : 1.0;
}

double seen_taps(const Problem& problem) {
  double taps = 1;
  for (const Axis& axis : problem.axis) {
    std::int64_t seeing = 0;
    for (std::int64_t k = 0; k < axis.kernel; ++k)
      if (seeing_outputs(axis, k).count() != 0) ++seeing;
    taps *= static_cast<double>(seeing);
  }
  return taps;
}

const char* tap_product_accepts(const Problem& problem) {
  if (!problem.padded()) return "no border";
  if (problem.complex) return "complex numbers";
  if (!has_zero_border(problem)) return "a border of other than zeros";
  if (problem.axis[2].interleave != 1) return "interleaved channels";
  if (problem.in_channels == 1) return "one input channel";
  if (problem.out_pixels() > kMostListed / problem.taps()) return "many pixels and taps";
  const bool few = problem.in_channels < kFewChannels;
  if (seen_share(problem) > (few ? kMostSeenOfFew : kMostSeen)) return "a narrow border";
  return nullptr;
}

double packing_cost(const Problem& problem, const Machine& machine) {
  if (problem.keeps_weights || tap_product_accepts(problem) != nullptr) return 0;
  return packing_of(problem, static_cast<double>(divide_up(problem.out_channels, machine.lanes)));
}

double packing_of(const Problem& problem, double vectors) {
  return 4.0 * vectors / static_cast<double>(problem.out_pixels());
}

PanelShape tap_panels(const Problem& problem, const Machine& machine) {
  const OuterPanels panels = make_outer_panels(problem.out_channels, machine);
  return {problem.out_channels, panels.panel, panels.half ? machine.lanes / 2 : machine.lanes};
}

// One tap of a block and panel in half of L1, and all taps in half of L2: there they are packed
// where a call uses them once.
std::int64_t tap_block(const Problem& problem, const PanelShape& panels, const Machine& machine) {
  const std::int64_t width = panels.panel * machine.element;
  const std::int64_t near = std::clamp<std::int64_t>(machine.l1 / 2 / width, 64, 128);
  const std::int64_t packed = machine.l2 / 2 / (width * problem.taps());
  const std::int64_t least = machine.lanes, chain = machine.chain;
  const std::int64_t most = std::min(std::max(std::min(near, packed), least), chain);
  const std::int64_t channels = problem.in_channels;
  const std::int64_t block = divide_up(channels, divide_up(channels, most));
  return block > least ? std::min(round_up(block, least), most) : block;
}

TapLayout make_tap_layout(const Problem& problem, const PanelShape& panels,
                          const Machine& machine) {
  return Builder(problem, panels, machine).build();
}

void list_all_pixels(const TapLayout& layout, const TapBox& box, std::int64_t tap,
                     std::int32_t* pixel) {
  std::fill_n(pixel, box.pixels(),
              static_cast<std::int32_t>(box.positions() * layout.position_step));
  const TapPixels& seen = box.tap[static_cast<std::size_t>(tap)];
  for (std::int64_t i = seen.first; i < seen.first + seen.count; ++i)
    pixel[layout.place[static_cast<std::size_t>(i)]] = layout.pixel[static_cast<std::size_t>(i)];
}

}  // namespace fastconv
