// Input of groups of few channels, copied where it is not read in place (groups_layout.hpp).
#pragma once

#include <cstdint>

#include "algorithms/groups_layout.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"

namespace fastconv {

class GroupStaging {
 public:
  GroupStaging(const Problem& problem, const GroupLayout& layout, const StagedColumns& columns,
               const KernelTable& kernels, const Tensor& x);

  // Where each padded column lies in a row, in elements.
  void list_columns(std::int64_t* column) const;

  // All rows that a band sees of an image, one after the other; of a block those channels from
  // `channel` on that a vector holds.
  void stage(const GroupBand& band, std::int64_t image, std::int64_t channel, float* to) const;

 private:
  void stage_row(const char* row, float* to) const;

  const Problem& problem_;
  const GroupLayout& layout_;
  const StagedColumns& columns_;
  const KernelTable& kernels_;
  const Tensor& x_;
  const std::int64_t channels_;
  const bool dense_;  // pixels follow each other, here and there
  const bool plain_;  // no conversion
  const float fill_;
};

}  // namespace fastconv
