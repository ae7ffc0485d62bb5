// What it costs to filter a depthwise layer plane by plane, in one way or another: estimates that
// choose between them (plane.cpp, channels.cpp, turned.cpp).
#pragma once

#include "algorithms/machine.hpp"
#include "core/problem.hpp"

namespace fastconv {

// Cycles of one group of an image on Zen 4, AVX-512, fitted to some 3000 random layers of up to 130
// groups: half of the estimates are within a fifth (docs/tuning.md).
class PlaneCycles {
 public:
  PlaneCycles(const Problem& problem, const Machine& machine);

  double by_planes() const {
    return slices_ * (100 + 135 * filters_) + staged_rows_ * (16 + 0.42 * dealt_) +
           phases_ * filters_ + product_ * seen_rows_ * vectors_;
  }
  // sampled.hpp
  double sampled() const {
    return 100 + 17 * rows_ / filters_ + 0.25 * in_ * outputs_ / filters_ + 60 * filters_ +
           1.5 * in_ * outputs_ / lanes_;
  }
  // Kernels of 5x5 and 7x7.
  double rolling_large() const { return rolled_; }
  double rolling() const { return 136 * slices_ * filters_ + 7 * staged_rows_ + 1.6 * vectors_; }
  // staged_planes.hpp: fitted to 850 layers of up to 34 x 34 with AVX2.
  double staged() const {
    return 140 * slices_ * filters_ + 3 * staged_vectors_ + computed_vectors_;
  }
  double otherwise() const {
    if (picked_ > 0)
      return 800 + picked_ * in_ * outputs_ / filters_ + 0.25 * outputs_ + in_ * outputs_ / lanes_;
    return 373 + (strided_ ? 2.3 : 1.7) * inputs_ + 0.28 * outputs_ +
           0.38 * outputs_ / filters_ * weights_ / lanes_ + 0.77 * vectors_;
  }

 protected:
  double lanes_, in_, filters_, slices_, inputs_, outputs_, weights_, kernel_rows_;
  double rows_, vectors_, staged_rows_, dealt_;
  double seen_ = 1, seen_rows_ = 1, product_;
  double phases_ = 0;  // of a dilation: calls for rows so far apart
  double picked_ = 0;  // of an element that a stride leaves
  double rolled_;
  double staged_vectors_, computed_vectors_;
  bool strided_;
};

// Of an image with channels last, filtered plane by plane.
double cycles_of_planes(const Problem& problem, const Machine& machine);

}  // namespace fastconv
