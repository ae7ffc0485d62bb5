#include "algorithms/tile_blocks.hpp"

#include <algorithm>
#include <utility>

#include "core/rounding.hpp"

namespace fastconv {
namespace {

// What a block, and each step of it, cost beside the products, in cycles.
constexpr double kBlock = 100, kStep = 15;
// Classes of rows times those of columns; neighbours are joined where there are more.
constexpr std::size_t kMostClasses = 36;
constexpr std::size_t kMostListed = 1 << 16;  // pixels of all lists

TapRange united(const TapRange& a, const TapRange& b) {
  if (a.count() == 0) return b;
  if (b.count() == 0) return a;
  return {std::min(a.first, b.first), std::max(a.last, b.last)};
}

// Rows, or columns, next to each other that see the same taps.
struct Strip {
  std::int64_t begin, end;
  TapRange taps;
};

std::vector<Strip> strips_of(const std::vector<TapRange>& seen) {
  std::vector<Strip> strips;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    if (!strips.empty() && strips.back().taps == seen[i])
      strips.back().end = at + 1;
    else
      strips.push_back({at, at + 1, seen[i]});
  }
  return strips;
}

void join_pairs(std::vector<Strip>& strips) {
  std::size_t to = 0;
  for (std::size_t i = 0; i < strips.size(); i += 2, ++to) {
    Strip both = strips[i];
    if (i + 1 < strips.size())
      both = {both.begin, strips[i + 1].end, united(both.taps, strips[i + 1].taps)};
    strips[to] = both;
  }
  strips.resize(to);
}

// Pixels that see the same taps, or are multiplied as if they did.
struct Group {
  TapRange rows, columns;
  std::int64_t pixels;
  std::vector<std::int32_t> index;  // of pixels
};

std::vector<Group> groups_of(const std::vector<Strip>& down, const std::vector<Strip>& across,
                             std::int64_t width) {
  std::vector<Group> groups;
  for (const Strip& r : down)
    for (const Strip& c : across) {
      Group group = {r.taps, c.taps, (r.end - r.begin) * (c.end - c.begin), {}};
      group.index.reserve(static_cast<std::size_t>(group.pixels));
      for (std::int64_t h = r.begin; h < r.end; ++h)
        for (std::int64_t w = c.begin; w < c.end; ++w)
          group.index.push_back(static_cast<std::int32_t>(h * width + w));
      groups.push_back(std::move(group));
    }
  return groups;
}

void join(Group& a, const Group& b) {
  a.rows = united(a.rows, b.rows);
  a.columns = united(a.columns, b.columns);
  a.pixels += b.pixels;
  std::vector<std::int32_t> both(a.index.size() + b.index.size());
  std::merge(a.index.begin(), a.index.end(), b.index.begin(), b.index.end(), both.begin());
  a.index = std::move(both);
}

// Joins the two that gain most as long as any do. There are few (kMostClasses).
template <class Cost>
void join_groups(std::vector<Group>& groups, const Cost& cost) {
  for (;;) {
    double best = 0;
    std::size_t one = 0, other = 0;
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const Group& a = groups[i];
      const double alone = cost(a.pixels, a.rows, a.columns);
      for (std::size_t j = i + 1; j < groups.size(); ++j) {
        const Group& b = groups[j];
        const double gain =
            alone + cost(b.pixels, b.rows, b.columns) -
            cost(a.pixels + b.pixels, united(a.rows, b.rows), united(a.columns, b.columns));
        if (gain <= best) continue;
        best = gain;
        one = i;
        other = j;
      }
    }
    if (best <= 0) return;
    join(groups[one], groups[other]);
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(other));
  }
}

// Blocks of all slabs to blocks of as many as are multiplied at once: [part of the slabs][block].
std::vector<TileBlock> cut_by_slabs(const std::vector<TileBlock>& whole, std::int64_t slabs,
                                    std::int64_t at_once) {
  std::vector<TileBlock> parts;
  for (std::int64_t first = 0; first < slabs; first += at_once) {
    const std::int64_t some = std::min(at_once, slabs - first);
    for (TileBlock block : whole) {
      // Steps of a block lie in the order of slabs.
      const auto each = static_cast<std::int32_t>(block.steps / slabs);
      block.order += each * static_cast<std::int32_t>(first);
      block.steps = each * static_cast<std::int32_t>(some);
      parts.push_back(block);
    }
  }
  return parts;
}

}  // namespace

TapRange taps_seen(const Axis& axis, std::int64_t o) {
  const std::int64_t from = o * axis.stride - axis.lo;
  const std::int64_t first = from >= 0 ? 0 : divide_up(-from, axis.dilation);
  const std::int64_t last =
      axis.in > from ? std::min(axis.kernel, divide_up(axis.in - from, axis.dilation)) : 0;
  if (first >= last) return {0, 0};
  return {first, last};
}

bool border_adds_nothing(const Problem& problem) {
  if (!problem.padded() || problem.border != Border::constant) return false;
  if (problem.compute == Compute::i32) return problem.fill[0].i32 == 0;
  return problem.fill[0].f32 == 0 && (!problem.complex || problem.fill[1].f32 == 0);
}

double share_seen(const Problem& problem) {
  double share = 1;
  for (const Axis& a : problem.axis) {
    if (a.lo == 0 && a.hi == 0) continue;
    // Outputs beyond the first and last few see all taps.
    const std::int64_t reach = (a.span() - 1) / a.stride + 1;
    std::int64_t missing = 0;
    for (std::int64_t o = 0; o < std::min(a.out, reach); ++o)
      missing += a.kernel - taps_seen(a, o).count();
    for (std::int64_t o = std::max(a.out - reach, reach); o < a.out; ++o)
      missing += a.kernel - taps_seen(a, o).count();
    share *= 1 - static_cast<double>(missing) / static_cast<double>(a.kernel * a.out);
  }
  return share;
}

TileBlockLists::Runs TileBlockLists::runs_of(const Axis& axis, std::int64_t box,
                                             std::int64_t length, bool skips) {
  Runs runs;
  runs.box = box;
  runs.length = length;
  runs.of_box = divide_up(box, length);
  for (std::int64_t b = 0; b < axis.out; b += box) {
    const std::int64_t end = std::min(b + box, axis.out);
    for (std::int64_t o = b; o < b + runs.of_box * length; o += length) {
      std::vector<TapRange> seen;
      for (std::int64_t i = o; i < std::min(o + length, end); ++i)
        seen.push_back(skips ? taps_seen(axis, i) : TapRange{0, axis.kernel});
      std::size_t k = 0;
      while (k < runs.kinds.size() && runs.kinds[k] != seen) ++k;
      if (k == runs.kinds.size()) runs.kinds.push_back(std::move(seen));
      runs.kind.push_back(static_cast<std::int32_t>(k));
    }
  }
  return runs;
}

TileBlockLists::TileBlockLists(const Problem& problem, const Shape& shape) {
  const std::int64_t length[3] = {1, shape.rows, shape.width};
  const auto divide = [&](bool skips) {
    std::size_t listed = 1;
    for (std::size_t a = 0; a < 3; ++a) {
      axis_[a] = runs_of(problem.axis[a], shape.box[a], length[a], skips);
      std::size_t outputs = 0;
      for (const auto& kind : axis_[a].kinds) outputs += kind.size();
      listed *= outputs;
    }
    return listed;
  };
  if (divide(shape.skips) > kMostListed && shape.skips) divide(false);
  for (const auto& slices : axis_[0].kinds)
    for (const auto& rows : axis_[1].kinds)
      for (const auto& columns : axis_[2].kinds)
        list_.push_back(rows.empty() || columns.empty() || slices.empty()
                            ? TileBlockList()
                            : make(problem, shape, slices[0], rows, columns));
}

TileBlockList TileBlockLists::make(const Problem& problem, const Shape& shape,
                                   const TapRange& slices, const std::vector<TapRange>& rows,
                                   const std::vector<TapRange>& columns) {
  std::vector<Strip> down = strips_of(rows), across = strips_of(columns);
  while (down.size() * across.size() > kMostClasses)
    join_pairs(down.size() >= across.size() ? down : across);

  TileBlockList list;
  const auto width = static_cast<std::int64_t>(columns.size());
  list.place.reserve(rows.size() * columns.size());
  list.pixel.reserve(rows.size() * columns.size() * 2);
  for (std::int64_t h = 0; h < static_cast<std::int64_t>(rows.size()); ++h)
    for (std::int64_t w = 0; w < width; ++w)
      list.place.push_back(static_cast<std::int32_t>(h * shape.row_pitch + w));

  const std::int64_t least = shape.at_once / 2;
  const double tap =
      (problem.out_channels > kTileRows ? 2.0 : 1.0) * static_cast<double>(shape.words);
  const double step = kStep * static_cast<double>(shape.slabs);
  const auto cost = [&](std::int64_t pixels, const TapRange& r, const TapRange& c) {
    const std::int64_t blocks = divide_up(pixels, shape.at_once);
    const std::int64_t each = std::max(divide_up(pixels, blocks), least);
    const auto taps = static_cast<double>(slices.count() * r.count() * c.count());
    return static_cast<double>(blocks) * (kBlock + taps * (step + tap * static_cast<double>(each)));
  };
  std::vector<Group> groups = groups_of(down, across, width);
  join_groups(groups, cost);

  const std::int64_t taps[3] = {problem.axis[0].kernel, problem.axis[1].kernel,
                                problem.axis[2].kernel};
  for (const Group& group : groups) {
    const auto order = static_cast<std::int32_t>(list.order.size());
    std::vector<std::int32_t> seen;
    for (std::int64_t i = slices.first; i < slices.last; ++i)
      for (std::int64_t j = group.rows.first; j < group.rows.last; ++j)
        for (std::int64_t k = group.columns.first; k < group.columns.last; ++k)
          seen.push_back(static_cast<std::int32_t>((i * taps[1] + j) * taps[2] + k));
    for (std::int64_t s = 0; s < shape.slabs; ++s)
      for (const std::int32_t tap : seen)
        list.order.push_back(static_cast<std::int32_t>(s * problem.taps()) + tap);
    const auto steps = static_cast<std::int32_t>(list.order.size()) - order;
    const auto kind = static_cast<std::int32_t>(list.kind.size());
    list.kind.push_back(std::move(seen));
    const std::int64_t blocks = divide_up(group.pixels, shape.at_once);
    for (std::int64_t b = 0, done = 0; b < blocks; ++b) {
      const std::int64_t count = divide_up(group.pixels - done, blocks - b);
      list.block.push_back({static_cast<std::int32_t>(list.pixel.size()),
                            static_cast<std::int32_t>(count), order, steps, kind});
      for (std::int64_t p = 0; p < shape.at_once; ++p)
        list.pixel.push_back(group.index[static_cast<std::size_t>(done + std::min(p, count - 1))]);
      done += count;
    }
  }
  list.block = cut_by_slabs(list.block, shape.slabs, shape.slabs_at_once);
  return list;
}

}  // namespace fastconv
