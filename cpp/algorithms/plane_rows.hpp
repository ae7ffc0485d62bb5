// The rows that single planes are filtered from, found and staged task by task: tables of them
// point into x, to what is staged in scratch, or to a row of the fill value (kernels/plane.hpp).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "algorithms/plane_layout.hpp"
#include "core/border.hpp"
#include "core/problem.hpp"
#include "core/rounding.hpp"
#include "kernels/table.hpp"
#include "pack/convert.hpp"

namespace fastconv {

// A band of rows and a block of columns, and a worker's scratch.
template <class T>
struct PlaneTask {
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
  T* dense;  // rows that are read from another type, or from elements apart
  T* output;
  T* sums[2];
  const T** table;           // [span][slice][slot]
  std::uint32_t finite = 0;  // filters of the group, as bits, that leave out zeros of the border
  std::int64_t* source;      // input row of each slot, -1: the fill value
  std::int64_t* held;        // [span][staged slice] padded slice that is staged there
};

template <class T>
class PlaneRows {
 public:
  PlaneRows(const Problem& problem, const PlaneTiling& tiling, const KernelTable& table,
            const Tensor& x)
      : problem_(problem),
        depth_(problem.axis[0]),
        height_(problem.axis[1]),
        slices_(slices_of(problem)),
        ring_(depth_),
        has_depth_border_(depth_.lo != 0 || depth_.hi != 0),
        tiling_(tiling),
        table_(table),
        kernels_(table.set<T>()),
        x_(x),
        plain_input_(has_plain_rows(problem, x)),
        fill_(scalar_as<T>(problem.fill[0])) {}

  // What all planes of a task share: where rows come from, and borders of the fill value.
  void prepare(PlaneTask<T>& t) const {
    t.slots = height_.seen_by(t.rows);
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

  // Before the first output slice of a plane: nothing is staged yet.
  void begin_plane(const PlaneTask<T>& t) const {
    if (ring_.shared) std::fill_n(t.held, t.span_count * staged_slices(), kNothing);
  }

  // The rows of all slices that one output slice sees.
  void look_up(const PlaneTask<T>& t, std::int64_t image, std::int64_t group,
               std::int64_t depth) const {
    for (std::int64_t slice = 0; slice < slices_; ++slice) {
      // Divisions cost as much as the row of a small plane.
      const std::int64_t channel = slices_ == 1 ? 0 : slice / depth_.kernel;
      const std::int64_t position =
          depth * depth_.stride + (slice - channel * depth_.kernel) * depth_.dilation;
      const std::int64_t source = source_index(problem_.border, depth_, position - depth_.lo);
      const char* const from = x_.data + image * x_.batch +
                               x_.channel_offset(group * problem_.in_channels + channel) +
                               source * x_.axis[0];
      const std::int64_t place =
          ring_.shared ? channel * ring_.places + position % ring_.places : slice;
      for (std::int64_t s = 0; s < t.span_count; ++s)
        look_up_span(t, s, slice, place, position, source < 0, from);
    }
  }

  const T** rows_of(const PlaneTask<T>& t, std::int64_t span, std::int64_t slice) const {
    return t.table + (span * slices_ + slice) * tiling_.slots;
  }

 private:
  static constexpr std::int64_t kNothing = -1;

  std::int64_t staged_slices() const { return problem_.in_channels * ring_.places; }

  T* staged_rows(const PlaneTask<T>& t, const PlaneSpan& span, std::int64_t place) const {
    return t.stage + span.rows_at + place * span.slice_pitch;
  }

  void point_at_staged(const PlaneTask<T>& t, std::int64_t s, std::int64_t slice,
                       std::int64_t place) const {
    const PlaneSpan& span = t.spans[s];
    const T* const rows = staged_rows(t, span, place);
    const T** const table = rows_of(t, s, slice);
    for (std::int64_t i = 0; i < t.slots; ++i)
      table[i] = t.source[i] < 0 ? t.fill : rows + i * span.pitch;
  }

  // The rows that one span sees of one slice, which begins at `from` or lies in the border.
  void look_up_span(const PlaneTask<T>& t, std::int64_t s, std::int64_t slice, std::int64_t place,
                    std::int64_t position, bool is_border, const char* from) const {
    const PlaneSpan& span = t.spans[s];
    const T** const table = rows_of(t, s, slice);
    if (is_border) {
      std::fill_n(table, t.slots, t.fill);
    } else if (span.in_place) {
      from += (span.first - problem_.axis[2].lo) * std::int64_t{sizeof(T)};
      for (std::int64_t i = 0; i < t.slots; ++i)
        table[i] =
            t.source[i] < 0 ? t.fill : reinterpret_cast<const T*>(from + t.source[i] * x_.axis[1]);
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

  void stage(const PlaneTask<T>& t, const PlaneSpan& span, const char* plane, T* rows) const {
    const auto stage_inside = [&](std::int64_t first, std::int64_t end) {
      first = std::max(first, t.inside);
      end = std::min(end, t.inside + t.inside_rows);
      if (first < end)
        stage_rows(t, span, plane, t.source[first], end - first, rows + first * span.pitch);
    };
    const std::int64_t s = height_.stride, seen = height_.span();
    if (seen >= s) {
      stage_inside(0, t.slots);
    } else if (seen == 1) {  // no more than the kernel sees: every s-th row
      const std::int64_t first = round_up(t.inside, s);
      const std::int64_t left = t.inside + t.inside_rows - first;
      if (left > 0)
        stage_rows(t, span, plane, t.source[first], divide_up(left, s), rows + first * span.pitch,
                   s);
    } else {
      for (std::int64_t i = 0; i < t.slots; i += s) stage_inside(i, i + seen);
    }
    if (problem_.border == Border::constant) return;
    for (std::int64_t i = 0; i < t.slots; ++i) {
      if (i == t.inside) i += t.inside_rows;
      if (i < t.slots) stage_rows(t, span, plane, t.source[i], 1, rows + i * span.pitch);
    }
  }

  // Rows first, first + step, ... of the input.
  void stage_rows(const PlaneTask<T>& t, const PlaneSpan& span, const char* plane,
                  std::int64_t first, std::int64_t count, T* to, std::int64_t step = 1) const {
    const std::int64_t s = problem_.axis[2].stride;
    const char* from = plane + first * x_.axis[1];
    const std::int64_t from_pitch = step * x_.axis[1], to_pitch = step * span.pitch;
    if (plain_input_ && s > 4 && std::has_single_bit(span.phases)) {
      copy_phase(span, from + span.source * x_.axis[2], from_pitch, count, to, to_pitch);
    } else if (plain_input_ && span.columns > 0) {
      kernels_.plane_stage({reinterpret_cast<const T*>(from + span.source * x_.axis[2]),
                            from_pitch / std::int64_t{sizeof(T)}, count, span.columns, s, span.to,
                            span.phase_pitch, span.phases, fill_, to, to_pitch});
    } else if (s == 1 && x_.axis[2] == size_of(problem_.x_type) && span.columns > 0) {
      for (std::int64_t r = 0; r < count; ++r)
        read_row<T>(table_, problem_.x_type, from + r * from_pitch + span.source * x_.axis[2],
                    x_.axis[2], to + r * to_pitch + span.to, 1, span.columns);
    } else if (span.columns > 0) {
      const std::int64_t most = tiling_.dense_elements / span.columns;
      for (std::int64_t r = 0; r < count; r += most) {
        const std::int64_t rows = std::min(most, count - r);
        read_rows<T>(table_, problem_.x_type, from + r * from_pitch + span.source * x_.axis[2],
                     from_pitch, rows, x_.axis[2], t.dense, span.columns);
        kernels_.plane_stage({t.dense, span.columns, rows, span.columns, s, span.to,
                              span.phase_pitch, span.phases, fill_, to + r * to_pitch, to_pitch});
      }
    }
    if (problem_.border == Border::constant || span.border.empty()) return;
    for (std::int64_t r = 0; r < count; ++r, from += from_pitch, to += to_pitch) {
      for (const PlaneSpan::BorderColumn& c : span.border) {
        if (plain_input_) {
          to[c.offset] = reinterpret_cast<const T*>(from)[c.source];
        } else {
          read_row<T>(table_, problem_.x_type, from + c.source * x_.axis[2], 0, to + c.offset, 1,
                      1);
        }
      }
    }
  }

  // Of kernels that see one phase alone, without the others (1x1 with a stride of 3, 81 x 81 a
  // channel: half of the time went into these).
  void copy_phase(const PlaneSpan& span, const char* from, std::int64_t from_pitch,
                  std::int64_t rows, T* to, std::int64_t to_pitch) const {
    const std::int64_t s = problem_.axis[2].stride, phase = std::countr_zero(span.phases);
    const std::int64_t first = (phase - span.to % s + s) % s;
    to += phase * span.phase_pitch + (span.to + first) / s;
    for (std::int64_t r = 0; r < rows; ++r, from += from_pitch, to += to_pitch) {
      const T* const x = reinterpret_cast<const T*>(from);
      T* at = to;
      for (std::int64_t c = first; c < span.columns; c += s) *at++ = x[c];
    }
  }

  const Problem& problem_;
  const Axis& depth_;
  const Axis& height_;
  const std::int64_t slices_;
  const SliceRing ring_;
  const bool has_depth_border_;
  const PlaneTiling& tiling_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const Tensor& x_;
  const bool plain_input_;
  const T fill_;
};

}  // namespace fastconv
