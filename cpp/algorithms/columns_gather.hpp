// How the columns of a panel of pixels are gathered for column_product (columns.cpp):
// [terms][pixels], from rows that are staged, or of pointwise layers from x itself.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "algorithms/columns_layout.hpp"
#include "algorithms/tiled.hpp"
#include "core/problem.hpp"
#include "core/rounding.hpp"
#include "kernels/args.hpp"
#include "kernels/table.hpp"
#include "pack/stage.hpp"

namespace fastconv {

// Some panels and output channels of an image, and where a worker has what it gathers and sums.
template <class T>
struct ColumnTask {
  Tile tile;  // the rows staged
  std::int64_t first_panel = 0;
  std::int64_t last_panel = 0;
  std::int64_t first_pixel = 0;
  std::int64_t row = 0;  // of the group's output channels
  std::int64_t rows = 0;
  T* patch = nullptr;
  T* columns = nullptr;
  T* rest = nullptr;
  T* sums = nullptr;
  T* convert = nullptr;
};

template <class T>
class ColumnGather {
 public:
  using Task = ColumnTask<T>;

  ColumnGather(const Problem& problem, const ColumnLayout& layout, const KernelSet<T>& kernels,
               const Operands& operands)
      : problem_(problem), layout_(layout), kernels_(kernels), operands_(operands) {}

  const char* channel_of(const Task& task, const ColumnChunk& chunk) const {
    const Tensor& x = operands_.x;
    return x.data + task.tile.image * x.batch +
           x.channel_offset(task.tile.group * problem_.in_channels + chunk.patch.first_channel);
  }

  // Where in a channel of x the only tap of a pixel lies, in bytes.
  std::int64_t offset_in_x(std::int64_t pixel) const {
    const auto& [depth, height, width] = problem_.axis;
    const Tensor& x = operands_.x;
    return pixel / width.out / height.out * depth.stride * x.axis[0] +
           pixel / width.out % height.out * height.stride * x.axis[1] +
           pixel % width.out * width.stride * x.axis[2];
  }

  const T* first_of_x(const Task& task, const ColumnChunk& chunk, std::int64_t pixel) const {
    return reinterpret_cast<const T*>(channel_of(task, chunk) + offset_in_x(pixel));
  }

  // Panels [first, end) of a chunk, and the rest if it follows them.
  void panels(const Task& task, const ColumnChunk& chunk, std::int64_t first,
              std::int64_t end) const {
    const ColumnPanels& panels = layout_.panels;
    if (layout_.source == ColumnSource::plane) {
      gather_planes(task, chunk, first, end);
    } else {
      for (std::int64_t panel = first; panel < end; ++panel) {
        const std::int64_t pixel = panels.first(panel), pixels = panels.first(panel + 1) - pixel;
        T* const to = task.columns + (panel - first) * layout_.column_elements;
        if (pixels == 0) continue;
        if (layout_.source == ColumnSource::patch) {
          gather_from_patch(task, chunk, pixel, pixels, panels.width[panels.kind(panel)], to);
        } else {
          gather_in_place(task, chunk, pixel, pixels, panels.width[panels.kind(panel)], to);
        }
      }
    }
    if (end == panels.total()) gather_rest(task, chunk);
  }

 private:
  // The terms of pixels [first, first + pixels), pixel after pixel.
  void pick(const Task& task, const ColumnChunk& chunk, std::int64_t first, std::int64_t pixels,
            T* to, std::int64_t pitch) const {
    for (std::int64_t p = 0; p < pixels; ++p)
      std::memcpy(to + p * pitch, first_of_x(task, chunk, first + p),
                  static_cast<std::size_t>(chunk.terms) * sizeof(T));
  }

  void gather_in_place(const Task& task, const ColumnChunk& chunk, std::int64_t first,
                       std::int64_t pixels, std::int64_t width, T* to) const {
    constexpr std::int64_t kElement = sizeof(T);
    if (layout_.source == ColumnSource::turned)
      return kernels_.pack({first_of_x(task, chunk, first), layout_.pixel_pitch / kElement, pixels,
                            chunk.terms, to, width});
    if (layout_.source == ColumnSource::picked) {
      pick(task, chunk, first, pixels, task.patch, chunk.terms);
      return kernels_.pack({task.patch, chunk.terms, pixels, chunk.terms, to, width});
    }
    const auto at = [&](std::int64_t p) { return offset_in_x(first + p) / kElement; };
    std::array<Piece, kMostPanelPixels> piece;
    GatherArgs<T> g{};
    g.from = reinterpret_cast<const T*>(channel_of(task, chunk));
    g.from_pitch = operands_.x.channel / kElement;
    g.pixels = pixels;
    g.terms = chunk.terms;
    g.to = to;
    g.to_pitch = width;
    const std::int64_t row = problem_.axis[2].out;
    for (std::int64_t p = 0; p < pixels;) {
      const std::int64_t count =
          std::min<std::int64_t>({kernels_.lanes, pixels - p, row - (first + p) % row});
      piece[static_cast<std::size_t>(g.pieces++)] = {static_cast<std::int32_t>(at(p)),
                                                     static_cast<std::int32_t>(p),
                                                     static_cast<std::int32_t>(count)};
      p += count;
    }
    g.piece = piece.data();
    g.step = row == 1 ? 1 : problem_.axis[2].stride;
    kernels_.gather(g);
  }

  // Panels [panel, end), those of one width at once.
  void gather_planes(const Task& task, const ColumnChunk& chunk, std::int64_t panel,
                     std::int64_t end) const {
    const ColumnPanels& panels = layout_.panels;
    for (std::int64_t at = 0; panel < end;) {
      const int kind = panels.kind(panel);
      std::int64_t last = panel + 1;
      while (last < end && panels.kind(last) == kind) ++last;
      GatherArgs<T> g{};
      g.from = first_of_x(task, chunk, panels.first(panel));
      g.from_pitch = operands_.x.channel / std::int64_t{sizeof(T)};
      g.pixels = panels.first(last) - panels.first(panel);
      g.terms = chunk.terms;
      g.to = task.columns + at * layout_.column_elements;
      g.to_pitch = panels.width[kind];
      g.panel_pitch = layout_.column_elements;
      if (g.pixels != 0) kernels_.gather(g);
      at += last - panel;
      panel = last;
    }
  }

  void gather_rest(const Task& task, const ColumnChunk& chunk) const {
    if (layout_.source == ColumnSource::turned) return;  // is read where it lies
    const std::int64_t pitch = operands_.x.channel / std::int64_t{sizeof(T)};
    const std::int64_t first = layout_.panels.pixels - layout_.panels.rest;
    if (layout_.source == ColumnSource::picked)
      return pick(task, chunk, first, layout_.panels.rest, task.rest, layout_.rest_pitch);
    for (std::int64_t p = 0; p < layout_.panels.rest; ++p) {
      T* const to = task.rest + p * layout_.rest_pitch;
      if (layout_.source == ColumnSource::patch) {
        const T* const from = task.patch + position(task, chunk, first + p);
        for (std::int64_t t = 0; t < chunk.terms; ++t)
          to[t] = from[layout_.tap[static_cast<std::size_t>(t)]];
      } else {
        const T* const from = first_of_x(task, chunk, first + p);
        for (std::int64_t t = 0; t < chunk.terms; ++t) to[t] = from[t * pitch];
      }
    }
  }

  void gather_from_patch(const Task& task, const ColumnChunk& chunk, std::int64_t first,
                         std::int64_t pixels, std::int64_t width, T* to) const {
    std::array<Piece, kMostPanelPixels> piece;
    GatherArgs<T> g{};
    const Index3& step = chunk.patch.layout.axis;
    const std::int64_t row = problem_.axis[2].out;
    const bool rows_follow =
        step[1] == row && (task.tile.size[0] == 1 || step[0] == problem_.axis[1].out * row);
    for (std::int64_t p = 0; p < pixels;) {
      const std::int64_t row_end = problem_.axis[2].out - (first + p) % problem_.axis[2].out;
      std::int64_t count = std::min<std::int64_t>(kernels_.lanes, pixels - p);
      if (!rows_follow) count = std::min(count, row_end);
      piece[static_cast<std::size_t>(g.pieces++)] = {
          static_cast<std::int32_t>(position(task, chunk, first + p)), static_cast<std::int32_t>(p),
          static_cast<std::int32_t>(count)};
      p += count;
    }
    g.from = task.patch;
    g.tap = layout_.tap.data();
    g.piece = piece.data();
    g.terms = chunk.terms;
    g.to = to;
    g.to_pitch = width;
    kernels_.gather(g);
  }

  // Where a pixel of the image lies in the patch.
  std::int64_t position(const Task& task, const ColumnChunk& chunk, std::int64_t pixel) const {
    const std::int64_t height = problem_.axis[1].out, width = problem_.axis[2].out;
    const Index3& step = chunk.patch.layout.axis;
    return (pixel / width / height - task.tile.origin[0]) * step[0] +
           (pixel / width % height - task.tile.origin[1]) * step[1] + pixel % width -
           task.tile.origin[2];
  }

  const Problem& problem_;
  const ColumnLayout& layout_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
};

}  // namespace fastconv
