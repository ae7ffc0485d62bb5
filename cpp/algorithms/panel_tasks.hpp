// Tasks of algorithms that stage a box once for all panels of output channels:
//
//   boxes       0     1     2     3     4        threads: 2
//   tasks      all   all   all   all   half half
//
// A task is a box and all panels; of the last boxes, as many as threads would not share evenly, a
// part of them. Boxes stay as they are: what decides about an image may not depend on the threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "core/rounding.hpp"

namespace fastconv {

struct PanelTasks {
  std::int64_t boxes = 0;
  std::int64_t panels = 1;       // of a box
  std::int64_t whole_boxes = 0;  // those that are not shared
  std::int64_t panels_per_task = 1;
  std::int64_t tasks_per_box = 1;  // of the others

  static PanelTasks make(std::int64_t boxes, std::int64_t panels, std::int64_t threads) {
    constexpr std::int64_t kMany = 16;  // for each thread: the last ones need not be shared
    const std::int64_t rest = boxes % threads;
    PanelTasks t{boxes, panels, boxes < kMany * threads ? boxes - rest : boxes};
    t.panels_per_task =
        divide_up(panels, rest == 0 ? 1 : std::min(panels, threads / std::gcd(rest, threads)));
    t.tasks_per_box = divide_up(panels, t.panels_per_task);
    return t;
  }

  std::int64_t count() const { return whole_boxes + (boxes - whole_boxes) * tasks_per_box; }

  struct Task {
    std::int64_t box, first_panel, last_panel;
  };
  Task task(std::int64_t index) const {
    if (index < whole_boxes) return {index, 0, panels};
    index -= whole_boxes;
    const std::int64_t first = index % tasks_per_box * panels_per_task;
    return {whole_boxes + index / tasks_per_box, first, std::min(first + panels_per_task, panels)};
  }
};

}  // namespace fastconv
