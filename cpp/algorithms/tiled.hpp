// The loop nest that every tiled algorithm shares: stage -> multiply -> store.
//
//   for each task (image, group, box of pixels, range of panels)        in parallel
//     for each chunk of the reduction                                   usually one
//       stage the input of the box
//       for each panel of output channels
//         for each block of terms                                       weights from L1
//           multiply                                                    kernel, all pixels
//         store, once the last chunk is in
#pragma once

#include <cstdint>

#include "algorithms/output_boxes.hpp"
#include "algorithms/tiling.hpp"
#include "core/problem.hpp"
#include "kernels/table.hpp"
#include "pack/weights.hpp"
#include "runtime/interrupt.hpp"

namespace fastconv {

// What one call brings to a plan.
struct Operands {
  Tensor x;
  Tensor y;
  const void* packed = nullptr;  // pack/weights.hpp
  const void* bias = nullptr;    // one value of the compute type for each real output channel
  // Read where `packed` is null, and for images that need another algorithm than was packed for.
  const Weights* weights = nullptr;
  std::uint8_t* unsuitable = nullptr;     // algorithms/execution.hpp
  const FlaggedBoxes* flagged = nullptr;  // nothing else is wanted; of a batch of one
};

// Weights in rows, one for each output channel: packed so, or where they lie.
template <class T>
struct WeightRows {
  const T* data;
  std::int64_t pitch;

  WeightRows(const Problem& problem, const Operands& operands)
      : data(static_cast<const T*>(operands.packed)), pitch(problem.terms()) {
    if (data != nullptr) return;
    data = reinterpret_cast<const T*>(operands.weights->data);
    pitch = operands.weights->out / std::int64_t{sizeof(T)};
  }
  const T* row(std::int64_t channel) const { return data + channel * pitch; }
};

// The outer product of a panel that is so wide.
template <class T>
auto outer_kernel(const KernelSet<T>& kernels, std::int64_t width) {
  return width < kernels.lanes ? kernels.outer_half : kernels.outer[width / kernels.lanes - 1];
}

PanelShape panel_shape(const Problem& problem, const Tiling& tiling);

// Bytes that one worker needs.
std::int64_t scratch_bytes(const Tiling& tiling, int element);

// Runs on at most `workers` threads; `scratch` holds workers * scratch_bytes, 64-byte aligned.
void run_tiled(const Problem& problem, const Tiling& tiling, const KernelTable& kernels,
               const Operands& operands, char* scratch, int workers, Interrupt& interrupt);

// The part of it that Family::plane takes (plane.cpp).
void run_planes(const Problem& problem, const Tiling& tiling, const KernelTable& kernels,
                const Operands& operands, char* scratch, int workers, Interrupt& interrupt);

}  // namespace fastconv
