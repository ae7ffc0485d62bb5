#include "kernels/dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "core/cpu.hpp"

namespace fastconv {
namespace {

struct Built {
  Isa isa;
  const char* name;
  const KernelTable* table;
};

// Ascending: a cap allows its own entry and those before it.
constexpr Built kBuilt[] = {
    {Isa::scalar, "scalar", &table_scalar},
#ifdef FASTCONV_HAVE_NEON
    {Isa::neon, "neon", &table_neon},
#endif
#ifdef FASTCONV_HAVE_AVX2
    {Isa::avx2, "avx2", &table_avx2},
#endif
#ifdef FASTCONV_HAVE_AVX512
    {Isa::avx512, "avx512", &table_avx512},
#endif
#ifdef FASTCONV_HAVE_AMX
    {Isa::amx, "amx", &table_avx512},
#endif
};

// What FASTCONV_ISA may say: the last entry of kBuilt that it allows.
struct Cap {
  const char* name;
  Isa most;
};
constexpr Cap kCaps[] = {
    {"scalar", Isa::scalar},
#ifdef FASTCONV_HAVE_NEON
    {"neon", Isa::neon},
#else
    {"avx2", Isa::avx2},
    {"avx512", Isa::avx512},
    {"amx", Isa::amx},
#endif
};

#if defined(FASTCONV_HAVE_AVX2) && defined(FASTCONV_HAVE_AVX512)
// A tile of one vector loads a broadcast for each multiply-add. Where the processor makes two of a
// 512-bit one, two vectors of AVX2 do the same with half the loads, and to the same bits (6 -> 16
// channels, 5 x 5, on Zen 4: 73 GFLOP/s with 10 x 1 vectors of sixteen, 96 with 6 x 2 of eight).
template <class T>
void halve(KernelSet<T>& wide, const KernelSet<T>& narrow) {
  static_assert(KernelSet<T>::kMaxOutVecs >= 2);
  wide.outer[0] = narrow.outer[1];
  wide.halved = true;
}
#endif

// What `from` has of its own.
[[maybe_unused]] void take(TileKernels& tiles, const TileKernels& from, TileProduct p) {
  TileKernels::Kernels& to = tiles.product[static_cast<int>(p)];
  const TileKernels::Kernels& own = from[p];
  for (TileForm TileKernels::Kernels::* form :
       {&TileKernels::Kernels::rows, &TileKernels::Kernels::columns}) {
    TileForm& into = to.*form;
    const TileForm& of = own.*form;
    if (of.positions != nullptr) into.positions = of.positions;
    if (of.weights != nullptr) into.weights = of.weights;
    if (of.product != nullptr) {
      into.product = of.product;
      into.scattered = of.scattered;
    }
  }
  if (own.rate == 0) return;
  to.name = own.name;
  to.rate = own.rate;
}

#ifdef FASTCONV_HAVE_AVX512_DOTS
// Dot-product instructions, each where the processor has it.
const TileKernels& avx512_tiles() {
  static const TileKernels tiles = [] {
    TileKernels made = tiles_portable;
    if (has_avx512_vnni()) take(made, tiles_avx512_dots, TileProduct::bytes);
    // Where vectors are not halved, one of these products takes the time of two multiply-adds.
    if (has_avx512_bf16() && has_avx512_vnni() && halves_512_bit_vectors())
      for (const TileProduct p :
           {TileProduct::six, TileProduct::four, TileProduct::three, TileProduct::one})
        take(made, tiles_avx512_dots, p);
    return made;
  }();
  return tiles;
}
#endif

#ifdef FASTCONV_HAVE_AVX_VNNI
KernelTable avx2_table() {
  static const TileKernels tiles = [] {
    TileKernels made = tiles_portable;
    if (has_avx_vnni()) take(made, tiles_avx_vnni, TileProduct::bytes);
    return made;
  }();
  KernelTable table = table_avx2;
  table.tiles = &tiles;
  return table;
}
#endif

#ifdef FASTCONV_HAVE_AVX512
KernelTable avx512_table() {
  KernelTable table = table_avx512;
#ifdef FASTCONV_HAVE_AVX2
  if (cpu_supports(Isa::avx2) && halves_512_bit_vectors()) {
    halve(table.f32, table_avx2.f32);
    halve(table.f64, table_avx2.f64);
  }
#endif
#ifdef FASTCONV_HAVE_AVX512_DOTS
  table.tiles = &avx512_tiles();
#endif
  return table;
}
#endif

#ifdef FASTCONV_HAVE_AMX
KernelTable amx_table() {
  KernelTable table = avx512_table();
  table.name = "amx";
  table.tiles = &tiles_amx;
  return table;
}
#endif

// As this processor runs it best.
const KernelTable* tuned(const Built& built) {
#ifdef FASTCONV_HAVE_AMX
  if (built.isa == Isa::amx) {
    static const KernelTable table = amx_table();
    return &table;
  }
#endif
#ifdef FASTCONV_HAVE_AVX_VNNI
  if (built.isa == Isa::avx2) {
    static const KernelTable table = avx2_table();
    return &table;
  }
#endif
#ifdef FASTCONV_HAVE_AVX512
  if (built.isa == Isa::avx512) {
    static const KernelTable table = avx512_table();
    return &table;
  }
#endif
  return built.table;
}

const KernelTable* default_kernels() {
  Isa most = Isa::amx;
  if (const char* value = std::getenv("FASTCONV_ISA"); value != nullptr && *value != '\0') {
    const Cap* found = nullptr;
    std::string names;
    for (const Cap& cap : kCaps) {
      if (std::strcmp(cap.name, value) == 0) found = &cap;
      names += (names.empty() ? "" : ", ") + std::string(cap.name);
    }
    if (found == nullptr)
      throw std::invalid_argument("FASTCONV_ISA must be one of " + names +
                                  " on this processor; got '" + std::string(value).substr(0, 64) +
                                  "'");
    most = found->most;
  }
  const Built* best = &kBuilt[0];
  for (const Built& built : kBuilt)
    if (built.isa <= most && cpu_supports(built.isa)) best = &built;
  return tuned(*best);
}

std::atomic<const KernelTable*>& active() {
  static std::atomic<const KernelTable*> table{nullptr};
  return table;
}

}  // namespace

const KernelTable& active_kernels() {
  const KernelTable* table = active().load(std::memory_order_acquire);
  if (table == nullptr) {
    table = default_kernels();
    active().store(table, std::memory_order_release);
  }
  return *table;
}

void set_active_kernels(const std::string& name) {
  if (name.empty()) return active().store(default_kernels(), std::memory_order_release);
  std::string names;
  for (const Built& built : kBuilt) {
    if (!cpu_supports(built.isa)) continue;
    if (name == built.name) return active().store(tuned(built), std::memory_order_release);
    names += (names.empty() ? "" : ", ") + std::string(built.name);
  }
  throw std::invalid_argument("isa must be one of those available here (" + names + "); got '" +
                              name.substr(0, 64) + "'");
}

std::vector<std::string> built_isas() {
  std::vector<std::string> names;
  for (const Built& built : kBuilt) names.emplace_back(built.name);
  return names;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Built& built : kBuilt)
    if (cpu_supports(built.isa)) names.emplace_back(built.name);
  return names;
}

}  // namespace fastconv
