// A problem with arrays for it, as test_engine.cpp runs them: of small integers, in any layout.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <type_traits>

#include "algorithms/execution.hpp"
#include "core/problem.hpp"
#include "kernels/dispatch.hpp"

namespace fastconv::test {

inline std::mt19937_64 generator(1);

inline std::int64_t pick(std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(generator() % static_cast<std::uint64_t>(high - low + 1));
}
inline bool chance(int percent) { return pick(1, 100) <= percent; }
template <class T, std::size_t N>
T one_of(const T (&choices)[N]) {
  return choices[pick(0, static_cast<std::int64_t>(N) - 1)];
}

// Memory of an exact size, so that AddressSanitizer sees every step beyond it.
class Memory {
 public:
  Memory(std::int64_t bytes, int fill)
      : size_(static_cast<std::size_t>(bytes)),
        data_(static_cast<char*>(std::aligned_alloc(64, (size_ + 63) / 64 * 64)), &std::free) {
    if (data_ == nullptr) std::abort();
    std::memset(data_.get(), fill, size_);
  }
  char* data() const { return data_.get(); }
  bool operator==(const Memory& other) const {
    return size_ == other.size_ && std::memcmp(data(), other.data(), size_) == 0;
  }

 private:
  std::size_t size_;
  std::unique_ptr<char, decltype(&std::free)> data_;
};

using Index5 = std::array<std::int64_t, 5>;

// How five axes lie in memory: any order, gaps, backwards, or one element for a whole axis.
struct Layout {
  Index5 size;
  Index5 stride = {};
  std::int64_t origin = 0;  // byte of element (0, 0, 0, 0, 0)
  std::int64_t bytes = 0;

  Layout(const Index5& sizes, std::int64_t item, bool may_repeat) : size(sizes) {
    constexpr std::array<int, 5> kChannelsFirst = {0, 1, 2, 3, 4}, kChannelsLast = {0, 2, 3, 4, 1};
    std::array<int, 5> order = chance(50) ? kChannelsFirst : kChannelsLast;
    const bool plain = chance(60);
    if (!plain && chance(40)) std::shuffle(order.begin(), order.end(), generator);
    std::int64_t step = item;
    for (int i = 4; i >= 0; --i) {
      const int axis = order[static_cast<std::size_t>(i)];
      if (!plain && may_repeat && chance(5)) continue;
      stride[axis] = step;
      if (!plain && chance(15)) stride[axis] *= 2;
      step = stride[axis] * size[axis];
      if (!plain && chance(20)) {
        origin += stride[axis] * (size[axis] - 1);
        stride[axis] = -stride[axis];
      }
    }
    bytes = step;
  }

  template <class Visit>
  void each(Visit visit) const {
    Index5 i;
    for (i[0] = 0; i[0] < size[0]; ++i[0])
      for (i[1] = 0; i[1] < size[1]; ++i[1])
        for (i[2] = 0; i[2] < size[2]; ++i[2])
          for (i[3] = 0; i[3] < size[3]; ++i[3])
            for (i[4] = 0; i[4] < size[4]; ++i[4])
              visit(origin + i[0] * stride[0] + i[1] * stride[1] + i[2] * stride[2] +
                    i[3] * stride[3] + i[4] * stride[4]);
  }
};

template <class T>
inline void put_as(char* at, double value) {
  const T typed = static_cast<T>(
      static_cast<std::conditional_t<std::is_integral_v<T>, std::int64_t, double>>(value));
  std::memcpy(at, &typed, sizeof typed);
}

inline void put(DType type, char* at, double value) {
  switch (type) {
    case DType::i8:
    case DType::u8:
      return put_as<std::int8_t>(at, value);
    case DType::i16:
    case DType::u16:
      return put_as<std::int16_t>(at, value);
    case DType::i32:
    case DType::u32:
      return put_as<std::int32_t>(at, value);
    case DType::i64:
    case DType::u64:
      return put_as<std::int64_t>(at, value);
    case DType::f32:
      return put_as<float>(at, value);
    case DType::f64:
      return put_as<double>(at, value);
    default: {
      const float wide = static_cast<float>(value);
      std::uint16_t half;
      const HalfKernels& kernels = table_scalar.half;
      (type == DType::f16 ? kernels.to_f16 : kernels.to_bf16)(&wide, &half, 1);
      std::memcpy(at, &half, sizeof half);
    }
  }
}

inline DType stored_type(Compute compute) {
  constexpr DType kTypes[] = {DType::f32, DType::f64, DType::i32, DType::i64};
  return kTypes[static_cast<int>(compute)];
}

// What the inputs are filled with. Full-range integers check that sums wrap; fractions, whose
// sums are rounded, are for comparisons of one algorithm with itself.
enum class Values { small, wrapping, fractions };

inline bool is_unsigned(DType type) { return type >= DType::u8 && type <= DType::u64; }

inline double value_of(Values values, DType type) {
  switch (values) {
    case Values::wrapping:
      return static_cast<double>(pick(-(std::int64_t{1} << 31), std::int64_t{1} << 31));
    case Values::fractions:
      return static_cast<double>(pick(-1000, 1000)) / 777.0;
    default:
      return static_cast<double>(is_unsigned(type) ? pick(0, 9) : pick(-4, 4));
  }
}

// One problem with its arrays.
struct Case {
  Problem problem;
  Values values = Values::small;
  DType w_type = DType::f32;
  bool w_complex = false;  // a complex problem may have real weights
  std::unique_ptr<Layout> x_layout, w_layout, y_layout;
  std::unique_ptr<Memory> x, w, bias;
  Weights weights;
  Operands operands;

  // The arrays that `problem` asks for.
  void make_arrays() {
    const std::int64_t parts = problem.complex ? 2 : 1;
    const auto& axis = problem.axis;
    x_layout =
        std::make_unique<Layout>(Index5{problem.batch, problem.groups * problem.in_channels / parts,
                                        axis[0].in, axis[1].in, axis[2].in},
                                 size_of(problem.x_type) * parts, true);
    y_layout = std::make_unique<Layout>(
        Index5{problem.batch, problem.groups * problem.out_channels / parts, axis[0].out,
               axis[1].out, axis[2].out},
        size_of(problem.y_type) * parts, false);
    w_layout = std::make_unique<Layout>(
        Index5{problem.groups * problem.out_channels / parts, problem.in_channels / parts,
               axis[0].kernel, axis[1].kernel, axis[2].kernel},
        size_of(w_type) * (w_complex ? 2 : 1), true);
    x = filled(*x_layout, problem.x_type, problem.complex);
    w = filled(*w_layout, w_type, w_complex);
    operands.x = tensor(*x_layout, problem.x_type, problem.complex, x->data());
    operands.y = tensor(*y_layout, problem.y_type, problem.complex, nullptr);
    const Tensor t = tensor(*w_layout, w_type, w_complex, w->data());
    weights = {t.data, w_type, t.batch, t.channel, t.part, t.axis};
    if (problem.has_bias) {
      const DType type = stored_type(problem.compute);
      const std::int64_t n = problem.groups * problem.out_channels;
      bias = std::make_unique<Memory>(n * size_of(type), 0);
      for (std::int64_t i = 0; i < n; ++i)
        put(type, bias->data() + i * size_of(type), static_cast<double>(pick(-9, 9)));
      operands.bias = bias->data();
    }
  }

  std::unique_ptr<Memory> filled(const Layout& layout, DType type, bool complex) const {
    auto memory = std::make_unique<Memory>(layout.bytes, 0xCD);
    // With rounding to integers at the end, halves make ties.
    const double unit = problem.saturate && is_float(type) ? 0.5 : 1.0;
    layout.each([&](std::int64_t at) {
      for (int part = 0; part < (complex ? 2 : 1); ++part)
        put(type, memory->data() + at + part * size_of(type), unit * value_of(values, type));
    });
    return memory;
  }

  static Tensor tensor(const Layout& l, DType type, bool complex, char* data) {
    Tensor t;
    t.data = data == nullptr ? nullptr : data + l.origin;
    t.batch = l.stride[0];
    t.channel = l.stride[1];
    t.part = complex ? size_of(type) : 0;
    t.axis = {l.stride[2], l.stride[3], l.stride[4]};
    return t;
  }

  // The output array, gaps included, that `run` leaves.
  template <class Run>
  Memory output(Run run) const {
    Memory y(y_layout->bytes, 0xA5);
    Operands with_output = operands;
    with_output.y.data = y.data() + y_layout->origin;
    run(with_output);
    return y;
  }
};

}  // namespace fastconv::test
