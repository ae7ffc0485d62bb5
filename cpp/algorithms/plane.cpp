// Direct convolution of single planes: depthwise layers and one-channel pictures
// (kernels/plane.hpp).
#include "algorithms/plane.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

#include "algorithms/candidates.hpp"
#include "algorithms/channels.hpp"
#include "algorithms/rolling.hpp"
#include "algorithms/turned.hpp"
#include "core/border.hpp"
#include "core/rounding.hpp"
#include "pack/convert.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

// Of one chain; a longer sum is cut between slices, for accuracy.
constexpr std::int64_t kMostTerms = 256;
constexpr std::int64_t kMostReach = 64;  // of a kernel column, and strides: what is staged in vain
constexpr std::int64_t kMostStride = 16;
constexpr std::int64_t kMostBorder = 1 << 16;  // columns beside the input, each of which is listed
constexpr std::int64_t kMostOut = std::int64_t{1} << 30;  // columns, and so blocks
constexpr std::int64_t kMostSlices = 32;
constexpr std::int64_t kMostSlots = 256;        // that one output row sees, in all slices
constexpr std::int64_t kTile = 4;               // output rows that share their loads
constexpr std::int64_t kBands = 3;              // tiles of one kernel call, where rows are short
constexpr std::int64_t kStageBytes = 16 << 10;  // half of L1
constexpr std::int64_t kMinColumns = 512;       // of a block
constexpr std::int64_t kMostColumns = 8192;
constexpr std::int64_t kMostRows = 128;  // of a band in place, whose ends are staged
constexpr std::int64_t kTaskMacs = 128 << 10;

// Planes whose products one output adds: input channels, and slices of a kernel with depth.
std::int64_t slices_of(const Problem& problem) {
  return problem.in_channels * problem.axis[0].kernel;
}

// A sum is made of runs of slices, each a chain of its own.
std::int64_t slices_of_run(const Problem& problem) {
  const std::int64_t taps = problem.axis[1].kernel * problem.axis[2].kernel;
  const std::int64_t most = std::max<std::int64_t>(kMostTerms / taps, 1);
  const std::int64_t slices = slices_of(problem);
  return divide_up(slices, divide_up(slices, most));
}

// Where slices are staged, so that those which consecutive output slices share stay where they are:
//
//   3 kernel slices     output slice 0: [0 1 2]     1: [3 1 2]     2: [3 4 2]     3: [3 4 5]
struct SliceRing {
  std::int64_t places;  // of one channel
  bool shared;

  explicit SliceRing(const Axis& depth) {
    const std::int64_t reach = (depth.kernel - 1) * depth.dilation + 1;
    shared = depth.out > 1 && depth.stride < reach && reach <= 3 * depth.kernel;
    places = shared ? reach : depth.kernel;
  }
};

const char* accepts(const Problem& problem) {
  if (problem.complex) return "complex numbers, whose fill value has two parts";
  if (slices_of(problem) > kMostSlices) return "a sum runs through too many planes";
  if (problem.axis[1].kernel * problem.axis[2].kernel > kMostTerms)
    return "the sum of one slice is too long for one chain";
  // row_stencil stages fewer rows twice.
  if (problem.terms() > kMostTerms && problem.axis[0].kernel == 1)
    return "the sum of all channels is too long for one chain";
  if (problem.out_channels > kMostFilters) return "a group has more than four output channels";
  const Axis& height = problem.axis[1];
  const Axis& width = problem.axis[2];
  if (width.lo > kMostBorder || width.hi > kMostBorder) return "the border is too wide";
  if (width.out > kMostOut) return "the rows are too long";
  if (height.stride > kMostStride || width.stride > kMostStride) return "the stride is too long";
  if ((height.kernel - 1) * height.dilation > kMostReach ||
      (width.kernel - 1) * width.dilation > 16 * kMostReach)
    return "the dilated kernel is too long";
  if (slices_of(problem) > 1 &&
      slices_of(problem) * ((height.kernel - 1) * height.dilation + 1) > kMostSlots)
    return "a sum runs through too many rows";
  return nullptr;
}

double cost(const Problem& problem, const Machine& machine) {
  if (machine.chain < std::min(problem.terms(), kMostTerms))
    return std::numeric_limits<double>::infinity();
  const double filters = static_cast<double>(problem.out_channels);
  const bool one_plane = is_single(problem) && problem.in_channels == 1;
  const bool rolls = roll_tiling(problem, machine).planes > 0;
  if (one_plane || rolls || (can_turn(problem, machine) && turning_pays(problem, false, machine)))
    return filters / machine.lanes;
  // Output rows share loads, but filters do not.
  const double row = problem.out_channels > 1 ? 1.8 : rows_share_loads(problem) ? 1.1 : 1.65;
  return row * width_waste(problem, machine) * filters / machine.lanes;
}

// Several planes, of which each is staged for itself, are better read otherwise where their columns
// lie apart.
bool suits(const Problem& problem, const Tensor& x) {
  return slices_of(problem) == 1 || x.axis[2] == size_of(problem.x_type);
}

bool is_plain(const Problem& problem, const Tensor& x) {
  const std::int64_t element = size_of(problem.compute);
  return same_storage(problem.x_type, problem.compute) && x.axis[2] == element &&
         x.axis[1] % element == 0;
}

// Which output rows see the same input rows, through kernel rows some phases apart:
//
//   stride 2, dilation 3      output row r,     kernel rows 0, 1, 2:  input rows 2r, 2r+3, 2r+6
//                             output row r + 3, kernel rows 0, 1, 2:  input rows 2r+6, 2r+9, 2r+12
//                             -> rows 3 apart; kernel rows 0 and 2 are one phase, 1 the other
struct SharedRows {
  std::int64_t dilation, phases, apart;

  explicit SharedRows(const Axis& height) : dilation(height.kernel > 1 ? height.dilation : 1) {
    const std::int64_t common = std::gcd(height.stride, dilation);
    phases = height.stride / common;
    apart = dilation / common;
  }
};

class PlaneBuilder {
 public:
  PlaneBuilder(const Problem& problem, const Tensor& x, const Machine& machine)
      : problem_(problem),
        height_(problem.axis[1]),
        width_(problem.axis[2]),
        machine_(machine),
        slices_(slices_of(problem)),
        ring_(problem.axis[0]),
        staged_slices_(problem.in_channels * ring_.places),
        plain_(is_plain(problem, x)) {}

  PlaneTiling build() {
    // Output columns [left_, right_) see no border.
    const std::int64_t s = width_.stride, reach = (width_.kernel - 1) * width_.dilation;
    left_ = std::min(divide_up(width_.lo, s), width_.out);
    const std::int64_t last = width_.in - 1 - reach + width_.lo;
    right_ = last < 0 ? 0 : std::min(last / s + 1, width_.out);
    cut();
    for (std::int64_t first = 0; first < width_.out; first += columns_) {
      tiling_.blocks.push_back(static_cast<std::int64_t>(tiling_.spans.size()));
      add_block(first, std::min(first + columns_, width_.out));
    }
    tiling_.blocks.push_back(static_cast<std::int64_t>(tiling_.spans.size()));
    return std::move(tiling_);
  }

 private:
  std::int64_t slots(std::int64_t rows) const {
    return (rows - 1) * height_.stride + (height_.kernel - 1) * height_.dilation + 1;
  }

  // In place pays where there are many columns for the two vectors at the ends, and needs a vector
  // of columns without border.
  bool reads_in_place(std::int64_t first, std::int64_t end) const {
    if (!plain_ || width_.stride != 1) return false;
    const std::int64_t left = std::max(left_, first), right = std::min(right_, end);
    if (right - left < machine_.lanes) return false;
    if (left == first && right == end) return true;
    return end - first >= 24 * machine_.lanes && left - first <= machine_.lanes &&
           end - right <= machine_.lanes;
  }

  bool all_in_place() const {
    for (std::int64_t first = 0; first < width_.out; first += columns_)
      if (!reads_in_place(first, std::min(first + columns_, width_.out))) return false;
    return true;
  }

  void cut() {
    const std::int64_t out = height_.out;
    // With a long dilation rows share less, so that no more than they see is staged.
    const std::int64_t apart = SharedRows(height_).apart;
    const bool is_long = apart > 8 && (height_.stride > 1 || slices_ > 1);
    const std::int64_t unit = is_long ? kTile : kTile * apart;
    std::int64_t rows = round_up(out, unit);
    columns_ = std::min(width_.out, kMostColumns);
    if (all_in_place()) {
      rows = std::min(rows, round_up(kMostRows, unit));
    } else {
      const std::int64_t most = std::min<std::int64_t>(slices_, ring_.shared ? 8 : 4);
      const auto fits = [&] {
        return staged_slices_ * slots(rows) * (columns_ * width_.stride) * machine_.element <=
               kStageBytes * most;
      };
      const auto halve = [&] { rows = round_up(divide_up(rows, 2), unit); };
      while (!fits() && rows > 2 * unit) halve();
      while (!fits() && columns_ > kMinColumns)
        columns_ = round_up(divide_up(columns_, 2), machine_.lanes);
      while (!fits() && rows > unit) halve();
    }
    const std::int64_t planes = problem_.batch * problem_.groups * problem_.axis[0].out;
    const std::int64_t blocks = divide_up(width_.out, columns_);
    // Enough for every thread, and not too much between two looks at the clock.
    const std::int64_t enough = machine_.threads > 1 ? 4 * machine_.threads : 1;
    const std::int64_t products = problem_.out_channels * problem_.terms();
    const auto macs = [&] { return rows * columns_ * products; };
    while (rows > unit && macs() > kTaskMacs &&
           (macs() > 32 * kTaskMacs || planes * blocks * divide_up(out, rows) < enough))
      rows = round_up(divide_up(rows, 2), unit);
    tiling_.bands = divide_up(out, rows);
    tiling_.rows = std::min(rows, out);
    tiling_.slots = slots(tiling_.rows);
    // What the planes of a task share is found once: rows, spans, borders. An empty batch has no
    // planes, but a task must have one.
    const std::int64_t each = std::max<std::int64_t>(planes * tiling_.bands * blocks / enough, 1);
    const std::int64_t many = kTaskMacs / std::max<std::int64_t>(macs(), 1);
    tiling_.planes = std::max<std::int64_t>(std::min({many, each, planes}), 1);
    if (ring_.shared)
      tiling_.planes = std::max(tiling_.planes, std::min(problem_.axis[0].out, each));
    // Rows whose sums wait in scratch, for a conversion or further slices.
    tiling_.strip = columns_ <= machine_.lanes ? kBands * kTile : kTile;
    tiling_.tasks = divide_up(planes, tiling_.planes) * tiling_.bands * blocks;
  }

  void add_block(std::int64_t first, std::int64_t end) {
    stage_elements_ = 0;
    if (reads_in_place(first, end)) {
      const std::int64_t left = std::max(left_, first), right = std::min(right_, end);
      if (left > first) add_staged(first, machine_.lanes);
      PlaneSpan span;
      span.first = left;
      span.pixels = right - left;
      span.in_place = true;
      for (std::int64_t v = 0; v < width_.kernel; ++v)
        span.column.push_back(static_cast<std::int32_t>(v * width_.dilation));
      tiling_.fill_elements =
          std::max(tiling_.fill_elements, span.pixels + (width_.kernel - 1) * width_.dilation);
      tiling_.spans.push_back(std::move(span));
      if (right < end) add_staged(end - machine_.lanes, machine_.lanes);
    } else {
      add_staged(first, end - first);
    }
    tiling_.stage_elements = std::max(tiling_.stage_elements, stage_elements_);
    tiling_.output_pitch =
        std::max(tiling_.output_pitch, round_up(end - first, machine_.lanes) + machine_.lanes);
  }

  void add_staged(std::int64_t first, std::int64_t pixels) {
    const std::int64_t s = width_.stride;
    PlaneSpan span;
    span.first = first;
    span.pixels = pixels;
    const std::int64_t positions = (pixels - 1) * s + (width_.kernel - 1) * width_.dilation + 1;
    span.phase_pitch = divide_up(positions, s) + machine_.lanes;
    span.pitch = round_up(s * span.phase_pitch, machine_.lanes);
    const auto offset = [&](std::int64_t p) { return p % s * span.phase_pitch + p / s; };
    for (std::int64_t v = 0; v < width_.kernel; ++v)
      span.column.push_back(static_cast<std::int32_t>(offset(v * width_.dilation)));
    const std::int64_t start = first * s - width_.lo;  // input column of position 0
    span.source = std::clamp<std::int64_t>(start, 0, width_.in);
    span.columns =
        std::clamp<std::int64_t>(start + positions, span.source, width_.in) - span.source;
    if (start + positions <= 0) span.columns = 0;
    span.to = span.source - start;
    for (std::int64_t v = 0; v < width_.kernel; ++v)
      span.phases |= std::uint32_t{1} << v * width_.dilation % s;
    for (std::int64_t p = 0; p < positions; ++p)
      if (p < span.to || p >= span.to + span.columns)
        span.border.push_back({offset(p), source_index(problem_.border, width_, start + p)});
    span.rows_at = stage_elements_;
    span.slice_pitch = tiling_.slots * span.pitch;
    stage_elements_ += staged_slices_ * span.slice_pitch;
    tiling_.fill_elements = std::max(tiling_.fill_elements, span.pitch);
    tiling_.spans.push_back(std::move(span));
  }

  const Problem& problem_;
  const Axis& height_;
  const Axis& width_;
  const Machine& machine_;
  const std::int64_t slices_;
  const SliceRing ring_;
  const std::int64_t staged_slices_;
  const bool plain_;
  std::int64_t left_ = 0, right_ = 0;
  std::int64_t columns_ = 0;
  std::int64_t stage_elements_ = 0;
  PlaneTiling tiling_;
};

constexpr std::int64_t kMostSpans = 3;  // of a block

// Scratch of one worker: fill row | staged spans | output rows | two buffers of sums | tables of
// rows | source rows | what is staged.
struct PlaneScratch {
  std::int64_t fill, stage, output, sums[2], table, source, held, total;

  PlaneScratch(const Problem& problem, const PlaneTiling& tiling, std::int64_t element) {
    constexpr std::int64_t kWord = sizeof(std::int64_t);
    static_assert(sizeof(void*) <= kWord);
    const std::int64_t slices = slices_of(problem);
    const std::int64_t places = problem.in_channels * SliceRing(problem.axis[0]).places;
    const std::int64_t strip = round_to_line(tiling.strip * tiling.output_pitch * element);
    const std::int64_t sum_bytes = slices_of_run(problem) < slices ? strip : 0;
    fill = 0;
    stage = fill + round_to_line(tiling.fill_elements * element);
    output = stage + round_to_line((tiling.stage_elements + 64) * element);
    sums[0] = output + strip;
    sums[1] = sums[0] + sum_bytes;
    table = sums[1] + sum_bytes;
    source = table + round_to_line(kMostSpans * slices * tiling.slots * kWord);
    held = source + round_to_line(tiling.slots * kWord);
    total = held + round_to_line(kMostSpans * places * kWord);
  }
};

Tiling tile(const Problem& problem, const Tensor& x, const Machine& machine) {
  Tiling tiling;
  tiling.family = Family::plane;
  PlaneTiling& plane = tiling.plane;
  std::int64_t scratch;
  const RollTiling roll = roll_tiling(problem, machine);
  if (roll.planes > 0) {
    plane.roll = roll;
    plane.tasks = roll.tasks;
    scratch = roll_scratch_bytes(problem, roll, machine.element);
  } else {
    plane = PlaneBuilder(problem, x, machine).build();
    scratch = PlaneScratch(problem, plane, machine.element).total;
  }
  plane.channels = channel_tiling(problem, x, machine);
  if (plane.channels.tasks > 0)
    scratch = std::max(scratch, channel_scratch_bytes(problem, machine));
  if (can_turn(problem, machine) && turning_pays(problem, roll.planes > 0, machine))
    plane.turned = turned_tiling(problem, x, machine);
  if (plane.turned.tasks > 0)
    scratch = std::max(scratch, turned_scratch_bytes(problem, plane.turned, machine));
  tiling.stage_elements = divide_up(scratch, machine.element);
  return tiling;
}

template <class T>
class PlaneRun {
 public:
  PlaneRun(const Problem& problem, const PlaneTiling& tiling, const KernelTable& table,
           const Operands& operands, char* scratch, std::int64_t scratch_each, Interrupt& interrupt)
      : problem_(problem),
        depth_(problem.axis[0]),
        height_(problem.axis[1]),
        shared_(height_),
        slices_(slices_of(problem)),
        slices_of_run_(slices_of_run(problem)),
        ring_(depth_),
        has_depth_border_(depth_.lo != 0 || depth_.hi != 0),
        tiling_(tiling),
        table_(table),
        kernels_(table.set<T>()),
        operands_(operands),
        scratch_(scratch),
        scratch_each_(scratch_each),
        layout_(problem, tiling, sizeof(T)),
        interrupt_(interrupt),
        w_(problem, operands),
        plain_input_(is_plain(problem, operands.x)),
        plain_output_(output_is_plain()),
        fill_(scalar_as<T>(problem.fill[0])),
        kernel_(choose_kernel()) {}

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    Task t;
    const std::int64_t blocks = static_cast<std::int64_t>(tiling_.blocks.size()) - 1;
    const std::size_t block = static_cast<std::size_t>(index % blocks);
    index /= blocks;
    t.spans = tiling_.spans.data() + tiling_.blocks[block];
    t.span_count = tiling_.blocks[block + 1] - tiling_.blocks[block];
    t.row = index % tiling_.bands * tiling_.rows;
    t.rows = std::min(tiling_.rows, height_.out - t.row);
    index /= tiling_.bands;
    t.first_column = t.spans[0].first;
    const PlaneSpan& last = t.spans[t.span_count - 1];
    t.columns = last.first + last.pixels - t.first_column;
    char* const at = scratch_ + worker * scratch_each_;
    t.fill = reinterpret_cast<T*>(at + layout_.fill);
    t.stage = reinterpret_cast<T*>(at + layout_.stage);
    t.output = reinterpret_cast<T*>(at + layout_.output);
    t.sums[0] = reinterpret_cast<T*>(at + layout_.sums[0]);
    t.sums[1] = reinterpret_cast<T*>(at + layout_.sums[1]);
    t.table = reinterpret_cast<const T**>(at + layout_.table);
    t.source = reinterpret_cast<std::int64_t*>(at + layout_.source);
    t.held = reinterpret_cast<std::int64_t*>(at + layout_.held);
    prepare(t);

    const std::int64_t planes = problem_.batch * problem_.groups * depth_.out;
    const std::int64_t end = std::min((index + 1) * tiling_.planes, planes);
    const std::int64_t first = index * tiling_.planes;
    std::int64_t depth = first % depth_.out, group = first / depth_.out % problem_.groups;
    std::int64_t image = first / depth_.out / problem_.groups;
    PlaneArgs<T> args = common_args();
    for (std::int64_t p = first; p < end; ++p) {
      if (ring_.shared && (p == first || depth == 0))
        std::fill_n(t.held, t.span_count * staged_slices(), kNothing);
      run_plane(t, args, image, group, depth);
      if (++depth == depth_.out) {
        depth = 0;
        if (++group == problem_.groups) {
          group = 0;
          ++image;
        }
      }
      interrupt_.work_done(worker, t.rows * t.columns * problem_.out_channels * problem_.terms());
      if (interrupt_.stop_requested()) return;
    }
  }

 private:
  struct Task {
    const PlaneSpan* spans;
    std::int64_t span_count;
    std::int64_t row, rows;  // of the output
    std::int64_t first_column, columns;
    std::int64_t slots;
    // Slots [inside, inside + inside_rows) show consecutive input rows, the first of them
    // `source[inside]`.
    std::int64_t inside, inside_rows;
    T* fill;
    T* stage;
    T* output;
    T* sums[2];
    const T** table;       // [span][slice][slot]
    std::int64_t* source;  // input row of each slot, -1: the fill value
    std::int64_t* held;    // [span][staged slice] padded slice that is staged there
  };
  static constexpr std::int64_t kNothing = -1;

  std::int64_t staged_slices() const { return problem_.in_channels * ring_.places; }

  bool output_is_plain() const {
    const Tensor& y = operands_.y;
    constexpr std::int64_t kElement = sizeof(T);
    if (!same_storage(problem_.y_type, problem_.compute)) return false;
    if (!is_float(problem_.compute) && problem_.activation != Activation::none) return false;
    return y.axis[2] == kElement && y.axis[1] % kElement == 0;
  }

  PlaneKernel choose_kernel() const {
    const Axis& width = problem_.axis[2];
    // The others would spill in a loop over slices.
    if (height_.kernel != width.kernel || slices_ > 1) return PlaneKernel::any;
    if (shared_.phases == 1) {
      if (width.kernel == 3) return PlaneKernel::square3;
      const bool neighbours = width.stride == 1 && width.dilation == 1;
      if (width.kernel == 5 && neighbours) return PlaneKernel::square5;
      if (width.kernel == 7 && neighbours) return PlaneKernel::square7;
    }
    return width.kernel == 3 && height_.stride == 2 && height_.dilation == 1
               ? PlaneKernel::square3_by2
               : PlaneKernel::any;
  }

  // What all planes of a task share: where rows come from, and borders of the fill value.
  void prepare(Task& t) const {
    t.slots = (t.rows - 1) * height_.stride + (height_.kernel - 1) * height_.dilation + 1;
    const std::int64_t start = t.row * height_.stride - height_.lo;
    t.inside = std::clamp<std::int64_t>(-start, 0, t.slots);
    t.inside_rows = std::clamp<std::int64_t>(height_.in - start, t.inside, t.slots) - t.inside;
    bool filled = has_depth_border_;
    for (std::int64_t i = 0; i < t.slots; ++i) {
      t.source[i] = source_index(problem_.border, height_, start + i);
      filled |= t.source[i] < 0;
    }
    if (filled) std::fill_n(t.fill, tiling_.fill_elements, fill_);
    for (std::int64_t s = 0; s < t.span_count; ++s) {
      const PlaneSpan& span = t.spans[s];
      if (span.in_place) continue;
      if (problem_.border == Border::constant && !span.border.empty()) {
        for (std::int64_t place = 0; place < staged_slices(); ++place) {
          T* const rows = staged_rows(t, span, place);
          for (std::int64_t i = 0; i < t.slots; ++i)
            for (const PlaneSpan::BorderColumn& c : span.border)
              rows[i * span.pitch + c.offset] = fill_;
        }
      }
      if (ring_.shared) continue;
      for (std::int64_t slice = 0; slice < slices_; ++slice) point_at_staged(t, s, slice, slice);
    }
  }

  T* staged_rows(const Task& t, const PlaneSpan& span, std::int64_t place) const {
    return t.stage + span.rows_at + place * span.slice_pitch;
  }

  const T** rows_of(const Task& t, std::int64_t span, std::int64_t slice) const {
    return t.table + (span * slices_ + slice) * tiling_.slots;
  }

  void point_at_staged(const Task& t, std::int64_t s, std::int64_t slice,
                       std::int64_t place) const {
    const PlaneSpan& span = t.spans[s];
    const T* const rows = staged_rows(t, span, place);
    const T** const table = rows_of(t, s, slice);
    for (std::int64_t i = 0; i < t.slots; ++i)
      table[i] = t.source[i] < 0 ? t.fill : rows + i * span.pitch;
  }

  // What all kernel calls share.
  PlaneArgs<T> common_args() const {
    PlaneArgs<T> args{};
    args.phases = shared_.phases;
    args.phase_step = shared_.dilation;
    args.row_step = args.advance = shared_.phases * shared_.dilation;
    if (kernel_ == PlaneKernel::square3_by2) args.row_step = 1;
    args.slices = slices_;
    args.slice_rows = tiling_.slots;
    args.kernel_rows = height_.kernel;
    const Axis& width = problem_.axis[2];
    args.kernel_columns = width.kernel;
    args.neighbours = width.stride == 1 && width.dilation == 1 && width.interleave == 1;
    args.activation = is_float(problem_.compute) ? problem_.activation : Activation::none;
    return args;
  }

  struct SliceRange {
    std::int64_t first, end;
  };

  // Slices of the kernel that do not lie in a border of zeros, where none that does has a weight
  // that is infinite or not a number: its products would not be zero.
  SliceRange slices_seen(std::int64_t depth, const T* w) const {
    const SliceRange all = {0, slices_};
    // Kernels of one slice do not count slices.
    if (!has_depth_border_ || slices_ == 1 || problem_.border != Border::constant ||
        fill_ != T(0) || problem_.in_channels != 1)
      return all;
    const std::int64_t start = depth * depth_.stride - depth_.lo, dilation = depth_.dilation;
    SliceRange seen;
    seen.first = start < 0 ? std::min(divide_up(-start, dilation), slices_) : 0;
    seen.end = start < depth_.in ? std::min((depth_.in - 1 - start) / dilation + 1, slices_) : 0;
    if (start >= depth_.in || seen.end < seen.first) seen.end = seen.first = 0;
    const std::int64_t taps = height_.kernel * problem_.axis[2].kernel;
    const bool finite = are_finite(w, seen.first * taps) &&
                        are_finite(w + seen.end * taps, (slices_ - seen.end) * taps);
    return finite ? seen : all;
  }

  static bool are_finite(const T* w, std::int64_t count) {
    if constexpr (!std::is_floating_point_v<T>) return true;
    bool bad = false;
    for (std::int64_t i = 0; i < count; ++i)
      bad |= !(std::abs(w[i]) <= std::numeric_limits<T>::max());
    return !bad;
  }

  void run_plane(const Task& t, PlaneArgs<T>& args, std::int64_t image, std::int64_t group,
                 std::int64_t depth) const {
    const Tensor& x = operands_.x;
    const Tensor& y = operands_.y;
    for (std::int64_t slice = 0; slice < slices_; ++slice) {
      // Divisions cost as much as the row of a small plane.
      const std::int64_t channel = slices_ == 1 ? 0 : slice / depth_.kernel;
      const std::int64_t position =
          depth * depth_.stride + (slice - channel * depth_.kernel) * depth_.dilation;
      const std::int64_t source = source_index(problem_.border, depth_, position - depth_.lo);
      const char* const from = x.data + image * x.batch +
                               x.channel_offset(group * problem_.in_channels + channel) +
                               source * x.axis[0];
      const std::int64_t place =
          ring_.shared ? channel * ring_.places + position % ring_.places : slice;
      for (std::int64_t s = 0; s < t.span_count; ++s)
        look_up(t, s, slice, place, position, source < 0, from);
    }
    for (std::int64_t k = 0; k < problem_.out_channels; ++k) {
      const std::int64_t channel = group * problem_.out_channels + k;
      args.w = w_.row(channel);
      const SliceRange range = slices_seen(depth, args.w);
      args.w += range.first * height_.kernel * problem_.axis[2].kernel;
      if (operands_.bias != nullptr) args.bias = static_cast<const T*>(operands_.bias) + channel;
      filter(t, args, range,
             y.data + image * y.batch + y.channel_offset(channel) + depth * y.axis[0] +
                 t.row * y.axis[1] + t.first_column * y.axis[2]);
    }
  }

  // The rows that one span sees of one slice, which begins at `from` or lies in the border.
  void look_up(const Task& t, std::int64_t s, std::int64_t slice, std::int64_t place,
               std::int64_t position, bool is_border, const char* from) const {
    const PlaneSpan& span = t.spans[s];
    const T** const table = rows_of(t, s, slice);
    if (is_border) {
      std::fill_n(table, t.slots, t.fill);
    } else if (span.in_place) {
      const Tensor& x = operands_.x;
      from += (span.first - problem_.axis[2].lo) * std::int64_t{sizeof(T)};
      for (std::int64_t i = 0; i < t.slots; ++i)
        table[i] =
            t.source[i] < 0 ? t.fill : reinterpret_cast<const T*>(from + t.source[i] * x.axis[1]);
    } else {
      if (has_depth_border_ || ring_.shared) point_at_staged(t, s, slice, place);
      if (ring_.shared) {
        std::int64_t& held = t.held[s * staged_slices() + place];
        if (held == position) return;
        held = position;
      }
      stage(t, span, from, staged_rows(t, span, place));
    }
  }

  void stage(const Task& t, const PlaneSpan& span, const char* plane, T* rows) const {
    const auto stage_inside = [&](std::int64_t first, std::int64_t end) {
      first = std::max(first, t.inside);
      end = std::min(end, t.inside + t.inside_rows);
      if (first < end)
        stage_rows(span, plane, t.source[first], end - first, rows + first * span.pitch);
    };
    const std::int64_t s = height_.stride, seen = (height_.kernel - 1) * height_.dilation + 1;
    if (seen >= s) {
      stage_inside(0, t.slots);
    } else {  // no more than the kernel sees
      for (std::int64_t i = 0; i < t.slots; i += s) stage_inside(i, i + seen);
    }
    if (problem_.border == Border::constant) return;
    for (std::int64_t i = 0; i < t.slots; ++i) {
      if (i == t.inside) i += t.inside_rows;
      if (i < t.slots) stage_rows(span, plane, t.source[i], 1, rows + i * span.pitch);
    }
  }

  void stage_rows(const PlaneSpan& span, const char* plane, std::int64_t first, std::int64_t count,
                  T* to) const {
    const Tensor& x = operands_.x;
    const std::int64_t s = problem_.axis[2].stride;
    const auto offset = [&](std::int64_t p) { return p % s * span.phase_pitch + p / s; };
    const char* from = plane + first * x.axis[1];
    if (plain_input_ && span.columns > 0) {
      kernels_.plane_stage({reinterpret_cast<const T*>(from + span.source * x.axis[2]),
                            x.axis[1] / std::int64_t{sizeof(T)}, count, span.columns, s, span.to,
                            span.phase_pitch, span.phases, fill_, to, span.pitch});
    } else {
      for (std::int64_t r = 0; r < count; ++r) {
        for (std::int64_t c = 0; c < std::min(s, span.columns); ++c)
          read_row<T>(table_, problem_.x_type, from + r * x.axis[1] + (span.source + c) * x.axis[2],
                      s * x.axis[2], to + r * span.pitch + offset(span.to + c), 1,
                      divide_up(span.columns - c, s));
      }
    }
    if (problem_.border == Border::constant || span.border.empty()) return;
    for (std::int64_t r = 0; r < count; ++r, from += x.axis[1], to += span.pitch) {
      for (const PlaneSpan::BorderColumn& c : span.border) {
        if (plain_input_) {
          to[c.offset] = reinterpret_cast<const T*>(from)[c.source];
        } else {
          read_row<T>(table_, problem_.x_type, from + c.source * x.axis[2], 0, to + c.offset, 1, 1);
        }
      }
    }
  }

  // All rows of the band; `to` is the first of the output.
  void filter(const Task& t, PlaneArgs<T>& args, SliceRange range, char* to) const {
    const std::int64_t apart = shared_.apart;
    const bool one_run = slices_of_run_ == slices_;
    const std::int64_t most = plain_output_ && one_run ? t.rows : tiling_.strip;
    for (std::int64_t phase = 0; phase < std::min(apart, t.rows); ++phase) {
      const std::int64_t rows = apart == 1 ? t.rows : divide_up(t.rows - phase, apart);
      for (std::int64_t r = 0; r < rows; r += most)
        filter_rows(t, args, range, phase + r * apart, apart, std::min(most, rows - r), to);
    }
  }

  // Output rows row, row + apart, ... of the band.
  void filter_rows(const Task& t, PlaneArgs<T>& args, SliceRange range, std::int64_t row,
                   std::int64_t apart, std::int64_t rows, char* to) const {
    const Tensor& y = operands_.y;
    char* const first = to + row * y.axis[1];
    T* out;
    if (plain_output_) {
      out = reinterpret_cast<T*>(first);
      const std::int64_t pitch = y.axis[1] / std::int64_t{sizeof(T)};
      args.out_pitch = apart * pitch;
      args.room = apart == 1 && pitch == t.columns ? (t.rows - row) * pitch : kNoRoom;
    } else {
      out = t.output;
      args.out_pitch = tiling_.output_pitch;
      args.room = rows * tiling_.output_pitch;
    }
    args.rows = rows;
    const auto kernel = kernels_.plane[static_cast<int>(kernel_)];
    for (std::int64_t s = 0; s < t.span_count; ++s) {
      const PlaneSpan& span = t.spans[s];
      args.row = rows_of(t, s, 0) + row * height_.stride;
      args.column = span.column.data();
      args.out = out + (span.first - t.first_column);
      args.pixels = span.pixels;
      if (slices_of_run_ < slices_) {
        filter_runs(t, args, range, span.first - t.first_column);
        continue;
      }
      args.row += range.first * args.slice_rows;
      args.slices = range.end - range.first;
      kernel(args);
    }
    if (plain_output_) return;
    for (std::int64_t r = 0; r < rows; ++r)
      write_row<T>(table_, problem_.y_type, out + r * args.out_pitch, first + r * apart * y.axis[1],
                   y.axis[2], t.columns, problem_.activation);
  }

  static T wrapping_sum(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      using Unsigned = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b));
    } else {
      return a + b;
    }
  }

  // Run after run of slices, each but the first added to the sums of those before it. `all` has the
  // weights of the first slice of the range.
  void filter_runs(const Task& t, const PlaneArgs<T>& all, SliceRange range,
                   std::int64_t column) const {
    PlaneArgs<T> args = all;
    args.bias = nullptr;
    args.activation = Activation::none;
    args.out_pitch = tiling_.output_pitch;
    args.room = all.rows * args.out_pitch - column;
    T* const sums = t.sums[0] + column;
    std::int64_t slice = range.first;
    do {
      const std::int64_t end = std::min((slice / slices_of_run_ + 1) * slices_of_run_, range.end);
      args.slices = end - slice;
      args.row = all.row + slice * args.slice_rows;
      args.w = all.w + (slice - range.first) * args.kernel_rows * args.kernel_columns;
      const bool first = slice == range.first;
      args.out = first ? sums : t.sums[1] + column;
      kernels_.plane[static_cast<int>(kernel_)](args);
      for (std::int64_t r = 0; !first && r < all.rows; ++r) {
        T* const total = sums + r * args.out_pitch;
        const T* const part = args.out + r * args.out_pitch;
        for (std::int64_t i = 0; i < all.pixels; ++i) total[i] = wrapping_sum(total[i], part[i]);
      }
      slice = end;
    } while (slice < range.end);
    for (std::int64_t r = 0; r < all.rows; ++r)
      kernels_.store({sums + r * args.out_pitch, 1, 0, all.pixels, 1, all.out + r * all.out_pitch,
                      1, 0, all.bias, all.activation});
  }

  const Problem& problem_;
  const Axis& depth_;
  const Axis& height_;
  const SharedRows shared_;
  const std::int64_t slices_;
  const std::int64_t slices_of_run_;
  const SliceRing ring_;
  const bool has_depth_border_;
  const PlaneTiling& tiling_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  const PlaneScratch layout_;
  Interrupt& interrupt_;
  const WeightRows<T> w_;
  const bool plain_input_;
  const bool plain_output_;
  const T fill_;
  const PlaneKernel kernel_;
};

template <class T>
void run_as(const Problem& problem, const Tiling& tiling, const KernelTable& kernels,
            const Operands& operands, char* scratch, int workers, Interrupt& interrupt) {
  const std::int64_t scratch_each = scratch_bytes(tiling, sizeof(T));
  if (tiling.plane.channels.tasks > 0 &&
      channels_lie_side_by_side(problem, problem.y_type, operands.y))
    return run_channels<T>(problem, tiling.plane.channels, kernels, operands, scratch, scratch_each,
                           workers, interrupt);
  if (tiling.plane.turned.tasks > 0 && takes_turned(problem, operands.y))
    return run_turned<T>(problem, tiling.plane.turned, kernels, operands, scratch, scratch_each,
                         workers, interrupt);
  if constexpr (std::is_floating_point_v<T>) {
    if (tiling.plane.roll.planes > 0)
      return run_rolling<T>(problem, tiling.plane.roll, kernels, operands, scratch, scratch_each,
                            workers, interrupt);
  }
  PlaneRun<T> run(problem, tiling.plane, kernels, operands, scratch, scratch_each, interrupt);
  parallel_for(tiling.plane.tasks, workers,
               [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
}

}  // namespace

const Candidate plane = {"direct", "plane", accepts, cost, tile, nullptr, suits};

void run_planes(const Problem& problem, const Tiling& tiling, const KernelTable& kernels,
                const Operands& operands, char* scratch, int workers, Interrupt& interrupt) {
  switch (problem.compute) {
    case Compute::f32:
      return run_as<float>(problem, tiling, kernels, operands, scratch, workers, interrupt);
    case Compute::f64:
      return run_as<double>(problem, tiling, kernels, operands, scratch, workers, interrupt);
    case Compute::i32:
      return run_as<std::int32_t>(problem, tiling, kernels, operands, scratch, workers, interrupt);
    case Compute::i64:
      return run_as<std::int64_t>(problem, tiling, kernels, operands, scratch, workers, interrupt);
  }
}

}  // namespace fastconv
