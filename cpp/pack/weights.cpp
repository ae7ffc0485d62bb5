#include "pack/weights.hpp"

#include <algorithm>

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

// Terms [first, first + count) of one real output channel, in the order of the reduction. With
// complex weights a product is
//   [ re y ]   [ re w  -im w ] [ re x ]
//   [ im y ] = [ im w   re w ] [ im x ]
template <class T>
class RowGatherer {
 public:
  RowGatherer(const KernelTable& kernels, const Problem& problem, const Weights& w)
      : kernels_(kernels), problem_(problem), w_(w), are_runs_(terms_are_runs(problem, w)) {}

  void gather(std::int64_t k, std::int64_t first, std::int64_t count, T* to) const {
    if (are_runs_) {
      const std::int64_t element = size_of(w_.type);
      return read_row<T>(kernels_, w_.type, w_.data + k * w_.out + first * element, element, to, 1,
                         count);
    }
    const std::int64_t kw = problem_.axis[2].kernel;
    for (std::int64_t t = first; t < first + count;) {
      const std::int64_t column = t % kw;
      const std::int64_t n = std::min(kw - column, first + count - t);
      read(k, t / kw, column, n, to);
      to += n;
      t += n;
    }
  }

 private:
  // n weights of one kernel row; `row` counts the rows of all channels.
  void read(std::int64_t k, std::int64_t row, std::int64_t column, std::int64_t n, T* to) const {
    const auto& axis = problem_.axis;
    const std::int64_t rows = axis[0].kernel * axis[1].kernel;
    const std::int64_t c = row / rows;
    std::int64_t d = row % rows / axis[1].kernel, h = row % axis[1].kernel;
    std::int64_t step = w_.axis[2];
    if (problem_.flip) {
      d = axis[0].kernel - 1 - d;
      h = axis[1].kernel - 1 - h;
      column = axis[2].kernel - 1 - column;
      step = -step;
    }
    const char* from = w_.data + d * w_.axis[0] + h * w_.axis[1] + column * w_.axis[2];
    if (!problem_.complex) {
      read_row<T>(kernels_, w_.type, from + k * w_.out + c * w_.in, step, to, 1, n);
      return;
    }
    from += (k >> 1) * w_.out + (c >> 1) * w_.in;
    const bool imaginary = ((k ^ c) & 1) != 0;
    if (imaginary && w_.part == 0) {
      std::fill_n(to, n, T(0));
      return;
    }
    read_row<T>(kernels_, w_.type, from + (imaginary ? w_.part : 0), step, to, 1, n);
    if (imaginary && (c & 1) != 0)
      for (std::int64_t i = 0; i < n; ++i) to[i] = -to[i];
  }

  const KernelTable& kernels_;
  const Problem& problem_;
  const Weights& w_;
  const bool are_runs_;
};

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
  template void gather_weights<T>(const KernelTable&, const Problem&, const Weights&,             \
                                  std::int64_t, std::int64_t, std::int64_t, T*);                  \
  template void pack_panel<T>(const KernelTable&, const Problem&, const Weights&,                 \
                              const PanelShape&, std::int64_t, std::int64_t, std::int64_t,        \
                              std::int64_t, T*);                                                  \
  template bool pack_panel_placed<T>(const KernelTable&, const Problem&, const Weights&,          \
                                     const PanelShape&, std::int64_t, std::int64_t, std::int64_t, \
                                     std::int64_t, const std::int32_t*, T*);
FASTCONV_INSTANTIATE(float)
FASTCONV_INSTANTIATE(double)
FASTCONV_INSTANTIATE(std::int32_t)
FASTCONV_INSTANTIATE(std::int64_t)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
