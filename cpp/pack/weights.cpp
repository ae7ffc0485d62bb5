#include "pack/weights.hpp"

namespace fastconv {
namespace {


// The weight that joins real input channel c with real output channel k. A complex product is
//   [ re y ]   [ re w  -im w ] [ re x ]
//   [ im y ] = [ im w   re w ] [ im x ]
template <class T>
T weight_at(const Problem& problem, const Weights& w, std::int64_t k, std::int64_t c,
            std::int64_t offset) {
  if (!problem.complex)
    return *reinterpret_cast<const T*>(w.data + k * w.out + c * w.in + offset);
  const bool imaginary = ((k ^ c) & 1) != 0;
  const T value = *reinterpret_cast<const T*>(w.data + (k >> 1) * w.out + (c >> 1) * w.in +
                                              offset + (imaginary ? w.part : 0));
  return imaginary && (c & 1) != 0 ? -value : value;
}

bool is_dense(const Problem& problem, const Weights& w, std::int64_t element) {
  if (problem.complex || problem.flip || w.out % element != 0) return false;
  std::int64_t expected = element;
  for (int a = 2; a >= 0; --a) {
    if (problem.axis[a].kernel > 1 && w.axis[a] != expected) return false;
    expected *= problem.axis[a].kernel;
  }
  return problem.in_channels == 1 || w.in == expected;
}

}  // namespace

template <class T>
void pack_panel(const KernelSet<T>& kernels, const Problem& problem, const Weights& w,
                const PanelShape& shape, std::int64_t group, std::int64_t index, T* to) {
  constexpr std::int64_t kElement = sizeof(T);
  const std::int64_t first = group * problem.out_channels + index * shape.panel;
  const std::int64_t rows = shape.channels(index), width = shape.width(index);
  if (is_dense(problem, w, kElement)) {
    kernels.pack({reinterpret_cast<const T*>(w.data + first * w.out), w.out / kElement, rows,
                  problem.terms(), to, width});
    return;
  }
  const auto& axis = problem.axis;
  const std::int64_t taps = problem.taps();
  for (std::int64_t t = 0; t < problem.terms(); ++t) {
    const std::int64_t c = t / taps;
    std::int64_t tap = t % taps;
    if (problem.flip) tap = taps - 1 - tap;  // every axis reversed is the flat order reversed
    const std::int64_t offset = tap / axis[2].kernel / axis[1].kernel * w.axis[0] +
                                tap / axis[2].kernel % axis[1].kernel * w.axis[1] +
                                tap % axis[2].kernel * w.axis[2];
    for (std::int64_t r = 0; r < rows; ++r)
      to[t * width + r] = weight_at<T>(problem, w, first + r, c, offset);
    for (std::int64_t r = rows; r < width; ++r) to[t * width + r] = T(0);
  }
}

#define FASTCONV_INSTANTIATE(T)                                                           \
  template void pack_panel<T>(const KernelSet<T>&, const Problem&, const Weights&,        \
                              const PanelShape&, std::int64_t, std::int64_t, T*);
FASTCONV_INSTANTIATE(float)
FASTCONV_INSTANTIATE(double)
FASTCONV_INSTANTIATE(std::int32_t)
FASTCONV_INSTANTIATE(std::int64_t)
#undef FASTCONV_INSTANTIATE

}  // namespace fastconv
