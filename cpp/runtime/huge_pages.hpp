// huge_pages.hpp: large memory in few pages, since a walk of the page tables costs more than the
// line it is for, above all on a virtual machine.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace fastconv {

inline constexpr std::size_t kHugePage = std::size_t{2} << 20;
// From here on plain memory asks for them, as NumPy's does.
inline constexpr std::size_t kLeastHuge = 2 * kHugePage;

// To be called before the memory is written, where there is a whole huge page in it. A refusal
// costs time alone.
inline void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t kPage = 4096;
  const auto first = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t page = (first + kPage - 1) / kPage * kPage;
  static_cast<void>(madvise(reinterpret_cast<void*>(page), first + bytes - page, MADV_HUGEPAGE));
#endif
}

}  // namespace fastconv
