// From a box of accumulators to the output: bias, activation, transpose, type, any strides.
#pragma once

#include <cstdint>

#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/stage.hpp"

namespace fastconv {

// Accumulators of some output channels at the pixels of a box, strides in elements.
template <class T>
struct BoxAccumulators {
  const T* data;
  std::int64_t pixel;    // from one pixel of a row to the next
  std::int64_t channel;  // from one output channel to the next
  std::int64_t row;      // pixels from one row to the next
  std::int64_t slice;    // and from one depth to the next
};

template <class T>
class BoxStore {
 public:
  // `bias` has one value of T for each real output channel of the problem, or is null.
  BoxStore(const Problem& problem, const KernelTable& kernels, const Tensor& y, const void* bias);

  // Output channels [channel, channel + channels), counted over all groups. `convert` holds
  // channels * size[2] elements (channels * size[1] * size[2] where rows follow each other).
  void store(const Tile& tile, std::int64_t channel, std::int64_t channels,
             const BoxAccumulators<T>& acc, T* convert) const;

  // Kernels may write their vectors to the output themselves where lanes and output run alike,
  // nothing is to be converted and the activation is a clamp: lanes of pixels; lanes of channels,
  // the pixels of a tile one pitch apart.
  bool takes_pixels() const;
  bool takes_channels(const Tile& tile) const;

  // In elements: of an output pixel; from the first pixel of a box to row h of slice d.
  T* first_pixel(const Tile& tile, std::int64_t channel) const;
  std::int64_t row_offset(std::int64_t d, std::int64_t h) const {
    return (d * y_.axis[0] + h * y_.axis[1]) / kElement;
  }
  std::int64_t pixel_pitch() const { return y_.axis[2] / kElement; }
  std::int64_t channel_pitch() const { return y_.channel / kElement; }
  Finish<T> finish(std::int64_t channel) const;

 private:
  static constexpr std::int64_t kElement = sizeof(T);
  bool clamps() const;
  void store_row(StoreArgs<T> args, std::int64_t channel, char* to, T* convert) const;
  bool output_is_plain() const;
  bool has_unit_output_channels() const;

  const Problem& problem_;
  const KernelTable& table_;
  const Tensor y_;
  const T* const bias_;
  const bool plain_output_;
};

}  // namespace fastconv
