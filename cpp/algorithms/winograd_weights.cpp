#include "algorithms/winograd_weights.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>

#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMaxTaps = 9;
constexpr std::int64_t kMaxLanes = 16;
// Elements that are packed before they are transformed, while in L1. Panels at a time, in L2, took
// a tenth more of a call's time (512 channels of 7 x 7).
constexpr std::int64_t kAtOnce = 7 << 10;

// Whole squares of weights are packed, where so many fit.
std::int64_t channels_at_once(const Problem& problem) {
  const std::int64_t channels = kAtOnce / kMaxLanes / problem.taps();
  return channels >= kMaxLanes ? channels / kMaxLanes * kMaxLanes
                               : std::max<std::int64_t>(channels, 1);
}

// Where the weights of a tap are small in all channels, an output may see large inputs through it
// alone: the others, which the transforms add to it, must not be larger than this. (Rows of zeros
// in a 3 x 3 kernel, and every other row of an image 10^6 times as loud: 5000 times the bound that
// an error has, so 0.005 for each time that a tap's weights are larger.)
constexpr double kMostBetweenTaps = 32;
// Channels that show it.
constexpr std::int64_t kSampled = 16;

bool is_tap(const WinogradBlock& block, std::int64_t i, std::int64_t taps) {
  return i >= block.zeros_before && i < taps - block.zeros_behind;
}

// With whole numbers for input, too, sums in order are exact up to 2^24; here the quarters of the
// transforms take two bits of that.
template <class T>
bool are_whole_numbers(const T* row, std::int64_t count, std::int64_t step) {
  for (std::int64_t t = 0; t < count; ++t, row += step)
    if (*row != std::rint(*row)) return false;
  return true;
}

// Of sixteen bytes, which a compiler makes one vector.
template <class T>
void add_magnitudes(const T* from, T* to) {
  constexpr int kElements = 16 / sizeof(T);
  T sum[kElements];
  for (int i = 0; i < kElements; ++i) sum[i] = to[i] + std::abs(from[i]);
  for (int i = 0; i < kElements; ++i) to[i] = sum[i];
}

}  // namespace

template <class T>
WinogradPanel<T>::WinogradPanel(const Problem& problem, const WinogradLayout& layout,
                                const PanelShape& shape, const KernelTable& kernels,
                                const Weights& w, std::int64_t group, std::int64_t panel,
                                std::int64_t first_lane, std::int64_t count)
    : problem_(problem),
      layout_(layout),
      kernels_(kernels),
      w_(w),
      group_(group),
      width_(shape.width(panel)),
      lanes_(kernels.set<T>().lanes),
      begin_(first_lane),
      end_(std::min(first_lane + count, width_)),
      channels_(std::min(shape.channels(panel), end_)),
      is_whole_(layout.is_whole() && layout.columns.tile.taps == 3 && lanes_ > 1),
      vectors_{shape.out_channels, lanes_, lanes_},
      first_vector_(panel * shape.panel / lanes_) {
  std::fill_n(whole_, kMaxWidth, problem.algorithm == Algorithm::automatic);
}

template <class T>
std::int64_t WinogradPanel<T>::rows_elements(const Problem& problem) {
  return (channels_at_once(problem) * kMaxLanes + kMaxWidth) * problem.taps();
}

template <class T>
void WinogradPanel<T>::transform(std::int64_t first, std::int64_t count,
                                 const std::int64_t* frequency, T* rows, T* u) {
  const std::int64_t taps = problem_.taps(), at_once = channels_at_once(problem_);
  by_tap_ = rows + at_once * taps * kMaxLanes;
  if (first == 0) std::fill_n(by_tap_, taps * kMaxWidth, T{0});
  for (std::int64_t c = 0; c < count; c += at_once) {
    const std::int64_t some = std::min(at_once, count - c);
    for (std::int64_t lane = begin_; lane < end_; lane += lanes_) {
      pack_panel<T>(kernels_, problem_, w_, vectors_, group_, first_vector_ + lane / lanes_,
                    taps * (first + c), taps * some, rows);
      if (is_whole_)
        transform_whole(rows, c, some, frequency, u + lane, sums_ + sums_of(lane));
      else
        transform_rows(rows, c, some, frequency, u + lane, sums_ + sums_of(lane));
      sum_by_tap(rows, first + c, some, by_tap_ + lane);
      for (std::int64_t k = lane; k < std::min(lane + lanes_, channels_); ++k)
        whole_[k] = whole_[k] && are_whole_numbers(rows + k - lane, taps * some, lanes_);
    }
  }
}

// Magnitudes of some channels of a vector, for each tap.
template <class T>
void WinogradPanel<T>::sum_by_tap(const T* rows, std::int64_t first, std::int64_t count,
                                  T* to) const {
  const std::int64_t taps = problem_.taps();
  const std::int64_t step = std::max<std::int64_t>(problem_.in_channels / kSampled, 1);
  constexpr int kElements = 16 / sizeof(T);
  for (std::int64_t c = round_up(first, step) - first; c < count; c += step) {
    const T* row = rows + c * taps * lanes_;
    for (std::int64_t t = 0; t < taps; ++t, row += lanes_)
      for (int i = 0; i < lanes_; i += kElements) add_magnitudes(row + i, to + t * kMaxWidth + i);
  }
}

// Of each kernel slice: blocks of different slices are not added before they are multiplied.
template <class T>
bool WinogradPanel<T>::sees_all_taps(std::int64_t lane) const {
  const std::int64_t slices = problem_.axis[0].kernel, taps = problem_.taps() / slices;
  for (std::int64_t slice = 0; slice < slices; ++slice) {
    const T* const sums = by_tap_ + slice * taps * kMaxWidth + lane;
    T least = sums[0], most = sums[0];
    for (std::int64_t t = 1; t < taps; ++t) {
      least = std::min(least, sums[t * kMaxWidth]);
      most = std::max(most, sums[t * kMaxWidth]);
    }
    if (most > static_cast<T>(kMostBetweenTaps) * least) return false;
  }
  return true;
}

template <class T>
bool WinogradPanel<T>::suits() const {
  const double terms = static_cast<double>(problem_.terms());
  for (std::int64_t k = begin_; k < channels_; ++k) {
    const T* const sums = sums_ + sums_of(k) + k % lanes_;
    const Spread spread = {sums[0], sums[lanes_], terms, terms};
    if ((whole_[k] && sums[0] != 0) || !sees_all_taps(k) ||
        !is_even<T>(spread, 1, std::max(1.0 / 16, kMinEqualTerms / terms)))
      return false;
  }
  return true;
}

// Every kernel slice of some channels, the kernel being one block.
template <class T>
void WinogradPanel<T>::transform_whole(const T* rows, std::int64_t channel, std::int64_t count,
                                       const std::int64_t* frequency, T* u, T* sums) const {
  const auto kernel = kernels_.set<T>().winograd[static_cast<int>(layout_.tile)].weights[0][0];
  const std::int64_t slices = problem_.axis[0].kernel, taps = problem_.taps();
  for (std::int64_t slice = 0; slice < slices; ++slice, rows += taps / slices * lanes_) {
    T* const to = u + (slice * problem_.in_channels + channel) * width_;
    T* const first[2] = {to + frequency[0], to + frequency[1]};
    kernel({rows, nullptr, taps * lanes_, count, first, width_, sums});
  }
}

// Every kernel slice and block of some channels of a vector, `channel` being the place of the first
// among those that u takes.
template <class T>
void WinogradPanel<T>::transform_rows(const T* rows, std::int64_t channel, std::int64_t count,
                                      const std::int64_t* frequency, T* u, T* sums) const {
  const auto& kernel = kernels_.set<T>().winograd[static_cast<int>(layout_.tile)].weights;
  const Axis &height = problem_.axis[1], &across = problem_.axis[2];
  std::int64_t tap[kMaxTaps];
  T* to[WinogradLayout::kMostPoints];
  for (std::int64_t slice = 0; slice < problem_.axis[0].kernel; ++slice) {
    std::size_t block = 0;
    for (const WinogradBlock& r : layout_.rows.blocks) {
      for (const WinogradBlock& c : layout_.columns.blocks) {
        const int down_taps = layout_.rows.tile.taps - (r.narrow ? 1 : 0);
        const int across_taps = layout_.columns.tile.taps - (c.narrow ? 1 : 0);
        for (int i = 0; i < down_taps; ++i) {
          for (int j = 0; j < across_taps; ++j) {
            const std::int64_t kh = r.offset + i * height.stride, kw = c.offset + j * across.stride;
            tap[i * across_taps + j] =
                is_tap(r, i, down_taps) && is_tap(c, j, across_taps)
                    ? ((slice * height.kernel + kh) * across.kernel + kw) * lanes_
                    : -1;
          }
        }
        for (std::int64_t f = 0; f < layout_.points(); ++f) {
          const WinogradLayout::Terms& terms = layout_.terms_of(f);
          const std::int64_t rank = terms.rank[block];
          const std::int64_t term = slice * terms.slice + rank * problem_.in_channels + channel;
          to[f] = rank < 0 ? nullptr : u + frequency[f] + term * width_;
        }
        kernel[r.narrow][c.narrow]({rows, tap, problem_.taps() * lanes_, count, to, width_, sums});
        ++block;
      }
    }
  }
}

template class WinogradPanel<float>;
template class WinogradPanel<double>;

namespace {

template <class T>
bool pack_as(const Problem& problem, const WinogradLayout& layout, const PanelShape& shape,
             const KernelTable& kernels, const Weights& w, void* to, int workers) {
  const std::int64_t each = WinogradPanel<T>::rows_elements(problem);
  const std::unique_ptr<T[]> buffer(new T[static_cast<std::size_t>(each * workers)]);
  std::atomic<bool> suitable{true};
  // Vectors of a panel lie side by side, so that it is packed whole where there are enough.
  const std::int64_t panels = problem.groups * shape.panels();
  const std::int64_t lanes =
      panels % workers == 0 || panels > 4 * workers ? shape.panel : kernels.set<T>().lanes;
  const std::int64_t parts = divide_up(shape.panel, lanes);
  parallel_for(panels * parts, workers, [&](std::int64_t index, int worker) noexcept {
    const std::int64_t at = index / parts, first_lane = index % parts * lanes;
    if (first_lane >= shape.width(at % shape.panels())) return;
    WinogradPanel<T> panel(problem, layout, shape, kernels, w, at / shape.panels(),
                           at % shape.panels(), first_lane, lanes);
    panel.transform(0, problem.in_channels, layout.u_frequency.data(), buffer.get() + worker * each,
                    static_cast<T*>(to) + at * layout.u_panel);
    if (!panel.suits()) suitable.store(false, std::memory_order_relaxed);
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

}  // namespace fastconv
