// Fourier transforms along the rows, for kernels whose rows are long; everything else is summed in
// spectra (fft_layout.hpp has the picture).
//
//   for each task (group, as many pairs of tiles as a vector has lanes)        in parallel
//     for each chunk of the terms                                   usually one
//       for each row of its input:  gather -> transform             X [point][row]
//       for each few output channels:
//         multiply: a sum over channels, slices, rows, parts        Y [point][filter][row]
//     for each output channel, row: transform back -> store
//
// All transforms are of float64. Their error follows the norms of whole rows, not the sum of
// magnitudes S behind one output, of which gamma_n * S must not be exceeded:
//
//   |error| <= e = fft_error_units * 2^-53 * norm(x) * norm(w)
//
// where x is what a row of outputs reads, of both tiles of a lane; of the rows of a tile the
// largest counts. So S has to be e / ((n - 1) u) at least. |y| <= S shows that of nearly all
// float32 outputs; where it does not, magnitudes are summed until they do (fft_check.hpp). Outputs
// without enough of them (at the ends of a full convolution) are summed in order. Where there are
// many (a whisper beside a bang), or an input is infinite or NaN, the tile is flagged and goes
// another way (Execution::run).
//
// A tile of zeros gives zeros, and whole numbers times multiples of a power of two give such
// multiples: sums are rounded to them where e is below a quarter of it, and summed in order where
// it is not but S is below 2^24 of it (2^53 for float64). Integers are computed so, as float64, or
// flagged.
//
// (Stockham, "High-speed convolution and correlation", 1966; error bounds of transforms: Higham,
// "Accuracy and stability of numerical algorithms", 2002, chapter 24.)
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>

#include "algorithms/candidates.hpp"
#include "algorithms/fft_check.hpp"
#include "algorithms/fft_layout.hpp"
#include "algorithms/fft_weights.hpp"
#include "algorithms/store_box.hpp"
#include "core/no_fraction.hpp"
#include "core/rounding.hpp"
#include "pack/lattice.hpp"
#include "pack/weights.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr int kMostLanes = 8;

// Where a row of sums goes.
template <class T>
class FftStore {
 public:
  virtual ~FftStore() = default;
  // `spare` has room for as many numbers as a transform has.
  virtual void store(const Tile& row, std::int64_t channel, const T* sums, char* spare) const = 0;
};

template <class T, class Out>
class FftStoreAs final : public FftStore<T> {
 public:
  FftStoreAs(const Problem& problem, const KernelTable& kernels, const Operands& operands)
      : store_(problem, kernels, operands.y, operands.bias) {}

  void store(const Tile& row, std::int64_t channel, const T* sums, char* spare) const override {
    const std::int64_t count = row.size[2];
    Out* to = reinterpret_cast<Out*>(spare);
    if constexpr (std::is_same_v<T, Out>) {
      store_.store(row, channel, 1, {sums, 1, count, count, count}, to);
    } else {
      constexpr double kNone = kNoFraction<double>;  // exact sums are below 2^48
      for (std::int64_t i = 0; i < count; ++i)
        to[i] = static_cast<Out>(std::bit_cast<std::int64_t>(sums[i] + kNone) -
                                 std::bit_cast<std::int64_t>(kNone));
      store_.store(row, channel, 1, {to, 1, count, count, count}, to + count);
    }
  }

 private:
  const BoxStore<Out> store_;
};

template <class T>
class FftRun {
 public:
  FftRun(const Problem& problem, bool integers, const FftLayout& layout, const FftWeights& weights,
         const KernelTable& table, const double* twiddles, const Operands& operands,
         const FftStore<T>& store, const FftCheck<T>& check, char* scratch,
         std::int64_t scratch_each, Interrupt& interrupt)
      : problem_(problem),
        integers_(integers),
        layout_(layout),
        weights_(weights),
        table_(table),
        fft_(table.fft),
        lanes_(table.fft.lanes),
        tiles_at_once_(2 * lanes_),
        twiddles_(twiddles),
        operands_(operands),
        store_(store),
        check_(check),
        scratch_(scratch),
        scratch_each_(scratch_each),
        interrupt_(interrupt) {
    for (int a = 0; a < 3; ++a)
      end_[a] = problem.axis[a].lo + problem.axis[a].in + problem.axis[a].hi;
  }

  static std::int64_t scratch_bytes(const Problem& problem, const FftLayout& l,
                                    std::int64_t lanes) {
    const Sizes s(l, lanes);
    return round_to_line(s.x * std::int64_t{sizeof(double)}) +
           round_to_line(s.y * std::int64_t{sizeof(double)}) +
           round_to_line(s.work * std::int64_t{sizeof(double)}) +
           round_to_line((s.rows + l.points()) * std::int64_t{sizeof(T)}) +
           round_to_line(s.offsets * std::int64_t{sizeof(std::int64_t)}) +
           round_to_line(s.squares * std::int64_t{sizeof(double)}) +
           round_to_line(s.norms * std::int64_t{sizeof(double)}) +
           round_to_line(s.fractions * std::int64_t{sizeof(double)}) +
           FftCheck<T>::scratch_bytes(turned(problem, l.check_along));
  }

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    Task task = locate(index);
    if (!task.any) return;
    const Pad pad(layout_, lanes_, scratch_ + worker * scratch_each_);
    if (!convolve(task, pad, worker)) return;
    for (std::int64_t t = 0; t < tiles_at_once_; ++t)
      if (task.wanted[t] && task.unsuitable[t])
        std::atomic_ref<std::uint8_t>(*task.flag[t]).store(1, std::memory_order_relaxed);
  }

 private:
  struct Task {
    std::int64_t group = 0;
    bool any = false;
    Tile tile[2 * kMostLanes];  // without outputs where there is none
    std::uint8_t* flag[2 * kMostLanes];
    bool wanted[2 * kMostLanes];
    bool staged[2 * kMostLanes];
    bool unsuitable[2 * kMostLanes] = {};
    bool zeros[2 * kMostLanes] = {};  // of input
    bool whole[2 * kMostLanes] = {};  // numbers
    double norm[kMostLanes] = {};     // of both tiles of a lane: of what one of their rows reads
    // Products that sums in order may take: those of the direct path take an eighth of the time.
    std::int64_t budget[2 * kMostLanes];
  };

  struct Sizes {
    std::int64_t x_pitch, y_pitch, x, y, work, row, rows, offsets, squares, norms, fractions;

    // An odd number of lines from one point to the next, lest all lie in the same cache sets.
    Sizes(const FftLayout& l, std::int64_t lanes)
        : x_pitch(l.most_staged * l.staged_pitch(lanes) + 8),
          y_pitch(l.rows() * l.filters * 2 * lanes + 8),
          x(x_pitch * l.points()),
          y(y_pitch * l.points()),
          work(l.points() * 2 * lanes),
          row(l.points() + 16),
          rows(2 * lanes * row),
          offsets(2 * lanes * l.most_lines),
          squares(l.most_of_channel * l.staged_pitch(lanes)),
          norms(l.rows() * lanes),
          fractions(2 * (l.lanes_are_blocks ? FftLayout::kMostBlocks : lanes)) {}
  };

  struct Pad {
    Sizes size;
    double* x;
    double* y;
    double* work;
    T* rows;
    T* zeros;
    std::int64_t* offsets;
    double* squares;    // of each staged row, over all channels
    double* norms;      // [row of outputs][lanes]
    double* fractions;  // [vector of blocks or one][2][lanes]
    char* check;

    Pad(const FftLayout& l, std::int64_t lanes, char* at) : size(l, lanes) {
      const auto take = [&](auto*& to, std::int64_t count) {
        to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(at);
        at += round_to_line(count * std::int64_t{sizeof *to});
      };
      take(x, size.x);
      take(y, size.y);
      take(work, size.work);
      take(rows, size.rows + l.points());
      zeros = rows + size.rows;
      take(offsets, size.offsets);
      take(squares, size.squares);
      take(norms, size.norms);
      take(fractions, size.fractions);
      check = at;
    }
  };

  Task locate(std::int64_t index) const {
    Task task;
    const std::int64_t tasks = layout_.tasks(problem_.batch, lanes_);
    const std::int64_t tiles = layout_.tile_count(), across = layout_.tiles[2];
    task.group = index / tasks;
    index %= tasks;
    for (std::int64_t t = 0; t < tiles_at_once_; ++t) {
      // Of all images; in order, or the blocks of a row, whose first half are the real parts.
      std::int64_t line, column;
      if (layout_.lanes_are_blocks) {
        const std::int64_t each = divide_up(across, tiles_at_once_);
        line = index / each;
        column = index % each * tiles_at_once_ + t % 2 * lanes_ + t / 2;
        task.wanted[t] = column < across;
      } else {
        const std::int64_t pairs = layout_.pairs(), pair = index * lanes_ + t / 2;
        const std::int64_t tile = pair % pairs * 2 + t % 2;
        line = pair / pairs * (tiles / across) + tile / across;
        column = tile % across;
        task.wanted[t] = pair < problem_.batch * pairs && tile < tiles;
      }
      task.flag[t] = nullptr;
      // Lanes read the blocks of those behind them, which need not have outputs.
      task.staged[t] = task.wanted[t] || layout_.lanes_are_blocks;
      if (!task.staged[t]) continue;
      const std::int64_t image = line / (tiles / across);
      const std::int64_t first = line % (tiles / across) * across;
      task.tile[t] = tile_of_box(problem_, layout_.tile, layout_.tiles,
                                 (image * problem_.groups + task.group) * tiles + first);
      task.tile[t].origin[2] = column * layout_.tile[2];
      task.tile[t].size[2] = std::clamp<std::int64_t>(problem_.axis[2].out - task.tile[t].origin[2],
                                                      0, layout_.tile[2]);
      if (!task.wanted[t]) continue;
      const std::int64_t tile = first + column;
      task.flag[t] = operands_.unsuitable + (image * problem_.groups + task.group) * tiles +
                     index_in_grid(tile);
      const Index3& size = task.tile[t].size;
      task.budget[t] =
          std::max<std::int64_t>(size[0] * size[1] * size[2] * problem_.out_channels / 8, 16);
      task.budget[t] *= problem_.terms();
      const bool left_out =
          std::atomic_ref<std::uint8_t>(*task.flag[t]).load(std::memory_order_relaxed) != 0;
      task.unsuitable[t] = left_out;
      task.any = task.any || !left_out;
    }
    return task;
  }

  // As FftCheck has it.
  Tile as_checked(Tile tile) const {
    tile.origin = turned(tile.origin, layout_.check_along);
    tile.size = turned(tile.size, layout_.check_along);
    return tile;
  }

  // Of a tile, counted along the axes as the caller has them.
  std::int64_t index_in_grid(std::int64_t tile) const {
    const Index3& n = layout_.tiles;
    const Index3 at =
        turned(Index3{tile / (n[2] * n[1]), tile / n[2] % n[1], tile % n[2]}, layout_.along);
    const Index3 of = turned(n, layout_.along);
    return (at[0] * of[1] + at[1]) * of[2] + at[2];
  }

  const char* packed() const { return static_cast<const char*>(operands_.packed); }

  // False where it was interrupted.
  bool convolve(Task& task, const Pad& pad, int worker) {
    const std::int64_t channels = problem_.out_channels;
    const bool one = layout_.chunks.size() == 1;
    for (std::int64_t k = 0; k < channels; k += layout_.filters) {
      const std::int64_t count = std::min(layout_.filters, channels - k);
      for (const FftChunk& chunk : layout_.chunks) {
        if (k == 0 || !one) {
          if (!transform_input(task, chunk, pad, k == 0, worker)) return false;
          if (k == 0 && &chunk == &layout_.chunks.back()) look_at_norms(task, pad);
        }
        multiply(task, chunk, k, count, pad, &chunk != layout_.chunks.data());
        interrupt_.work_done(worker, layout_.points() * chunk.terms() * count * layout_.rows() * 4);
      }
      for (std::int64_t i = 0; i < count; ++i)
        if (!transform_output(task, k, i, pad, worker)) return false;
    }
    return true;
  }

  bool is_seen(const Lattice& lattice, const FftChunk& chunk, std::int64_t line) const {
    return lattice.first[0] + line / chunk.rows[1] < end_[0] &&
           lattice.first[1] + line % chunk.rows[1] < end_[1];
  }

  // `looks`: at what the input is like; it is the same for other output channels.
  bool transform_input(Task& task, const FftChunk& chunk, const Pad& pad, bool looks, int worker) {
    const auto& axis = problem_.axis;
    const std::int64_t points = layout_.points(), lines = chunk.rows[0] * chunk.rows[1];
    Lattice lattice[2 * kMostLanes];
    for (std::int64_t t = 0; t < tiles_at_once_; ++t) {
      if (!task.staged[t]) continue;
      Lattice& l = lattice[t];
      for (int a = 0; a < 2; ++a) {
        l.first[a] = task.tile[t].origin[a] * axis[a].stride + chunk.first[a] * axis[a].dilation;
        l.count[a] = chunk.rows[a];
      }
      l.first[2] = task.tile[t].origin[2] * axis[2].stride + chunk.first[2] * layout_.pitch;
      l.count[2] = points;
      locate_rows(problem_, operands_.x, task.tile[t].image, l, pad.offsets + t * lines);
      l.count[0] = l.count[1] = 1;
    }
    std::fill_n(pad.zeros, points, T(0));
    if (chunk.kept == 0) std::fill_n(pad.squares, pad.size.squares, 0.0);
    std::fill_n(pad.fractions, pad.size.fractions, 0.0);
    const bool by_blocks = layout_.lanes_are_blocks;
    const std::int64_t step = by_blocks ? lanes_ : 1;
    const std::int64_t imaginary = by_blocks ? chunk.rows[2] : lanes_;
    double* line_at = pad.x;
    for (std::int64_t c = 0; c < chunk.channels; ++c) {
      const std::int64_t channel = task.group * problem_.in_channels + chunk.first_channel + c;
      for (std::int64_t line = 0; line < lines; ++line) {
        if (interrupt_.stop_requested()) return false;
        for (std::int64_t block = chunk.kept; block < chunk.rows[2]; block += step) {
          const T* rows[2 * kMostLanes];
          for (std::int64_t t = 0; t < tiles_at_once_; ++t) {
            rows[t] = pad.zeros;
            if (!task.staged[t] || !is_seen(lattice[t], chunk, line)) continue;
            Lattice l = lattice[t];
            l.first[2] += block * layout_.pitch;
            l.count[2] = std::clamp<std::int64_t>(end_[2] - l.first[2], 0, points);
            if (l.count[2] == 0) continue;
            T* const row = pad.rows + t * pad.size.row;
            lattice_rows<T>(table_, problem_, operands_.x, l, pad.offsets + t * lines + line,
                            channel, row, rows + t);
            if (l.count[2] == points) continue;
            if (rows[t] != row) std::copy_n(rows[t], l.count[2], row);
            std::fill(row + l.count[2], row + points, T(0));
            rows[t] = row;
          }
          const std::int64_t at = layout_.keeps_blocks() ? chunk.block_at(block) : block;
          double* const squares = pad.squares +
                                  line * chunk.rows[2] * layout_.staged_pitch(lanes_) +
                                  at * layout_.staged_pitch(lanes_);
          if (chunk.kept > 0 && c == 0) std::fill_n(squares, 2 * lanes_, 0.0);
          const FftInputArgs<T> input = {rows, points, pad.work, squares,
                                         pad.fractions + (by_blocks ? 2 * block : 0)};
          if constexpr (std::is_same_v<T, float>)
            fft_.input_f32(input);
          else
            fft_.input_f64(input);
          fft_.forward({pad.work, line_at + at * (by_blocks ? 1 : 2 * lanes_), pad.size.x_pitch,
                        imaginary, twiddles_, layout_.log2});
        }
        line_at += chunk.rows[2] * layout_.staged_pitch(lanes_);
        interrupt_.work_done(worker, chunk.rows[2] / step * points * layout_.log2 * 8);
      }
    }
    if (looks) look_at(task, chunk, pad);
    return true;
  }

  void look_at(Task& task, const FftChunk& chunk, const Pad& pad) const {
    if (&chunk == layout_.chunks.data()) {
      std::fill_n(pad.norms, pad.size.norms, 0.0);
      std::fill_n(task.zeros, tiles_at_once_, true);
      std::fill_n(task.whole, tiles_at_once_, true);
    }
    const std::int64_t taps = chunk.count[0] * chunk.count[1] * chunk.count[2];
    double sums[2 * kMostLanes] = {};
    const auto add = [&](std::int64_t row, std::int64_t at) {
      for (std::int64_t l = 0; l < lanes_; ++l) {
        const double* const squares = pad.squares + square_at(chunk, at, l);
        pad.norms[row * lanes_ + l] += squares[0] + squares[lanes_];
        sums[2 * l] += squares[0];
        sums[2 * l + 1] += squares[lanes_];
      }
    };
    if (problem_.compute == Compute::f32 && !layout_.lanes_are_blocks) {
      // It has digits to spare: all rows together.
      const std::int64_t pitch = layout_.staged_pitch(lanes_);
      for (std::int64_t line = 0; line < chunk.rows[0] * chunk.rows[1]; ++line)
        for (std::int64_t block = chunk.kept; block < chunk.rows[2]; ++block)
          add(0, (line * chunk.rows[2] + (layout_.keeps_blocks() ? chunk.block_at(block) : block)) *
                     pitch);
    } else {
      for (std::int64_t row = 0; row < layout_.rows(); ++row)
        for (std::int64_t tap = 0; tap < taps; ++tap)
          add(row,
              chunk.row[static_cast<std::size_t>(row)] + chunk.tap[static_cast<std::size_t>(tap)]);
    }
    for (std::int64_t t = 0; t < tiles_at_once_; ++t) {
      const std::int64_t others = layout_.lanes_are_blocks ? chunk.count[2] : 1;
      double fractions = 0;
      for (std::int64_t l = t / 2; l < t / 2 + others; ++l)
        fractions += pad.fractions[l / lanes_ * 2 * lanes_ + t % 2 * lanes_ + l % lanes_];
      const bool whole = fractions == 0;  // no square has underflowed
      task.zeros[t] = task.zeros[t] && sums[t] == 0 && whole;
      task.whole[t] = task.whole[t] && whole;
    }
  }

  // Of the row that lies at so many elements of a point.
  std::int64_t square_at(const FftChunk& chunk, std::int64_t at, std::int64_t lane) const {
    if (!layout_.lanes_are_blocks) return at + lane;
    const std::int64_t line = at / (2 * chunk.rows[2]) * 2 * chunk.rows[2];
    const std::int64_t block = at - line + lane;
    return line + block / lanes_ * 2 * lanes_ + block % lanes_;
  }

  void look_at_norms(Task& task, const Pad& pad) const {
    for (std::int64_t l = 0; l < lanes_; ++l) {
      double most = 0;
      bool finite = true;
      for (std::int64_t row = 0; row < layout_.rows(); ++row) {
        const double norm = pad.norms[row * lanes_ + l];
        most = std::max(most, norm);
        finite = finite && std::isfinite(norm);
      }
      task.norm[l] = std::sqrt(most);
      const bool zeros = task.zeros[2 * l] && task.zeros[2 * l + 1];
      if (finite && (zeros || task.norm[l] > kLeastNorm)) continue;
      task.unsuitable[2 * l] = task.unsuitable[2 * l + 1] = true;
    }
  }

  void multiply(const Task& task, const FftChunk& chunk, std::int64_t first, std::int64_t count,
                const Pad& pad, bool accumulate) const {
    const std::int64_t terms = chunk.terms(), points = layout_.points();
    const double* const spectra =
        weights_.spectra(packed()) + chunk.first_weight * weights_.filters * points * 2;
    fft_.product({pad.x, pad.size.x_pitch, layout_.lanes_are_blocks ? chunk.rows[2] : lanes_,
                  chunk.row.data(), layout_.rows(), chunk.tap.data(), terms, layout_.run,
                  spectra + (task.group * problem_.out_channels + first) * terms * 2, terms * 2,
                  weights_.filters * terms * 2, pad.y, pad.size.y_pitch, count, points,
                  accumulate});
  }

  // Rows of output channel first + index, in Y from `first` on.
  bool transform_output(Task& task, std::int64_t first, std::int64_t index, const Pad& pad,
                        int worker) {
    const std::int64_t channel = task.group * problem_.out_channels + first + index;
    const FftWeights::Filter filter = *FftWeights::filter(packed(), channel);
    double least[2 * kMostLanes];
    T quantum[2 * kMostLanes];
    bool doubtful[2 * kMostLanes] = {};
    for (std::int64_t t = 0; t < tiles_at_once_; ++t) {
      const double error = error_bound(task.norm[t / 2] * filter.norm);
      const bool exact = task.whole[t] && error < filter.quantum / 4;
      if (integers_ && !exact) task.unsuitable[t] = true;
      quantum[t] = exact ? static_cast<T>(filter.quantum) : T(0);
      least[t] = exact || task.zeros[t] ? 0 : least_sum(error);
      // What other ways would make exact, near what is too large for that.
      if (task.whole[t] && !exact)
        least[t] = std::max(least[t], filter.quantum / std::numeric_limits<T>::epsilon() * 2);
    }
    const double* from = pad.y + index * layout_.rows() * 2 * lanes_;
    for (std::int64_t d = 0; d < layout_.tile[0]; ++d) {
      for (std::int64_t h = 0; h < layout_.tile[1]; ++h) {
        if (interrupt_.stop_requested()) return false;
        for (std::int64_t b = 0; b < layout_.blocks; ++b, from += 2 * lanes_) {
          const Index3 at = {d, h, b * layout_.outputs};
          std::int64_t most = 0;
          for (std::int64_t t = 0; t < tiles_at_once_; ++t)
            most = std::max(most, outputs_at(task, t, at));
          if (most == 0) continue;
          const std::int64_t positions = (most - 1) * problem_.axis[2].stride + 1;
          fft_.inverse({pad.work, const_cast<double*>(from), pad.size.y_pitch, lanes_, twiddles_,
                        layout_.log2});
          const FftOutputArgs<T> output = {pad.work, round_up(positions, lanes_), pad.rows,
                                           pad.size.row};
          if constexpr (std::is_same_v<T, float>)
            fft_.output_f32(output);
          else
            fft_.output_f64(output);
          for (std::int64_t t = 0; t < tiles_at_once_; ++t)
            if (take_row(task, t, at, channel, static_cast<T>(least[t]), quantum[t], pad))
              doubtful[t] = true;
        }
        interrupt_.work_done(worker, layout_.blocks * layout_.points() * layout_.log2 * 8);
      }
    }
    for (std::int64_t t = 0; t < tiles_at_once_; ++t)
      if (doubtful[t] && !check_.vouch(as_checked(task.tile[t]), channel, least[t], pad.check,
                                       task.budget[t], interrupt_, worker))
        task.unsuitable[t] = true;
    return true;
  }

  // Outputs of a tile's row from `at` on, in one block.
  std::int64_t outputs_at(const Task& task, std::int64_t t, const Index3& at) const {
    const Tile& tile = task.tile[t];
    if (!task.wanted[t] || task.unsuitable[t] || at[0] >= tile.size[0] || at[1] >= tile.size[1])
      return 0;
    return std::clamp<std::int64_t>(tile.size[2] - at[2], 0, layout_.outputs);
  }

  double error_bound(double norms) const {
    return fft_error_units(layout_) * std::numeric_limits<double>::epsilon() / 2 * norms;
  }

  // What a sum of magnitudes must be at least so that this is below the error of a sum in order.
  double least_sum(double error) const {
    const double units = std::max(static_cast<double>(problem_.terms()) - 1, 1.0) *
                         static_cast<double>(std::numeric_limits<T>::epsilon()) / 2;
    return error / units;
  }

  // Whether an output is smaller than `least`.
  bool take_row(Task& task, std::int64_t t, const Index3& at, std::int64_t channel, T least,
                T quantum, const Pad& pad) {
    const std::int64_t count = outputs_at(task, t, at);
    if (count == 0) return false;
    T* const row = pad.rows + t * pad.size.row;
    const std::int64_t stride = problem_.axis[2].stride;
    for (std::int64_t i = 1; i < count && stride > 1; ++i) row[i] = row[i * stride];
    if (task.zeros[t]) std::fill_n(row, count, T(0));
    if (quantum != T(0)) to_multiples(row, count, quantum);
    std::int64_t small = 0;
    for (std::int64_t i = 0; i < count; ++i) small += !(std::fabs(row[i]) >= least);
    Tile tile = task.tile[t];
    for (int a = 0; a < 3; ++a) tile.origin[a] += at[a];
    tile.size = {1, 1, count};
    store_.store(tile, channel, row, reinterpret_cast<char*>(pad.work));  // which has been read
    return small > 0;
  }

  const Problem& problem_;
  const bool integers_;
  const FftLayout& layout_;
  const FftWeights& weights_;
  const KernelTable& table_;
  const FftKernels& fft_;
  const std::int64_t lanes_;
  const std::int64_t tiles_at_once_;
  const double* const twiddles_;
  const Operands& operands_;
  const FftStore<T>& store_;
  const FftCheck<T>& check_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  Index3 end_;  // of the padded input; no output sees what lies beyond
  Interrupt& interrupt_;
};

class FftExecution final : public Execution {
 public:
  FftExecution(const Problem& problem, const KernelTable& kernels, const Machine& machine)
      : layout_(make_fft_layout(problem, machine)),
        given_(turned(problem, layout_.along)),
        problem_(in_floats(given_)),
        kernels_(kernels),
        weights_(problem_, layout_),
        twiddles_(fft_twiddles(layout_.log2)) {}

  std::int64_t tasks() const override {
    return problem_.groups * layout_.tasks(problem_.batch, kernels_.fft.lanes);
  }

  OutputGrid grid() const override {
    Index3 out;
    for (int a = 0; a < 3; ++a) out[a] = problem_.axis[a].out;
    return {turned(layout_.tile, layout_.along), turned(layout_.tiles, layout_.along),
            turned(out, layout_.along), problem_.groups * layout_.tile_count()};
  }

  std::int64_t packed_bytes() const override { return weights_.bytes(); }

  bool packs_like(const Execution& other) const override {
    const FftLayout& l = static_cast<const FftExecution&>(other).layout_;
    return l.along == layout_.along && l.log2 == layout_.log2 && l.pitch == layout_.pitch &&
           l.channels == layout_.channels && l.taps == layout_.taps;
  }

  bool pack(const Weights& w, void* to, int workers, Interrupt& interrupt) const override {
    return pack_fft(problem_, layout_, weights_, kernels_, twiddles_.data(), turned_weights(w), to,
                    workers, interrupt);
  }

  std::int64_t scratch_bytes() const override {
    return problem_.compute == Compute::f32
               ? FftRun<float>::scratch_bytes(problem_, layout_, kernels_.fft.lanes)
               : FftRun<double>::scratch_bytes(problem_, layout_, kernels_.fft.lanes);
  }

  void run(const Operands& given, char* scratch, int workers, Interrupt& interrupt) const override {
    const Weights weights = turned_weights(*given.weights);
    Operands operands = given;
    operands.x.axis = turned(given.x.axis, layout_.along);
    operands.y.axis = turned(given.y.axis, layout_.along);
    operands.weights = &weights;
    switch (given_.compute) {
      case Compute::f32:
        return run_as<float, float>(given, operands, scratch, workers, interrupt);
      case Compute::f64:
        return run_as<double, double>(given, operands, scratch, workers, interrupt);
      case Compute::i32:
        return run_as<double, std::int32_t>(given, operands, scratch, workers, interrupt);
      case Compute::i64:
        return run_as<double, std::int64_t>(given, operands, scratch, workers, interrupt);
    }
  }

 private:
  Weights turned_weights(Weights w) const {
    w.axis = turned(w.axis, layout_.along);
    return w;
  }

  static Problem in_floats(Problem problem) {
    if (is_float(problem.compute)) return problem;
    for (Scalar& fill : problem.fill)
      fill.f64 = problem.compute == Compute::i32 ? static_cast<double>(fill.i32)
                                                 : static_cast<double>(fill.i64);
    problem.compute = Compute::f64;
    return problem;
  }

  template <class T, class Out>
  void run_as(const Operands& given, const Operands& operands, char* scratch, int workers,
              Interrupt& interrupt) const {
    const FftStoreAs<T, Out> store(given_, kernels_, operands);
    const int along = layout_.check_along;
    const Problem problem = turned(problem_, along);
    const FftCheck<T> check(problem, along, kernels_, weights_, along == 2 ? operands : given);
    FftRun<T> run(problem_, !is_float(given_.compute), layout_, weights_, kernels_,
                  twiddles_.data(), operands, store, check, scratch, scratch_bytes(), interrupt);
    parallel_for(tasks(), workers,
                 [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
  }

  const FftLayout layout_;
  const Problem given_;    // turned
  const Problem problem_;  // of floats
  const KernelTable& kernels_;
  const FftWeights weights_;
  const std::vector<double> twiddles_;
};

std::unique_ptr<const Execution> execute(const Problem& problem, const Tensor& /*x*/,
                                         const KernelTable& kernels, const Machine& machine) {
  return std::make_unique<const FftExecution>(problem, kernels, machine);
}

}  // namespace

const Candidate fft = {Algorithm::fft, "fft", fft_accepts, fft_cost, nullptr, execute};

}  // namespace fastconv
