// Elements of a padded row, read from where they lie in x, whatever their type and however far
// apart.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/border.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/convert.hpp"
#include "pack/stage.hpp"

namespace fastconv {

// With a constant step the compiler shuffles whole vectors: a stride of 3 or 4, or as many channels
// last (3 -> 4 channels, 3 x 3, stride 3, of 224 x 224 on Zen 4: 112 -> 84 us).
template <class T, int Step>
void copy_every(const T* from, std::int64_t n, T* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * Step];
}

// Bytes to int16; elements that stay as they are.
template <class From, class T>
void copy_narrow(const char* from, std::int64_t stride, T* to, std::int64_t to_stride,
                 std::int64_t n) {
  const auto put = [&](std::int64_t step, std::int64_t to_step) {
    for (std::int64_t i = 0; i < n; ++i) {
      From element;
      std::memcpy(&element, from + i * step, sizeof element);
      to[i * to_step] = static_cast<T>(element);
    }
  };
  // Constant steps make vectors.
  if (stride == std::int64_t{sizeof(From)} && to_stride == 1)
    put(sizeof(From), 1);
  else
    put(stride, to_stride);
}

template <class T>
void read_elements(const KernelTable& kernels, DType type, const char* from, std::int64_t stride,
                   T* to, std::int64_t to_stride, std::int64_t n) {
  if constexpr (!kIsNarrow<T>)
    read_row<T>(kernels, type, from, stride, to, to_stride, n);
  else if (type == DType::i8)
    copy_narrow<std::int8_t>(from, stride, to, to_stride, n);
  else if (type == DType::u8)
    copy_narrow<std::uint8_t>(from, stride, to, to_stride, n);
  else
    copy_narrow<std::int16_t>(from, stride, to, to_stride, n);
}

template <class T>
T fill_of(const Scalar& value) {
  if constexpr (kIsNarrow<T>)
    return static_cast<T>(value.i32);
  else
    return scalar_as<T>(value);
}

// `count` elements of padded rows (an axis of the source): first, first + step, ...
template <class T>
class RowReader {
 public:
  // Elements [inside, beyond) lie in the source, from byte `offset` of its row on.
  struct Span {
    std::int64_t from;  // source index of element 0
    std::int64_t inside;
    std::int64_t beyond;
    std::int64_t offset;
  };

  RowReader(const KernelTable& kernels, const Problem& problem, const Tensor& x, std::int64_t step)
      : kernels_(kernels),
        problem_(problem),
        axis_(problem.axis[2]),
        stride_(x.axis[2]),
        step_(step) {
    constexpr std::int64_t kElement = sizeof(T);
    if constexpr (!kIsNarrow<T>) every_second_ = kernels.set<T>().every_second;
    if (!holds_staged<T>(problem) || stride_ % kElement != 0) return;
    const std::int64_t elements = step * stride_ / kElement;
    if (stride_ == kElement && step <= 2) {
      kind_ = step == 1 ? Kind::copy : Kind::every_second;
    } else if (elements == 3) {
      kind_ = Kind::every_third;
    } else if (elements == 4) {
      kind_ = Kind::every_fourth;
    }
  }

  Span span(std::int64_t first, std::int64_t count) const {
    const std::int64_t from = first - axis_.lo;
    const auto steps_to = [&](std::int64_t bound) {
      const std::int64_t distance = std::max<std::int64_t>(bound - from, 0);
      // A division costs as much as a short row, and most steps are 1.
      return std::min(step_ == 1 || distance == 0 ? distance : (distance - 1) / step_ + 1, count);
    };
    const std::int64_t inside = steps_to(0);
    return {from, inside, steps_to(axis_.in), (from + inside * step_) * stride_};
  }

  // `row` is the first element of the source row, or null where the whole row is border.
  void read(const char* row, T fill, const Span& span, std::int64_t count, T* to,
            std::int64_t to_stride) const {
    edges(row, fill, span, count, to, to_stride);
    if (row != nullptr && span.beyond > span.inside)
      copy(row + span.offset, span.beyond - span.inside, to + span.inside * to_stride, to_stride);
  }

  // Nothing but the border.
  void edges(const char* row, T fill, const Span& span, std::int64_t count, T* to,
             std::int64_t to_stride) const {
    if (row == nullptr) return fill_range(fill, 0, count, to, to_stride);
    if (span.inside > 0) border(row, fill, span.from, 0, span.inside, to, to_stride);
    if (span.beyond < count) border(row, fill, span.from, span.beyond, count, to, to_stride);
  }

  // Neighbouring elements of the compute type.
  bool copies() const { return kind_ == Kind::copy; }

 private:
  enum class Kind : std::uint8_t { convert, copy, every_second, every_third, every_fourth };

  void copy(const char* from, std::int64_t n, T* to, std::int64_t to_stride) const {
    if (kind_ == Kind::copy && to_stride == 1) {
      std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(T));
    } else if (kind_ == Kind::every_second && to_stride == 1) {
      every_second_(reinterpret_cast<const T*>(from), to, n);
    } else if (kind_ == Kind::every_third && to_stride == 1) {
      copy_every<T, 3>(reinterpret_cast<const T*>(from), n, to);
    } else if (kind_ == Kind::every_fourth && to_stride == 1) {
      copy_every<T, 4>(reinterpret_cast<const T*>(from), n, to);
    } else {
      read_elements<T>(kernels_, problem_.x_type, from, step_ * stride_, to, to_stride, n);
    }
  }

  static void fill_range(T fill, std::int64_t begin, std::int64_t end, T* to,
                         std::int64_t to_stride) {
    if (to_stride == 1) {
      std::fill(to + begin, to + end, fill);
      return;
    }
    for (std::int64_t i = begin; i < end; ++i) to[i * to_stride] = fill;
  }

  void border(const char* row, T fill, std::int64_t from, std::int64_t begin, std::int64_t end,
              T* to, std::int64_t to_stride) const {
    if (problem_.border == Border::constant) return fill_range(fill, begin, end, to, to_stride);
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t source = source_index(problem_.border, axis_, from + i * step_);
      read_elements<T>(kernels_, problem_.x_type, row + source * stride_, stride_,
                       to + i * to_stride, to_stride, 1);
    }
  }

  const KernelTable& kernels_;
  const Problem& problem_;
  const Axis& axis_;
  std::int64_t stride_;
  std::int64_t step_;
  void (*every_second_)(const T*, T*, std::int64_t) = [](const T* from, T* to, std::int64_t n) {
    copy_every<T, 2>(from, n, to);
  };
  Kind kind_ = Kind::convert;
};

// Byte offset of a padded position of an axis, or -1 where it shows the fill value.
inline std::int64_t axis_offset(const Problem& problem, const Tensor& x, int a,
                                std::int64_t position, bool& filled) {
  const Axis& axis = problem.axis[a];
  const std::int64_t source = source_index(problem.border, axis, position - axis.lo);
  if (source < 0) {
    filled = true;
    return 0;
  }
  return source * x.axis[a];
}

}  // namespace fastconv
