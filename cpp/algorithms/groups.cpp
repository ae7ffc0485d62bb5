// Groups of few channels, channels last, and depthwise layers of few channels
// (kernels/group_lanes.hpp; how a layer is cut: groups_layout.hpp):
//
//   for each task (some rows of one image, some blocks of groups)             in parallel
//     stage its input, where it is not read in place
//     for each block of groups, as many as fill a vector
//       for each output row: multiply, store
#include <algorithm>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

#include "algorithms/candidates.hpp"
#include "algorithms/channels.hpp"
#include "algorithms/groups_layout.hpp"
#include "algorithms/groups_staging.hpp"
#include "algorithms/groups_weights.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kElement = sizeof(float);
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Parts of a worker's scratch.
struct GroupPad {
  float* fill = nullptr;
  float* limits = nullptr;
  float* bias = nullptr;
  float* sums = nullptr;
  float* convert = nullptr;
  float* staged = nullptr;
  std::int64_t* column = nullptr;
  std::int64_t* row = nullptr;
  std::int32_t* order = nullptr;
  std::int64_t bytes = 0;

  GroupPad(const Problem& problem, const GroupLayout& layout, std::int64_t staged_elements,
           char* at) {
    const auto take = [&](auto*& to, std::int64_t count) {
      if (at != nullptr) to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(at + bytes);
      bytes += round_to_line(count * std::int64_t{sizeof *to});
    };
    const std::int64_t kernel_rows = problem.axis[0].kernel * problem.axis[1].kernel;
    const std::int64_t outs = layout.out_vectors(problem) * layout.lanes;
    take(fill, layout.lanes);
    take(limits, 2 * layout.lanes);
    take(bias, outs);
    take(sums, problem.axis[2].out * outs);
    take(convert, problem.axis[2].out * outs);
    take(staged, staged_elements);
    take(column, padded_columns(problem.axis[2]));
    take(row, kernel_rows);
    take(order, kernel_rows);
  }
};

// What a plan decides.
struct GroupPlan {
  GroupLayout layout;
  StagedColumns columns;
  GroupTasks tasks;
  std::vector<std::int32_t> route, last_route;  // of all blocks but the last, and of it
  std::int64_t scratch_bytes;

  GroupPlan(const Problem& problem, const Tensor& x, const Machine& machine)
      : layout(problem, channels_lie_side_by_side(problem, problem.x_type, x), machine),
        columns(problem, layout),
        tasks(deal_out_groups(problem, layout, columns, machine)),
        route(group_route(problem, layout, 0)),
        last_route(group_route(problem, layout, layout.blocks - 1)),
        scratch_bytes(GroupPad(problem, layout, tasks.staged, nullptr).bytes) {}
};

class GroupLanes {
 public:
  GroupLanes(const Problem& problem, const GroupPlan& plan, const KernelTable& kernels,
             const Operands& operands, char* scratch, Interrupt& interrupt)
      : problem_(problem),
        plan_(plan),
        layout_(plan.layout),
        kernels_(kernels.set<float>()),
        operands_(operands),
        scratch_(scratch),
        interrupt_(interrupt),
        leaves_out_(leaves_out_border(problem)),
        direct_(stores_itself()),
        staging_(problem, plan.layout, plan.columns, kernels, operands.x),
        store_(problem, kernels, operands.y, operands.bias) {}

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    const GroupTasks& tasks = plan_.tasks;
    const std::int64_t part = index % tasks.parts;
    index /= tasks.parts;
    const std::int64_t image = index / tasks.bands;
    const std::int64_t first_row = index % tasks.bands * tasks.rows;
    const GroupBand band(
        problem_, first_row,
        std::min(first_row + tasks.rows, problem_.axis[0].out * problem_.axis[1].out));
    const GroupPad pad(problem_, layout_, tasks.staged, scratch_ + worker * plan_.scratch_bytes);
    std::fill_n(pad.fill, layout_.lanes, scalar_as<float>(problem_.fill[0]));
    staging_.list_columns(pad.column);
    if (layout_.source == GroupSource::staged) staging_.stage(band, image, 0, pad.staged);
    const std::int64_t first = part * tasks.blocks;
    const std::int64_t end = std::min(first + tasks.blocks, layout_.blocks);
    for (std::int64_t block = first; block < end; ++block) {
      run_block(band, image, block, pad, worker);
      if (interrupt_.stop_requested()) return;
    }
  }

 private:
  // Bias and a clamp are the kernel's.
  bool stores_itself() const {
    const Tensor& y = operands_.y;
    return channels_lie_side_by_side(problem_, problem_.y_type, y) &&
           (problem_.activation == Activation::none || problem_.activation == Activation::relu ||
            problem_.activation == Activation::relu6) &&
           (layout_.pixels == 1 || y.axis[2] == layout_.out * kElement);
  }

  void run_block(const GroupBand& band, std::int64_t image, std::int64_t block, const GroupPad& pad,
                 int worker) {
    const auto& [depth, height, width] = problem_.axis;
    const Tensor& x = operands_.x;
    const Tensor& y = operands_.y;
    const std::int64_t first_out = layout_.first_group(block) * problem_.out_channels;
    const std::int64_t channels = layout_.groups_of(problem_, block) * problem_.out_channels;
    const float* const zeros = static_cast<const float*>(operands_.packed) +
                               layout_.blocks * layout_.block_weights(problem_);
    const bool leaves_out = leaves_out_ && zeros[block] == 0.0F;
    begin(pad, first_out, channels);

    GroupArgs<float> group = block_args(block, pad, leaves_out);
    ChannelArgs<float>& args = group.pixels;
    std::int64_t slice_pitch = x.axis[0] / kElement, row_pitch = x.axis[1] / kElement;
    const float* from = reinterpret_cast<const float*>(x.data + image * x.batch);
    if (!layout_.in_place()) {
      row_pitch = plan_.columns.positions * layout_.pitch;
      slice_pitch = row_pitch * band.rows.count();
      from = pad.staged - (band.slices.first * slice_pitch + band.rows.first * row_pitch);
    }
    if (layout_.source == GroupSource::blocks) {
      staging_.stage(band, image, layout_.first_channel(problem_, block), pad.staged);
      args.x = from;
    } else {
      args.x = from + layout_.first_channel(problem_, block);
    }
    for (std::int64_t r = band.first; r < band.end; ++r) {
      const std::int64_t d = r / height.out, h = r % height.out;
      list_rows(problem_, slice_pitch, row_pitch, d, h, pad.row);
      keep_rows(pad, leaves_out, args);
      args.out =
          direct_
              ? reinterpret_cast<float*>(y.data + image * y.batch + d * y.axis[0] + h * y.axis[1]) +
                    first_out
              : pad.sums;
      kernels_.group_lanes(group);
      finish_row(group);
      if (!direct_) {
        const BoxAccumulators<float> acc{pad.sums, channels, 1, width.out, width.out};
        store_.store({image, 0, {d, h, 0}, {1, 1, width.out}}, first_out, channels, acc,
                     pad.convert);
      }
      interrupt_.work_done(worker, width.out * channels * problem_.terms());
      if (interrupt_.stop_requested()) return;
    }
  }

  // But for the rows that are read and written.
  GroupArgs<float> block_args(std::int64_t block, const GroupPad& pad, bool leaves_out) const {
    const Axis& width = problem_.axis[2];
    const std::int64_t outs = layout_.out_channels(problem_, block);
    GroupArgs<float> group{};
    ChannelArgs<float>& args = group.pixels;
    args.row = pad.row;
    args.column = pad.column;
    args.kernel_columns = width.kernel;
    args.dilation = width.dilation;
    args.stride = width.stride * layout_.pixels;
    args.seen = width.lo;
    args.seen_end = leaves_out && layout_.in_place() ? width.lo + width.in : kAllColumns;
    args.fill = pad.fill;
    args.w = static_cast<const float*>(operands_.packed) + block * layout_.block_weights(problem_);
    args.bias = pad.bias;
    args.vecs = 1;
    args.column_pitch = layout_.in_place() ? 0 : layout_.pitch;
    args.pixels = width.out / layout_.pixels;
    args.out_pixel = direct_ ? operands_.y.axis[2] / kElement * layout_.pixels : outs;
    group.border = pad.column + padded_columns(width) - 1;
    group.inside_end = args.pixels;
    group.step = layout_.pixels * layout_.pitch;
    if (layout_.in_place()) {
      group.step = width.stride * (operands_.x.axis[2] / kElement);
      const TapSpan inside = outputs_inside(width);
      group.inside = inside.first;
      group.inside_end = inside.last;
    }
    group.sums = layout_.sums;
    group.route = (block + 1 < layout_.blocks ? plan_.route : plan_.last_route).data();
    group.rounds = layout_.rounds;
    group.out_channels = outs;
    group.low = pad.limits;
    return group;
  }

  // Kernel rows that do not lie in the border, or all.
  void keep_rows(const GroupPad& pad, bool leaves_out, ChannelArgs<float>& args) const {
    const std::int64_t kernel_rows = problem_.axis[0].kernel * problem_.axis[1].kernel;
    std::int64_t kept = 0;
    for (std::int64_t u = 0; u < kernel_rows; ++u) {
      if (leaves_out && pad.row[u] == kFillRow) continue;
      pad.row[kept] = pad.row[u];
      pad.order[kept++] = static_cast<std::int32_t>(u);
    }
    args.kernel_rows = kept;
    args.order = kept < kernel_rows ? pad.order : nullptr;
  }

  // Pixels that do not fill a vector: one that overlaps.
  void finish_row(const GroupArgs<float>& all) const {
    const Axis& width = problem_.axis[2];
    if (width.out % layout_.pixels == 0) return;
    const std::int64_t first = width.out - layout_.pixels;
    GroupArgs<float> last = all;
    last.pixels.pixels = 1;
    last.inside_end = 0;
    last.pixels.column += first * width.stride;
    last.pixels.out += first * (all.pixels.out_pixel / layout_.pixels);
    kernels_.group_lanes(last);
  }

  // What sums start from and end at: of the rest, BoxStore takes care.
  void begin(const GroupPad& pad, std::int64_t first_out, std::int64_t channels) const {
    const std::int64_t lanes = layout_.lanes;
    const bool clamps = direct_ && problem_.activation != Activation::none;
    const bool bounded = clamps && problem_.activation == Activation::relu6;
    std::fill_n(pad.limits, lanes, clamps ? 0.0F : -kInfinity);
    std::fill_n(pad.limits + lanes, lanes, bounded ? 6.0F : kInfinity);
    std::fill_n(pad.bias, layout_.out_vectors(problem_) * lanes, 0.0F);
    if (!direct_ || operands_.bias == nullptr) return;
    const float* const bias = static_cast<const float*>(operands_.bias) + first_out;
    for (std::int64_t p = 0; p < layout_.pixels; ++p)
      std::copy_n(bias, channels, pad.bias + p * channels);
  }

  const Problem& problem_;
  const GroupPlan& plan_;
  const GroupLayout& layout_;
  const KernelSet<float>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  Interrupt& interrupt_;
  const bool leaves_out_;
  const bool direct_;
  const GroupStaging staging_;
  const BoxStore<float> store_;
};

class GroupExecution final : public Execution {
 public:
  GroupExecution(const Problem& problem, const Tensor& x, const KernelTable& kernels,
                 const Machine& machine)
      : problem_(problem), kernels_(kernels), plan_(problem, x, machine) {}

  std::int64_t tasks() const override { return plan_.tasks.count(problem_); }

  std::int64_t packed_bytes() const override {
    return packed_group_elements(problem_, plan_.layout) * kElement;
  }

  bool packs_like(const Execution& other) const override {
    return plan_.layout == static_cast<const GroupExecution&>(other).plan_.layout;
  }

  bool takes_flagged() const override { return false; }

  bool pack(const Weights& w, void* to, int workers, Interrupt& /*interrupt*/) const override {
    pack_groups(problem_, plan_.layout, kernels_, w, static_cast<float*>(to), workers);
    return true;
  }

  std::int64_t scratch_bytes() const override { return plan_.scratch_bytes; }

  void run(const Operands& operands, char* scratch, int workers,
           Interrupt& interrupt) const override {
    GroupLanes run(problem_, plan_, kernels_, operands, scratch, interrupt);
    parallel_for(tasks(), workers,
                 [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
  }

 private:
  const Problem problem_;
  const KernelTable& kernels_;
  const GroupPlan plan_;
};

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& x,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const GroupExecution>(problem, x, kernels, machine);
}

}  // namespace

const Candidate groups = {Algorithm::direct,
                          "group_lanes",
                          groups_accepts,
                          groups_cost,
                          nullptr,
                          execute,
                          groups_suit,
                          [](const Problem& problem, const Machine& machine) {
                            return problem.out_channels > machine.group_sums;
                          }};

}  // namespace fastconv
