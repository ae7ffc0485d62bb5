#include "kernels/dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "core/cpu.hpp"

namespace fastconv {
namespace {

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

// Output channels that fill no more than half a vector (1 -> 8 channels, 3 x 3, channels last, at
// full HD: 19 GFLOP/s with whole vectors, which the output cannot take either, 33 with halves).
template <class T>
void add_halves(KernelSet<T>& wide, const KernelSet<T>& narrow) {
  wide.outer_half = narrow.outer[0];
  wide.pack_half = narrow.pack;
}

// Sums of few terms, whose lanes take longer to add up than the products: squares of eight lanes
// (64 channels to 1 on 256 x 256: 657 us with sixteen, 444 with eight).
template <class T>
void add_dots(KernelSet<T>& wide, const KernelSet<T>& narrow) {
  wide.dots = narrow.dots;
}

// Half as long, sums of four filters are as fast, as what is stored are quarters of a vector.
void add_quads(KernelSet<float>& wide, const KernelSet<float>& narrow) {
  wide.pixel_quads[1] = narrow.pixel_quads[1];
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
    if (of.row_weights != nullptr) into.row_weights = of.row_weights;
    if (of.product != nullptr) {
      into.product = of.product;
      into.scattered = of.scattered;
    }
  }
  if (own.rate == 0) return;
  to.name = own.name;
  to.rate = own.rate;
}

// Rows of bytes take VBMI (tile_rows.hpp).
[[maybe_unused]] void leave_out_vbmi(TileKernels& tiles) {
  if (!has_avx512_vbmi())
    tiles.product[static_cast<int>(TileProduct::bytes)].rows.row_weights = nullptr;
}

// Tables as this processor runs them best.
#ifdef FASTCONV_HAVE_AVX2
const KernelTable& avx2_kernels() {
  static const KernelTable made = [] {
    static TileKernels tiles = tiles_portable;
    KernelTable table = table_avx2;
    for (const TileProduct p : {TileProduct::bytes, TileProduct::shorts}) {
      take(tiles, tiles_avx2_pairs, p);
#ifdef FASTCONV_HAVE_AVX_VNNI
      if (has_avx_vnni()) take(tiles, tiles_avx_vnni, p);
#endif
    }
    table.tiles = &tiles;
    return table;
  }();
  return made;
}
#endif

#ifdef FASTCONV_HAVE_AVX512
const KernelTable& avx512_kernels() {
  static const KernelTable made = [] {
    static TileKernels tiles = tiles_portable;
    KernelTable table = table_avx512;
#ifdef FASTCONV_HAVE_AVX2
    if (cpu_supports(Isa::avx2)) {
      add_halves(table.f32, table_avx2.f32);
      add_halves(table.f64, table_avx2.f64);
      add_dots(table.f32, table_avx2.f32);
      add_dots(table.f64, table_avx2.f64);
      add_quads(table.f32, table_avx2.f32);
    }
    if (cpu_supports(Isa::avx2) && halves_512_bit_vectors()) {
      halve(table.f32, table_avx2.f32);
      halve(table.f64, table_avx2.f64);
    }
#endif
#ifdef FASTCONV_HAVE_AVX512_PAIRS
    take(tiles, tiles_avx512_pairs, TileProduct::shorts);
#endif
#ifdef FASTCONV_HAVE_AVX512_DOTS
    if (has_avx512_vnni())
      for (const TileProduct p : {TileProduct::bytes, TileProduct::shorts})
        take(tiles, tiles_avx512_dots, p);
    leave_out_vbmi(tiles);
    // Where vectors are not halved, one of these products takes the time of two multiply-adds.
    if (has_avx512_bf16() && has_avx512_vnni() && halves_512_bit_vectors())
      for (const TileProduct p : {TileProduct::six, TileProduct::four, TileProduct::halves,
                                  TileProduct::three, TileProduct::one})
        take(tiles, tiles_avx512_dots, p);
#endif
    table.tiles = &tiles;
    return table;
  }();
  return made;
}
#endif

#ifdef FASTCONV_HAVE_AMX
const KernelTable& amx_kernels() {
  static const KernelTable made = [] {
    static TileKernels tiles = tiles_amx;
    KernelTable table = avx512_kernels();
    table.name = "amx";
    const auto keep = [&](TileProduct p) {
      tiles.product[static_cast<int>(p)] = (*table.tiles)[p];
    };
    keep(TileProduct::shorts);
    if (!has_amx_fp16()) keep(TileProduct::halves);
    leave_out_vbmi(tiles);
    table.tiles = &tiles;
    return table;
  }();
  return made;
}
#endif

struct Built {
  Isa isa;
  const char* name;
  const KernelTable& (*kernels)();
};

// Ascending: a cap allows its own entry and those before it.
constexpr Built kBuilt[] = {
    {Isa::scalar, "scalar", []() -> const KernelTable& { return table_scalar; }},
#ifdef FASTCONV_HAVE_NEON
    {Isa::neon, "neon", []() -> const KernelTable& { return table_neon; }},
#endif
#ifdef FASTCONV_HAVE_AVX2
    {Isa::avx2, "avx2", avx2_kernels},
#endif
#ifdef FASTCONV_HAVE_AVX512
    {Isa::avx512, "avx512", avx512_kernels},
#endif
#ifdef FASTCONV_HAVE_AMX
    {Isa::amx, "amx", amx_kernels},
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
  return &best->kernels();
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
    if (name == built.name) return active().store(&built.kernels(), std::memory_order_release);
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
