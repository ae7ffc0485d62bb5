#include "algorithms/fft_check.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/rounding.hpp"
#include "pack/lattice.hpp"
#include "pack/weights.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kAtOnce = 2048;   // outputs
constexpr std::int64_t kTaps = 4;        // of a kernel call
constexpr std::int64_t kWeights = 8192;  // kept of an output channel

template <class T>
double sum_of_products(const T* x, const T* w, std::int64_t count) {
  double run[4] = {};
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4)
    for (int j = 0; j < 4; ++j)
      run[j] += static_cast<double>(x[i + j]) * static_cast<double>(w[i + j]);
  for (; i < count; ++i) run[0] += static_cast<double>(x[i]) * static_cast<double>(w[i]);
  return run[0] + run[1] + run[2] + run[3];
}

}  // namespace

template <class T>
struct FftCheck<T>::Pad {
  double* sums;
  T* copies;  // [kTaps][outputs]
  const T** rows;
  T* weights;     // of the output channel, or of a part of a row of the kernel
  T* kernel_row;  // what that part sees
  std::int64_t* offsets;
  std::int64_t bytes = 0;

  // Of nothing: how many bytes it takes.
  Pad(const Problem& problem, char* at) {
    const auto take = [&](auto*& to, std::int64_t count) {
      char* const here = at == nullptr ? nullptr : at + bytes;
      to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(here);
      bytes += round_to_line(count * std::int64_t{sizeof *to});
    };
    take(sums, kAtOnce);
    take(copies, kTaps * kAtOnce);
    take(rows, kTaps * kAtOnce);
    take(weights, std::min(problem.terms(), kWeights));
    take(kernel_row, std::min(problem.axis[2].kernel, kWeights));
    take(offsets, std::max(kAtOnce, problem.axis[0].kernel * problem.axis[1].kernel));
  }
};

template <class T>
std::int64_t FftCheck<T>::scratch_bytes(const Problem& problem) {
  return Pad(problem, nullptr).bytes;
}

template <class T>
bool FftCheck<T>::vouch(const Tile& tile, std::int64_t channel, double least, char* scratch,
                        std::int64_t& budget, Interrupt& interrupt, int worker) const {
  const Pad pad(problem_, scratch);
  const Index3 end = {tile.origin[0] + tile.size[0], tile.origin[1] + tile.size[1],
                      tile.origin[2] + tile.size[2]};
  // Outputs of a row that see no border.
  const Axis& axis = problem_.axis[2];
  const std::int64_t reach = axis.span();
  const std::int64_t inside[] = {divide_up(axis.lo, axis.stride),
                                 (std::max(axis.in + axis.lo, reach) - reach) / axis.stride + 1};
  Tile rows = tile;
  rows.size[0] = 1;
  for (rows.origin[2] = tile.origin[2]; rows.origin[2] < end[2]; rows.origin[2] += rows.size[2]) {
    rows.size[2] = std::min(kAtOnce, end[2] - rows.origin[2]);
    // What sees the border is copied: apart from what does not.
    for (const std::int64_t border : {inside[0], inside[1]})
      if (border > rows.origin[2]) rows.size[2] = std::min(rows.size[2], border - rows.origin[2]);
    const std::int64_t high = std::max<std::int64_t>(kAtOnce / rows.size[2], 1);
    for (rows.origin[0] = tile.origin[0]; rows.origin[0] < end[0]; ++rows.origin[0]) {
      for (rows.origin[1] = tile.origin[1]; rows.origin[1] < end[1];
           rows.origin[1] += rows.size[1]) {
        rows.size[1] = std::min(high, end[1] - rows.origin[1]);
        if (interrupt.stop_requested()) return true;
        if (!vouch_for_rows(rows, channel, least, pad, budget, interrupt, worker)) return false;
        interrupt.work_done(worker, 64 * kAtOnce);
      }
    }
  }
  return true;
}

template <class T>
bool FftCheck<T>::vouch_for_rows(const Tile& rows, std::int64_t channel, double least,
                                 const Pad& pad, std::int64_t& budget, Interrupt& interrupt,
                                 int worker) const {
  const std::int64_t count = rows.size[1] * rows.size[2];
  std::fill_n(pad.sums, count, 0.0);
  std::int64_t large = 0;  // sums up to here, which only grow
  for (std::int64_t t = 0; t < weights_.largest && large < count; t += kTaps) {
    add_magnitudes(rows, channel, t, pad);
    while (large < count && pad.sums[large] >= least) ++large;
  }
  if (large == count) return true;
  if (problem_.terms() <= kWeights)
    gather_weights<T>(table_, problem_, *operands_.weights, channel, 0, problem_.terms(),
                      pad.weights);
  Tile one = rows;
  one.size = {1, 1, 1};
  for (std::int64_t i = large; i < count; ++i) {
    if (pad.sums[i] >= least) continue;
    one.origin[1] = rows.origin[1] + i / rows.size[2];
    one.origin[2] = rows.origin[2] + i % rows.size[2];
    if (interrupt.stop_requested()) return true;
    const std::int64_t before = budget;
    const T sum = sum_in_order(one, channel, pad, budget);
    interrupt.work_done(worker, 8 * (before - budget));
    if (budget < 0) return false;
    T convert;
    store_.store(one, channel, 1, {&sum, 1, 1, 1, 1}, &convert);
  }
  return true;
}

// Of the largest weights from `first` on.
template <class T>
void FftCheck<T>::add_magnitudes(const Tile& rows, std::int64_t channel, std::int64_t first,
                                 const Pad& pad) const {
  const auto& axis = problem_.axis;
  const auto order = turned(std::array<int, 3>{0, 1, 2}, along_);
  const FftWeights::Large* const large = weights_.large(packed_, channel);
  double weight[kTaps] = {};
  for (std::int64_t t = 0; t < kTaps; ++t) {
    const std::int64_t index = std::min(first + t, weights_.largest - 1);
    if (first + t == index) weight[t] = large[index].magnitude;
    std::int64_t term = large[index].term;
    Lattice lattice;
    for (int i = 2; i >= 0; --i) {
      const int a = order[static_cast<std::size_t>(i)];
      lattice.first[a] = rows.origin[a] * axis[a].stride + term % axis[a].kernel * axis[a].dilation;
      lattice.step[a] = axis[a].stride;
      lattice.count[a] = rows.size[a];
      term /= axis[a].kernel;
    }
    locate_rows(problem_, operands_.x, rows.image, lattice, pad.offsets);
    lattice_rows<T>(table_, problem_, operands_.x, lattice, pad.offsets,
                    rows.group * problem_.in_channels + term, pad.copies + t * kAtOnce,
                    pad.rows + t * rows.size[1]);
  }
  const FftMagnitudesArgs<T> args = {pad.rows, weight, rows.size[1], rows.size[2], pad.sums};
  if constexpr (std::is_same_v<T, float>)
    table_.fft.magnitudes_f32(args);
  else
    table_.fft.magnitudes_f64(args);
}

template <class T>
T FftCheck<T>::sum_in_order(const Tile& one, std::int64_t channel, const Pad& pad,
                            std::int64_t& budget) const {
  const auto& axis = problem_.axis;
  Lattice lattice;
  for (int a = 0; a < 3; ++a) {
    lattice.first[a] = one.origin[a] * axis[a].stride;
    lattice.step[a] = axis[a].dilation;
    lattice.count[a] = axis[a].kernel;
  }
  locate_rows(problem_, operands_.x, one.image, lattice, pad.offsets);
  const std::int64_t rows = lattice.count[0] * lattice.count[1], width = lattice.count[2];
  lattice.count[0] = lattice.count[1] = 1;
  // All weights are finite, so that zeros of the border add nothing.
  std::int64_t begin = 0, end = width;
  const bool zeros = problem_.border == Border::constant && !problem_.complex &&
                     scalar_as<T>(problem_.fill[0]) == T(0);
  if (zeros) {
    const std::int64_t before = axis[2].lo - lattice.first[2];
    const std::int64_t inside = before + axis[2].in;
    if (before > 0) begin = std::min(divide_up(before, axis[2].dilation), width);
    end = inside <= 0 ? begin : std::clamp(divide_up(inside, axis[2].dilation), begin, width);
  }
  budget -= problem_.in_channels * rows * (end - begin);
  const bool kept = problem_.terms() <= kWeights;
  double sum = 0;
  for (std::int64_t c = 0; c < problem_.in_channels && budget >= 0; ++c) {
    for (std::int64_t r = 0; r < rows; ++r) {
      if (zeros && pad.offsets[r] == kFilledRow) continue;
      for (std::int64_t k = begin; k < end; k += kWeights) {
        Lattice part = lattice;
        part.first[2] += k * axis[2].dilation;
        part.count[2] = std::min(kWeights, end - k);
        const std::int64_t term = (c * rows + r) * width + k;
        if (!kept)
          gather_weights<T>(table_, problem_, *operands_.weights, channel, term, part.count[2],
                            pad.weights);
        const T* x = nullptr;
        lattice_rows<T>(table_, problem_, operands_.x, part, pad.offsets + r,
                        one.group * problem_.in_channels + c, pad.kernel_row, &x);
        sum += sum_of_products(x, pad.weights + (kept ? term : 0), part.count[2]);
      }
    }
  }
  return static_cast<T>(sum);
}

template class FftCheck<float>;
template class FftCheck<double>;

}  // namespace fastconv
