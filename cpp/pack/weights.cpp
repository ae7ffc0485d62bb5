#include "pack/weights.hpp"

#include <algorithm>
#include <cstring>

#include "pack/convert.hpp"

namespace fastconv {
namespace {

// Weights are gathered in blocks of so many terms before they are transposed.
constexpr std::int64_t kBlock = 64;
constexpr std::int64_t kMostRows = 64;  // the widest panel: four vectors of sixteen

}  // namespace

bool terms_are_runs(const Problem& problem, const Weights& w) {
  if (problem.complex || problem.flip) return false;
  std::int64_t expected = size_of(w.type);
  for (int a = 2; a >= 0; --a) {
    if (problem.axis[a].kernel > 1 && w.axis[a] != expected) return false;
    expected *= problem.axis[a].kernel;
  }
  return problem.in_channels == 1 || w.in == expected;
}

bool is_dense(const Problem& problem, const Weights& w) {
  return w.out % size_of(problem.compute) == 0 && same_storage(w.type, problem.compute) &&
         terms_are_runs(problem, w);
}

namespace {

// Where terms lie, flips resolved: a flipped kernel is one whose axes run backwards.
struct TermStrides {
  const char* data;
  std::int64_t in;
  std::int64_t axis[3];
  // Terms are runs of so many, `step` bytes from one to the next.
  std::int64_t run = 1;
  std::int64_t step = 0;

  TermStrides(const Problem& problem, const Weights& w) : data(w.data), in(w.in) {
    const auto extend = [&](std::int64_t size, std::int64_t stride) {
      if (size == 1) return true;
      if (run > 1 && stride != run * step) return false;
      if (run == 1) step = stride;
      run *= size;
      return true;
    };
    bool goes_on = true;
    for (int a = 2; a >= 0; --a) {
      const std::int64_t last = problem.axis[a].kernel - 1;
      axis[a] = problem.flip ? -w.axis[a] : w.axis[a];
      if (problem.flip) data += last * w.axis[a];
      goes_on = goes_on && extend(last + 1, axis[a]);
    }
    // A complex weight is four real ones.
    if (goes_on && !problem.complex) extend(problem.in_channels, in);
  }

  struct Place {
    std::int64_t channel, tap;  // input channel, and bytes from its first tap on
  };
  Place place(const Problem& problem, std::int64_t term) const {
    const auto& [depth, height, width] = problem.axis;
    const std::int64_t row = term / width.kernel, plane = row / height.kernel;
    return {plane / depth.kernel, plane % depth.kernel * axis[0] + row % height.kernel * axis[1] +
                                      term % width.kernel * axis[2]};
  }
};

// Terms [first, first + count) of one real output channel, in the order of the reduction. With
// complex weights a product is
//   [ re y ]   [ re w  -im w ] [ re x ]
//   [ im y ] = [ im w   re w ] [ im x ]
template <class T>
class RowGatherer {
 public:
  RowGatherer(const KernelTable& kernels, const Problem& problem, const Weights& w)
      : kernels_(kernels), problem_(problem), w_(w), strides_(problem, w) {}

  void gather(std::int64_t k, std::int64_t first, std::int64_t count, T* to) const {
    for (std::int64_t t = first; t < first + count;) {
      const std::int64_t n = std::min(strides_.run - t % strides_.run, first + count - t);
      read(k, t, n, to);
      to += n;
      t += n;
    }
  }

 private:
  // n weights of one run.
  void read(std::int64_t k, std::int64_t term, std::int64_t n, T* to) const {
    const auto [c, tap] = strides_.place(problem_, term);
    const char* from = strides_.data + tap;
    if (!problem_.complex) {
      read_row<T>(kernels_, w_.type, from + k * w_.out + c * strides_.in, strides_.step, to, 1, n);
      return;
    }
    from += (k >> 1) * w_.out + (c >> 1) * strides_.in;
    const bool imaginary = ((k ^ c) & 1) != 0;
    if (imaginary && w_.part == 0) {
      std::fill_n(to, n, T(0));
      return;
    }
    read_row<T>(kernels_, w_.type, from + (imaginary ? w_.part : 0), strides_.step, to, 1, n);
    if (imaginary && (c & 1) != 0)
      for (std::int64_t i = 0; i < n; ++i) to[i] = -to[i];
  }

  const KernelTable& kernels_;
  const Problem& problem_;
  const Weights& w_;
  const TermStrides strides_;
};

// Terms [first, first + count) of the panel whose first output channel is `channel`.
struct TermRange {
  std::int64_t channel, rows, width;
  std::int64_t first, count;
};

// Kernels whose taps fill a block of memory in another order than that of the sum: flipped ones,
// whole or along some axes, and transposed ones; of no more than kBlock taps.
struct TapOrder {
  bool is_block = false;
  std::int64_t first = 0;    // bytes from the first tap to the element that comes first
  std::int32_t tap[kBlock];  // of each element

  TapOrder(const Problem& problem, const Weights& w, const TermStrides& strides) {
    const std::int64_t taps = problem.taps(), element = size_of(w.type);
    for (int a = 0; a < 3; ++a)
      first += std::min<std::int64_t>(strides.axis[a], 0) * (problem.axis[a].kernel - 1);
    std::fill_n(tap, taps, -1);
    for (std::int64_t t = 0; t < taps; ++t) {
      const std::int64_t bytes = strides.place(problem, t).tap - first, at = bytes / element;
      if (bytes % element != 0 || at >= taps || tap[at] >= 0) return;
      tap[at] = static_cast<std::int32_t>(t);
    }
    is_block = true;
  }
};

// Whether that is worth looking at, which takes longer.
bool may_reorder(const Problem& problem, const Weights& w, const TermStrides& strides) {
  const std::int64_t element = size_of(w.type), taps = problem.taps();
  return !problem.complex && same_storage(w.type, problem.compute) && w.out % element == 0 &&
         taps <= kBlock && (problem.in_channels == 1 || strides.in == taps * element);
}

// Such kernels are packed as they lie, each term to its place. False where they are none.
template <class T>
bool pack_reordered(const KernelTable& kernels, const Problem& problem, const Weights& w,
                    const TermRange& range, const std::int32_t* place, bool* finite, T* to) {
  constexpr std::int64_t kElement = sizeof(T);
  const std::int64_t taps = problem.taps();
  if (taps == 1 || range.first % taps != 0 || range.count % taps != 0) return false;
  const TermStrides strides(problem, w);
  if (!may_reorder(problem, w, strides)) return false;
  const TapOrder order(problem, w, strides);
  if (!order.is_block) return false;
  const T* const from =
      reinterpret_cast<const T*>(strides.data + order.first + range.channel * w.out) + range.first;
  std::int32_t spot[kBlock];
  const std::int64_t each = kBlock / taps * taps;
  for (std::int64_t t = 0; t < range.count; t += each) {
    const std::int64_t terms = std::min(each, range.count - t);
    for (std::int64_t c = 0; c < terms; c += taps) {
      for (std::int64_t i = 0; i < taps; ++i) {
        const std::int64_t term = t + c + order.tap[i];
        spot[c + i] = place != nullptr ? place[term] : static_cast<std::int32_t>(term);
      }
    }
    kernels.set<T>().pack(
        {from + t, w.out / kElement, range.rows, terms, to, range.width, spot, finite});
  }
  return true;
}

// Output channels that lie side by side, as in weights of (height, width, in, out), are in the
// order of the panel. False where they do not.
template <class T>
bool copy_channels(const Problem& problem, const Weights& w, const TermRange& range,
                   const std::int32_t* place, bool* finite, T* to) {
  constexpr std::int64_t kElement = sizeof(T);
  if (problem.complex || !same_storage(w.type, problem.compute) || w.out != kElement) return false;
  const TermStrides strides(problem, w);
  const char* const panel = strides.data + range.channel * kElement;
  T others[4] = {};
  const T* from[kBlock];
  for (std::int64_t first = 0; first < range.count; first += kBlock) {
    const std::int64_t terms = std::min(kBlock, range.count - first);
    // They lie far apart, where no processor expects them.
    for (std::int64_t t = 0; t < terms; ++t) {
      const auto [channel, tap] = strides.place(problem, range.first + first + t);
      from[t] = reinterpret_cast<const T*>(panel + channel * strides.in + tap);
      for (std::int64_t i = 0; i < range.rows; i += 64 / kElement) FASTCONV_PREFETCH(from[t] + i);
    }
    for (std::int64_t t = 0; t < terms; ++t) {
      T* const at = to + (place != nullptr ? place[first + t] : first + t) * range.width;
      std::memcpy(at, from[t], static_cast<std::size_t>(range.rows) * sizeof(T));
      std::fill(at + range.rows, at + range.width, T(0));
      if (finite != nullptr)
        for (std::int64_t i = 0; i < range.rows; ++i) others[i % 4] += at[i] * T(0);
    }
  }
  if (finite != nullptr && others[0] + others[1] + others[2] + others[3] != T(0)) *finite = false;
  return true;
}

template <class T>
void pack_terms(const KernelTable& kernels, const Problem& problem, const Weights& w,
                const PanelShape& shape, std::int64_t group, std::int64_t index, std::int64_t first,
                std::int64_t count, const std::int32_t* place, bool* finite, T* to) {
  const std::int64_t channel = group * problem.out_channels + index * shape.panel;
  const std::int64_t rows = shape.channels(index), width = shape.width(index);
  const KernelSet<T>& set = kernels.set<T>();
  const auto pack = set.pack_half != nullptr && width * 2 == set.lanes ? set.pack_half : set.pack;
  if (is_dense(problem, w)) {
    const T* const from = reinterpret_cast<const T*>(w.data + channel * w.out) + first;
    pack({from, w.out / std::int64_t{sizeof(T)}, rows, count, to, width, place, finite});
    return;
  }
  const TermRange range = {channel, rows, width, first, count};
  if (pack_reordered(kernels, problem, w, range, place, finite, to) ||
      copy_channels(problem, w, range, place, finite, to))
    return;
  const RowGatherer<T> gatherer(kernels, problem, w);
  T block[kMostRows * kBlock];
  for (std::int64_t t = 0; t < count; t += kBlock) {
    const std::int64_t terms = std::min(kBlock, count - t);
    for (std::int64_t r = 0; r < rows; ++r)
      gatherer.gather(channel + r, first + t, terms, block + r * kBlock);
    if (place != nullptr) {
      pack({block, kBlock, rows, terms, to, width, place + t, finite});
    } else {
      pack({block, kBlock, rows, terms, to + t * width, width});
    }
  }
}

}  // namespace

template <class T>
void pack_panel(const KernelTable& kernels, const Problem& problem, const Weights& w,
                const PanelShape& shape, std::int64_t group, std::int64_t index, std::int64_t first,
                std::int64_t count, T* to) {
  pack_terms<T>(kernels, problem, w, shape, group, index, first, count, nullptr, nullptr, to);
}

template <class T>
bool pack_single_rows(const KernelTable& kernels, const Problem& problem, const Weights& w, T* to) {
  const std::int64_t rows = problem.groups * problem.out_channels, taps = problem.taps();
  if (terms_are_runs(problem, w)) {
    const std::int64_t element = size_of(w.type), terms = problem.terms();
    const bool one_run = w.out == terms * element;
    for (std::int64_t k = 0; k < (one_run ? 1 : rows); ++k)
      read_row<T>(kernels, w.type, w.data + k * w.out, element, to + k * terms, 1,
                  one_run ? rows * terms : terms);
    return true;
  }
  const TermStrides strides(problem, w);
  if (!may_reorder(problem, w, strides)) return false;
  const TapOrder order(problem, w, strides);
  if (!order.is_block) return false;
  const bool is_reverse = strides.run == taps && strides.step == -std::int64_t{sizeof(T)};
  for (std::int64_t k = 0; k < rows; ++k) {
    const T* from = reinterpret_cast<const T*>(strides.data + order.first + k * w.out);
    for (std::int64_t c = 0; c < problem.in_channels; ++c, from += taps, to += taps) {
      if (is_reverse) {
        const T* const last = from + taps - 1;
        for (std::int64_t t = 0; t < taps; ++t) to[t] = last[-t];
      } else {
        for (std::int64_t t = 0; t < taps; ++t) to[order.tap[t]] = from[t];
      }
    }
  }
  return true;
}

template <class T>
bool pack_panel_placed(const KernelTable& kernels, const Problem& problem, const Weights& w,
                       const PanelShape& shape, std::int64_t group, std::int64_t index,
                       std::int64_t first, std::int64_t count, const std::int32_t* place, T* to) {
  bool finite = true;
  pack_terms<T>(kernels, problem, w, shape, group, index, first, count, place, &finite, to);
  return finite;
}

template <class T>
void gather_weights(const KernelTable& kernels, const Problem& problem, const Weights& w,
                    std::int64_t channel, std::int64_t first, std::int64_t count, T* to) {
  RowGatherer<T>(kernels, problem, w).gather(channel, first, count, to);
}

#define FASTCONV_INSTANTIATE(T)                                                                   \
  template bool pack_single_rows<T>(const KernelTable&, const Problem&, const Weights&, T*);      \
  template void gather_weights<T>(const KernelTable&, const Problem&, const Weights&,             \
                                  std::int64_t, std::int64_t, std::int64_t, T*);                  \
  template void pack_panel<T>(const KernelTable&, const Problem&, const Weights&,                 \
                              const PanelShape&, std::int64_t, std::int64_t, std::int64_t,        \
                              std::int64_t, T*);                                                  \
  template bool pack_panel_placed<T>(const KernelTable&, const Problem&, const Weights&,          \
                                     const PanelShape&, std::int64_t, std::int64_t, std::int64_t, \
                                     std::int64_t, const std::int32_t*, T*);
FASTCONV_FOR_EACH_COMPUTE_TYPE(FASTCONV_INSTANTIATE)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
