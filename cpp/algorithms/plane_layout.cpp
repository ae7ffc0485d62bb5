#include "algorithms/plane_layout.hpp"

#include <algorithm>
#include <utility>

#include "core/border.hpp"
#include "core/rounding.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kTile = 4;               // output rows that share their loads
constexpr std::int64_t kBands = 3;              // tiles of one kernel call, where rows are short
constexpr std::int64_t kStageBytes = 16 << 10;  // half of L1
constexpr std::int64_t kDenseBytes = 8 << 10;   // of rows that are read before they are staged
constexpr std::int64_t kMostDenseBytes = 64 << 10;
constexpr std::int64_t kMinColumns = 512;  // of a block
constexpr std::int64_t kMostColumns = 8192;
constexpr std::int64_t kMostRows = 128;  // of a band in place, whose ends are staged
constexpr std::int64_t kTaskMacs = 128 << 10;
constexpr std::int64_t kMostSpans = 3;  // of a block

class Builder {
 public:
  Builder(const Problem& problem, const Tensor& x, const Machine& machine)
      : problem_(problem),
        height_(problem.axis[1]),
        width_(problem.axis[2]),
        machine_(machine),
        slices_(slices_of(problem)),
        ring_(problem.axis[0]),
        staged_slices_(problem.in_channels * ring_.places),
        plain_(has_plain_rows(problem, x)),
        transposed_(!plain_ && x.axis[1] == machine.element) {}

  PlaneTiling build() {
    // Output columns [left_, right_) see no border.
    const std::int64_t s = width_.stride, span = width_.span();
    left_ = std::min(divide_up(width_.lo, s), width_.out);
    const std::int64_t last = width_.in - span + width_.lo;
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
      // Rows that two bands see are converted twice, which takes longer than to read them from L2.
      const std::int64_t converted = plain_ ? 1 : height_.kernel > 1 ? 8 : 4;
      const auto fits = [&] {
        return staged_slices_ * height_.seen_by(rows) * (columns_ * width_.stride) *
                   machine_.element <=
               kStageBytes * most * converted;
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
    tiling_.slots = height_.seen_by(tiling_.rows);
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
      tiling_.fill_elements = std::max(tiling_.fill_elements, span.pixels + width_.span() - 1);
      push(std::move(span));
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
    const std::int64_t positions = width_.seen_by(pixels);
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
    if (!plain_) {
      // Transposed ones are turned by squares of as many rows, of which each reads whole lines.
      constexpr std::int64_t kSquare = 16;
      const std::int64_t row_bytes = machine_.element * std::max<std::int64_t>(span.columns, 1);
      std::int64_t rows = kDenseBytes / row_bytes;
      if (transposed_ && kSquare * row_bytes <= kMostDenseBytes) rows = std::max(rows, kSquare);
      if (rows > kSquare) rows = rows / kSquare * kSquare;
      tiling_.dense_elements = std::max(
          tiling_.dense_elements, std::clamp<std::int64_t>(rows, 1, tiling_.slots) * span.columns);
    }
    span.rows_at = stage_elements_;
    span.slice_pitch = tiling_.slots * span.pitch;
    stage_elements_ += staged_slices_ * span.slice_pitch;
    tiling_.fill_elements = std::max(tiling_.fill_elements, span.pitch);
    push(std::move(span));
  }

  void push(PlaneSpan&& span) {
    const std::int64_t first = span.first * width_.stride - width_.lo;
    const std::int64_t last = first + (span.pixels - 1) * width_.stride;
    const auto sees = [&](std::int64_t v) {
      return last + v * width_.dilation >= 0 && first + v * width_.dilation < width_.in;
    };
    while (span.seen < width_.kernel && !sees(span.seen)) ++span.seen;
    span.seen_end = span.seen;
    while (span.seen_end < width_.kernel && sees(span.seen_end)) ++span.seen_end;
    if (span.seen == span.seen_end) span.seen = span.seen_end = 0;
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
  const bool transposed_;
  std::int64_t left_ = 0, right_ = 0;
  std::int64_t columns_ = 0;
  std::int64_t stage_elements_ = 0;
  PlaneTiling tiling_;
};

}  // namespace

std::int64_t slices_of(const Problem& problem) {
  return problem.in_channels * problem.axis[0].kernel;
}

std::int64_t slices_of_run(const Problem& problem) {
  const std::int64_t taps = problem.axis[1].kernel * problem.axis[2].kernel;
  const std::int64_t most = std::max<std::int64_t>(kMostPlaneTerms / taps, 1);
  const std::int64_t slices = slices_of(problem);
  return divide_up(slices, divide_up(slices, most));
}

bool has_plain_rows(const Problem& problem, const Tensor& x) {
  const std::int64_t element = size_of(problem.compute);
  return same_storage(problem.x_type, problem.compute) && x.axis[2] == element &&
         x.axis[1] % element == 0;
}

PlaneTiling make_plane_tiling(const Problem& problem, const Tensor& x, const Machine& machine) {
  return Builder(problem, x, machine).build();
}

PlaneScratch::PlaneScratch(const Problem& problem, const PlaneTiling& tiling,
                           std::int64_t element) {
  constexpr std::int64_t kWord = sizeof(std::int64_t);
  static_assert(sizeof(void*) <= kWord);
  const std::int64_t slices = slices_of(problem);
  const std::int64_t places = problem.in_channels * SliceRing(problem.axis[0]).places;
  const std::int64_t strip = round_to_line(tiling.strip * tiling.output_pitch * element);
  const std::int64_t sum_bytes = slices_of_run(problem) < slices ? strip : 0;
  fill = 0;
  stage = fill + round_to_line(tiling.fill_elements * element);
  dense = stage + round_to_line((tiling.stage_elements + 64) * element);
  output = dense + round_to_line(tiling.dense_elements * element);
  sums[0] = output + strip;
  sums[1] = sums[0] + sum_bytes;
  table = sums[1] + sum_bytes;
  source = table + round_to_line(kMostSpans * slices * tiling.slots * kWord);
  held = source + round_to_line(tiling.slots * kWord);
  total = held + round_to_line(kMostSpans * places * kWord);
}

}  // namespace fastconv
