#include "algorithms/offsets.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace fastconv {
namespace {

// Terms that the rows family sums in one chain; a little more where one group has more.
constexpr std::int64_t kRunTerms = 256;

// Calls put(channel, kd, kh, kw) in the order of the reduction.
template <class Put>
void for_each_term(std::int64_t channels, const std::array<PatchAxis, 3>& axis, Put put) {
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t i = axis[0].k0; i < axis[0].k1; ++i)
      for (std::int64_t j = axis[1].k0; j < axis[1].k1; ++j)
        for (std::int64_t k = axis[2].k0; k < axis[2].k1; ++k) put(c, i, j, k);
}

// Of a group's channels as they lie.
void put_taps_in_place(const Problem& problem, const Tensor& x, int element,
                       std::vector<std::int32_t>& to) {
  std::array<PatchAxis, 3> whole;
  for (int a = 0; a < 3; ++a)
    whole[a] = PatchAxis::make(problem.axis[a], 0, problem.axis[a].kernel);
  const auto& axis = problem.axis;
  for_each_term(problem.in_channels, whole,
                [&](std::int64_t c, std::int64_t i, std::int64_t j, std::int64_t k) {
                  to.push_back(static_cast<std::int32_t>(
                      (x.channel_offset(c) + i * axis[0].dilation * x.axis[0] +
                       j * axis[1].dilation * x.axis[1] + k * axis[2].dilation * x.axis[2]) /
                      element));
                });
}

// Each element of a pointwise layer is used by one tap: a copy would cost as much as the product.
// Whole vectors of a row are read where they are also stored (tiled.cpp).
bool reads_rows_in_place(const Problem& problem, const Tensor& x, int element,
                         const Tiling& tiling) {
  return tiling.family == Family::lanes && tiling.staging == Staging::patch &&
         problem.taps() == 1 && problem.axis[2].stride == 1 && x.axis[2] == element &&
         can_read_in_place(problem, x);
}

// Pixels of few channels that lie side by side, of which a copy takes as long as some products of
// each (3 -> 16 channels, 3 x 3, stride 2, on 640 x 640 1200 us, in place 970). Those that see the
// border are staged (tiled.cpp), which costs more than it gains where a stride of 1 uses each copy
// often. Of more channels copies lie so that they share no cache sets.
bool reads_pixels_in_place(const Problem& problem, const Tensor& x, int element,
                           const Tiling& tiling) {
  constexpr std::int64_t kMostBytes = 128, kLeastPixels = 1024;
  return tiling.family == Family::outer && tiling.staging == Staging::patch &&
         tiling.chunks.size() == 1 && !tiling.cuts_slices && problem.groups == 1 &&
         (!problem.padded() || problem.axis[2].stride > 1) &&
         problem.out_pixels() >= kLeastPixels && problem.in_channels * element <= kMostBytes &&
         has_unit_channels(problem, x) && x.axis[2] == problem.in_channels * element &&
         can_read_inside(problem, x);
}

// Of each of the chunks, whose offsets follow each other in `tap`.
bool are_adjacent(const std::vector<Chunk>& chunks, const std::vector<std::int32_t>& tap) {
  auto at = tap.begin();
  return std::all_of(chunks.begin(), chunks.end(), [&](const Chunk& chunk) {
    const auto begin = at;
    at += chunk.terms;
    return std::adjacent_find(begin, at,
                              [](std::int32_t a, std::int32_t b) { return b != a + 1; }) == at;
  });
}

void make_taps(const Problem& problem, const Tensor& x, int element, Tiling& tiling) {
  tiling.tap.reserve(static_cast<std::size_t>(problem.terms()));
  const auto put = [&](std::int64_t offset) {
    tiling.tap.push_back(static_cast<std::int32_t>(offset));
  };
  for (const Chunk& chunk : tiling.chunks) {
    if (tiling.staging == Staging::columns) {
      const std::int64_t step =
          tiling.columns_group != 0 ? tiling.columns_group : tiling.columns_pitch;
      for (std::int64_t t = 0; t < chunk.terms; ++t) put(t * step);
    } else if (tiling.staging == Staging::patch) {
      for_each_term(chunk.patch.channels, chunk.patch.axis,
                    [&](std::int64_t c, std::int64_t i, std::int64_t j, std::int64_t k) {
                      put(chunk.patch.offset(c, i, j, k));
                    });
    } else {
      put_taps_in_place(problem, x, element, tiling.tap);
    }
  }
  tiling.adjacent = are_adjacent(tiling.chunks, tiling.tap);
  if (reads_rows_in_place(problem, x, element, tiling) ||
      reads_pixels_in_place(problem, x, element, tiling)) {
    put_taps_in_place(problem, x, element, tiling.tap_in_place);
    tiling.adjacent_in_place = are_adjacent(tiling.chunks, tiling.tap_in_place);
  }
}

// The groups of a chunk, cut into runs of about kRunTerms terms.
void make_groups(const Problem& problem, Chunk& chunk, Tiling& tiling) {
  const auto& axis = problem.axis;
  const Patch& patch = chunk.patch;
  const auto& [pd, ph, pw] = patch.axis;
  chunk.first_column = static_cast<std::int64_t>(tiling.column.size());
  chunk.first_run = static_cast<std::int64_t>(tiling.runs.size());
  for (std::int64_t k = pw.k0; k < pw.k1; ++k)
    tiling.column.push_back(static_cast<std::int32_t>(patch.column_offset(k)));
  const std::int64_t columns = pw.k1 - pw.k0;
  const std::int64_t most_rows = std::max<std::int64_t>(kRunTerms / columns, 4);
  std::int64_t run_terms = kRunTerms;  // so that the first group begins a run
  for (std::int64_t c = 0; c < patch.channels; ++c) {
    for (std::int64_t i = pd.k0; i < pd.k1; ++i) {
      for (std::int64_t j = ph.k0; j < ph.k1; ++j) {
        // Every kernel row begins a group, or belongs to one that began a few rows above.
        if ((j - ph.k0) / ph.phases % most_rows != 0) continue;
        const std::int64_t rows = std::min((ph.k1 - 1 - j) / ph.phases + 1, most_rows);
        const std::int64_t w =
            ((patch.first_channel + c) * axis[0].kernel + i) * axis[1].kernel + j;
        StencilGroup group;
        group.x = static_cast<std::int32_t>(patch.row_offset(c, i, j));
        group.w = static_cast<std::int32_t>(w * axis[2].kernel + pw.k0);
        group.w_pitch = static_cast<std::int32_t>(ph.phases * axis[2].kernel);
        group.rows = static_cast<std::int32_t>(rows);
        group.columns = static_cast<std::int32_t>(columns);
        if (run_terms + rows * columns > kRunTerms) {
          tiling.runs.push_back({static_cast<std::int64_t>(tiling.groups.size()), 0});
          run_terms = 0;
        }
        ++tiling.runs.back().groups;
        run_terms += rows * columns;
        tiling.groups.push_back(group);
      }
    }
  }
  chunk.runs = static_cast<std::int64_t>(tiling.runs.size()) - chunk.first_run;
}

}  // namespace

void make_offsets(const Problem& problem, const Tensor& x, int element, Tiling& tiling) {
  if (tiling.family != Family::rows) return make_taps(problem, x, element, tiling);
  for (Chunk& chunk : tiling.chunks) make_groups(problem, chunk, tiling);
}

}  // namespace fastconv
