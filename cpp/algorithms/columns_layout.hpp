// How a problem is cut for column_product: panels of pixels, chunks of the reduction, tasks. Pure
// arithmetic; nothing here touches an array.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "algorithms/machine.hpp"
#include "core/problem.hpp"
#include "pack/stage.hpp"

namespace fastconv {

// Terms of a chunk (measured: docs/tuning.md).
inline constexpr std::int64_t kColumnTerms = 256;
inline constexpr std::int64_t kMostPanelPixels = 64;
// A pixel by dot products, in lanes of a panel (docs/tuning.md).
inline constexpr double kDotCost = 1.5;

// How the output pixels of one image are cut into panels.
struct ColumnPanels {
  std::int64_t pixels = 0;  // of the image
  std::int64_t width[2] = {};
  std::int64_t count[2] = {};
  std::int64_t rest = 0;  // pixels behind the panels; all of them: one panel of none
  std::int64_t lanes = 0;

  bool is_rest_alone() const { return rest == pixels; }
  bool is_tiny() const { return pixels <= std::max<std::int64_t>(lanes / 8, 1); }
  std::int64_t computed() const { return count[0] * width[0] + count[1] * width[1]; }
  std::int64_t chunk_terms() const;
  std::int64_t total() const { return count[0] + count[1]; }
  int kind(std::int64_t i) const { return i < count[0] ? 0 : 1; }
  // First pixel of panel i; of the one behind the last, the end of the panels.
  std::int64_t first(std::int64_t i) const {
    const std::int64_t at =
        std::min(i, count[0]) * width[0] + std::max<std::int64_t>(i - count[0], 0) * width[1];
    return std::min(at, pixels - rest);
  }
};

ColumnPanels make_column_panels(std::int64_t pixels, const Machine& machine);

struct ColumnChunk {
  std::int64_t first = 0;  // term
  std::int64_t terms = 0;
  Patch patch;
};

// What a panel's columns are gathered from.
enum class ColumnSource : std::uint8_t {
  plane,   // x: the pixels of a term follow each other
  rows,    // x: every element of a row, or every second
  turned,  // x: the terms of a pixel follow each other (channels last), pixels one pitch apart
  picked,  // the same, pixels anywhere: copied side by side before they are turned
  patch    // a copy (pack/stage.hpp)
};

struct ColumnLayout {
  ColumnSource source = ColumnSource::patch;
  ColumnPanels panels;
  std::int64_t pixel_pitch = 0;  // ColumnSource::turned: bytes from one pixel to the next
  std::vector<ColumnChunk> chunks;
  std::vector<std::int32_t> tap;  // of the longest chunk; those of others are its beginning
  std::int64_t panels_per_task = 1;
  std::int64_t panel_tasks = 1;
  std::int64_t rows_per_task = 1;
  std::int64_t row_tasks = 1;
  // Scratch of one worker, in elements: patch, or picked pixels | columns | rest | sums |
  // conversion
  std::int64_t patch_elements = 0;
  std::int64_t column_elements = 0;  // of one panel
  std::int64_t panels_at_once = 1;   // that are gathered, of a task
  std::int64_t panels_in_turn = 1;   // that a row takes, at most
  bool gathers_all = false;          // panels and chunks of a task, before the first is multiplied
  bool asks_for_x = true;            // ahead of the next gathering
  std::int64_t rows_at_once = 1;     // that all of them take before the next
  std::int64_t rest_pitch = 0;
  std::int64_t rest_elements = 0;
  std::int64_t sums_pitch = 0;
  std::int64_t sums_elements = 0;
  std::int64_t convert_elements = 0;

  // Chunks that are gathered at a time, and output channels that are summed and stored.
  std::int64_t gathered() const { return gathers_all ? std::ssize(chunks) : 1; }
  std::int64_t rows_of_sums() const { return gathers_all ? rows_at_once : rows_per_task; }
  std::int64_t tasks(const Problem& p) const {
    return p.batch * p.groups * panel_tasks * row_tasks;
  }
  // Pixels [first, last) of a task, its share of the rest included.
  std::int64_t first_pixel(std::int64_t task) const { return panels.first(task * panels_per_task); }
  std::int64_t last_pixel(std::int64_t task) const {
    return task + 1 == panel_tasks ? panels.pixels : panels.first((task + 1) * panels_per_task);
  }
};

// The rows that hold output pixels [first, last): of several slices all rows, of one row a part.
Tile rows_of(const Problem& problem, std::int64_t first, std::int64_t last);

// True where a panel's columns are not plain runs of x, however x lies.
bool needs_column_patch(const Problem& problem);
// Elements of a chunk that are staged for one panel, at most.
std::int64_t column_patch_of_a_panel(const Problem& problem, const ColumnPanels& panels);

// Whether the input lies in an order that is read well; vector operations a term and pixel.
bool columns_suit(const Problem& problem, const Tensor& x);
double columns_cost(const Problem& problem, const Machine& machine);

ColumnLayout make_column_layout(const Problem& problem, const Tensor& x, const Machine& machine);

}  // namespace fastconv
