#include "runtime/result_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace fastconv {
namespace {

constexpr std::align_val_t kHugePage{std::size_t{2} << 20};
constexpr std::align_val_t kLine{64};
// From here on huge pages are asked for, as NumPy does.
[[maybe_unused]] constexpr std::size_t kLeastHuge = std::size_t{4} << 20;

std::align_val_t alignment_of(std::size_t bytes) {
  return bytes >= kLeastResultKept ? kHugePage : kLine;
}

void* allocate(std::size_t bytes) {
  // Rounding up to the alignment inside operator new must not wrap.
  if (bytes > static_cast<std::size_t>(PTRDIFF_MAX) - static_cast<std::size_t>(kHugePage))
    throw std::bad_alloc();
  void* const data = ::operator new(bytes, alignment_of(bytes));
#ifdef __linux__
  constexpr std::uintptr_t kPage = 4096;
  if (bytes >= kLeastHuge) {
    const auto first = reinterpret_cast<std::uintptr_t>(data);
    const std::uintptr_t begin = (first + kPage - 1) / kPage * kPage;
    // A refusal costs time alone.
    static_cast<void>(
        madvise(reinterpret_cast<void*>(begin), first + bytes - begin, MADV_HUGEPAGE));
  }
#endif
  return data;
}

void deallocate(void* data, std::size_t bytes) noexcept {
  ::operator delete(data, alignment_of(bytes));
}

struct Kept {
  std::mutex mutex;
  void* data = nullptr;
  std::size_t size = 0;
  std::size_t last = 0;  // size of the result that was given back last
};

// Never destroyed: arrays may outlive every static object.
Kept& kept() {
  static Kept* const instance = new Kept;
  return *instance;
}

}  // namespace

void* acquire_result(std::size_t bytes) {
  if (bytes < kLeastResultKept) return allocate(bytes);
  Kept& k = kept();
  void* other = nullptr;
  std::size_t other_size = 0;
  {
    const std::lock_guard<std::mutex> lock(k.mutex);
    void* const data = k.data;
    const std::size_t size = k.size;
    const bool fits = size == bytes;
    k.data = nullptr;
    k.size = 0;
    if (data != nullptr && fits) return data;
    other = data;
    other_size = size;
  }
  deallocate(other, other_size);
  return allocate(bytes);
}

void release_result(void* data, std::size_t bytes) noexcept {
  if (bytes < kLeastResultKept) return deallocate(data, bytes);
  Kept& k = kept();
  {
    const std::lock_guard<std::mutex> lock(k.mutex);
    if (bytes == k.last && bytes <= kMostResultKept && k.data == nullptr) {
      k.data = data;
      k.size = bytes;
      return;
    }
    k.last = bytes;
  }
  deallocate(data, bytes);
}

std::size_t kept_result_bytes() {
  Kept& k = kept();
  const std::lock_guard<std::mutex> lock(k.mutex);
  return k.size;
}

void release_kept_result() noexcept {
  Kept& k = kept();
  void* data = nullptr;
  std::size_t size = 0;
  {
    const std::lock_guard<std::mutex> lock(k.mutex);
    data = k.data;
    size = k.size;
    k.data = nullptr;
    k.size = 0;
    k.last = 0;
  }
  deallocate(data, size);
}

}  // namespace fastconv
