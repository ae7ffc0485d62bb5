// test_engine.cpp: the engine against its plain loop, bit for bit, on random problems.
//
// Inputs are small integers, so that every partial sum is exact in every type and no order of
// summation can excuse a difference. Every instruction set of the machine, every algorithm, and
// tilings for caches far smaller than real ones, which cut small problems as large ones are cut.
//
// Usage: test_engine [problems] [seed]
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "algorithms/candidates.hpp"
#include "check.hpp"
#include "core/rounding.hpp"
#include "core/validate.hpp"
#include "kernels/dispatch.hpp"
#include "plan/plan.hpp"
#include "random_cases.hpp"

using namespace fastconv;
using namespace fastconv::test;

namespace {

std::int64_t problems = 1500;

Memory run_plan(const Case& c, Algorithm algorithm, const KernelTable& kernels, int threads) {
  Problem problem = c.problem;
  problem.algorithm = algorithm;
  const Plan plan(problem, c.operands.x, kernels, threads);
  bool declined = false;
  Memory y = c.output([&](Operands operands) {
    const Memory packed(plan.packed_bytes(), 0xFF), scratch(plan.scratch_bytes(), 0xFF);
    operands.weights = &c.weights;
    Interrupt interrupt(nullptr);
    if (!plan.packs_as_it_runs(c.weights)) {
      if (!plan.pack(c.weights, packed.data(), interrupt)) {
        declined = true;
        return;
      }
      operands.packed = packed.data();
    }
    CHECK(plan.run(operands, scratch.data(), interrupt));
  });
  return declined ? run_plan(c, Algorithm::direct, kernels, threads) : std::move(y);
}

template <class T>
Memory run_candidate(const Case& c, const Candidate& candidate, const KernelTable& table,
                     int threads, std::int64_t l1, std::int64_t l2) {
  const KernelSet<T>& set = table.set<T>();
  Machine machine{set.lanes,
                  set.out_vecs,
                  set.rows,
                  set.pixels,
                  set.chain,
                  {set.column_vecs[0], set.column_vecs[1]},
                  set.most_rolled,
                  sizeof(T),
                  l1,
                  l2,
                  threads,
                  set.splices};
  machine.rolls_any = set.rolling[KernelSet<T>::kRollSizes - 1][0] != nullptr;
  for (int p = 0; p < kTileProducts; ++p)
    machine.tile_scattered[p] = table.tiles->product[p].rows.scattered;
  if (candidate.execute != nullptr) {
    const auto execution = candidate.execute(c.problem, c.operands.x, table, machine);
    return c.output([&](Operands operands) {
      const Memory packed(execution->packed_bytes(), 0xFF);
      operands.weights = &c.weights;
      Interrupt interrupt(nullptr);
      if (!execution->reads_in_place(c.weights) || chance(50)) {
        CHECK(execution->pack(c.weights, packed.data(), threads, interrupt));
        operands.packed = packed.data();
      }
      const Memory scratch(threads * execution->scratch_bytes(), 0xFF);
      std::vector<std::uint8_t> unsuitable(
          static_cast<std::size_t>(c.problem.batch * execution->grid().count));
      operands.unsuitable = unsuitable.data();
      execution->run(operands, scratch.data(), threads, interrupt);
    });
  }
  const Tiling tiling = candidate.tile(c.problem, c.operands.x, machine);
  const PanelShape shape = panel_shape(c.problem, tiling);
  return c.output([&](Operands operands) {
    const Memory packed(packed_elements(c.problem, shape) * std::int64_t{sizeof(T)}, 0xFF);
    for (std::int64_t g = 0; g < c.problem.groups; ++g)
      for (std::int64_t p = 0; p < shape.panels(); ++p)
        pack_panel<T>(table, c.problem, c.weights, shape, g, p, 0, c.problem.terms(),
                      reinterpret_cast<T*>(packed.data()) +
                          (g * shape.group_width() + p * shape.panel) * c.problem.terms());
    operands.packed = packed.data();
    const Memory scratch(threads * scratch_bytes(tiling, sizeof(T)), 0xFF);
    Interrupt interrupt(nullptr);
    run_tiled(c.problem, tiling, table, operands, scratch.data(), threads, interrupt);
  });
}

Memory run_candidate(const Case& c, const Candidate& candidate, const KernelTable& table,
                     int threads, std::int64_t l1, std::int64_t l2) {
  switch (c.problem.compute) {
    case Compute::f32:
      return run_candidate<float>(c, candidate, table, threads, l1, l2);
    case Compute::f64:
      return run_candidate<double>(c, candidate, table, threads, l1, l2);
    case Compute::i32:
      return run_candidate<std::int32_t>(c, candidate, table, threads, l1, l2);
    default:
      return run_candidate<std::int64_t>(c, candidate, table, threads, l1, l2);
  }
}

std::string describe(const Problem& p) {
  std::string s = "batch " + std::to_string(p.batch) + " groups " + std::to_string(p.groups) +
                  " C " + std::to_string(p.in_channels) + " K " + std::to_string(p.out_channels);
  for (const Axis& a : p.axis)
    s += " [in " + std::to_string(a.in) + " k " + std::to_string(a.kernel) + " s " +
         std::to_string(a.stride) + " d " + std::to_string(a.dilation) + " p " +
         std::to_string(a.lo) + "," + std::to_string(a.hi) + " out " + std::to_string(a.out) + "]";
  s += " border " + std::to_string(static_cast<int>(p.border)) + " act " +
       std::to_string(static_cast<int>(p.activation)) + (p.flip ? " flip" : "") +
       (p.complex ? " complex" : "") + (p.saturate ? " saturate" : "") +
       (p.has_bias ? " bias" : "") + " x " + std::to_string(static_cast<int>(p.x_type)) + " y " +
       std::to_string(static_cast<int>(p.y_type)) + " compute " + name_of(p.compute);
  return s;
}

void compare(const Memory& expected, const Memory& got, const Case& c, const KernelTable& table,
             const char* what) {
  if (CHECK(expected == got)) return;
  if (check::failed <= 20)
    std::printf("   %s %s: %s\n", table.name, what, describe(c.problem).c_str());
}

// Calls visit for every table that can run here.
template <class Visit>
void each_isa(Visit visit) {
  for (const std::string& name : available_isas()) {
    set_active_kernels(name);
    visit(active_kernels());
  }
#ifdef FASTCONV_TEST_EMULATED_AVX512  // linked with kernels made of avx512_emulation/
  static TileKernels with_fp16 = tiles_amx;
  with_fp16.product[static_cast<int>(TileProduct::shorts)] = tiles_avx512_dots[TileProduct::shorts];
  static TileKernels without = with_fp16;
  without.product[static_cast<int>(TileProduct::halves)] = tiles_portable[TileProduct::halves];
  for (const TileKernels* tiles : {&with_fp16, &without}) {
    KernelTable amx = table_avx512;
    amx.tiles = tiles;
    visit(amx);
  }
#endif
}

void check_all(const Case& c) {
  // Sums of small integers are exact. What FMA changes is the last bit of an exponential: there
  // each set is compared with itself.
  const Activation activation = c.problem.activation;
  const bool exact = activation != Activation::sigmoid && activation != Activation::tanh &&
                     activation != Activation::silu;
  const auto plain_loop = [&](const KernelTable& table) {
    return run_plan(c, Algorithm::reference, table, 1);
  };
  const Memory once = exact ? plain_loop(table_scalar) : Memory(0, 0);
  each_isa([&](const KernelTable& table) {
    const Memory own = exact ? Memory(0, 0) : plain_loop(table);
    const Memory& expected = exact ? once : own;
    const int threads = static_cast<int>(pick(1, 3));
    compare(expected, run_plan(c, Algorithm::automatic, table, threads), c, table, "auto");
    compare(expected, run_plan(c, Algorithm::direct, table, threads), c, table, "direct");
    compare(expected, run_plan(c, Algorithm::im2col, table, threads), c, table, "im2col");
    // Most of the time goes into this loop, of which sets differ in conversions and stores alone.
    if (chance(25))
      compare(expected, run_plan(c, Algorithm::reference, table, threads), c, table, "reference");
    for (const Candidate* candidate : {&tap_product, &columns, &direct, &flat, &groups, &plane,
                                       &pointwise, &row_stencil, &stencil, &im2col_gemm}) {
      if (candidate->accepts(c.problem) != nullptr) continue;
      if (candidate == &flat && table.f32.flat_lanes == nullptr) continue;
      const bool is_float_set = is_float(c.problem.compute);
      if (candidate == &row_stencil && is_float_set && table.f32.row_stencil[0] == nullptr)
        continue;
      if (candidate == &groups && c.problem.out_channels > table.f32.group_sums) continue;
      // Scalar kernels have none: its cost is infinite there.
      if (candidate == &columns && table.f32.column_vecs[0] == 0) continue;
      if (candidate->suits != nullptr && !candidate->suits(c.problem, c.operands.x)) continue;
      const std::int64_t l1 = std::int64_t{1} << pick(8, 15), l2 = std::int64_t{1} << pick(10, 19);
      compare(expected, run_candidate(c, *candidate, table, threads, l1, l2), c, table,
              candidate->kernel);
    }
  });
}

void test_small_problems() {
  for (std::int64_t i = 0; i < problems; ++i) check_all(random_case(200'000));
}

void test_planes() {
  for (std::int64_t i = 0; i < problems; ++i) check_all(random_case(400'000, false, random_planes));
}

void test_specks() {
  for (std::int64_t i = 0; i < problems; ++i) check_all(random_case(400'000, false, random_specks));
}

void test_larger_problems() {
  for (std::int64_t i = 0; i < problems / 50; ++i) check_all(random_case(4'000'000));
}

// A sum of many channels that no patch in cache can hold.
void test_deep_reduction() {
  Options o;
  o.lo = o.hi = {0, 1, 1};
  for (const DType type : {DType::f32, DType::f16, DType::f64}) {
    Case c;
    c.problem = make_problem(o, {1, 700, 9, 10}, {3, 700, 3, 3}, nullptr);
    c.problem.compute = type == DType::f64 ? Compute::f64 : Compute::f32;
    c.problem.x_type = c.problem.y_type = c.w_type = type;
    c.make_arrays();
    check_all(c);
  }
}

// A kernel of which one channel is too large for a patch.
void test_wide_kernel() {
  Options o;
  o.dilation = {1, 9, 7};
  Case c;
  c.problem = make_problem(o, {1, 1, 300, 310}, {2, 1, 33, 41}, nullptr);
  c.problem.border = Border::wrap;
  c.make_arrays();
  check_all(c);
}

// The images of a batch, each in a call of its own.
Memory run_one_by_one(const Case& c, Algorithm algorithm, const KernelTable& kernels) {
  Problem problem = c.problem;
  problem.algorithm = algorithm;
  problem.batch = 1;
  const Plan plan(problem, c.operands.x, kernels, 1);
  bool declined = false;
  Memory y = c.output([&](Operands operands) {
    const Memory packed(plan.packed_bytes(), 0xFF), scratch(plan.scratch_bytes(), 0xFF);
    Interrupt interrupt(nullptr);
    if (!plan.pack(c.weights, packed.data(), interrupt)) {
      declined = true;
      return;
    }
    operands.weights = &c.weights;
    operands.packed = packed.data();
    for (std::int64_t image = 0; image < c.problem.batch; ++image) {
      CHECK(plan.run(operands, scratch.data(), interrupt));
      operands.x.data += operands.x.batch;
      operands.y.data += operands.y.batch;
    }
  });
  return declined ? run_one_by_one(c, Algorithm::direct, kernels) : std::move(y);
}

// Rounded sums, too, are the same for any number of threads and any batch.
void test_threads_and_batch_do_not_matter() {
  for (std::int64_t i = 0; i < problems / 10; ++i) {
    const Case c = random_case(3'000'000, true, chance(30) ? random_planes : random_shapes);
    each_isa([&](const KernelTable& table) {
      for (const Algorithm a : {Algorithm::automatic, Algorithm::direct, Algorithm::im2col}) {
        const Memory alone = run_plan(c, a, table, 1);
        for (const int threads : {2, 3, 7})
          compare(alone, run_plan(c, a, table, threads), c, table, "threads");
        compare(alone, run_one_by_one(c, a, table), c, table, "batch");
      }
    });
  }
}

bool stop() { return true; }

// Winograd's transforms are exact on small integers, too: any rank, kernel, stride, dilation,
// groups, layout, type.
void test_winograd() {
  for (std::int64_t i = 0; i < problems / 40; ++i) {
    Case c;
    Options o;
    o.rank = 3;
    const std::int64_t depth = chance(25) ? pick(2, 5) : 1;
    const std::int64_t kernel = pick(1, depth);
    o.groups = chance(20) ? 2 : 1;
    const bool three = chance(40);
    std::int64_t kh = three ? 3 : chance(20) ? 1 : pick(2, 7), kw = three ? 3 : pick(2, 7);
    o.dilation = {1, pick(1, 3), pick(1, 3)};
    for (const std::size_t a : {1, 2}) {
      if (!chance(30)) continue;
      o.stride[a] = 2;
      o.dilation[a] = 1;
      if (!three) (a == 1 ? kh : kw) = pick(3, 7);
    }
    o.lo = {pick(0, kernel - 1), pick(0, 3), pick(0, 3)};
    o.hi = {pick(0, kernel - 1), pick(0, 3), pick(0, 3)};
    o.border = one_of({Border::constant, Border::constant, Border::edge, Border::wrap});
    o.flip = chance(30);
    // As many as it takes.
    const std::int64_t few = divide_up(kh > 1 ? 288 : 144, kernel * kh * kw);
    const std::int64_t channels = std::max<std::int64_t>(few, 32) + pick(0, 18);
    const Shape x = {pick(1, 2), o.groups * channels, depth, pick(22, 30), pick(22, 30)};
    const Shape w = {o.groups * pick(1, 24), channels, kernel, kh, kw};
    c.problem = make_problem(o, x, w, nullptr);
    c.problem.compute = chance(75) ? Compute::f32 : Compute::f64;
    c.problem.x_type = c.problem.y_type = c.w_type = stored_type(c.problem.compute);
    c.make_arrays();
    // Not the plain loop, for its time: the sections above hold these against it.
    const Memory expected = run_plan(c, Algorithm::direct, table_scalar, 1);
    each_isa([&](const KernelTable& table) {
      for (const int threads : {1, 3})
        compare(expected, run_plan(c, Algorithm::winograd, table, threads), c, table, "winograd");
    });
  }
}

// Their last bits differ with and without FMA.
bool is_smooth(Activation a) {
  return a == Activation::sigmoid || a == Activation::tanh || a == Activation::silu;
}

// Transforms are exact on whole numbers, float64 included; rounded sums are the same for any number
// of threads and any batch.
void test_transforms() {
  for (std::int64_t i = 0; i < problems / 8; ++i) {
    const bool fractions = chance(25);
    Case c = random_case(1'000'000, fractions, random_rows);
    if (fft.accepts(c.problem) != nullptr || (!fractions && is_smooth(c.problem.activation)))
      continue;
    const Memory expected =
        fractions ? Memory(0, 0) : run_plan(c, Algorithm::reference, table_scalar, 1);
    each_isa([&](const KernelTable& table) {
      if (!fractions) {
        const int threads = static_cast<int>(pick(1, 3));
        compare(expected, run_plan(c, Algorithm::fft, table, threads), c, table, "fft");
        return;
      }
      const Memory alone = run_plan(c, Algorithm::fft, table, 1);
      for (const int threads : {2, 3})
        compare(alone, run_plan(c, Algorithm::fft, table, threads), c, table, "threads");
      compare(alone, run_one_by_one(c, Algorithm::fft, table), c, table, "batch");
    });
  }
}

// Kernels of single channels that are outer products: small integers, or with fractions, which are
// split into factors that are rounded.
void multiply_factors(Case& c) {
  const Layout& l = *c.w_layout;
  const bool fractions = c.values == Values::fractions;
  Index5 i;
  for (i[0] = 0; i[0] < l.size[0]; ++i[0]) {
    std::vector<double> factor[3];
    for (int a = 0; a < 3; ++a)
      for (std::int64_t k = 0; k < l.size[2 + a]; ++k)
        factor[a].push_back(fractions || k == 0 ? static_cast<double>(pick(1, 4))
                                                : std::abs(value_of(Values::small, DType::i8)));
    for (i[2] = 0; i[2] < l.size[2]; ++i[2])
      for (i[3] = 0; i[3] < l.size[3]; ++i[3])
        for (i[4] = 0; i[4] < l.size[4]; ++i[4])
          put(c.w_type,
              c.w->data() + l.origin + i[0] * l.stride[0] + i[2] * l.stride[2] +
                  i[3] * l.stride[3] + i[4] * l.stride[4],
              factor[0][static_cast<std::size_t>(i[2])] *
                  factor[1][static_cast<std::size_t>(i[3])] *
                  factor[2][static_cast<std::size_t>(i[4])] / (fractions ? 77.0 : 1.0));
  }
}

void test_outer_products() {
  for (std::int64_t i = 0; i < problems / 5; ++i) {
    const bool fractions = chance(25);
    Case c = random_case(400'000, fractions, random_planes);
    c.problem.outer_product = true;
    if (separable.accepts(c.problem) != nullptr || (!fractions && is_smooth(c.problem.activation)))
      continue;
    multiply_factors(c);
    if (fractions) {
      each_isa([&](const KernelTable& table) {
        const Memory alone = run_plan(c, Algorithm::separable, table, 1);
        for (const int threads : {2, 3})
          compare(alone, run_plan(c, Algorithm::separable, table, threads), c, table, "threads");
        compare(alone, run_one_by_one(c, Algorithm::separable, table), c, table, "batch");
      });
      continue;
    }
    const Memory expected = run_plan(c, Algorithm::reference, table_scalar, 1);
    each_isa([&](const KernelTable& table) {
      const int threads = static_cast<int>(pick(1, 3));
      const std::int64_t l2 = std::int64_t{1} << pick(10, 21);
      compare(expected, run_candidate(c, separable, table, threads, 1 << 15, l2), c, table,
              "separable");
    });
  }
}

// Products of tiles, on small integers: their parts but for the first are zero, and every sum is
// exact. Emulated tiles are slow, so there are few problems.
void test_tile_products() {
  for (std::int64_t i = 0; i < problems / 12; ++i) {
    Case c = random_case(100'000);
    Problem& p = c.problem;
    if (p.saturate || !(p.compute == Compute::f32 || p.compute == Compute::i32)) continue;
    const bool shorts = chance(50);
    if (p.compute == Compute::i32) {
      p.x_type =
          shorts ? one_of({DType::u8, DType::i8, DType::i16}) : one_of({DType::u8, DType::i8});
      c.w_type = shorts ? one_of({DType::u8, DType::i8, DType::i16}) : DType::i8;
      c.values = one_of({Values::small, Values::wrapping});
    } else if (p.complex || chance(30)) {
      p.x_type = c.w_type = DType::f32;
    } else {
      p.x_type = one_of({DType::f32, DType::f16, DType::bf16});
      c.w_type = one_of({DType::f32, p.x_type});
    }
    c.w_complex = c.w_complex && is_float(c.w_type);
    p.w_type = c.w_type;
    p.precision =
        one_of({Precision::highest, Precision::highest, Precision::high, Precision::medium});
    c.make_arrays();
    const Candidate& candidate = p.compute != Compute::i32 ? amx_split
                                 : shorts                  ? short_dots
                                                           : byte_dots;
    if (candidate.accepts(p) != nullptr) continue;
    if (is_smooth(p.activation)) continue;
    const Memory expected = run_plan(c, Algorithm::reference, table_scalar, 1);
    each_isa([&](const KernelTable& table) {
      const int threads = static_cast<int>(pick(1, 3));
      if (p.compute == Compute::f32)
        compare(expected, run_plan(c, Algorithm::amx_split, table, threads), c, table, "split");
      const std::int64_t l2 = std::int64_t{1} << pick(10, 19);
      compare(expected, run_candidate(c, candidate, table, threads, 1 << 15, l2), c, table,
              candidate.kernel);
    });
  }
}

// Rounded sums of tiles are the same for any number of threads and any batch, too.
void test_tile_products_and_threads() {
  for (std::int64_t i = 0; i < problems / 100; ++i) {
    Case c = random_case(100'000, true);
    c.problem.w_type = c.w_type = c.problem.x_type;
    if (c.problem.compute != Compute::f32 || c.problem.complex || !is_float(c.problem.x_type) ||
        amx_split.accepts(c.problem) != nullptr)
      continue;
    c.make_arrays();
    each_isa([&](const KernelTable& table) {
      const Memory alone = run_plan(c, Algorithm::amx_split, table, 1);
      for (const int threads : {2, 7})
        compare(alone, run_plan(c, Algorithm::amx_split, table, threads), c, table, "threads");
      compare(alone, run_one_by_one(c, Algorithm::amx_split, table), c, table, "batch");
    });
  }
}

void test_interrupt() {
  Options o;
  Case c;
  c.problem = make_problem(o, {8, 256, 58, 58}, {256, 256, 3, 3}, nullptr);
  c.make_arrays();
  for (const Algorithm algorithm : {Algorithm::direct, Algorithm::im2col, Algorithm::reference}) {
    Problem problem = c.problem;
    problem.algorithm = algorithm;
    const Plan plan(problem, c.operands.x, table_scalar, 2);
    const Memory packed(plan.packed_bytes(), 0), scratch(plan.scratch_bytes(), 0);
    Memory y(c.y_layout->bytes, 0);
    Interrupt none(nullptr);
    plan.pack(c.weights, packed.data(), none);
    Operands operands = c.operands;
    operands.packed = packed.data();
    operands.y.data = y.data() + c.y_layout->origin;
    Interrupt interrupt(stop);
    const auto start = std::chrono::steady_clock::now();
    CHECK(!plan.run(operands, scratch.data(), interrupt));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    // 0.1 s where the machine has nothing else to do.
    if (std::getenv("FASTCONV_TEST_EMULATED") == nullptr) CHECK(took.count() < 0.5);
#endif
    std::printf("   stopped after %.0f ms\n", took.count() * 1e3);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) problems = std::atoll(argv[1]);
  if (argc > 2) generator.seed(static_cast<std::uint64_t>(std::atoll(argv[2])));
  check::section("deep reduction", test_deep_reduction);
  check::section("wide kernel", test_wide_kernel);
  check::section("small problems", test_small_problems);
  check::section("planes", test_planes);
  check::section("specks", test_specks);
  check::section("larger problems", test_larger_problems);
  check::section("threads and batch do not matter", test_threads_and_batch_do_not_matter);
  check::section("winograd", test_winograd);
  check::section("transforms", test_transforms);
  check::section("outer products", test_outer_products);
  check::section("tile products", test_tile_products);
  check::section("tile products and threads", test_tile_products_and_threads);
  check::section("interrupt", test_interrupt);
  return check::summary();
}
