#include "algorithms/separable_layout.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/border.hpp"
#include "core/rounding.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostTaps = 256;     // of one pass: a chain
constexpr std::int64_t kMostBorder = 4096;  // rows or columns, each of which is looked at
constexpr std::int64_t kMostReach = 512;    // of a dilated kernel: parts that see a border differ
constexpr std::int64_t kMostOut = 1 << 20;  // of an axis: parts are listed
constexpr std::int64_t kMostStride = 16;
constexpr std::int64_t kLeastRing = 128 << 10;  // bytes
constexpr std::int64_t kMostRing = 640 << 10;
constexpr std::int64_t kMostWhole = 2 << 20;  // where a border is made of what lies far away

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// In multiply-adds of a vector, for a vector of outputs (docs/tuning.md, Outer products).
constexpr double kRowTap = 1.45;  // along rows: most loads meet two lines
constexpr double kColumnTap = 1.2;
constexpr double kPlaneTap = 1.15;
constexpr double kPass = 3;  // what a pass stores
constexpr double kCopy = 3;  // input and output, which come from memory
// And what these cost in all: finding factors, preparing a task, and a call of the first pass.
constexpr double kLayer = 1000;
constexpr double kTask = 1000;
constexpr double kChunk = 2500;
constexpr double kEndColumns = 12;  // columns that begin or end a row of a task
constexpr double kFar = 6;  // input and output beyond the caches: passes wait for them by turns
constexpr std::int64_t kFarBytes = 20;  // of L2
constexpr double kPages = 8;            // a page for each part of a row, of planes beyond L2

bool is_same(const Axis& a, const Axis& b) {
  return a.in == b.in && a.out == b.out && a.lo == b.lo && a.hi == b.hi;
}

// Whether a part's border shows what it would show beside the whole axis.
bool has_own_border(const Problem& problem, const Axis& whole, const AxisPart& part) {
  const Axis& axis = part.axis;
  if (axis.in < 1) return false;
  const auto shows_same = [&](std::int64_t i) {
    const std::int64_t own = source_index(problem.border, axis, i);
    const std::int64_t source = source_index(problem.border, whole, part.first_input + i);
    return source < 0 ? own < 0 : own >= 0 && part.first_input + own == source;
  };
  for (std::int64_t i = -axis.lo; i < 0; ++i)
    if (!shows_same(i)) return false;
  for (std::int64_t i = axis.in; i < axis.in + axis.hi; ++i)
    if (!shows_same(i)) return false;
  return true;
}

bool can_cut(const Problem& problem, const Axis& axis, std::int64_t size) {
  if (size >= axis.out) return true;
  const std::int64_t count = divide_up(axis.out, size);
  for (std::int64_t i = 0; i < count; ++i) {
    const AxisPart part = part_of(axis, size, i);
    if (!has_own_border(problem, axis, part)) return false;
    // Those without a border are all alike.
    if (part.axis.lo == 0 && part.axis.hi == 0)
      i = std::max(i, (axis.in + axis.lo - rows_of_step(axis, size)) / (axis.stride * size) - 1);
  }
  return true;
}

// Wrapped around, the first outputs see the last input: all of it lies in the ring.
bool wraps_far(const Problem& problem) {
  if (problem.border != Border::wrap || !problem.padded()) return false;
  std::int64_t bytes = size_of(problem.compute);
  for (const Axis& axis : problem.axis) bytes *= axis.kernel > 1 ? axis.in : 1;
  return bytes > kMostWhole;
}

double ratio(std::int64_t a, std::int64_t b) {
  return static_cast<double>(a) / static_cast<double>(b);
}

// Tries widths, and numbers of rows, for those that take the least work.
class Search {
 public:
  Search(const Problem& problem, const Machine& machine)
      : problem_(problem),
        machine_(machine),
        last_(problem.axis[0].kernel > 1 ? 0 : 1),
        last_axis_(problem.axis[last_]),
        other_axis_(problem.axis[1 - last_]),
        width_(problem.axis[2]) {
    best_.work = kInfinite;
  }

  SeparableLayout find() {
    const std::vector<std::int64_t> widths = widths_to_try(), parts = parts_to_try();
    for (const std::int64_t rows : {32, 16, 8, 4}) {
      const std::int64_t chunk = std::min(rows, last_axis_.in);
      const std::int64_t step =
          std::min(round_up(divide_up(chunk, last_axis_.stride), 4), last_axis_.out);
      const std::int64_t kept =
          std::min(round_up(most_seen(step) + chunk - 1, chunk), round_up(last_axis_.in, chunk));
      for (const std::int64_t columns : widths) {
        for (const std::int64_t n : parts) {
          take_cut(chunk, step, kept, n, columns, false);
          if (other_axis_.kernel > 1 && width_.kernel > 1)
            take_cut(chunk, step, kept, n, columns, true);
        }
      }
    }
    cut_in_bands();
    return best_;
  }

 private:
  // Multiples of 30 vectors are tiles of ten, and of three.
  std::vector<std::int64_t> widths_to_try() const {
    const std::int64_t unit = std::lcm(width_.interleave, std::int64_t{machine_.lanes});
    const std::int64_t least = 15 * machine_.lanes / 2;
    std::int64_t columns = 480 * machine_.lanes;
    while (columns / 2 >= width_.out && columns > least) columns /= 2;
    std::vector<std::int64_t> widths;
    for (; columns >= least; columns /= 2) {
      const std::int64_t w = std::min(round_up(columns, unit), width_.out);
      const bool cuts = can_cut(problem_, width_, w);
      widths.push_back(cuts ? w : width_.out);
      if (!cuts) break;
    }
    return widths;
  }

  std::vector<std::int64_t> parts_to_try() const {
    if (other_axis_.kernel == 1) return {can_cut(problem_, other_axis_, 1) ? 1 : other_axis_.out};
    std::vector<std::int64_t> parts;
    for (const std::int64_t n : {128, 64, 32, 16, 8, 4})
      parts.push_back(can_cut(problem_, other_axis_, n) ? std::min(n, other_axis_.out)
                                                        : other_axis_.out);
    return parts;
  }

  void take_cut(std::int64_t chunk, std::int64_t step, std::int64_t kept, std::int64_t parts,
                std::int64_t columns, bool nested) {
    SeparableLayout l;
    l.last = last_;
    l.nested = nested;
    l.band = last_axis_.out;
    l.step = step;
    l.columns = columns;
    l.parts = parts;
    l.chunk = chunk;
    l.kept = kept;
    // Rows an odd number of lines apart fall on all sets of a cache.
    const std::int64_t line = 64 / machine_.element;
    l.pitch = (divide_up(columns, line) | 1) * line;
    const std::int64_t bytes = l.ring() * machine_.element;
    const std::int64_t most = std::clamp(machine_.l2 * 5 / 8, kLeastRing, kMostRing);
    const bool fits = bytes <= most || (bytes <= kMostWhole && kept >= last_axis_.in);
    l.work = fits ? work_of(l) : kInfinite;
    if (l.work < best_.work || best_.kept == 0) best_ = l;
  }

  // Input rows from the first to the last that outputs of one step see.
  std::int64_t most_seen(std::int64_t step) const {
    std::int64_t most = 1;
    for (std::int64_t first = 0; first < last_axis_.out; first += step) {
      const SeenRows seen =
          seen_rows(problem_, last_, first, std::min(step, last_axis_.out - first));
      most = std::max(most, seen.last - seen.first + 1);
    }
    return most;
  }

  double work_of(const SeparableLayout& l) const {
    const double kernel = static_cast<double>(width_.kernel);
    const double height = static_cast<double>(other_axis_.kernel);
    double first = kRowTap * kernel + kPass;
    if (l.nested)
      first =
          first * ratio(rows_of_step(other_axis_, l.parts), l.parts) + kColumnTap * height + kPass;
    else if (other_axis_.kernel > 1)
      first = kPlaneTap * height * kernel + kPass;
    const std::int64_t row_vectors = l.parts * divide_up(l.columns, machine_.lanes);
    // Half a vector takes half the time.
    const double halves = machine_.lanes * machine_.element < 64 ? 2 : 1;
    first = first * ratio(last_axis_.in, last_axis_.out) +
            halves * kChunk / static_cast<double>(row_vectors * l.chunk);
    const std::int64_t in = last_axis_.in * other_axis_.in * width_.in;
    const std::int64_t bytes =
        in * size_of(problem_.x_type) + problem_.out_pixels() * size_of(problem_.y_type);
    const bool cut = l.columns < width_.out && in * machine_.element > machine_.l2;
    const double copy = kCopy + (cut ? kPages : 0) + (bytes > kFarBytes * machine_.l2 ? kFar : 0);
    const double narrow = 1 + kEndColumns / static_cast<double>(l.columns);
    return copy + narrow * (first + kColumnTap * static_cast<double>(last_axis_.kernel) + kPass) +
           halves * (kTask + kLayer / static_cast<double>(problem_.groups)) /
               static_cast<double>(row_vectors * l.band);
  }

  // Enough tasks for all threads. What the first pass makes for two bands it makes twice.
  void cut_in_bands() {
    const std::int64_t tasks = problem_.batch * problem_.groups *
                               divide_up(other_axis_.out, best_.parts) *
                               divide_up(width_.out, best_.columns);
    const std::int64_t enough = machine_.threads > 1 ? 4 * machine_.threads : 1;
    const std::int64_t twice = divide_up(last_axis_.span() - 1, last_axis_.stride);
    const std::int64_t least = std::max(2 * twice, 2 * best_.step);
    std::int64_t bands = std::min(divide_up(enough, std::max<std::int64_t>(tasks, 1)),
                                  std::max<std::int64_t>(last_axis_.out / least, 1));
    best_.band = round_up(divide_up(last_axis_.out, bands), best_.step);
  }

  const Problem& problem_;
  const Machine& machine_;
  const int last_;
  const Axis& last_axis_;
  const Axis& other_axis_;
  const Axis& width_;
  SeparableLayout best_;
};

}  // namespace

std::int64_t rows_of_step(const Axis& last, std::int64_t outputs) { return last.seen_by(outputs); }

AxisPart part_of(const Axis& axis, std::int64_t size, std::int64_t index) {
  AxisPart part{index * size, 0, axis};
  part.axis.out = std::min(size, axis.out - part.first);
  const std::int64_t start = part.first * axis.stride - axis.lo;
  const std::int64_t end = start + rows_of_step(axis, part.axis.out);
  // A border may be made of what no output sees.
  const bool is_whole = part.axis.out == axis.out;
  part.first_input = is_whole ? 0 : std::clamp<std::int64_t>(start, 0, axis.in);
  const std::int64_t last_input =
      is_whole ? axis.in : std::clamp<std::int64_t>(end, part.first_input, axis.in);
  part.axis.in = last_input - part.first_input;
  part.axis.lo = part.first_input - start;
  part.axis.hi = std::max<std::int64_t>(end - last_input, 0);
  return part;
}

CutAxis::CutAxis(const Axis& whole, std::int64_t part) {
  for (std::int64_t i = 0; i < divide_up(whole.out, part); ++i) {
    const Axis axis = part_of(whole, part, i).axis;
    const auto like = [&](const Axis& known) { return is_same(known, axis); };
    const auto found = std::find_if(kinds.begin(), kinds.end(), like);
    kind.push_back(static_cast<std::uint16_t>(found - kinds.begin()));
    if (found == kinds.end()) kinds.push_back(axis);
  }
}

SeenRows seen_rows(const Problem& problem, int axis, std::int64_t first_output,
                   std::int64_t outputs) {
  const Axis& a = problem.axis[axis];
  const std::int64_t start = first_output * a.stride - a.lo;
  const std::int64_t end = start + rows_of_step(a, outputs);
  SeenRows seen{a.in, -1};
  const auto see = [&](std::int64_t first, std::int64_t last) {
    seen.first = std::min(seen.first, first);
    seen.last = std::max(seen.last, last);
  };
  const std::int64_t first_inside = std::max<std::int64_t>(start, 0);
  const std::int64_t end_inside = std::min(end, a.in);
  if (first_inside < end_inside) see(first_inside, end_inside - 1);
  if (problem.border == Border::constant) return seen;
  for (std::int64_t i = start; i < end; ++i) {
    if (i == first_inside && end_inside > i) i = end_inside;
    if (i >= end) break;
    const std::int64_t source = source_index(problem.border, a, i);
    see(source, source);
  }
  return seen;
}

const char* separable_accepts(const Problem& problem) {
  if (problem.complex) return "complex numbers";
  if (problem.in_channels != 1 || problem.out_channels != 1)
    return "a group has more than one channel or filter";
  const auto& [depth, height, width] = problem.axis;
  const std::int64_t after_first = depth.kernel > 1 ? height.kernel * width.kernel : width.kernel;
  if (after_first == 1 || (depth.kernel == 1 && height.kernel == 1))
    return "a kernel along one axis alone";
  for (const Axis& axis : problem.axis) {
    if (axis.kernel > kMostTaps) return "a sum along one axis is too long for one chain";
    if (axis.span() > kMostReach + 1) return "the dilated kernel is too long";
    if (axis.lo > kMostBorder || axis.hi > kMostBorder) return "the border is too wide";
    if (axis.out > kMostOut) return "an axis is too long";
    if (axis.stride > kMostStride) return "the stride is too long";
  }
  if (wraps_far(problem)) return "a border that is made of what lies far away";
  if (!problem.outer_product) return "a kernel that is no outer product of vectors";
  return nullptr;
}

double separable_cost(const Problem& problem, const Machine& machine) {
  const SeparableLayout layout = make_separable_layout(problem, machine);
  return layout.work / static_cast<double>(problem.taps()) / machine.lanes;
}

SeparableLayout make_separable_layout(const Problem& problem, const Machine& machine) {
  return Search(problem, machine).find();
}

Problem first_pass(const Problem& problem, const SeparableLayout& layout, std::int64_t rows,
                   const Axis& other, const Axis& width) {
  Problem pass = problem;
  pass.batch = pass.groups = 1;
  pass.axis[layout.last] = Axis{};
  pass.axis[layout.last].in = pass.axis[layout.last].out = rows;
  pass.axis[layout.other()] = other;
  pass.axis[2] = width;
  pass.activation = Activation::none;
  pass.has_bias = pass.saturate = pass.flip = pass.channels_last = false;
  pass.y_type = storage_of(problem.compute);
  pass.outer_product = layout.nested;
  return pass;
}

}  // namespace fastconv
