#include "pack/stage_planes.hpp"

#include <algorithm>
#include <array>

#include "pack/convert.hpp"

namespace fastconv {
namespace {

// Planes of the compute type, with a border of one value or none, and no depth.
template <class T>
bool are_plain(const Problem& problem, const Tensor& x) {
  constexpr std::int64_t kElement = sizeof(T);
  const Axis& depth = problem.axis[0];
  return !problem.complex && same_storage(problem.x_type, problem.compute) &&
         x.axis[2] == kElement && x.axis[1] % kElement == 0 && depth.in == 1 && depth.out == 1 &&
         depth.kernel == 1 && depth.lo == 0 &&
         (!problem.padded() || problem.border == Border::constant);
}

// A patch of planes with a horizontal stride of 2 and more, all phases of a row at once: whole
// planes a call. The kernel stores whole vectors where the stride is 2, for which `layout.room`
// leaves space. False where the problem is another one.
template <class T>
bool stage_strided(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                   const Patch& patch, const Tile& tile, T* to) {
  constexpr std::int64_t kElement = sizeof(T);
  constexpr std::int64_t kMostStride = 32;
  const auto& [pd, ph, pw] = patch.axis;
  const auto& [depth, height, width] = problem.axis;
  const PatchLayout& layout = patch.layout;
  const std::int64_t s = pw.stride, phases = pw.phases;
  if (s < 2 || s > kMostStride || layout.axis[2] != 1) return false;
  if (s == 2) {
    // The kernel's two rows are even columns and odd ones: phase 0 is even but where the taps begin
    // with an odd one.
    if (phases != 2 || pw.residue(0) != 0 || layout.room < kernels.set<T>().lanes) return false;
  } else {
    // Phase f holds columns f, f + s, ...; strides of 3 and 4 are dealt out to all of them.
    if (pw.k0 != 0 || pw.dilation != 1 || (s <= 4 && phases != s)) return false;
  }
  // Padded columns [base, base + s * count), of which [inside, beyond) are in x.
  const std::int64_t count = tile.size[2] + pw.extent;
  const std::int64_t base = (tile.origin[2] + pw.first) * s;
  const std::int64_t inside = std::clamp(width.lo, base, base + s * count);
  const std::int64_t beyond = std::clamp(width.lo + width.in, inside, base + s * count);
  const std::int64_t skipped = inside - base;
  // Of phase f, positions [left, right) show x.
  std::array<std::int64_t, kMostStride> left, right;
  for (std::int64_t f = 0; f < phases; ++f) {
    const std::size_t i = static_cast<std::size_t>(f);
    left[i] = std::clamp<std::int64_t>((inside - base - f + s - 1) / s, 0, count);
    right[i] = std::clamp<std::int64_t>((beyond - base - f + s - 1) / s, left[i], count);
  }
  const std::uint32_t all = phases < 32 ? (std::uint32_t{1} << phases) - 1 : ~std::uint32_t{0};
  const T fill = scalar_as<T>(problem.fill[0]);
  const std::int64_t rows = tile.size[1] + ph.extent;
  const char* const plane = x.data + tile.image * x.batch;
  for (std::int64_t c = 0; c < patch.channels; ++c) {
    const char* const channel =
        plane + x.channel_offset(tile.group * problem.in_channels + patch.first_channel + c);
    T* block = to + c * layout.channel;
    for (std::int64_t f = 0; f < ph.phases; ++f, block += phases * layout.phase) {
      // Rows [top, bottom) of this phase are in x.
      const std::int64_t source =
          (tile.origin[1] + ph.first) * ph.stride + ph.residue(f) - height.lo;
      const auto rows_to = [&](std::int64_t bound) {
        return std::clamp<std::int64_t>((bound - source + ph.stride - 1) / ph.stride, 0, rows);
      };
      const std::int64_t top = source >= 0 ? 0 : rows_to(0);
      const std::int64_t bottom = source >= height.in ? 0 : rows_to(height.in);
      if (bottom > top && beyond > inside)
        kernels.set<T>().plane_stage(
            {reinterpret_cast<const T*>(channel + (source + top * ph.stride) * x.axis[1] +
                                        (inside - width.lo) * kElement),
             ph.stride * x.axis[1] / kElement, bottom - top, beyond - inside, s, skipped,
             layout.phase, all, fill, block + top * layout.axis[1], layout.axis[1]});
      for (std::int64_t h = 0; h < rows; ++h) {
        T* row = block + h * layout.axis[1];
        for (std::int64_t g = 0; g < phases; ++g, row += layout.phase) {
          const std::size_t i = static_cast<std::size_t>(g);
          if (h < top || h >= bottom) {
            std::fill_n(row, count, fill);
          } else {
            std::fill(row, row + left[i], fill);
            std::fill(row + right[i], row + count, fill);
          }
        }
      }
    }
  }
  return true;
}

// A patch of planes with a stride of 1, a whole plane a call (96 channels of 7 x 7 in a border of
// one: 11 -> 4 us). Up to two vectors behind the last row are overwritten. False where the problem
// is another one.
template <class T>
bool stage_by_one(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                  const Patch& patch, const Tile& tile, T* to) {
  constexpr std::int64_t kElement = sizeof(T);
  constexpr std::int64_t kMostColumns = 128;  // longer rows are copied as fast one by one
  const auto& [pd, ph, pw] = patch.axis;
  const auto& [depth, height, width] = problem.axis;
  const PatchLayout& layout = patch.layout;
  if (ph.stride != 1 || pw.stride != 1 || layout.axis[2] != 1) return false;
  // Padded columns from `base` on, of which those from `inside` on are in x, and rows of the patch,
  // of which [first, last) are.
  const std::int64_t count = tile.size[2] + pw.extent, rows = tile.size[1] + ph.extent;
  const std::int64_t base = tile.origin[2] + pw.first;
  const std::int64_t inside = std::clamp(width.lo, base, base + count);
  const std::int64_t columns = std::clamp(width.lo + width.in, inside, base + count) - inside;
  const std::int64_t source = tile.origin[1] + ph.first - height.lo;
  const std::int64_t first = std::clamp<std::int64_t>(-source, 0, rows);
  const std::int64_t last = std::clamp<std::int64_t>(height.in - source, first, rows);
  if (columns <= 0 || columns > kMostColumns || last == first) return false;
  const std::int64_t left = inside - base, right = count - left - columns;
  const std::int64_t pitch = layout.axis[1], lanes = kernels.set<T>().lanes;
  // A vector of the fill value follows a short row: what is beside it and before the next one.
  const bool covered = columns < lanes && left + right <= lanes;
  const T fill = scalar_as<T>(problem.fill[0]);
  const char* const from =
      x.data + tile.image * x.batch + (source + first) * x.axis[1] + (inside - width.lo) * kElement;
  for (std::int64_t c = 0; c < patch.channels; ++c) {
    const std::int64_t channel = tile.group * problem.in_channels + patch.first_channel + c;
    T* const plane = to + c * layout.channel;
    T* const begin = plane + first * pitch + left;
    std::fill(plane, begin, fill);
    kernels.set<T>().plane_stage({reinterpret_cast<const T*>(from + x.channel_offset(channel)),
                                  x.axis[1] / kElement, last - first, columns, 1, 0, 0, 1, fill,
                                  begin, pitch});
    for (std::int64_t h = first; !covered && h < last; ++h) {
      T* const row = plane + h * pitch;
      std::fill_n(row, left, fill);
      std::fill_n(row + left + columns, right, fill);
    }
    std::fill(plane + (last - 1) * pitch + left + columns, plane + (rows - 1) * pitch + count,
              fill);
  }
  return true;
}

}  // namespace

template <class T>
bool stage_planes(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                  const Patch& patch, const Tile& tile, T* to) {
  if (!are_plain<T>(problem, x)) return false;
  return stage_strided<T>(kernels, problem, x, patch, tile, to) ||
         stage_by_one<T>(kernels, problem, x, patch, tile, to);
}

#define FASTCONV_INSTANTIATE(T)                                                                  \
  template bool stage_planes<T>(const KernelTable&, const Problem&, const Tensor&, const Patch&, \
                                const Tile&, T*);
FASTCONV_INSTANTIATE(float)
FASTCONV_INSTANTIATE(double)
FASTCONV_INSTANTIATE(std::int32_t)
FASTCONV_INSTANTIATE(std::int64_t)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
