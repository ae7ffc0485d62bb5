// Spectra of the weights of a layer that is cut for Fourier transforms (fft_layout.hpp).
#pragma once

#include <cstdint>

#include "algorithms/fft_layout.hpp"
#include "core/problem.hpp"
#include "core/rounding.hpp"
#include "kernels/table.hpp"

namespace fastconv {

// Squares of smaller numbers would be subnormal.
inline constexpr double kLeastNorm = 1e-130;

// Packed: of each output channel the norm of its weights, and what they are multiples of; then
// spectra of the weights, of all output
// channels, [chunk][point][filter][term][2], over the number of points; then perhaps those of
// magnitudes.
struct FftWeights {
  std::int64_t filters, terms, points;
  bool magnitudes;

  FftWeights(const Problem& problem, const FftLayout& layout);

  template <class Double>
  static Double& norm(Double* packed, std::int64_t filter) {
    return packed[2 * filter];
  }
  template <class Double>
  static Double& quantum(Double* packed, std::int64_t filter) {
    return packed[2 * filter + 1];
  }

  std::int64_t head() const { return round_up(2 * filters, 8); }
  std::int64_t spectra() const { return filters * terms * points * 2; }
  std::int64_t elements() const { return head() + (magnitudes ? 2 : 1) * spectra(); }
};

// The nearest multiple of a power of two.
template <class T>
T to_multiple(T value, T quantum) {
  const T large = (sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0)) * quantum;
  return (value + large) - large;
}

// False where a weight is not finite, or all are tiny; `to` is then of no use.
bool pack_fft(const Problem& problem, const FftLayout& layout, const FftWeights& weights,
              const KernelTable& kernels, const double* twiddles, const Weights& w, void* to,
              int workers);

}  // namespace fastconv
