#include "pack/stage.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/border.hpp"
#include "pack/convert.hpp"
#include "pack/stage_planes.hpp"
#include "simd/inline.hpp"

namespace fastconv {

PatchAxis PatchAxis::make(const Axis& axis, std::int64_t k0, std::int64_t k1) {
  PatchAxis p;
  p.k0 = k0;
  p.k1 = k1;
  p.stride = axis.stride;
  p.dilation = axis.dilation;
  if (axis.stride > 1)
    p.phases = std::min(k1 - k0, axis.stride / std::gcd(axis.stride, axis.dilation));
  p.first = k0 * axis.dilation / axis.stride;
  p.extent = (k1 - 1) * axis.dilation / axis.stride - p.first;
  return p;
}

namespace {

// With a constant step the compiler shuffles whole vectors: a stride of 3 or 4, or as many channels
// last (3 -> 4 channels, 3 x 3, stride 3, of 224 x 224 on Zen 4: 112 -> 84 us).
template <class T, int Step>
void copy_every(const T* from, std::int64_t n, T* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * Step];
}

// The narrow integers that products of tiles take are staged as such; else in a compute type.
template <class T>
constexpr bool kIsNarrow = sizeof(T) < 4;

// x holds what is staged.
template <class T>
bool holds(const Problem& problem) {
  if constexpr (kIsNarrow<T>)
    return size_of(problem.x_type) == std::int64_t{sizeof(T)};
  else
    return same_storage(problem.x_type, problem.compute);
}

// Bytes to int16; elements that stay as they are.
template <class From, class T>
void copy_narrow(const char* from, std::int64_t stride, T* to, std::int64_t to_stride,
                 std::int64_t n) {
  const auto put = [&](std::int64_t step, std::int64_t to_step) {
    for (std::int64_t i = 0; i < n; ++i) {
      From element;
      std::memcpy(&element, from + i * step, sizeof element);
      to[i * to_step] = static_cast<T>(element);
    }
  };
  // Constant steps make vectors.
  if (stride == std::int64_t{sizeof(From)} && to_stride == 1)
    put(sizeof(From), 1);
  else
    put(stride, to_stride);
}

template <class T>
void read_elements(const KernelTable& kernels, DType type, const char* from, std::int64_t stride,
                   T* to, std::int64_t to_stride, std::int64_t n) {
  if constexpr (!kIsNarrow<T>)
    read_row<T>(kernels, type, from, stride, to, to_stride, n);
  else if (type == DType::i8)
    copy_narrow<std::int8_t>(from, stride, to, to_stride, n);
  else if (type == DType::u8)
    copy_narrow<std::uint8_t>(from, stride, to, to_stride, n);
  else
    copy_narrow<std::int16_t>(from, stride, to, to_stride, n);
}

template <class T>
T fill_of(const Scalar& value) {
  if constexpr (kIsNarrow<T>)
    return static_cast<T>(value.i32);
  else
    return scalar_as<T>(value);
}

// `count` elements of padded rows (an axis of the source): first, first + step, ...
template <class T>
class RowReader {
 public:
  // Elements [inside, beyond) lie in the source, from byte `offset` of its row on.
  struct Span {
    std::int64_t from;  // source index of element 0
    std::int64_t inside;
    std::int64_t beyond;
    std::int64_t offset;
  };

  RowReader(const KernelTable& kernels, const Problem& problem, const Tensor& x, std::int64_t step)
      : kernels_(kernels),
        problem_(problem),
        axis_(problem.axis[2]),
        stride_(x.axis[2]),
        step_(step) {
    constexpr std::int64_t kElement = sizeof(T);
    if constexpr (!kIsNarrow<T>) every_second_ = kernels.set<T>().every_second;
    if (!holds<T>(problem) || stride_ % kElement != 0) return;
    const std::int64_t elements = step * stride_ / kElement;
    if (stride_ == kElement && step <= 2) {
      kind_ = step == 1 ? Kind::copy : Kind::every_second;
    } else if (elements == 3) {
      kind_ = Kind::every_third;
    } else if (elements == 4) {
      kind_ = Kind::every_fourth;
    }
  }

  Span span(std::int64_t first, std::int64_t count) const {
    const std::int64_t from = first - axis_.lo;
    const auto steps_to = [&](std::int64_t bound) {
      const std::int64_t distance = std::max<std::int64_t>(bound - from, 0);
      // A division costs as much as a short row, and most steps are 1.
      return std::min(step_ == 1 || distance == 0 ? distance : (distance - 1) / step_ + 1, count);
    };
    const std::int64_t inside = steps_to(0);
    return {from, inside, steps_to(axis_.in), (from + inside * step_) * stride_};
  }

  // `row` is the first element of the source row, or null where the whole row is border.
  void read(const char* row, T fill, const Span& span, std::int64_t count, T* to,
            std::int64_t to_stride) const {
    edges(row, fill, span, count, to, to_stride);
    if (row != nullptr && span.beyond > span.inside)
      copy(row + span.offset, span.beyond - span.inside, to + span.inside * to_stride, to_stride);
  }

  // Nothing but the border.
  void edges(const char* row, T fill, const Span& span, std::int64_t count, T* to,
             std::int64_t to_stride) const {
    if (row == nullptr) return fill_range(fill, 0, count, to, to_stride);
    if (span.inside > 0) border(row, fill, span.from, 0, span.inside, to, to_stride);
    if (span.beyond < count) border(row, fill, span.from, span.beyond, count, to, to_stride);
  }

  // Neighbouring elements of the compute type.
  bool copies() const { return kind_ == Kind::copy; }

 private:
  enum class Kind : std::uint8_t { convert, copy, every_second, every_third, every_fourth };

  void copy(const char* from, std::int64_t n, T* to, std::int64_t to_stride) const {
    if (kind_ == Kind::copy && to_stride == 1) {
      std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(T));
    } else if (kind_ == Kind::every_second && to_stride == 1) {
      every_second_(reinterpret_cast<const T*>(from), to, n);
    } else if (kind_ == Kind::every_third && to_stride == 1) {
      copy_every<T, 3>(reinterpret_cast<const T*>(from), n, to);
    } else if (kind_ == Kind::every_fourth && to_stride == 1) {
      copy_every<T, 4>(reinterpret_cast<const T*>(from), n, to);
    } else {
      read_elements<T>(kernels_, problem_.x_type, from, step_ * stride_, to, to_stride, n);
    }
  }

  static void fill_range(T fill, std::int64_t begin, std::int64_t end, T* to,
                         std::int64_t to_stride) {
    for (std::int64_t i = begin; i < end; ++i) to[i * to_stride] = fill;
  }

  void border(const char* row, T fill, std::int64_t from, std::int64_t begin, std::int64_t end,
              T* to, std::int64_t to_stride) const {
    if (problem_.border == Border::constant) return fill_range(fill, begin, end, to, to_stride);
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t source = source_index(problem_.border, axis_, from + i * step_);
      read_elements<T>(kernels_, problem_.x_type, row + source * stride_, stride_,
                       to + i * to_stride, to_stride, 1);
    }
  }

  const KernelTable& kernels_;
  const Problem& problem_;
  const Axis& axis_;
  std::int64_t stride_;
  std::int64_t step_;
  void (*every_second_)(const T*, T*, std::int64_t) = [](const T* from, T* to, std::int64_t n) {
    copy_every<T, 2>(from, n, to);
  };
  Kind kind_ = Kind::convert;
};

// Byte offset of a padded position of an axis, or -1 where it shows the fill value.
std::int64_t axis_offset(const Problem& problem, const Tensor& x, int a, std::int64_t position,
                         bool& filled) {
  const Axis& axis = problem.axis[a];
  const std::int64_t source = source_index(problem.border, axis, position - axis.lo);
  if (source < 0) {
    filled = true;
    return 0;
  }
  return source * x.axis[a];
}

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
      for (std::int64_t d = 0; d < tile.size[0] + pd.extent; ++d) {
        bool filled_d = false;
        const std::int64_t slice = axis_offset(
            problem, x, 0, (tile.origin[0] + pd.first + d) * pd.stride + pd.residue(fd), filled_d);
        for (std::int64_t h = 0; h < tile.size[1] + ph.extent; ++h) {
          bool filled = filled_d;
          const std::int64_t line = axis_offset(
              problem, x, 1, (tile.origin[1] + ph.first + h) * ph.stride + ph.residue(fh), filled);
          const char* const from = filled ? nullptr : x.data + tile.image * x.batch + slice + line;
          const std::int64_t to = block + d * layout.axis[0] + h * layout.axis[1];
          for (std::int64_t fw = 0; fw < pw.phases; ++fw)
            row(to + fw * layout.phase, from,
                (tile.origin[2] + pw.first) * pw.stride + pw.residue(fw));
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
  if (channels == 4) {
    // Squares of four, which the compiler turns in registers.
    for (; first + 4 <= pixels; first += 4) {
      T square[4][4];
      for (std::int64_t i = 0; i < 4; ++i)
        std::memcpy(square[i], from + (first + i) * from_pitch, sizeof square[i]);
      for (std::int64_t c = 0; c < 4; ++c) {
        const T row[4] = {square[0][c], square[1][c], square[2][c], square[3][c]};
        std::memcpy(to + c * to_pitch + first, row, sizeof row);
      }
    }
  }
  constexpr std::int64_t kBlock = 16;
  for (std::int64_t p = first; p < pixels; p += kBlock) {
    const std::int64_t end = std::min(p + kBlock, pixels);
    for (std::int64_t c = 0; c < channels; ++c)
      for (std::int64_t i = p; i < end; ++i) to[c * to_pitch + i] = from[i * from_pitch + c];
  }
}

}  // namespace

template <class T>
void stage_patch(const KernelTable& kernels, const Problem& problem, const Tensor& x,
                 const Patch& patch, const Tile& tile, T* to) {
  const PatchLayout& layout = patch.layout;
  const std::int64_t first = tile.group * problem.in_channels + patch.first_channel;
  const std::int64_t columns = tile.size[2] + patch.axis[2].extent;
  const std::int64_t step = patch.axis[2].stride;
  const T fill[2] = {fill_of<T>(problem.fill[0]), fill_of<T>(problem.fill[1])};
  if (layout.channel != 1) {
    if constexpr (!kIsNarrow<T>)
      if (stage_planes<T>(kernels, problem, x, patch, tile, to)) return;
    // Where the rows of a plane lie is the same for all channels, found once for so many rows.
    const RowReader<T> reader(kernels, problem, x, step);
    struct Row {
      std::int64_t offset;
      const char* from;
      typename RowReader<T>::Span span;
    };
    std::array<Row, 64> rows;
    std::size_t count = 0;
    constexpr std::int64_t kElement = sizeof(T);
    const bool separate = holds<T>(problem) && !problem.complex && patch.channels > 1 &&
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
          step * x.axis[2] / kElement, inside, patch.channels, line + r.span.inside,
          layout.channel);
    };
    const auto copy_rows = [&] {
      for (std::size_t i = 0; separate && i < count; ++i) separate_row(rows[i]);
      for (std::int64_t c = 0; !separate && c < patch.channels; ++c) {
        const std::int64_t channel = x.channel_offset(first + c);
        const T value = fill[problem.complex ? (patch.first_channel + c) & 1 : 0];
        T* const plane = to + c * layout.channel;
        for (std::size_t i = 0; i < count; ++i)
          reader.read(rows[i].from == nullptr ? nullptr : rows[i].from + channel, value,
                      rows[i].span, columns, plane + rows[i].offset, layout.axis[2]);
      }
      count = 0;
    };
    for_each_row(problem, x, patch, tile,
                 [&](std::int64_t offset, const char* row, std::int64_t column) {
                   rows[count++] = {offset, row, reader.span(column, columns)};
                   if (count == rows.size()) copy_rows();
                 });
    copy_rows();
    return;
  }
  // Channels last: the channels of one position are a dense run in the source, too.
  const Axis& width = problem.axis[2];
  const std::int64_t channel = x.channel_offset(first);
  const std::int64_t pitch = layout.axis[2], channels = patch.channels;
  const bool same = holds<T>(problem);
  const bool dense = same && step == 1 && pitch == channels &&
                     x.axis[2] == channels * static_cast<std::int64_t>(sizeof(T));
  const RowReader<T> reader(kernels, problem, x, step);
  for_each_row(
      problem, x, patch, tile, [&](std::int64_t offset, const char* row, std::int64_t column) {
        T* const line = to + offset;
        const auto span = row == nullptr ? typename RowReader<T>::Span{0, columns, columns, 0}
                                         : reader.span(column, columns);
        const auto border = [&](std::int64_t begin, std::int64_t end) {
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
          } else if (same && channels <= 8 && x.axis[2] % std::int64_t{sizeof(T)} == 0) {
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
  template void stage_patch<T>(const KernelTable&, const Problem&, const Tensor&, const Patch&,    \
                               const Tile&, T*);                                                   \
  template void stage_columns<T>(const KernelTable&, const Problem&, const Tensor&, const Tile&,   \
                                 std::int64_t, std::int64_t, std::int64_t, std::int64_t, T*);      \
  template void lattice_rows<T>(const KernelTable&, const Problem&, const Tensor&, const Lattice&, \
                                const std::int64_t*, std::int64_t, T*, const T**);                 \
  template void stage_lattice_channels_last<T>(const KernelTable&, const Problem&, const Tensor&,  \
                                               std::int64_t, std::int64_t, const Lattice&,         \
                                               std::int64_t, T*);
template void stage_patch<std::uint8_t>(const KernelTable&, const Problem&, const Tensor&,
                                        const Patch&, const Tile&, std::uint8_t*);
template void stage_patch<std::int16_t>(const KernelTable&, const Problem&, const Tensor&,
                                        const Patch&, const Tile&, std::int16_t*);
FASTCONV_INSTANTIATE(float)
FASTCONV_INSTANTIATE(double)
FASTCONV_INSTANTIATE(std::int32_t)
FASTCONV_INSTANTIATE(std::int64_t)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
