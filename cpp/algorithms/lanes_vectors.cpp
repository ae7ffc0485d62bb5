#include "algorithms/lanes_vectors.hpp"

#include <algorithm>

#include "core/rounding.hpp"
#include "kernels/args.hpp"

namespace fastconv {
namespace {

// The order of spliced vectors. Those in two rows are the first of `mixed` tiles, which are spread
// among the others, so that the output is written in order:
//
//   tile 0    seam seam seam ... ... ...
//   tile 1    ...  ...  ...  ... ... ...
class SplicedOrder {
 public:
  SplicedOrder(std::int64_t vectors, std::int64_t seams)
      : tiles_(vectors / kSplicedTile), mixed_(divide_up(seams, kSpliced)), seams_(seams) {
    if (mixed_ > tiles_) tiles_ = 0;  // all as they come
  }

  std::int64_t tiled() const { return tiles_ * kSplicedTile; }

  std::int64_t next_seam() {
    if (tiles_ == 0) return plain_++;
    const std::int64_t i = taken_++;
    return mixed_tile(i / kSpliced) * kSplicedTile + i % kSpliced;
  }

  // `alone` tells whether no vector of the tile has a seam.
  std::int64_t next_plain(bool& alone) {
    alone = false;
    if (tiles_ == 0) return plain_++;
    if (passed_ < mixed_ && plain_ == mixed_tile(passed_) * kSplicedTile)
      plain_ += std::min(kSpliced, seams_ - passed_ * kSpliced);
    const std::int64_t at = plain_++;
    alone = passed_ == mixed_ || at / kSplicedTile != mixed_tile(passed_);
    if (!alone && plain_ % kSplicedTile == 0) ++passed_;
    return at;
  }

 private:
  std::int64_t mixed_tile(std::int64_t i) const { return i * tiles_ / mixed_; }

  std::int64_t tiles_;
  std::int64_t mixed_;
  std::int64_t seams_;
  std::int64_t taken_ = 0;   // seams
  std::int64_t plain_ = 0;   // place of the next vector without
  std::int64_t passed_ = 0;  // mixed tiles before it
};

}  // namespace

void rows_apart(const Index3& size, const Index3& step, const Index3* out, int lanes,
                LanesVectors& to) {
  std::int32_t* vector = to.vector;
  std::int64_t* place = to.place;
  for (std::int64_t d = 0; d < size[0]; ++d) {
    for (std::int64_t h = 0; h < size[1]; ++h) {
      const std::int64_t row = d * step[0] + h * step[1];
      for (std::int64_t w = 0; w < size[2]; w += lanes) {
        const std::int64_t at = out != nullptr ? std::min(w, size[2] - lanes) : w;
        *vector++ = static_cast<std::int32_t>(row + at);
        if (out != nullptr) *place++ = d * (*out)[0] + h * (*out)[1] + at;
      }
    }
  }
  to.count = vector - to.vector;
  to.spliced = false;
}

void rows_spliced(const Index3& size, const Index3& step, const Index3& out, int lanes,
                  LanesVectors& to) {
  const std::int64_t row = size[2], slice = size[1] * row;
  to.count = size[0] * divide_up(slice, lanes);
  to.spliced = true;
  std::int64_t seams = 0;
  for (std::int64_t p = 0; p < slice; p += lanes)
    seams += std::min(p, slice - lanes) % row + lanes > row ? size[0] : 0;
  SplicedOrder order(to.count, seams);
  to.tiled = order.tiled();
  for (std::int64_t d = 0; d < size[0]; ++d) {
    for (std::int64_t p = 0; p < slice; p += lanes) {
      const std::int64_t first = std::min(p, slice - lanes);
      const std::int64_t column = first % row;
      const std::int64_t from = d * step[0] + first / row * step[1] + column;
      const std::int64_t left = std::min<std::int64_t>(row - column, lanes);
      std::int64_t at = 0, next = from;
      if (left < lanes) {
        at = order.next_seam();
        next = from - column + step[1] - left;
      } else {
        bool alone = false;
        at = order.next_plain(alone);
        if (alone) next = kOneRow;
      }
      to.vector[at] = static_cast<std::int32_t>(from);
      to.vector[to.count + at] = static_cast<std::int32_t>(next);
      to.vector[2 * to.count + at] = static_cast<std::int32_t>(left);
      to.place[at] = d * out[0] + first;
    }
  }
}

}  // namespace fastconv
