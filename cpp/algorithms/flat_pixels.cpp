#include "algorithms/flat_pixels.hpp"

#include <cstring>

#include "core/rounding.hpp"
#include "simd/inline.hpp"

namespace fastconv {
namespace {

template <int Words>
void copy_words(const char* from, std::int64_t step, std::int64_t count, std::int64_t bytes,
                char* to) {
  for (std::int64_t i = 0; i < count; ++i, from += step, to += bytes) {
    FASTCONV_UNROLL
    for (int word = 0; word < Words; ++word) std::memcpy(to + word * 16, from + word * 16, 16);
  }
}

}  // namespace

void copy_pixels(const char* from, std::int64_t step, std::int64_t count, std::int64_t bytes,
                 char* to) {
  constexpr std::int64_t kWord = 16, kMostWords = 4;
  if (step == bytes) {
    std::memcpy(to, from, static_cast<std::size_t>(count * bytes));
    return;
  }
  const std::int64_t words = divide_up(bytes, kWord);
  std::int64_t done = 0;
  if (words <= kMostWords && words * kWord <= step + bytes && count > 1) {
    done = count - 1;
    if (words == 1) copy_words<1>(from, step, done, bytes, to);
    if (words == 2) copy_words<2>(from, step, done, bytes, to);
    if (words == 3) copy_words<3>(from, step, done, bytes, to);
    if (words == 4) copy_words<4>(from, step, done, bytes, to);
  }
  for (; done < count; ++done)
    std::memcpy(to + done * bytes, from + done * step, static_cast<std::size_t>(bytes));
}

template <class T>
void repeat_channels(const T* from, std::int64_t step, std::int64_t groups, std::int64_t filters,
                     T* to) {
  for (std::int64_t g = 0; g < groups; ++g, from += step, to += filters) {
    const T four[] = {*from, *from, *from, *from};
    for (std::int64_t i = 0; i < filters; i += 4) std::memcpy(to + i, four, sizeof four);
  }
}

template void repeat_channels<float>(const float*, std::int64_t, std::int64_t, std::int64_t,
                                     float*);
template void repeat_channels<double>(const double*, std::int64_t, std::int64_t, std::int64_t,
                                      double*);

}  // namespace fastconv
