#include "algorithms/tiling.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <utility>

#include "algorithms/offsets.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"

namespace fastconv {
namespace {

// Boxes smaller than this re-read the weights too often to be worth a smaller patch: rather is the
// reduction cut (measured on Zen 3 with half a megabyte of L2: 8 % over eleven layers for 256
// pixels against 96).
constexpr std::int64_t kMinPixels = 256;
constexpr std::int64_t kMinStridedPixels = 32;
constexpr std::int64_t kMinThreadPixels = 96;  // where threads would be idle otherwise
// Accumulators of one panel stay near L1; a tile of more pixels gains nothing.
constexpr std::int64_t kMaxPixels = 512;
constexpr std::int64_t kMaxColumns = 256;  // of im2col
static_assert(kMaxPixels <= kMostColumns);
constexpr std::int64_t kMaxLanesPixels = 8192;
// Of few filters what lies beyond the caches is read as long runs of few channels, whose sums stay
// in L1 meanwhile: tiles of all channels would read a few lines of each page.
constexpr std::int64_t kRunBytes = 16 * 1024;
constexpr std::int64_t kRunPlanes = 8;
constexpr std::int64_t kMaxScratch = std::int64_t{3} << 20;  // bytes, for each of patch and acc

PatchLayout patch_layout(const Patch& patch, const Index3& box, bool channels_last,
                         const Machine& machine, std::int64_t row_unit = 1) {
  PatchLayout layout;
  std::int64_t phases = 1;
  for (int a = 0; a < 3; ++a) {
    layout.length[a] = patch.axis[a].length(box[a]);
    phases *= patch.axis[a].phases;
  }
  // An odd number of cache lines from one position or plane to the next: powers of two would put
  // the same pixel of every channel, or the same channel of every pixel, in the same few sets.
  const std::int64_t line = 64 / machine.element;
  const auto odd_lines = [&](std::int64_t n) { return (divide_up(n, line) | 1) * line; };
  layout.axis[2] = 1;
  if (channels_last)
    layout.axis[2] = patch.channels % (2 * line) == 0 ? odd_lines(patch.channels) : patch.channels;
  layout.axis[1] = round_up(layout.length[2], row_unit) * layout.axis[2];
  layout.axis[0] = layout.length[1] * layout.axis[1];
  // Both phases of whole planes are staged by one call (stage_planes.cpp).
  layout.room = !channels_last && patch.axis[2].phases == 2 ? machine.lanes : 0;
  layout.phase = layout.length[0] * layout.axis[0] + layout.room;
  if (channels_last) {
    layout.channel = 1;
  } else {
    layout.channel = patch.channels == 1 ? layout.phase * phases : odd_lines(layout.phase * phases);
  }
  return layout;
}

std::int64_t patch_elements(const Patch& patch, const PatchLayout& layout) {
  if (layout.channel != 1) return patch.channels * layout.channel;
  return layout.phase * patch.axis[0].phases * patch.axis[1].phases * patch.axis[2].phases;
}

struct TapRange {
  Index3 first = {};
  Index3 count = {};
};

// Kernels with channels in the lanes read single elements of a patch, so that its rows are copied
// whole where not too much of them is in vain.
PatchOrder order_of_columns(const Problem& problem, Family family, bool channels_last) {
  if (family != Family::outer) return order_for_lanes(problem);
  const Axis& width = problem.axis[2];
  const auto positions = [&](PatchOrder order) {
    const PatchAxis axis = PatchAxis::make(width, 0, width.kernel, order);
    return axis.phases * axis.length(width.out);
  };
  const std::int64_t most = channels_last ? 1 : 4;
  return positions(PatchOrder::whole) <= most * positions(PatchOrder::seen) ? PatchOrder::whole
                                                                            : PatchOrder::seen;
}

TapRange all_taps(const Problem& problem) {
  TapRange range;
  for (int a = 0; a < 3; ++a) range.count[a] = problem.axis[a].kernel;
  return range;
}

// Halves the first of the axes that can be, and not below min_pixels: rows stay whole as long as
// they can.
bool shrink(Index3& box, std::int64_t min_pixels) {
  if (box[0] * box[1] * box[2] < 2 * min_pixels) return false;
  for (int a = 0; a < 3; ++a) {
    if (box[a] > 1) {
      box[a] = divide_up(box[a], 2);
      return true;
    }
  }
  return false;
}

// Sizes that divide the output evenly: 14 rows in two tiles of 7, not 8 and 6.
void even_out(const Problem& problem, Index3& box) {
  for (int a = 0; a < 3; ++a)
    box[a] = divide_up(problem.axis[a].out, divide_up(problem.axis[a].out, box[a]));
}

class Builder {
 public:
  Builder(const Problem& problem, const Tensor& x, Staging staging, Family family,
          bool channels_last, const Machine& machine)
      : problem_(problem), x_(x), machine_(machine), channels_last_(channels_last) {
    tiling_.staging = staging;
    tiling_.family = family;
    order_ = order_of_columns(problem, family, channels_last);
  }

  Tiling build() {
    choose_panel();
    choose_box();
    choose_chunks();
    choose_block();
    split_for_threads();
    tiling_.far = output_bytes() > static_cast<double>(machine_.l2);
    tiling_.x_is_far = x_is_far();
    tiling_.asks_for_rows = asks_for_rows();
    finish_layouts();
    make_offsets(problem_, x_, machine_.element, tiling_);
    return std::move(tiling_);
  }

 private:
  std::int64_t budget() const {
    // What is staged next is there, too. One image decides, whatever the batch.
    const std::int64_t share = is_staged_from_afar() ? machine_.l2 * 3 / 8 : machine_.l2 / 2;
    return std::min(share, kMaxScratch) / machine_.element;
  }

  Patch make_patch(std::int64_t channel, std::int64_t channels, const TapRange& taps) const {
    Patch patch;
    patch.first_channel = channel;
    patch.channels = channels;
    for (int a = 0; a < 3; ++a)
      patch.axis[a] =
          PatchAxis::make(problem_.axis[a], taps.first[a], taps.first[a] + taps.count[a],
                          a == 2 ? order_ : PatchOrder::seen);
    return patch;
  }

  std::int64_t elements(const Index3& box, std::int64_t channels, const TapRange& taps) const {
    const Patch patch = make_patch(0, channels, taps);
    return patch_elements(patch, patch_layout(patch, box, channels_last_, machine_));
  }

  void choose_panel() {
    const std::int64_t k = problem_.out_channels;
    if (tiling_.family == Family::outer) {
      const OuterPanels panels = make_outer_panels(k, machine_);
      tiling_.panel = panels.panel;
      tiling_.granule = panels.half ? machine_.lanes / 2 : machine_.lanes;
    } else {
      tiling_.panel = tiling_.family == Family::rows ? 1 : std::min<std::int64_t>(k, machine_.rows);
    }
    tiling_.panels = divide_up(k, tiling_.panel);
  }

  void choose_box() {
    Index3& box = tiling_.box;
    for (int a = 0; a < 3; ++a) box[a] = problem_.axis[a].out;
    tiling_.gathers = gathers();
    const bool large = tiling_.family != Family::outer || stores_at_once();
    const std::int64_t most = reads_runs()      ? kRunBytes / machine_.element
                              : tiling_.gathers ? gathered_pixels()
                              : large && tiling_.staging == Staging::patch ? kMaxLanesPixels
                                                                           : kMaxPixels;
    const auto fits = [&] {
      if (tiling_.pixels() > most) return false;
      switch (tiling_.staging) {
        case Staging::in_place:
          return tiling_.pixels() * problem_.in_channels <= budget();
        case Staging::columns:
          if (problem_.taps() != 1) return tiling_.pixels() <= kMaxColumns;
          return tiling_.pixels() * problem_.in_channels <= budget();
        default:
          return elements(box, reads_runs() ? kRunPlanes : problem_.in_channels,
                          all_taps(problem_)) <= budget();
      }
    };
    if (tiling_.family == Family::rows) return choose_rows_box(fits);
    if (leaves_out_slices()) box[0] = 1;
    while (!fits() && shrink(box, kMinPixels)) {
    }
    if (cuts_rows_before_channels() && !fits()) {
      const Index3 large = box;
      while (!fits() && shrink(box, kMinStridedPixels)) {
      }
      if (!fits()) box = large;
    }
    even_out(problem_, box);
  }

  std::int64_t gathered_pixels() const {
    return std::max<std::int64_t>(machine_.l1 / 2 / (problem_.out_channels * machine_.element),
                                  2 * machine_.pixels);
  }

  double output_bytes() const {
    return static_cast<double>(problem_.batch * problem_.groups * problem_.out_channels) *
           static_cast<double>(problem_.out_pixels()) * machine_.element;
  }

  // Vectors that meet two lines each of memory far away wait for both: wide pixels of channels that
  // fill no vectors are complete in L1 before they are copied there, where weights stay near, too
  // (6 -> 99, 1x1 on 166 x 166 7.9 ms, 3.8; of 21 to 33 channels, or in L3, slower by a tenth). Not
  // measured with longer vectors.
  bool gathers() const {
    constexpr std::int64_t kLeastPixelBytes = 240;
    constexpr double kFar = 10;
    const std::int64_t pixel = problem_.out_channels * machine_.element;
    return tiling_.family == Family::outer && stores_at_once() && problem_.groups == 1 &&
           machine_.lanes * machine_.element == 32 && problem_.out_channels % machine_.lanes != 0 &&
           pixel >= kLeastPixelBytes && pixel * problem_.terms() <= machine_.l1 / 2 &&
           output_bytes() > kFar * static_cast<double>(machine_.l2);
  }

  bool x_is_far() const {
    const double inputs = static_cast<double>(problem_.batch * problem_.in_channels) *
                          static_cast<double>(problem_.out_pixels());
    return problem_.taps() == 1 && problem_.groups == 1 &&
           inputs * machine_.element > static_cast<double>(machine_.l2);
  }

  // An image that L2 does not hold, whose elements have some products each: where they have few, to
  // ask for them takes longer than to wait. With longer vectors not measured.
  bool is_staged_from_afar() const {
    constexpr std::int64_t kFewestProducts = 6;
    const auto& [depth, height, width] = problem_.axis;
    const double rows = static_cast<double>(problem_.groups * problem_.in_channels * height.in);
    return tiling_.family == Family::lanes && tiling_.staging == Staging::patch &&
           machine_.lanes * machine_.element == 32 && !problem_.channels_last && depth.in == 1 &&
           problem_.taps() > 1 &&
           problem_.out_channels * problem_.taps() >=
               kFewestProducts * height.stride * width.stride &&
           rows * static_cast<double>(width.in * machine_.element) >
               static_cast<double>(machine_.l2);
  }

  // Rows of a box that lie side by side.
  bool asks_for_rows() const {
    const Axis& width = problem_.axis[2];
    return is_staged_from_afar() && tiling_.box[2] == width.out && !problem_.complex &&
           same_storage(problem_.x_type, problem_.compute) && x_.axis[2] == machine_.element &&
           x_.axis[1] == width.in * machine_.element;
  }

  bool reads_runs() const {
    return tiling_.family == Family::lanes && tiling_.staging == Staging::patch && x_is_far() &&
           tiling_.panels == 1 && !problem_.channels_last && !has_strides(problem_) &&
           problem_.in_channels >= 2 * kRunPlanes && machine_.lanes * machine_.element < 64;
  }

  // Short runs of terms do not gain what kernel calls cost, nor few filters that slices are staged
  // for each box.
  bool leaves_out_slices() const {
    constexpr double kMostSeen = 0.95;
    constexpr std::int64_t kLeastTaps = 25, kLeastPixels = 128;
    const std::int64_t least_filters = problem_.channels_last ? 32 : 16;
    const auto& [depth, height, width] = problem_.axis;
    return tiling_.staging == Staging::patch && depth.kernel > 1 &&
           height.kernel * width.kernel >= kLeastTaps && problem_.out_channels >= least_filters &&
           height.out * width.out >= kLeastPixels && seen_slices(problem_) < kMostSeen;
  }

  // Whole pixels are copied a row at a time, some channels of them one by one.
  bool cuts_rows_before_channels() const {
    return channels_last_ && tiling_.staging == Staging::patch && has_strides(problem_);
  }

  // Sums that are complete after one call go from registers to the output: boxes of several rows
  // stage fewer rows twice (1 -> 8, 3x3 at full HD: 9.3 ms by boxes of 480 pixels, 7.9).
  bool stores_at_once() const {
    return problem_.channels_last && takes_whole_sums(problem_) &&
           problem_.terms() <= most_terms_of_block();
  }

  // Rows share their loads in fours and their neighbours with the next tile: at least sixteen, and
  // twice the kernel's height, before the width is kept whole.
  template <class Fits>
  void choose_rows_box(Fits fits) {
    constexpr std::int64_t kTile = 4;  // rows of one kernel call
    Index3& box = tiling_.box;
    const Axis& height = problem_.axis[1];
    box[0] = 1;
    const std::int64_t rows =
        std::min(round_up(height.out, kTile),
                 round_up(std::max<std::int64_t>(16, 2 * height.kernel), kTile));
    box[1] = std::min(std::max(rows, kMaxLanesPixels / box[2] / kTile * kTile), height.out);
    while (!fits() && box[2] > 8 * machine_.lanes)
      box[2] = round_up(divide_up(box[2], 2), machine_.lanes);
    while (!fits() && box[1] > kTile) box[1] = round_up(divide_up(box[1], 2), kTile);
    const std::int64_t columns = divide_up(problem_.axis[2].out, box[2]);
    box[2] = std::min(round_up(divide_up(problem_.axis[2].out, columns), machine_.lanes), box[2]);
  }

  // The reduction stays whole where the patch fits; else it is cut by channels, and where one
  // channel is too much by kernel slices, rows and at last single taps.
  void choose_chunks() {
    if (tiling_.staging == Staging::in_place) {
      tiling_.chunks.push_back({0, problem_.terms(), {}});
      return;
    }
    if (tiling_.staging == Staging::columns) {
      const std::int64_t most = std::max<std::int64_t>(budget() / tiling_.pixels(), 16);
      const std::int64_t count = divide_up(problem_.terms(), most);
      const std::int64_t terms = divide_up(problem_.terms(), count);
      for (std::int64_t t = 0; t < problem_.terms(); t += terms)
        tiling_.chunks.push_back({t, std::min(terms, problem_.terms() - t), {}});
      return;
    }
    const std::int64_t one = elements(tiling_.box, 1, all_taps(problem_));
    const std::int64_t channels = std::min(problem_.in_channels, budget() / one);
    if (channels >= 1) {
      tiling_.cuts_slices = leaves_out_slices();
      const std::int64_t count = divide_up(problem_.in_channels, channels);
      const std::int64_t step = reads_runs() && channels > kRunPlanes
                                    ? channels / kRunPlanes * kRunPlanes
                                    : divide_up(problem_.in_channels, count);
      for (std::int64_t c = 0; c < problem_.in_channels; c += step)
        add_chunk(c, std::min(step, problem_.in_channels - c), all_taps(problem_));
      return;
    }
    TapRange range = all_taps(problem_);
    for (int a = 0; a < 3; ++a) {
      while (range.count[a] > 1 && elements(tiling_.box, 1, range) > budget())
        range.count[a] = divide_up(range.count[a], 2);
    }
    for (std::int64_t c = 0; c < problem_.in_channels; ++c) cut_taps(c, range.count);
  }

  void cut_taps(std::int64_t channel, const Index3& step) {
    const auto& axis = problem_.axis;
    TapRange r;
    for (r.first[0] = 0; r.first[0] < axis[0].kernel; r.first[0] += step[0]) {
      for (r.first[1] = 0; r.first[1] < axis[1].kernel; r.first[1] += step[1]) {
        for (r.first[2] = 0; r.first[2] < axis[2].kernel; r.first[2] += step[2]) {
          for (int a = 0; a < 3; ++a) r.count[a] = std::min(step[a], axis[a].kernel - r.first[a]);
          add_chunk(channel, 1, r);
        }
      }
    }
  }

  void add_chunk(std::int64_t channel, std::int64_t channels, const TapRange& taps) {
    Chunk chunk;
    if (!tiling_.chunks.empty())
      chunk.first = tiling_.chunks.back().first + tiling_.chunks.back().terms;
    chunk.terms = channels * taps.count[0] * taps.count[1] * taps.count[2];
    chunk.patch = make_patch(channel, channels, taps);
    tiling_.chunks.push_back(chunk);
  }

  // Weights of one block and panel fill half of L1 (they are read once for every six pixels).
  std::int64_t most_terms_of_block() const {
    const std::int64_t width = tiling_.family == Family::outer ? tiling_.panel : 16;
    return std::min<std::int64_t>(
        std::max<std::int64_t>(machine_.l1 / 2 / (width * machine_.element), 64), machine_.chain);
  }

  void choose_block() {
    const std::int64_t most = reads_runs() ? kRunPlanes : most_terms_of_block();
    std::int64_t longest = 1;
    for (const Chunk& chunk : tiling_.chunks) longest = std::max(longest, chunk.terms);
    tiling_.block = reads_runs() ? most : divide_up(longest, divide_up(longest, most));
  }

  // Only the number of tasks depends on the threads: the blocks and chunks that decide how an
  // output is rounded are chosen by now.
  void split_for_threads() {
    std::int64_t& per_task = tiling_.panels_per_task;
    per_task = tiling_.panels;
    if (tiling_.chunks.size() > 1) {
      const std::int64_t fitting =
          kMaxScratch / machine_.element / (tiling_.pixels() * tiling_.panel);
      per_task = std::clamp<std::int64_t>(fitting, 1, tiling_.panels);
    }
    const auto count = [&] {
      for (int a = 0; a < 3; ++a)
        tiling_.boxes[a] = divide_up(problem_.axis[a].out, tiling_.box[a]);
      tiling_.panel_tasks = divide_up(tiling_.panels, per_task);
      return tiling_.tasks(problem_);
    };
    const std::int64_t threads = machine_.threads;
    while (threads > 1 && count() < 4 * threads && count() % threads != 0) {
      // Smaller boxes first, as long as the weights are still used often enough.
      if (shrink(tiling_.box, kMinThreadPixels)) {
        if (tiling_.family != Family::rows) even_out(problem_, tiling_.box);
        continue;
      }
      if (per_task == 1) break;
      per_task = divide_up(per_task, 2);
    }
    count();
  }

  // Where taps share the vectors of a phase, most loads are of whole vectors from the beginning of
  // a row: of half a line each, if all rows begin with a line or in its middle.
  std::int64_t row_unit(std::int64_t row) const {
    const bool by_halves = machine_.lanes * machine_.element == 32;
    return by_halves && tiling_.family == Family::lanes && !tiling_.flat &&
                   problem_.axis[2].stride > 1 && row >= machine_.lanes
               ? machine_.lanes
               : 1;
  }

  // Whether the patches of all chunks have rows of one length, as those of all taps have. (Zen 3,
  // AVX2, 256 channels to 320, 3 x 1 on 17 x 17: 4.9 ms with a third vector for each row, 3.5.)
  bool rows_follow_in_patches() const {
    const Chunk& chunk = tiling_.chunks.front();
    return tiling_.chunks.size() == 1 ||
           (tiling_.box[1] > 1 && chunk.terms == chunk.patch.channels * problem_.taps());
  }

  void finish_layouts() {
    const std::int64_t line = 64 / machine_.element;
    if (tiling_.staging == Staging::columns) {
      std::int64_t terms = 0;
      for (const Chunk& chunk : tiling_.chunks) terms = std::max(terms, chunk.terms);
      if (tiling_.family == Family::outer) {
        // One vector is written behind the last term; an odd number of lines, as in patch_layout.
        const std::int64_t group = machine_.pixels;
        tiling_.columns_group = group;
        tiling_.columns_pitch = (divide_up(group * terms + machine_.lanes, line) | 1) * line;
        tiling_.stage_elements = divide_up(tiling_.pixels(), group) * tiling_.columns_pitch;
      } else {
        tiling_.columns_pitch = round_up(tiling_.pixels(), line);
        tiling_.stage_elements = terms * tiling_.columns_pitch;
      }
    } else if (tiling_.staging == Staging::patch) {
      std::int64_t row = 0;
      for (const Chunk& chunk : tiling_.chunks)
        row = std::max(row, chunk.patch.axis[2].length(tiling_.box[2]));
      // Running rows through as one computes the columns between them in vain; running them one by
      // one rounds each up to whole vectors, which the kernel then stores itself: that is worth as
      // much as so many terms.
      constexpr std::int64_t kPass = 6;
      const std::int64_t terms = problem_.terms();
      const std::int64_t through =
          round_up((tiling_.box[1] - 1) * row + tiling_.box[2], machine_.lanes);
      const std::int64_t apart = tiling_.box[1] * round_up(tiling_.box[2], machine_.lanes);
      const bool stored = !problem_.channels_last && tiling_.box[2] >= machine_.lanes;
      tiling_.spliced = tiling_.family == Family::lanes && tiling_.box[2] == problem_.axis[2].out &&
                        tiling_.box[1] > 1 && splices_rows(problem_, machine_);
      // Of several parts the sums of all panels wait, so that the pass finds them farther away.
      const bool parts = tiling_.chunks.size() > 1;
      const bool gains = !stored ? through <= apart
                         : parts ? 10 * through < 9 * apart
                                 : through * (terms + kPass) < apart * terms;
      tiling_.flat =
          tiling_.family == Family::lanes && !tiling_.spliced && rows_follow_in_patches() && gains;
      for (Chunk& chunk : tiling_.chunks) {
        chunk.patch.layout =
            patch_layout(chunk.patch, tiling_.box, channels_last_, machine_, row_unit(row));
        tiling_.stage_elements =
            std::max(tiling_.stage_elements, patch_elements(chunk.patch, chunk.patch.layout));
      }
    }
    // Whole vectors are read past the last pixel.
    tiling_.stage_elements = round_up(tiling_.stage_elements + 2 * machine_.lanes, line);
    std::int64_t positions = tiling_.pixels();
    if (tiling_.family != Family::outer)
      positions = lanes_rows(tiling_, tiling_.box, machine_.lanes).total;
    if (tiling_.family == Family::lanes) tiling_.vectors = positions / machine_.lanes;
    tiling_.panel_elements = round_up(positions * tiling_.panel, line);
    tiling_.acc_elements =
        tiling_.panel_elements * (tiling_.chunks.size() > 1 ? tiling_.panels_per_task : 1);
    // What the last vector writes beyond its pixel lies behind the last of them.
    if (tiling_.gathers)
      tiling_.acc_elements = std::max(
          tiling_.acc_elements, round_up(positions * problem_.out_channels + tiling_.panel, line));
  }

  const Problem& problem_;
  const Tensor& x_;
  const Machine& machine_;
  const bool channels_last_;
  PatchOrder order_;
  Tiling tiling_;
};

}  // namespace

OuterPanels make_outer_panels(std::int64_t channels, const Machine& machine) {
  const std::int64_t lanes = machine.lanes, most = machine.out_vecs;
  const std::int64_t whole = channels / lanes, over = channels % lanes;
  // No panel but the last may end with it.
  if (machine.halves && over != 0 && over * 2 <= lanes && (whole <= most || whole % most == 0))
    return {std::clamp<std::int64_t>(whole, 1, most) * lanes, true};
  return {std::min<std::int64_t>(divide_up(channels, lanes), most) * lanes, false};
}

bool splices_rows(const Problem& problem, const Machine& machine) {
  const std::int64_t width = problem.axis[2].out, lanes = machine.lanes;
  if (!machine.splices || width < lanes || width % lanes == 0 || problem.channels_last ||
      problem.axis[1].out == 1 || !takes_whole_sums(problem))
    return false;
  if (width >= 2 * lanes) return true;
  // Until the rows begin with a vector again. Of a tile of six, three may lie in two rows.
  const std::int64_t period = width / std::gcd(width, lanes);
  std::int64_t seams = 0;
  for (std::int64_t i = 0; i < period; ++i) seams += i * lanes % width > width - lanes ? 1 : 0;
  return 2 * seams <= period;
}

bool takes_whole_sums(const Problem& problem) {
  if (problem.complex || !same_storage(problem.y_type, problem.compute)) return false;
  return problem.activation == Activation::none ||
         (is_float(problem.compute) &&
          (problem.activation == Activation::relu || problem.activation == Activation::relu6));
}

Tile tile_of_box(const Problem& problem, const Index3& box, const Index3& boxes,
                 std::int64_t index) {
  Tile tile;
  for (int a = 2; a >= 0; --a) {
    tile.origin[a] = index % boxes[a] * box[a];
    tile.size[a] = std::min(box[a], problem.axis[a].out - tile.origin[a]);
    index /= boxes[a];
  }
  tile.group = index % problem.groups;
  tile.image = index / problem.groups;
  return tile;
}

LanesRows lanes_rows(const Tiling& tiling, const Index3& size, int lanes) {
  LanesRows rows;
  if (tiling.staging == Staging::columns) {
    rows.row = size[2];
    rows.slice = size[1] * size[2];
    rows.total = round_up(size[0] * rows.slice, lanes);
  } else if (tiling.flat) {
    rows.row = tiling.chunks[0].patch.layout.length[2];
    rows.slice = round_up((size[1] - 1) * rows.row + size[2], lanes);
    rows.total = size[0] * rows.slice;
  } else {
    rows.row = round_up(size[2], lanes);
    rows.slice = size[1] * rows.row;
    rows.total = size[0] * rows.slice;
  }
  return rows;
}

Tiling make_tiling(const Problem& problem, const Tensor& x, Staging staging, Family family,
                   bool channels_last, const Machine& machine) {
  return Builder(problem, x, staging, family, channels_last, machine).build();
}

bool can_read_in_place(const Problem& problem, const Tensor& x) {
  return !problem.padded() && can_read_inside(problem, x);
}

bool can_read_inside(const Problem& problem, const Tensor& x) {
  if (!same_storage(problem.x_type, problem.compute)) return false;
  const std::int64_t element = size_of(problem.compute);
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  std::int64_t span = 0;
  const auto add = [&](std::int64_t stride, std::int64_t count) {
    if (stride % element != 0) return false;
    const std::int64_t step = std::abs(stride / element);
    if (step != 0 && count > kMost / step) return false;
    span += step * count;
    return span <= kMost;
  };
  if (x.batch % element != 0) return false;
  const std::int64_t channels = problem.complex ? problem.in_channels / 2 : problem.in_channels;
  if (!add(x.channel, channels) || !add(x.part, 1)) return false;
  for (int a = 0; a < 3; ++a)
    if (!add(x.axis[a], problem.axis[a].in)) return false;
  return true;
}

bool has_neighbouring_rows(const Problem& problem) {
  const Axis& height = problem.axis[1];
  return height.kernel == 1 || height.stride % height.dilation == 0;
}

bool has_unit_channels(const Problem& problem, const Tensor& x) {
  const std::int64_t element = size_of(problem.x_type);
  if (problem.complex) return x.part == element && x.channel == 2 * element;
  return x.channel == element;
}

bool rows_follow(const Problem& problem, const Tensor& tensor) {
  std::int64_t pitch = tensor.axis[2];
  for (int a = 1; a >= 0; --a) {
    pitch *= problem.axis[a + 1].out;
    if (problem.axis[a].out > 1 && tensor.axis[a] != pitch) return false;
  }
  return true;
}

bool has_strides(const Problem& problem) {
  return std::any_of(problem.axis.begin(), problem.axis.end(),
                     [](const Axis& axis) { return axis.stride != 1; });
}

}  // namespace fastconv
