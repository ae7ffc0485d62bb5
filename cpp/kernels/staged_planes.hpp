// What rolling.hpp does, where registers are few: planes are staged in L1 with their border, small
// ones some at a time, so that no load needs a mask, and tiles are columns of output rows. A vector
// that is loaded serves all rows of the tile that see it:
//
//   sums of output row      0            1            2            3
//   kernel column v      w0 x0[v]
//   of input rows x0..   w1 x1[v]     w0 x1[v]
//                        w2 x2[v]     w1 x2[v]     w0 x2[v]
//                                     w2 x3[v]     w1 x3[v]     w0 x3[v]    ...
//
// With a stride of 2 even and odd columns are staged apart. Kernels that have no tile of their own
// are cut into rows of three, two and one, each of which adds to the sums; and of a dilation, rows
// so far apart are planes for themselves.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"
#include "kernels/multiply_add.hpp"
#include "kernels/plane.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

// As of rolling kernels, there is none of 7 x 7 for doubles.
template <class V, int Size>
inline constexpr bool kStagesPlanes = kIsFloat<V> && kFillsRegisters<V> && V::registers == 16 &&
                                      (Size < 7 || sizeof(typename V::value_type) == 4);
inline constexpr int kSeveralRows = 3;  // of a kernel of any size

// One plane, staged, or the sums of one. GCC knows that no store of a vector changes what was
// copied from here.
template <class T>
struct StagedFilter {
  const T* const* x;  // of each kernel slice
  std::int64_t slices;
  const T* ahead;             // what is staged when this is done, if it shall be asked for; or null
  std::int64_t pitch, odd;    // StagedLayout
  const RollArgs<T>* kernel;  // its size, where a tile is made for any
  const T* w;                 // [slices][kernel rows][kernel columns]
  const T* bias;              // null: none
  Activation activation;
  T* out;
  std::int64_t out_pitch;
  std::int64_t rows, pixels;
};

// Input row I of a tile, and those after it, times the weights of a kernel column.
template <class V, int Size, int Stride, int Rows, int I>
FASTCONV_INLINE void staged_rows(const typename V::value_type* x, std::int64_t pitch,
                                 const V (&w)[Size], V (&sum)[Rows]) {
  if constexpr (I <= (Rows - 1) * Stride + Size - 1) {
    constexpr int kLo = I < Size ? 0 : (I - Size) / Stride + 1;
    constexpr int kHi = I / Stride < Rows - 1 ? I / Stride : Rows - 1;
    // An address is a pointer and a pitch, or twice that, for three rows.
    if constexpr (I > 0 && I % 3 == 0) {
      x += 3 * pitch;
      FASTCONV_OPAQUE_POINTER(x);
    }
    V vector = V::load(x + I % 3 * pitch);
    if constexpr (kHi > kLo) FASTCONV_IN_REGISTER(vector.v);
    FASTCONV_UNROLL
    for (int r = kLo; r <= kHi; ++r) sum[r] = V::fma(w[I - r * Stride], vector, sum[r]);
    staged_rows<V, Size, Stride, Rows, I + 1>(x, pitch, w, sum);
  }
}

template <class V, int Size, int Stride, int Rows>
FASTCONV_INLINE void staged_column(const typename V::value_type* x, std::int64_t pitch,
                                   const typename V::value_type* w, std::int64_t w_pitch,
                                   V (&sum)[Rows]) {
  V weights[Size];
  FASTCONV_UNROLL
  for (int u = 0; u < Size; ++u) {
    V weight = V::load_broadcast(w + u * w_pitch);
    FASTCONV_IN_REGISTER(weight.v);
    weights[u] = weight;
  }
  staged_rows<V, Size, Stride, Rows, 0>(x, pitch, weights, sum);
}

// One slice.
template <class V, int Size, int Stride, int Rows>
FASTCONV_INLINE void staged_slice(const StagedFilter<typename V::value_type>& a,
                                  const typename V::value_type* x, const typename V::value_type* w,
                                  V (&sum)[Rows]) {
  if constexpr (Size != kAnySize) {
    FASTCONV_NO_UNROLL
    for (std::int64_t v = 0; v < Size; ++v)
      staged_column<V, Size, Stride>(x + (Stride == 1 ? v : v % 2 * a.odd + v / 2), a.pitch, w + v,
                                     Size, sum);
  } else {
    const std::int64_t columns = a.kernel->kernel_columns;
    const auto dilation = static_cast<std::uint64_t>(a.kernel->column_dilation);
    const auto odd = static_cast<std::uint64_t>(a.odd);
    const auto several = [&]<int Count>() FASTCONV_INLINE_LAMBDA {
      std::uint64_t at = 0;
      FASTCONV_NO_UNROLL
      for (std::int64_t v = columns; v != 0; --v, ++w, at += dilation)
        staged_column<V, Count, Stride>(x + (Stride == 1 ? at : at % 2 * odd + at / 2), a.pitch, w,
                                        columns, sum);
      w += (Count - 1) * columns;
      x += Count * a.pitch;
    };
    std::int64_t left = a.kernel->kernel_rows;
    FASTCONV_NO_UNROLL
    for (; left >= kSeveralRows; left -= kSeveralRows) several.template operator()<kSeveralRows>();
    if (left == 2) several.template operator()<2>();
    if (left == 1) several.template operator()<1>();
  }
}

// Tiles of so many rows; the last one does some once more that are done.
template <class V, int Size, int Stride, int Rows>
FASTCONV_NOINLINE void staged_filter(const StagedFilter<typename V::value_type>& given) {
  static_assert(Rows + (Size == kAnySize ? kSeveralRows : Size) + 1 <= V::registers,
                "the tile spills");
  using T = typename V::value_type;
  const StagedFilter<T> a = given;
  const bool relu = a.activation == Activation::relu || a.activation == Activation::relu6;
  const bool finishes = a.bias != nullptr || relu;
  constexpr int kLine = 64 / sizeof(T);
  constexpr int kLines = (Rows * V::lanes + kLine - 1) / kLine;
  const T* ahead = a.ahead;
  for (std::int64_t first = 0; first < a.pixels; first += V::lanes) {
    const std::int64_t last = a.pixels - V::lanes;
    const std::int64_t at = first <= last || last < 0 ? first : last;
    std::int64_t offset = at;
    T* out = a.out + at;
    for (std::int64_t left = a.rows;;) {
      if (Stride == 1 && ahead != nullptr) {
        FASTCONV_UNROLL
        for (int i = 0; i < kLines; ++i) FASTCONV_PREFETCH_L2(ahead + i * kLine);
        ahead += kLines * kLine;
      }
      V sum[Rows];
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) sum[r] = V::zero();
      const T* w = a.w;
      for (std::int64_t i = 0; i < a.slices; ++i) {
        staged_slice<V, Size, Stride>(a, a.x[i] + offset, w, sum);
        w += Size != kAnySize ? Size * Size : a.kernel->kernel_rows * a.kernel->kernel_columns;
      }
      if (finishes) {
        const V bias = a.bias != nullptr ? V::load_broadcast(a.bias) : V::zero();
        FASTCONV_UNROLL
        for (int r = 0; r < Rows; ++r) sum[r] = V::add(sum[r], bias);
        if (relu) {
          FASTCONV_UNROLL
          for (int r = 0; r < Rows; ++r) sum[r] = V::at_least(sum[r], V::zero());
        }
        if (a.activation == Activation::relu6) {
          const V six = V::broadcast(T(6));
          FASTCONV_UNROLL
          for (int r = 0; r < Rows; ++r) sum[r] = V::at_most(sum[r], six);
        }
      }
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) sum[r].store(out + r * a.out_pitch);
      left -= Rows;
      if (left <= 0) break;
      const std::int64_t step = left >= Rows ? Rows : left;
      if (left < Rows) left = Rows;
      offset += step * Stride * a.pitch;
      out += step * a.out_pitch;
    }
  }
}

// What kernels of any size share.
template <class V, int Stride>
class StagedPlanes {
  using T = typename V::value_type;
  static constexpr int kStep = Stride * V::lanes;

 public:
  FASTCONV_INLINE StagedPlanes(const RollArgs<T>& a, void (*filter)(const StagedFilter<T>&))
      : a_(a),
        filter_(filter),
        across_((a.kernel_columns - 1) * a.column_dilation + 1),
        layout_(a.rows, a.pixels, (a.kernel_rows - 1) * a.row_dilation + 1, across_, Stride,
                V::lanes),
        weights_(a.slices * a.kernel_rows * a.kernel_columns),
        first_(a.border < 0 ? -a.border : 0) {
    const std::int64_t left = a.border > 0 ? a.border : 0;
    const std::int64_t seen = (a.pixels - 1) * Stride + across_ - left, there = a.width - first_;
    count_ = seen < there ? seen : there;
    if (count_ < 0) count_ = 0;
    const auto tail = static_cast<int>(count_ % kStep);
    for (int i = 0; i < Stride; ++i) {
      const int n = tail - i * V::lanes;
      tail_[i] = V::lanes_between(0, n < 0 ? 0 : n < V::lanes ? n : V::lanes);
    }
    const std::int64_t half = left / Stride;
    const bool swaps = left % Stride != 0;
    even_ = swaps ? layout_.odd + half : half;
    odd_ = swaps ? half + 1 : layout_.odd + half;
  }

  FASTCONV_NOINLINE void run() const {
    if (a_.slice != nullptr) return run_slices();
    const std::int64_t fit = (a_.staged_elements - StagedLayout::kBehind) / layout_.plane;
    const std::int64_t most = fit < a_.planes ? (fit > 1 ? fit : 1) : a_.planes;
    T* to = a_.staged;
    for (std::int64_t p = 0; !a_.has_borders && p < most; ++p, to += layout_.plane)
      stage_borders(to);
    // Of large planes (3 x 3: 128 channels of 56 x 56 230 us, 205; two to four planes at a time, or
    // a stride of 2: 0.9 to 1).
    const T* ahead = most == 1 ? a_.x + first_row() : nullptr;
    for (std::int64_t first = 0; first < a_.planes; first += most) {
      const std::int64_t left = a_.planes - first, end = first + (left < most ? left : most);
      to = a_.staged;
      for (std::int64_t p = first; p < end; ++p, to += layout_.plane)
        stage(a_.x + p * a_.x_plane, to);
      if (ahead != nullptr) ahead += a_.x_plane;
      to = a_.staged;
      for (std::int64_t p = first; p < end; ++p, to += layout_.plane) {
        const T* const x[] = {to};
        filter(p, x, ahead);
      }
    }
  }

 private:
  void run_slices() const {
    const T* x[kMostStagedSlices];
    for (std::int64_t i = 0; i < a_.slices; ++i) {
      const RollSlice<T>& slice = a_.slice[i];
      x[i] = slice.staged;
      if (slice.x == nullptr) continue;
      if (!slice.has_border) stage_borders(slice.staged);
      stage(slice.x, slice.staged);
    }
    filter(0, x, nullptr);
  }

  std::int64_t first_row() const {
    std::int64_t i = 0;
    while (i < layout_.slots && a_.row[i] == kFillRow) ++i;
    return i < layout_.slots ? a_.row[i] : 0;
  }

  // What no plane changes: rows of the border, and columns beside the input that some output sees.
  // Vectors that end behind these are overwritten later.
  void stage_borders(T* to) const {
    const V fill = V::load_broadcast(a_.fill_row);
    const auto put = [&](T* begin, const T* end) {
      for (; begin < end; begin += V::lanes) fill.store(begin);
    };
    const std::int64_t part = Stride == 1 ? layout_.pitch : layout_.odd;
    const std::int64_t seen = a_.pixels + (across_ - 1) / Stride;
    for (std::int64_t i = 0; i < Stride; ++i, to += part) {
      const std::int64_t at = ((even_ < part) == (i == 0) ? even_ : odd_) - i * part;
      T* row = to;
      for (std::int64_t r = 0; r < layout_.slots; ++r, row += layout_.pitch) {
        const bool none = a_.row[r] == kFillRow;
        put(row, row + (none ? seen : at));
        if (!none) put(row + at + count_ / Stride, row + seen);
      }
    }
  }

  // By copies of the members: for all GCC knows, a store of a vector might change these.
  FASTCONV_INLINE void stage(const T* x, T* to) const {
    const std::int64_t count = count_, pitch = layout_.pitch, slots = layout_.slots;
    const std::int64_t* const row = a_.row;
    const V fill = V::load_broadcast(a_.fill_row);
    const auto low_tail = tail_[0], high_tail = tail_[Stride - 1];
    x += first_;
    T* even = to + even_;
    T* odd = to + odd_;
    for (std::int64_t r = 0; r < slots; ++r, even += pitch, odd += pitch) {
      if (row[r] == kFillRow) continue;
      const T* const from = x + row[r];
      std::int64_t i = 0;
      FASTCONV_NO_UNROLL
      for (; i + kStep <= count; i += kStep) {
        V low = V::load(from + i);
        if constexpr (Stride == 2) {
          V high = V::load(from + i + V::lanes);
          FASTCONV_IN_REGISTER(low.v);
          FASTCONV_IN_REGISTER(high.v);
          V::unzip(low, high);
          high.store(odd + i / 2);
        }
        low.store(even + i / Stride);
      }
      if (i == count) continue;
      V low = V::load(from + i, low_tail, fill);
      if constexpr (Stride == 2) {
        V high = V::load(from + i + V::lanes, high_tail, fill);
        V::unzip(low, high);
        high.store(odd + i / 2);
      }
      low.store(even + i / Stride);
    }
  }

  // All filters of a plane.
  void filter(std::int64_t plane, const T* const* x, const T* ahead) const {
    const std::int64_t apart = a_.row_dilation;
    for (std::int64_t i = plane * a_.filters; i < (plane + 1) * a_.filters; ++i) {
      T* const out = a_.out + i * a_.out_plane;
      const StagedFilter<T> f{x,
                              a_.slices,
                              i == plane * a_.filters ? ahead : nullptr,
                              layout_.pitch,
                              layout_.odd,
                              &a_,
                              a_.w + i * weights_,
                              a_.bias != nullptr ? a_.bias + i : nullptr,
                              a_.activation,
                              out,
                              a_.out_pitch,
                              a_.rows,
                              a_.pixels};
      // Rows of less than a vector end in what is written next, or, where that was written, or
      // nothing is, are copied.
      const std::int64_t end = i * a_.out_plane + (a_.rows - 1) * a_.out_pitch + V::lanes;
      const bool copies =
          a_.pixels < V::lanes && (apart > 1 || a_.room == kNoRoom || end > a_.room);
      if (copies)
        filter_by_copies(f);
      else if (apart > 1)
        filter_phases(f);
      else
        filter_(f);
    }
  }

  FASTCONV_NOINLINE void filter_by_copies(StagedFilter<T> f) const {
    T* const out = f.out;
    f.out = a_.copied;
    f.out_pitch = V::lanes;
    filter_phases(f);
    for (std::int64_t r = 0; r < a_.rows; ++r)
      V::load(a_.copied + r * V::lanes).store(out + r * a_.out_pitch, static_cast<int>(a_.pixels));
  }

  // Rows that are a dilation apart, which see the same input rows, after each other.
  FASTCONV_NOINLINE void filter_phases(const StagedFilter<T>& all) const {
    const std::int64_t apart = a_.row_dilation;
    const T* x[kMostStagedSlices];
    StagedFilter<T> f = all;
    f.x = x;
    f.pitch *= apart;
    f.out_pitch *= apart;
    for (std::int64_t phase = 0; phase < apart && phase < a_.rows; ++phase) {
      for (std::int64_t i = 0; i < a_.slices; ++i) x[i] = all.x[i] + phase * layout_.pitch;
      f.rows = (a_.rows - phase + apart - 1) / apart;
      filter_(f);
      f.ahead = nullptr;
      f.out += all.out_pitch;
    }
  }

  const RollArgs<T>& a_;
  void (*const filter_)(const StagedFilter<T>&);
  const std::int64_t across_;  // columns that an output sees
  const StagedLayout layout_;
  const std::int64_t weights_;  // of a filter
  const std::int64_t first_;    // column of x that is staged first
  std::int64_t count_;          // of those columns
  std::int64_t even_, odd_;     // where these go, the first of which is an even one
  typename V::Mask tail_[Stride];
};

template <class V, int Size, int Stride>
void staged_planes(const RollArgs<typename V::value_type>& a) {
  using T = typename V::value_type;
  const std::int64_t rows = Size == kAnySize ? a.rows / a.row_dilation : a.rows;
  const std::int64_t tile = staged_tile(rows, Size);
  void (*filter)(const StagedFilter<T>&) = &staged_filter<V, Size, Stride, 4>;
  if constexpr (Size != kAnySize) {
    if (tile == 7) filter = &staged_filter<V, Size, Stride, 7>;
    if (tile == 1) filter = &staged_filter<V, Size, Stride, 1>;
  }
  if constexpr (Size < 7)
    if (tile == 8) filter = &staged_filter<V, Size, Stride, 8>;
  StagedPlanes<V, Stride>(a, filter).run();
  activate_planes<V>(a);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
