// Pointwise layers of a filter or two whose input has channels last: an output is the dot product
// of a filter and a pixel's channels, where they lie (kernels/pixel_dots.hpp).
//
//   for each task (some pixels of one image)                                      in parallel
//     for each run of pixels that lie evenly: multiply; store, where the kernel has not
#include <algorithm>
#include <limits>
#include <memory>

#include "algorithms/candidates.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostFilters = 2;      // of more, outer_product is as fast
constexpr std::int64_t kMostLaneTerms = 256;  // that one lane sums up
constexpr std::int64_t kRun = 512;            // pixels whose sums wait in L1
constexpr std::int64_t kRunBytes = 1 << 20;   // of input, that a kernel call reads as streams
constexpr std::int64_t kTaskMacs = 128 << 10;

const char* accepts(const Problem& problem) {
  if (!is_float(problem.compute)) return "integers";
  if (problem.complex) return "complex numbers";
  if (problem.groups != 1) return "groups";
  if (problem.out_channels > kMostFilters) return "more than two filters";
  if (problem.taps() != 1 || problem.padded()) return "more than one tap, or a border";
  if (problem.axis[2].interleave != 1) return "interleaved channels";
  return nullptr;
}

// Pixels and elements lie apart by whole elements.
bool is_even(const Tensor& tensor, std::int64_t element) {
  return tensor.part == 0 && tensor.channel % element == 0 && tensor.batch % element == 0 &&
         tensor.axis[0] % element == 0 && tensor.axis[1] % element == 0 &&
         tensor.axis[2] % element == 0;
}

bool suits(const Problem& problem, const Tensor& x) {
  return same_storage(problem.x_type, problem.compute) && has_unit_channels(problem, x) &&
         is_even(x, size_of(problem.compute));
}

template <class T>
class DotRun {
 public:
  DotRun(const Problem& problem, std::int64_t pixels, const KernelTable& table,
         const Operands& operands, char* scratch, Interrupt& interrupt)
      : problem_(problem),
        pixels_(pixels),
        kernels_(table.set<T>()),
        operands_(operands),
        scratch_(scratch),
        interrupt_(interrupt),
        even_(same_storage(problem.y_type, problem.compute) && is_even(operands.y, kElement)),
        plain_(even_ && kernel_finishes()),
        one_row_(even_ && !has_strides(problem) && rows_follow(problem, operands.x) &&
                 rows_follow(problem, operands.y)),
        run_(pixels_of_run()),
        store_(problem, table, operands.y, operands.bias),
        w_(problem, operands) {}

  // Sums of a run, and what they are converted in.
  static std::int64_t scratch_elements(const Problem& problem) {
    return 2 * problem.out_channels * kRun;
  }

  void task(std::int64_t index, int worker) noexcept {
    const auto& [depth, height, width] = problem_.axis;
    const Tensor& x = operands_.x;
    const Tensor& y = operands_.y;
    const std::int64_t of_image = problem_.out_pixels(), filters = problem_.out_channels;
    const std::int64_t tasks = divide_up(of_image, pixels_);
    T* const sums = reinterpret_cast<T*>(scratch_) + worker * scratch_elements(problem_);
    Tile tile;
    tile.image = index / tasks;
    tile.size = {1, 1, 1};
    DotArgs<T> args{};
    args.terms = problem_.in_channels;
    args.pixel = x.axis[2] * width.stride / kElement;
    args.w = w_.row(0);
    args.w_pitch = w_.pitch;
    args.filters = filters;
    args.bias = plain_ ? static_cast<const T*>(operands_.bias) : nullptr;
    args.relu = plain_ && problem_.activation == Activation::relu;
    const std::int64_t begin = index % tasks * pixels_;
    const std::int64_t end = std::min(begin + pixels_, of_image);
    for (std::int64_t first = begin; first < end; first += args.pixels) {
      if (interrupt_.stop_requested()) return;
      tile.origin = {first / width.out / height.out, first / width.out % height.out,
                     first % width.out};
      const auto& [d, h, w] = tile.origin;
      args.pixels = std::min(run_, end - first);
      if (!one_row_) args.pixels = std::min(args.pixels, width.out - w);
      args.x =
          reinterpret_cast<const T*>(x.data + tile.image * x.batch + d * depth.stride * x.axis[0] +
                                     h * height.stride * x.axis[1] + w * width.stride * x.axis[2]);
      T* const out = reinterpret_cast<T*>(y.data + tile.image * y.batch + d * y.axis[0] +
                                          h * y.axis[1] + w * y.axis[2]);
      args.out = plain_ ? out : sums;
      args.out_pixel = plain_ ? y.axis[2] / kElement : filters;
      kernels_.dots(args);
      if (even_ && !plain_) {
        kernels_.store({sums, filters, 1, args.pixels, filters, out, y.axis[2] / kElement,
                        y.channel / kElement, static_cast<const T*>(operands_.bias),
                        problem_.activation});
      } else if (!even_) {
        tile.size[2] = args.pixels;
        store_.store(tile, 0, filters, {sums, filters, 1, args.pixels, args.pixels},
                     sums + filters * kRun);
      }
      interrupt_.work_done(worker, args.pixels * filters * problem_.terms());
    }
  }

 private:
  static constexpr std::int64_t kElement = sizeof(T);

  bool kernel_finishes() const {
    return (problem_.out_channels == 1 || operands_.y.channel == kElement) &&
           (problem_.activation == Activation::none || problem_.activation == Activation::relu);
  }

  // Pixels of a kernel call: long streams, but for sums that wait in L1.
  std::int64_t pixels_of_run() const {
    return plain_ ? std::max(kRunBytes / (problem_.in_channels * kElement), kRun) : kRun;
  }

  const Problem& problem_;
  const std::int64_t pixels_;  // of a task
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  Interrupt& interrupt_;
  const bool even_;   // the output, in the compute type
  const bool plain_;  // the kernel writes it itself
  const bool one_row_;
  const std::int64_t run_;
  const BoxStore<T> store_;
  const WeightRows<T> w_;
};

class DotExecution final : public Execution {
 public:
  DotExecution(const Problem& problem, const KernelTable& kernels, const Machine& machine)
      : problem_(problem),
        kernels_(kernels),
        pixels_(std::max<std::int64_t>(problem.out_pixels(), 1)) {
    const std::int64_t least = divide_up(kTaskMacs, problem.out_channels * problem.in_channels);
    if (machine.threads > 1) pixels_ = std::min(pixels_, round_up(least, kRun));
  }

  std::int64_t tasks() const override {
    return problem_.batch * divide_up(problem_.out_pixels(), pixels_);
  }

  // One filter behind the other.
  std::int64_t packed_bytes() const override {
    return packed_elements(problem_, {problem_.out_channels, 1, 1}) * size_of(problem_.compute);
  }
  bool packs_like(const Execution&) const override { return true; }
  bool reads_in_place(const Weights& w) const override { return is_dense(problem_, w); }
  bool takes_flagged() const override { return false; }

  bool pack(const Weights& w, void* to, int /*workers*/, Interrupt& /*interrupt*/) const override {
    as_float([&](auto zero) {
      using T = decltype(zero);
      for (std::int64_t k = 0; k < problem_.out_channels; ++k)
        gather_weights<T>(kernels_, problem_, w, k, 0, problem_.terms(),
                          static_cast<T*>(to) + k * problem_.terms());
    });
    return true;
  }

  std::int64_t scratch_bytes() const override {
    return DotRun<float>::scratch_elements(problem_) * size_of(problem_.compute);
  }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    as_float([&](auto zero) {
      DotRun<decltype(zero)> run(problem_, pixels_, kernels_, operands, scratch, interrupt);
      parallel_for(tasks(), workers,
                   [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
    });
  }

 private:
  template <class F>
  void as_float(const F& f) const {
    if (problem_.compute == Compute::f64) {
      f(double{});
    } else {
      f(float{});
    }
  }

  const Problem problem_;
  const KernelTable& kernels_;
  std::int64_t pixels_;
};

// A pixel's vectors, once for every filter, and the sums of lanes of each output. Half as long as
// 512 bits, two go at a time (dispatch.cpp).
double cost(const Problem& problem, const Machine& machine) {
  constexpr double kPixel = 9, kOutput = 8;
  constexpr std::int64_t kLeastLanes = 4;  // of AVX2 and NEON
  const std::int64_t terms = problem.terms();
  if (!problem.channels_last || machine.column_vecs[0] == 0 || machine.chain < kMostLaneTerms ||
      terms > kMostLaneTerms * kLeastLanes)
    return std::numeric_limits<double>::infinity();
  const bool halved = machine.lanes * machine.element == 64;
  const std::int64_t lanes = halved ? machine.lanes / 2 : machine.lanes;
  const double filters = static_cast<double>(problem.out_channels);
  const double vectors = static_cast<double>(divide_up(terms, lanes));
  const double operations = (1.1 * vectors + kOutput) * filters + kPixel;
  return (halved ? 0.5 : 1.0) * operations / static_cast<double>(terms);
}

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor&,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const DotExecution>(problem, kernels, machine);
}

}  // namespace

const Candidate pixel_dots = {
    Algorithm::direct,
    "pixel_dots",
    accepts,
    cost,
    nullptr,
    execute,
    suits,
    [](const Problem&, const Machine& machine) { return machine.column_vecs[0] == 0; }};

}  // namespace fastconv
