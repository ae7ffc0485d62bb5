#include "algorithms/output_boxes.hpp"

#include <atomic>

namespace fastconv {

bool FlaggedBoxes::take(const Tile& tile) const {
  Index3 first, last;
  for (int a = 0; a < 3; ++a) {
    first[a] = tile.origin[a] / grid.box[a];
    last[a] = (tile.origin[a] + tile.size[a] - 1) / grid.box[a];
  }
  const auto for_each = [&](auto visit) {
    for (std::int64_t d = first[0]; d <= last[0]; ++d)
      for (std::int64_t h = first[1]; h <= last[1]; ++h)
        for (std::int64_t w = first[2]; w <= last[2]; ++w)
          visit(((tile.group * grid.boxes[0] + d) * grid.boxes[1] + h) * grid.boxes[2] + w);
  };
  bool any = false;
  for_each([&](std::int64_t i) { any = any || flags[i] != 0; });
  if (any)
    for_each([&](std::int64_t i) {
      std::atomic_ref<std::uint8_t>(overwritten[i]).store(1, std::memory_order_relaxed);
    });
  return any;
}

}  // namespace fastconv
