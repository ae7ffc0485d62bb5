#include "pack/lattice.hpp"

#include <algorithm>
#include <utility>

#include "core/border.hpp"
#include "pack/convert.hpp"
#include "pack/row_reader.hpp"
#include "simd/inline.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostPrefetched = 2048;  // bytes of a row: further ones come by themselves

// Calls row(index of the row, source row without its channel or null).
template <class Row>
void for_each_lattice_row(const Problem& problem, const Tensor& x, std::int64_t image,
                          const Lattice& lattice, Row row) {
  for (std::int64_t d = 0; d < lattice.count[0]; ++d) {
    bool filled_d = false;
    const std::int64_t slice =
        axis_offset(problem, x, 0, lattice.first[0] + d * lattice.step[0], filled_d);
    for (std::int64_t h = 0; h < lattice.count[1]; ++h) {
      bool filled = filled_d;
      const std::int64_t line =
          axis_offset(problem, x, 1, lattice.first[1] + h * lattice.step[1], filled);
      row(d * lattice.count[1] + h, filled ? nullptr : x.data + image * x.batch + slice + line);
    }
  }
}

}  // namespace

void locate_rows(const Problem& problem, const Tensor& x, std::int64_t image,
                 const Lattice& lattice, std::int64_t* offset) {
  for_each_lattice_row(problem, x, image, lattice, [&](std::int64_t index, const char* row) {
    offset[index] = row == nullptr ? kFilledRow : row - x.data;
  });
}

template <class T>
void lattice_rows(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                  const Lattice& lattice, const std::int64_t* offset, std::int64_t channel,
                  T* buffer, const T** rows) {
  const RowReader<T> reader(kernels, problem, x, lattice.step[2]);
  const std::int64_t count = lattice.count[2];
  const auto span = reader.span(lattice.first[2], count);
  const bool in_place = reader.copies() && span.inside == 0 && span.beyond == count;
  const T fill = scalar_as<T>(problem.fill[problem.complex ? channel & 1 : 0]);
  const char* const plane = x.data + x.channel_offset(channel);
  for (std::int64_t i = 0; i < lattice.count[0] * lattice.count[1]; ++i, buffer += count) {
    if (in_place && offset[i] != kFilledRow) {
      rows[i] = reinterpret_cast<const T*>(plane + offset[i] + span.offset);
      continue;
    }
    reader.read(offset[i] == kFilledRow ? nullptr : plane + offset[i], fill, span, count, buffer,
                1);
    rows[i] = buffer;
  }
}

void prefetch_rows(const Problem& problem, const Tensor& x, const Lattice& lattice,
                   const std::int64_t* offset, std::int64_t channel) {
  const Axis& width = problem.axis[2];
  const auto clip = [&](std::int64_t position) {
    return std::clamp<std::int64_t>(position - width.lo, 0, width.in - 1) * x.axis[2];
  };
  const std::int64_t last = lattice.first[2] + (lattice.count[2] - 1) * lattice.step[2];
  std::int64_t begin = clip(lattice.first[2]), end = clip(last);
  if (begin > end) std::swap(begin, end);
  if (end - begin > kMostPrefetched) return;
  const char* const plane = x.data + x.channel_offset(channel);
  for (std::int64_t i = 0; i < lattice.count[0] * lattice.count[1]; ++i) {
    if (offset[i] == kFilledRow) continue;
    const char* const row = plane + offset[i];
    for (std::int64_t at = begin; at < end; at += 64) FASTCONV_PREFETCH(row + at);
    FASTCONV_PREFETCH(row + end);
  }
}

template <class T>
void stage_lattice_channels_last(const KernelTable& kernels, const Problem& problem,
                                 const Tensor& x, std::int64_t image, std::int64_t group,
                                 const Lattice& lattice, std::int64_t pitch, T* to) {
  const Axis& width = problem.axis[2];
  const std::int64_t channels = problem.in_channels, element = size_of(problem.x_type);
  const std::int64_t offset = x.channel_offset(group * channels);
  const std::int64_t step = problem.complex ? element : x.channel;
  const T fill[2] = {scalar_as<T>(problem.fill[0]), scalar_as<T>(problem.fill[1])};
  // Planes are turned, a row of them at a time.
  const bool turns = !problem.complex && same_storage(problem.x_type, problem.compute) &&
                     lattice.step[2] == 1 && x.axis[2] == element && step != element &&
                     step % element == 0;
  const std::int64_t first = width.lo - lattice.first[2];  // of the input
  const std::int64_t begin = std::clamp<std::int64_t>(first, 0, lattice.count[2]);
  const std::int64_t end = std::clamp<std::int64_t>(first + width.in, begin, lattice.count[2]);
  for_each_lattice_row(problem, x, image, lattice, [&](std::int64_t index, const char* row) {
    T* const line = to + index * lattice.count[2] * pitch;
    if (turns && row != nullptr && begin < end)
      kernels.set<T>().pack({reinterpret_cast<const T*>(row + offset + (begin - first) * element),
                             step / element, channels, end - begin, line + begin * pitch, pitch});
    for (std::int64_t i = 0; i < lattice.count[2]; ++i) {
      if (turns && row != nullptr && i >= begin && i < end) continue;
      T* const at = line + i * pitch;
      const std::int64_t position = lattice.first[2] + i * lattice.step[2] - width.lo;
      const std::int64_t source =
          row == nullptr ? -1 : source_index(problem.border, width, position);
      if (source < 0) {
        for (std::int64_t c = 0; c < channels; ++c) at[c] = fill[problem.complex ? c & 1 : 0];
      } else {
        read_row<T>(kernels, problem.x_type, row + offset + source * x.axis[2], step, at, 1,
                    channels);
      }
      std::fill(at + channels, at + pitch, T(0));
    }
  });
}

#define FASTCONV_INSTANTIATE(T)                                                                    \
  template void lattice_rows<T>(const KernelTable&, const Problem&, const Tensor&, const Lattice&, \
                                const std::int64_t*, std::int64_t, T*, const T**);                 \
  template void stage_lattice_channels_last<T>(const KernelTable&, const Problem&, const Tensor&,  \
                                               std::int64_t, std::int64_t, const Lattice&,         \
                                               std::int64_t, T*);
FASTCONV_INSTANTIATE(float)
FASTCONV_INSTANTIATE(double)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
