// The kernels of one instruction set, gathered. A file that includes this has defined
// FASTCONV_ISA_NAMESPACE and included the vector wrapper of that name.
#pragma once

#include "kernels/channel_lanes.hpp"
#include "kernels/column_product.hpp"
#include "kernels/fft.hpp"
#include "kernels/flat_lanes.hpp"
#include "kernels/group_lanes.hpp"
#include "kernels/narrow_rows.hpp"
#include "kernels/outer_product.hpp"
#include "kernels/pixel_dots.hpp"
#include "kernels/pixel_lanes.hpp"
#include "kernels/pixel_quads.hpp"
#include "kernels/plane.hpp"
#include "kernels/plane_column.hpp"
#include "kernels/plane_stage.hpp"
#include "kernels/rolling.hpp"
#include "kernels/row_stencil.hpp"
#include "kernels/staged_planes.hpp"
#include "kernels/store.hpp"
#include "kernels/table.hpp"
#include "kernels/winograd.hpp"
#include "simd/half.hpp"

namespace fastconv::FASTCONV_ISA_NAMESPACE {

template <class F>
constexpr bool is_shape(const WinogradAxisShape& shape) {
  return shape.outputs == F::outputs && shape.taps == F::taps && shape.points == F::points &&
         shape.narrow == Narrow<F>::missing;
}

template <class V, WinogradTile Tile, class H, class W>
constexpr void set_winograd(KernelSet<typename V::value_type>& set) {
  constexpr WinogradShape kShape = kWinogradShapes[static_cast<int>(Tile)];
  static_assert(is_shape<H>(kShape.rows) && is_shape<W>(kShape.columns));
  using N = Narrow<H>;
  using M = Narrow<W>;
  set.winograd[static_cast<int>(Tile)] = {
      {{&winograd_input<V, H, W>, &winograd_input<V, H, M>},
       {&winograd_input<V, N, W>, &winograd_input<V, N, M>}},
      &winograd_output<V, H, W>,
      {{&winograd_weights<V, H, W>, &winograd_weights<V, H, M>},
       {&winograd_weights<V, N, W>, &winograd_weights<V, N, M>}}};
}

template <class V, int Size>
constexpr void set_rolling(KernelSet<typename V::value_type>& set) {
  if constexpr (kStagesPlanes<V, Size>) {
    set.rolling[(Size - 3) / 2][0] = &staged_planes<V, Size, 1>;
    set.rolling[(Size - 3) / 2][1] = &staged_planes<V, Size, 2>;
    set.most_rolled = Size;
  } else if constexpr (kRolls<V, Size>) {
    set.rolling[(Size - 3) / 2][0] = &rolling<V, Size, 1>;
    set.rolling[(Size - 3) / 2][1] = &rolling<V, Size, 2>;
    set.most_rolled = Size;
  }
}

template <class V, PlaneKernel Kernel>
constexpr void set_plane(KernelSet<typename V::value_type>& set) {
  set.plane[static_cast<int>(Kernel)] = &plane_filter<V, Kernel>;
}

template <class V>
constexpr void set_plane_column(KernelSet<typename V::value_type>& set) {
  set.plane[static_cast<int>(PlaneKernel::column)] = &plane_columns<V>;
}

template <class V>
constexpr KernelSet<typename V::value_type> make_set() {
  KernelSet<typename V::value_type> set{};
  set.lanes = V::lanes;
  set.pixels = kOuterPixels;
  set.out_vecs = kOuterVecs<V>;
  set.outer[0] = &outer_product<V, 1>;
  set.outer[1] = &outer_product<V, 2>;
  if constexpr (kOuterVecs<V> == 4) {
    set.outer[2] = &outer_product<V, 3>;
    set.outer[3] = &outer_product<V, 4>;
  }
  set.rows = 4;
  set.chain = kIsFloat<V> && !V::fused ? 8 : 1 << 30;
  set.pixel_lanes[0] = &pixel_lanes<V, 1>;
  set.pixel_lanes[1] = &pixel_lanes<V, 2>;
  set.pixel_lanes[2] = &pixel_lanes<V, 3>;
  set.pixel_lanes[3] = &pixel_lanes<V, 4>;
  set.splices = kSplices<V>;
  if constexpr (kHasRowStencil<V>) {
    set.row_stencil[0] = &row_stencil<V, 1>;
    set.row_stencil[1] = &row_stencil<V, 2>;
    set.row_stencil[2] = &row_stencil<V, 3>;
    set.row_stencil[3] = &row_stencil<V, 4>;
  }
  set_plane<V, PlaneKernel::any>(set);
  // Much code of 64-bit products, which AVX2 puts together: without the second, 0.7 of its speed.
  constexpr bool kPutsTogether =
      V::registers == 16 && !kIsFloat<V> && sizeof(typename V::value_type) == 8;
  if constexpr (!kLeanest<V>) {
    set_plane<V, PlaneKernel::square3>(set);
    if constexpr (!kPutsTogether) set_plane<V, PlaneKernel::square3_by2>(set);
  }
  if constexpr (!kLean<V>) {
    set_plane<V, PlaneKernel::square5>(set);
    set_plane<V, PlaneKernel::square7>(set);
  }
  set.plane_stage = &plane_stage<V>;
  set_rolling<V, 3>(set);
  set_rolling<V, 5>(set);
  set_rolling<V, 7>(set);
  if constexpr (kStagesPlanes<V, kAnySize>) {
    constexpr int kAny = KernelSet<typename V::value_type>::kRollSizes - 1;
    set.rolling[kAny][0] = &staged_planes<V, kAnySize, 1>;
    set.rolling[kAny][1] = &staged_planes<V, kAnySize, 2>;
  }
  set.channel_vecs = kChannelVecs<V>;
  set.channel_lanes = &channel_lanes<V>;
  // Of float32 alone, as they are much code.
  if constexpr (kStrips<V> && requires { V::routed(V::zero(), nullptr); }) {
    set.group_sums = kMostGroupSums<V>;
    set.group_lanes = &group_lanes<V>;
    set.flat_groups = &flat_groups<V>;
  }
  if constexpr (kHasQuads<V>) {
    set.pixel_quads[0] = &pixel_quads<V, 1>;
    // With AVX-512, those of AVX2 (dispatch.cpp).
    if constexpr (V::quads <= 2) set.pixel_quads[1] = &pixel_quads<V, kQuad>;
  }
  set.store = &store_tile<V>;
  set.pack = &pack_rows<V>;
  set.spread = &spread_rows<V, kOuterPixels>;
  set.every_second = &every_second<V>;
  set.are_finite = &are_finite<V>;
  set_narrow_rows(set);
  if constexpr (kIsFloat<V>) {
    set_winograd<V, WinogradTile::f23_f23, F23, F23>(set);
    set_winograd<V, WinogradTile::f43_f43, F43, F43>(set);
    set_winograd<V, WinogradTile::f22_f22, F22, F22>(set);
    set_winograd<V, WinogradTile::f11_f23, F11, F23>(set);
    set_winograd<V, WinogradTile::f11_f43, F11, F43>(set);
    set_winograd<V, WinogradTile::f11_f22, F11, F22>(set);
    // Its chains are long (`chain`).
    if constexpr (V::fused) {
      set_plane_column<V>(set);
      set.flat_lanes = &flat_lanes<V>;
      set.flat_room = kFlatVecs<V> * V::lanes;
      set.column_product[0] = &column_product<V, kColumnVecs<V>[0]>;
      set.column_product[1] = &column_product<V, kColumnVecs<V>[1]>;
      set.dots = &pixel_dots<V>;
      set.column_vecs[0] = kColumnVecs<V>[0];
      set.column_vecs[1] = kColumnVecs<V>[1];
      set.gather = &gather_columns<V>;
    }
    set.magnitudes = &magnitudes<V>;
    set.split[1] = &split_phases<V, 1>;
    set.split[2] = &split_phases<V, 2>;
    set.split[4] = &split_phases<V, 4>;
  }
  return set;
}

constexpr KernelTable make_table(const char* name) {
  return {name,
          make_set<F32>(),
          make_set<F64>(),
          make_set<I32>(),
          make_set<I64>(),
          {&float16_to_float32, &float32_to_float16, &bfloat16_to_float32, &float32_to_bfloat16},
          {F64::lanes, &fft_forward<F64>, &fft_inverse<F64>, &fft_product<F64>,
           &fft_input<F64, float>, &fft_input<F64, double>, &fft_output<F64, float>,
           &fft_output<F64, double>, &fft_magnitudes<F64, float>, &fft_magnitudes<F64, double>},
          &tiles_portable};
}

}  // namespace fastconv::FASTCONV_ISA_NAMESPACE
