#include "algorithms/groups_staging.hpp"

#include <algorithm>
#include <cstring>

#include "algorithms/channels.hpp"
#include "pack/convert.hpp"

namespace fastconv {
namespace {

// Of so few elements a call of the C library's costs more. Two copies may overlap.
void copy_few(const float* from, std::int64_t count, float* to) {
  constexpr std::int64_t kMany = 8, kSome = 4;
  const auto copy = [&]<std::int64_t Count>() {
    for (std::int64_t i = 0; i + Count < count; i += Count)
      std::memcpy(to + i, from + i, Count * sizeof(float));
    std::memcpy(to + count - Count, from + count - Count, Count * sizeof(float));
  };
  if (count >= kMany) return copy.template operator()<kMany>();
  if (count >= kSome) return copy.template operator()<kSome>();
  for (std::int64_t i = 0; i < count; ++i) to[i] = from[i];
}

}  // namespace

GroupStaging::GroupStaging(const Problem& problem, const GroupLayout& layout,
                           const StagedColumns& columns, const KernelTable& kernels,
                           const Tensor& x)
    : problem_(problem),
      layout_(layout),
      columns_(columns),
      kernels_(kernels),
      x_(x),
      channels_(layout.source == GroupSource::blocks ? layout.lanes : layout.in),
      dense_(x.axis[2] == layout.in * size_of(problem.x_type) && layout.pitch == layout.in),
      plain_(same_storage(problem.x_type, problem.compute)),
      fill_(scalar_as<float>(problem.fill[0])) {}

void GroupStaging::list_columns(std::int64_t* column) const {
  if (layout_.in_place())
    return fastconv::list_columns(problem_, x_.axis[2] / std::int64_t{sizeof(float)}, column);
  const std::int64_t count = padded_columns(problem_.axis[2]) - 1;
  for (std::int64_t i = 0; i < count; ++i)
    column[i] = columns_.position[static_cast<std::size_t>(i)] * layout_.pitch;
  column[count] = kFillRow;
}

void GroupStaging::stage(const GroupBand& band, std::int64_t image, std::int64_t channel,
                         float* to) const {
  for (std::int64_t d = band.slices.first; d < band.slices.end; ++d) {
    for (std::int64_t h = band.rows.first; h < band.rows.end; ++h) {
      stage_row(x_.data + image * x_.batch + d * x_.axis[0] + h * x_.axis[1] + channel * x_.channel,
                to);
      to += columns_.positions * layout_.pitch;
    }
  }
}

void GroupStaging::stage_row(const char* row, float* to) const {
  const std::int64_t in = channels_, pitch = layout_.pitch, type = size_of(problem_.x_type);
  const std::int64_t pixel = x_.axis[2];
  const bool dense = dense_, plain = plain_;
  for (const StagedColumns::Run& run : columns_.runs) {
    float* const at = to + run.to * pitch;
    const char* const from = row + run.source * pixel;
    if (run.source < 0) {
      std::fill_n(at, run.count * pitch, fill_);
    } else if (dense && (run.count > 1 || !plain)) {
      read_row<float>(kernels_, problem_.x_type, from, type, at, 1, run.count * in);
    } else if (plain) {
      for (std::int64_t i = 0; i < run.count; ++i)
        copy_few(reinterpret_cast<const float*>(from + i * pixel), in, at + i * pitch);
    } else {
      for (std::int64_t i = 0; i < run.count; ++i)
        read_row<float>(kernels_, problem_.x_type, from + i * pixel, type, at + i * pitch, 1, in);
    }
  }
}

}  // namespace fastconv
