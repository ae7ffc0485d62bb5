#include "algorithms/tile_staging.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "algorithms/tile_packing.hpp"
#include "core/rounding.hpp"

namespace fastconv {
namespace {

// Elements of a row that lie so far apart are picked as they are cut.
constexpr std::int64_t kMostPicked = 2;

// x holds what is staged, whole elements apart.
template <class S>
bool holds_whole(const Problem& problem, const Tensor& x) {
  constexpr std::int64_t kElement = sizeof(S);
  bool whole = x.channel % kElement == 0;
  for (const std::int64_t step : x.axis) whole = whole && step % kElement == 0;
  return holds_staged<S>(problem) && whole && !problem.complex;
}

}  // namespace

template <class S>
TileStaging<S>::TileStaging(const Problem& problem, const TileLayout& layout,
                            const KernelTable& table, const Tensor& x)
    : problem_(problem),
      layout_(layout),
      table_(table),
      kernels_(tile_form(table, layout)),
      x_(x),
      reading_(choose_reading()) {}

template <class S>
bool TileStaging<S>::stage(const Tile& tile, S* room, char* to, const Extremes& allowed,
                           Extremes* extremes) const {
  Patch patch = layout_.patch;
  const std::int64_t channels = layout_.scheme.channels;
  for (std::int64_t s = 0; s < layout_.slabs; ++s, to += layout_.slab_bytes()) {
    if (layout_.gathered) {
      patch.channels = problem_.in_channels;
      if (s == 0) stage_patch<S>(table_, problem_, x_, patch, tile, room);
      cut(tile, patch, room, s * channels, to, extremes);
    } else {
      patch.first_channel = s * channels;
      patch.channels = std::min<std::int64_t>(channels, problem_.in_channels - s * channels);
      if (reading_ == Reading::in_place) {
        cut_in_place(tile, patch, to, extremes);
      } else if (reading_ == Reading::rows) {
        cut_rows(tile, patch, to, extremes);
      } else {
        // The last boxes do not fill their patch.
        if (tile.size != layout_.box)
          std::memset(room, 0, static_cast<std::size_t>(layout_.patch_elements) * sizeof(S));
        stage_patch<S>(table_, problem_, x_, patch, tile, room);
        cut(tile, patch, room, 0, to, extremes);
      }
    }
    if (tiles_look_at_magnitudes(problem_, layout_.product) && !within(*extremes, allowed))
      return false;
  }
  return true;
}

template <class S>
typename TileStaging<S>::Reading TileStaging<S>::choose_reading() const {
  if (layout_.gathered || !holds_whole<S>(problem_, x_)) return Reading::patch;
  if (!layout_.columns) {
    const bool lies = x_.channel == kElement ||
                      (x_.axis[2] == kElement && problem_.axis[2].stride <= kMostPicked);
    const bool plain = !problem_.padded() || problem_.border == Border::constant;
    return lies && plain ? Reading::rows : Reading::patch;
  }
  for (const Axis& a : problem_.axis)
    if (a.stride != 1) return Reading::patch;
  // Whole rows of planes. Tiles that run from row to row read them as one.
  const bool follows = !layout_.run.flat || x_.axis[1] == layout_.row_pitch() * kElement;
  return follows && x_.axis[2] == kElement && !problem_.padded() ? Reading::in_place
                                                                 : Reading::patch;
}

template <class S>
const S* TileStaging<S>::first_channel(const Tile& tile, const Patch& patch) const {
  return reinterpret_cast<const S*>(
      x_.data + tile.image * x_.batch +
      x_.channel_offset(tile.group * problem_.in_channels + patch.first_channel));
}

template <class S>
void TileStaging<S>::cut_in_place(const Tile& tile, const Patch& patch, char* to,
                                  Extremes* extremes) const {
  Patch lies = patch;
  lies.layout.axis = {x_.axis[0] / kElement, x_.axis[1] / kElement, 1};
  lies.layout.channel = x_.channel / kElement;
  const S* from = first_channel(tile, patch);
  for (int a = 0; a < 3; ++a) from += tile.origin[a] * lies.layout.axis[a];
  cut(tile, lies, from, 0, to, extremes);
}

// The positions of a patch, with a border of one value, without the patch.
template <class S>
void TileStaging<S>::cut_rows(const Tile& tile, const Patch& patch, char* to,
                              Extremes* extremes) const {
  const auto& [depth, height, width] = problem_.axis;
  const auto& [pd, ph, pw] = patch.axis;
  TilePositionsArgs args{nullptr,
                         x_.axis[2] / kElement * width.stride,
                         x_.channel / kElement,
                         0,
                         patch.channels,
                         nullptr,
                         layout_.part_bytes(),
                         tile_offset(problem_, layout_.product),
                         extremes};
  if (args.channel != 1) args.position = width.stride;
  const BorderPosition border(*this, patch.channels, extremes);
  const auto fill = [&](std::int64_t position, std::int64_t count) {
    for (int s = 0; s < layout_.scheme.parts; ++s)
      for (std::int64_t p = position; p < position + count; ++p)
        std::memcpy(to + s * layout_.part_bytes() + p * 64, border.bytes + s * 64, 64);
  };
  const std::int64_t count = tile.size[2] + pw.extent;
  // Of one row of each of the phases that lie in it.
  const auto cut_row = [&](std::int64_t slice, std::int64_t line, std::int64_t row) {
    const bool outside = slice < 0 || slice >= depth.in || line < 0 || line >= height.in;
    for (std::int64_t f = 0; f < pw.phases; ++f, row += layout_.phase_positions()) {
      // Positions [inside, beyond) lie in x.
      const std::int64_t from =
          (tile.origin[2] + pw.first) * width.stride + pw.residue(f) - width.lo;
      const auto up_to = [&](std::int64_t bound) {
        return std::clamp<std::int64_t>(divide_up(bound - from, width.stride), 0, count);
      };
      const std::int64_t inside = from < 0 ? up_to(0) : 0;
      const std::int64_t beyond = from < width.in ? std::max(up_to(width.in), inside) : inside;
      if (outside || beyond == inside) {
        fill(row, count);
        continue;
      }
      fill(row, inside);
      args.from = first_channel(tile, patch) + (slice * x_.axis[0] + line * x_.axis[1] +
                                                (from + inside * width.stride) * x_.axis[2]) /
                                                   kElement;
      args.to = to + (row + inside) * 64;
      args.positions = beyond - inside;
      kernels_.positions(args);
      fill(row + beyond, count - beyond);
    }
  };
  std::int64_t block = 0;
  for (std::int64_t fd = 0; fd < pd.phases; ++fd) {
    for (std::int64_t fh = 0; fh < ph.phases;
         ++fh, block += pw.phases * layout_.phase_positions()) {
      for (std::int64_t d = 0; d < tile.size[0] + pd.extent; ++d) {
        const std::int64_t slice =
            (tile.origin[0] + pd.first + d) * depth.stride + pd.residue(fd) - depth.lo;
        for (std::int64_t h = 0; h < tile.size[1] + ph.extent; ++h)
          cut_row(slice,
                  (tile.origin[1] + ph.first + h) * height.stride + ph.residue(fh) - height.lo,
                  block + d * layout_.slice_pitch() + h * layout_.row_pitch());
      }
    }
  }
}

template <class S>
TileStaging<S>::BorderPosition::BorderPosition(const TileStaging& staging, std::int64_t channels,
                                               Extremes* extremes) {
  const Problem& problem = staging.problem_;
  if (!problem.padded()) return;
  S fill[64];
  for (S& value : fill) {
    if constexpr (std::is_same_v<S, float>)
      value = problem.fill[0].f32;
    else
      value = static_cast<S>(problem.fill[0].i32);
  }
  staging.kernels_.positions({fill, 64, 1, 1, channels, bytes, 64,
                              tile_offset(problem, staging.layout_.product), extremes});
}

template <class S>
void TileStaging<S>::cut(const Tile& tile, const Patch& patch, const S* from,
                         std::int64_t first_term, char* to, Extremes* extremes) const {
  const Index3& step = patch.layout.axis;
  TilePositionsArgs args{
      from,           step[2], patch.layout.channel, 0,
      patch.channels, to,      layout_.part_bytes(), tile_offset(problem_, layout_.product),
      extremes};
  if (layout_.gathered) {
    args.term = layout_.term.data() + first_term;
    args.channels = std::min<std::int64_t>(layout_.scheme.channels, problem_.terms() - first_term);
  } else if (!layout_.columns) {
    args.positions = patch.layout.phase / step[2];
    for (const PatchAxis& a : patch.axis) args.positions *= a.phases;
    return kernels_.positions(args);
  }
  layout_.for_each_run(tile.size, [&](const Index3& at) {
    const Index3 size = layout_.size_of_run(tile.size, at);
    const S* row = from + at[0] * step[0] + at[1] * step[1] + at[2];
    args.to = to + layout_.run_at(at) * layout_.most_tiles * kTileBytes;
    // Tiles do not run from row to row, where a row may end within one.
    const std::int64_t rows = layout_.run.flat ? 1 : size[1];
    args.positions = layout_.run.flat ? (size[1] - 1) * step[1] + size[2] : size[2];
    for (std::int64_t h = 0; h < rows; ++h, row += step[1]) {
      args.from = row;
      kernels_.positions(args);
      args.to += divide_up(size[2], kTileRows) * kTileBytes;
    }
  });
}

template class TileStaging<float>;
template class TileStaging<std::uint8_t>;
template class TileStaging<std::int16_t>;

}  // namespace fastconv
