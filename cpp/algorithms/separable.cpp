// Kernels that are an outer product, as of Gaussian and box filters: a sum along each axis, the one
// after the other. kh + kw products an output in the place of kh * kw.
//
//       x                 ring                     y
//   . . . . . .           . . . .
//   . . . . . .   sum     . . . .     sum       . . . .
//   . . . . . .   along   . . . .     along     . . . .
//   . . . . . .   rows    . . . .     columns
//   . . . . . .   -->     . . . .     -->
//
//   for each task (a band of rows, a strip of columns)              in parallel
//     for each few rows of outputs
//       the first pass over the input rows that they are the first to see       into the ring
//       the second pass over those in the ring
//
// The first pass resolves border, strides and types along its axes, as the plane that it is
// (plane.cpp). Rows in the border of the other axis are rows that it has made, or all the same:
// what it makes of the fill value. Of three axes the first pass is a layer of two, which may be
// split again.
//
// |error| <= gamma_n * S holds as each pass is a shorter chain, and factors are near enough
// (pack/factors.hpp). A sum along a row may be infinite where no product is: outputs that see one
// which is not finite are left to another algorithm.

#include <algorithm>
#include <atomic>
#include <memory>
#include <type_traits>
#include <vector>

#include "algorithms/candidates.hpp"
#include "algorithms/separable_layout.hpp"
#include "core/border.hpp"
#include "core/rounding.hpp"
#include "pack/convert.hpp"
#include "pack/factors.hpp"
#include "pack/weights.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kRowsAtOnce = 4;        // that wait for a conversion
constexpr std::int64_t kColumnVectors = 3;     // of a tile of the second pass
constexpr std::int64_t kNearBytes = 24 << 10;  // of what it reads again and again, in L1

// A pass as a loop over planes of its own. Always the same kernels, whatever the box: how they add
// up must not depend on how a layer is cut.
Tiling plane_tiling(const Problem& problem, const Tensor& x, const Machine& machine) {
  Tiling tiling;
  tiling.family = Family::plane;
  tiling.plane = make_plane_tiling(problem, x, machine);
  tiling.stage_elements =
      divide_up(PlaneScratch(problem, tiling.plane, machine.element).total, machine.element);
  return tiling;
}

class SeparableExecution final : public Execution {
 public:
  SeparableExecution(const Problem& problem, const Tensor& x, const KernelTable& kernels,
                     const Machine& machine)
      : problem_(problem),
        kernels_(kernels),
        element_(machine.element),
        lanes_(machine.lanes),
        layout_(make_separable_layout(problem, machine)),
        last_(problem_.axis[layout_.last]),
        steps_(divide_up(last_.out, layout_.step)),
        bands_(divide_up(last_.out, layout_.band)),
        other_(problem.axis[layout_.other()], layout_.parts),
        width_(problem.axis[2], layout_.columns) {
    Machine alone = machine;
    alone.threads = 1;
    const std::int64_t rest = last_.in % layout_.chunk;
    for (const std::int64_t rows : {layout_.chunk, rest == 0 ? layout_.chunk : rest})
      for (const Axis& other : other_.kinds)
        for (const Axis& width : width_.kinds)
          passes_.push_back(make_pass(first_pass(problem, layout_, rows, other, width), x, alone));
  }

  std::int64_t tasks() const override {
    return problem_.batch * problem_.groups * bands_ * count(other_) * count(width_);
  }

  OutputGrid grid() const override {
    OutputGrid grid;
    grid.box = layout_.box();
    for (int a = 0; a < 3; ++a) {
      grid.out[a] = problem_.axis[a].out;
      grid.boxes[a] = divide_up(grid.out[a], grid.box[a]);
    }
    grid.count = problem_.groups * grid.boxes[0] * grid.boxes[1] * grid.boxes[2];
    return grid;
  }

  bool takes_flagged() const override { return false; }

  std::int64_t packed_bytes() const override {
    return problem_.groups * record_elements() * element_;
  }

  // Factors depend on nothing but the kernel, and what the fill value becomes.
  bool packs_like(const Execution& other) const override {
    return layout_.nested == static_cast<const SeparableExecution&>(other).layout_.nested;
  }

  bool pack(const Weights& w, void* to, int /*workers*/, Interrupt& /*interrupt*/) const override {
    return as_compute(problem_.compute,
                      [&](auto zero) { return pack_as(w, static_cast<decltype(zero)*>(to)); });
  }

  std::int64_t scratch_bytes() const override { return Pad(*this, nullptr).total; }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    as_compute(problem_.compute,
               [&](auto zero) { run_as<decltype(zero)>(operands, scratch, workers, interrupt); });
  }

 private:
  struct Pass {
    Problem problem;
    Tiling tiling;
    std::unique_ptr<const SeparableExecution> nested;  // in its place
    std::int64_t flags = 0;                            // of nested
    std::int64_t scratch = 0;
  };

  // Scratch of one worker.
  struct Pad {
    char* ring;
    char* filled;          // a row of what the fill value becomes
    char* output;          // rows that wait for a conversion
    const void** table;    // rows that the outputs of a step see
    std::uint8_t* finite;  // of each chunk in the ring
    void* zeros;           // a vector
    char* pass;
    std::int64_t total = 0;

    Pad(const SeparableExecution& e, char* at) {
      const SeparableLayout& l = e.layout_;
      const std::int64_t rows = rows_of_step(e.last_, l.step);
      std::int64_t most = 0;
      for (const Pass& p : e.passes_) most = std::max(most, p.scratch + round_to_line(p.flags));
      const auto take = [&](auto*& to, std::int64_t bytes) {
        to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(at + total);
        total += round_to_line(bytes);
      };
      take(ring, l.ring() * e.element_);
      take(filled, l.pitch * e.element_);
      take(output, kRowsAtOnce * l.pitch * e.element_);
      take(table, rows * std::int64_t{sizeof(void*)});
      take(finite, l.kept / l.chunk);
      take(zeros, e.lanes_ * e.element_);
      take(pass, most);
    }
  };

  // A band of one image and channel, and a strip of its columns.
  struct Task {
    std::int64_t image, group, first_step, end_step, other, width;
    AxisPart other_part, width_part;
  };

  static std::int64_t count(const CutAxis& axis) {
    return static_cast<std::int64_t>(axis.kind.size());
  }

  Pass make_pass(const Problem& problem, const Tensor& x, const Machine& machine) const {
    Pass pass;
    pass.problem = problem;
    if (layout_.nested) {
      pass.nested = std::make_unique<const SeparableExecution>(problem, x, kernels_, machine);
      pass.flags = pass.nested->grid().count;
      pass.scratch = pass.nested->scratch_bytes();
    } else {
      pass.tiling = plane_tiling(problem, x, machine);
      pass.scratch = fastconv::scratch_bytes(pass.tiling, machine.element);
    }
    return pass;
  }

  const Pass& pass_of(const Task& task, std::int64_t chunk) const {
    const std::int64_t rest = (chunk + 1) * layout_.chunk > last_.in ? 1 : 0;
    const std::size_t other = other_.kind[static_cast<std::size_t>(task.other)];
    const std::size_t width = width_.kind[static_cast<std::size_t>(task.width)];
    return passes_[(static_cast<std::size_t>(rest) * other_.kinds.size() + other) *
                       width_.kinds.size() +
                   width];
  }

  // Of one filter: factors along the last axis | what the fill value becomes | the rest, which is a
  // record as well, or the kernel of a plane.
  std::int64_t record_elements() const {
    const Pass& pass = passes_[0];
    return last_.kernel + 1 +
           (pass.nested != nullptr ? pass.nested->record_elements() : pass.problem.taps());
  }

  template <class T>
  bool pack_as(const Weights& w, T* to) const {
    std::vector<T> kernel(static_cast<std::size_t>(problem_.taps()));
    std::vector<T> rest(kernel.size());
    for (std::int64_t k = 0; k < problem_.groups; ++k, to += record_elements()) {
      gather_weights(kernels_, problem_, w, k, 0, problem_.taps(), kernel.data());
      if (!split(kernel.data(), rest.data(), to)) return false;
    }
    return true;
  }

  // To one record; `rest` has room for whatever is left of the kernel.
  template <class T>
  bool split(const T* kernel, T* rest, T* to) const {
    const std::int64_t columns = problem_.taps() / last_.kernel;
    if (!split_outer_product(kernel, last_.kernel, columns, to, rest)) return false;
    to += last_.kernel;
    *to++ = sum_of(rest, columns, scalar_as<T>(problem_.fill[0]));
    const SeparableExecution* const nested = passes_[0].nested.get();
    if (nested != nullptr) return nested->split(rest, rest + columns, to);
    std::copy_n(rest, columns, to);
    return true;
  }

  // Of products with one value; integers wrap.
  template <class T>
  static T sum_of(const T* w, std::int64_t count, T value) {
    using Wrapping = typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>,
                                                 std::type_identity<T>>::type;
    Wrapping sum = 0;
    for (std::int64_t i = 0; i < count; ++i)
      sum += static_cast<Wrapping>(w[i]) * static_cast<Wrapping>(value);
    return static_cast<T>(sum);
  }

  Task locate(std::int64_t index) const {
    Task task;
    const auto next = [&](std::int64_t n) {
      const std::int64_t i = index % n;
      index /= n;
      return i;
    };
    task.width = next(count(width_));
    task.other = next(count(other_));
    const std::int64_t steps = layout_.band / layout_.step;
    task.first_step = next(bands_) * steps;
    task.end_step = std::min(task.first_step + steps, steps_);
    task.group = next(problem_.groups);
    task.image = index;
    task.width_part = part_of(problem_.axis[2], layout_.columns, task.width);
    task.other_part = part_of(problem_.axis[layout_.other()], layout_.parts, task.other);
    return task;
  }

  std::int64_t flag_of(const Task& task, std::int64_t step) const {
    const std::int64_t plane = task.image * problem_.groups + task.group;
    const std::int64_t others = count(other_);
    const std::int64_t row = layout_.last == 0 ? (plane * steps_ + step) * others + task.other
                                               : (plane * others + task.other) * steps_ + step;
    return row * count(width_) + task.width;
  }

  template <class T>
  void run_as(const Operands& operands, char* scratch, int workers, Interrupt& interrupt) const {
    const std::int64_t each = scratch_bytes();
    parallel_for(tasks(), workers, [&](std::int64_t index, int worker) noexcept {
      run_task<T>(operands, locate(index), Pad(*this, scratch + worker * each), worker, interrupt);
    });
  }

  template <class T>
  void run_task(const Operands& operands, const Task& task, const Pad& pad, int worker,
                Interrupt& interrupt) const {
    const T* const record = static_cast<const T*>(operands.packed) + task.group * record_elements();
    const T filled = record[last_.kernel];
    std::fill_n(reinterpret_cast<T*>(pad.filled), layout_.pitch, filled);
    const bool may_fill = column_kernel<T>() != nullptr || kernels_.set<T>().are_finite(&filled, 1);
    // What lies beside rows that are shorter than a vector is summed, and looked at, as well.
    if (task.width_part.axis.out < lanes_)
      std::fill_n(reinterpret_cast<T*>(pad.ring), layout_.ring(), T(0));
    const std::int64_t chunks_kept = layout_.kept / layout_.chunk;
    std::int64_t begin = 0, end = 0;  // chunks [begin, end) are in the ring
    for (std::int64_t step = task.first_step; step < task.end_step; ++step) {
      if (interrupt.stop_requested()) return;
      std::atomic_ref<std::uint8_t> flag(operands.unsuitable[flag_of(task, step)]);
      if (flag.load(std::memory_order_relaxed) != 0) continue;
      const std::int64_t first = step * layout_.step;
      const std::int64_t outputs = std::min(layout_.step, last_.out - first);
      const SeenRows seen = seen_rows(problem_, layout_.last, first, outputs);
      bool finite = may_fill;
      if (finite && seen.first <= seen.last) {
        const std::int64_t from = seen.first / layout_.chunk, to = seen.last / layout_.chunk;
        if (from < begin || from > end) begin = end = from;
        for (; end <= to; ++end) {
          make_rows<T>(operands, task, end, record + last_.kernel + 1, pad);
          const std::int64_t made = pass_of(task, end).problem.out_pixels();
          interrupt.work_done(worker, made * (problem_.taps() / last_.kernel));
        }
        begin = std::max(begin, end - chunks_kept);
        for (std::int64_t c = from; c <= to; ++c) finite &= pad.finite[c % chunks_kept] != 0;
      }
      if (!finite) {
        flag.store(1, std::memory_order_relaxed);
        continue;
      }
      if (!sum_rows<T>(operands, task, first, outputs, record, pad))
        flag.store(1, std::memory_order_relaxed);
      interrupt.work_done(worker,
                          outputs * task.other_part.axis.out * layout_.columns * last_.kernel);
    }
  }

  char* ring_row(const Pad& pad, std::int64_t part, std::int64_t row) const {
    return pad.ring + (part * layout_.kept + row % layout_.kept) * layout_.pitch * element_;
  }

  // The first pass over one chunk of rows.
  template <class T>
  void make_rows(const Operands& operands, const Task& task, std::int64_t chunk, const T* packed,
                 const Pad& pad) const {
    const Pass& pass = pass_of(task, chunk);
    const std::int64_t first = chunk * layout_.chunk;
    Operands own;
    own.x = operands.x;
    own.x.data += task.image * own.x.batch + own.x.channel_offset(task.group) +
                  first * own.x.axis[layout_.last] +
                  task.other_part.first_input * own.x.axis[layout_.other()] +
                  task.width_part.first_input * own.x.axis[2];
    own.y.data = ring_row(pad, 0, first);
    own.y.axis[layout_.last] = layout_.pitch * element_;
    own.y.axis[layout_.other()] = layout_.kept * layout_.pitch * element_;
    own.y.axis[2] = element_;
    own.packed = packed;
    Interrupt never(nullptr);  // this worker asks, between calls
    bool finite = true;
    if (pass.nested != nullptr) {
      own.unsuitable = reinterpret_cast<std::uint8_t*>(pad.pass);
      std::fill_n(own.unsuitable, pass.flags, std::uint8_t{0});
      pass.nested->run(own, pad.pass + round_to_line(pass.flags), 1, never);
      finite =
          std::find(own.unsuitable, own.unsuitable + pass.flags, 1) == own.unsuitable + pass.flags;
    } else {
      run_planes(pass.problem, pass.tiling, kernels_, own, pad.pass, 1, never);
    }
    const std::int64_t columns = task.width_part.axis.out;
    const bool looks = column_kernel<T>() == nullptr;
    for (std::int64_t i = 0; i < task.other_part.axis.out && finite && looks; ++i)
      for (std::int64_t r = 0; r < pass.problem.axis[layout_.last].out && finite; ++r)
        finite = kernels_.set<T>().are_finite(
            reinterpret_cast<const T*>(ring_row(pad, i, first + r)), columns);
    pad.finite[chunk % (layout_.kept / layout_.chunk)] = finite ? 1 : 0;
  }

  // Of the second pass, which looks at the sums that it makes. Null: PlaneKernel::any does not, and
  // what it reads must be looked at.
  template <class T>
  auto column_kernel() const {
    const auto kernel = kernels_.set<T>().plane[static_cast<int>(PlaneKernel::column)];
    return SharedRows(last_).phases == 1 ? kernel : nullptr;
  }

  // The second pass, to outputs from `first` on. False where one of them is not finite, if the
  // kernel looks.
  template <class T>
  bool sum_rows(const Operands& operands, const Task& task, std::int64_t first,
                std::int64_t outputs, const T* w, const Pad& pad) const {
    const SharedRows shared(last_);
    PlaneArgs<T> args{};
    args.phases = shared.phases;
    args.phase_step = shared.dilation;
    args.row_step = args.advance = shared.phases * shared.dilation;
    args.slices = args.kernel_columns = args.w_row = 1;
    args.kernel_rows = last_.kernel;
    args.w = w;
    if (column_kernel<T>() != nullptr) {
      args.zeros = static_cast<T*>(pad.zeros);
      std::fill_n(args.zeros, lanes_, T(0));
    }
    if (operands.bias != nullptr) args.bias = static_cast<const T*>(operands.bias) + task.group;
    args.activation = is_float(problem_.compute) ? problem_.activation : Activation::none;
    const Tensor& y = operands.y;
    char* const to = y.data + task.image * y.batch + y.channel_offset(task.group) +
                     first * y.axis[layout_.last] +
                     task.other_part.first * y.axis[layout_.other()] +
                     task.width_part.first * y.axis[2];
    const std::int64_t rows = rows_of_step(last_, outputs);
    const T** const table = reinterpret_cast<const T**>(pad.table);
    for (std::int64_t part = 0; part < task.other_part.axis.out; ++part) {
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::int64_t source =
            source_index(problem_.border, last_, first * last_.stride - last_.lo + i);
        table[i] =
            reinterpret_cast<const T*>(source < 0 ? pad.filled : ring_row(pad, part, source));
      }
      sum_part(args, shared, table, task.width_part.axis.out, outputs,
               to + part * y.axis[layout_.other()], y, pad);
    }
    return args.zeros == nullptr ||
           std::all_of(args.zeros, args.zeros + lanes_, [](T zero) { return zero == T(0); });
  }

  // Strips of columns, so narrow that rows stay near while outputs share them.
  template <class T>
  void sum_part(PlaneArgs<T>& args, const SharedRows& shared, const T* const* table,
                std::int64_t columns, std::int64_t outputs, char* to, const Tensor& y,
                const Pad& pad) const {
    const std::int64_t tile = kColumnVectors * lanes_;
    const std::int64_t near = kNearBytes / (rows_of_step(last_, outputs) * element_);
    const std::int64_t strip = std::max(near / tile, std::int64_t{1}) * tile;
    for (std::int64_t column = 0; column < columns;) {
      // The last strip is no narrower than a tile, if it can be helped.
      const std::int64_t left = columns - column;
      const std::int64_t taken = left < strip + tile ? left : strip;
      const std::int32_t offset = static_cast<std::int32_t>(column);
      args.column = &offset;
      args.pixels = taken;
      for (std::int64_t phase = 0; phase < std::min(shared.apart, outputs); ++phase)
        sum_strip(args, shared.apart, table, phase, divide_up(outputs - phase, shared.apart),
                  to + column * y.axis[2], y, pad);
      column += taken;
    }
  }

  // Outputs first, first + apart, ... of a strip.
  template <class T>
  void sum_strip(PlaneArgs<T>& args, std::int64_t apart, const T* const* table, std::int64_t first,
                 std::int64_t count, char* to, const Tensor& y, const Pad& pad) const {
    auto kernel = column_kernel<T>();
    if (kernel == nullptr) kernel = kernels_.set<T>().plane[static_cast<int>(PlaneKernel::any)];
    const std::int64_t y_row = y.axis[layout_.last];
    const bool plain = same_storage(problem_.y_type, problem_.compute) && y.axis[2] == element_ &&
                       y_row % element_ == 0 &&
                       (is_float(problem_.compute) || problem_.activation == Activation::none);
    const std::int64_t most = plain ? count : kRowsAtOnce;
    for (std::int64_t r = 0; r < count; r += most) {
      const std::int64_t row = first + r * apart;
      char* const at = to + row * y_row;
      args.rows = std::min(most, count - r);
      args.row = table + row * last_.stride;
      args.out = reinterpret_cast<T*>(plain ? at : pad.output);
      args.out_pitch = plain ? apart * y_row / element_ : layout_.pitch;
      args.room = plain ? kNoRoom : args.rows * layout_.pitch;
      kernel(args);
      for (std::int64_t i = 0; i < args.rows && !plain; ++i)
        write_row<T>(kernels_, problem_.y_type, args.out + i * layout_.pitch,
                     at + i * apart * y_row, y.axis[2], args.pixels, problem_.activation);
    }
  }

  const Problem problem_;
  const KernelTable& kernels_;
  const std::int64_t element_;
  const std::int64_t lanes_;
  const SeparableLayout layout_;
  const Axis& last_;
  const std::int64_t steps_;  // along it, and bands
  const std::int64_t bands_;
  const CutAxis other_;
  const CutAxis width_;
  std::vector<Pass> passes_;  // [whole chunk, the last][kind of other part][kind of strip]
};

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& x,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const SeparableExecution>(problem, x, kernels, machine);
}

}  // namespace

const Candidate separable = {Algorithm::separable, "plane", separable_accepts,
                             separable_cost,       nullptr, execute};

}  // namespace fastconv
