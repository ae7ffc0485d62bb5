// Spectra of the weights of a layer that is cut for Fourier transforms (fft_layout.hpp).
#pragma once

#include <cstdint>
#include <type_traits>

#include "algorithms/fft_layout.hpp"
#include "core/no_fraction.hpp"
#include "core/problem.hpp"
#include "core/rounding.hpp"
#include "kernels/table.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

// Squares of smaller numbers would be subnormal.
inline constexpr double kLeastNorm = 1e-130;

// Packed: of each output channel the norm of its weights, what they are multiples of, and the
// largest of them; then spectra of all output channels, [chunk][point][filter][term][2], over the
// number of points.
struct FftWeights {
  static constexpr std::int64_t kMostLargest = 128;

  std::int64_t filters, terms, points;
  std::int64_t largest;  // of each output channel

  FftWeights(const Problem& problem, const FftLayout& layout);

  struct Large {
    double magnitude;
    std::int64_t term;
  };
  struct Filter {
    double norm;
    double quantum;  // a power of two, or 0
  };
  // Where these lie behind `packed`.
  template <class Bytes>
  static auto filter(Bytes* packed, std::int64_t channel) {
    return reinterpret_cast<Like<Bytes, Filter>*>(packed) + channel;
  }
  template <class Bytes>
  auto large(Bytes* packed, std::int64_t channel) const {
    return reinterpret_cast<Like<Bytes, Large>*>(packed + filters * sizeof(Filter)) +
           channel * largest;
  }
  template <class Bytes>
  auto spectra(Bytes* packed) const {
    return reinterpret_cast<Like<Bytes, double>*>(packed + head());
  }

  std::int64_t head() const {
    return round_to_line(filters * std::int64_t{sizeof(Filter)} +
                         filters * largest * std::int64_t{sizeof(Large)});
  }
  std::int64_t bytes() const {
    return head() + filters * terms * points * 2 * std::int64_t{sizeof(double)};
  }

 private:
  template <class Bytes, class What>
  using Like = std::conditional_t<std::is_const_v<Bytes>, const What, What>;
};

// The nearest multiple of a power of two, of values below so many of it: whose own bits do not
// reach halves of it any more.
template <class T>
inline constexpr T kMostQuanta = sizeof(T) == 4 ? T(1 << 22) : T(std::int64_t{1} << 51);
template <class T>
T to_multiple(T value, T quantum) {
  const T large = kNoFraction<T> * quantum;
  return (value + large) - large;
}

// Larger values stay: they are, to less than half of it, such multiples.
template <class T>
void to_multiples(T* row, std::int64_t count, T quantum) {
  const T most = kMostQuanta<T> * quantum;
  for (std::int64_t i = 0; i < count; ++i) {
    const T nearest = to_multiple(row[i], quantum);
    row[i] = row[i] < most && row[i] > -most ? nearest : row[i];
  }
}

// False where a weight is not finite, or all are tiny, or it was interrupted; `to` is then of no
// use.
bool pack_fft(const Problem& problem, const FftLayout& layout, const FftWeights& weights,
              const KernelTable& kernels, const double* twiddles, const Weights& w, void* to,
              int workers, Interrupt& interrupt);

}  // namespace fastconv
