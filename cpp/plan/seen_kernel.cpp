#include "plan/seen_kernel.hpp"

#include <algorithm>
#include <vector>

#include "algorithms/tap_layout.hpp"
#include "pack/weights.hpp"

namespace fastconv {
namespace {

// Of the taps. The rest is looked at, which takes as long as reading it, and what is kept is copied
// one by one; tap_product leaves out as much while it packs, but for few filters it is not there.
constexpr double kMostSeen = 0.3;
constexpr double kMostSeenOfCall = 0.06;
// Of one pixel column_product would read all weights as they lie: again for each image, but no
// slower than they are looked at, which counts where L1 is too small for them.
constexpr double kMostSeenOfPixel = 0.07, kMostSeenOfFew = 0.13;
constexpr std::int64_t kFewWeights = 64 << 10, kLeastWeights = 1 << 10;
constexpr std::int64_t kFewFilters = 8;

struct Seen {
  std::int64_t tap = 0;    // the first that is kept
  std::int64_t input = 0;  // and the first element
};

// Leaves out kernel positions at both ends through which no output sees the input, and the input
// that no other sees where there is no border left.
Seen leave_out(Axis& axis) {
  std::int64_t first = 0, end = axis.kernel;
  const auto is_seen = [&](std::int64_t k) { return seeing_outputs(axis, k).count() != 0; };
  while (first < end && !is_seen(first)) ++first;
  if (first == end) {  // nothing: one tap, which steps over one element
    axis.in = axis.kernel = axis.dilation = axis.lo = 1;
    axis.stride = 2;
    axis.hi = 2 * (axis.out - 1);
    return {};
  }
  while (!is_seen(end - 1)) --end;
  Seen seen{first, 0};
  axis.lo -= first * axis.dilation;
  axis.hi -= (axis.kernel - end) * axis.dilation;
  axis.kernel = end - first;
  if (axis.lo < 0) {
    seen.input = -axis.lo;
    axis.in += axis.lo;
    axis.lo = 0;
  }
  // Nor what no output sees behind the last.
  axis.hi = std::min(axis.hi, axis.seen_by(axis.out) - axis.lo - axis.in);
  if (axis.hi < 0) {
    axis.in += axis.hi;
    axis.hi = 0;
  }
  if (axis.out == 1) axis.stride = 1;
  return seen;
}

template <class T>
bool gather_as(const KernelTable& kernels, const Problem& whole, const SeenKernel& seen,
               const Weights& w, T* to) {
  const std::int64_t terms = whole.terms(), taps = whole.taps();
  const std::int64_t channels = seen.problem.in_channels;
  const auto& axis = whole.axis;
  const auto& kept = seen.problem.axis;
  const bool dense = is_dense(whole, w);
  std::vector<T> copy(static_cast<std::size_t>(dense ? 0 : terms));
  std::vector<std::int64_t> tap;
  for (std::int64_t i = 0; i < kept[0].kernel; ++i)
    for (std::int64_t j = 0; j < kept[1].kernel; ++j)
      for (std::int64_t v = 0; v < kept[2].kernel; ++v)
        tap.push_back(((seen.first[0] + i) * axis[1].kernel + seen.first[1] + j) * axis[2].kernel +
                      seen.first[2] + v);
  const auto are_finite = kernels.set<T>().are_finite;
  const std::int64_t many = static_cast<std::int64_t>(tap.size());
  const std::int64_t filters = whole.groups * whole.out_channels;
  // So many rows are looked at together, and then read from L1.
  constexpr std::int64_t kLooked = 4096;
  const bool follow = dense && w.out == terms * std::int64_t{sizeof(T)};
  const std::int64_t most = follow ? std::max<std::int64_t>(kLooked / terms, 1) : 1;
  for (std::int64_t k = 0; k < filters; ++k) {
    const T* row = reinterpret_cast<const T*>(w.data + k * w.out);
    if (!dense) {
      gather_weights(kernels, whole, w, k, 0, terms, copy.data());
      row = copy.data();
    }
    if (k % most == 0 && !are_finite(row, std::min(most, filters - k) * terms)) return false;
    for (const std::int64_t t : tap) {
      for (std::int64_t c = 0; c < channels; ++c) to[c * many] = row[c * taps + t];
      ++to;
    }
    to += (channels - 1) * many;
  }
  return true;
}

}  // namespace

bool SeenKernel::keeps_like(const SeenKernel& other) const {
  for (int a = 0; a < 3; ++a)
    if (first[a] != other.first[a] || problem.axis[a].kernel != other.problem.axis[a].kernel)
      return false;
  return true;
}

std::int64_t SeenKernel::weight_bytes() const {
  return problem.groups * problem.out_channels * problem.terms() * size_of(problem.compute);
}

bool SeenKernel::gather(const KernelTable& kernels, const Problem& whole, const Weights& w,
                        char* to) const {
  if (problem.compute == Compute::f32)
    return gather_as(kernels, whole, *this, w, reinterpret_cast<float*>(to));
  return gather_as(kernels, whole, *this, w, reinterpret_cast<double*>(to));
}

Tensor SeenKernel::input(const Tensor& x) const {
  Tensor seen = x;
  for (int a = 0; a < 3; ++a) seen.data += first_input[a] * x.axis[a];
  return seen;
}

Weights SeenKernel::weights(const char* gathered) const {
  Weights w;
  w.data = gathered;
  w.type = problem.w_type;
  std::int64_t pitch = size_of(problem.w_type);
  for (int a = 2; a >= 0; --a) {
    w.axis[a] = pitch;
    pitch *= problem.axis[a].kernel;
  }
  w.in = pitch;
  w.out = pitch * problem.in_channels;
  return w;
}

std::optional<SeenKernel> seen_kernel(const Problem& problem) {
  if (!problem.padded() || !has_zero_border(problem) || problem.complex ||
      !is_float(problem.compute) || !is_float(problem.w_type) || problem.axis[2].interleave != 1)
    return std::nullopt;
  if (problem.algorithm != Algorithm::automatic && problem.algorithm != Algorithm::direct)
    return std::nullopt;
  if (problem.precision == Precision::medium) return std::nullopt;
  SeenKernel seen{problem, {}, {}};
  for (int a = 0; a < 3; ++a) {
    const Seen first = leave_out(seen.problem.axis[a]);
    seen.first[a] = first.tap;
    seen.first_input[a] = first.input;
  }
  if (seen_share(problem) == 0) seen.problem.in_channels = 1;  // each adds zeros
  const bool copies = !problem.keeps_weights && problem.out_channels >= kFewFilters;
  double most = copies ? kMostSeenOfCall : kMostSeen;
  if (copies && problem.out_pixels() == 1) {
    const std::int64_t weights = problem.groups * problem.out_channels * problem.terms();
    most = weights > kFewWeights      ? kMostSeenOfPixel
           : weights >= kLeastWeights ? kMostSeenOfFew
                                      : kMostSeenOfCall;
  }
  if (static_cast<double>(seen.problem.taps()) > most * static_cast<double>(problem.taps()))
    return std::nullopt;
  // No other than direct kernels: these suit any weights and images.
  seen.problem.algorithm = Algorithm::direct;
  seen.problem.flip = false;
  seen.problem.w_type = storage_of(problem.compute);
  return seen;
}

}  // namespace fastconv
