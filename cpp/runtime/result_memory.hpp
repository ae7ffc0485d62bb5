// The memory of results that are not small. It begins with a cache line: NumPy's own is 16 bytes
// beside one as often as not, where every store of a whole vector meets two lines (1x1, 64 to 256
// channels on 56 x 56 pixels: 90 GFLOP/s, aligned 102). That of large results is used again by a
// loop that makes the same result again and again.
//
// The C library gives so much memory back to the system with each array and takes it anew for
// the next; the system then fills it with zeros, which takes longer than many a filter (measured:
// 6 ms for 50 MB, where one channel to eight by 3 x 3 on a picture of full HD takes 9).
#pragma once

#include <cstddef>

namespace fastconv {

// Smaller ones are NumPy's: an owner of their memory would take longer than their stores.
inline constexpr std::size_t kLeastResultAligned = std::size_t{16} << 10;
// Smaller results the C library keeps itself.
inline constexpr std::size_t kLeastResultKept = std::size_t{32} << 20;
inline constexpr std::size_t kMostResultKept = std::size_t{128} << 20;

// Throws std::bad_alloc. Contents are undefined.
void* acquire_result(std::size_t bytes);

// One result at a time is kept, of a size that was given back twice in a row and is not above
// kMostResultKept; until a large result of another size is asked for.
void release_result(void* data, std::size_t bytes) noexcept;

// What is kept, in bytes, and how to give it back to the system.
std::size_t kept_result_bytes();
void release_kept_result() noexcept;

}  // namespace fastconv
