#include "algorithms/store_box.hpp"

#include <limits>

#include "pack/convert.hpp"
#include "pack/square.hpp"

namespace fastconv {

namespace {

// Four planes to four channels side by side, in one pass over the pixels (groups of four channels,
// channels last: a channel at a time was a third of the call).
template <class T>
void put_fours(const T* from, std::int64_t pixels, T* to, std::int64_t pitch) {
  std::int64_t first = 0;
  for (; first + kSquare <= pixels; first += kSquare, to += kSquare * pitch)
    turn_square(from + first, pixels, to, pitch);
  for (; first < pixels; ++first, to += pitch)
    for (std::int64_t c = 0; c < kSquare; ++c) to[c] = from[c * pixels + first];
}

// Two or three planes, likewise.
template <int Channels, class T>
void put_few(const T* from, std::int64_t pixels, T* to, std::int64_t pitch) {
  for (std::int64_t p = 0; p < pixels; ++p, to += pitch)
    for (std::int64_t c = 0; c < Channels; ++c) to[c] = from[c * pixels + p];
}

}  // namespace

template <class T>
BoxStore<T>::BoxStore(const Problem& problem, const KernelTable& kernels, const Tensor& y,
                      const void* bias)
    : problem_(problem),
      table_(kernels),
      y_(y),
      bias_(static_cast<const T*>(bias)),
      plain_output_(output_is_plain()) {}

// The output takes the kernels' own type and needs no step in between.
template <class T>
bool BoxStore<T>::output_is_plain() const {
  if (!same_storage(problem_.y_type, problem_.compute)) return false;
  if (!is_float(problem_.compute) && problem_.activation != Activation::none) return false;
  return y_.channel % kElement == 0 && y_.axis[2] % kElement == 0;
}

// What kernels do with a complete sum beside adding a bias; they leave the rest to store_row.
template <class T>
bool BoxStore<T>::clamps() const {
  const Activation activation = problem_.activation;
  return activation == Activation::none || activation == Activation::relu ||
         activation == Activation::relu6;
}

template <class T>
bool BoxStore<T>::takes_pixels() const {
  return plain_output_ && clamps() && !problem_.complex && y_.axis[2] == kElement &&
         y_.axis[1] % kElement == 0 && y_.axis[0] % kElement == 0;
}

template <class T>
bool BoxStore<T>::takes_channels(const Tile& tile) const {
  return plain_output_ && clamps() && has_unit_output_channels() &&
         (tile.size[1] == 1 || y_.axis[1] == tile.size[2] * y_.axis[2]) &&
         (tile.size[0] == 1 || y_.axis[0] == tile.size[1] * tile.size[2] * y_.axis[2]);
}

template <class T>
T* BoxStore<T>::first_pixel(const Tile& tile, std::int64_t channel) const {
  char* at = y_.data + tile.image * y_.batch + y_.channel_offset(channel);
  for (int a = 0; a < 3; ++a) at += tile.origin[a] * y_.axis[a];
  return reinterpret_cast<T*>(at);
}

template <class T>
Finish<T> BoxStore<T>::finish(std::int64_t channel) const {
  return {bias_ == nullptr ? nullptr : bias_ + channel, problem_.activation != Activation::none,
          problem_.activation == Activation::relu6 ? T(6) : std::numeric_limits<T>::infinity()};
}

template <class T>
void BoxStore<T>::store(const Tile& tile, std::int64_t channel, std::int64_t channels,
                        const BoxAccumulators<T>& acc, T* convert) const {
  StoreArgs<T> args{};
  args.channels = channels;
  args.activation = is_float(problem_.compute) ? problem_.activation : Activation::none;
  args.acc_pixel = acc.pixel;
  args.acc_channel = acc.channel;
  if (bias_ != nullptr) args.bias = bias_ + channel;

  // Rows that follow each other both in the accumulators and in the output are stored as one.
  Index3 count = tile.size;
  if (acc.row == count[2] && y_.axis[1] == count[2] * y_.axis[2]) {
    count[2] *= count[1];
    count[1] = 1;
  }
  args.pixels = count[2];
  for (std::int64_t d = 0; d < count[0]; ++d) {
    for (std::int64_t h = 0; h < count[1]; ++h) {
      args.acc = acc.data + (d * acc.slice + h * acc.row) * args.acc_pixel;
      store_row(args, channel,
                y_.data + tile.image * y_.batch + (tile.origin[0] + d) * y_.axis[0] +
                    (tile.origin[1] + h) * y_.axis[1] + tile.origin[2] * y_.axis[2],
                convert);
    }
  }
}

// One row of pixels, all channels of the panel; `to` is the row's first pixel in channel 0.
template <class T>
void BoxStore<T>::store_row(StoreArgs<T> args, std::int64_t channel, char* to, T* convert) const {
  const bool along_pixels = y_.axis[2] == kElement;
  const bool along_channels =
      has_unit_output_channels() &&
      (args.acc_channel == 1 || (args.acc_pixel == 1 && args.channels > kSquare));
  if (plain_output_ && ((along_pixels && !problem_.complex) || along_channels)) {
    args.out = reinterpret_cast<T*>(to + y_.channel_offset(channel));
    args.out_pixel = y_.axis[2] / kElement;
    args.out_channel = problem_.complex ? 1 : y_.channel / kElement;
    table_.set<T>().store(args);
    return;
  }
  args.out = convert;
  args.out_pixel = 1;
  args.out_channel = args.pixels;
  table_.set<T>().store(args);
  if (plain_output_ && y_.channel == kElement && !problem_.complex) {
    T* const first = reinterpret_cast<T*>(to + y_.channel_offset(channel));
    const std::int64_t pitch = y_.axis[2] / kElement;
    if (args.channels == kSquare) return put_fours(convert, args.pixels, first, pitch);
    if (args.channels == 3) return put_few<3>(convert, args.pixels, first, pitch);
    if (args.channels == 2) return put_few<2>(convert, args.pixels, first, pitch);
  }
  for (std::int64_t c = 0; c < args.channels; ++c)
    write_row<T>(table_, problem_.y_type, convert + c * args.pixels,
                 to + y_.channel_offset(channel + c), y_.axis[2], args.pixels, problem_.activation);
}

template <class T>
bool BoxStore<T>::has_unit_output_channels() const {
  if (!problem_.complex) return y_.channel == kElement;
  return y_.part == kElement && y_.channel == 2 * kElement;
}

template class BoxStore<float>;
template class BoxStore<double>;
template class BoxStore<std::int32_t>;
template class BoxStore<std::int64_t>;

}  // namespace fastconv
