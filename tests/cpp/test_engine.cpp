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

using namespace fastconv;

namespace {

std::mt19937_64 generator(1);
std::int64_t problems = 1500;

std::int64_t pick(std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(generator() % static_cast<std::uint64_t>(high - low + 1));
}
bool chance(int percent) { return pick(1, 100) <= percent; }
template <class T, std::size_t N>
T one_of(const T (&choices)[N]) {
  return choices[pick(0, static_cast<std::int64_t>(N) - 1)];
}

// Memory of an exact size, so that AddressSanitizer sees every step beyond it.
class Memory {
 public:
  Memory(std::int64_t bytes, int fill)
      : size_(static_cast<std::size_t>(bytes)),
        data_(static_cast<char*>(std::aligned_alloc(64, (size_ + 63) / 64 * 64)), &std::free) {
    if (data_ == nullptr) std::abort();
    std::memset(data_.get(), fill, size_);
  }
  char* data() const { return data_.get(); }
  bool operator==(const Memory& other) const {
    return size_ == other.size_ && std::memcmp(data(), other.data(), size_) == 0;
  }

 private:
  std::size_t size_;
  std::unique_ptr<char, decltype(&std::free)> data_;
};

using Index5 = std::array<std::int64_t, 5>;

// How five axes lie in memory: any order, gaps, backwards, or one element for a whole axis.
struct Layout {
  Index5 size;
  Index5 stride = {};
  std::int64_t origin = 0;  // byte of element (0, 0, 0, 0, 0)
  std::int64_t bytes = 0;

  Layout(const Index5& sizes, std::int64_t item, bool may_repeat) : size(sizes) {
    constexpr std::array<int, 5> kChannelsFirst = {0, 1, 2, 3, 4}, kChannelsLast = {0, 2, 3, 4, 1};
    std::array<int, 5> order = chance(50) ? kChannelsFirst : kChannelsLast;
    const bool plain = chance(60);
    if (!plain && chance(40)) std::shuffle(order.begin(), order.end(), generator);
    std::int64_t step = item;
    for (int i = 4; i >= 0; --i) {
      const int axis = order[static_cast<std::size_t>(i)];
      if (!plain && may_repeat && chance(5)) continue;
      stride[axis] = step;
      if (!plain && chance(15)) stride[axis] *= 2;
      step = stride[axis] * size[axis];
      if (!plain && chance(20)) {
        origin += stride[axis] * (size[axis] - 1);
        stride[axis] = -stride[axis];
      }
    }
    bytes = step;
  }

  template <class Visit>
  void each(Visit visit) const {
    Index5 i;
    for (i[0] = 0; i[0] < size[0]; ++i[0])
      for (i[1] = 0; i[1] < size[1]; ++i[1])
        for (i[2] = 0; i[2] < size[2]; ++i[2])
          for (i[3] = 0; i[3] < size[3]; ++i[3])
            for (i[4] = 0; i[4] < size[4]; ++i[4])
              visit(origin + i[0] * stride[0] + i[1] * stride[1] + i[2] * stride[2] +
                    i[3] * stride[3] + i[4] * stride[4]);
  }
};

template <class T>
void put_as(char* at, double value) {
  const T typed = static_cast<T>(
      static_cast<std::conditional_t<std::is_integral_v<T>, std::int64_t, double>>(value));
  std::memcpy(at, &typed, sizeof typed);
}

void put(DType type, char* at, double value) {
  switch (type) {
    case DType::i8:
    case DType::u8:
      return put_as<std::int8_t>(at, value);
    case DType::i16:
    case DType::u16:
      return put_as<std::int16_t>(at, value);
    case DType::i32:
    case DType::u32:
      return put_as<std::int32_t>(at, value);
    case DType::i64:
    case DType::u64:
      return put_as<std::int64_t>(at, value);
    case DType::f32:
      return put_as<float>(at, value);
    case DType::f64:
      return put_as<double>(at, value);
    default: {
      const float wide = static_cast<float>(value);
      std::uint16_t half;
      const HalfKernels& kernels = table_scalar.half;
      (type == DType::f16 ? kernels.to_f16 : kernels.to_bf16)(&wide, &half, 1);
      std::memcpy(at, &half, sizeof half);
    }
  }
}

DType stored_type(Compute compute) {
  constexpr DType kTypes[] = {DType::f32, DType::f64, DType::i32, DType::i64};
  return kTypes[static_cast<int>(compute)];
}

// What the inputs are filled with. Full-range integers check that sums wrap; fractions, whose
// sums are rounded, are for comparisons of one algorithm with itself.
enum class Values { small, wrapping, fractions };

bool is_unsigned(DType type) { return type >= DType::u8 && type <= DType::u64; }

double value_of(Values values, DType type) {
  switch (values) {
    case Values::wrapping:
      return static_cast<double>(pick(-(std::int64_t{1} << 31), std::int64_t{1} << 31));
    case Values::fractions:
      return static_cast<double>(pick(-1000, 1000)) / 777.0;
    default:
      return static_cast<double>(is_unsigned(type) ? pick(0, 9) : pick(-4, 4));
  }
}

// One problem with its arrays.
struct Case {
  Problem problem;
  Values values = Values::small;
  DType w_type = DType::f32;
  bool w_complex = false;  // a complex problem may have real weights
  std::unique_ptr<Layout> x_layout, w_layout, y_layout;
  std::unique_ptr<Memory> x, w, bias;
  Weights weights;
  Operands operands;

  // The arrays that `problem` asks for.
  void make_arrays() {
    const std::int64_t parts = problem.complex ? 2 : 1;
    const auto& axis = problem.axis;
    x_layout =
        std::make_unique<Layout>(Index5{problem.batch, problem.groups * problem.in_channels / parts,
                                        axis[0].in, axis[1].in, axis[2].in},
                                 size_of(problem.x_type) * parts, true);
    y_layout = std::make_unique<Layout>(
        Index5{problem.batch, problem.groups * problem.out_channels / parts, axis[0].out,
               axis[1].out, axis[2].out},
        size_of(problem.y_type) * parts, false);
    w_layout = std::make_unique<Layout>(
        Index5{problem.groups * problem.out_channels / parts, problem.in_channels / parts,
               axis[0].kernel, axis[1].kernel, axis[2].kernel},
        size_of(w_type) * (w_complex ? 2 : 1), true);
    x = filled(*x_layout, problem.x_type, problem.complex);
    w = filled(*w_layout, w_type, w_complex);
    operands.x = tensor(*x_layout, problem.x_type, problem.complex, x->data());
    operands.y = tensor(*y_layout, problem.y_type, problem.complex, nullptr);
    const Tensor t = tensor(*w_layout, w_type, w_complex, w->data());
    weights = {t.data, w_type, t.batch, t.channel, t.part, t.axis};
    if (problem.has_bias) {
      const DType type = stored_type(problem.compute);
      const std::int64_t n = problem.groups * problem.out_channels;
      bias = std::make_unique<Memory>(n * size_of(type), 0);
      for (std::int64_t i = 0; i < n; ++i)
        put(type, bias->data() + i * size_of(type), static_cast<double>(pick(-9, 9)));
      operands.bias = bias->data();
    }
  }

  std::unique_ptr<Memory> filled(const Layout& layout, DType type, bool complex) const {
    auto memory = std::make_unique<Memory>(layout.bytes, 0xCD);
    // With rounding to integers at the end, halves make ties.
    const double unit = problem.saturate && is_float(type) ? 0.5 : 1.0;
    layout.each([&](std::int64_t at) {
      for (int part = 0; part < (complex ? 2 : 1); ++part)
        put(type, memory->data() + at + part * size_of(type), unit * value_of(values, type));
    });
    return memory;
  }

  static Tensor tensor(const Layout& l, DType type, bool complex, char* data) {
    Tensor t;
    t.data = data == nullptr ? nullptr : data + l.origin;
    t.batch = l.stride[0];
    t.channel = l.stride[1];
    t.part = complex ? size_of(type) : 0;
    t.axis = {l.stride[2], l.stride[3], l.stride[4]};
    return t;
  }

  // The output array, gaps included, that `run` leaves.
  template <class Run>
  Memory output(Run run) const {
    Memory y(y_layout->bytes, 0xA5);
    Operands with_output = operands;
    with_output.y.data = y.data() + y_layout->origin;
    run(with_output);
    return y;
  }
};

Memory run_plan(const Case& c, Algorithm algorithm, const KernelTable& kernels, int threads) {
  Problem problem = c.problem;
  problem.algorithm = algorithm;
  const Plan plan(problem, c.operands.x, kernels, threads);
  bool declined = false;
  Memory y = c.output([&](Operands operands) {
    const Memory packed(plan.packed_bytes(), 0xFF), scratch(plan.scratch_bytes(), 0xFF);
    operands.weights = &c.weights;
    if (!plan.packs_as_it_runs(c.weights)) {
      if (!plan.pack(c.weights, packed.data())) {
        declined = true;
        return;
      }
      operands.packed = packed.data();
    }
    Interrupt interrupt(nullptr);
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
  for (int p = 0; p < kTileProducts; ++p)
    machine.tile_scattered[p] = table.tiles->product[p].rows.scattered;
  if (candidate.execute != nullptr) {
    const auto execution = candidate.execute(c.problem, c.operands.x, table, machine);
    return c.output([&](Operands operands) {
      const Memory packed(execution->packed_bytes(), 0xFF);
      operands.weights = &c.weights;
      if (!execution->reads_in_place(c.weights) || chance(50)) {
        CHECK(execution->pack(c.weights, packed.data(), threads));
        operands.packed = packed.data();
      }
      const Memory scratch(threads * execution->scratch_bytes(), 0xFF);
      std::vector<std::uint8_t> unsuitable(
          static_cast<std::size_t>(c.problem.batch * execution->grid().count));
      operands.unsuitable = unsuitable.data();
      Interrupt interrupt(nullptr);
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

void choose_types(Problem& p) {
  constexpr DType kSmall[] = {DType::i8, DType::u8, DType::i16, DType::u16};
  constexpr DType k32[] = {DType::i32, DType::u32};
  constexpr DType k64[] = {DType::i64, DType::u64};
  constexpr DType kHalf[] = {DType::f16, DType::bf16};
  constexpr DType kWhole[] = {DType::i8,  DType::u8,  DType::i16, DType::u16,
                              DType::i32, DType::u32, DType::i64, DType::u64};
  p.compute = one_of({Compute::f32, Compute::f32, Compute::f64, Compute::i32, Compute::i64});
  switch (p.compute) {
    case Compute::f32:
      p.x_type = p.y_type = chance(25) ? one_of(kHalf) : DType::f32;
      if (chance(20)) p.x_type = one_of(kSmall);
      p.complex = p.x_type == DType::f32 && p.y_type == DType::f32 && chance(25);
      break;
    case Compute::f64:
      p.x_type = p.y_type = DType::f64;
      p.complex = chance(25);
      if (!p.complex && chance(30)) p.x_type = chance(50) ? DType::f32 : one_of(kWhole);
      break;
    case Compute::i32:
      p.x_type = chance(50) ? one_of(kSmall) : one_of(k32);
      p.y_type = chance(50) ? one_of(kSmall) : one_of(k32);
      break;
    default:
      p.x_type = chance(50) ? one_of(kWhole) : one_of(k64);
      p.y_type = one_of(k64);
  }
  p.saturate = is_float(p.compute) && !p.complex && chance(15);
  if (p.saturate) {
    p.x_type = p.compute == Compute::f32 ? one_of(kSmall) : one_of(kWhole);
    p.y_type = one_of(kWhole);
  }
}

DType random_weight_type(const Problem& p) {
  if (chance(60)) return stored_type(p.compute);
  if (!is_float(p.compute))
    return one_of({DType::i8, DType::u8, DType::i16, DType::u16, DType::i32, DType::u32, DType::i64,
                   DType::u64});
  return one_of(
      {DType::f16, DType::bf16, DType::f32, DType::f64, DType::i8, DType::u8, DType::i16});
}

// Half the time the sizes around a vector and a tile, where the tails are.
std::int64_t channels(std::int64_t most) {
  const std::int64_t n = chance(50) ? pick(1, 6) : pick(1, most);
  return std::min(n, most);
}

struct Shapes {
  Options options;
  Shape x, w;
};

// One channel to a group, or few: depthwise layers, pictures, volumes.
Shapes random_planes() {
  Shapes s;
  Options& o = s.options;
  o.rank = static_cast<int>(pick(1, 3));
  o.groups = pick(1, 5);
  const std::int64_t in = chance(70) ? 1 : pick(1, 3), out = chance(70) ? 1 : pick(1, 5);
  s.x = {pick(1, 2), o.groups * in};
  s.w = {o.groups * out, in};
  const bool square = chance(40);  // 3 x 3, which has kernels of its own
  for (int a = 3 - o.rank; a < 3; ++a) {
    const bool depth = a == 0;
    s.x.push_back(depth        ? pick(1, 3)
                  : a == 1     ? pick(1, 20)
                  : chance(15) ? pick(1, 700)
                               : pick(1, 70));
    s.w.push_back(depth ? pick(1, 3) : square ? 3 : pick(1, 9));
    o.stride[a] = chance(50) ? 1 : pick(1, chance(20) ? 18 : 4);
    o.dilation[a] = chance(70) ? 1 : pick(1, 4);
    if (depth && chance(70)) continue;
    o.lo[a] = chance(40) ? 0 : pick(0, chance(20) ? 30 : 4);
    o.hi[a] = chance(40) ? 0 : pick(0, chance(20) ? 30 : 4);
  }
  if (s.x.back() % 3 == 0 && chance(30)) {  // a picture of three colours
    o.interleave = o.dilation[2] = 3;
    o.lo[2] = o.lo[2] / 3 * 3;
    o.hi[2] = o.hi[2] / 3 * 3;
  }
  return s;
}

// Long rows of kernels, as transforms take them.
Shapes random_rows() {
  Shapes s;
  Options& o = s.options;
  o.rank = static_cast<int>(pick(1, 3));
  o.groups = chance(70) ? 1 : pick(2, 3);
  s.x = {pick(1, 3), o.groups * pick(1, 3)};
  s.w = {o.groups * pick(1, 6), s.x[1] / o.groups};
  for (int a = 3 - o.rank; a < 3; ++a) {
    const bool row = a == 2;
    s.x.push_back(!row ? pick(1, o.rank == 3 ? 6 : 20) : chance(50) ? pick(1, 90) : pick(1, 1500));
    s.w.push_back(!row ? pick(1, o.rank == 3 ? 3 : 9) : chance(50) ? pick(1, 40) : pick(1, 500));
    o.stride[a] = chance(70) ? 1 : pick(1, 4);
    o.dilation[a] = chance(70) ? 1 : pick(1, 4);
    o.lo[a] = chance(40) ? 0 : pick(0, row ? 60 : 3);
    o.hi[a] = chance(40) ? 0 : pick(0, row ? 60 : 3);
  }
  if (s.x.back() % 3 == 0 && chance(20)) {  // a picture of three colours
    o.interleave = o.dilation[2] = 3;
    o.lo[2] = o.lo[2] / 3 * 3;
    o.hi[2] = o.hi[2] / 3 * 3;
  }
  return s;
}

Shapes random_shapes() {
  Shapes s;
  Options& o = s.options;
  o.rank = static_cast<int>(pick(1, 3));
  o.groups = chance(70) ? 1 : pick(2, 4);
  if (chance(30)) o.padding = chance(50) ? PaddingRule::same : PaddingRule::same_lower;
  const std::int64_t size = o.rank == 1 ? 70 : o.rank == 2 ? 19 : 9;
  s.x = {pick(1, 2), o.groups * channels(o.groups > 1 ? 6 : 34)};
  s.w = {o.groups * channels(o.groups > 1 ? 9 : 70), s.x[1] / o.groups};
  for (int a = 3 - o.rank; a < 3; ++a) {
    s.x.push_back(pick(1, size));
    s.w.push_back(pick(1, o.rank == 3 ? 3 : 5));
    o.stride[a] = chance(50) ? 1 : pick(1, 4);
    o.dilation[a] = chance(60) ? 1 : pick(1, 4);
    o.lo[a] = chance(50) ? 0 : pick(0, 2 + (chance(20) ? size : 0));
    o.hi[a] = chance(50) ? 0 : pick(0, 2 + (chance(20) ? size : 0));
  }
  return s;
}

// Pictures smaller than their kernels, so that most taps lie in the border.
Shapes random_specks() {
  Shapes s;
  Options& o = s.options;
  o.rank = static_cast<int>(pick(1, 3));
  o.groups = chance(70) ? 1 : pick(2, 20);
  s.x = {pick(1, 3), o.groups * channels(o.groups > 1 ? 6 : 50)};
  s.w = {o.groups * channels(o.groups > 1 ? 6 : 50), s.x[1] / o.groups};
  for (int a = 3 - o.rank; a < 3; ++a) {
    s.x.push_back(pick(1, 7));
    s.w.push_back(pick(1, o.rank == 3 ? 4 : 7));
    o.stride[a] = chance(70) ? 1 : pick(1, 3);
    o.dilation[a] = chance(40) ? 1 : pick(1, 8);
    const std::int64_t reach = (s.w.back() - 1) * o.dilation[a];
    o.lo[a] = chance(50) ? reach / 2 : pick(0, reach);
    o.hi[a] = chance(50) ? reach - reach / 2 : pick(0, reach);
  }
  return s;
}

// Options and shapes as a caller gives them; throws where they do not fit together.
Problem random_problem(std::int64_t most_products, Shapes (*make_shapes)()) {
  Shapes s = make_shapes();
  s.options.border = chance(40) ? Border::constant : static_cast<Border>(pick(0, 4));
  s.options.flip = chance(30);
  validate_options(s.options);
  const Shape bias = {s.w[0]};
  Problem p = make_problem(s.options, s.x, s.w, chance(50) ? &bias : nullptr);
  if (p.batch * p.groups * p.out_channels * p.out_pixels() * p.terms() > most_products)
    throw std::invalid_argument("too much work");
  choose_types(p);
  if (p.complex) {
    p.in_channels *= 2;
    p.out_channels *= 2;
  }
  constexpr Activation kExact[] = {Activation::relu, Activation::relu6};
  if (!p.complex && chance(30))
    p.activation =
        is_float(p.compute) && !p.saturate ? static_cast<Activation>(pick(1, 6)) : one_of(kExact);
  const DType type = stored_type(p.compute);
  const bool zeros = chance(70);  // which many kernels leave out
  for (Scalar& fill : p.fill)
    put(type, reinterpret_cast<char*>(&fill), static_cast<double>(zeros ? 0 : pick(-3, 3)));
  p.keeps_weights = chance(50);
  return p;
}

Case random_case(std::int64_t most_products, bool fractions = false,
                 Shapes (*make_shapes)() = random_shapes) {
  Case c;
  for (;;) {
    try {
      c.problem = random_problem(most_products, make_shapes);
      break;
    } catch (const std::invalid_argument&) {
    }
  }
  c.problem.w_type = c.w_type = random_weight_type(c.problem);
  c.w_complex = c.problem.complex && is_float(c.w_type) && chance(70);
  if (!is_float(c.problem.compute) && chance(30)) c.values = Values::wrapping;
  if (fractions && is_float(c.problem.x_type) && !c.problem.saturate) c.values = Values::fractions;
  c.make_arrays();
  return c;
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
  each_isa([&](const KernelTable& table) {
    const Memory expected = run_plan(c, Algorithm::reference, exact ? table_scalar : table, 1);
    const int threads = static_cast<int>(pick(1, 3));
    compare(expected, run_plan(c, Algorithm::automatic, table, threads), c, table, "auto");
    compare(expected, run_plan(c, Algorithm::direct, table, threads), c, table, "direct");
    compare(expected, run_plan(c, Algorithm::im2col, table, threads), c, table, "im2col");
    compare(expected, run_plan(c, Algorithm::reference, table, threads), c, table, "reference");
    for (const Candidate* candidate : {&tap_product, &columns, &direct, &plane, &pointwise,
                                       &row_stencil, &stencil, &im2col_gemm}) {
      if (candidate->accepts(c.problem) != nullptr) continue;
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
    if (!plan.pack(c.weights, packed.data())) {
      declined = true;
      return;
    }
    operands.weights = &c.weights;
    operands.packed = packed.data();
    for (std::int64_t image = 0; image < c.problem.batch; ++image) {
      Interrupt interrupt(nullptr);
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
    const Memory expected = run_plan(c, Algorithm::reference, table_scalar, 1);
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
  for (std::int64_t i = 0; i < problems / 2; ++i) {
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
    plan.pack(c.weights, packed.data());
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
