#include "algorithms/fft_weights.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "pack/weights.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

// A power of two that all of them are multiples of, as those of common filters are; or 0.
template <class T>
double quantum_of(const T* row, std::int64_t count) {
  for (const T quantum : {T(1), T(1) / 4, T(1) / 256, T(1) / 65536}) {
    std::int64_t others = 0;
    for (std::int64_t i = 0; i < count; ++i) others += row[i] != to_multiple(row[i], quantum);
    if (others == 0) return static_cast<double>(quantum);
  }
  return 0;
}

template <class T>
class Packing {
 public:
  Packing(const Problem& problem, const FftLayout& layout, const FftWeights& weights,
          const KernelTable& kernels, const double* twiddles, Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        weights_(weights),
        kernels_(kernels),
        twiddles_(twiddles),
        lanes_(kernels.fft.lanes),
        interrupt_(interrupt) {}

  // Memory of a worker, taken before any starts: none of them may throw.
  struct Pad {
    std::unique_ptr<T[]> row;  // the weights of an output channel
    std::unique_ptr<std::int64_t[]> order;
    std::unique_ptr<double[]> work;
  };
  Pad make_pad() const {
    const auto terms = static_cast<std::size_t>(problem_.terms());
    const auto points = static_cast<std::size_t>(layout_.points() * 2 * lanes_);
    return {std::make_unique<T[]>(terms), std::make_unique<std::int64_t[]>(terms),
            std::make_unique<double[]>(points)};
  }

  // One output channel. False where a weight is not finite, or all are tiny, or it was interrupted.
  bool pack(const Weights& w, std::int64_t channel, const Pad& pad, char* to, int worker) const {
    if (interrupt_.stop_requested()) return false;
    const std::int64_t terms = problem_.terms();
    T* const row = pad.row.get();
    gather_weights<T>(kernels_, problem_, w, channel, 0, terms, row);
    double squares = 0;
    for (std::int64_t t = 0; t < terms; ++t)
      squares += static_cast<double>(row[t]) * static_cast<double>(row[t]);
    const bool zeros = std::all_of(row, row + terms, [](T w) { return w == T(0); });
    if (!std::isfinite(squares) || (!zeros && squares < kLeastNorm * kLeastNorm)) return false;
    *FftWeights::filter(to, channel) = {std::sqrt(squares), quantum_of(row, terms)};
    find_largest(row, pad.order.get(), weights_.large(to, channel));
    interrupt_.work_done(worker, 32 * terms);
    for (const FftChunk& chunk : layout_.chunks)
      if (!pack(chunk, row, channel, pad.work.get(), weights_.spectra(to), worker)) return false;
    return true;
  }

 private:
  void find_largest(const T* row, std::int64_t* begin, FftWeights::Large* to) const {
    std::int64_t* const end = begin + problem_.terms();
    std::iota(begin, end, 0);
    // The largest eighth of them first: most outputs need no more.
    for (const std::int64_t n : {weights_.largest, weights_.largest / 8}) {
      if (n == problem_.terms()) continue;
      std::int64_t* const beyond = n == weights_.largest ? end : begin + weights_.largest;
      std::nth_element(begin, begin + n, beyond, [&](std::int64_t a, std::int64_t b) {
        return std::fabs(row[a]) > std::fabs(row[b]);
      });
    }
    for (std::int64_t i = 0; i < weights_.largest; ++i)
      to[i] = {static_cast<double>(std::fabs(row[begin[i]])), begin[i]};
  }

  // A transform for each few terms, one in each lane.
  bool pack(const FftChunk& chunk, const T* row, std::int64_t channel, double* work, double* to,
            int worker) const {
    const std::int64_t points = layout_.points(), terms = chunk.terms();
    double* const of_chunk = to + chunk.first_weight * weights_.filters * points * 2;
    for (std::int64_t t = 0; t < terms; t += lanes_) {
      const std::int64_t count = std::min<std::int64_t>(lanes_, terms - t);
      std::fill_n(work, points * 2 * lanes_, 0.0);
      for (std::int64_t l = 0; l < count; ++l) place(chunk, row, t + l, work + l);
      kernels_.fft.forward({work, work, 2 * lanes_, lanes_, twiddles_, layout_.log2});
      const double scale = 1 / static_cast<double>(points);
      for (std::int64_t p = 0; p < points; ++p) {
        // Each point may lie on a page of its own, which the system clears at its first use.
        if (p % 64 == 0) {
          if (interrupt_.stop_requested()) return false;
          interrupt_.work_done(worker, 1 << 20);
        }
        double* at = of_chunk + ((p * weights_.filters + channel) * terms + t) * 2;
        const double* const from = work + p * 2 * lanes_;
        for (std::int64_t l = 0; l < count; ++l) {
          *at++ = from[l] * scale;
          *at++ = from[lanes_ + l] * scale;
        }
      }
    }
    return true;
  }

  // The taps of a term's row, backwards: position k of a part at -k.
  void place(const FftChunk& chunk, const T* row, std::int64_t term, double* lane) const {
    const auto next = [&](std::int64_t n) {
      const std::int64_t i = term % n;
      term /= n;
      return i;
    };
    const std::int64_t part = chunk.first[2] + next(chunk.count[2]);
    const std::int64_t h = chunk.first[1] + next(chunk.count[1]);
    const std::int64_t d = chunk.first[0] + next(chunk.count[0]);
    const auto& axis = problem_.axis;
    const std::int64_t channel = chunk.first_channel + term;
    const T* const taps =
        row + ((channel * axis[0].kernel + d) * axis[1].kernel + h) * axis[2].kernel;
    const std::int64_t dilation = axis[2].dilation, begin = part * layout_.pitch;
    const std::int64_t mask = layout_.points() - 1;
    for (std::int64_t k = layout_.parts == 1 ? 0 : divide_up(begin, dilation); k < axis[2].kernel;
         ++k) {
      const std::int64_t position = k * dilation - begin;
      if (layout_.parts > 1 && position >= layout_.reach) break;
      lane[(-position & mask) * 2 * lanes_] = static_cast<double>(taps[k]);
    }
  }

  const Problem& problem_;
  const FftLayout& layout_;
  const FftWeights& weights_;
  const KernelTable& kernels_;
  const double* const twiddles_;
  const std::int64_t lanes_;
  Interrupt& interrupt_;
};

template <class T>
bool pack_as(const Problem& problem, const FftLayout& layout, const FftWeights& weights,
             const KernelTable& kernels, const double* twiddles, const Weights& w, char* to,
             int workers, Interrupt& interrupt) {
  const Packing<T> packing(problem, layout, weights, kernels, twiddles, interrupt);
  std::vector<typename Packing<T>::Pad> pads;
  for (int worker = 0; worker < workers; ++worker) pads.push_back(packing.make_pad());
  std::atomic<bool> finite{true};
  parallel_for(weights.filters, workers, [&](std::int64_t channel, int worker) noexcept {
    if (!packing.pack(w, channel, pads[static_cast<std::size_t>(worker)], to, worker))
      finite.store(false, std::memory_order_relaxed);
  });
  return finite.load(std::memory_order_relaxed);
}

}  // namespace

FftWeights::FftWeights(const Problem& problem, const FftLayout& layout)
    : filters(problem.groups * problem.out_channels),
      terms(0),
      points(layout.points()),
      largest(std::min(problem.terms(),
                       problem.compute == Compute::f32 ? kMostLargest / 8 : kMostLargest)) {
  for (const FftChunk& chunk : layout.chunks) terms += chunk.terms();
}

bool pack_fft(const Problem& problem, const FftLayout& layout, const FftWeights& weights,
              const KernelTable& kernels, const double* twiddles, const Weights& w, void* to,
              int workers, Interrupt& interrupt) {
  const auto pack = problem.compute == Compute::f32 ? pack_as<float> : pack_as<double>;
  return pack(problem, layout, weights, kernels, twiddles, w, static_cast<char*>(to), workers,
              interrupt);
}

}  // namespace fastconv
