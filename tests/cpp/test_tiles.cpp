// test_tiles.cpp: products of tiles, part by part, against float64 and against each other.
//
// The plain loops (tiles_portable) have the bits of AMX: they are checked against the arithmetic
// they stand for, and what the processor has is checked against them, bit for bit. With
// FASTCONV_TEST_EMULATED_TILES the AMX and VNNI sources run on avx512_emulation/immintrin.h instead
// of on the processor.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "core/cpu.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/table.hpp"
#ifdef FASTCONV_TEST_EMULATED_TILES
#include <immintrin.h>  // of avx512_emulation/
#endif

using namespace fastconv;

namespace {

std::mt19937_64 generator(1);

std::int64_t pick(std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(generator() % static_cast<std::uint64_t>(high - low + 1));
}

constexpr TileProduct kProducts[] = {TileProduct::six,   TileProduct::four, TileProduct::halves,
                                     TileProduct::three, TileProduct::one,  TileProduct::bytes,
                                     TileProduct::shorts};
constexpr TileProduct kFloats[] = {TileProduct::six, TileProduct::four, TileProduct::halves,
                                   TileProduct::three, TileProduct::one};

using Form = TileForm TileKernels::Kernels::*;
constexpr Form kRows = &TileKernels::Kernels::rows, kColumns = &TileKernels::Kernels::columns;

const TileScheme& scheme_of(TileProduct p) { return kTileSchemes[static_cast<int>(p)]; }

float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }

// Of a magnitude that is not near the ends of the range, unless `any`.
float random_float(bool any) {
  const auto bits = static_cast<std::uint32_t>(generator());
  if (any) return float_of(bits);
  return float_of((bits & 0x807fffffu) | static_cast<std::uint32_t>(pick(97, 157)) << 23);
}
// A number that float16 has.
float random_half() { return static_cast<float>(pick(-2047, 2047)) * 0x1p-8f; }

// Input or weights; integers of either sign, the extremes often.
std::vector<float> random_elements(TileProduct p, std::int64_t n, bool any) {
  std::vector<float> v(static_cast<std::size_t>(n));
  const std::int64_t least = p == TileProduct::bytes ? -128 : -32768;
  for (float& x : v) {
    if (is_integer(p))
      x = static_cast<float>(pick(0, 3) == 0 ? (pick(0, 1) == 0 ? least : -least - 1)
                                             : pick(least, -least - 1));
    else
      x = p == TileProduct::four || (p == TileProduct::halves && !any) ? random_half()
                                                                       : random_float(any);
  }
  return v;
}

// As kernels take them: floats, bytes or int16, and not an element more.
std::vector<char> stored(TileProduct p, const std::vector<float>& v) {
  const std::size_t size = p == TileProduct::bytes ? 1 : p == TileProduct::shorts ? 2 : 4;
  std::vector<char> to(v.size() * size);
  for (std::size_t i = 0; i < v.size(); ++i) {
    const auto integer = static_cast<std::int32_t>(is_integer(p) ? v[i] : 0);
    if (is_integer(p))
      std::memcpy(to.data() + i * size, &integer, size);  // x86 stores the low byte first
    else
      std::memcpy(to.data() + i * size, &v[i], size);
  }
  return to;
}

// The bfloat16 of floats that have no more bits.
std::vector<char> upper_halves(const std::vector<char>& floats) {
  std::vector<char> to;
  for (std::size_t i = 0; i < floats.size(); i += 4)
    to.insert(to.end(), {floats[i + 2], floats[i + 3]});
  return to;
}

struct Cut {
  std::vector<char> bytes;
  Extremes extremes;
  bool operator==(const Cut& other) const {
    return bytes == other.bytes && extremes.least == other.extremes.least &&
           extremes.most == other.extremes.most;
  }
};

// An input of so many channels and positions.
struct Input {
  TileProduct product;
  std::int64_t channels, positions;
  bool channels_last;
  std::vector<float> x;

  Input(TileProduct p, std::int64_t c, std::int64_t n, bool last, bool any)
      : product(p),
        channels(c),
        positions(n),
        channels_last(last),
        x(random_elements(p, c * n, any)) {}

  float at(std::int64_t position, std::int64_t channel) const {
    return x[static_cast<std::size_t>(channels_last ? position * channels + channel
                                                    : channel * positions + position)];
  }
  std::int64_t part() const { return (positions + kTileRows) * 64; }

  // `term`: where each of so many channels lies.
  Cut cut(const TileKernels& kernels, std::int32_t offset, Form form = kRows,
          const std::vector<std::int32_t>* term = nullptr, std::int64_t count = -1) const {
    Cut c{std::vector<char>(static_cast<std::size_t>(part() * scheme_of(product).parts)), {}};
    const std::vector<char> from = stored(product, x);
    TilePositionsArgs args{from.data(),
                           channels_last ? channels : 1,
                           channels_last ? 1 : positions,
                           count < 0 ? positions : count,
                           channels,
                           c.bytes.data(),
                           part(),
                           offset,
                           &c.extremes};
    if (term != nullptr) {
      args.term = term->data();
      args.channels = static_cast<std::int64_t>(term->size());
    }
    (kernels[product].*form).positions(args);
    return c;
  }
};

struct Filters {
  TileProduct product;
  std::int64_t channels, taps, vectors;
  std::vector<float> w;

  Filters(TileProduct p, std::int64_t c, std::int64_t t, std::int64_t v, bool any)
      : product(p),
        channels(c),
        taps(t),
        vectors(v),
        w(random_elements(p, c * t * v * kTileRows, any)) {
    for (std::size_t i = 0; i < w.size(); ++i)
      if (static_cast<std::int64_t>(i) % (vectors * kTileRows) >= count()) w[i] = 0;
  }

  float at(std::int64_t channel, std::int64_t tap, std::int64_t output) const {
    return w[static_cast<std::size_t>((channel * taps + tap) * vectors * kTileRows + output)];
  }
  Cut cut(const TileKernels& kernels, Form form = kRows) const {
    Cut c{std::vector<char>(
              static_cast<std::size_t>(taps * scheme_of(product).parts * vectors * kTileBytes)),
          {}};
    if (!is_integer(product)) {
      (kernels[product].*form)
          .weights({w.data(), channels, taps, vectors, c.bytes.data(), &c.extremes});
      return c;
    }
    return cut_rows((kernels[product].*form).weights);
  }
  // In rows, the last of which are not there.
  Cut cut_rows(void (*weights)(const TileWeightsArgs&), bool halves = false) const {
    Cut c{std::vector<char>(
              static_cast<std::size_t>(taps * scheme_of(product).parts * vectors * kTileBytes)),
          {}};
    std::vector<float> rows;
    for (std::int64_t k = 0; k < count(); ++k)
      for (std::int64_t term = 0; term < channels * taps; ++term)
        rows.push_back(at(term / taps, term % taps, k));
    std::vector<char> from = stored(product, rows);
    if (halves) from = upper_halves(from);
    weights({from.data(), channels, taps, vectors, c.bytes.data(), &c.extremes, count(),
             channels * taps, halves});
    return c;
  }
  std::int64_t count() const { return vectors * kTileRows - 3; }
};

std::vector<float> multiply(const TileKernels& kernels, TileProduct p, const Input& input,
                            const Cut& x, const Cut& w, const std::vector<std::int32_t>& tiles,
                            const std::vector<std::int32_t>& steps, std::int64_t vectors,
                            Form form = kRows, std::int64_t words = 16, std::int64_t first = 0) {
  std::vector<float> acc(tiles.size() * kTileRows * static_cast<std::size_t>(vectors) * kTileRows,
                         std::nanf(""));
  // Where pixels may lie anywhere, each says where it does.
  std::vector<std::int32_t> places = tiles;
  if ((kernels[p].*form).scattered != 0) {
    places.clear();
    for (const std::int32_t t : tiles)
      for (int i = 0; i < kTileRows; ++i) places.push_back(t + i);
  }
  TileProductArgs args = {x.bytes.data(),
                          input.part(),
                          places.data(),
                          static_cast<std::int64_t>(tiles.size()),
                          static_cast<std::int64_t>(tiles.size()) * kTileRows,
                          steps.data(),
                          static_cast<std::int64_t>(steps.size()),
                          w.bytes.data(),
                          vectors,
                          acc.data(),
                          {w.bytes.data(), 0, static_cast<std::int64_t>(w.bytes.size()), 1},
                          words < 16 ? static_cast<std::int64_t>(steps.size()) : 0,
                          words};
  // In two calls: the first steps, then the others.
  if (first > 0) {
    args.steps = first;
    args.short_steps = std::min(args.short_steps, first);
    (kernels[p].*form).product(args);
    args.accumulate = true;
    args.step += first;
    args.w += first * scheme_of(p).parts * vectors * kTileBytes;
    args.steps = static_cast<std::int64_t>(steps.size()) - first;
    args.short_steps = std::min(args.short_steps, args.steps);
  }
  (kernels[p].*form).product(args);
  return acc;
}

double part_at(TileProduct p, const Cut& c, std::int64_t at) {
  std::uint16_t half;
  std::memcpy(&half, c.bytes.data() + at, sizeof half);
  if (p != TileProduct::halves) return float_of(std::uint32_t{half} << 16);
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

// Parts that are cut off are the number, and so is a float16; two rounded ones are all but 2^-17 of
// it, and one is all but 2^-8.
void test_parts() {
  for (int round = 0; round < 200; ++round) {
    for (const TileProduct p : kFloats) {
      const Input input(p, pick(1, 32), 20, round % 2 == 0, false);
      const Cut cut = input.cut(tiles_portable, 0);
      for (std::int64_t i = 0; i < input.positions; ++i) {
        for (std::int64_t c = 0; c < 32; ++c) {
          const double x = c < input.channels ? input.at(i, c) : 0.0;
          double sum = 0;
          for (int s = 0; s < scheme_of(p).parts; ++s)
            sum += part_at(p, cut, s * input.part() + i * 64 + 2 * c);
          const double most = p == TileProduct::three ? 0x1p-17
                              : p == TileProduct::one ? 0x1p-8
                                                      : 0;
          CHECK(std::fabs(x - sum) <= most * std::fabs(x));
        }
      }
    }
  }
}

void test_extremes() {
  const float kValues[] = {0.0f, -0.0f, 3.0f, -0.25f, 1e-40f, -1e30f};
  Input input(TileProduct::six, 6, 1, true, false);
  std::copy(std::begin(kValues), std::end(kValues), input.x.begin());
  const auto bits = [](float x) { return std::bit_cast<std::uint32_t>(x); };
  Extremes e = input.cut(tiles_portable, 0).extremes;
  CHECK(e.least == bits(1e-40f) - 1);
  CHECK(e.most == bits(1e30f));
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    input.x[2] = -bad;
    e = input.cut(tiles_portable, 0).extremes;
    CHECK(e.most >= 0x7f800000u);
  }
  std::fill(input.x.begin(), input.x.end(), 0.0f);
  e = input.cut(tiles_portable, 0).extremes;
  CHECK(e.least == 0xffffffffu && e.most == 0);
}

// One sum over so many channels.
float dot(TileProduct p, const std::vector<float>& x, const std::vector<float>& w) {
  Input input(p, static_cast<std::int64_t>(x.size()), 1, true, false);
  Filters filters(p, static_cast<std::int64_t>(w.size()), 1, 1, false);
  std::fill(filters.w.begin(), filters.w.end(), 0.0f);
  input.x = x;
  for (std::size_t c = 0; c < w.size(); ++c) filters.w[c * kTileRows] = w[c];
  return multiply(tiles_portable, p, input, input.cut(tiles_portable, 0),
                  filters.cut(tiles_portable), {0}, {0}, 1)[0];
}

// The arithmetic of both instructions, told by cases that show each of their rules.
void test_rounding(TileProduct p) {
  const auto product = [p](const std::vector<float>& x, const std::vector<float>& w) {
    return dot(p, x, w);
  };
  CHECK(product({3.0f}, {5.0f}) == 15.0f);
  CHECK(product({1.0f, 0.0f, 0x1p-12f}, {1.0f, 0.0f, 0x1p-12f}) == 1.0f);   // to even
  CHECK(product({1.0f, 0.0f, 0x1.8p-12f}, {1.0f, 0.0f, 0x1p-12f}) > 1.0f);  // up
  // Even and odd channels are summed apart: each sum rounds to 1, and so does theirs to 2.
  CHECK(product({1.0f, 1.0f, 0x1p-12f, 0x1p-12f}, {1.0f, 1.0f, 0x1p-12f, 0x1p-12f}) == 2.0f);
  CHECK(std::isnan(product({std::numeric_limits<float>::infinity()}, {0.0f})));
  CHECK(std::isnan(product({std::nanf("")}, {1.0f})));
}

void test_flush_and_rounding() {
  const TileProduct one = TileProduct::one, halves = TileProduct::halves;
  test_rounding(one);
  test_rounding(halves);
  CHECK(dot(one, {0x1p-127f}, {1.0f}) == 0.0f);           // a denormal input counts as zero
  CHECK(dot(one, {0x1p-100f}, {0x1p-30f}) == 0.0f);       // a denormal product is flushed
  CHECK(dot(one, {0x1p-100f}, {0x1p-26f}) == 0x1p-126f);  // the smallest that is not
  // Subnormal float16 count, and products of two are exact.
  CHECK(dot(halves, {0x1p-24f}, {-0x1p-24f}) == -0x1p-48f);
  CHECK(dot(halves, {0x1.8p-15f}, {0x1.ff8p-15f}) == 0x1.7fap-29f);
  CHECK(dot(halves, {0x1.ffcp+15f}, {0x1.ffcp+15f}) == 0x1.ff8008p+31f);
  CHECK(dot(halves, {0x1.ffcp+15f, 0.0f, 0x1p-24f}, {0x1p-24f, 0.0f, 1.0f}) ==
        0x1.ffcp-9f + 0x1p-24f);
}

// The sum over parts, taps and channels: within the bound that each scheme is chosen for.
void test_accuracy() {
  for (int round = 0; round < 12; ++round) {
    for (const TileProduct p : kFloats) {
      const std::int64_t taps = pick(1, 4), vectors = pick(1, 2);
      const Input input(p, pick(16, 32), 40, round % 2 == 0, false);
      const Filters filters(p, input.channels, taps, vectors, false);
      std::vector<std::int32_t> steps;
      for (std::int64_t t = 0; t < taps; ++t) steps.push_back(static_cast<std::int32_t>(5 * t));
      const auto acc = multiply(tiles_portable, p, input, input.cut(tiles_portable, 0),
                                filters.cut(tiles_portable), {0}, steps, vectors);
      const double terms = static_cast<double>(taps * input.channels);
      for (int i = 0; i < kTileRows; ++i) {
        for (std::int64_t k = 0; k < vectors * kTileRows; ++k) {
          double exact = 0, magnitude = 0;
          for (std::int64_t t = 0; t < taps; ++t) {
            for (std::int64_t c = 0; c < input.channels; ++c) {
              const double product = double{input.at(i + 5 * t, c)} * double{filters.at(c, t, k)};
              exact += product;
              magnitude += std::fabs(product);
            }
          }
          const double share = p == TileProduct::one     ? 0x1p-7
                               : p == TileProduct::three ? 0x1p-15 + terms * 0x1p-24
                                                         : (terms + 1) * 0x1p-24;
          const float got = acc[static_cast<std::size_t>(i * vectors * kTileRows + k)];
          CHECK(std::fabs(got - exact) <= share * magnitude);
        }
      }
    }
  }
}

void test_integers() {
  for (const TileProduct p : {TileProduct::bytes, TileProduct::shorts}) {
    for (const std::int32_t offset : {0, p == TileProduct::bytes ? 128 : 0}) {
      const std::int64_t channels = p == TileProduct::bytes ? 50 : 27;
      const Input input(p, channels, 30, true, false);
      const Filters filters(p, channels, 2, 2, false);
      const auto acc = multiply(tiles_portable, p, input, input.cut(tiles_portable, offset),
                                filters.cut(tiles_portable), {3}, {0, 7}, 2);
      for (int i = 0; i < kTileRows; ++i) {
        for (int k = 0; k < 2 * kTileRows; ++k) {
          std::int64_t exact = 0;
          for (int t = 0; t < 2; ++t) {
            for (int c = 0; c < channels; ++c) {
              const auto x = static_cast<std::int64_t>(input.at(3 + i + 7 * t, c));
              exact += (p == TileProduct::bytes ? (x + offset) & 255 : x) *
                       static_cast<std::int64_t>(filters.at(c, t, k));
            }
          }
          CHECK(
              std::bit_cast<std::uint32_t>(acc[static_cast<std::size_t>(i * 2 * kTileRows + k)]) ==
              static_cast<std::uint32_t>(exact));
        }
      }
    }
  }
}

// Terms that lie anywhere are those of an input that has them as channels.
void test_gathered() {
  for (int round = 0; round < 40; ++round) {
    for (const TileProduct p : kProducts) {
      const Input input(p, 3, 60, false, false);
      const std::int64_t terms = pick(1, scheme_of(p).channels), count = pick(1, 40);
      std::vector<std::int32_t> term;
      Input columns(p, terms, count, false, false);
      for (std::int64_t t = 0; t < terms; ++t) {
        const std::int64_t c = pick(0, 2), shift = pick(0, 60 - count);
        term.push_back(static_cast<std::int32_t>(c * 60 + shift));
        for (std::int64_t i = 0; i < count; ++i)
          columns.x[static_cast<std::size_t>(t * count + i)] = input.at(shift + i, c);
      }
      for (const Form form : {kRows, kColumns}) {
        const Cut got = input.cut(tiles_portable, 0, form, &term, count);
        const Cut expected = columns.cut(tiles_portable, 0, form);
        CHECK(got.extremes.least == expected.extremes.least);
        CHECK(got.extremes.most == expected.extremes.most);
        for (int s = 0; s < scheme_of(p).parts; ++s)
          CHECK(std::memcmp(got.bytes.data() + s * input.part(),
                            expected.bytes.data() + s * columns.part(),
                            static_cast<std::size_t>(form == kRows ? count * 64 : 0)) == 0);
      }
    }
  }
}

// Positions as columns are the same products with the operands exchanged.
void test_columns() {
  for (int round = 0; round < 20; ++round) {
    for (const TileProduct p : kProducts) {
      const std::int64_t channels = pick(1, scheme_of(p).channels), vectors = pick(1, 2);
      const Input input(p, channels, 40, false, false);
      const Filters filters(p, channels, 1, vectors, false);
      const auto rows = multiply(tiles_portable, p, input, input.cut(tiles_portable, 0),
                                 filters.cut(tiles_portable), {0, 16}, {0}, vectors);
      const auto columns =
          multiply(tiles_portable, p, input, input.cut(tiles_portable, 0, kColumns),
                   filters.cut(tiles_portable, kColumns), {0, 1}, {0}, vectors, kColumns);
      for (std::int64_t i = 0; i < 32; ++i)
        for (std::int64_t k = 0; k < vectors * kTileRows; ++k)
          CHECK(std::memcmp(&rows[static_cast<std::size_t>(i * vectors * kTileRows + k)],
                            &columns[static_cast<std::size_t>(k * 32 + i)], sizeof(float)) == 0);
    }
  }
}

// Rows of several slabs are cut as each of them is.
void compare_slabs(const TileKernels& kernels, TileProduct p, Form form) {
  const auto cut = (kernels[p].*form).row_weights;
  if (cut == nullptr) return;
  const std::int64_t each = scheme_of(p).channels, channels = pick(1, 20 * each);
  const std::int64_t taps = form == kColumns ? 1 : pick(1, 20), vectors = pick(1, 2);
  const std::int64_t rows = pick(1, vectors * kTileRows), pitch = channels * taps;
  const std::vector<char> w = stored(p, random_elements(p, rows * pitch, pick(0, 1) == 0));
  const std::int64_t element = p == TileProduct::bytes ? 1 : 4;
  const std::int64_t slab = taps * scheme_of(p).parts * vectors * kTileBytes;
  const std::int64_t slabs = (channels + each - 1) / each;
  std::vector<char> whole(static_cast<std::size_t>(slabs * slab)), apart = whole;
  Extremes extremes;
  cut({w.data(), channels, taps, vectors, whole.data(), &extremes, rows, pitch});
  for (std::int64_t s = 0; s < slabs; ++s)
    cut({w.data() + s * each * taps * element, std::min(each, channels - s * each), taps, vectors,
         apart.data() + s * slab, &extremes, rows, pitch});
  CHECK(whole == apart);
}

// What a processor has, or its emulation, against the plain loops: the same parts and extremes and
// sums, whatever the numbers (infinities, NaN, denormals); bf16 dot products, which round in
// another order, within their bound. Products that are the plain loops say nothing.
void compare_with_portable(const TileKernels& kernels, bool same_sums, Form form, int round,
                           TileProduct p) {
  const std::int64_t channels = pick(1, scheme_of(p).channels), vectors = pick(1, 2);
  const std::int64_t taps = form == kColumns  ? 1
                            : round % 16 == 7 ? pick(70, kMostTileRowTaps)
                            : round % 8 == 7  ? pick(6, 70)
                                              : pick(1, 5);
  const bool any = round % 3 == 0;
  const bool last = form == kRows && channels > 1 && pick(0, 1) == 1;
  const Input input(p, channels, pick(1, 90), last, any);
  const Filters filters(p, channels, taps, vectors, any);
  // What lies behind the last position of the last tile is nobody's affair.
  const bool whole = form == kRows || input.positions % kTileRows == 0;
  const std::int32_t offset = p == TileProduct::bytes && whole ? 128 : 0;
  const Cut x = input.cut(tiles_portable, offset, form), w = filters.cut(tiles_portable, form);
  const TileForm& of = kernels[p].*form;
  if (of.positions != nullptr) {
    CHECK(input.cut(kernels, offset, form) == x);
    std::vector<std::int32_t> term;
    for (std::int64_t t = pick(1, scheme_of(p).channels); t > 0 && !last; --t)
      term.push_back(static_cast<std::int32_t>(pick(0, (channels - 1) * input.positions)));
    if (!last)
      CHECK(input.cut(kernels, offset, form, &term) ==
            input.cut(tiles_portable, offset, form, &term));
  }
  if (of.weights != nullptr) CHECK(filters.cut(kernels, form) == w);
  if (of.row_weights != nullptr) {
    const Cut rows = filters.cut_rows(of.row_weights);
    CHECK(rows.bytes == w.bytes);
    CHECK((rows.extremes.most >= 0x7f800000u) == (w.extremes.most >= 0x7f800000u));
    if (p == TileProduct::one) {
      // A NaN that signals is rounded to one that does not, and copied as it is.
      Filters halves = filters;
      for (float& v : halves.w)
        v = std::bit_cast<float>(
            (std::bit_cast<std::uint32_t>(v) | (std::isnan(v) ? 1u << 22 : 0)) & 0xffff0000u);
      CHECK(halves.cut_rows(of.row_weights, true) == halves.cut(tiles_portable, form));
    }
  }
  if (of.product == nullptr || of.product == (tiles_portable[p].*form).product) return;
  const std::int64_t places =
      form == kRows ? input.positions : (input.positions + kTileRows - 1) / kTileRows;
  std::vector<std::int32_t> tiles, steps;
  for (std::int64_t t = pick(1, 5); t > 0; --t)
    tiles.push_back(static_cast<std::int32_t>(pick(0, places - 1)));
  const std::int64_t room = places - 1 - *std::max_element(tiles.begin(), tiles.end());
  for (std::int64_t t = 0; t < taps; ++t) steps.push_back(static_cast<std::int32_t>(pick(0, room)));
  // Where all that is beyond is multiplied by zeros, it may be left out.
  const std::int64_t side = scheme_of(p).channels / 16;
  const std::int64_t words = pick(0, 1) == 0 && !any ? (channels + side - 1) / side : 16;
  const auto expected = multiply(tiles_portable, p, input, x, w, tiles, steps, vectors, form);
  const auto got = multiply(kernels, p, input, x, w, tiles, steps, vectors, form, words);
  if (taps > 1 && !is_integer(p)) {
    const auto parts =
        multiply(kernels, p, input, x, w, tiles, steps, vectors, form, words, pick(1, taps - 1));
    for (std::size_t i = 0; i < got.size(); ++i)
      CHECK(std::memcmp(&got[i], &parts[i], sizeof(float)) == 0 ||
            (std::isnan(got[i]) && std::isnan(parts[i])));
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (same_sums || is_integer(p)) {
      // Which NaN is the processor's own affair.
      CHECK(std::memcmp(&got[i], &expected[i], sizeof(float)) == 0 ||
            (!is_integer(p) && std::isnan(got[i]) && std::isnan(expected[i])));
    } else if (!any) {
      CHECK(std::fabs(got[i] - expected[i]) <= 0x1p-12 * (std::fabs(expected[i]) + 0x1p60));
    }
  }
}

void compare_with_portable(const TileKernels& kernels, bool same_sums, int rounds = 60) {
  for (int round = 0; round < rounds; ++round)
    for (const TileProduct p : kProducts)
      for (const Form form : {kRows, kColumns})
        compare_with_portable(kernels, same_sums, form, round, p);
  for (int round = 0; round < rounds / 2; ++round)
    for (const TileProduct p : {TileProduct::one, TileProduct::bytes})
      for (const Form form : {kRows, kColumns}) compare_slabs(kernels, p, form);
}

#ifdef FASTCONV_TEST_EMULATED_TILES
void test_emulated_amx() { compare_with_portable(tiles_amx, true); }
void test_emulated_dots() {
  compare_with_portable(tiles_avx512_dots, false);
  compare_with_portable(tiles_avx512_pairs, false);
  compare_with_portable(tiles_avx_vnni, false);
}

// A library may have tiles configured, and data in them, when it calls.
void test_tiles_of_others_survive() {
  for (const bool configured : {false, true}) {
    _tile_release();
    const auto before = [&] {
      struct alignas(64) {
        std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
        std::uint16_t row_bytes[16] = {};
        std::uint8_t rows[16] = {};
      } config;
      config.row_bytes[3] = 24;
      config.rows[3] = 5;
      config.row_bytes[0] = 64;
      config.rows[0] = 16;
      if (configured) _tile_loadconfig(&config);
      for (char& c : emu512::tiles.tile[3][4])
        if (configured && &c < emu512::tiles.tile[3][4] + 24) c = 7;
      return emu512::tiles;
    }();
    compare_with_portable(tiles_amx, true, 7);
    CHECK(std::memcmp(&before, &emu512::tiles, sizeof before) == 0);
  }
}
#else
// As the active table has it: AMX, or dot products, or nothing of its own.
void test_processor() {
  for (const std::string& name : available_isas()) {
    set_active_kernels(name);
    std::printf("   %s: %s, %s, %s\n", name.c_str(),
                (*active_kernels().tiles)[TileProduct::six].name,
                (*active_kernels().tiles)[TileProduct::bytes].name,
                (*active_kernels().tiles)[TileProduct::shorts].name);
    compare_with_portable(*active_kernels().tiles, name == "amx");
  }
  // Those that this processor has better ones than.
#ifdef FASTCONV_HAVE_AVX2_PAIRS
  if (cpu_supports(Isa::avx2)) compare_with_portable(tiles_avx2_pairs, false);
#endif
#ifdef FASTCONV_HAVE_AVX512_PAIRS
  if (cpu_supports(Isa::avx512)) compare_with_portable(tiles_avx512_pairs, false);
#endif
}
#endif

}  // namespace

int main() {
  check::section("parts", test_parts);
  check::section("extremes", test_extremes);
  check::section("flush and rounding", test_flush_and_rounding);
  check::section("accuracy", test_accuracy);
  check::section("integers", test_integers);
  check::section("gathered terms", test_gathered);
  check::section("columns", test_columns);
#ifdef FASTCONV_TEST_EMULATED_TILES
  check::section("emulated AMX", test_emulated_amx);
  check::section("emulated dot products", test_emulated_dots);
  check::section("tiles of others survive", test_tiles_of_others_survive);
#else
  check::section("the processor", test_processor);
#endif
  return check::summary();
}
