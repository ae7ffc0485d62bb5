// Weights for Winograd's algorithm, and whether numbers suit it.
#pragma once

#include <cstdint>
#include <limits>

#include "algorithms/winograd_layout.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/weights.hpp"

namespace fastconv {

// What the magnitudes of some numbers say of the error of their sums.
struct Spread {
  double sum = 0;      // of magnitudes
  double squares = 0;  // sum of squares
  double count = 0;    // not 0
  double elements = 0;
};

// The number of equal elements with the same two sums: 0.64 n for a normal distribution,
// 2 n / ln(range) where magnitudes are spread evenly over decades.
inline double equal_elements(const Spread& s) { return s.sum * s.sum / s.squares; }

// Whether the weight lies on more than a few elements; false for NaN, infinities, and where squares
// leave the range.
template <class T>
bool is_even(const Spread& s, double share_of_elements, double share_of_count) {
  if (s.sum == 0) return true;
  constexpr double kTiny = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
  constexpr double kHuge = std::numeric_limits<T>::max() / 4;
  return s.squares > kTiny && s.squares < kHuge && s.sum < kHuge &&
         s.count >= share_of_elements * s.elements && equal_elements(s) >= share_of_count * s.count;
}

// Of the terms of an output so many must have weight, or some output will see none but small ones.
inline constexpr double kMinEqualTerms = 32;

// Packs and transforms all weights: [group][panel][frequency][kernel slice][block][channel][width].
// False where they do not suit the algorithm.
bool pack_winograd(const Problem& problem, const WinogradLayout& layout, const PanelShape& shape,
                   const KernelTable& kernels, const Weights& w, void* to, int workers);

// One panel of them, or `count` of its lanes (whole vectors), some channels at a time.
template <class T>
class WinogradPanel {
 public:
  static constexpr std::int64_t kMaxWidth = 64;

  WinogradPanel(const Problem& problem, const WinogradLayout& layout, const PanelShape& shape,
                const KernelTable& kernels, const Weights& w, std::int64_t group,
                std::int64_t panel, std::int64_t first_lane = 0, std::int64_t count = kMaxWidth);

  // Of the buffer that weights go through, which keeps sums until the last channel.
  static std::int64_t rows_elements(const Problem& problem);

  // Channels [first, first + count): those of frequency f to u + frequency[f].
  void transform(std::int64_t first, std::int64_t count, const std::int64_t* frequency, T* rows,
                 T* u);

  // After the last channel: false where the weights do not suit the algorithm.
  bool suits() const;

 private:
  void transform_whole(const T* rows, std::int64_t channel, std::int64_t count,
                       const std::int64_t* frequency, T* u, T* sums) const;
  void transform_rows(const T* rows, std::int64_t channel, std::int64_t count,
                      const std::int64_t* frequency, T* u, T* sums) const;
  void sum_by_tap(const T* rows, std::int64_t first, std::int64_t count, T* to) const;
  bool sees_all_taps(std::int64_t lane) const;
  std::int64_t sums_of(std::int64_t lane) const { return lane / lanes_ * 2 * lanes_; }

  const Problem& problem_;
  const WinogradLayout& layout_;
  const KernelTable& kernels_;
  const Weights& w_;
  const std::int64_t group_, width_, lanes_;
  const std::int64_t begin_, end_;  // lanes that are packed
  const std::int64_t channels_;     // the last of them that has a channel, and one
  const bool is_whole_;             // one block of three taps, and vectors of several lanes
  const PanelShape vectors_;        // of output channels
  const std::int64_t first_vector_;
  T sums_[2 * kMaxWidth] = {};  // of each vector: of magnitudes, of squares
  bool whole_[kMaxWidth];       // numbers
  T* by_tap_ = nullptr;         // magnitudes, [tap][kMaxWidth]
};

extern template class WinogradPanel<float>;
extern template class WinogradPanel<double>;

}  // namespace fastconv
