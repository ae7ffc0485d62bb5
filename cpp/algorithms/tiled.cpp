#include "algorithms/tiled.hpp"

#include <algorithm>
#include <cstring>

#include "algorithms/lanes_vectors.hpp"
#include "algorithms/store_box.hpp"
#include "algorithms/tap_layout.hpp"
#include "core/rounding.hpp"
#include "pack/stage.hpp"
#include "runtime/thread_pool.hpp"

namespace fastconv {
namespace {

constexpr std::int64_t kMostWidth = 64;  // of a panel: four vectors of sixteen

// Elements of the packed weights of one kernel call.
std::int64_t block_elements(const Tiling& tiling) {
  return tiling.family == Family::rows ? 0 : tiling.panel * tiling.block;
}

// Scratch of one worker: staged input | accumulators | conversion buffer | weights | places in the
// output | pixel offsets, and which output each pixel is.
template <class T>
struct Scratchpad {
  T* stage;
  T* acc;
  T* convert;
  T* weights;
  std::int64_t* place;
  std::int32_t* pixel;
  std::int32_t* output;

  Scratchpad(const Tiling& tiling, char* at) {
    stage = reinterpret_cast<T*>(at);
    at += round_to_line(tiling.stage_elements * std::int64_t{sizeof(T)});
    acc = reinterpret_cast<T*>(at);
    at += round_to_line(tiling.acc_elements * std::int64_t{sizeof(T)});
    convert = reinterpret_cast<T*>(at);
    at += round_to_line(tiling.panel_elements * std::int64_t{sizeof(T)});
    weights = reinterpret_cast<T*>(at);
    at += round_to_line(block_elements(tiling) * std::int64_t{sizeof(T)});
    place = reinterpret_cast<std::int64_t*>(at);
    at += round_to_line(tiling.vectors * std::int64_t{sizeof(std::int64_t)});
    pixel = reinterpret_cast<std::int32_t*>(at);
    output = pixel + tiling.pixels();
  }
};

template <class T>
class TiledRun {
 public:
  TiledRun(const Problem& problem, const Tiling& tiling, const KernelTable& table,
           const Operands& operands, char* scratch, int workers, Interrupt& interrupt)
      : problem_(problem),
        tiling_(tiling),
        table_(table),
        kernels_(table.set<T>()),
        operands_(operands),
        shape_(panel_shape(problem, tiling)),
        scratch_(scratch),
        scratch_each_(scratch_bytes(tiling, sizeof(T))),
        interrupt_(interrupt),
        workers_(workers),
        groups_together_(problem.channels_last && problem.groups > 1 && workers == 1),
        store_(problem, table, operands.y, operands.bias) {}

  void task(std::int64_t index, int worker) noexcept {
    if (interrupt_.stop_requested()) return;
    const std::int64_t range = index % tiling_.panel_tasks;
    const Tile tile =
        tile_of_box(problem_, tiling_.box, tiling_.boxes,
                    groups_together_ ? with_groups_together(index / tiling_.panel_tasks)
                                     : index / tiling_.panel_tasks);
    if (operands_.flagged != nullptr && !operands_.flagged->take(tile)) return;
    const std::int64_t begin = range * tiling_.panels_per_task;
    const std::int64_t end = std::min(begin + tiling_.panels_per_task, tiling_.panels);
    const Scratchpad<T> pad(tiling_, scratch_ + worker * scratch_each_);

    if (tiling_.family == Family::outer && !tiling_.tap_in_place.empty() && !pixels_overlap()) {
      const Tile inner = without_border(tile);
      if (is_most(inner, tile)) {
        const auto put = [&](const Tile& edge) { run(edge, tile, begin, end, pad, worker, false); };
        each_edge(tile, inner, put);
        return run(inner, tile, begin, end, pad, worker, true);
      }
    }
    const bool by_pixels = tiling_.family == Family::lanes && writes_pixels(tile);
    const bool in_place = by_pixels && !tiling_.tap_in_place.empty();
    if (tiling_.asks_for_rows && !in_place && index + workers_ < tiling_.tasks(problem_)) {
      const Tile following = tile_of_box(problem_, tiling_.box, tiling_.boxes,
                                         (index + workers_) / tiling_.panel_tasks);
      return run(tile, tile, begin, end, pad, worker, in_place, &following);
    }
    run(tile, tile, begin, end, pad, worker, in_place);
  }

 private:
  // Panels [begin, end) of some pixels of a box, their input read as it lies or staged.
  void run(const Tile& tile, const Tile& box, std::int64_t begin, std::int64_t end,
           const Scratchpad<T>& pad, int worker, bool in_place, const Tile* following = nullptr) {
    const bool one_chunk = tiling_.chunks.size() == 1;
    const bool pixels_out = writes_pixels(tile);
    const bool channels_out = tiling_.family == Family::outer && store_.takes_channels(box);
    const std::int32_t* output = nullptr;
    if (channels_out && !store_.takes_channels(tile)) {
      make_pixels(tile, {box.size[1] * box.size[2], box.size[2], 1}, pad.output);
      output = pad.output;
    }
    LanesVectors vectors{pad.pixel, pad.place};
    for (const Chunk& chunk : tiling_.chunks) {
      const bool last = &chunk == &tiling_.chunks.back();
      const T* const x = in_place ? read_in_place(tile, pad) : stage(chunk, tile, pad);
      if (tiling_.family == Family::lanes && (!in_place || chunk.first == 0))
        make_vectors(tile, in_place ? pitch_in_place() : chunk.patch.layout.axis, pixels_out,
                     in_place, vectors);
      // What the last one writes beyond its pixels the others overwrite.
      const bool backwards = channels_out && pixels_overlap();
      for (std::int64_t next = begin; next < end; ++next) {
        const std::int64_t panel = backwards ? begin + end - 1 - next : next;
        const bool whole = shape_.channels(panel) == shape_.width(panel);
        const bool direct = pixels_out || (channels_out && (whole || backwards));
        T* const acc = pad.acc + (one_chunk ? 0 : (panel - begin) * tiling_.panel_elements);
        const Upcoming rows =
            following == nullptr
                ? Upcoming{}
                : share(upcoming_rows(chunk, last, tile, *following), panel - begin, end - begin);
        multiply({chunk, tile, pad, vectors, panel, x, in_place, direct, output, acc, rows},
                 worker);
        if (interrupt_.stop_requested()) return;
        if (last && !direct) store(tile, panel, acc, pad.convert);
      }
      if (channels_out && gathers_pixels(output))
        std::memcpy(store_.first_pixel(tile, 0), pad.acc,
                    static_cast<std::size_t>(pixels_of(tile) * problem_.out_channels) * sizeof(T));
    }
  }

  // Of all groups one box, then the next.
  std::int64_t with_groups_together(std::int64_t index) const {
    const Index3& boxes = tiling_.boxes;
    const std::int64_t of_image = boxes[0] * boxes[1] * boxes[2] * problem_.groups;
    const std::int64_t in_image = index % of_image;
    return index - in_image + in_image % problem_.groups * (of_image / problem_.groups) +
           in_image / problem_.groups;
  }

  // Those of a box whose kernel sees nothing of the border.
  //
  //   e e e e e      edges are staged a few pixels at a time
  //   e i i i e
  //   e i i i e
  Tile without_border(const Tile& tile) const {
    Tile inner = tile;
    for (int a = 0; a < 3; ++a) {
      const TapSpan inside = outputs_inside(problem_.axis[a]);
      const std::int64_t first = std::max(tile.origin[a], inside.first);
      const std::int64_t last = std::min(tile.origin[a] + tile.size[a], inside.last);
      inner.origin[a] = first;
      inner.size[a] = std::max<std::int64_t>(last - first, 0);
    }
    return inner;
  }

  static std::int64_t pixels_of(const Tile& tile) {
    return tile.size[0] * tile.size[1] * tile.size[2];
  }
  static bool is_most(const Tile& part, const Tile& tile) {
    return 4 * pixels_of(part) > 3 * pixels_of(tile);
  }

  template <class Put>
  static void each_edge(const Tile& tile, const Tile& inner, Put put) {
    Tile left = tile;
    for (int a = 0; a < 3; ++a) {
      const std::int64_t end = left.origin[a] + left.size[a];
      const std::int64_t inner_end = inner.origin[a] + inner.size[a];
      Tile edge = left;
      edge.size[a] = inner.origin[a] - left.origin[a];
      if (edge.size[a] > 0) put(edge);
      edge.origin[a] = inner_end;
      edge.size[a] = end - inner_end;
      if (edge.size[a] > 0) put(edge);
      left.origin[a] = inner.origin[a];
      left.size[a] = inner.size[a];
    }
  }

  const T* read_in_place(const Tile& tile, const Scratchpad<T>& pad) const {
    if (tiling_.family == Family::outer) make_pixels(tile, pitch_in_place(), pad.pixel);
    return first_in_place(tile);
  }

  const T* stage(const Chunk& chunk, const Tile& tile, const Scratchpad<T>& pad) const {
    const Tensor& x = operands_.x;
    if (tiling_.staging == Staging::in_place) return read_in_place(tile, pad);
    if (tiling_.staging == Staging::columns) {
      stage_columns<T>(table_, problem_, x, tile, chunk.first, chunk.terms, tiling_.columns_group,
                       tiling_.columns_pitch, pad.stage);
      if (tiling_.columns_group != 0) make_column_pixels(tile, pad.pixel);
    } else {
      stage_patch<T>(table_, problem_, x, chunk.patch, tile, pad.stage);
      if (tiling_.family == Family::outer) make_pixels(tile, chunk.patch.output_step(), pad.pixel);
    }
    return pad.stage;
  }

  // Where a box begins in x, and its pixels lie.
  const T* first_in_place(const Tile& tile) const {
    const Tensor& x = operands_.x;
    std::int64_t offset =
        tile.image * x.batch + x.channel_offset(tile.group * problem_.in_channels);
    for (int a = 0; a < 3; ++a)
      offset += (tile.origin[a] * problem_.axis[a].stride - problem_.axis[a].lo) * x.axis[a];
    return reinterpret_cast<const T*>(x.data + offset);
  }

  Index3 pitch_in_place() const {
    Index3 pitch;
    for (int a = 0; a < 3; ++a)
      pitch[a] = problem_.axis[a].stride * operands_.x.axis[a] / std::int64_t{sizeof(T)};
    return pitch;
  }

  static void make_pixels(const Tile& tile, const Index3& step, std::int32_t* to) {
    for (std::int64_t d = 0; d < tile.size[0]; ++d)
      for (std::int64_t h = 0; h < tile.size[1]; ++h)
        for (std::int64_t w = 0; w < tile.size[2]; ++w)
          *to++ = static_cast<std::int32_t>(d * step[0] + h * step[1] + w * step[2]);
  }

  void make_column_pixels(const Tile& tile, std::int32_t* to) const {
    const std::int64_t pixels = tile.size[0] * tile.size[1] * tile.size[2];
    for (std::int64_t p = 0; p < pixels; ++p)
      to[p] = static_cast<std::int32_t>(p / tiling_.columns_group * tiling_.columns_pitch +
                                        p % tiling_.columns_group);
  }

  const T* packed_panel(std::int64_t group, std::int64_t panel) const {
    return static_cast<const T*>(operands_.packed) +
           (group * shape_.group_width() + panel * shape_.panel) * problem_.terms();
  }

  // A chunk of the reduction for the pixels of a tile and the channels of a panel.
  struct Product {
    const Chunk& chunk;
    const Tile& tile;
    const Scratchpad<T>& pad;
    const LanesVectors& vectors;
    std::int64_t panel;
    const T* x;
    bool in_place;
    bool direct;                 // complete sums go to the output
    const std::int32_t* output;  // which of a box's pixels each is, or null: they are in order
    T* acc;
    Upcoming rows;  // of x, for the box that follows
  };

  // What of it one kernel call multiplies.
  struct Terms {
    std::int64_t first;  // of the chunk
    std::int64_t count;
    const T* w;
    bool begins;    // nothing was summed up yet
    bool finishes;  // the sums are complete then
    Upcoming upcoming;
  };

  void multiply(const Product& product, int worker) {
    const Chunk& chunk = product.chunk;
    const Tile& tile = product.tile;
    const std::int64_t panel = product.panel, width = shape_.width(panel);
    if (tiling_.family == Family::rows) {
      multiply_rows(chunk, tile, product.x, packed_panel(tile.group, panel), product.acc);
      interrupt_.work_done(worker, chunk.terms * pixels_of(tile));
      return;
    }
    bool begins = chunk.first == 0;
    for (std::int64_t t = 0; t < chunk.terms; t += tiling_.block) {
      const std::int64_t terms = std::min(tiling_.block, chunk.terms - t);
      const std::int64_t first = chunk.first + t;
      const T* w = product.pad.weights;
      if (operands_.packed != nullptr) {
        w = packed_panel(tile.group, panel) + first * width;
      } else {
        pack_panel<T>(table_, problem_, *operands_.weights, shape_, tile.group, panel, first, terms,
                      product.pad.weights);
      }
      const bool complete = first + terms == problem_.terms();
      Runs runs;
      runs.first[0] = 0;
      runs.last[0] = terms;
      int count = 1;
      if (tiling_.cuts_slices && !pixels_overlap())
        count = runs_seen(tile, first, terms, w, width, complete, runs);
      for (int i = 0; i < count; ++i) {
        Terms call{t + runs.first[i],          runs.last[i] - runs.first[i],
                   w + runs.first[i] * width,  begins,
                   complete && i + 1 == count, {}};
        if (tiling_.family == Family::outer) {
          call.upcoming = upcoming(tile.group, panel, chunk, t + terms);
          multiply_outer(product, call);
        } else {
          if (product.rows.runs > 0) {
            const std::int64_t blocks = divide_up(chunk.terms, tiling_.block);
            call.upcoming = share(product.rows, t / tiling_.block, blocks);
          }
          multiply_lanes(product, call);
        }
        begins = false;
      }
      interrupt_.work_done(worker, terms * width * pixels_of(tile));
      if (interrupt_.stop_requested()) return;
    }
  }

  const std::int32_t* taps_of(const Product& product, const Terms& call) const {
    const auto& taps = product.in_place ? tiling_.tap_in_place : tiling_.tap;
    return taps.data() + product.chunk.first + call.first;
  }
  std::int64_t channel_of(const Product& product) const {
    return product.tile.group * problem_.out_channels + product.panel * shape_.panel;
  }

  void multiply_outer(const Product& product, const Terms& call) const {
    const std::int64_t panel = product.panel, width = shape_.width(panel);
    OuterArgs<T> args{product.x,
                      product.pad.pixel,
                      pixels_of(product.tile),
                      taps_of(product, call),
                      call.count,
                      call.w,
                      product.acc,
                      !call.begins,
                      tiling_.columns_group != 0,
                      call.upcoming};
    args.adjacent = product.in_place ? tiling_.adjacent_in_place : tiling_.adjacent;
    const bool partial = product.direct && shape_.channels(panel) < width;
    T bias[kMostWidth];
    if (product.direct) {
      args.acc = store_.first_pixel(product.tile, channel_of(product));
      args.acc_pixel = store_.pixel_pitch();
      args.place = product.output;
      if (call.finishes) args.finish = store_.finish(channel_of(product));
      if (partial) args.finish.bias = whole_bias(args.finish.bias, panel, bias);
    }
    if (product.direct && gathers_pixels(product.output)) {
      args.acc = product.acc + panel * shape_.panel;
      outer_kernel(kernels_, width)(args);
    } else if (partial) {
      multiply_overlapping(args, product.tile, panel, product.acc, product.pad.convert);
    } else {
      outer_kernel(kernels_, width)(args);
    }
  }

  void multiply_lanes(const Product& product, const Terms& call) const {
    const LanesVectors& vectors = product.vectors;
    LanesArgs<T> args{product.x,  vectors.vector, vectors.count, taps_of(product, call),
                      call.count, call.w,         product.acc,   !call.begins};
    args.next = vectors.next();
    args.seam = vectors.seam();
    args.tiled = vectors.tiled;
    args.x_is_far = product.in_place && tiling_.x_is_far;
    args.upcoming = call.upcoming;
    if (product.direct && call.finishes) {
      args.out = store_.first_pixel(product.tile, channel_of(product));
      args.place = product.pad.place;
      args.out_channel = store_.channel_pitch();
      args.finish = store_.finish(channel_of(product));
      args.out_is_far = tiling_.far;
    }
    kernels_.pixel_lanes[shape_.width(product.panel) - 1](args);
  }

  // Of a block of terms, those that one kernel call each multiplies. Of a small layer to fill them
  // with zeros takes a tenth of the time.
  struct Runs {
    static constexpr int kMost = 16;
    std::int64_t first[kMost], last[kMost];
  };

  // Of terms [first, first + count) those of kernel slices through which a box sees the picture,
  // and how many runs; all in one where a weight left out is infinite or NaN, or the sums could not
  // be begun or finished otherwise.
  //
  //   three slices, the first in the border      channel 0: . s s    channel 1: . s s
  int runs_seen(const Tile& tile, std::int64_t first, std::int64_t count, const T* w,
                std::int64_t width, bool complete, Runs& to) const {
    const Axis& depth = problem_.axis[0];
    const TapSpan seen = taps_inside(depth, tile.origin[0]);
    const std::int64_t taps = problem_.taps(), slice = taps / depth.kernel;
    std::int64_t left_out = 0;
    bool finite = true;
    const auto leave_out = [&](std::int64_t end) {
      finite = finite && kernels_.are_finite(w + left_out * width, (end - left_out) * width);
    };
    int runs = 0;
    for (std::int64_t c = first / taps; c * taps < first + count && runs < Runs::kMost; ++c) {
      const std::int64_t at = c * taps - first;
      to.first[runs] = std::max<std::int64_t>(at + seen.first * slice, 0);
      to.last[runs] = std::min(at + seen.last * slice, count);
      if (to.first[runs] >= to.last[runs]) continue;
      leave_out(to.first[runs]);
      left_out = to.last[runs++];
    }
    leave_out(count);
    const bool sums = seen.count() > 0 && (runs > 0 || !complete);
    if (finite && runs < Runs::kMost && sums) return runs;
    to.first[0] = 0;
    to.last[0] = count;
    return 1;
  }

  // All panels, the last not of whole vectors, in one call each, and pixels side by side in the
  // output: what a vector writes beyond its pixel are pixels to come.
  bool pixels_overlap() const {
    const std::int64_t last = tiling_.panels - 1;
    return shape_.channels(last) < shape_.width(last) && tiling_.panel_tasks == 1 &&
           problem_.groups == 1 && tiling_.chunks.size() == 1 &&
           tiling_.chunks[0].terms <= tiling_.block &&
           store_.pixel_pitch() == problem_.out_channels;
  }

  // Which a box copies to the output when they are complete.
  bool gathers_pixels(const std::int32_t* output) const {
    return tiling_.gathers && output == nullptr && pixels_overlap();
  }

  // Of a panel that is not of whole vectors.
  const T* whole_bias(const T* bias, std::int64_t panel, T* to) const {
    if (bias == nullptr) return nullptr;
    const std::int64_t channels = shape_.channels(panel);
    std::fill(std::copy_n(bias, channels, to), to + shape_.width(panel), T(0));
    return to;
  }

  // The last pixels, behind which there are not enough, go by way of `acc`.
  void multiply_overlapping(OuterArgs<T> args, const Tile& tile, std::int64_t panel, T* acc,
                            T* convert) const {
    const std::int64_t channels = shape_.channels(panel), width = shape_.width(panel);
    const std::int64_t channel = panel * shape_.panel, pixels = args.pixels;
    const std::int64_t last = std::min(divide_up(width - channels, problem_.out_channels), pixels);
    const auto kernel = outer_kernel(kernels_, width);
    args.pixels -= last;
    if (args.pixels != 0) kernel(args);
    args.pixel += args.pixels;
    args.pixels = last;
    args.columns = false;
    args.acc = acc;
    args.acc_pixel = 0;
    args.finish = {};
    args.upcoming = {};
    kernel(args);
    Tile end = tile;
    const std::int64_t first = pixels - last, row = tile.size[2], slice = tile.size[1] * row;
    end.origin = {tile.origin[0] + first / slice, tile.origin[1] + first % slice / row,
                  tile.origin[2] + first % row};
    end.size = {1, 1, last};
    store_.store(end, channel, channels, {acc, width, 1, last, last}, convert);
  }

  // The weights of the call that follows the one that ends with term `t` of a chunk.
  Upcoming upcoming(std::int64_t group, std::int64_t panel, const Chunk& chunk,
                    std::int64_t t) const {
    if (t == chunk.terms) {
      // The next panel; after the last one whatever follows.
      if (++panel == tiling_.panels) return {};
      t = 0;
    }
    const std::int64_t terms = std::min(tiling_.block, chunk.terms - t);
    const std::int64_t first = chunk.first + t;
    constexpr std::int64_t kElement = sizeof(T);
    if (operands_.packed != nullptr) {
      constexpr std::int64_t kRun = 512;
      const T* const w = packed_panel(group, panel) + first * shape_.width(panel);
      const std::int64_t bytes = terms * shape_.width(panel) * kElement;
      return {reinterpret_cast<const char*>(w), kRun, kRun, bytes / kRun};
    }
    const Weights& w = *operands_.weights;
    const std::int64_t channel = group * problem_.out_channels + panel * shape_.panel;
    return {w.data + channel * w.out + first * kElement, w.out, terms * kElement,
            shape_.channels(panel)};
  }

  // The rows of x that are staged after those of a chunk, without those that were staged just now:
  // of the next channels, or of the box that follows. Boxes are whole rows.
  Upcoming upcoming_rows(const Chunk& chunk, bool last, const Tile& tile,
                         const Tile& following) const {
    const Tensor& x = operands_.x;
    const Chunk& next = last ? tiling_.chunks.front() : *(&chunk + 1);
    const Tile& of = last ? following : tile;
    const Axis& height = problem_.axis[1];
    const auto row = [&](std::int64_t position) {
      return std::clamp<std::int64_t>(position - height.lo, 0, height.in);
    };
    const auto end_of = [&](const Tile& t) {
      return row((t.origin[1] + t.size[1] - 1) * height.stride + height.span());
    };
    std::int64_t begin = row(of.origin[1] * height.stride);
    const std::int64_t end = end_of(of);
    const bool below = last && tiling_.chunks.size() == 1 && following.image == tile.image &&
                       following.group == tile.group && following.origin[1] > tile.origin[1];
    if (below) begin = std::max(begin, end_of(tile));
    if (begin >= end) return {};
    const std::int64_t channel = of.group * problem_.in_channels + next.patch.first_channel;
    return {x.data + of.image * x.batch + x.channel_offset(channel) + begin * x.axis[1], x.channel,
            (end - begin) * x.axis[1], next.patch.channels};
  }

  // Part `index` of `count`: some of the runs, or some of each.
  static Upcoming share(const Upcoming& all, std::int64_t index, std::int64_t count) {
    if (all.runs >= count) {
      const std::int64_t first = all.runs * index / count;
      return {all.at + first * all.pitch, all.pitch, all.bytes,
              all.runs * (index + 1) / count - first};
    }
    const std::int64_t each = round_to_line(divide_up(all.bytes, count)), at = index * each;
    if (at >= all.bytes) return {};
    return {all.at + at, all.pitch, std::min(each, all.bytes - at), all.runs};
  }

  // A kernel whose lanes are pixels writes the output where rows are summed one by one.
  bool writes_pixels(const Tile& tile) const {
    return tiling_.family == Family::lanes && tiling_.staging == Staging::patch && !tiling_.flat &&
           tile.size[2] >= kernels_.lanes && store_.takes_pixels();
  }

  void make_vectors(const Tile& tile, const Index3& step, bool direct, bool in_place,
                    LanesVectors& to) const {
    const Index3 out = {store_.row_offset(1, 0), store_.row_offset(0, 1), 1};
    Index3 count = tile.size;
    if (tiling_.staging == Staging::columns) {
      count = {1, 1, count[0] * count[1] * count[2]};
    } else if (tiling_.flat) {
      count = {count[0], 1, (count[1] - 1) * step[1] + count[2]};
    }
    // What lies behind a row of x may not be read.
    if (tiling_.spliced && direct && !in_place && (count[1] == 1 || out[1] == count[2]))
      return rows_spliced(count, step, out, kernels_.lanes, to);
    rows_apart(count, step, direct ? &out : nullptr, kernels_.lanes, to);
  }

  void multiply_rows(const Chunk& chunk, const Tile& tile, const T* x, const T* w, T* acc) const {
    const LanesRows rows = lanes_rows(tiling_, tile.size, kernels_.lanes);
    const Index3& step = chunk.patch.layout.axis;
    constexpr std::int64_t kRows = KernelSet<T>::kStencilRows;
    for (std::int64_t d = 0; d < tile.size[0]; ++d) {
      for (std::int64_t h = 0; h < tile.size[1]; h += kRows) {
        const std::int64_t count = std::min(kRows, tile.size[1] - h);
        for (std::int64_t r = chunk.first_run; r < chunk.first_run + chunk.runs; ++r) {
          const GroupRun& run = tiling_.runs[static_cast<std::size_t>(r)];
          kernels_.row_stencil[count - 1](
              {x + d * step[0] + h * step[1], step[1], tiling_.groups.data() + run.first,
               run.groups, tiling_.column.data() + chunk.first_column, w, tile.size[2],
               acc + d * rows.slice + h * rows.row, rows.row, r != 0});
        }
      }
    }
  }

  void store(const Tile& tile, std::int64_t panel, const T* acc, T* convert) const {
    const std::int64_t width = shape_.width(panel);
    BoxAccumulators<T> from{acc, width, 1, tile.size[2], tile.size[1] * tile.size[2]};
    if (tiling_.family != Family::outer) {
      const LanesRows rows = lanes_rows(tiling_, tile.size, kernels_.lanes);
      from = {acc, 1, rows.total, rows.row, rows.slice};
    }
    store_.store(tile, tile.group * problem_.out_channels + panel * shape_.panel,
                 shape_.channels(panel), from, convert);
  }

  const Problem& problem_;
  const Tiling& tiling_;
  const KernelTable& table_;
  const KernelSet<T>& kernels_;
  const Operands& operands_;
  const PanelShape shape_;
  char* const scratch_;
  const std::int64_t scratch_each_;
  Interrupt& interrupt_;
  const int workers_;
  // Channels last: groups share the lines of a pixel, which several threads had better not.
  const bool groups_together_;
  const BoxStore<T> store_;
};

template <class T>
void run_as(const Problem& problem, const Tiling& tiling, const KernelTable& kernels,
            const Operands& operands, char* scratch, int workers, Interrupt& interrupt) {
  TiledRun<T> run(problem, tiling, kernels, operands, scratch, workers, interrupt);
  parallel_for(tiling.tasks(problem), workers,
               [&run](std::int64_t index, int worker) noexcept { run.task(index, worker); });
}

}  // namespace

PanelShape panel_shape(const Problem& problem, const Tiling& tiling) {
  return {problem.out_channels, tiling.panel, tiling.granule};
}

std::int64_t scratch_bytes(const Tiling& tiling, int element) {
  return round_to_line(tiling.stage_elements * element) +
         round_to_line(tiling.acc_elements * element) +
         round_to_line(tiling.panel_elements * element) +
         round_to_line(block_elements(tiling) * element) +
         round_to_line(tiling.vectors * std::int64_t{sizeof(std::int64_t)}) +
         round_to_line(2 * tiling.pixels() * std::int64_t{sizeof(std::int32_t)});
}

void run_tiled(const Problem& problem, const Tiling& tiling, const KernelTable& kernels,
               const Operands& operands, char* scratch, int workers, Interrupt& interrupt) {
  if (tiling.family == Family::plane)
    return run_planes(problem, tiling, kernels, operands, scratch, workers, interrupt);
  as_compute(problem.compute, [&](auto zero) {
    run_as<decltype(zero)>(problem, tiling, kernels, operands, scratch, workers, interrupt);
  });
}

}  // namespace fastconv
