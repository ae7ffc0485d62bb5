// Outputs of transforms, each held to the accuracy of a sum in order (fft.cpp): sums of magnitudes,
// begun with the largest weights, until they are large enough; and sums in order where they are
// not.
#pragma once

#include <cstdint>

#include "algorithms/fft_weights.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/stage.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

template <class T>
class FftCheck {
 public:
  // Of a layer as its rows are to be read, and of weights that are packed for transforms along that
  // axis of it.
  FftCheck(const Problem& problem, int along, const KernelTable& table, const FftWeights& weights,
           const Operands& operands)
      : problem_(problem),
        along_(along),
        table_(table),
        weights_(weights),
        operands_(operands),
        packed_(static_cast<const char*>(operands.packed)),
        store_(problem, table, operands.y, operands.bias) {}

  static std::int64_t scratch_bytes(const Problem& problem);

  // Outputs of a tile and channel whose sum of magnitudes is not seen to be `least` are made anew.
  // Takes their products from `budget`; false where that is too little.
  bool vouch(const Tile& tile, std::int64_t channel, double least, char* scratch,
             std::int64_t& budget, Interrupt& interrupt, int worker) const;

 private:
  struct Pad;

  bool vouch_for_rows(const Tile& rows, std::int64_t channel, double least, const Pad& pad,
                      std::int64_t& budget, Interrupt& interrupt, int worker) const;
  void add_magnitudes(const Tile& rows, std::int64_t channel, std::int64_t first,
                      const Pad& pad) const;
  T sum_in_order(const Tile& one, std::int64_t channel, const Pad& pad, std::int64_t& budget) const;

  const Problem& problem_;
  const int along_;
  const KernelTable& table_;
  const FftWeights& weights_;
  const Operands& operands_;
  const char* const packed_;
  const BoxStore<T> store_;
};

}  // namespace fastconv
