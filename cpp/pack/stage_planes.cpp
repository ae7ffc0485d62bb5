#include "pack/stage_planes.hpp"

#include <algorithm>
#include <array>

#include "pack/convert.hpp"

namespace fastconv {
namespace {

// Planes and slices of the compute type, with a border of one value or none.
template <class T>
bool are_plain(const Problem& problem, const Tensor& x) {
  constexpr std::int64_t kElement = sizeof(T);
  return !problem.complex && same_storage(problem.x_type, problem.compute) &&
         x.axis[2] == kElement && x.axis[1] % kElement == 0 &&
         (problem.axis[0].in == 1 || x.axis[0] % kElement == 0) &&
         (!problem.padded() || problem.border == Border::constant);
}

// The rows of one slice and vertical phase, of which [top, bottom) are in x.
struct PlaneRows {
  std::int64_t from;  // bytes before row `top`, column 0, of a channel
  std::int64_t to;    // elements before them in a channel of the patch
  std::int64_t top;
  std::int64_t bottom;
};

// Calls stage(rows, first element of x, first element of the patch), in the order of the patch for
// each channel: what is staged may overwrite what follows. Where rows lie is the same for all
// channels, found once for up to so many slices.
template <class T, class Stage>
void for_each_plane(const Problem& problem, const Tensor& x, const Patch& patch, const Tile& tile,
                    T* to, Stage stage) {
  const auto& [pd, ph, pw] = patch.axis;
  const Axis& depth = problem.axis[0];
  const Axis& height = problem.axis[1];
  const PatchLayout& layout = patch.layout;
  const std::int64_t slices = pd.length(tile.size[0]), rows = ph.length(tile.size[1]);
  const std::int64_t first = tile.group * problem.in_channels + patch.first_channel;
  const char* const image = x.data + tile.image * x.batch;
  std::array<PlaneRows, 32> planes;
  // The end of a channel is overwritten by the next one, which must not be there before.
  const bool at_once = pd.phases * ph.phases * slices <= static_cast<std::int64_t>(planes.size());
  for (std::int64_t begin = 0; begin < patch.channels;) {
    const std::int64_t end = at_once ? patch.channels : begin + 1;
    std::size_t count = 0;
    const auto stage_all = [&] {
      for (std::int64_t c = begin; c < end; ++c) {
        const char* const channel = image + x.channel_offset(first + c);
        T* const at = to + c * layout.channel;
        for (std::size_t i = 0; i < count; ++i)
          stage(planes[i], reinterpret_cast<const T*>(channel + planes[i].from), at + planes[i].to);
      }
      count = 0;
    };
    std::int64_t block = 0;
    for (std::int64_t fd = 0; fd < pd.phases; ++fd) {
      for (std::int64_t fh = 0; fh < ph.phases; ++fh, block += pw.phases * layout.phase) {
        const std::int64_t row = ph.begin(tile.origin[1]) + ph.residue(fh) - height.lo;
        const auto rows_to = [&](std::int64_t bound) {
          return bound <= row ? 0 : std::min((bound - row - 1) / ph.stride + 1, rows);
        };
        const std::int64_t top = rows_to(0), bottom = rows_to(height.in);
        std::int64_t slice = pd.begin(tile.origin[0]) + pd.residue(fd) - depth.lo;
        for (std::int64_t d = 0; d < slices; ++d, slice += pd.stride) {
          const std::int64_t at = block + d * layout.axis[0];
          planes[count] = {0, at, 0, 0};
          if (slice >= 0 && slice < depth.in)
            planes[count] = {slice * x.axis[0] + (row + top * ph.stride) * x.axis[1], at, top,
                             bottom};
          if (++count == planes.size()) stage_all();
        }
      }
    }
    stage_all();
    begin = end;
  }
}

// Padded columns from `base` on, of which [inside, beyond) are in x.
struct ColumnRange {
  std::int64_t base, inside, beyond;

  ColumnRange(const Axis& width, std::int64_t first, std::int64_t count)
      : base(first),
        inside(std::clamp(width.lo, base, base + count)),
        beyond(std::clamp(width.lo + width.in, inside, base + count)) {}
};

// A patch of planes with a horizontal stride of 2 and more, all phases of a row at once: whole
// planes a call. The kernel stores whole vectors where the stride is 2, for which `layout.room`
// leaves space. False where the problem is another one.
template <class T>
bool stage_strided(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                   const Patch& patch, const Tile& tile, T* to) {
  constexpr std::int64_t kMostStride = 32;
  const PatchAxis& pw = patch.axis[2];
  const Axis& width = problem.axis[2];
  const PatchLayout& layout = patch.layout;
  const std::int64_t s = pw.stride, phases = pw.phases;
  if (s < 2 || s > kMostStride || layout.axis[2] != 1) return false;
  // Phase f must hold columns f, f + s, ...; of strides above 4 only those that taps see.
  const bool seen = pw.k0 == 0 && (pw.dilation == 1 || s == 2) && (s > 4 || phases == s);
  if (!pw.dealt && !seen) return false;
  if (s == 2 && layout.room < kernels.set<T>().lanes) return false;
  const std::int64_t count = pw.length(tile.size[2]), rows = patch.axis[1].length(tile.size[1]);
  const std::int64_t pitch = patch.layout.axis[1];
  const std::int64_t from_pitch = patch.axis[1].stride * x.axis[1] / std::int64_t{sizeof(T)};
  // Single elements are read as fast one by one.
  if (count == 1 && rows == 1) return false;
  const ColumnRange columns(width, pw.begin(tile.origin[2]), s * count);
  const std::int64_t skipped = columns.inside - columns.base;
  // Of phase f, positions [left, right) show x.
  std::array<std::int64_t, kMostStride> left, right;
  bool bordered = false;
  for (std::int64_t f = 0; f < phases; ++f) {
    const std::size_t i = static_cast<std::size_t>(f);
    left[i] = std::clamp<std::int64_t>((skipped - f + s - 1) / s, 0, count);
    right[i] =
        std::clamp<std::int64_t>((columns.beyond - columns.base - f + s - 1) / s, left[i], count);
    bordered = bordered || left[i] > 0 || right[i] < count;
  }
  const std::uint32_t all = phases < 32 ? (std::uint32_t{1} << phases) - 1 : ~std::uint32_t{0};
  const T fill = scalar_as<T>(problem.fill[0]);
  for_each_plane(problem, x, patch, tile, to, [&](const PlaneRows& r, const T* from, T* at) {
    if (r.bottom > r.top && columns.beyond > columns.inside)
      kernels.set<T>().plane_stage({from + (columns.inside - width.lo), from_pitch,
                                    r.bottom - r.top, columns.beyond - columns.inside, s, skipped,
                                    layout.phase, all, fill, at + r.top * pitch, pitch});
    if (!bordered && r.top == 0 && r.bottom == rows) return;
    T* phase = at;
    for (std::int64_t f = 0; f < phases; ++f, phase += layout.phase) {
      std::fill_n(phase, r.top * pitch, fill);
      if (bordered) {
        const std::size_t i = static_cast<std::size_t>(f);
        T* row = phase + r.top * pitch;
        for (std::int64_t h = r.top; h < r.bottom; ++h, row += pitch) {
          std::fill(row, row + left[i], fill);
          std::fill(row + right[i], row + count, fill);
        }
      }
      std::fill_n(phase + r.bottom * pitch, (rows - r.bottom) * pitch, fill);
    }
  });
  return true;
}

// A patch whose columns lie as in x, a whole plane a call (96 channels of 7 x 7 in a border of one:
// 11 -> 4 us). Up to two vectors behind the last row are overwritten. False where the problem is
// another one.
template <class T>
bool stage_in_order(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                    const Patch& patch, const Tile& tile, T* to) {
  constexpr std::int64_t kMostColumns = 128;  // longer rows are copied as fast one by one
  const PatchAxis& pw = patch.axis[2];
  const Axis& width = problem.axis[2];
  if (pw.stride != 1 || patch.layout.axis[2] != 1) return false;
  const std::int64_t count = pw.length(tile.size[2]), rows = patch.axis[1].length(tile.size[1]);
  const std::int64_t pitch = patch.layout.axis[1];
  const std::int64_t from_pitch = patch.axis[1].stride * x.axis[1] / std::int64_t{sizeof(T)};
  const ColumnRange range(width, pw.begin(tile.origin[2]), count);
  const std::int64_t columns = range.beyond - range.inside;
  if (columns <= 0 || columns > kMostColumns) return false;
  const std::int64_t left = range.inside - range.base, right = count - left - columns;
  const std::int64_t lanes = kernels.set<T>().lanes;
  // A vector of the fill value follows a short row: what is beside it and before the next one.
  const bool covered = columns < lanes && pitch - columns <= lanes;
  const T fill = scalar_as<T>(problem.fill[0]);
  for_each_plane(problem, x, patch, tile, to, [&](const PlaneRows& r, const T* from, T* at) {
    if (r.bottom == r.top) {
      std::fill_n(at, rows * pitch, fill);
      return;
    }
    T* const begin = at + r.top * pitch + left;
    std::fill(at, begin, fill);
    kernels.set<T>().plane_stage({from + (range.inside - width.lo), from_pitch, r.bottom - r.top,
                                  columns, 1, 0, 0, 1, fill, begin, pitch});
    for (std::int64_t h = r.top; !covered && h < r.bottom; ++h) {
      T* const row = at + h * pitch;
      std::fill_n(row, left, fill);
      std::fill_n(row + left + columns, right, fill);
    }
    std::fill(begin + (r.bottom - r.top - 1) * pitch + columns, at + rows * pitch, fill);
  });
  return true;
}

}  // namespace

template <class T>
bool stage_planes(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                  const Patch& patch, const Tile& tile, T* to) {
  if (!are_plain<T>(problem, x)) return false;
  return stage_strided<T>(kernels, problem, x, patch, tile, to) ||
         stage_in_order<T>(kernels, problem, x, patch, tile, to);
}

#define FASTCONV_INSTANTIATE(T)                                                                  \
  template bool stage_planes<T>(const KernelTable&, const Problem&, const Tensor&, const Patch&, \
                                const Tile&, T*);
FASTCONV_FOR_EACH_COMPUTE_TYPE(FASTCONV_INSTANTIATE)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
