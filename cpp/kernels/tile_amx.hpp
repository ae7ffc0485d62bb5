// Products of tiles on AMX. A block of 32 pixels x 32 output channels: four accumulators, two tiles
// of positions, two of weights, all eight registers.
//
//              w 0     w 1
//   x 0       tmm0    tmm1        six products of parts take 14 loads and 24 tile products: a part
//   x 1       tmm2    tmm3        stays where two turns use it (TileScheme)
//
// 24 products take 384 cycles, the loads 112 beside them. A slab of the input (three kernel rows of
// 34 positions, three parts) stays in L1 for all taps; the weights come from L2.
#pragma once

#include <cstdint>

#include "kernels/lines_ahead.hpp"
#include "kernels/table.hpp"
#include "simd/vec_avx512.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

struct alignas(64) TileConfig {
  std::uint8_t palette = 0;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// GCC's intrinsics for the configuration claim eight bytes of the 64: all of it has to be in
// memory, and to be read from there.
#if defined(__GNUC__)
#define FASTCONV_ALL_IN_MEMORY() __asm__ volatile("" : : : "memory")
#else
#define FASTCONV_ALL_IN_MEMORY() static_cast<void>(0)
#endif

// Eight whole tiles, for the time of one call. What the calling thread had configured before is put
// back, with its contents: another library may be in the middle of something.
class TileScope {
 public:
  FASTCONV_INLINE TileScope() {
    _tile_storeconfig(&before_);
    FASTCONV_ALL_IN_MEMORY();
    if (before_.palette != 0) save();
    TileConfig config;
    config.palette = 1;
    for (int i = 0; i < 8; ++i) {
      config.row_bytes[i] = 64;
      config.rows[i] = 16;
    }
    FASTCONV_ALL_IN_MEMORY();
    _tile_loadconfig(&config);
  }
  FASTCONV_INLINE ~TileScope() {
    if (before_.palette == 0) {
      _tile_release();
    } else {
      FASTCONV_ALL_IN_MEMORY();
      _tile_loadconfig(&before_);
      restore();
    }
  }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;

 private:
  FASTCONV_INLINE bool has(int i) const {
    return before_.rows[i] != 0 && before_.row_bytes[i] != 0;
  }
#define FASTCONV_FOR_EACH_TILE(action) \
  action(0) action(1) action(2) action(3) action(4) action(5) action(6) action(7)
#define FASTCONV_SAVE_TILE(i) \
  if (has(i)) _tile_stored(i, contents_[i], 64);
#define FASTCONV_RESTORE_TILE(i) \
  if (has(i)) _tile_loadd(i, contents_[i], 64);
  void save() { FASTCONV_FOR_EACH_TILE(FASTCONV_SAVE_TILE) }
  void restore(){FASTCONV_FOR_EACH_TILE(FASTCONV_RESTORE_TILE)}
#undef FASTCONV_FOR_EACH_TILE
#undef FASTCONV_SAVE_TILE
#undef FASTCONV_RESTORE_TILE

  TileConfig before_;
  alignas(64) char contents_[8][kTileBytes];
};

// TDPFP16PS tmm c, tmm a, tmm b as bytes: GCC 12 and the assemblers of its time lack AMX-FP16. The
// emulation has a function (tests/cpp).
#if defined(__AMX_TILE__)
#define FASTCONV_TILE_FP16(c, a, b) \
  __asm__ volatile(".byte 0xc4, 0xe2, 0x7b ^ (" #b " << 3), 0x5c, 0xc0 | (" #c " << 3) | " #a)
#else
#define FASTCONV_TILE_FP16(c, a, b) _tile_dpfp16ps(c, a, b)
#endif

// Tile registers are named in the instruction, so that one macro serves all kinds of numbers.
#define FASTCONV_TILE_PRODUCT(c, a, b)             \
  do {                                             \
    if constexpr (P == TileProduct::bytes && Rows) \
      _tile_dpbusd(c, a, b);                       \
    else if constexpr (P == TileProduct::bytes)    \
      _tile_dpbsud(c, a, b);                       \
    else if constexpr (P == TileProduct::halves)   \
      FASTCONV_TILE_FP16(c, a, b);                 \
    else                                           \
      _tile_dpbf16ps(c, a, b);                     \
  } while (false)

// Two tiles each of rows (a) and columns (b), or one: part 0 of them, and from part to part.
struct TileOperands {
  const char *a0, *a1;
  std::int64_t a_part;
  const char *b0, *b1;
  std::int64_t b_part;
};

// Rows: positions are rows, weights columns.
template <TileProduct P, bool Rows, int Turn, bool TwoRows, bool TwoColumns>
FASTCONV_INLINE void tile_turn(const TileOperands& o) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  constexpr TileScheme::Turn kTurn = kScheme.turn[Turn];
  constexpr TileScheme::Turn kBefore =
      Turn == 0 ? TileScheme::Turn{-1, -1} : kScheme.turn[Turn == 0 ? 0 : Turn - 1];
  constexpr int kA = Rows ? kTurn.x : kTurn.w, kB = Rows ? kTurn.w : kTurn.x;
  if constexpr (kA != (Rows ? kBefore.x : kBefore.w)) {
    _tile_loadd(4, o.a0 + kA * o.a_part, 64);
    if constexpr (TwoRows) _tile_loadd(5, o.a1 + kA * o.a_part, 64);
  }
  if constexpr (kB != (Rows ? kBefore.w : kBefore.x)) {
    _tile_loadd(6, o.b0 + kB * o.b_part, 64);
    if constexpr (TwoColumns) _tile_loadd(7, o.b1 + kB * o.b_part, 64);
  }
  FASTCONV_TILE_PRODUCT(0, 4, 6);
  if constexpr (TwoColumns) FASTCONV_TILE_PRODUCT(1, 4, 7);
  if constexpr (TwoRows) FASTCONV_TILE_PRODUCT(2, 5, 6);
  if constexpr (TwoRows && TwoColumns) FASTCONV_TILE_PRODUCT(3, 5, 7);
  if constexpr (Turn + 1 < kScheme.turns) tile_turn<P, Rows, Turn + 1, TwoRows, TwoColumns>(o);
}
#undef FASTCONV_TILE_PRODUCT
#undef FASTCONV_TILE_FP16

// One tile of pixels or two, one vector of output channels or two; `acc` has `pitch` bytes a row.
template <TileProduct P, bool Rows, bool TwoTiles, bool TwoVectors>
FASTCONV_INLINE void tile_block(const TileProductArgs& a, std::int64_t t, char* acc,
                                std::int64_t pitch, LinesAhead& ahead) {
  constexpr TileScheme kScheme = kTileSchemes[static_cast<int>(P)];
  constexpr std::int64_t kPart = (TwoVectors ? 2 : 1) * kTileBytes;
  constexpr std::int64_t kUnit = Rows ? 64 : kTileBytes;
  constexpr bool kTwoRows = Rows ? TwoTiles : TwoVectors;
  constexpr bool kTwoColumns = Rows ? TwoVectors : TwoTiles;
  const char* const x0 = a.x + kUnit * a.tile[t];
  const char* const x1 = TwoTiles ? a.x + kUnit * a.tile[t + 1] : x0;
  const char* w = a.w;
  if (a.accumulate) {
    _tile_loadd(0, acc, pitch);
    if constexpr (kTwoColumns) _tile_loadd(1, acc + 64, pitch);
    if constexpr (kTwoRows) _tile_loadd(2, acc + kTileRows * pitch, pitch);
    if constexpr (kTwoRows && kTwoColumns) _tile_loadd(3, acc + kTileRows * pitch + 64, pitch);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (std::int64_t s = 0; s < a.steps; ++s, w += kScheme.parts * kPart) {
    const std::int64_t at = kUnit * a.step[s];
    TileOperands o = {x0 + at, x1 + at, a.x_part, w, w + kTileBytes, kPart};
    if constexpr (!Rows) o = {w, w + kTileBytes, kPart, x0 + at, x1 + at, a.x_part};
    tile_turn<P, Rows, 0, kTwoRows, kTwoColumns>(o);
    ahead.turn();
  }
  _tile_stored(0, acc, pitch);
  if constexpr (kTwoColumns) _tile_stored(1, acc + 64, pitch);
  if constexpr (kTwoRows) _tile_stored(2, acc + kTileRows * pitch, pitch);
  if constexpr (kTwoRows && kTwoColumns) _tile_stored(3, acc + kTileRows * pitch + 64, pitch);
}

template <TileProduct P, bool Rows, bool TwoVectors>
FASTCONV_INLINE void tile_blocks(const TileProductArgs& a) {
  char* acc = static_cast<char*>(a.acc);
  const std::int64_t pitch = Rows ? (TwoVectors ? 128 : 64) : a.tiles * 64;
  const std::int64_t next = Rows ? kTileRows * pitch : 64;  // from tile to tile
  LinesAhead ahead(a.upcoming, (a.tiles + 1) / 2 * a.steps);
  std::int64_t t = 0;
  for (; t + 2 <= a.tiles; t += 2, acc += 2 * next)
    tile_block<P, Rows, true, TwoVectors>(a, t, acc, pitch, ahead);
  if (t < a.tiles) tile_block<P, Rows, false, TwoVectors>(a, t, acc, pitch, ahead);
}

template <TileProduct P, bool Rows>
void tile_product(const TileProductArgs& a) {
  const TileScope scope;
  if (a.vectors == 2) return tile_blocks<P, Rows, true>(a);
  tile_blocks<P, Rows, false>(a);
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
