// Depthwise layers with channels last: each channel is filtered by a kernel of its own, and lanes
// are channels.
//
//                 w[0]       w[1]       <- Vecs vectors of channels, each loaded once a tap
//   pixel 0    acc[0][0]  acc[0][1]
//   pixel 1    acc[1][0]  acc[1][1]     each += w times what the tap sees of this pixel
//
// Tables of rows and columns say where a pixel lies, or that it is of the border: they know
// strides, dilation and every kind of border. Rows that see nothing but zeros of the border need
// not be listed, and a tile may leave out the columns of which it sees nothing else:
//
//   0 0 0 x x x x 0 0 0      kernel columns of the first two pixels
//   . - - -                  . 0, which both see in the border
//     . - - -                - those that one of them or both see in the picture
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/plane.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

template <class V>
inline constexpr int kChannelVecs = V::registers == 32 && !kLean<V> ? 4 : 2;
// With sixteen registers blocks of four vectors and more have tiles of their own, of few pixels:
// these read whole lines, which the processor's prefetching follows from memory (tiles of six
// pixels and two vectors, three kernel columns, stride 2: 96 channels of 112 x 112 270 us, 230; 97
// of 180 x 180, two images, 5.5 ms, 3.2, where asking for lines ahead gained a tenth).
template <class V>
inline constexpr bool kWideTiles = !kLean<V> && V::registers == 16 && V::lanes > 1;
// Rows of several taps a load: of float32 alone, as they are much code.
template <class V>
inline constexpr bool kStrips = !kLean<V> && sizeof(typename V::value_type) == 4;
// Most pixels of a tile. Of one vector it has more, where strips do not take large kernels, whose
// weights come from L2 and are read as often as there are tiles. At the border, where each pixel is
// looked up, half as many do.
template <class V, int Vecs>
inline constexpr int kChannelPixels = kLean<V>                                         ? 4
                                      : V::registers == 32 && Vecs == 1 && !kStrips<V> ? 12
                                      : kWideTiles<V> && Vecs == kWideVecs             ? 3
                                                                                       : 6;
template <class V, int Vecs>
inline constexpr int kBorderPixels = kLean<V>                             ? 4
                                     : Vecs == 1                          ? 6
                                     : kWideTiles<V> && Vecs == kWideVecs ? 2
                                                                          : 3;

template <class V, int Vecs>
FASTCONV_INLINE void channel_store(const ChannelArgs<typename V::value_type>& a, std::int64_t pixel,
                                   V (&sum)[Vecs]) {
  using T = typename V::value_type;
  T* const out = a.out + pixel * a.out_pixel;
  if (a.accumulate) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[i] = V::add(V::load(out + i * V::lanes), sum[i]);
  }
  if (a.bias != nullptr) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[i] = V::add(sum[i], V::load(a.bias + i * V::lanes));
  }
  if constexpr (kIsFloat<V>) {
    if (a.activation == Activation::relu || a.activation == Activation::relu6) {
      FASTCONV_UNROLL
      for (int i = 0; i < Vecs; ++i) sum[i] = activate(sum[i], Activation::relu);
      if (a.activation == Activation::relu6) {
        FASTCONV_UNROLL
        for (int i = 0; i < Vecs; ++i) sum[i] = V::at_most(sum[i], V::broadcast(T(6)));
      }
    }
  }
  FASTCONV_UNROLL
  for (int i = 0; i < Vecs; ++i) sum[i].store(out + i * V::lanes);
}

// All channels of the border are alike.
template <class T>
FASTCONV_INLINE void skip_channels(ChannelArgs<T>& a, std::int64_t channels) {
  a.x += channels;
  a.w += channels;
  a.out += channels;
  if (a.bias != nullptr) a.bias += channels;
}

// So many channels of a block at a time.
template <int Channels, class T, class F>
FASTCONV_INLINE void each_of_block(const ChannelArgs<T>& given, std::int64_t count, F tile) {
  const ChannelArgs<T>* now = &given;
  ChannelArgs<T> next;
  while (true) {
    tile(*now);
    if (--count == 0) return;
    if (now == &given) next = given;
    now = &next;
    skip_channels(next, Channels);
  }
}

// Kernel columns [first, end) of a tile: all, or those that one of its pixels sees in the picture.
struct ChannelColumns {
  std::int64_t first, end;
};

template <int Pixels, class T>
FASTCONV_INLINE ChannelColumns channel_columns(const ChannelArgs<T>& a, std::int64_t first) {
  ChannelColumns c = {0, a.kernel_columns};
  if (a.seen_end == kAllColumns) return c;
  const std::int64_t before = a.seen - (first + Pixels - 1) * a.stride;
  const std::int64_t left = a.seen_end - first * a.stride;
  if (before > 0) c.first = (before + a.dilation - 1) / a.dilation;
  if (left < c.end * a.dilation) c.end = left > 0 ? (left + a.dilation - 1) / a.dilation : 0;
  if (c.first >= c.end) c = {0, 0};
  return c;
}

// Inside: no pixel sees a border column.
template <class V, int Pixels, int Vecs, bool Inside>
FASTCONV_NOINLINE void channel_tile(const ChannelArgs<typename V::value_type>& a,
                                    std::int64_t first) {
  static_assert(Pixels * Vecs + 2 + V::product_registers <= V::registers, "the tile spills");
  using T = typename V::value_type;
  V acc[Pixels][Vecs];
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) acc[p][i] = V::zero();
  }
  const ChannelColumns columns = channel_columns<Pixels>(a, first);
  const std::int64_t w_pitch = a.vecs * V::lanes;
  for (std::int64_t u = 0; u < a.kernel_rows; ++u) {
    const std::int64_t row = a.row[u];
    const T* w =
        a.w + ((a.order != nullptr ? a.order[u] : u) * a.kernel_columns + columns.first) * w_pitch;
    const std::int64_t* column = a.column + first * a.stride + columns.first * a.dilation;
    const T* line = row == kFillRow ? a.fill : a.x + row;
    std::int64_t pixel = 0, step = 0;
    if (Inside && row != kFillRow) {
      line += *column;
      pixel = a.stride * a.column_pitch;
      step = a.dilation * a.column_pitch;
    }
    FASTCONV_NO_UNROLL
    for (std::int64_t v = columns.first; v < columns.end; ++v) {
      const T* x[Pixels];
      FASTCONV_UNROLL
      for (int p = 0; p < Pixels; ++p) {
        x[p] = line + p * pixel;
        if constexpr (!Inside) {
          const std::int64_t at = column[p * a.stride];
          x[p] = row == kFillRow || at == kFillRow ? a.fill : line + at;
        }
      }
      FASTCONV_UNROLL
      for (int i = 0; i < Vecs; ++i) {
        V weight = V::load(w + i * V::lanes);
        if constexpr (Pixels > 1) FASTCONV_IN_REGISTER(weight.v);
        FASTCONV_UNROLL
        for (int p = 0; p < Pixels; ++p)
          acc[p][i] = V::fma(weight, V::load(x[p] + i * V::lanes), acc[p][i]);
      }
      line += Inside ? step : 0;
      column += a.dilation;
      w += w_pitch;
    }
  }
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p) channel_store<V, Vecs>(a, first + p, acc[p]);
}

// 3 x 3, weights in registers: the sums of the outputs that an input column touches roll, as rows
// do in rolling.hpp, so that a tap's input is loaded once for all of them. `w_pitch` is from one
// tap to the next.
template <class V, int Vecs, int Stride>
FASTCONV_NOINLINE void channel_roll(const ChannelArgs<typename V::value_type>& a,
                                    std::int64_t w_pitch) {
  using T = typename V::value_type;
  constexpr int kSums = 2 / Stride + 1;
  V held[9][Vecs];
  FASTCONV_UNROLL
  for (int t = 0; t < 9; ++t) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) held[t][i] = V::load(a.w + t * w_pitch + i * V::lanes);
  }
  V sum[kSums][Vecs];
  FASTCONV_UNROLL
  for (int m = 0; m < kSums; ++m) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[m][i] = V::zero();
  }
  FASTCONV_NO_UNROLL
  for (std::int64_t j = 0; j < a.pixels + kSums - 1; ++j) {
    FASTCONV_UNROLL
    for (int i = 0; i < Vecs; ++i) sum[0][i] = V::zero();
    FASTCONV_UNROLL
    for (int phase = 0; phase < Stride; ++phase) {
      const std::int64_t at = a.column[j * Stride + phase];
      FASTCONV_UNROLL
      for (int u = 0; u < 3; ++u) {
        const T* const x = a.row[u] == kFillRow || at == kFillRow ? a.fill : a.x + a.row[u] + at;
        FASTCONV_UNROLL
        for (int i = 0; i < Vecs; ++i) {
          V value = V::load(x + i * V::lanes);
          FASTCONV_IN_REGISTER(value.v);
          FASTCONV_UNROLL
          for (int m = 0; m < kSums; ++m) {
            if (m * Stride + phase < 3)
              sum[m][i] = V::fma(held[u * 3 + m * Stride + phase][i], value, sum[m][i]);
          }
        }
      }
      if (phase == 0 && j >= kSums - 1) channel_store<V, Vecs>(a, j - (kSums - 1), sum[kSums - 1]);
    }
    FASTCONV_UNROLL
    for (int m = kSums - 1; m > 0; --m) {
      FASTCONV_UNROLL
      for (int i = 0; i < Vecs; ++i) sum[m][i] = sum[m - 1][i];
    }
  }
}

template <class V, int Vecs>
FASTCONV_INLINE void channel_roll_block(const ChannelArgs<typename V::value_type>& given) {
  ChannelArgs<typename V::value_type> a = given;
  const std::int64_t w_pitch = a.vecs * V::lanes;
  for (std::int64_t i = 0; i < given.vecs; i += Vecs) {
    if (a.stride == 1) {
      channel_roll<V, Vecs, 1>(a, w_pitch);
    } else {
      channel_roll<V, Vecs, 2>(a, w_pitch);
    }
    skip_channels(a, Vecs * V::lanes);
  }
}

// Up to four kernel columns at a time, side by side: an input pixel that is loaded once serves all
// of their taps that see it, in as many of the tile's outputs.
//
//   x0 x1 x2 x3 x4 ...     acc[0] += w0 x0 + w1 x1 + w2 x2
//                          acc[1] +=         w0 x1 + w1 x2 + w2 x3
template <class V>
inline constexpr int kStripPixels = V::registers == 32 ? kLongStrip : 8;
inline constexpr int kStripColumns = 4;

// Inside: no pixel sees a border column.
template <class V, int Columns, bool Inside, int Pixels, class T>
FASTCONV_INLINE void channel_strip_columns(const ChannelArgs<T>& a, const T* line,
                                           const std::int64_t* column, const T* w,
                                           std::int64_t w_pitch, V (&acc)[Pixels][1]) {
  constexpr int kInputs = Pixels + Columns - 1;
  static_assert(kInputs <= 18, "as the loop below is unrolled");
  // Looked up beforehand: with branches between the products GCC 12 stores weights to the stack.
  const T* at[kInputs];
  if constexpr (!Inside) {
    FASTCONV_NO_UNROLL
    for (int j = 0; j < kInputs; ++j) at[j] = column[j] == kFillRow ? a.fill : line + column[j];
  }
  V weight[Columns];
  FASTCONV_UNROLL
  for (int n = 0; n < Columns; ++n) {
    V loaded = V::load(w + n * w_pitch);
    FASTCONV_IN_REGISTER(loaded.v);  // not of an array, which GCC 12 stores as well
    weight[n] = loaded;
  }
  const std::int64_t pitch = a.column_pitch;
  const T* x = Inside ? line + *column : line;
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 18
#else
  FASTCONV_UNROLL
#endif
  for (int j = 0; j < kInputs; ++j) {
    V value = V::load(Inside ? x : at[j]);
    FASTCONV_IN_REGISTER(value.v);
    if constexpr (Inside) x += pitch;
    FASTCONV_UNROLL
    for (int n = 0; n < Columns; ++n)
      if (j >= n && j - n < Pixels) acc[j - n][0] = V::fma(weight[n], value, acc[j - n][0]);
  }
}

template <class V, bool Inside, int Pixels>
FASTCONV_INLINE void channel_strip_sums(const ChannelArgs<typename V::value_type>& a,
                                        std::int64_t first, V (&acc)[Pixels][1]) {
  static_assert(Pixels + kStripColumns + 1 <= V::registers, "the tile spills");
  using T = typename V::value_type;
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p) acc[p][0] = V::zero();
  const ChannelColumns columns =
      Inside ? ChannelColumns{0, a.kernel_columns} : channel_columns<Pixels>(a, first);
  const std::int64_t w_pitch = a.vecs * V::lanes;
  for (std::int64_t u = 0; u < a.kernel_rows; ++u) {
    const std::int64_t row = a.row[u];
    const T* w =
        a.w + ((a.order != nullptr ? a.order[u] : u) * a.kernel_columns + columns.first) * w_pitch;
    const T* const line = a.x + row;
    const std::int64_t* column = a.column + first + columns.first;
    std::int64_t left = columns.end - columns.first;
    if (row == kFillRow) {
      FASTCONV_NO_UNROLL
      for (; left > 0; --left, w += w_pitch) {
        V weight = V::load(w), fill = V::load(a.fill);
        FASTCONV_IN_REGISTER(weight.v);
        FASTCONV_IN_REGISTER(fill.v);
        FASTCONV_UNROLL
        for (int p = 0; p < Pixels; ++p) acc[p][0] = V::fma(weight, fill, acc[p][0]);
      }
      continue;
    }
    FASTCONV_NO_UNROLL
    for (; left >= kStripColumns; left -= kStripColumns) {
      channel_strip_columns<V, 4, Inside>(a, line, column, w, w_pitch, acc);
      column += kStripColumns;
      w += kStripColumns * w_pitch;
    }
    if (left == 3) {
      channel_strip_columns<V, 3, Inside>(a, line, column, w, w_pitch, acc);
    } else if (left == 2) {
      channel_strip_columns<V, 2, Inside>(a, line, column, w, w_pitch, acc);
    } else if (left == 1) {
      channel_strip_columns<V, 1, Inside>(a, line, column, w, w_pitch, acc);
    }
  }
}

template <class V, bool Inside, int Pixels>
FASTCONV_NOINLINE void channel_strip(const ChannelArgs<typename V::value_type>& a,
                                     std::int64_t first) {
  V acc[Pixels][1];
  channel_strip_sums<V, Inside, Pixels>(a, first, acc);
  FASTCONV_UNROLL
  for (int p = 0; p < Pixels; ++p) channel_store<V, 1>(a, first + p, acc[p]);
}

// A tile of all channels, one vector after the other, so that the lines of its pixels stay near.
template <class V, bool Inside, int Pixels>
FASTCONV_INLINE void channel_strip_vecs(const ChannelArgs<typename V::value_type>& given,
                                        std::int64_t first) {
  using Args = ChannelArgs<typename V::value_type>;
  each_of_block<V::lanes>(given, given.vecs, [&](const Args& a) FASTCONV_INLINE_LAMBDA {
    channel_strip<V, Inside && (Pixels > 1), Pixels>(a, first);
  });
}

// Pixels [first, end) by whole tiles, and what is left by narrower ones; the last may overlap the
// one before it, but where sums are added to those of the output.
template <class V, bool Inside, int Pixels>
FASTCONV_INLINE void channel_strips_from(const ChannelArgs<typename V::value_type>& a,
                                         std::int64_t first, std::int64_t end, std::int64_t at) {
  for (; at + Pixels <= end; at += Pixels) channel_strip_vecs<V, Inside, Pixels>(a, at);
  if constexpr (Pixels > 1) {
    constexpr int kNext = Pixels / 2;
    if (at == end) return;
    if (end - at > kNext && end - first >= Pixels && !a.accumulate)
      return channel_strip_vecs<V, Inside, Pixels>(a, end - Pixels);
    channel_strips_from<V, Inside, kNext>(a, first, end, at);
  }
}
template <class V, bool Inside>
FASTCONV_NOINLINE void channel_strips(const ChannelArgs<typename V::value_type>& a,
                                      std::int64_t first, std::int64_t end) {
  if constexpr (kStripPixels<V> == kLongStrip) {
    if (strip_cycles<kShortStrip>(end - first) < strip_cycles<kLongStrip>(end - first))
      return channel_strips_from<V, Inside, kShortStrip>(a, first, end, first);
  }
  channel_strips_from<V, Inside, kStripPixels<V>>(a, first, end, first);
}

// Strips of three kernel columns, of which most kernels have: but for the ends, which may be of the
// border, inputs lie evenly, so that a kernel row of 24 products takes 20 instructions beside them
// (48 by the strips above, and those of a border of one pixel as many as three of its products).
template <class V>
inline constexpr bool kStripsOfThree = kStrips<V> && V::registers == 16;

template <class V>
FASTCONV_NOINLINE void channel_strip_of_three(const ChannelArgs<typename V::value_type>& a,
                                              std::int64_t first) {
  using T = typename V::value_type;
  constexpr int kPixels = kStripPixels<V>, kColumns = 3, kLast = kPixels + 1;
  static_assert(kPixels % 4 == 0);
  // An end's pointer, and what of a row's offset counts there.
  struct End {
    const T* at;
    std::int64_t mask;
  };
  const auto end_of = [&](std::int64_t column) FASTCONV_INLINE_LAMBDA {
    return column == kFillRow ? End{a.fill, 0} : End{a.x + column, -1};
  };
  const End left = end_of(a.column[first]), right = end_of(a.column[first + kLast]);
  const char* const inner = reinterpret_cast<const char*>(a.x + a.column[first + 1]);
  // Inputs are reached by these alone: GCC would advance a pointer for each.
  const std::int64_t pitch = a.column_pitch * std::int64_t{sizeof(T)};
  std::int64_t twice = 2 * pitch, thrice = 3 * pitch;
  FASTCONV_OPAQUE_POINTER(twice);
  FASTCONV_OPAQUE_POINTER(thrice);
  const std::int64_t w_pitch = a.vecs * V::lanes, w_row = kColumns * w_pitch;
  const std::int64_t rows = a.kernel_rows;
  const std::int32_t* const order = a.order;
  const T* w = a.w;
  V acc[kPixels];
  FASTCONV_UNROLL
  for (int p = 0; p < kPixels; ++p) acc[p] = V::zero();
  FASTCONV_NO_UNROLL
  for (std::int64_t u = 0; u < rows; ++u, w += w_row) {
    const std::int64_t row = a.row[u];
    if (order != nullptr) w = a.w + order[u] * w_row;
    V w0 = V::load(w), w1 = V::load(w + w_pitch), w2 = V::load(w + 2 * w_pitch);
    FASTCONV_IN_REGISTER(w0.v);
    FASTCONV_IN_REGISTER(w1.v);
    FASTCONV_IN_REGISTER(w2.v);
    const auto add = [&](const void* x, int j) FASTCONV_INLINE_LAMBDA {
      V value = V::load(static_cast<const T*>(x));
      FASTCONV_IN_REGISTER(value.v);
      if (j < kPixels) acc[j] = V::fma(w0, value, acc[j]);
      if (j >= 1 && j - 1 < kPixels) acc[j - 1] = V::fma(w1, value, acc[j - 1]);
      if (j >= 2) acc[j - 2] = V::fma(w2, value, acc[j - 2]);
    };
    if (row == kFillRow) {
      FASTCONV_UNROLL
      for (int j = 0; j <= kLast; ++j) add(a.fill, j);
      continue;
    }
    const char* x = inner + row * std::int64_t{sizeof(T)};
    add(left.at + (row & left.mask), 0);
    FASTCONV_UNROLL
    for (int j = 1; j < kLast; j += 4) {
      FASTCONV_OPAQUE_POINTER(x);
      add(x, j);
      add(x + pitch, j + 1);
      add(x + twice, j + 2);
      add(x + thrice, j + 3);
      x += 2 * twice;
    }
    add(right.at + (row & right.mask), kLast);
  }
  if (a.bias != nullptr) {
    const V bias = V::load(a.bias);
    FASTCONV_UNROLL
    for (int p = 0; p < kPixels; ++p) acc[p] = V::add(acc[p], bias);
  }
  if (a.activation == Activation::relu || a.activation == Activation::relu6) {
    FASTCONV_UNROLL
    for (int p = 0; p < kPixels; ++p) acc[p] = activate(acc[p], Activation::relu);
    if (a.activation == Activation::relu6) {
      FASTCONV_UNROLL
      for (int p = 0; p < kPixels; ++p) acc[p] = V::at_most(acc[p], V::broadcast(T(6)));
    }
  }
  T* out = a.out + first * a.out_pixel;
  FASTCONV_UNROLL
  for (int p = 0; p < kPixels; ++p, out += a.out_pixel) acc[p].store(out);
}

// Whether a row can be cut so, its last strip overlapping the one before it.
template <class V>
FASTCONV_INLINE bool takes_strips_of_three(const ChannelArgs<typename V::value_type>& a) {
  return a.kernel_columns == 3 && !a.accumulate && a.pixels >= kStripPixels<V> && a.inside <= 1 &&
         a.inside_end > a.pixels;
}

template <class V>
FASTCONV_INLINE void channel_strips_of_three(const ChannelArgs<typename V::value_type>& given) {
  using Args = ChannelArgs<typename V::value_type>;
  constexpr int kPixels = kStripPixels<V>;
  for (std::int64_t at = 0; at < given.pixels; at += kPixels) {
    const std::int64_t first = at + kPixels <= given.pixels ? at : given.pixels - kPixels;
    each_of_block<V::lanes>(given, given.vecs, [&](const Args& a) FASTCONV_INLINE_LAMBDA {
      channel_strip_of_three<V>(a, first);
    });
  }
}

// Pixels of the tiles that hold so many of the border.
template <class V>
FASTCONV_INLINE std::int64_t strip_border(std::int64_t pixels) {
  constexpr int kMost = kStripPixels<V>;
  if (pixels <= 1) return pixels > 0 ? pixels : 0;
  if (pixels <= kMost / 4) return kMost / 4;
  if (pixels <= kMost / 2) return kMost / 2;
  return (pixels + kMost - 1) / kMost * kMost;
}

// A row, whose ends alone see the border: to look up each input takes half of a tile's time.
template <class V>
FASTCONV_INLINE void channel_strip_row(const ChannelArgs<typename V::value_type>& a) {
  const std::int64_t seen_end = a.inside_end - a.kernel_columns + 1;
  const std::int64_t first = strip_border<V>(a.inside);
  const std::int64_t end = a.pixels - strip_border<V>(a.pixels - seen_end);
  if (end - first < kStripPixels<V> / 4) return channel_strips<V, false>(a, 0, a.pixels);
  channel_strips<V, false>(a, 0, first);
  channel_strips<V, true>(a, first, end);
  channel_strips<V, false>(a, end, a.pixels);
}

template <class V, int Pixels, int Vecs, bool Inside>
FASTCONV_INLINE void channel_pixels(const ChannelArgs<typename V::value_type>& a,
                                    std::int64_t first, std::int64_t pixels) {
  if constexpr (Pixels > 0) {
    if (pixels == Pixels) return channel_tile<V, Pixels, Vecs, Inside>(a, first);
    channel_pixels<V, Pixels - 1, Vecs, Inside>(a, first, pixels);
  }
}

// The pixels in tiles of about the same size, each of so many times the vectors of a tile, so that
// memory is read and written in order.
template <class V, int Vecs>
FASTCONV_INLINE void channel_row(const ChannelArgs<typename V::value_type>& given,
                                 std::int64_t count) {
  constexpr int kMost = kChannelPixels<V, Vecs>, kBorder = kBorderPixels<V, Vecs>;
  static_assert(kMost <= 2 * kBorder, "half of a tile is one of the border");
  using Args = ChannelArgs<typename V::value_type>;
  for (std::int64_t first = 0; first < given.pixels;) {
    const std::int64_t left = given.pixels - first, tiles = (left + kMost - 1) / kMost;
    std::int64_t taken = (left + tiles - 1) / tiles;
    const auto is_inside = [&]() FASTCONV_INLINE_LAMBDA {
      const std::int64_t last =
          (first + taken - 1) * given.stride + (given.kernel_columns - 1) * given.dilation;
      return !kLean<V> && first * given.stride >= given.inside && last < given.inside_end;
    };
    bool inside = is_inside();
    if (!inside && taken > kBorder) {
      taken = (taken + 1) / 2;
      inside = is_inside();
    }
    const auto tile = [&](const Args& a) FASTCONV_INLINE_LAMBDA {
      if constexpr (!kLean<V>)
        if (inside) channel_pixels<V, kMost, Vecs, true>(a, first, taken);
      if (!inside) channel_pixels<V, kBorder, Vecs, false>(a, first, taken);
    };
    // Where the widest tile is a block, there is one.
    if constexpr (Vecs >= 2 && kChannelVecs<V> == 2) {
      each_of_block<Vecs * V::lanes>(given, count, tile);
    } else {
      tile(given);
    }
    first += taken;
  }
}

// Pairs, or tiles of four vectors and perhaps a pair behind the last.
template <class V>
FASTCONV_INLINE void channel_row_of_many(const ChannelArgs<typename V::value_type>& given) {
  if constexpr (!kWideTiles<V>) return channel_row<V, 2>(given, given.vecs / 2);
  if constexpr (kWideTiles<V>) {
    if (given.vecs >= kWideVecs) channel_row<V, kWideVecs>(given, given.vecs / kWideVecs);
    if (given.vecs % kWideVecs == 0) return;
    ChannelArgs<typename V::value_type> pair = given;
    skip_channels(pair, given.vecs / kWideVecs * kWideVecs * V::lanes);
    channel_row<V, 2>(pair, 1);
  }
}

// Whether strips, which load each input once, are slower than wide tiles nevertheless: they leave
// pairs of kernel columns or single ones over, and find eight pixels of one vector in a few sets of
// L1 where these lie some 2 KB apart (3 x 3, 512 channels of 28 x 28: 780 us, 390).
template <class V>
FASTCONV_INLINE bool prefers_wide_tiles(const ChannelArgs<typename V::value_type>& a) {
  if (!kWideTiles<V> || a.vecs < kWideVecs) return false;
  constexpr std::int64_t kConflict = 2048 / sizeof(typename V::value_type);
  constexpr std::int64_t kFewColumns = 11;
  const std::int64_t n = a.kernel_columns;
  return a.pixels < kStripPixels<V> || n <= 2 || n == 4 || n == 6 || (n >= 8 && n <= kFewColumns) ||
         (n == 3 && (a.x_is_far || a.column_pitch % kConflict == 0));
}

template <class V>
FASTCONV_NOINLINE void channel_activate(const ChannelArgs<typename V::value_type>& a) {
  PlaneArgs<typename V::value_type> rows{};
  rows.rows = a.pixels;
  rows.pixels = a.vecs * V::lanes;
  rows.out = a.out;
  rows.out_pitch = a.out_pixel;
  rows.activation = a.activation;
  plane_activate<V>(rows);
}

template <class V>
void channel_lanes(const ChannelArgs<typename V::value_type>& a) {
  bool done = false;
  if constexpr (!kLean<V>) {
    const bool rolls =
        V::registers == 32 && a.kernel_rows == 3 && a.kernel_columns == 3 && a.order == nullptr;
    const bool is_near = a.kernel_columns > 1 && a.dilation == 1;
    if constexpr (V::registers == 32) {
      if (rolls && is_near && a.stride <= 2) {
        done = true;
        if (a.vecs == 1) {
          channel_roll_block<V, 1>(a);
        } else {
          channel_roll_block<V, 2>(a);
        }
      }
    }
    if constexpr (kStripsOfThree<V>) {
      if (is_near && a.stride == 1 && takes_strips_of_three<V>(a) && !prefers_wide_tiles<V>(a)) {
        done = true;
        channel_strips_of_three<V>(a);
      }
    }
    if constexpr (kStrips<V>) {
      // Of short rows most tiles see the border, where tiles of several vectors are faster, and for
      // few products there is little to share.
      constexpr std::int64_t kMinProducts = 128;  // of a row and a kernel column
      const bool one = V::registers == 32 && a.vecs == 1;
      const bool staged = a.inside == 0 && a.inside_end >= a.pixels + a.kernel_columns - 1;
      const bool many =
          (staged && a.pixels >= kStripPixels<V> / 2) ||
          (a.pixels >= 2 * kStripPixels<V> && a.pixels * a.kernel_rows >= kMinProducts);
      if (!done && is_near && a.stride == 1 && (one || many) && !prefers_wide_tiles<V>(a)) {
        done = true;
        channel_strip_row<V>(a);
      }
    }
  }
  if (!done && a.vecs == 1) {
    channel_row<V, 1>(a, 1);
  } else if (!done && (a.vecs == 2 || kChannelVecs<V> == 2)) {
    channel_row_of_many<V>(a);
  } else if (!done) {
    if constexpr (kChannelVecs<V> == 4) channel_row<V, 4>(a, 1);
  }
  if constexpr (kIsFloat<V>) {
    if (a.activation > Activation::relu6) channel_activate<V>(a);
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
