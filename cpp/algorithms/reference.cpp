// The plain loop that everything else is held against: slide, multiply, sum. Any border, stride,
// dilation and type; no scratch, no vectors.
#include <cmath>
#include <limits>
#include <type_traits>

#include "algorithms/candidates.hpp"
#include "core/border.hpp"
#include "pack/convert.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

const char* accepts(const Problem&) { return nullptr; }

double cost(const Problem&, const Machine&) { return std::numeric_limits<double>::infinity(); }

template <class T>
T multiply_add(T a, T b, T sum) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fma(a, b, sum);
  } else {
    using Unsigned = std::make_unsigned_t<T>;  // wraps, where signed overflow would be undefined
    return static_cast<T>(static_cast<Unsigned>(a) * static_cast<Unsigned>(b) +
                          static_cast<Unsigned>(sum));
  }
}

template <class T>
struct ReferenceRun {
  const Problem& problem;
  const KernelTable& kernels;
  const Operands& operands;
  Interrupt& interrupt;

  // One output element: w runs through the kernel in its own order.
  T sum(std::int64_t image, std::int64_t group, const T* w, const Index3& out) const {
    const auto& axis = problem.axis;
    T total = 0;
    for (std::int64_t c = 0; c < problem.in_channels; ++c) {
      const std::int64_t channel = group * problem.in_channels + c;
      const char* const plane =
          operands.x.data + image * operands.x.batch + operands.x.channel_offset(channel);
      const T fill = scalar_as<T>(problem.fill[problem.complex ? channel & 1 : 0]);
      for (std::int64_t d = 0; d < axis[0].kernel; ++d) {
        const std::int64_t slice = source(0, out[0], d);
        for (std::int64_t h = 0; h < axis[1].kernel; ++h) {
          const std::int64_t row = source(1, out[1], h);
          for (std::int64_t v = 0; v < axis[2].kernel; ++v) {
            const std::int64_t column = source(2, out[2], v);
            const bool filled = slice < 0 || row < 0 || column < 0;
            total = multiply_add(filled ? fill : element(plane, {slice, row, column}), *w++, total);
          }
        }
      }
    }
    return total;
  }

  // The source index that tap k of output o sees along an axis, -1 where that is the fill value.
  std::int64_t source(int a, std::int64_t o, std::int64_t k) const {
    const Axis& axis = problem.axis[a];
    return source_index(problem.border, axis, o * axis.stride + k * axis.dilation - axis.lo);
  }

  T element(const char* plane, const Index3& index) const {
    const auto& stride = operands.x.axis;
    const char* const at =
        plane + index[0] * stride[0] + index[1] * stride[1] + index[2] * stride[2];
    if (same_storage(problem.x_type, problem.compute)) return *reinterpret_cast<const T*>(at);
    T value;
    read_row<T>(kernels, problem.x_type, at, 0, &value, 1, 1);
    return value;
  }

  // One slice of one output channel.
  void task(std::int64_t index, int worker) noexcept {
    const auto& axis = problem.axis;
    const Tensor& y = operands.y;
    const std::int64_t d = index % axis[0].out;
    index /= axis[0].out;
    const std::int64_t channels = problem.groups * problem.out_channels;
    const std::int64_t k = index % channels, image = index / channels;
    const T* const w = static_cast<const T*>(operands.packed) + k * problem.terms();
    const T* const bias = static_cast<const T*>(operands.bias);
    char* const slice = y.data + image * y.batch + y.channel_offset(k) + d * y.axis[0];
    for (std::int64_t h = 0; h < axis[1].out; ++h) {
      for (std::int64_t v = 0; v < axis[2].out; ++v) {
        if (interrupt.stop_requested()) return;
        const T total = sum(image, k / problem.out_channels, w, {d, h, v});
        T value;
        kernels.set<T>().store({&total, 1, 1, 1, 1, &value, 1, 1, bias != nullptr ? bias + k : bias,
                                problem.activation});
        write_row<T>(kernels, problem.y_type, &value, slice + h * y.axis[1] + v * y.axis[2], 0, 1,
                     problem.activation);
        interrupt.work_done(worker, 16 * problem.terms());
      }
    }
  }
};

template <class T>
void run_as(const Problem& problem, const KernelTable& kernels, const Operands& operands,
            int workers, Interrupt& interrupt) {
  ReferenceRun<T> run{problem, kernels, operands, interrupt};
  parallel_for(problem.batch * problem.groups * problem.out_channels * problem.axis[0].out, workers,
               [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
}

}  // namespace

const Candidate reference = {Algorithm::reference, "plain loop", accepts, cost, nullptr};

void run_reference(const Problem& problem, const KernelTable& kernels, const Operands& operands,
                   int workers, Interrupt& interrupt) {
  as_compute(problem.compute, [&](auto zero) {
    run_as<decltype(zero)>(problem, kernels, operands, workers, interrupt);
  });
}

}  // namespace fastconv
