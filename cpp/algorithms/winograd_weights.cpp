#include "algorithms/winograd_weights.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>

#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMaxWidth = 64;   // of a panel
constexpr std::int64_t kMaxPoints = 36;  // of a tile
constexpr std::int64_t kMaxTaps = 9;
constexpr std::int64_t kRowsAtOnce = 288;  // packed and transformed in L1 and L2

template <class T>
class WeightsTransform {
 public:
  WeightsTransform(const Problem& problem, const WinogradLayout& layout, const PanelShape& shape,
                   const KernelTable& kernels, const Weights& w)
      : problem_(problem), layout_(layout), shape_(shape), kernels_(kernels), w_(w) {}

  static std::int64_t channels_at_once(const Problem& problem) {
    return std::max<std::int64_t>(kRowsAtOnce / problem.taps(), 1);
  }
  static std::int64_t buffer_elements(const Problem& problem, const PanelShape& shape) {
    return channels_at_once(problem) * problem.taps() * shape.panel;
  }

  // One panel of one group. `rows` has buffer_elements(). False where it does not suit.
  bool panel(std::int64_t group, std::int64_t panel, T* rows, T* u) const {
    const std::int64_t width = shape_.width(panel), channels = shape_.channels(panel);
    const std::int64_t taps = problem_.taps(), at_once = channels_at_once(problem_);
    T sums[2 * kMaxWidth] = {};
    bool whole[kMaxWidth];
    std::fill_n(whole, channels, problem_.algorithm == Algorithm::automatic);
    for (std::int64_t c = 0; c < problem_.in_channels; c += at_once) {
      const std::int64_t count = std::min(at_once, problem_.in_channels - c);
      pack_panel<T>(kernels_, problem_, w_, shape_, group, panel, taps * c, taps * count, rows);
      transform(rows, c, count, width, u, sums);
      for (std::int64_t k = 0; k < channels; ++k)
        whole[k] = whole[k] && are_whole_numbers(rows + k, taps * count, width);
    }
    const double terms = static_cast<double>(problem_.terms());
    for (std::int64_t k = 0; k < channels; ++k) {
      const Spread spread = {sums[k], sums[width + k], terms, terms};
      if ((whole[k] && sums[k] != 0) ||
          !is_even<T>(spread, 1, std::max(1.0 / 16, kMinEqualTerms / terms)))
        return false;
    }
    return true;
  }

 private:
  // Channels [first, first + count) of a panel, every kernel slice and block.
  void transform(const T* rows, std::int64_t first, std::int64_t count, std::int64_t width, T* u,
                 T* sums) const {
    const auto kernel = kernels_.set<T>().winograd[static_cast<int>(layout_.tile)].weights;
    const Axis &height = problem_.axis[1], &across = problem_.axis[2];
    const int down_taps = layout_.rows.tile.taps, across_taps = layout_.columns.tile.taps;
    std::int64_t tap[kMaxTaps];
    T* to[kMaxPoints];
    for (std::int64_t slice = 0; slice < problem_.axis[0].kernel; ++slice) {
      std::size_t block = 0;
      for (const WinogradBlock& r : layout_.rows.blocks) {
        for (const WinogradBlock& c : layout_.columns.blocks) {
          for (int i = 0; i < down_taps; ++i) {
            for (int j = 0; j < across_taps; ++j) {
              const std::int64_t kh = r.offset + i * height.stride,
                                 kw = c.offset + j * across.stride;
              tap[i * across_taps + j] =
                  is_tap(r, i, down_taps) && is_tap(c, j, across_taps)
                      ? ((slice * height.kernel + kh) * across.kernel + kw) * width
                      : -1;
            }
          }
          for (std::int64_t f = 0; f < layout_.points(); ++f) {
            const WinogradLayout::Terms& terms = layout_.terms[layout_.kind(f)];
            const std::int64_t rank = terms.rank[block];
            const std::int64_t term = slice * terms.slice + rank * problem_.in_channels + first;
            to[f] = rank < 0 ? nullptr
                             : u + layout_.u_frequency[static_cast<std::size_t>(f)] + term * width;
          }
          kernel({rows, tap, problem_.taps() * width, count, width, to, sums});
          ++block;
        }
      }
    }
  }

  static bool is_tap(const WinogradBlock& block, std::int64_t i, std::int64_t taps) {
    return i >= block.zeros_before && i < taps - block.zeros_behind;
  }

  // With whole numbers for input, too, sums in order are exact up to 2^24; here the quarters of the
  // transforms take two bits of that.
  static bool are_whole_numbers(const T* row, std::int64_t count, std::int64_t step) {
    for (std::int64_t t = 0; t < count; ++t, row += step)
      if (*row != std::rint(*row)) return false;
    return true;
  }

  const Problem& problem_;
  const WinogradLayout& layout_;
  const PanelShape& shape_;
  const KernelTable& kernels_;
  const Weights& w_;
};

template <class T>
bool pack_as(const Problem& problem, const WinogradLayout& layout, const PanelShape& shape,
             const KernelTable& kernels, const Weights& w, void* to, int workers) {
  const std::int64_t each = WeightsTransform<T>::buffer_elements(problem, shape);
  const std::unique_ptr<T[]> buffer(new T[static_cast<std::size_t>(each * workers)]);
  const WeightsTransform<T> transform(problem, layout, shape, kernels, w);
  std::atomic<bool> suitable{true};
  parallel_for(problem.groups * shape.panels(), workers,
               [&](std::int64_t index, int worker) noexcept {
                 if (!transform.panel(index / shape.panels(), index % shape.panels(),
                                      buffer.get() + worker * each,
                                      static_cast<T*>(to) + index * layout.u_panel))
                   suitable.store(false, std::memory_order_relaxed);
               });
  return suitable.load(std::memory_order_relaxed);
}

}  // namespace

bool pack_winograd(const Problem& problem, const WinogradLayout& layout, const PanelShape& shape,
                   const KernelTable& kernels, const Weights& w, void* to, int workers) {
  return problem.compute == Compute::f32
             ? pack_as<float>(problem, layout, shape, kernels, w, to, workers)
             : pack_as<double>(problem, layout, shape, kernels, w, to, workers);
}

std::int64_t winograd_rows_elements(const Problem& problem, const PanelShape& shape) {
  return WeightsTransform<float>::buffer_elements(problem, shape);
}

template <class T>
bool pack_winograd_panel(const Problem& problem, const WinogradLayout& layout,
                         const PanelShape& shape, const KernelTable& kernels, const Weights& w,
                         std::int64_t group, std::int64_t panel, T* rows, T* u) {
  return WeightsTransform<T>(problem, layout, shape, kernels, w).panel(group, panel, rows, u);
}

template bool pack_winograd_panel<float>(const Problem&, const WinogradLayout&, const PanelShape&,
                                         const KernelTable&, const Weights&, std::int64_t,
                                         std::int64_t, float*, float*);
template bool pack_winograd_panel<double>(const Problem&, const WinogradLayout&, const PanelShape&,
                                          const KernelTable&, const Weights&, std::int64_t,
                                          std::int64_t, double*, double*);

}  // namespace fastconv
