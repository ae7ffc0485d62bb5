// Fourier transforms of as many signals as a vector has lanes, and products of their spectra.
//
//   point 0      re re re re  im im im im      lane l is a complex signal: two real ones, which
//   point 1      re re re re  im im im im      real weights keep apart
//   ...
//
// No element ever leaves its lane. Forward (decimation in frequency, radix 4) leaves the points in
// an order of its own, which products do not mind and the way back undoes, so that nothing is
// reordered:
//
//   points    stage of 64           stage of 16        ...    4; 8 or 2 of an odd log2: no twiddles
//   0..15     a+b+c+d               0..3
//   16..31   (a-ib-c+id) w^j        4..7
//   32..47   (a- b+c- d) w^2j       ...
//   48..63   (a+ib-c-id) w^3j
//
// (Cooley and Tukey, "An algorithm for the machine calculation of complex Fourier series", 1965;
// Gentleman and Sande, "Fast Fourier transforms: for fun and profit", 1966.)
#pragma once

#include <cstdint>

#include "core/no_fraction.hpp"
#include "kernels/args.hpp"
#include "kernels/unroll.hpp"
#include "simd/inline.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

template <class V>
struct FftPoint {
  V re, im;

  static FASTCONV_INLINE FftPoint load(const double* p) {
    return {V::load(p), V::load(p + V::lanes)};
  }
  // The imaginary part so far behind the real one.
  FASTCONV_INLINE void store(double* p, std::int64_t imaginary = V::lanes) const {
    re.store(p);
    im.store(p + imaginary);
  }
};

template <class V>
FASTCONV_INLINE FftPoint<V> plus(FftPoint<V> a, FftPoint<V> b) {
  return {V::add(a.re, b.re), V::add(a.im, b.im)};
}
template <class V>
FASTCONV_INLINE FftPoint<V> minus(FftPoint<V> a, FftPoint<V> b) {
  return {V::sub(a.re, b.re), V::sub(a.im, b.im)};
}

// Times the twiddle (cos, sin, -sin) of an angle, turned back where forward, on where inverse.
template <bool Inverse, class V>
FASTCONV_INLINE FftPoint<V> turned(FftPoint<V> a, const double* twiddle) {
  const V cosine = V::load_broadcast(twiddle);
  const V of_re = V::load_broadcast(twiddle + (Inverse ? 2 : 1));
  const V of_im = V::load_broadcast(twiddle + (Inverse ? 1 : 2));
  return {V::fma(a.re, cosine, V::mul(a.im, of_re)), V::fma(a.im, cosine, V::mul(a.re, of_im))};
}

// Sums of four by powers of -i (forward) or i.
template <bool Inverse, class V>
FASTCONV_INLINE void fft_of_four(FftPoint<V>& a, FftPoint<V>& b, FftPoint<V>& c, FftPoint<V>& d) {
  const FftPoint<V> s = plus(a, c), t = minus(a, c), u = plus(b, d), v = minus(b, d);
  a = plus(s, u);
  c = minus(s, u);
  const FftPoint<V> p = {V::add(t.re, v.im), V::sub(t.im, v.re)};  // t - i v
  const FftPoint<V> q = {V::sub(t.re, v.im), V::add(t.im, v.re)};  // t + i v
  b = Inverse ? q : p;
  d = Inverse ? p : q;
}

// Eight points, whose order is that of stages of two and four: sums and differences of points four
// apart, the differences times powers of exp(-i pi / 4), and a transform of four of each.
template <bool Inverse, class V>
FASTCONV_INLINE void fft_of_eight(const double* from, std::int64_t from_pitch, double* to,
                                  std::int64_t to_pitch, std::int64_t to_imaginary) {
  const V half = V::broadcast(0.70710678118654752440);
  FftPoint<V> p[8];
  FASTCONV_UNROLL
  for (int i = 0; i < 8; ++i) p[i] = FftPoint<V>::load(from + i * from_pitch);
  // (re, im) times exp(-+ i pi / 4) and its cube.
  const auto eighth = [&](FftPoint<V> a) FASTCONV_INLINE_LAMBDA {
    const V sum = V::mul(V::add(a.re, a.im), half), difference = V::mul(V::sub(a.im, a.re), half);
    return Inverse ? FftPoint<V>{V::sub(V::zero(), difference), sum} : FftPoint<V>{sum, difference};
  };
  const auto quarter = [&](FftPoint<V> a) FASTCONV_INLINE_LAMBDA {
    return Inverse ? FftPoint<V>{V::sub(V::zero(), a.im), a.re}
                   : FftPoint<V>{a.im, V::sub(V::zero(), a.re)};
  };
  if constexpr (!Inverse) {
    FASTCONV_UNROLL
    for (int i = 0; i < 4; ++i) {
      const FftPoint<V> sum = plus(p[i], p[i + 4]), difference = minus(p[i], p[i + 4]);
      p[i] = sum;
      p[i + 4] = difference;
    }
    p[5] = eighth(p[5]);
    p[6] = quarter(p[6]);
    p[7] = quarter(eighth(p[7]));
  }
  fft_of_four<Inverse>(p[0], p[1], p[2], p[3]);
  fft_of_four<Inverse>(p[4], p[5], p[6], p[7]);
  if constexpr (Inverse) {
    p[5] = eighth(p[5]);
    p[6] = quarter(p[6]);
    p[7] = quarter(eighth(p[7]));
    FASTCONV_UNROLL
    for (int i = 0; i < 4; ++i) {
      const FftPoint<V> sum = plus(p[i], p[i + 4]), difference = minus(p[i], p[i + 4]);
      p[i] = sum;
      p[i + 4] = difference;
    }
  }
  FASTCONV_UNROLL
  for (int i = 0; i < 8; ++i) p[i].store(to + i * to_pitch, to_imaginary);
}

// One stage: blocks of `size` points. Its twiddles are [size / 4][three of them].
template <bool Inverse, class V>
FASTCONV_INLINE void fft_stage(double* work, std::int64_t points, std::int64_t size,
                               const double* twiddle) {
  constexpr std::int64_t kPoint = 2 * V::lanes;
  const std::int64_t quarter = size / 4 * kPoint;
  for (double* block = work; block < work + points * kPoint; block += size * kPoint) {
    const double* w = twiddle;
    FASTCONV_NO_UNROLL
    for (double* at = block; at < block + quarter; at += kPoint, w += 9) {
      auto a = FftPoint<V>::load(at), b = FftPoint<V>::load(at + quarter),
           c = FftPoint<V>::load(at + 2 * quarter), d = FftPoint<V>::load(at + 3 * quarter);
      if constexpr (Inverse) {
        b = turned<true>(b, w);
        c = turned<true>(c, w + 3);
        d = turned<true>(d, w + 6);
      }
      fft_of_four<Inverse>(a, b, c, d);
      if constexpr (!Inverse) {
        b = turned<false>(b, w);
        c = turned<false>(c, w + 3);
        d = turned<false>(d, w + 6);
      }
      a.store(at);
      b.store(at + quarter);
      c.store(at + 2 * quarter);
      d.store(at + 3 * quarter);
    }
  }
}

// What the stage without twiddles takes together. Eight points are sixteen vectors, which GCC 12
// keeps in registers where there are 32 of AVX-512, and spills on aarch64.
template <class V>
inline constexpr bool kFftEights = V::registers >= 32 && V::lanes == 8;
template <class V>
constexpr std::int64_t fft_last(int log2) {
  return log2 % 2 == 0 ? 4 : kFftEights<V> ? 8 : 2;
}

// The stage without twiddles, from memory of one pitch to memory of another.
template <bool Inverse, class V>
FASTCONV_INLINE void fft_ends(const double* from, std::int64_t from_pitch, double* to,
                              std::int64_t to_pitch, std::int64_t to_imaginary, int log2) {
  const double* const end = from + (std::int64_t{1} << log2) * from_pitch;
  if (log2 % 2 == 0) {
    FASTCONV_NO_UNROLL
    for (; from < end; from += 4 * from_pitch, to += 4 * to_pitch) {
      auto a = FftPoint<V>::load(from), b = FftPoint<V>::load(from + from_pitch),
           c = FftPoint<V>::load(from + 2 * from_pitch),
           d = FftPoint<V>::load(from + 3 * from_pitch);
      fft_of_four<Inverse>(a, b, c, d);
      a.store(to, to_imaginary);
      b.store(to + to_pitch, to_imaginary);
      c.store(to + 2 * to_pitch, to_imaginary);
      d.store(to + 3 * to_pitch, to_imaginary);
    }
  } else if constexpr (kFftEights<V>) {
    FASTCONV_NO_UNROLL
    for (; from < end; from += 8 * from_pitch, to += 8 * to_pitch)
      fft_of_eight<Inverse, V>(from, from_pitch, to, to_pitch, to_imaginary);
  } else {
    FASTCONV_NO_UNROLL
    for (; from < end; from += 2 * from_pitch, to += 2 * to_pitch) {
      const auto a = FftPoint<V>::load(from), b = FftPoint<V>::load(from + from_pitch);
      plus(a, b).store(to, to_imaginary);
      minus(a, b).store(to + to_pitch, to_imaginary);
    }
  }
}

template <class V>
void fft_forward(const FftArgs& a) {
  const std::int64_t points = std::int64_t{1} << a.log2;
  const std::int64_t last = fft_last<V>(a.log2);
  const double* twiddle = a.twiddle;
  for (std::int64_t size = points; size > last; size /= 4) {
    fft_stage<false, V>(a.work, points, size, twiddle);
    twiddle += size / 4 * 9;
  }
  fft_ends<false, V>(a.work, 2 * V::lanes, a.spectrum, a.pitch, a.imaginary, a.log2);
}

template <class V>
void fft_inverse(const FftArgs& a) {
  const std::int64_t points = std::int64_t{1} << a.log2;
  const std::int64_t last = fft_last<V>(a.log2);
  const double* twiddle = a.twiddle;
  for (std::int64_t size = points; size > last; size /= 4) twiddle += size / 4 * 9;
  fft_ends<true, V>(a.spectrum, a.pitch, a.work, 2 * V::lanes, V::lanes, a.log2);
  for (std::int64_t size = 4 * last; size <= points; size *= 4) {
    twiddle -= size / 4 * 9;
    fft_stage<true, V>(a.work, points, size, twiddle);
  }
}

// Terms [begin, end) of a tile of rows and filters: the first are stored, or all are added to `y`.
// Of a point, or, so that single rows do not wait for each other, of one row at some points.
template <class V, int Rows, int Filters, bool Points>
FASTCONV_INLINE void fft_product_run(const FftProductArgs& a, const double* const* from,
                                     const double* w, std::int64_t begin, std::int64_t end,
                                     bool accumulate, double* y) {
  static_assert(!Points || Filters == 1);
  const std::int64_t y_row = Points ? a.y_pitch : 2 * V::lanes;
  V re[Filters][Rows], im[Filters][Rows];
  FASTCONV_UNROLL
  for (int f = 0; f < Filters; ++f) {
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) re[f][r] = im[f][r] = V::zero();
  }
  FASTCONV_NO_UNROLL
  for (std::int64_t t = begin; t < end; ++t) {
    const std::int64_t tap = a.tap[t];
    if constexpr (Points) {
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) {
        const double* const at = w + r * a.w_pitch + 2 * t;
        const V w_re = V::load_broadcast(at), w_im = V::load_broadcast(at + 1);
        const V x_re = V::load(from[r] + tap), x_im = V::load(from[r] + tap + a.x_imaginary);
        const V minus_x_im = V::sub(V::zero(), x_im);
        re[0][r] = V::fma(x_re, w_re, re[0][r]);
        im[0][r] = V::fma(x_im, w_re, im[0][r]);
        re[0][r] = V::fma(minus_x_im, w_im, re[0][r]);
        im[0][r] = V::fma(x_re, w_im, im[0][r]);
      }
    } else if constexpr (Filters == 1) {
      const V w_re = V::load_broadcast(w + 2 * t), w_im = V::load_broadcast(w + 2 * t + 1);
      const V minus_w_im = V::sub(V::zero(), w_im);
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) {
        const V x_re = V::load(from[r] + tap), x_im = V::load(from[r] + tap + a.x_imaginary);
        re[0][r] = V::fma(x_re, w_re, re[0][r]);
        im[0][r] = V::fma(x_re, w_im, im[0][r]);
        re[0][r] = V::fma(x_im, minus_w_im, re[0][r]);
        im[0][r] = V::fma(x_im, w_re, im[0][r]);
      }
    } else {
      FASTCONV_UNROLL
      for (int r = 0; r < Rows; ++r) {
        const V x_re = V::load(from[r] + tap), x_im = V::load(from[r] + tap + a.x_imaginary);
        const V minus_x_im = V::sub(V::zero(), x_im);
        FASTCONV_UNROLL
        for (int f = 0; f < Filters; ++f) {
          const double* const at = w + f * a.w_filter + 2 * t;
          const V w_re = V::load_broadcast(at), w_im = V::load_broadcast(at + 1);
          re[f][r] = V::fma(x_re, w_re, re[f][r]);
          im[f][r] = V::fma(x_im, w_re, im[f][r]);
          re[f][r] = V::fma(minus_x_im, w_im, re[f][r]);
          im[f][r] = V::fma(x_re, w_im, im[f][r]);
        }
      }
    }
  }
  FASTCONV_UNROLL
  for (int f = 0; f < Filters; ++f) {
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r) {
      double* const at = y + f * a.rows * 2 * V::lanes + r * y_row;
      if (accumulate) {
        re[f][r] = V::add(re[f][r], V::load(at));
        im[f][r] = V::add(im[f][r], V::load(at + V::lanes));
      }
      re[f][r].store(at);
      im[f][r].store(at + V::lanes);
    }
  }
}

// Some points of a tile of rows and filters: first row `row` (of FftProductArgs::row), first
// filter `filter`.
template <class V, int Rows, int Filters, bool Points = false>
FASTCONV_NOINLINE void fft_product_tile(const FftProductArgs& a, std::int64_t row,
                                        std::int64_t filter, std::int64_t first,
                                        std::int64_t last) {
  static_assert(2 * Rows * Filters + 2 * Rows + 3 <= V::registers + 6);
  for (std::int64_t p = first; p < last; p += Points ? Rows : 1) {
    const double* const x = a.x + p * a.x_pitch;
    const double* const w = a.w + p * a.w_pitch + filter * a.w_filter;
    double* const y = a.y + p * a.y_pitch + (filter * a.rows + row) * 2 * V::lanes;
    const double* from[Rows];
    FASTCONV_UNROLL
    for (int r = 0; r < Rows; ++r)
      from[r] = Points ? x + r * a.x_pitch + a.row[row] : x + a.row[row + r];
    for (std::int64_t t = 0; t < a.terms; t += a.run) {
      const std::int64_t end = t + a.run < a.terms ? t + a.run : a.terms;
      fft_product_run<V, Rows, Filters, Points>(a, from, w, t, end, a.accumulate || t > 0, y);
    }
  }
}

// A few points at a time, so that what all tiles read stays in L1.
template <class V>
void fft_product(const FftProductArgs& a) {
  constexpr std::int64_t kAtOnce = 1024;  // elements of x
  constexpr int kPoints = 4;
  const std::int64_t step = a.x_pitch < kAtOnce / kPoints ? kAtOnce / a.x_pitch : kPoints;
  for (std::int64_t first = 0; first < a.points; first += step) {
    const std::int64_t last = first + step < a.points ? first + step : a.points;
    std::int64_t f = 0;
    if (a.rows < 4) {
      for (; f + 4 <= a.filters; f += 4)
        for (std::int64_t r = 0; r < a.rows; ++r) fft_product_tile<V, 1, 4>(a, r, f, first, last);
    }
    for (; f < a.filters; ++f) {
      std::int64_t r = 0;
      for (; r + 4 <= a.rows; r += 4) fft_product_tile<V, 4, 1>(a, r, f, first, last);
      for (; r < a.rows; ++r) {
        const std::int64_t whole = first + (last - first) / kPoints * kPoints;
        fft_product_tile<V, kPoints, 1, true>(a, r, f, first, whole);
        fft_product_tile<V, 1, 1>(a, r, f, whole, last);
      }
    }
  }
}

template <class V, class T>
FASTCONV_INLINE V load_as_double(const T* p) {
  if constexpr (sizeof(T) == sizeof(double))
    return V::load(p);
  else
    return V::load_floats(p);
}

template <class V, class T>
void fft_input(const FftInputArgs<T>& a) {
  for (int part = 0; part < 2; ++part) {
    V squares = V::load(a.squares + part * V::lanes);
    V fractions = V::load(a.fractions + part * V::lanes);
    double* to = a.to + part * V::lanes;
    FASTCONV_NO_UNROLL
    for (std::int64_t n = 0; n < a.points; n += V::lanes) {
      V square[V::lanes];
      FASTCONV_UNROLL
      for (int i = 0; i < V::lanes; ++i) {
        square[i] = load_as_double<V>(a.row[2 * i + part] + n);
      }
      V::transpose(square);
      FASTCONV_UNROLL
      for (int i = 0; i < V::lanes; ++i) {
        squares = V::fma(square[i], square[i], squares);
        const V whole = V::sub(V::add(square[i], V::broadcast(kNoFraction<double>)),
                               V::broadcast(kNoFraction<double>));
        fractions = V::add(fractions, V::abs(V::sub(square[i], whole)));
        square[i].store(to);
        to += 2 * V::lanes;
      }
    }
    squares.store(a.squares + part * V::lanes);
    fractions.store(a.fractions + part * V::lanes);
  }
}

template <class V, class T>
void fft_magnitudes(const FftMagnitudesArgs<T>& a) {
  for (std::int64_t r = 0; r < a.rows; ++r) {
    const T *const x0 = a.x[r], *const x1 = a.x[a.rows + r], *const x2 = a.x[2 * a.rows + r],
                   *const x3 = a.x[3 * a.rows + r];
    const V w0 = V::broadcast(a.weight[0]), w1 = V::broadcast(a.weight[1]),
            w2 = V::broadcast(a.weight[2]), w3 = V::broadcast(a.weight[3]);
    double* const sums = a.sums + r * a.count;
    std::int64_t i = 0;
    FASTCONV_NO_UNROLL
    for (; i + V::lanes <= a.count; i += V::lanes) {
      V sum = V::fma(V::abs(load_as_double<V>(x0 + i)), w0, V::load(sums + i));
      sum = V::fma(V::abs(load_as_double<V>(x1 + i)), w1, sum);
      sum = V::fma(V::abs(load_as_double<V>(x2 + i)), w2, sum);
      sum = V::fma(V::abs(load_as_double<V>(x3 + i)), w3, sum);
      sum.store(sums + i);
    }
    for (; i < a.count; ++i) {
      const auto magnitude = [](T x) FASTCONV_INLINE_LAMBDA {
        return static_cast<double>(x < T(0) ? -x : x);
      };
      sums[i] += magnitude(x0[i]) * a.weight[0] + magnitude(x1[i]) * a.weight[1] +
                 magnitude(x2[i]) * a.weight[2] + magnitude(x3[i]) * a.weight[3];
    }
  }
}

template <class V, class T>
void fft_output(const FftOutputArgs<T>& a) {
  for (int part = 0; part < 2; ++part) {
    const double* from = a.from + part * V::lanes;
    FASTCONV_NO_UNROLL
    for (std::int64_t n = 0; n < a.points; n += V::lanes) {
      V square[V::lanes];
      FASTCONV_UNROLL
      for (int i = 0; i < V::lanes; ++i, from += 2 * V::lanes) square[i] = V::load(from);
      V::transpose(square);
      FASTCONV_UNROLL
      for (int i = 0; i < V::lanes; ++i) {
        T* const to = a.to + (2 * i + part) * a.pitch + n;
        if constexpr (sizeof(T) == sizeof(double))
          square[i].store(to);
        else
          square[i].store_floats(to);
      }
    }
  }
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
