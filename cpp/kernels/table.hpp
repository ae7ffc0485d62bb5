// The contract between kernels and everything above: one table of function pointers, together with
// their tile sizes, for each instruction set.
#pragma once

#include <cstdint>

#include "kernels/args.hpp"

namespace fastconv {

// The transforms of one kind of tile, rows x columns (kernels/winograd.hpp); null for integers.
template <class T>
struct WinogradKernels {
  void (*input[2][2])(const WinogradInputArgs<T>&);  // [narrow rows][narrow columns]
  void (*output)(const WinogradOutputArgs<T>&);
  void (*weights[2][2])(const WinogradWeightsArgs<T>&);
};

// F<outputs><taps> of the rows, then of the columns.
enum class WinogradTile : std::uint8_t { f23_f23, f43_f43, f22_f22, f11_f23, f11_f43, f11_f22 };
inline constexpr int kWinogradTiles = 6;

struct WinogradAxisShape {
  int outputs, taps, points;
  int narrow;  // the point where a block of one tap less has no product; -1: there is no such block
};
struct WinogradShape {
  WinogradAxisShape rows, columns;
};
inline constexpr WinogradAxisShape kF11 = {1, 1, 1, -1}, kF22 = {2, 2, 3, 1}, kF23 = {2, 3, 4, 2},
                                   kF43 = {4, 3, 6, -1};
inline constexpr WinogradShape kWinogradShapes[kWinogradTiles] = {
    {kF23, kF23}, {kF43, kF43}, {kF22, kF22}, {kF11, kF23}, {kF11, kF43}, {kF11, kF22}};

enum class PlaneKernel : std::uint8_t {
  any,          // of any size, stride and dilation
  square3,      // 3 x 3
  square3_by2,  // 3 x 3, a vertical stride of 2
  square5,      // neighbouring columns
  square7,
  column  // one column, of floats (plane_column.hpp)
};

template <class T>
struct KernelSet {
  static constexpr int kMaxOutVecs = 4;
  static constexpr int kMaxRows = 4;
  static constexpr int kStencilRows = 4;
  static constexpr int kPlaneKernels = 6;
  static constexpr int kRollSizes = 4;  // the last of them any
  static constexpr int kMaxPhases = 4;
  static constexpr int kNarrowTypes = 4;

  int lanes;     // of one vector
  int pixels;    // rows of the outer-product tile
  int out_vecs;  // widest outer-product tile, in vectors of output channels
  int rows;      // most output channels of a pixel-lanes tile
  // Terms that may be summed in one chain. Where a multiply-add rounds twice (no FMA instruction),
  // short chains keep the error below that of one long chain of fused ones.
  int chain;
  // outer[0] is a tile of two vectors half as long (dispatch.cpp).
  bool halved;

  void (*outer[kMaxOutVecs])(const OuterArgs<T>&);  // [vectors - 1]
  // A tile of half a vector, and its weights; null where there is none (dispatch.cpp).
  void (*outer_half)(const OuterArgs<T>&);
  void (*pack_half)(const PackArgs<T>&);
  void (*pixel_lanes[kMaxRows])(const LanesArgs<T>&);  // [rows - 1]
  bool splices;                                        // LanesArgs::next
  // Null for integers, and where a multiply-add rounds twice.
  void (*column_product[2])(const ColumnArgs<T>&);  // of column_vecs[i] vectors
  int column_vecs[2];
  void (*dots)(const DotArgs<T>&);
  void (*gather)(const GatherArgs<T>&);
  // [output rows - 1]; null for real numbers with sixteen registers.
  void (*row_stencil[kStencilRows])(const StencilArgs<T>&);
  // [PlaneKernel]; null where `any` serves, as for most integers.
  void (*plane[kPlaneKernels])(const PlaneArgs<T>&);
  void (*plane_stage)(const PlaneStageArgs<T>&);
  // [size 3, 5, 7, any][stride 1, 2]; null for integers, where a vector is too short, and the last
  // but where they stage planes.
  void (*rolling[kRollSizes][2])(const RollArgs<T>&);
  int most_rolled;   // the largest of those sizes, or 0
  int channel_vecs;  // most vectors of channels of a channel_lanes tile
  void (*channel_lanes)(const ChannelArgs<T>&);
  int group_sums;  // most that a group_lanes tile has, or 0: but for float32, where lanes are
                   // routed
  void (*group_lanes)(const GroupArgs<T>&);
  // Null where a multiply-add rounds twice, and for integers.
  void (*flat_lanes)(const FlatArgs<T>&);
  void (*flat_groups)(const FlatArgs<T>&);  // where group_lanes are
  std::int64_t flat_room;  // elements that it may read behind a row of fewer than a vector
  // Of one filter, and of up to four; null but for float32 with AVX2 and AVX-512.
  void (*pixel_quads[2])(const QuadArgs<T>&);
  void (*store)(const StoreArgs<T>&);
  void (*pack)(const PackArgs<T>&);
  void (*spread)(const SpreadArgs<T>&);                            // into groups of `pixels`
  void (*every_second)(const T* from, T* to, std::int64_t count);  // to[i] = from[2 * i]
  bool (*are_finite)(const T* x, std::int64_t count);              // integers are
  // Dense rows of int8, uint8, int16 and uint16 (kernels/narrow_rows.hpp); null where a plain loop
  // does as well.
  void (*widen[kNarrowTypes])(const void* from, T* to, std::int64_t n);
  void (*narrow[kNarrowTypes])(const T* from, void* to, std::int64_t n);

  WinogradKernels<T> winograd[kWinogradTiles];  // [WinogradTile]
  void (*magnitudes)(const MagnitudesArgs<T>&);
  void (*split[kMaxPhases + 1])(const SplitArgs<T>&);  // [phases]: 1, 2, 4
};

struct HalfKernels {
  void (*from_f16)(const std::uint16_t* from, float* to, std::int64_t n);
  void (*to_f16)(const float* from, std::uint16_t* to, std::int64_t n);
  void (*from_bf16)(const std::uint16_t* from, float* to, std::int64_t n);
  void (*to_bf16)(const float* from, std::uint16_t* to, std::int64_t n);
};

// How products of tiles are made of narrower ones.
enum class TileProduct : std::uint8_t {
  six,     // float32: three parts of 8 bits each, the six products that matter
  four,    // float16: two parts of bfloat16, all products
  halves,  // float16 as it is
  three,   // float32: two parts, rounded, the three products that matter
  one,     // bfloat16, or float32 rounded to it
  bytes,   // unsigned by signed
  shorts   // int16, or bytes of any sign
};
inline constexpr int kTileProducts = 7;

struct TileScheme {
  int parts;     // of an element
  int channels;  // of a position of 64 bytes
  int turns;     // products of parts
  bool nearest;  // parts are rounded, not cut off
  // The parts of x and w of each turn: one of both as in the turn before, the largest late.
  struct Turn {
    int x, w;
  } turn[6];
};
inline constexpr TileScheme kTileSchemes[kTileProducts] = {
    {3, 32, 6, false, {{0, 2}, {0, 1}, {1, 1}, {1, 0}, {2, 0}, {0, 0}}},
    {2, 32, 4, false, {{0, 1}, {1, 1}, {1, 0}, {0, 0}}},
    {1, 32, 1, true, {{0, 0}}},
    {2, 32, 3, true, {{0, 1}, {0, 0}, {1, 0}}},
    {1, 32, 1, true, {{0, 0}}},
    {1, 64, 1, false, {{0, 0}}},
    {1, 32, 1, false, {{0, 0}}}};

constexpr bool is_integer(TileProduct p) {
  return p == TileProduct::bytes || p == TileProduct::shorts;
}

inline constexpr int kTileRows = 16;          // pixels, and output channels, of a tile
inline constexpr int kTileVectors = 2;        // of sixteen output channels, in a panel
inline constexpr int kTileBytes = 1024;       // sixteen rows of 64
inline constexpr int kMostTileRowTaps = 256;  // TileForm::row_weights

// Which operand of a tile product positions are: its rows, where a tap is a shift by a row, or its
// columns, where neither planes of input nor of output are turned, but there can be one tap only.
struct TileForm {
  void (*product)(const TileProductArgs&);
  void (*positions)(const TilePositionsArgs&);
  void (*weights)(const TileWeightsArgs&);
  // Rows: pixels of a block, where each may lie anywhere (dot products broadcast it), or 0.
  int scattered = 0;
  // Rows of output channels, of at most kMostTileRowTaps taps, as callers have them; or null.
  void (*row_weights)(const TileWeightsArgs&) = nullptr;
};

struct TileKernels {
  struct Kernels {
    const char* name;
    TileForm rows;
    TileForm columns;
    // Multiply-adds in the time of one of a vector of floats; 0 where they are emulated.
    double rate;
  };
  Kernels product[kTileProducts];  // [TileProduct]

  const Kernels& operator[](TileProduct p) const { return product[static_cast<int>(p)]; }
};

// Transforms are of float64, whatever goes in and comes out.
struct FftKernels {
  int lanes;
  void (*forward)(const FftArgs&);  // work -> spectrum
  void (*inverse)(const FftArgs&);  // spectrum -> work, without the division by points
  void (*product)(const FftProductArgs&);
  void (*input_f32)(const FftInputArgs<float>&);
  void (*input_f64)(const FftInputArgs<double>&);
  void (*output_f32)(const FftOutputArgs<float>&);
  void (*output_f64)(const FftOutputArgs<double>&);
  void (*magnitudes_f32)(const FftMagnitudesArgs<float>&);
  void (*magnitudes_f64)(const FftMagnitudesArgs<double>&);
};

struct KernelTable {
  const char* name;
  KernelSet<float> f32;
  KernelSet<double> f64;
  KernelSet<std::int32_t> i32;
  KernelSet<std::int64_t> i64;
  HalfKernels half;
  FftKernels fft;
  const TileKernels* tiles;

  template <class T>
  const KernelSet<T>& set() const;
};

template <>
inline const KernelSet<float>& KernelTable::set<float>() const {
  return f32;
}
template <>
inline const KernelSet<double>& KernelTable::set<double>() const {
  return f64;
}
template <>
inline const KernelSet<std::int32_t>& KernelTable::set<std::int32_t>() const {
  return i32;
}
template <>
inline const KernelSet<std::int64_t>& KernelTable::set<std::int64_t>() const {
  return i64;
}

// Each is defined by the one file that is compiled for that instruction set.
extern const KernelTable table_scalar;
extern const KernelTable table_avx2;
extern const KernelTable table_avx512;
extern const KernelTable table_neon;
// Plain loops, for every processor, with the bits of AMX tiles.
extern const TileKernels tiles_portable;
extern const TileKernels tiles_amx;
// What is null here is left to the portable ones: products of parts that no instruction makes
// (integers and, with AVX-512 BF16, TileProduct::one are made), and cutting.
extern const TileKernels tiles_avx2_pairs;
extern const TileKernels tiles_avx512_pairs;
extern const TileKernels tiles_avx512_dots;
extern const TileKernels tiles_avx_vnni;

}  // namespace fastconv
