#include "algorithms/columns_layout.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "algorithms/tiling.hpp"
#include "core/rounding.hpp"
#include "pack/square.hpp"

namespace fastconv {
namespace {

// Output channels are dealt out to threads in multiples of this: whole tiles of any height.
constexpr std::int64_t kRowGranule = 24;
// Panels that share a part of large weights.
constexpr std::int64_t kMostSharing = 4;

}  // namespace

ColumnPanels make_column_panels(std::int64_t pixels, const Machine& machine) {
  ColumnPanels p;
  p.pixels = pixels;
  const std::int64_t lanes = machine.lanes, wide = machine.column_vecs[0];
  // A few pixels behind the last whole vector, in a picture where one vector matters.
  constexpr std::int64_t kFewVectors = 32;
  const std::int64_t over = pixels % lanes;
  if (pixels >= 3 * lanes && pixels < kFewVectors * lanes && over * 4 <= lanes) p.rest = over;
  const std::int64_t vectors = divide_up(pixels - p.rest, lanes);
  // As few narrow panels as fill up the last wide one.
  const std::int64_t narrow = (wide - vectors % wide) % wide;
  p.width[0] = wide * lanes;
  p.width[1] = (wide - 1) * lanes;
  if (narrow * (wide - 1) <= vectors) {
    p.count[1] = narrow;
    p.count[0] = (vectors - narrow * (wide - 1)) / wide;
  } else {
    p.count[1] = divide_up(vectors, wide - 1);
  }
  // Dot products alone, where a panel would be empty but for these.
  p.lanes = lanes;
  if (p.is_tiny() || kDotCost * static_cast<double>(pixels) <= static_cast<double>(p.computed())) {
    p.rest = pixels;
    p.count[0] = 0;
    p.count[1] = 1;
    p.width[1] = 0;
  }
  return p;
}

std::int64_t ColumnPanels::chunk_terms() const {
  // Each lane of a dot product is a sum of its own. One or two pixels need each weight but once,
  // and long pieces of its row are read faster; for more, a tile's weights wait in L1.
  if (!is_rest_alone()) return kColumnTerms;
  return kColumnTerms * (is_tiny() ? lanes : std::min<std::int64_t>(lanes, 4));
}

Tile rows_of(const Problem& problem, std::int64_t first, std::int64_t last) {
  const std::int64_t height = problem.axis[1].out, width = problem.axis[2].out;
  const std::int64_t top = first / width, bottom = (last - 1) / width;
  Tile tile;
  tile.origin = {top / height, 0, 0};
  tile.size = {bottom / height - top / height + 1, height, width};
  if (tile.size[0] == 1) {
    tile.origin[1] = top % height;
    tile.size[1] = bottom - top + 1;
  }
  if (top == bottom) {
    tile.origin[2] = first % width;
    tile.size[2] = last - first;
  }
  return tile;
}

bool needs_column_patch(const Problem& problem) {
  bool strided = false;
  for (const Axis& a : problem.axis) strided = strided || (a.stride != 1 && a.out > 1);
  return problem.taps() != 1 || problem.padded() || strided;
}

std::int64_t column_patch_of_a_panel(const Problem& problem, const ColumnPanels& panels) {
  const auto& [depth, height, width] = problem.axis;
  const auto positions = [](const Axis& axis, std::int64_t out) {
    return std::min(out, axis.out) * std::min(axis.stride, axis.kernel) + axis.span() - 1;
  };
  const std::int64_t channels = std::min(
      problem.in_channels, std::max<std::int64_t>(panels.chunk_terms() / problem.taps(), 1));
  const std::int64_t pixels = panels.width[0];
  const std::int64_t rows = depth.out > 1 ? height.out : pixels / width.out + 2;
  const bool one_row = depth.out == 1 && height.out == 1;
  return channels * positions(depth, pixels / (height.out * width.out) + 2) *
         positions(height, rows) * positions(width, one_row ? pixels : width.out);
}

namespace {

// Bytes from one pixel to the next, if that is the same for all; else 0.
std::int64_t pixel_pitch_of(const Problem& problem, const Tensor& x) {
  std::int64_t pitch = 0, pixels = 1;
  for (int a = 2; a >= 0; --a) {
    const Axis& axis = problem.axis[a];
    if (axis.out == 1) continue;
    const std::int64_t step = x.axis[a] * axis.stride;
    if (pixels == 1) pitch = step;
    if (step != pitch * pixels) return 0;
    pixels *= axis.out;
  }
  return pixels == 1 ? problem.in_channels * x.channel : pitch;
}

ColumnSource source_of(const Problem& problem, const Tensor& x, std::int64_t element) {
  if (problem.taps() != 1 || problem.padded() || !same_storage(problem.x_type, problem.compute))
    return ColumnSource::patch;
  if (x.channel % element != 0 || x.batch % element != 0) return ColumnSource::patch;
  if (has_unit_channels(problem, x) && problem.in_channels > 1) {
    for (int a = 0; a < 3; ++a)
      if (problem.axis[a].out > 1 && x.axis[a] % element != 0) return ColumnSource::patch;
    return pixel_pitch_of(problem, x) != 0 ? ColumnSource::turned : ColumnSource::picked;
  }
  bool dense = true;
  double span = 0;
  std::int64_t expected = element;
  for (int a = 2; a >= 0; --a) {
    const Axis& axis = problem.axis[a];
    if (axis.out > 1) {
      if (x.axis[a] % element != 0) return ColumnSource::patch;
      dense = dense && x.axis[a] == expected && axis.stride == 1;
      span += std::abs(static_cast<double>(x.axis[a])) * static_cast<double>(axis.in);
    }
    expected *= axis.out;
  }
  if (dense) return ColumnSource::plane;
  const Axis& width = problem.axis[2];
  const bool rows = width.out == 1 || (x.axis[2] == element && width.stride <= 2);
  return rows && span < std::numeric_limits<std::int32_t>::max() ? ColumnSource::rows
                                                                 : ColumnSource::patch;
}

class Builder {
 public:
  Builder(const Problem& problem, const Tensor& x, const Machine& machine)
      : problem_(problem), machine_(machine) {
    layout_.source = source_of(problem, x, machine.element);
    if (layout_.source == ColumnSource::turned) layout_.pixel_pitch = pixel_pitch_of(problem, x);
    layout_.panels = make_column_panels(problem.out_pixels(), machine);
  }

  ColumnLayout build() {
    choose_chunks();
    choose_tasks();
    finish();
    return std::move(layout_);
  }

 private:
  void choose_chunks() {
    const std::int64_t taps = problem_.taps();
    const std::int64_t most = std::max<std::int64_t>(layout_.panels.chunk_terms() / taps, 1);
    const std::int64_t step =
        divide_up(problem_.in_channels, divide_up(problem_.in_channels, most));
    for (std::int64_t c = 0; c < problem_.in_channels; c += step) {
      ColumnChunk chunk;
      chunk.first = c * taps;
      chunk.patch.first_channel = c;
      chunk.patch.channels = std::min(step, problem_.in_channels - c);
      chunk.terms = chunk.patch.channels * taps;
      for (int a = 0; a < 3; ++a)
        chunk.patch.axis[a] =
            PatchAxis::make(problem_.axis[a], 0, problem_.axis[a].kernel,
                            a == 2 ? order_for_lanes(problem_) : PatchOrder::seen);
      layout_.chunks.push_back(chunk);
    }
  }

  // The patch of all rows that some task sees.
  void lay_out_patch() {
    Index3 size = {1, 1, 1};
    for (std::int64_t task = 0; task < layout_.panel_tasks; ++task) {
      const Tile tile = rows_of(problem_, layout_.first_pixel(task), layout_.last_pixel(task));
      for (int a = 0; a < 3; ++a) size[a] = std::max(size[a], tile.size[a]);
    }
    for (ColumnChunk& chunk : layout_.chunks)
      layout_.patch_elements = make_patch_layout(chunk.patch, size);
  }

  std::int64_t make_patch_layout(Patch& patch, const Index3& size) const {
    PatchLayout& l = patch.layout;
    std::int64_t phases = 1;
    for (int a = 0; a < 3; ++a) {
      l.length[a] = patch.axis[a].length(size[a]);
      phases *= patch.axis[a].phases;
    }
    l.axis = {l.length[1] * l.length[2], l.length[2], 1};
    l.room = patch.axis[2].phases == 2 ? machine_.lanes : 0;
    l.phase = l.length[0] * l.axis[0] + l.room;
    // An odd number of cache lines, as elsewhere (tiling.cpp).
    const std::int64_t line = 64 / machine_.element;
    l.channel = (divide_up(l.phase * phases, line) | 1) * line;
    return layout_.chunks.front().patch.channels * l.channel;
  }

  std::int64_t count_tasks() {
    layout_.panel_tasks = divide_up(layout_.panels.total(), layout_.panels_per_task);
    layout_.row_tasks = divide_up(problem_.out_channels, layout_.rows_per_task);
    return layout_.tasks(problem_);
  }

  // Whether the threads, each taking the next task when it is done with one, end at about the same
  // time. Tasks may differ: that of the last pixels is often small.
  bool is_balanced(double idle) const {
    std::vector<std::int64_t> busy(static_cast<std::size_t>(machine_.threads));
    std::int64_t all = 0;
    for (std::int64_t unit = 0; unit < problem_.batch * problem_.groups; ++unit) {
      for (std::int64_t panels = 0; panels < layout_.panel_tasks; ++panels) {
        for (std::int64_t rows = 0; rows < layout_.row_tasks; ++rows) {
          const std::int64_t cost =
              (layout_.last_pixel(panels) - layout_.first_pixel(panels)) *
              std::min(layout_.rows_per_task, problem_.out_channels - rows * layout_.rows_per_task);
          *std::min_element(busy.begin(), busy.end()) += cost;
          all += cost;
        }
      }
    }
    const std::int64_t last = *std::max_element(busy.begin(), busy.end());
    return static_cast<double>(last * machine_.threads) <= (1 + idle) * static_cast<double>(all);
  }

  // What a task holds at a time stays in a half of L2: the patch of a chunk and the sums.
  void choose_tasks() {
    layout_.rows_per_task = problem_.out_channels;
    const std::int64_t total = layout_.panels.total();
    const std::int64_t budget = machine_.l2 / 2 / machine_.element;
    const std::int64_t width = layout_.panels.width[0];
    std::int64_t each = problem_.out_channels * width;
    if (layout_.source == ColumnSource::patch) {
      each += layout_.chunks.front().patch.channels * width *
              std::min(problem_.axis[1].kernel, problem_.axis[1].stride) *
              std::min(problem_.axis[2].kernel, problem_.axis[2].stride);
    }
    std::int64_t most = std::max<std::int64_t>(budget / each, 1);
    // Sums come and go by the chunk then, but weights are read half as often, or less.
    if (weights_are_large() && layout_.source != ColumnSource::patch)
      most = std::max(most, kMostSharing);
    layout_.panels_per_task = std::min(most, total);
    layout_.panels_per_task = divide_up(total, divide_up(total, layout_.panels_per_task));
    const std::int64_t threads = machine_.threads;
    // Tasks of fewer rows copy the same pixels again, so that they must gain more.
    while (threads > 1 && count_tasks() < 4 * threads &&
           !is_balanced(layout_.panels_per_task > 1 ? 0.03 : 0.06)) {
      if (layout_.panels_per_task > 1) {
        layout_.panels_per_task = divide_up(layout_.panels_per_task, 2);
        continue;
      }
      const std::int64_t half =
          round_up(divide_up(problem_.out_channels, 2 * layout_.row_tasks), kRowGranule);
      if (half >= layout_.rows_per_task) break;
      layout_.rows_per_task = half;
    }
    count_tasks();
  }

  void finish() {
    const std::int64_t lanes = machine_.lanes, line = 64 / machine_.element;
    const std::int64_t terms = layout_.chunks.front().terms;
    if (layout_.source == ColumnSource::patch) {
      lay_out_patch();
      layout_.patch_elements = round_up(layout_.patch_elements + 2 * lanes, line);
      make_taps();
    }
    const std::int64_t width = layout_.panels.width[layout_.panels.count[0] == 0 ? 1 : 0];
    if (layout_.source == ColumnSource::picked)
      layout_.patch_elements = round_up(terms * width, line);
    layout_.column_elements = round_up(terms * width + lanes, line);
    layout_.rows_at_once = choose_rows_at_once();
    layout_.gathers_all = gathers_all();
    layout_.panels_at_once =
        layout_.gathers_all ? layout_.panels_per_task : choose_panels_at_once();
    // As many as L1 holds: whole lines of the output are written at a time (32 -> 64 on 512 x 512
    // 53 ms, 41).
    constexpr std::int64_t kMostInTurn = 4;
    const std::int64_t bytes = layout_.column_elements * machine_.element;
    layout_.panels_in_turn = std::clamp<std::int64_t>(
        3 * machine_.l1 / 4 / bytes, 1, std::min(kMostInTurn, layout_.panels_at_once));
    layout_.asks_for_x = !reads_long_runs();
    layout_.rest_pitch = round_up(terms, line);
    layout_.rest_elements = layout_.panels.rest * layout_.rest_pitch;
    std::int64_t pixels = 0;
    for (std::int64_t task = 0; task < layout_.panel_tasks; ++task)
      pixels = std::max(pixels, layout_.last_pixel(task) - layout_.first_pixel(task));
    layout_.sums_pitch = (divide_up(pixels + lanes, line) | 1) * line;
    layout_.sums_elements = layout_.rows_of_sums() * layout_.sums_pitch;
    layout_.convert_elements =
        round_up(layout_.rows_of_sums() * std::min(problem_.axis[2].out, pixels), line);
  }

  // Weights beyond L2 are read a part at a time, which several panels share, and meanwhile the next
  // part is asked for: their rows are too short for the processor to see where they go on. Zen 3,
  // ms: 768 channels to 3072 on 7 x 7 6.5, 4.9. (More lanes have more to do meanwhile.)
  std::int64_t choose_rows_at_once() const {
    constexpr std::int64_t kBytes = 96 * 1024, kStep = 12;
    const std::int64_t rows = layout_.rows_per_task;
    if (!weights_are_large()) return rows;
    const std::int64_t most =
        std::max(kBytes / (layout_.chunks.front().terms * machine_.element), kStep);
    return round_up(divide_up(rows, divide_up(rows, most)), kStep);
  }

  // Where a part of large weights is multiplied by all chunks in turn, sums stay near until they
  // are complete. Of those that L2 holds meanwhile nothing is gained, and nothing could be asked
  // for ahead. Zen 3, AVX2, ms: 1024 channels to 4096 on 7 x 7 10.9, 8.7; 512 to 1024 1.04, 1.11.
  // (Channels last, the store turns more than four channels.)
  bool gathers_all() const {
    const auto last_part = [&](std::int64_t rows) { return (rows - 1) % layout_.rows_at_once; };
    const std::int64_t last_task = (problem_.out_channels - 1) % layout_.rows_per_task + 1;
    const std::int64_t pixels = layout_.panels_per_task * layout_.panels.width[0];
    const std::int64_t sums = layout_.rows_per_task * pixels * machine_.element;
    const std::int64_t columns = std::ssize(layout_.chunks) * layout_.panels_per_task *
                                 layout_.column_elements * machine_.element;
    return layout_.rows_at_once < layout_.rows_per_task && 4 * sums > 3 * machine_.l2 &&
           columns <= machine_.l2 / 2 &&
           std::min(last_part(layout_.rows_per_task), last_part(last_task)) >= kSquare;
  }

  bool weights_are_large() const {
    const std::int64_t bytes = problem_.out_channels * problem_.terms() * machine_.element;
    return !panels_are_lines() && !layout_.panels.is_rest_alone() && bytes > machine_.l2 / 2;
  }

  bool panels_are_lines() const { return layout_.panels.width[0] * machine_.element % 64 == 0; }

  // Panels that end within a line (three vectors of AVX2) share it with the next: rows of several
  // are read in order, each line once. Where planes are a power of two apart, all that is asked for
  // ahead has a few cache sets, and long rows are what the processor asks for itself. Zen 3, ms, 64
  // channels to 32 on 256 x 256: 9.9 one at a time, 8.1 by four, 7.4 by sixteen; with narrow panels
  // of a line each 13.
  std::int64_t choose_panels_at_once() const {
    constexpr std::int64_t kMost = 16;
    const bool shares_weights = layout_.rows_at_once < layout_.rows_per_task;
    if ((layout_.source != ColumnSource::plane && !shares_weights) || panels_are_lines()) return 1;
    const std::int64_t room = machine_.l2 / 4 / machine_.element / layout_.column_elements;
    const std::int64_t each = layout_.panels_per_task;
    return divide_up(each, divide_up(each, std::clamp<std::int64_t>(room, 1, kMost)));
  }

  bool reads_long_runs() const {
    constexpr std::int64_t kPanels = 8;
    const double bytes = static_cast<double>(problem_.in_channels * problem_.out_pixels()) *
                         static_cast<double>(machine_.element);
    return layout_.source == ColumnSource::plane && layout_.panels_at_once >= kPanels &&
           bytes > 8.0 * static_cast<double>(machine_.l2);
  }

  void make_taps() {
    const ColumnChunk& chunk = layout_.chunks.front();
    for (std::int64_t c = 0; c < chunk.patch.channels; ++c)
      for (std::int64_t i = 0; i < problem_.axis[0].kernel; ++i)
        for (std::int64_t j = 0; j < problem_.axis[1].kernel; ++j)
          for (std::int64_t k = 0; k < problem_.axis[2].kernel; ++k)
            layout_.tap.push_back(static_cast<std::int32_t>(chunk.patch.offset(c, i, j, k)));
  }

  const Problem& problem_;
  const Machine& machine_;
  ColumnLayout layout_;
};

}  // namespace

ColumnLayout make_column_layout(const Problem& problem, const Tensor& x, const Machine& machine) {
  return Builder(problem, x, machine).build();
}

}  // namespace fastconv
