#include "pack/stage.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "core/border.hpp"
#include "pack/convert.hpp"
#include "pack/row_reader.hpp"
#include "pack/square.hpp"
#include "pack/stage_planes.hpp"

namespace fastconv {

PatchOrder order_for_lanes(const Problem& problem) {
  const bool one_row = problem.axis[0].in == 1 && problem.axis[1].in == 1;
  return one_row ? PatchOrder::seen : PatchOrder::dealt;
}

PatchAxis PatchAxis::make(const Axis& axis, std::int64_t k0, std::int64_t k1, PatchOrder order) {
  constexpr std::int64_t kMostDealt = 4;
  PatchAxis p;
  p.k0 = k0;
  p.k1 = k1;
  p.dilation = axis.dilation;
  if (order == PatchOrder::whole) {
    p.step = axis.stride;
  } else if (axis.stride > 1) {
    p.stride = axis.stride;
    p.phases = std::min(k1 - k0, axis.stride / std::gcd(axis.stride, axis.dilation));
    p.dealt = order == PatchOrder::dealt && p.phases > 1 && p.stride <= kMostDealt && axis.out > 1;
    if (p.dealt) p.phases = p.stride;
  }
  p.first = k0 * axis.dilation / p.stride;
  p.extent = (k1 - 1) * axis.dilation / p.stride - p.first;
  return p;
}

namespace {

// Calls row(offset in the patch, source row without its channel or null, first padded column).
template <class Row>
void for_each_row(const Problem& problem, const Tensor& x, const Patch& patch, const Tile& tile,
                  Row row) {
  const auto& [pd, ph, pw] = patch.axis;
  const PatchLayout& layout = patch.layout;
  // The phases of one source row one after the other, while it is in L1 (of the same: 84 -> 53 us).
  std::int64_t block = 0;
  for (std::int64_t fd = 0; fd < pd.phases; ++fd) {
    for (std::int64_t fh = 0; fh < ph.phases; ++fh, block += pw.phases * layout.phase) {
      for (std::int64_t d = 0; d < pd.length(tile.size[0]); ++d) {
        bool filled_d = false;
        const std::int64_t slice = axis_offset(
            problem, x, 0, pd.begin(tile.origin[0]) + d * pd.stride + pd.residue(fd), filled_d);
        for (std::int64_t h = 0; h < ph.length(tile.size[1]); ++h) {
          bool filled = filled_d;
          const std::int64_t line = axis_offset(
              problem, x, 1, ph.begin(tile.origin[1]) + h * ph.stride + ph.residue(fh), filled);
          const char* const from = filled ? nullptr : x.data + tile.image * x.batch + slice + line;
          const std::int64_t to = block + d * layout.axis[0] + h * layout.axis[1];
          for (std::int64_t fw = 0; fw < pw.phases; ++fw)
            row(to + fw * layout.phase, from, pw.begin(tile.origin[2]) + pw.residue(fw));
        }
      }
    }
  }
}

// Pixels of few channels each, which the compiler copies at once where it knows how many they are
// (3 -> 32 channels, 3 x 3, stride 2, of 224 x 224: a fifth of the time, now a twentieth).
template <class T, int Channels>
void copy_pixels_of(const T* from, std::int64_t from_pitch, std::int64_t pixels, T* to,
                    std::int64_t to_pitch) {
  for (std::int64_t i = 0; i < pixels; ++i, from += from_pitch, to += to_pitch)
    std::memcpy(to, from, Channels * sizeof(T));
}

template <class T>
void copy_pixels(const T* from, std::int64_t from_pitch, std::int64_t pixels, std::int64_t channels,
                 T* to, std::int64_t to_pitch) {
  constexpr std::int64_t kWord = 16 / sizeof(T), kMost = 512 / sizeof(T);
  const auto copy_word = [](const T* word, T* at) { std::memcpy(at, word, kWord * sizeof(T)); };
  if (channels > kMost) {
    for (std::int64_t i = 0; i < pixels; ++i, from += from_pitch, to += to_pitch)
      std::memcpy(to, from, static_cast<std::size_t>(channels) * sizeof(T));
    return;
  }
  if (channels > kWord) {
    // The last word of a pixel overlaps the one before it.
    const std::int64_t last = channels - kWord;
    for (std::int64_t i = 0; i < pixels; ++i, from += from_pitch, to += to_pitch) {
      for (std::int64_t c = 0; c < last; c += kWord) copy_word(from + c, to + c);
      copy_word(from + last, to + last);
    }
    return;
  }
  switch (channels) {
    case 1:
      return copy_pixels_of<T, 1>(from, from_pitch, pixels, to, to_pitch);
    case 2:
      return copy_pixels_of<T, 2>(from, from_pitch, pixels, to, to_pitch);
    case 3:
      return copy_pixels_of<T, 3>(from, from_pitch, pixels, to, to_pitch);
    case 4:
      return copy_pixels_of<T, 4>(from, from_pitch, pixels, to, to_pitch);
    default:
      for (std::int64_t i = 0; i < pixels; ++i, from += from_pitch, to += to_pitch)
        for (std::int64_t c = 0; c < channels; ++c) to[c] = from[c];
  }
}

// to[c * to_pitch + i] = from[i * from_pitch + c]: pixels whose channels lie side by side become
// rows of one channel, a block of pixels at a time, so that a line is read but once.
template <class T>
void separate_channels(const KernelTable& kernels, const T* from, std::int64_t from_pitch,
                       std::int64_t pixels, std::int64_t channels, T* to, std::int64_t to_pitch) {
  if constexpr (!kIsNarrow<T>)
    if (channels % kernels.set<T>().lanes == 0)
      return kernels.set<T>().store(
          {from, from_pitch, 1, pixels, channels, to, 1, to_pitch, nullptr, Activation::none});
  std::int64_t first = 0;
  if (channels == kSquare) {
    for (; first + kSquare <= pixels; first += kSquare)
      turn_square(from + first * from_pitch, from_pitch, to + first, to_pitch);
  }
  constexpr std::int64_t kBlock = 16;
  for (std::int64_t p = first; p < pixels; p += kBlock) {
    const std::int64_t end = std::min(p + kBlock, pixels);
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t i = p; i < end; ++i) to[c * to_pitch + i] = from[i * from_pitch + c];
  }
}

template <class T>
std::array<T, 2> fills_of(const Problem& problem) {
  return {fill_of<T>(problem.fill[0]), fill_of<T>(problem.fill[1])};
}

// A plane for each channel. Where its rows lie is the same for all of them, found once for so many
// rows.
template <class T>
void stage_channels_first(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                          const Patch& patch, const Tile& tile, T* to) {
  const PatchLayout& layout = patch.layout;
  const std::int64_t first = tile.group * problem.in_channels + patch.first_channel;
  const std::int64_t columns = patch.axis[2].length(tile.size[2]);
  const std::int64_t step = patch.axis[2].stride;
  const std::array<T, 2> fill = fills_of<T>(problem);
  const RowReader<T> reader(kernels, problem, x, step);
  struct Row {
    std::int64_t offset;
    const char* from;
    typename RowReader<T>::Span span;
  };
  std::array<Row, 64> rows;
  std::size_t count = 0;
  constexpr std::int64_t kElement = sizeof(T);
  const bool separate = holds_staged<T>(problem) && !problem.complex && patch.channels > 1 &&
                        x.channel == kElement && x.axis[2] % kElement == 0 && layout.axis[2] == 1;
  const auto separate_row = [&](const Row& r) {
    T* const line = to + r.offset;
    for (std::int64_t c = 0; c < patch.channels; ++c)
      reader.edges(r.from == nullptr ? nullptr : r.from + x.channel_offset(first + c), fill[0],
                   r.span, columns, line + c * layout.channel, 1);
    const std::int64_t inside = r.span.beyond - r.span.inside;
    if (r.from == nullptr || inside <= 0) return;
    separate_channels(
        kernels, reinterpret_cast<const T*>(r.from + x.channel_offset(first) + r.span.offset),
        step * x.axis[2] / kElement, inside, patch.channels, line + r.span.inside, layout.channel);
  };
  const auto copy_rows = [&] {
    for (std::size_t i = 0; separate && i < count; ++i) separate_row(rows[i]);
    for (std::int64_t c = 0; !separate && c < patch.channels; ++c) {
      const std::int64_t channel = x.channel_offset(first + c);
      const T value = fill[problem.complex ? (patch.first_channel + c) & 1 : 0];
      T* const plane = to + c * layout.channel;
      for (std::size_t i = 0; i < count; ++i)
        reader.read(rows[i].from == nullptr ? nullptr : rows[i].from + channel, value, rows[i].span,
                    columns, plane + rows[i].offset, layout.axis[2]);
    }
    count = 0;
  };
  for_each_row(problem, x, patch, tile,
               [&](std::int64_t offset, const char* row, std::int64_t column) {
                 rows[count++] = {offset, row, reader.span(column, columns)};
                 if (count == rows.size()) copy_rows();
               });
  copy_rows();
}

// Patches of a few positions a channel, as of tiny pictures, one by one: what rows and phases there
// are would cost more than to copy them, and is the same for all channels. False where the problem
// is another one.
template <class T>
bool stage_tiny(const Problem& problem, const Tensor& x, const Patch& patch, const Tile& tile,
                T* to) {
  constexpr std::int64_t kMostPositions = 256, kFewPositions = 64, kOfPlane = 16;
  constexpr std::int64_t kFewChannels = 4, kFewColumns = 12, kElement = sizeof(T);
  const PatchLayout& layout = patch.layout;
  const std::int64_t columns = patch.axis[2].length(tile.size[2]);
  std::int64_t positions = columns * layout.length[0] * layout.length[1];
  for (const PatchAxis& axis : patch.axis) positions *= axis.phases;
  const std::int64_t planes = patch.axis[0].phases * patch.axis[1].phases * layout.length[0];
  if (positions > std::min(std::max(kFewPositions, kOfPlane * planes), kMostPositions) ||
      columns > kFewColumns || patch.channels < kFewChannels || problem.complex ||
      !holds_staged<T>(problem) || (x.channel == kElement && positions > kFewPositions))
    return false;
  struct Position {
    std::int64_t to;
    const char* from;  // of the first channel; null: the fill value
  };
  std::array<Position, kMostPositions> list;
  std::size_t inside = 0, end = kMostPositions;
  const std::int64_t first = tile.group * problem.in_channels + patch.first_channel;
  const Axis& width = problem.axis[2];
  for_each_row(problem, x, patch, tile,
               [&](std::int64_t offset, const char* row, std::int64_t column) {
                 for (std::int64_t i = 0; i < columns; ++i) {
                   const std::int64_t source =
                       row == nullptr ? -1
                                      : source_index(problem.border, width,
                                                     column + i * patch.axis[2].stride - width.lo);
                   const std::int64_t at = offset + i * layout.axis[2];
                   if (source < 0) {
                     list[--end] = {at, nullptr};
                   } else {
                     list[inside++] = {at, row + source * x.axis[2]};
                   }
                 }
               });
  const T fill = fill_of<T>(problem.fill[0]);
  for (std::int64_t c = 0; c < patch.channels; ++c, to += layout.channel) {
    const std::int64_t channel = x.channel_offset(first + c);
    for (std::size_t i = 0; i < inside; ++i)
      std::memcpy(to + list[i].to, list[i].from + channel, sizeof(T));
    for (std::size_t i = end; i < list.size(); ++i) to[list[i].to] = fill;
  }
  return true;
}

// The channels of one position are a dense run in the source, too.
template <class T>
void stage_channels_last(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                         const Patch& patch, const Tile& tile, T* to) {
  const PatchLayout& layout = patch.layout;
  const std::int64_t first = tile.group * problem.in_channels + patch.first_channel;
  const std::int64_t columns = patch.axis[2].length(tile.size[2]);
  const std::int64_t step = patch.axis[2].stride;
  const std::array<T, 2> fill = fills_of<T>(problem);
  const Axis& width = problem.axis[2];
  const std::int64_t channel = x.channel_offset(first);
  const std::int64_t pitch = layout.axis[2], channels = patch.channels;
  const bool same = holds_staged<T>(problem);
  const bool dense = same && step == 1 && pitch == channels &&
                     x.axis[2] == channels * static_cast<std::int64_t>(sizeof(T));
  const RowReader<T> reader(kernels, problem, x, step);
  for_each_row(
      problem, x, patch, tile, [&](std::int64_t offset, const char* row, std::int64_t column) {
        T* const line = to + offset;
        const auto span = row == nullptr ? typename RowReader<T>::Span{0, columns, columns, 0}
                                         : reader.span(column, columns);
        const auto border = [&](std::int64_t begin, std::int64_t end) {
          if (!problem.complex && (row == nullptr || problem.border == Border::constant)) {
            std::fill(line + begin * pitch, line + end * pitch, fill[0]);
            return;
          }
          for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t source =
                row == nullptr ? -1 : source_index(problem.border, width, span.from + i * step);
            T* const at = line + i * pitch;
            if (source < 0) {
              for (std::int64_t c = 0; c < channels; ++c)
                at[c] = fill[problem.complex ? (patch.first_channel + c) & 1 : 0];
            } else {
              read_elements<T>(kernels, problem.x_type, row + channel + source * x.axis[2],
                               size_of(problem.x_type), at, 1, channels);
            }
          }
        };
        border(0, span.inside);
        const std::int64_t count = span.beyond - span.inside;
        if (count > 0) {
          const char* from = row + channel + span.offset;
          T* at = line + span.inside * pitch;
          if (dense) {
            std::memcpy(at, from, static_cast<std::size_t>(count * channels) * sizeof(T));
          } else if (same && x.axis[2] % std::int64_t{sizeof(T)} == 0) {
            copy_pixels<T>(reinterpret_cast<const T*>(from),
                           step * x.axis[2] / std::int64_t{sizeof(T)}, count, channels, at, pitch);
          } else {
            for (std::int64_t i = 0; i < count; ++i, from += step * x.axis[2], at += pitch)
              read_elements<T>(kernels, problem.x_type, from, size_of(problem.x_type), at, 1,
                               channels);
          }
        }
        border(span.beyond, columns);
      });
}

}  // namespace

template <class T>
void stage_patch(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                 const Patch& patch, const Tile& tile, T* to) {
  if (patch.layout.channel == 1) return stage_channels_last(kernels, problem, x, patch, tile, to);
  if (stage_tiny(problem, x, patch, tile, to)) return;
  if constexpr (!kIsNarrow<T>)
    if (stage_planes<T>(kernels, problem, x, patch, tile, to)) return;
  stage_channels_first(kernels, problem, x, patch, tile, to);
}

template <class T>
void stage_columns(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                   const Tile& tile, std::int64_t first, std::int64_t terms, std::int64_t group,
                   std::int64_t pitch, T* to) {
  const auto& axis = problem.axis;
  const std::int64_t taps = problem.taps();
  const std::int64_t pixels = tile.size[0] * tile.size[1] * tile.size[2];
  const auto spread = kernels.set<T>().spread;
  const auto plane = [&](std::int64_t c) {
    return x.data + tile.image * x.batch + x.channel_offset(tile.group * problem.in_channels + c);
  };
  constexpr std::int64_t kElement = sizeof(T);
  if (group != 0 && taps == 1 && !problem.padded() && !problem.complex && axis[2].stride == 1 &&
      same_storage(problem.x_type, problem.compute) && x.axis[2] == kElement &&
      x.channel % kElement == 0 && tile.size[0] == 1 &&
      (tile.size[1] == 1 ||
       (axis[1].stride == 1 && tile.size[2] == axis[2].in && x.axis[1] == axis[2].in * kElement))) {
    // A pointwise layer's pixels follow each other in x and are read from there.
    const char* from = plane(first);
    for (int a = 0; a < 3; ++a) from += tile.origin[a] * axis[a].stride * x.axis[a];
    spread({reinterpret_cast<const T*>(from), x.channel / kElement, terms, pixels, to, pitch});
    return;
  }
  const RowReader<T> reader(kernels, problem, x, axis[2].stride);
  typename RowReader<T>::Span span{};
  std::int64_t spanned = -1;  // the kernel column that `span` is for
  std::array<T, kMostColumns> buffer;
  for (std::int64_t t = first; t < first + terms; ++t) {
    const std::int64_t c = t / taps, tap = t % taps;
    const std::int64_t kw = tap % axis[2].kernel;
    const std::int64_t kh = tap / axis[2].kernel % axis[1].kernel;
    const std::int64_t kd = tap / axis[2].kernel / axis[1].kernel;
    if (kw != spanned)
      span = reader.span(tile.origin[2] * axis[2].stride + kw * axis[2].dilation, tile.size[2]);
    spanned = kw;
    const T fill = scalar_as<T>(problem.fill[problem.complex ? c & 1 : 0]);
    const char* const from = plane(c);
    T* row = group == 0 ? to + (t - first) * pitch : buffer.data();
    for (std::int64_t d = 0; d < tile.size[0]; ++d) {
      bool filled_d = false;
      const std::int64_t slice = axis_offset(
          problem, x, 0, (tile.origin[0] + d) * axis[0].stride + kd * axis[0].dilation, filled_d);
      for (std::int64_t h = 0; h < tile.size[1]; ++h, row += tile.size[2]) {
        bool filled = filled_d;
        const std::int64_t line = axis_offset(
            problem, x, 1, (tile.origin[1] + h) * axis[1].stride + kh * axis[1].dilation, filled);
        reader.read(filled ? nullptr : from + slice + line, fill, span, tile.size[2], row, 1);
      }
    }
    if (group != 0) spread({buffer.data(), 0, 1, pixels, to + (t - first) * group, pitch});
  }
}

#define FASTCONV_INSTANTIATE(T)                                                                  \
  template void stage_patch<T>(const KernelTable&, const Problem&, const Tensor&, const Patch&,  \
                               const Tile&, T*);                                                 \
  template void stage_columns<T>(const KernelTable&, const Problem&, const Tensor&, const Tile&, \
                                 std::int64_t, std::int64_t, std::int64_t, std::int64_t, T*);
template void stage_patch<std::uint8_t>(const KernelTable&, const Problem&, const Tensor&,
                                        const Patch&, const Tile&, std::uint8_t*);
template void stage_patch<std::int16_t>(const KernelTable&, const Problem&, const Tensor&,
                                        const Patch&, const Tile&, std::int16_t*);
FASTCONV_FOR_EACH_COMPUTE_TYPE(FASTCONV_INSTANTIATE)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
