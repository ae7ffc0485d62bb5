// bench_kernels.cpp: every kernel of every instruction set that runs here, each checked against a
// plain loop and then timed.
//
//   bench_kernels --benchmark_filter='avx2/f32/.*'
//
// "peak%" is the share of what the same instructions reach on registers alone (peak.hpp), measured
// in this run; all times are CPU times of one thread.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "algorithms/fft_layout.hpp"
#include "kernels/dispatch.hpp"
#include "peak.hpp"
#include "tiles.hpp"

namespace fastconv {
namespace {

bool all_right = true;

// A layer of 28 channels and 3 x 3 taps: as many terms as one kernel call gets in practice.
constexpr std::int64_t kChannels = 28, kTaps = kChannels * 9;

template <class T>
std::vector<T> small_integers(std::int64_t n) {
  static std::mt19937 generator(1);
  std::vector<T> v(static_cast<std::size_t>(n));
  for (T& x : v) x = static_cast<T>(static_cast<int>(generator() % 9) - 4);
  return v;
}

// Times `run`, which makes so many multiplications and additions.
template <class Run>
void time_operations(benchmark::State& state, double operations, double peak, Run run) {
  const double start = bench::cpu_seconds();
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  const double rate =
      operations * static_cast<double>(state.iterations()) / (bench::cpu_seconds() - start);
  state.counters["GOP/s"] = rate * 1e-9;
  state.counters["peak%"] = 100 * rate / peak;
}

bool passed(benchmark::State& state, bool right) {
  if (right) return true;
  all_right = false;
  state.SkipWithError("the result is wrong");
  return false;
}

// A tile of 8 x 12 pixels of a patch with a border of one.
template <class T>
void outer(benchmark::State& state, const KernelSet<T>& set, int vectors, double peak) {
  constexpr std::int64_t kRow = 14, kPlane = kRow * 10, kPixels = 8 * 12;
  const std::int64_t width = vectors * set.lanes;
  std::vector<std::int32_t> pixel, tap;
  for (int h = 0; h < 8; ++h)
    for (int w = 0; w < 12; ++w) pixel.push_back(static_cast<std::int32_t>(h * kRow + w));
  for (std::int64_t c = 0; c < kChannels; ++c)
    for (int h = 0; h < 3; ++h)
      for (int w = 0; w < 3; ++w)
        tap.push_back(static_cast<std::int32_t>(c * kPlane + h * kRow + w));
  const std::vector<T> x = small_integers<T>(kChannels * kPlane);
  const std::vector<T> weights = small_integers<T>(kTaps * width);
  std::vector<T> acc(static_cast<std::size_t>(kPixels * width));
  const OuterArgs<T> args{x.data(),       pixel.data(), kPixels, tap.data(), kTaps,
                          weights.data(), acc.data(),   false,   false,      {}};
  const auto kernel = set.outer[vectors - 1];
  kernel(args);
  bool right = true;
  for (std::int64_t p = 0; p < kPixels; ++p) {
    for (std::int64_t o = 0; o < width; ++o) {
      T sum = 0;
      for (std::int64_t t = 0; t < kTaps; ++t) sum += x[pixel[p] + tap[t]] * weights[t * width + o];
      right = right && acc[p * width + o] == sum;
    }
  }
  if (!passed(state, right)) return;
  time_operations(state, 2.0 * static_cast<double>(kPixels * kTaps * width), peak,
                  [&] { kernel(args); });
}

// Fifteen rows of 64 pixels, run through as one.
template <class T>
void lanes(benchmark::State& state, const KernelSet<T>& set, int rows, double peak) {
  constexpr std::int64_t kRow = 64, kPixels = 15 * kRow, kPlane = kPixels + 2 * kRow + 64;
  std::vector<std::int32_t> tap;
  for (std::int64_t c = 0; c < kChannels; ++c)
    for (int h = 0; h < 3; ++h)
      for (int w = 0; w < 3; ++w)
        tap.push_back(static_cast<std::int32_t>(c * kPlane + h * kRow + w));
  const std::vector<T> x = small_integers<T>(kChannels * kPlane);
  const std::vector<T> weights = small_integers<T>(kTaps * rows);
  std::vector<T> acc(static_cast<std::size_t>(kPixels * rows));
  std::vector<std::int32_t> vector;
  for (std::int64_t p = 0; p < kPixels; p += set.lanes)
    vector.push_back(static_cast<std::int32_t>(p));
  const LanesArgs<T> args{x.data(), vector.data(),  kPixels / set.lanes, tap.data(),
                          kTaps,    weights.data(), acc.data(),          false};
  const auto kernel = set.pixel_lanes[rows - 1];
  kernel(args);
  bool right = true;
  for (std::int64_t o = 0; o < rows; ++o) {
    for (std::int64_t p = 0; p < kPixels; ++p) {
      T sum = 0;
      for (std::int64_t t = 0; t < kTaps; ++t) sum += x[p + tap[t]] * weights[t * rows + o];
      right = right && acc[o * kPixels + p] == sum;
    }
  }
  if (!passed(state, right)) return;
  time_operations(state, 2.0 * static_cast<double>(kPixels * kTaps * rows), peak,
                  [&] { kernel(args); });
}

// A 7 x 7 filter over rows of 960 pixels.
template <class T>
void stencil(benchmark::State& state, const KernelSet<T>& set, int rows, double peak) {
  constexpr std::int64_t kSide = 7, kPixels = 960, kPitch = kPixels + 64;
  const std::int32_t column[kSide] = {0, 1, 2, 3, 4, 5, 6};
  const StencilGroup group{0, 0, kSide, kSide, kSide};
  const std::vector<T> x = small_integers<T>((rows + kSide - 1) * kPitch);
  const std::vector<T> weights = small_integers<T>(kSide * kSide);
  std::vector<T> acc(static_cast<std::size_t>(rows * kPixels));
  const StencilArgs<T> args{x.data(),       kPitch,  &group,     1,       column,
                            weights.data(), kPixels, acc.data(), kPixels, false};
  const auto kernel = set.row_stencil[rows - 1];
  kernel(args);
  bool right = true;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t p = 0; p < kPixels; ++p) {
      T sum = 0;
      for (std::int64_t h = 0; h < kSide; ++h)
        for (std::int64_t w = 0; w < kSide; ++w)
          sum += x[(r + h) * kPitch + p + w] * weights[h * kSide + w];
      right = right && acc[r * kPixels + p] == sum;
    }
  }
  if (!passed(state, right)) return;
  time_operations(state, 2.0 * static_cast<double>(rows * kPixels * kSide * kSide), peak,
                  [&] { kernel(args); });
}

// A filter over rows of 56 pixels, as in a depthwise layer: a square, or one column.
template <class T>
void planes(benchmark::State& state, const KernelSet<T>& set, PlaneKernel kind, std::int64_t side,
            double peak) {
  constexpr std::int64_t kRows = 8, kPixels = 56, kPitch = kPixels + 16;
  const std::int64_t stride = kind == PlaneKernel::square3_by2 ? 2 : 1;
  const std::int32_t column[] = {0, 1, 2, 3, 4, 5, 6};
  const std::int64_t in_rows = (kRows - 1) * stride + side;
  const std::vector<T> x = small_integers<T>(in_rows * kPitch);
  const std::vector<T> weights = small_integers<T>(side * side);
  std::vector<const T*> row;
  for (std::int64_t i = 0; i < in_rows; ++i) row.push_back(x.data() + i * kPitch);
  std::vector<T> out(static_cast<std::size_t>(kRows * kPixels));
  PlaneArgs<T> args{};
  args.row = row.data();
  args.row_step = args.phases = 1;
  args.phase_step = 1;
  args.slices = 1;
  args.advance = stride;
  const std::int64_t columns = kind == PlaneKernel::column ? 1 : side;
  args.kernel_rows = side;
  args.kernel_columns = args.w_row = columns;
  args.column = column;
  args.w = weights.data();
  args.out = out.data();
  args.out_pitch = args.pixels = kPixels;
  args.rows = kRows;
  const auto kernel = set.plane[static_cast<int>(kind)];
  kernel(args);
  bool right = true;
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t p = 0; p < kPixels; ++p) {
      T sum = 0;
      for (std::int64_t h = 0; h < side; ++h)
        for (std::int64_t w = 0; w < columns; ++w)
          sum += x[(r * stride + h) * kPitch + p + w] * weights[h * columns + w];
      right = right && out[r * kPixels + p] == sum;
    }
  }
  if (!passed(state, right)) return;
  time_operations(state, 2.0 * static_cast<double>(kRows * kPixels * side * columns), peak,
                  [&] { kernel(args); });
}

// Eight planes of 28 x 28 outputs, as of a depthwise layer, with what stages them where a kernel
// does. `size` of KernelSet::rolling.
template <class T>
void rolling(benchmark::State& state, const KernelSet<T>& set, int size, std::int64_t side,
             std::int64_t stride, double peak) {
  constexpr std::int64_t kPlanes = 8, kOut = 28, kStaged = (16 << 10) / sizeof(T);
  const std::int64_t in = kOut * stride, lo = side / 2, taps = side * side;
  const std::int64_t slots = (kOut - 1) * stride + side + 1;
  const std::vector<T> x = small_integers<T>(kPlanes * in * in);
  const std::vector<T> weights = small_integers<T>(kPlanes * taps);
  const std::vector<T> fill(static_cast<std::size_t>(in));
  std::vector<std::int64_t> row;
  for (std::int64_t i = -lo; i < slots - lo; ++i)
    row.push_back(i >= 0 && i < in ? i * in : kFillRow);
  const std::int64_t plane = StagedLayout(kOut, kOut, side, side, stride, set.lanes).plane;
  std::vector<T> out(static_cast<std::size_t>(kPlanes * kOut * kOut));
  std::vector<T> staged(static_cast<std::size_t>(std::max(kStaged, plane + StagedLayout::kBehind)));
  RollArgs<T> args{};
  args.x = x.data();
  args.row = row.data();
  args.fill_row = fill.data();
  args.width = in;
  args.border = lo;
  args.w = weights.data();
  args.out = out.data();
  args.out_pitch = args.rows = args.pixels = kOut;
  args.room = kPlanes * kOut * kOut;
  args.planes = kPlanes;
  args.x_plane = in * in;
  args.out_plane = kOut * kOut;
  args.filters = args.slices = 1;
  args.kernel_rows = args.kernel_columns = side;
  args.row_dilation = args.column_dilation = 1;
  args.staged = staged.data();
  args.staged_elements = static_cast<std::int64_t>(staged.size());
  const auto kernel = set.rolling[size][stride - 1];
  kernel(args);
  bool right = true;
  for (std::int64_t p = 0; p < kPlanes; ++p) {
    for (std::int64_t h = 0; h < kOut; ++h) {
      for (std::int64_t w = 0; w < kOut; ++w) {
        T sum = 0;
        for (std::int64_t t = 0; t < taps; ++t) {
          const std::int64_t from = w * stride - lo + t % side;
          const std::int64_t at = row[static_cast<std::size_t>(h * stride + t / side)];
          if (at != kFillRow && from >= 0 && from < in)
            sum += x[p * in * in + at + from] * weights[p * taps + t];
        }
        right = right && out[(p * kOut + h) * kOut + w] == sum;
      }
    }
  }
  if (!passed(state, right)) return;
  time_operations(state, 2.0 * static_cast<double>(kPlanes * kOut * kOut * taps), peak,
                  [&] { kernel(args); });
}

// A row of 56 pixels of as many groups as a vector holds, each of so many channels and filters.
template <class T>
void group_lanes(benchmark::State& state, const KernelSet<T>& set, int channels, double peak) {
  constexpr std::int64_t kSide = 3, kPixels = 56, kColumns = kPixels + kSide - 1;
  const std::int64_t lanes = set.lanes, outs = lanes / channels * channels;
  const std::vector<T> x = small_integers<T>(kSide * kColumns * lanes);
  // [tap][filter after the channel's own][lane]
  const std::vector<T> weights = small_integers<T>(kSide * kSide * channels * lanes);
  const std::vector<T> bias = small_integers<T>(lanes), fill(static_cast<std::size_t>(lanes));
  std::vector<T> low(static_cast<std::size_t>(2 * lanes), T(-1e6)), out(kPixels * lanes);
  std::fill(low.begin() + lanes, low.end(), T(1e6));
  std::vector<std::int32_t> route(static_cast<std::size_t>(channels * lanes),
                                  static_cast<std::int32_t>(lanes));
  for (std::int64_t o = 0; o < outs; ++o) {
    const std::int64_t k = o % channels;
    for (std::int64_t c = 0; c < channels; ++c)
      route[(k - c + channels) % channels * lanes + o] = static_cast<std::int32_t>(o - k + c);
  }
  std::vector<std::int64_t> row, column;
  for (std::int64_t i = 0; i < kSide; ++i) row.push_back(i * kColumns * lanes);
  for (std::int64_t i = 0; i < kColumns; ++i) column.push_back(i * lanes);
  column.push_back(kFillRow);
  GroupArgs<T> args{};
  ChannelArgs<T>& pixels = args.pixels;
  pixels.x = x.data();
  pixels.row = row.data();
  pixels.kernel_rows = pixels.kernel_columns = kSide;
  pixels.column = column.data();
  pixels.dilation = pixels.stride = pixels.vecs = 1;
  pixels.column_pitch = lanes;
  pixels.seen_end = kAllColumns;
  pixels.fill = fill.data();
  pixels.w = weights.data();
  pixels.bias = bias.data();
  pixels.out = out.data();
  pixels.out_pixel = outs;
  pixels.pixels = kPixels;
  args.border = &column.back();
  args.inside_end = kPixels;
  args.step = lanes;
  args.sums = channels;
  args.route = route.data();
  args.rounds = 1;
  args.out_channels = outs;
  args.low = low.data();
  set.group_lanes(args);
  bool right = true;
  for (std::int64_t p = 0; p < kPixels; ++p) {
    for (std::int64_t o = 0; o < outs; ++o) {
      const std::int64_t k = o % channels;
      T sum = bias[o];
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::int64_t lane = o - k + c, j = (k - c + channels) % channels;
        for (std::int64_t h = 0; h < kSide; ++h)
          for (std::int64_t w = 0; w < kSide; ++w)
            sum += x[(h * kColumns + p + w) * lanes + lane] *
                   weights[((h * kSide + w) * channels + j) * lanes + lane];
      }
      right = right && out[p * outs + o] == sum;
    }
  }
  if (!passed(state, right)) return;
  time_operations(state, 2.0 * static_cast<double>(kPixels * kSide * kSide * outs * channels), peak,
                  [&] { set.group_lanes(args); });
}

// The ways from accumulators to the output; bias and ReLU on each.
struct StoreForm {
  const char* name;
  bool acc_by_pixel;  // accumulators [pixels][channels]
  bool out_by_pixel;
};
constexpr StoreForm kStoreForms[] = {{"planes", false, false},
                                     {"channels_last", true, true},
                                     {"transposed", true, false},
                                     {"planes_to_channels_last", false, true}};

template <class T>
void store(benchmark::State& state, const KernelSet<T>& set, const StoreForm& form) {
  constexpr std::int64_t kPixels = 96, kOut = 64;
  const std::vector<T> acc = small_integers<T>(kPixels * kOut), bias = small_integers<T>(kOut);
  std::vector<T> out(static_cast<std::size_t>(kPixels * kOut));
  StoreArgs<T> args{};
  args.acc = acc.data();
  args.acc_pixel = form.acc_by_pixel ? kOut : 1;
  args.acc_channel = form.acc_by_pixel ? 1 : kPixels;
  args.pixels = kPixels;
  args.channels = kOut;
  args.out = out.data();
  args.out_pixel = form.out_by_pixel ? kOut : 1;
  args.out_channel = form.out_by_pixel ? 1 : kPixels;
  args.bias = bias.data();
  // Integers are activated later, when they are converted.
  args.activation = std::is_floating_point_v<T> ? Activation::relu : Activation::none;
  set.store(args);
  bool right = true;
  for (std::int64_t p = 0; p < kPixels; ++p) {
    for (std::int64_t c = 0; c < kOut; ++c) {
      const T sum = acc[p * args.acc_pixel + c * args.acc_channel] + bias[c];
      const T expected = std::is_floating_point_v<T> ? std::max(sum, T(0)) : sum;
      right = right && out[p * args.out_pixel + c * args.out_channel] == expected;
    }
  }
  if (!passed(state, right)) return;
  for (auto _ : state) {
    set.store(args);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * 2 * kPixels * kOut *
                          static_cast<std::int64_t>(sizeof(T)));
}

template <class T>
void pack(benchmark::State& state, const KernelSet<T>& set) {
  const std::int64_t rows = set.out_vecs * set.lanes;
  const std::vector<T> from = small_integers<T>(rows * kTaps);
  std::vector<T> to(from.size());
  const PackArgs<T> args{from.data(), kTaps, rows, kTaps, to.data(), rows};
  set.pack(args);
  bool right = true;
  for (std::int64_t t = 0; t < kTaps; ++t)
    for (std::int64_t r = 0; r < rows; ++r)
      right = right && to[t * rows + r] == from[r * kTaps + t];
  if (!passed(state, right)) return;
  for (auto _ : state) {
    set.pack(args);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * 2 * rows * kTaps *
                          static_cast<std::int64_t>(sizeof(T)));
}

void half(benchmark::State& state, void (*widen)(const std::uint16_t*, float*, std::int64_t),
          void (*narrow)(const float*, std::uint16_t*, std::int64_t), bool widening) {
  constexpr std::int64_t kCount = 4096;
  std::vector<float> wide = small_integers<float>(kCount), back(kCount);
  std::vector<std::uint16_t> halves(kCount);
  narrow(wide.data(), halves.data(), kCount);
  widen(halves.data(), back.data(), kCount);
  if (!passed(state, wide == back)) return;
  for (auto _ : state) {
    if (widening) {
      widen(halves.data(), back.data(), kCount);
    } else {
      narrow(wide.data(), halves.data(), kCount);
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * kCount * 6);
}

template <class T>
void register_type(const KernelTable& table, const char* type) {
  const KernelSet<T>& set = table.set<T>();
  const std::string prefix = std::string(table.name) + "/" + type + "/";
  const double peak = bench::peak_of<T>(table.name).operations_per_second();
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GOP/s", peak * 1e-9);
  benchmark::AddCustomContext("peak " + std::string(table.name) + " " + type, text);
  for (int v = 1; v <= set.out_vecs; ++v) {
    benchmark::RegisterBenchmark(
        (prefix + "outer/" + std::to_string(v)).c_str(),
        [&set, v, peak](benchmark::State& s) { outer<T>(s, set, v, peak); });
  }
  for (int r = 1; r <= set.rows; ++r) {
    benchmark::RegisterBenchmark(
        (prefix + "pixel_lanes/" + std::to_string(r)).c_str(),
        [&set, r, peak](benchmark::State& s) { lanes<T>(s, set, r, peak); });
  }
  for (int r = 1; r <= KernelSet<T>::kStencilRows && set.row_stencil[0] != nullptr; ++r) {
    benchmark::RegisterBenchmark(
        (prefix + "row_stencil/" + std::to_string(r)).c_str(),
        [&set, r, peak](benchmark::State& s) { stencil<T>(s, set, r, peak); });
  }
  struct PlaneForm {
    const char* name;
    PlaneKernel kind;
    std::int64_t side;
  };
  for (const PlaneForm& form :
       {PlaneForm{"any", PlaneKernel::any, 3}, PlaneForm{"3x3", PlaneKernel::square3, 3},
        PlaneForm{"3x3_by2", PlaneKernel::square3_by2, 3},
        PlaneForm{"5x5", PlaneKernel::square5, 5}, PlaneForm{"7x7", PlaneKernel::square7, 7},
        PlaneForm{"15x1", PlaneKernel::column, 15}}) {
    if (set.plane[static_cast<int>(form.kind)] == nullptr) continue;
    benchmark::RegisterBenchmark(
        (prefix + "plane/" + form.name).c_str(),
        [&set, form, peak](benchmark::State& s) { planes<T>(s, set, form.kind, form.side, peak); });
  }
  for (int size = 0; size < KernelSet<T>::kRollSizes; ++size) {
    if (set.rolling[size][0] == nullptr) continue;
    const bool any = size == KernelSet<T>::kRollSizes - 1;
    const std::int64_t side = any ? 6 : 3 + 2 * size;
    for (const std::int64_t stride : {1, 2}) {
      const std::string name = (any ? "any" : std::to_string(side)) + (stride == 1 ? "" : "_by2");
      benchmark::RegisterBenchmark((prefix + "rolling/" + name).c_str(),
                                   [&set, size, side, stride, peak](benchmark::State& s) {
                                     rolling<T>(s, set, size, side, stride, peak);
                                   });
    }
  }
  for (const int channels : {1, 2, 3, 4, 8}) {
    if (channels > set.group_sums) continue;
    benchmark::RegisterBenchmark(
        (prefix + "group_lanes/" + std::to_string(channels)).c_str(),
        [&set, channels, peak](benchmark::State& s) { group_lanes<T>(s, set, channels, peak); });
  }
  for (const StoreForm& form : kStoreForms) {
    benchmark::RegisterBenchmark((prefix + "store/" + form.name).c_str(),
                                 [&set, &form](benchmark::State& s) { store<T>(s, set, form); });
  }
  benchmark::RegisterBenchmark((prefix + "pack").c_str(),
                               [&set](benchmark::State& s) { pack<T>(s, set); });
}

// There and back: what comes out is what went in, times the points. Operations by the usual count,
// 5 n log2(n) of each complex transform.
void transform(benchmark::State& state, const FftKernels& fft, int log2, bool forward,
               double peak) {
  const std::int64_t points = std::int64_t{1} << log2, elements = points * 2 * fft.lanes;
  const std::vector<double> twiddles = fft_twiddles(log2);
  const std::vector<double> given = small_integers<double>(elements);
  std::vector<double> work = given, spectrum(given.size());
  const FftArgs args{work.data(), spectrum.data(), 2 * fft.lanes, fft.lanes, twiddles.data(), log2};
  fft.forward(args);
  fft.inverse(args);
  bool right = true;
  for (std::size_t i = 0; i < given.size(); ++i)
    right = right && std::abs(work[i] / static_cast<double>(points) - given[i]) < 1e-12;
  if (!passed(state, right)) return;
  // Of zeros, as sums would grow from turn to turn.
  std::fill(work.begin(), work.end(), 0.0);
  const double lanes = fft.lanes;
  time_operations(state, 5.0 * static_cast<double>(points) * log2 * lanes, peak,
                  [&] { (forward ? fft.forward : fft.inverse)(args); });
}

// Eight rows of spectra of 16 points, a kernel of 24 rows.
void spectra(benchmark::State& state, const FftKernels& fft, double peak) {
  constexpr std::int64_t kRows = 8, kTerms = 24, kPoints = 16;
  const std::int64_t row = 2 * fft.lanes, pitch = (kRows + kTerms) * row;
  std::vector<std::int32_t> rows, taps;
  for (std::int64_t i = 0; i < kRows; ++i) rows.push_back(static_cast<std::int32_t>(i * row));
  for (std::int64_t i = 0; i < kTerms; ++i) taps.push_back(static_cast<std::int32_t>(i * row));
  const std::vector<double> x = small_integers<double>(kPoints * pitch);
  const std::vector<double> w = small_integers<double>(kPoints * kTerms * 2);
  std::vector<double> y(static_cast<std::size_t>(kPoints * kRows * row));
  FftProductArgs args{};
  args.x = x.data();
  args.x_pitch = pitch;
  args.x_imaginary = fft.lanes;
  args.row = rows.data();
  args.rows = kRows;
  args.tap = taps.data();
  args.terms = args.run = kTerms;
  args.w = w.data();
  args.w_filter = args.w_pitch = kTerms * 2;
  args.y = y.data();
  args.y_pitch = kRows * row;
  args.filters = 1;
  args.points = kPoints;
  fft.product(args);
  double re = 0, im = 0;  // of the last point, row and lane
  for (std::int64_t t = 0; t < kTerms; ++t) {
    const double* const a = &x[static_cast<std::size_t>(kPoints * pitch - 1 - (kTerms - t) * row)];
    const double* const b = &w[static_cast<std::size_t>(((kPoints - 1) * kTerms + t) * 2)];
    re += a[-fft.lanes] * b[0] - a[0] * b[1];
    im += a[-fft.lanes] * b[1] + a[0] * b[0];
  }
  if (!passed(state, y.end()[-1] == im && y.end()[-1 - fft.lanes] == re)) return;
  time_operations(state, 8.0 * kPoints * kRows * kTerms * static_cast<double>(fft.lanes), peak,
                  [&] { fft.product(args); });
}

void register_fft(const KernelTable& table) {
  const double peak = bench::peak_of<double>(table.name).operations_per_second();
  const std::string prefix = std::string(table.name) + "/fft/";
  const FftKernels& fft = table.fft;
  for (const int log2 : {6, 9, 12}) {
    for (const bool forward : {true, false}) {
      const std::string name = (forward ? "forward/" : "inverse/") + std::to_string(1 << log2);
      benchmark::RegisterBenchmark((prefix + name).c_str(),
                                   [&fft, log2, forward, peak](benchmark::State& s) {
                                     transform(s, fft, log2, forward, peak);
                                   });
    }
  }
  benchmark::RegisterBenchmark((prefix + "product").c_str(),
                               [&fft, peak](benchmark::State& s) { spectra(s, fft, peak); });
}

void register_half(const KernelTable& table) {
  const HalfKernels& h = table.half;
  const std::string prefix = std::string(table.name) + "/";
  for (const bool widening : {true, false}) {
    const std::string direction = widening ? "/widen" : "/narrow";
    benchmark::RegisterBenchmark(
        (prefix + "f16" + direction).c_str(),
        [&h, widening](benchmark::State& s) { half(s, h.from_f16, h.to_f16, widening); });
    benchmark::RegisterBenchmark(
        (prefix + "bf16" + direction).c_str(),
        [&h, widening](benchmark::State& s) { half(s, h.from_bf16, h.to_bf16, widening); });
  }
}

// Those that the processor has instructions for.
void register_tiles(const KernelTable& table) {
  constexpr const char* kNames[kTileProducts] = {"six", "four",  "halves", "three",
                                                 "one", "bytes", "shorts"};
  for (int i = 0; i < kTileProducts; ++i) {
    const auto p = static_cast<TileProduct>(i);
    if ((*table.tiles)[p].rate == 0) continue;
    const double peak = bench::tile_peak(table, p);
    benchmark::RegisterBenchmark((std::string(table.name) + "/tiles/" + kNames[i]).c_str(),
                                 [&table, p, peak](benchmark::State& state) {
                                   bench::TileLayer layer(table, p);
                                   if (!passed(state, layer.is_right())) return;
                                   time_operations(state, layer.operations(), peak,
                                                   [&] { layer.run(); });
                                 });
  }
}

}  // namespace
}  // namespace fastconv

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  for (const std::string& name : fastconv::available_isas()) {
    fastconv::set_active_kernels(name);
    const fastconv::KernelTable& table = fastconv::active_kernels();
    fastconv::register_type<float>(table, "f32");
    fastconv::register_type<double>(table, "f64");
    fastconv::register_type<std::int32_t>(table, "i32");
    fastconv::register_type<std::int64_t>(table, "i64");
    fastconv::register_fft(table);
    fastconv::register_half(table);
    fastconv::register_tiles(table);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return fastconv::all_right ? 0 : 1;
}
