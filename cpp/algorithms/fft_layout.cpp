#include "algorithms/fft_layout.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#include "core/rounding.hpp"

namespace fastconv {
namespace {

constexpr int kLeastLog2 = 6, kMostLog2 = 13;
// Of a worker, and of that what is neither spectra nor rows on their way (FftCheck, offsets).
constexpr std::int64_t kScratch = 8'000'000, kBeside = 550'000;
constexpr double kMostPacked = 128 << 20;
constexpr double kNear = 1 << 20;  // of L2
constexpr std::int64_t kMostBlocks = FftLayout::kMostBlocks;
// Below so many positions along a row nothing is won.
constexpr std::int64_t kLeastReach = 12;

// Positions of an axis that so many outputs of a part of a kernel see.
std::int64_t positions(const Axis& axis, std::int64_t outputs, std::int64_t kernel) {
  return (outputs - 1) * axis.stride + (kernel - 1) * axis.dilation + 1;
}

// Vector operations of float64, of what the lanes of a vector do together.
struct Costs {
  double transform, input, output, product;

  Costs(int log2, int along) {
    const double points = static_cast<double>(std::int64_t{1} << log2);
    const double stage = (log2 <= 12 ? 10.5 : 12.0) * points;
    transform = stage * static_cast<double>(log2 / 2);
    input = output = (along == 2 ? 8 : 20) * points;  // elements far apart
    product = 4.8 * points;
  }
};

class Builder {
 public:
  // Of a problem turned so that its rows lie along that axis.
  Builder(const Problem& problem, int along, std::int64_t lanes)
      : problem_(problem),
        along_(along),
        axis_(problem.axis),
        lanes_(lanes),
        reach_(axis_[2].span()),
        terms_(static_cast<double>(problem.terms()) / static_cast<double>(axis_[2].kernel)),
        filters_(static_cast<double>(problem.out_channels)) {}

  struct Choice {
    double cost = std::numeric_limits<double>::infinity();  // vector operations of an image, group
    FftLayout layout;
  };

  bool fits() const {
    for (int log2 = kLeastLog2; log2 <= kMostLog2; ++log2) {
      FftLayout l;
      l.log2 = log2;
      l.tile = {1, 1, 1};
      if (cut_rows(l) && cut_terms(l)) return true;
    }
    return false;
  }

  // Without its tables.
  Choice best() const {
    Choice best;
    for (int log2 = kLeastLog2; log2 <= kMostLog2; ++log2) {
      FftLayout l;
      l.along = along_;
      l.log2 = log2;
      if (!cut_rows(l)) continue;
      for (const std::int64_t across : widths(l)) {
        l.blocks = across;
        for (const std::int64_t h : heights(axis_[1])) {
          for (const std::int64_t d : heights(axis_[0])) {
            l.tile = {d, h, across * l.outputs};
            for (int a = 0; a < 3; ++a) l.tiles[a] = divide_up(axis_[a].out, l.tile[a]);
            for (const bool lanes_are_blocks : {false, true}) {
              l.lanes_are_blocks = lanes_are_blocks;
              if (lanes_are_blocks && (l.parts == 1 || across > 1)) continue;
              l.check_along = rows_of_check(l);
              if (!cut_terms(l) || !is_accurate(l)) continue;
              const double cost = cost_of(l);
              if (cost < best.cost) best = {cost, l};
            }
          }
        }
      }
    }
    return best;
  }

  void make_tables(FftLayout& l) const {
    std::int64_t terms = 0;
    const Index3 kernel = kernel_of(l);
    for (std::int64_t c = 0; c < problem_.in_channels; c += l.channels) {
      Index3 at;
      for (at[0] = 0; at[0] < kernel[0]; at[0] += l.taps[0]) {
        for (at[1] = 0; at[1] < kernel[1]; at[1] += l.taps[1]) {
          for (at[2] = 0; at[2] < kernel[2]; at[2] += l.taps[2]) {
            FftChunk chunk;
            chunk.first_channel = c;
            chunk.channels = std::min(l.channels, problem_.in_channels - c);
            chunk.first = at;
            for (int a = 0; a < 3; ++a) chunk.count[a] = std::min(l.taps[a], kernel[a] - at[a]);
            chunk.first_weight = terms;
            make_tables(l, chunk);
            terms += chunk.terms();
            l.most_staged = std::max(l.most_staged, chunk.staged());
            l.most_lines = std::max(l.most_lines, chunk.rows[0] * chunk.rows[1]);
            l.most_of_channel = std::max(l.most_of_channel, chunk.staged() / chunk.channels);
            l.chunks.push_back(std::move(chunk));
          }
        }
      }
    }
  }

 private:
  Index3 kernel_of(const FftLayout& l) const { return {axis_[0].kernel, axis_[1].kernel, l.parts}; }

  // Blocks and parts; false where a transform is too short, or so many spectra are too large.
  bool cut_rows(FftLayout& l) const {
    const std::int64_t stride = axis_[2].stride, whole = l.points() - reach_ + 1;
    if (whole >= l.points() / 4) {
      l.reach = reach_;
      l.pitch = whole / stride * stride;
    } else {
      l.pitch = l.points() / 2 / stride * stride;
      l.reach = l.pitch;
      l.parts = l.pitch == 0 ? 1 : divide_up(reach_, l.pitch);
    }
    l.outputs = l.pitch / stride;
    const double bytes = 2 * sizeof(double) * static_cast<double>(l.points()) * terms_ *
                         static_cast<double>(l.parts) * filters_ *
                         static_cast<double>(problem_.groups);
    return l.outputs > 0 && bytes <= kMostPacked;
  }

  // Blocks of a tile.
  std::vector<std::int64_t> widths(const FftLayout& l) const {
    if (l.parts == 1) return {1};
    const std::int64_t blocks = divide_up(axis_[2].out, l.outputs);
    std::vector<std::int64_t> result;
    for (const std::int64_t n :
         {std::int64_t{1}, l.parts / 2, l.parts, 2 * l.parts, divide_up(blocks, 2 * lanes_),
          divide_up(blocks, 4 * lanes_), divide_up(blocks, 8 * lanes_)})
      if (n >= 1 && n <= blocks && std::find(result.begin(), result.end(), n) == result.end())
        result.push_back(n);
    return result;
  }

  static std::vector<std::int64_t> heights(const Axis& axis) {
    std::vector<std::int64_t> result;
    for (std::int64_t n = 1; n <= 256 && n <= axis.out; n += n == 1 ? 1 : n / 2) {
      const std::int64_t height = divide_up(axis.out, n);
      if (result.empty() || result.back() != height) result.push_back(height);
    }
    if (result.back() > 1) result.push_back(1);  // which fits where anything does
    return result;
  }

  // Of whole vectors.
  std::int64_t staged_rows(const FftLayout& l) const {
    const std::int64_t blocks =
        l.lanes_are_blocks ? divide_up(lanes_ + l.taps[2] - 1, lanes_) : l.blocks + l.taps[2] - 1;
    return positions(axis_[0], l.tile[0], l.taps[0]) * positions(axis_[1], l.tile[1], l.taps[1]) *
           blocks;
  }

  // Beside what is not spectra, and the line more from one point to the next (FftRun::Sizes).
  std::int64_t room_for_spectra(const FftLayout& l) const {
    const std::int64_t work = l.points() * 2 * lanes_ * std::int64_t{sizeof(double)};
    const std::int64_t rows =
        (2 * lanes_ + 1) * l.points() * (problem_.compute == Compute::f32 ? 4 : 8);
    const std::int64_t kernel_rows =
        problem_.taps() / axis_[static_cast<std::size_t>(along_)].kernel;  // as the caller has them
    return kScratch - kBeside - kernel_rows * std::int64_t{sizeof(std::int64_t)} - work - rows -
           2 * l.points() * 8 * std::int64_t{sizeof(double)};
  }

  int rows_of_check(const FftLayout& l) const {
    constexpr std::int64_t kThinTile = 8, kThinKernel = 4;
    const std::size_t row = static_cast<std::size_t>(along_);
    return l.tile[row] < kThinTile || axis_[row].kernel < kThinKernel ? 2 : along_;
  }

  // Chunks of which the spectra fit.
  bool cut_terms(FftLayout& l) const {
    const std::int64_t row = l.points() * 2 * lanes_ * std::int64_t{sizeof(double)};
    const std::int64_t all = room_for_spectra(l);
    if (l.rows() > all / 2 / row) return false;
    const std::int64_t sums = l.rows() * row;
    l.filters = std::clamp<std::int64_t>(all / 4 / sums, 1, problem_.out_channels);
    const std::int64_t room = (all - l.filters * sums) / row;
    l.taps = kernel_of(l);
    if (l.lanes_are_blocks) l.taps[2] = std::min(l.taps[2], kMostBlocks - 2 * lanes_);
    l.channels = 1;
    for (const int a : {0, 1, 2})
      while (staged_rows(l) > room && l.taps[a] > 1) l.taps[a] = divide_up(l.taps[a], 2);
    const std::int64_t rows = staged_rows(l);
    if (rows > room) return false;
    l.channels = std::min(room / rows, problem_.in_channels);
    cut_sums(l);
    return true;
  }

  // Terms of a spectrum into runs: a sum of sums loses less. float32 has digits to spare.
  void cut_sums(FftLayout& l) const {
    const std::int64_t of_chunk = l.channels * l.taps[0] * l.taps[1] * l.taps[2];
    const double terms = terms_ * static_cast<double>(l.parts);
    const std::int64_t longest = problem_.compute == Compute::f32 ? 128
                                 : terms > 800                    ? 32
                                 : terms > 200                    ? 16
                                 : terms > 48                     ? 8
                                                                  : 4;
    l.run = std::min(of_chunk, longest);
    l.runs = divide_up(of_chunk, l.run) * chunks(l);
  }

  std::int64_t chunks(const FftLayout& l) const {
    const Index3 kernel = kernel_of(l);
    std::int64_t result = divide_up(problem_.in_channels, l.channels);
    for (int a = 0; a < 3; ++a) result *= divide_up(kernel[a], l.taps[a]);
    return result;
  }

  // What sums of magnitudes have to be at least so that transforms are as accurate as sums in order
  // (fft_check.hpp), over what one product adds to them: of white noise.
  double least_products(const FftLayout& l) const {
    constexpr double kMeanMagnitudes = 2 / std::numbers::pi;
    const double terms = static_cast<double>(problem_.terms());
    const double elements =
        2 * terms_ * static_cast<double>(l.parts) * static_cast<double>(l.points());
    return fft_error_units(l) * std::sqrt(elements / terms) / kMeanMagnitudes;
  }

  // With a margin for what is not white noise, above all at borders: where there are too few, all
  // is computed twice.
  bool is_accurate(const FftLayout& l) const {
    if (problem_.compute != Compute::f64 || problem_.algorithm == Algorithm::fft) return true;
    return seen_terms() >= 4 * least_products(l);
  }

  // Products of outputs at borders of zeros: of half of the kernel at each. Squared, as there are
  // outputs with fewer.
  double seen_terms() const {
    double seen = 1;
    for (const Axis& axis : axis_)
      seen *= 1 - 0.5 * std::min(1.0, static_cast<double>(axis.lo + axis.hi) /
                                          static_cast<double>(axis.out));
    return seen * seen * static_cast<double>(problem_.terms());
  }

  // Of a vector of outputs. The largest weights are twice the others; each row costs for itself.
  double cost_of_check(const FftLayout& l) const {
    const std::size_t row = static_cast<std::size_t>(l.check_along);
    const bool is_strided = axis_[row].stride > 1 || (along_ != 2 && row == 2);
    const double width = static_cast<double>(std::min(l.tile[row], axis_[row].out));
    const double a_row = 35 * static_cast<double>(lanes_) / std::max(width, 1.0);
    const double a_tap = (is_strided ? 30 : 0.7) + a_row;
    return (12 + a_tap * least_products(l)) * (problem_.padded() ? 2.4 : 1.4);
  }

  double cost_of(const FftLayout& l) const {
    const Costs c(l.log2, along_);
    const std::int64_t chunks = this->chunks(l);
    double inputs = static_cast<double>(chunks) * static_cast<double>(l.channels) *
                    static_cast<double>(staged_rows(l));
    if (l.keeps_blocks())  // most blocks are kept
      inputs *=
          static_cast<double>(l.blocks + l.parts - 1) / static_cast<double>(l.blocks * l.parts);
    if (chunks > 1) inputs *= static_cast<double>(divide_up(problem_.out_channels, l.filters));
    const double outputs = static_cast<double>(l.rows()) * filters_;
    const double terms = terms_ * static_cast<double>(l.parts);
    // Sums of one row wait for each other.
    const double waits = l.rows() < 4 && problem_.out_channels < 4 ? 1.2 : 1;
    const double crossings = l.lanes_are_blocks ? 1.3 : 1;  // of cache lines
    double task = inputs * (c.transform + c.input) + outputs * (c.transform + c.output) +
                  outputs * terms * c.product * waits * crossings;
    // Sums of all points leave the cache for each chunk of parts.
    if (l.taps[2] < l.parts)
      task +=
          8 * outputs * static_cast<double>(l.points()) * terms / static_cast<double>(l.taps[2]);
    std::int64_t tasks = l.tasks(1, lanes_);
    // So that threads find work; results may not depend on how many there are.
    if (task * static_cast<double>(tasks) > 2e6) tasks = round_up(tasks, 2);
    double cost = task * static_cast<double>(tasks);
    // Each task reads all spectra of the weights.
    const double bytes = 2 * sizeof(double) * terms * filters_ * static_cast<double>(l.points());
    const bool far = bytes > kNear;
    if (far) cost += 0.3 * bytes * static_cast<double>(tasks);
    if (!is_float(problem_.compute)) cost *= 1.25;  // converted element by element
    if (problem_.compute == Compute::f64)
      cost += cost_of_check(l) * 2 * outputs * static_cast<double>(l.outputs * tasks);
    if (!problem_.keeps_weights)
      cost += 2.5 * terms * filters_ / static_cast<double>(lanes_) * (c.transform + c.input) +
              (far ? 0.6 : 0.15) * bytes;
    return cost;
  }

  void make_tables(const FftLayout& l, FftChunk& chunk) const {
    chunk.rows = {positions(axis_[0], l.tile[0], chunk.count[0]),
                  positions(axis_[1], l.tile[1], chunk.count[1]), l.blocks + chunk.count[2] - 1};
    if (l.lanes_are_blocks) {
      chunk.rows[2] = round_up(lanes_ + chunk.count[2] - 1, lanes_);
    } else if (l.taps[2] == 1 && chunk.first[2] > 0) {
      chunk.kept = l.blocks - 1;
    }
    const auto at = [&](std::int64_t d, std::int64_t h, std::int64_t block) {
      const std::int64_t line = (d * chunk.rows[1] + h) * chunk.rows[2] * l.staged_pitch(lanes_);
      return static_cast<std::int32_t>(line + block * (l.lanes_are_blocks ? 1 : 2 * lanes_));
    };
    for (std::int64_t d = 0; d < l.tile[0]; ++d)
      for (std::int64_t h = 0; h < l.tile[1]; ++h)
        for (std::int64_t b = 0; b < l.blocks; ++b)
          chunk.row.push_back(at(d * axis_[0].stride, h * axis_[1].stride,
                                 l.keeps_blocks() ? chunk.block_at(b) : b));
    for (std::int64_t c = 0; c < chunk.channels; ++c)
      for (std::int64_t d = 0; d < chunk.count[0]; ++d)
        for (std::int64_t h = 0; h < chunk.count[1]; ++h)
          for (std::int64_t p = 0; p < chunk.count[2]; ++p)
            chunk.tap.push_back(
                at(c * chunk.rows[0] + d * axis_[0].dilation, h * axis_[1].dilation, p));
  }

  const Problem& problem_;
  const int along_;
  const std::array<Axis, 3>& axis_;
  const std::int64_t lanes_;
  const std::int64_t reach_;
  const double terms_;  // channels, slices and rows
  const double filters_;
};

std::int64_t lanes_of(const Problem& problem, const Machine& machine) {
  return size_of(problem.compute) == 4 ? machine.lanes / 2 : machine.lanes;
}

// Outputs that a transform of the reach of an axis would make.
double length(const Axis& axis) {
  return static_cast<double>(axis.span()) / static_cast<double>(axis.stride);
}

// The axis along which kernels are longest; of equal ones the last.
int longest_axis(const Problem& problem) {
  int along = 2;
  for (const int a : {1, 0})
    if (length(problem.axis[a]) > length(problem.axis[along])) along = a;
  return along;
}

Builder::Choice best_of(const Problem& problem, std::int64_t lanes, bool with_tables) {
  Builder::Choice best;
  const int longest = longest_axis(problem);
  for (const int along : {2, longest}) {
    if (problem.algorithm == Algorithm::automatic && problem.axis[along].span() < kLeastReach)
      continue;
    const Problem rows = turned(problem, along);
    const Builder builder(rows, along, lanes);
    Builder::Choice choice = builder.best();
    if (choice.cost < best.cost) {
      best = std::move(choice);
      if (with_tables) builder.make_tables(best.layout);
    }
    if (longest == 2) break;
  }
  return best;
}

}  // namespace

const char* fft_accepts(const Problem& problem) {
  const int along = longest_axis(problem);
  if (problem.algorithm == Algorithm::automatic && problem.axis[along].span() < kLeastReach)
    return "the rows of the kernel are short";
  // What fits with the longest vectors fits with others.
  constexpr std::int64_t kMostLanes = 8;
  for (const int axis : {2, along}) {
    const Problem rows = turned(problem, axis);
    if (Builder(rows, axis, kMostLanes).fits()) return nullptr;
  }
  return "too much memory for the spectra of the kernel";
}

double fft_cost(const Problem& problem, const Machine& machine) {
  return best_of(problem, lanes_of(problem, machine), false).cost /
         static_cast<double>(problem.terms()) / static_cast<double>(problem.out_pixels());
}

std::vector<double> fft_twiddles(int log2) {
  std::vector<double> result;
  for (std::int64_t size = std::int64_t{1} << log2; size > 4; size /= 4) {
    for (std::int64_t j = 0; j < size / 4; ++j) {
      for (int times = 1; times <= 3; ++times) {
        const double angle =
            2 * std::numbers::pi * static_cast<double>(times * j) / static_cast<double>(size);
        const double sine = std::sin(angle);
        result.insert(result.end(), {std::cos(angle), sine, -sine});
      }
    }
  }
  return result;
}

FftLayout make_fft_layout(const Problem& problem, const Machine& machine) {
  return best_of(problem, lanes_of(problem, machine), true).layout;
}

}  // namespace fastconv
