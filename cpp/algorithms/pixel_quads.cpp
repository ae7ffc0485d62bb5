// Layers of few filters, or groups of few, whose input has channels last, four terms of sixteen
// pixels at a time (kernels/pixel_quads.hpp). Layers without a border are read where they lie,
// others from a patch with channels last, which is copied in whole rows.
//
//   for each task (a box of outputs of one image and group)                       in parallel
//     stage its input, where it must be
//     for each run of quads, over the rows of the box: multiply and store
#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "algorithms/candidates.hpp"
#include "algorithms/costs.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostFilters = 4;      // of more, outer_product is as fast
constexpr std::int64_t kMostTerms = 1 << 12;  // in one chain
constexpr std::int64_t kRunQuads = 128;       // of one kernel call
constexpr std::int64_t kWhole = 4;            // quads of the longest vector
constexpr std::int64_t kAhead = 512;          // elements that are asked for ahead, or a vector
constexpr std::int64_t kTaskMacs = 128 << 10;
constexpr std::int64_t kLeastColumns = 64;  // of a box
constexpr std::int64_t kSpare = 128;        // elements, of which the kernel takes the first half

const char* accepts(const Problem& problem) {
  if (problem.compute != Compute::f32) return "not float32";
  if (problem.complex) return "complex numbers";
  if (problem.groups != 1 && problem.in_channels < kQuad)
    return "groups of less than four channels";
  if (problem.out_channels > kMostFilters) return "more than four filters";
  if (problem.terms() > kMostTerms) return "the sum is too long for one chain";
  if (problem.axis[2].interleave != 1) return "interleaved channels";
  if (problem.axis[2].out < kQuad) return "the rows are shorter than four pixels";
  return nullptr;
}

bool is_even(const Tensor& tensor) {
  constexpr std::int64_t kElement = sizeof(float);
  return tensor.channel % kElement == 0 && tensor.batch % kElement == 0 &&
         std::all_of(tensor.axis.begin(), tensor.axis.end(),
                     [](std::int64_t stride) { return stride % kElement == 0; });
}

// Weights of a term.
std::int64_t quad_width(const Problem& problem) { return problem.out_channels == 1 ? 1 : kQuad; }

bool suits(const Problem& problem, const Tensor& x) { return has_unit_channels(problem, x); }

// How the input of an execution is read, and its terms lie.
struct QuadLayout {
  bool in_place;
  Patch patch;  // of a box
  Index3 box, boxes;
  std::int64_t staged = 0;  // elements of a box
  // Elements from one output to the next, and from an output to its taps.
  Index3 step = {};
  std::vector<std::int64_t> run;
  std::int64_t terms;  // of a run
};

// Terms that lie side by side: the channels of all kernel columns that do.
struct RunOfTerms {
  bool joined;
  std::int64_t terms;

  explicit RunOfTerms(const Problem& problem)
      : joined(problem.axis[2].dilation == 1),
        terms((joined ? problem.axis[2].kernel : 1) * problem.in_channels) {}
};

class LayoutBuilder {
 public:
  LayoutBuilder(const Problem& problem, const Tensor& x, const Machine& machine)
      : problem_(problem), x_(x), machine_(machine) {}

  QuadLayout build() {
    const std::int64_t columns = problem_.axis[2].kernel;
    const auto [joined, terms] = RunOfTerms(problem_);
    layout_.terms = terms;
    const bool dense = columns == 1 || x_.axis[2] == problem_.in_channels * kElement;
    const bool one_run = problem_.taps() == 1 || (joined && problem_.taps() == columns);
    layout_.in_place = !problem_.padded() && same_storage(problem_.x_type, problem_.compute) &&
                       is_even(x_) && (dense || !joined) && (terms >= kQuad || one_run);
    cut();
    Index3 tap;  // from one tap to the next
    for (int a = 0; a < 3; ++a) {
      const Axis& axis = problem_.axis[a];
      layout_.step[a] =
          layout_.in_place ? axis.stride * x_.axis[a] / kElement : layout_.patch.output_step()[a];
      tap[a] = axis.dilation * x_.axis[a] / kElement;
    }
    for (std::int64_t i = 0; i < problem_.axis[0].kernel; ++i)
      for (std::int64_t j = 0; j < problem_.axis[1].kernel; ++j)
        for (std::int64_t k = 0; k < (joined ? 1 : columns); ++k)
          layout_.run.push_back(layout_.in_place ? i * tap[0] + j * tap[1] + k * tap[2]
                                                 : layout_.patch.offset(0, i, j, k));
    return std::move(layout_);
  }

 private:
  static constexpr std::int64_t kElement = sizeof(float);

  std::int64_t columns_of_box(std::int64_t most) const {
    const std::int64_t out = problem_.axis[2].out;
    std::int64_t columns = std::min(most, out);
    while (out % columns != 0 && out % columns < kQuad) ++columns;
    return columns;
  }

  // A patch fits in a quarter of L2.
  void cut() {
    Index3& box = layout_.box;
    for (int a = 0; a < 3; ++a) box[a] = problem_.axis[a].out;
    if (!layout_.in_place) {
      for (int a = 0; a < 3; ++a)
        layout_.patch.axis[a] = PatchAxis::make(problem_.axis[a], 0, problem_.axis[a].kernel,
                                                a == 2 ? PatchOrder::whole : PatchOrder::seen);
      layout_.patch.channels = problem_.in_channels;
      for (set_patch(); layout_.staged * kElement > machine_.l2 / 4 && halve(1); set_patch()) {
      }
    }
    const auto tasks = [&] {
      for (int a = 0; a < 3; ++a) layout_.boxes[a] = divide_up(problem_.axis[a].out, box[a]);
      return problem_.batch * layout_.boxes[0] * layout_.boxes[1] * layout_.boxes[2];
    };
    const std::int64_t least = divide_up(kTaskMacs, problem_.terms() * problem_.out_channels);
    while (machine_.threads > 1 && tasks() < 4 * machine_.threads && halve(least)) {
    }
    tasks();
    if (!layout_.in_place) set_patch();
  }

  // A box of at least so many pixels.
  bool halve(std::int64_t pixels) {
    Index3& box = layout_.box;
    if (box[0] * box[1] * box[2] < 2 * pixels) return false;
    for (int a = 0; a < 3; ++a) {
      if (box[a] < (a == 2 ? 2 * kLeastColumns : 2)) continue;
      const std::int64_t before = box[a];
      box[a] = a == 2 ? columns_of_box(divide_up(before, 2)) : divide_up(before, 2);
      return box[a] < before;
    }
    return false;
  }

  void set_patch() {
    Patch& patch = layout_.patch;
    PatchLayout& to = patch.layout;
    to.channel = 1;
    std::int64_t pitch = problem_.in_channels, phases = 1;
    for (int a = 2; a >= 0; --a) {
      to.length[a] = patch.axis[a].length(layout_.box[a]);
      to.axis[a] = pitch;
      pitch *= to.length[a];
      phases *= patch.axis[a].phases;
    }
    to.phase = pitch;
    layout_.staged = phases * pitch + kQuad;
  }

  const Problem& problem_;
  const Tensor& x_;
  const Machine& machine_;
  QuadLayout layout_;
};

class QuadRun {
 public:
  QuadRun(const Problem& problem, const QuadLayout& layout, const KernelTable& table,
          const Operands& operands, char* scratch, Interrupt& interrupt)
      : problem_(problem),
        layout_(layout),
        table_(table),
        operands_(operands),
        scratch_(scratch),
        interrupt_(interrupt),
        store_(problem, table, operands.y, operands.bias),
        plain_(kernel_finishes()),
        one_row_(plain_ && layout.in_place && problem.taps() == 1 && !has_strides(problem) &&
                 layout.box[2] == problem.axis[2].out && rows_follow(problem, operands.x) &&
                 rows_follow(problem, operands.y)),
        is_dense_(layout.run.size() == 1 && layout.step[2] == layout.terms),
        last_(last_quad()) {}

  // A copied quad | sums, and those of a quad before them | what they are converted in | staged
  // input.
  static std::int64_t scratch_elements(const Problem& problem, const QuadLayout& layout) {
    return round_up(kSpare + sum_elements(problem) * 2 + layout.staged, 64 / kElement);
  }

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    const Tile tile = tile_of_box(problem_, layout_.box, layout_.boxes, index);
    const std::int64_t filters = problem_.out_channels;
    Call call;
    call.worker = worker;
    call.spare = reinterpret_cast<float*>(scratch_) + worker * scratch_elements(problem_, layout_);
    call.sums = call.spare + kSpare + kQuad * filters;
    const Index3& step = layout_.step;
    call.args = {call.quad,
                 call.place,
                 0,
                 step[2],
                 layout_.run.data(),
                 static_cast<std::int64_t>(layout_.run.size()),
                 layout_.terms,
                 static_cast<const float*>(operands_.packed) +
                     tile.group * quad_width(problem_) * problem_.terms(),
                 call.bias,
                 -std::numeric_limits<float>::infinity(),
                 std::numeric_limits<float>::infinity(),
                 filters,
                 plain_ ? store_.pixel_pitch() : filters,
                 std::max(kAhead, kWhole * kQuad * step[2]),
                 call.spare,
                 is_dense_ ? (kQuad - 1) * kQuad : 0};
    if (plain_) {
      const Finish<float> finish = store_.finish(tile.group * filters);
      if (finish.bias != nullptr) std::copy_n(finish.bias, filters, call.bias);
      if (finish.clamp) {
        call.args.low = 0;
        call.args.high = finish.most;
      }
    }
    const float* const x = input_of(tile, call.spare + kSpare + 2 * sum_elements(problem_));
    call.row = tile;
    call.row.size = {1, 1, 0};
    Index3 size = tile.size;
    if (one_row_) size = {1, 1, size[0] * size[1] * size[2]};
    for (std::int64_t d = 0; d < size[0]; ++d) {
      for (std::int64_t h = 0; h < size[1]; ++h) {
        call.row.origin = {tile.origin[0] + d, tile.origin[1] + h, tile.origin[2]};
        if (!run_row(call, x + d * step[0] + h * step[1], size[2])) return;
      }
    }
    flush(call);
  }

 private:
  static constexpr std::int64_t kElement = sizeof(float);

  struct Call {
    QuadArgs<float> args;
    const float* quad[kRunQuads];
    float* place[kRunQuads];
    float bias[kQuad] = {};
    float* spare;  // of the kernel, and for quads that are copied
    float* sums;
    Tile row;
    int worker;
  };

  static std::int64_t sum_elements(const Problem& problem) {
    return problem.out_channels * (kRunQuads + 1) * kQuad;
  }

  bool kernel_finishes() const {
    const Tensor& y = operands_.y;
    return is_even(y) && store_.takes_channels({0, 0, {}, {1, 1, 1}}) &&
           (problem_.out_channels >= kQuad || store_.pixel_pitch() == problem_.out_channels);
  }

  // The last place where a quad may begin that what the kernel reads of it, or behind it, is in x.
  const float* last_quad() const {
    if (!layout_.in_place || layout_.terms >= kQuad || (layout_.terms == 1 && layout_.step[2] == 1))
      return reinterpret_cast<const float*>(std::numeric_limits<std::uintptr_t>::max());
    const Tensor& x = operands_.x;
    std::int64_t reach = problem_.in_channels - 1 - kQuad + 1;
    reach -= std::max<std::int64_t>(layout_.step[2] * (kQuad - 1), 0);
    const auto add = [&](std::int64_t stride, std::int64_t count) {
      reach += std::max<std::int64_t>(stride / kElement * (count - 1), 0);
    };
    add(x.batch, problem_.batch);
    for (int a = 0; a < 3; ++a) add(x.axis[a], problem_.axis[a].in);
    return reinterpret_cast<const float*>(x.data + reach * kElement);
  }

  // The quads of a row, the last of which may overlap.
  bool run_row(Call& call, const float* x, std::int64_t width) const {
    const std::int64_t filters = problem_.out_channels, from_step = kQuad * layout_.step[2];
    const std::int64_t pixel = call.args.out_pixel;
    float* out = plain_ ? store_.first_pixel(call.row, call.row.group * filters) : call.sums;
    const std::int64_t first = call.row.origin[2];
    std::int64_t w = 0;
    if (one_row_ && layout_.terms >= kQuad) {
      // Two streams by turns: one is fetched ahead while the other comes to a new page.
      const std::int64_t half = width / (2 * kQuad) * kQuad;
      for (; w < half; w += kQuad) {
        for (const std::int64_t at : {w, half + w})
          add(call, x + at * layout_.step[2], out + at * pixel);
        if (call.args.quads == kRunQuads && !flush(call)) return false;
      }
      w += half;
    }
    while (w < width) {
      const std::int64_t begin = w, room = kRunQuads - call.args.quads;
      const std::int64_t whole = std::min((width - w) / kQuad, room);
      const float* from = x + w * layout_.step[2];
      float* place = out + (plain_ ? w * pixel : 0);
      for (std::int64_t i = 0; i < whole; ++i, from += from_step, place += kQuad * pixel)
        if (from <= last_)
          add(call, from, place);
        else
          add_copied(call, from, place);
      w += whole * kQuad;
      if (w < width && w + kQuad > width && whole < room) {
        const std::int64_t back = w + kQuad - width;
        from -= back * layout_.step[2];
        place -= back * pixel;
        if (from <= last_)
          add(call, from, place);
        else
          add_copied(call, from, place);
        w = width;
      }
      if (plain_ && call.args.quads < kRunQuads) continue;
      if (!flush(call)) return false;
      if (plain_) continue;
      call.row.origin[2] = first + begin;
      call.row.size[2] = w - begin;
      store_.store(call.row, call.row.group * filters, filters, {call.sums, filters, 1, 0, 0},
                   call.sums + sum_elements(problem_));
    }
    return true;
  }

  // Where the first output of a box sees its first term.
  const float* input_of(const Tile& tile, float* stage) const {
    const Tensor& x = operands_.x;
    if (!layout_.in_place) {
      stage_patch<float>(table_, problem_, x, layout_.patch, tile, stage);
      return stage;
    }
    std::int64_t offset =
        tile.image * x.batch + x.channel_offset(tile.group * problem_.in_channels);
    for (int a = 0; a < 3; ++a) offset += tile.origin[a] * problem_.axis[a].stride * x.axis[a];
    return reinterpret_cast<const float*>(x.data + offset);
  }

  static void add(Call& call, const float* from, float* place) {
    call.quad[call.args.quads] = from;
    call.place[call.args.quads++] = place;
  }

  // Copied, so that there is room behind it.
  void add_copied(Call& call, const float* from, float* place) const {
    flush(call);
    float* const copied = call.spare + kSpare / 2;
    for (std::int64_t p = 0; p < kQuad; ++p)
      std::copy_n(from + p * layout_.step[2], layout_.terms, copied + p * kQuad);
    call.args.pitch = kQuad;
    add(call, copied, place);
    flush(call);
    call.args.pitch = layout_.step[2];
  }

  bool flush(Call& call) const {
    if (call.args.quads == 0) return true;
    const std::int64_t quads = call.args.quads;
    for (; call.args.quads % kWhole != 0; ++call.args.quads) {
      call.quad[call.args.quads] = call.quad[quads - 1];
      call.place[call.args.quads] = call.place[quads - 1];
    }
    table_.f32.pixel_quads[problem_.out_channels == 1 ? 0 : 1](call.args);
    interrupt_.work_done(call.worker,
                         call.args.quads * kQuad * problem_.terms() * problem_.out_channels);
    call.args.quads = 0;
    return !interrupt_.stop_requested();
  }

  const Problem& problem_;
  const QuadLayout& layout_;
  const KernelTable& table_;
  const Operands& operands_;
  char* const scratch_;
  Interrupt& interrupt_;
  const BoxStore<float> store_;
  const bool plain_;     // the kernel writes the output itself
  const bool one_row_;   // a box is a run of pixels, in x and y
  const bool is_dense_;  // a quad's terms are one run
  const float* const last_;
};

class QuadExecution final : public Execution {
 public:
  QuadExecution(const Problem& problem, const Tensor& x, const KernelTable& kernels,
                const Machine& machine)
      : problem_(problem),
        kernels_(kernels),
        layout_(LayoutBuilder(problem_, x, machine).build()) {}

  std::int64_t tasks() const override {
    return problem_.batch * problem_.groups * layout_.boxes[0] * layout_.boxes[1] *
           layout_.boxes[2];
  }

  std::int64_t packed_bytes() const override {
    return (problem_.groups * width() + 1) * problem_.terms() * size_of(problem_.compute);
  }
  bool packs_like(const Execution&) const override { return true; }
  bool takes_flagged() const override { return false; }

  // [group][kernel row, column, channel][filter]; filters go through a row behind them.
  bool pack(const Weights& w, void* to, int /*workers*/, Interrupt& /*interrupt*/) const override {
    const std::int64_t terms = problem_.terms(), taps = problem_.taps();
    const std::int64_t channels = problem_.in_channels, pitch = width();
    float* packed = static_cast<float*>(to);
    float* const row = packed + problem_.groups * pitch * terms;
    std::fill(packed, row, 0.0F);
    for (std::int64_t k = 0; k < problem_.groups * problem_.out_channels; ++k) {
      gather_weights<float>(kernels_, problem_, w, k, 0, terms, row);
      const std::int64_t filter = k % problem_.out_channels;
      if (k > 0 && filter == 0) packed += pitch * terms;
      const float* from = row;
      for (std::int64_t c = 0; c < channels; ++c)
        for (std::int64_t tap = 0; tap < taps; ++tap, ++from)
          packed[(tap * channels + c) * pitch + filter] = *from;
    }
    return true;
  }

  std::int64_t scratch_bytes() const override {
    return QuadRun::scratch_elements(problem_, layout_) * size_of(problem_.compute);
  }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    QuadRun run(problem_, layout_, kernels_, operands, scratch, interrupt);
    parallel_for(tasks(), workers,
                 [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
  }

 private:
  std::int64_t width() const { return quad_width(problem_); }

  const Problem problem_;
  const KernelTable& kernels_;
  const QuadLayout layout_;
};

// Cycles of a pixel: to load and turn four terms, to add them, to store; where there is a border,
// to copy the input. Whoever estimates it takes his own products for all that a pixel costs.
double cost(const Problem& problem, const Machine& machine) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  if (!problem.channels_last || !machine.quads) return kNever;
  const bool grouped = problem.groups > 1;
  if (grouped && problem.axis[0].kernel > 1) return kNever;
  constexpr double kTurn = 1.3, kAddOne = 0.065, kAdd = 0.3;
  constexpr double kStore[kMostFilters] = {1.6, 2.2, 3.3, 3.3};
  constexpr double kCopy = 0.12, kCopySlices = 0.7, kPosition = 2;
  const double share = problem.taps() == 1 ? 0.72 : 0.85;
  const auto& [depth, height, width] = problem.axis;
  const bool one = problem.out_channels == 1;
  const std::int64_t run = RunOfTerms(problem).terms;
  const double terms = static_cast<double>(problem.terms());
  const double turns =
      terms / static_cast<double>(run) *
      (run == 1 && width.stride == 1 ? 0.3 : static_cast<double>(divide_up(run, kQuad)));
  // Of one channel a run is a row of the kernel, and short ones are loaded by halves (1 -> 3,
  // 2x2x2, stride 3, on 38^3: 27 cycles a pixel; of 2 channels 12).
  const double turn = problem.in_channels == 1 && run > 1 && run < kQuad ? 3 * kTurn : kTurn;
  double pixel =
      (turn * turns + (one ? kAddOne : kAdd) * terms + kStore[problem.out_channels - 1]) *
      static_cast<double>(round_up(width.out, kQuad)) / static_cast<double>(width.out);
  // Pixels of a group lie apart.
  const bool copies = problem.padded() || !same_storage(problem.x_type, problem.compute) ||
                      (grouped && width.kernel > 1 && width.dilation == 1);
  const double each_copied = !grouped ? kCopy : has_strides(problem) ? 10 * kCopy : 3 * kCopy;
  if (copies && depth.kernel > 1 && has_strides(problem)) {
    // Boxes share much of what they stage.
    const double each = kCopySlices + kPosition / static_cast<double>(problem.in_channels);
    pixel += each * terms * staged_share(problem);
  } else if (copies) {
    pixel += each_copied * static_cast<double>(problem.in_channels * problem.in_pixels()) /
             static_cast<double>(problem.out_pixels());
  }
  // Each group is a task, and fewer than four sums are stored in a pass of their own, row by row.
  if (grouped) {
    pixel += 1200 / static_cast<double>(problem.out_pixels());
    if (problem.out_channels < kMostFilters) pixel += 9 + 250 / static_cast<double>(width.out);
  }
  // Pixels share no loads, and of large kernels what they read again has left L1 (41 -> 3, 7x7,
  // stride 3, on 34x34: 184 us, 119 by pixel_lanes).
  constexpr double kFar = 1.25;
  constexpr std::int64_t kNearTaps = 9;
  const std::int64_t row = problem.in_channels * width.in * machine.element;
  const std::int64_t seen = depth.kernel * height.kernel * row;
  if (problem.taps() > kNearTaps && seen > machine.l1 / 2) pixel *= kFar;
  return share * pixel / terms * 16 / machine.lanes;
}

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& x,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const QuadExecution>(problem, x, kernels, machine);
}

}  // namespace

const Candidate pixel_quads = {
    Algorithm::direct,
    "pixel_quads",
    accepts,
    cost,
    nullptr,
    execute,
    suits,
    [](const Problem&, const Machine& machine) { return !machine.quads; }};

}  // namespace fastconv
