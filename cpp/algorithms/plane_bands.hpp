// What the loop nests of rolling.cpp and staged_planes.cpp share: planes of depthwise layers by
// bands of rows, whose input rows are listed once for all planes of a task. Input that is not dense
// rows of the compute type is converted, and sums that are not the output are.
#pragma once

#include <algorithm>
#include <cstdint>

#include "algorithms/plane_layout.hpp"
#include "algorithms/tiled.hpp"
#include "core/border.hpp"
#include "core/problem.hpp"
#include "core/rounding.hpp"
#include "kernels/args.hpp"
#include "kernels/table.hpp"
#include "pack/convert.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

// One slice, of which the kernel has one.
inline bool is_flat(const Problem& problem) {
  const Axis& depth = problem.axis[0];
  return depth.kernel == 1 && depth.out == 1 && depth.lo == 0 && depth.hi == 0;
}

// Input rows that so many output rows see, and one more, which kernels with a stride may look up.
inline std::int64_t band_slots(const Problem& problem, std::int64_t rows) {
  return (rows - 1) * problem.axis[1].stride + problem.axis[1].span() + 1;
}

// Sums in scratch keep their rows apart, whole vectors each.
inline constexpr std::int64_t kMostBandLanes = 16;
inline std::int64_t sums_pitch(const Problem& problem) {
  return round_up(problem.axis[2].out, kMostBandLanes);
}

// Scratch of one worker: row of the fill value | table of rows | converted input, of so many slices
// | sums.
struct BandScratch {
  std::int64_t fill, table, input, sums, total;

  BandScratch(const Problem& problem, const RollTiling& tiling, std::int64_t slices,
              std::int64_t element) {
    constexpr std::int64_t kOffset = sizeof(std::int64_t);
    const std::int64_t count = band_slots(problem, tiling.rows);
    const std::int64_t width = problem.axis[2].in;
    fill = 0;
    table = fill + round_to_line(width * element);
    input = table + round_to_line(count * kOffset);
    sums = input + round_to_line(slices * count * width * element);
    total = sums + round_to_line(tiling.rows * sums_pitch(problem) * element);
  }
};

// `filters` of a plane are filtered at a time.
template <class T>
class PlaneBands {
 public:
  PlaneBands(const Problem& problem, const RollTiling& tiling, const KernelTable& table,
             const Operands& operands, std::int64_t filters, Interrupt& interrupt)
      : problem_(problem),
        depth_(problem.axis[0]),
        height_(problem.axis[1]),
        width_(problem.axis[2]),
        tiling_(tiling),
        table_(table),
        kernel_(table.set<T>().rolling[tiling.kernel][width_.stride - 1]),
        operands_(operands),
        interrupt_(interrupt),
        plain_input_(is_plain(problem.x_type, operands.x)),
        plain_output_(is_plain(problem.y_type, operands.y)),
        filters_(filters),
        planes_(problem.groups * problem.out_channels / filters),
        w_(problem, operands) {
    evenly_filtered_ =
        w_.pitch == problem.terms() && operands.y.part == 0 && operands.y.channel % kElement == 0;
    // Planes of one image that differ in nothing but where they begin.
    evenly_ = plain_input_ && plain_output_ && is_flat(problem) &&
              problem.out_channels == filters_ && evenly_filtered_ && operands.x.part == 0 &&
              operands.x.channel % kElement == 0;
  }

 protected:
  static constexpr std::int64_t kElement = sizeof(T);

  struct Band {
    std::int64_t row, rows;  // of the output
    T* fill;
    std::int64_t* table;  // input row of each slot, as an offset
    T* input;
    T* sums;

    Band(const Problem& problem, const BandScratch& layout, char* scratch)
        : row(0),
          rows(0),
          fill(reinterpret_cast<T*>(scratch + layout.fill)),
          table(reinterpret_cast<std::int64_t*>(scratch + layout.table)),
          input(reinterpret_cast<T*>(scratch + layout.input)),
          sums(reinterpret_cast<T*>(scratch + layout.sums)) {
      std::fill_n(fill, problem.axis[2].in, scalar_as<T>(problem.fill[0]));
    }
  };

  // begins() is called where rows are looked up, filter(image, plane, count, d) for some planes
  // of the band; several at a time lie in one.
  template <class Begins, class Filter>
  void for_each_band(std::int64_t index, int worker, Band& t, Begins&& begins, Filter&& filter) {
    const std::int64_t ranges = divide_up(tiling_.bands, tiling_.bands_per_task);
    const std::int64_t first_band = index % ranges * tiling_.bands_per_task;
    const std::int64_t end_band = std::min(first_band + tiling_.bands_per_task, tiling_.bands);
    const std::int64_t first = index / ranges * tiling_.planes;
    const std::int64_t end = std::min(first + tiling_.planes, problem_.batch * planes_);
    for (std::int64_t p = first; p < end;) {
      const std::int64_t image = p / planes_, plane = p % planes_;
      const std::int64_t count = evenly_ ? std::min(end - p, planes_ - plane) : 1;
      for (std::int64_t band = first_band; band < end_band; ++band) {
        if (interrupt_.stop_requested()) return;
        if (tiling_.bands > 1 || p == first) {
          look_up_rows(t, band);
          begins();
        }
        for (std::int64_t d = 0; d < depth_.out; ++d) {
          filter(image, plane, count, d);
          interrupt_.work_done(worker, count * filters_ * t.rows * width_.out * problem_.terms());
          if (interrupt_.stop_requested()) return;
        }
      }
      p += count;
    }
  }

  // Rows of a slice in the compute type; of several they are converted apart.
  const T* input(const Band& t, const char* slice, std::int64_t index = 0) const {
    if (plain_input_) return reinterpret_cast<const T*>(slice);
    const Tensor& x = operands_.x;
    T* const to = t.input + index * band_slots(problem_, tiling_.rows) * width_.in;
    const std::int64_t count = band_slots(problem_, t.rows) - 1;
    for (std::int64_t i = 0, end; i < count; i = end) {
      end = i + 1;
      const std::int64_t source = source_row(t, i);
      if (source < 0) continue;
      while (end < count && source_row(t, end) == source + end - i) ++end;
      read_rows<T>(table_, problem_.x_type, slice + source * x.axis[1], x.axis[1], end - i,
                   x.axis[2], to + i * width_.in, width_.in);
    }
    return to;
  }

  // What all slices share.
  RollArgs<T> band_args(const Band& t, std::int64_t count) const {
    RollArgs<T> args{};
    args.row = t.table;
    args.fill_row = t.fill;
    args.width = width_.in;
    args.border = width_.lo;
    args.rows = t.rows;
    args.pixels = width_.out;
    args.planes = count;
    args.x_plane = operands_.x.channel / kElement;
    args.out_plane = operands_.y.channel / kElement;
    args.filters = filters_;
    args.kernel_rows = height_.kernel;
    args.kernel_columns = width_.kernel;
    args.row_dilation = SharedRows(height_).dilation;
    args.column_dilation = width_.dilation;
    return args;
  }

  // Of a channel, or the first of several.
  void finish(RollArgs<T>& args, std::int64_t channel) const {
    args.activation = problem_.activation;
    if (operands_.bias != nullptr) args.bias = static_cast<const T*>(operands_.bias) + channel;
  }

  const char* input_plane(std::int64_t image, std::int64_t plane) const {
    const Tensor& x = operands_.x;
    return x.data + image * x.batch + x.channel_offset(plane * filters_ / problem_.out_channels);
  }

  char* output_rows(const Band& t, std::int64_t image, std::int64_t channel, std::int64_t d) const {
    const Tensor& y = operands_.y;
    return y.data + image * y.batch + y.channel_offset(channel) + d * y.axis[0] + t.row * y.axis[1];
  }

  void put_out(RollArgs<T>& args, const Band& t, char* to, std::int64_t count) const {
    args.out = reinterpret_cast<T*>(to);
    args.out_pitch = operands_.y.axis[1] / kElement;
    args.room = room(t, count * args.filters);
  }

  void put_sums(RollArgs<T>& args, const Band& t, T* sums) const {
    args.out = sums;
    args.out_pitch = sums_pitch(problem_);
    args.room = t.rows * args.out_pitch;
  }

  void write_sums(const Band& t, const T* sums, char* to) const {
    const Tensor& y = operands_.y;
    for (std::int64_t r = 0; r < t.rows; ++r)
      write_row<T>(table_, problem_.y_type, sums + r * sums_pitch(problem_), to + r * y.axis[1],
                   y.axis[2], width_.out, problem_.activation);
  }

  std::int64_t source_slice(std::int64_t d, std::int64_t slice) const {
    return source_index(problem_.border, depth_,
                        d * depth_.stride - depth_.lo + slice * depth_.dilation);
  }

 private:
  bool is_plain(DType type, const Tensor& tensor) const {
    return same_storage(type, problem_.compute) && tensor.axis[2] == kElement &&
           tensor.axis[1] % kElement == 0;
  }

  std::int64_t source_row(const Band& t, std::int64_t slot) const {
    return source_index(problem_.border, height_, t.row * height_.stride - height_.lo + slot);
  }

  void look_up_rows(Band& t, std::int64_t band) const {
    t.row = band * tiling_.rows;
    t.rows = std::min(tiling_.rows, height_.out - t.row);
    const std::int64_t pitch = operands_.x.axis[1] / kElement;
    const std::int64_t count = band_slots(problem_, t.rows);
    for (std::int64_t i = 0; i < count - 1; ++i) {
      const std::int64_t source = source_row(t, i);
      t.table[i] = source < 0 ? kFillRow : plain_input_ ? source * pitch : i * width_.in;
    }
    t.table[count - 1] = kFillRow;
  }

  // Elements that follow the first of the output and are written later or by this vector: rows and
  // planes that lie without gaps.
  std::int64_t room(const Band& t, std::int64_t count) const {
    const Tensor& y = operands_.y;
    if (y.axis[1] != width_.out * kElement) return kNoRoom;
    const std::int64_t plane = t.rows * width_.out;
    if (count == 1) return plane;
    return y.channel == plane * kElement ? count * plane : kNoRoom;
  }

 protected:
  const Problem& problem_;
  const Axis& depth_;
  const Axis& height_;
  const Axis& width_;
  const RollTiling& tiling_;
  const KernelTable& table_;
  void (*const kernel_)(const RollArgs<T>&);
  const Operands& operands_;
  Interrupt& interrupt_;
  const bool plain_input_;
  const bool plain_output_;
  const std::int64_t filters_;
  const std::int64_t planes_;  // of an image, each time that it is filtered
  const WeightRows<T> w_;
  bool evenly_, evenly_filtered_;
};

}  // namespace fastconv
