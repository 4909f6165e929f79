// SlabHeap: the allocator of one process over the slabs that it alone may write.
//
// All metadata is in private memory, so no crash of anybody corrupts it, and slabs hold nothing but
// bytes of objects. Up to 32 KiB: size classes, cut from spans of pages; above: runs of whole pages,
// best fit, coalesced with their neighbours at once. Everything is aligned to 64 bytes. Under the address sanitizer
// what is not allocated is poisoned, and so is what an allocation is rounded up by.
//
// Not thread-safe: the owner's lock guards it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/memory.hpp"

namespace tarn::store {

// Where the pages of a slab are. An object never lies in a slab of another placement.
enum class Placement : uint8_t {
  kNear = 0,        // on the node of whoever asked for it
  kInterleaved = 1  // page by page on all nodes; for objects of more than kSmallMax bytes only
};

class SlabHeap {
 public:
  struct Place {
    uint32_t slab;
    uint64_t offset;
    std::byte* data;
  };

  // What to ask tarnd for when nothing fits.
  struct Wanted {
    uint64_t size;
    bool is_giant;  // made for one large object; small ones keep out of it while it is unused
    Placement placement;
  };

  static constexpr uint64_t kSmallMax = 32 * 1024;
  static constexpr uint64_t kFirstSlab = 512u << 10;  // small: the first result waits until its pages are there
  static constexpr uint64_t kFirstInterleaved = 2u << 20;
  static constexpr uint64_t kGiantMin = 16u << 20;    // a larger object gets a slab of its own, kept whole
  static constexpr uint64_t kSlabMax = 256u << 20;  // beyond: exactly what the object needs
  static constexpr uint32_t kSlabNumbers = 1u << 16;
  static constexpr int kNeedSlab = 1;

  SlabHeap() = default;
  SlabHeap(const SlabHeap&) = delete;
  SlabHeap& operator=(const SlabHeap&) = delete;
  ~SlabHeap();

  [[nodiscard]] int init();

  // 0; kNeedSlab if nothing fits; or an error. size > 0. `hard_pressed` breaks into unused giants.
  [[nodiscard]] int alloc(uint64_t size, Place& out, bool hard_pressed = false, Placement placement = Placement::kNear);
  void free(uint32_t slab, const std::byte* data);
  // The pages of an allocation of more than kSmallMax bytes have been taken away: they are not allocated again, and go
  // with their slab.
  void abandon(uint32_t slab, const std::byte* data);
  [[nodiscard]] std::byte* at(uint32_t slab, uint64_t offset) const { return slabs_[slab].base + offset; }

  [[nodiscard]] Wanted wanted(uint64_t size, Placement placement = Placement::kNear) const;
  // The smallest slab in which an object of that size has room.
  [[nodiscard]] static uint64_t least(uint64_t size);
  [[nodiscard]] int add_slab(uint32_t number, std::byte* base, uint64_t size, bool is_giant,
                             Placement placement = Placement::kNear);

  // Gives the spare spans of the size classes back to their slabs.
  void trim();
  // If the slabs in which nothing is allocated have more than `keep` bytes together, finds the largest.
  [[nodiscard]] bool find_free_slab(uint64_t keep, uint32_t& number) const;
  // Finds a slab in which nothing is allocated and something was abandoned: it is of no use any more.
  [[nodiscard]] bool find_spent_slab(uint32_t& number) const;
  // Forgets a slab in which nothing is allocated.
  void drop_slab(uint32_t number);

  [[nodiscard]] uint64_t bytes() const { return bytes_; }            // of all slabs
  [[nodiscard]] uint64_t bytes_free() const { return free_pages_ * kPage; }  // in whole free pages
  [[nodiscard]] uint64_t bytes_in_free_slabs() const { return free_slab_bytes_; }

  // Checks all invariants; for tests. Returns what is wrong, or nullptr.
  [[nodiscard]] const char* check() const;

 private:
  static constexpr uint64_t kPage = os::kPageSize;
  static constexpr uint32_t kUnit = 64;
  static constexpr uint32_t kClasses = 56;
  static constexpr uint32_t kSpansMax = 1u << 21;
  static constexpr uint32_t kSpanSlots = 512;
  static constexpr uint32_t kBins = 256;
  static constexpr uint32_t kLookMax = 64;  // free runs looked at for the best fit in one bin

  // What the first and the last page of every run say about it.
  enum Tag : uint32_t { kFreeRun = 0, kUsedRun = 1, kAbandonedRun = 2, kFirstSpan = 3 };  // from 3 on: span + 3, in all its pages

  struct Page {
    uint64_t next;  // free runs of a bin: slab 32 | page 32, plus 1; 0 ends the list. First page only
    uint64_t prev;
    uint32_t run;   // pages of the run
    uint32_t tag;
  };

  struct Slab {
    std::byte* base;
    Page* pages;
    os::Mapping map;  // of `pages`
    uint32_t page_count;
    uint32_t free_pages;
    uint32_t abandoned_pages;
    uint32_t previous;  // all slabs: number + 1
    uint32_t next;
    bool is_giant;
    Placement placement;
  };

  // The free runs of all slabs of one placement, and how large the next one is.
  struct Runs {
    uint64_t bins[kBins] = {};
    uint64_t bits[kBins / 64] = {};
    uint64_t next_slab;
  };

  struct alignas(64) Span {
    uint64_t free[kSpanSlots / 64];
    std::byte* base;
    uint32_t slab;
    uint32_t first_page;
    uint32_t next;  // spans of a class with room: index + 1
    uint32_t prev;
    uint16_t free_count;
    uint16_t capacity;
    uint8_t size_class;
    uint8_t hint;  // no word of `free` below it has a bit
  };

  struct Class;
  struct Classes;
  static const Classes kTable;

  static uint32_t bin_of(uint32_t pages);
  static uint64_t ref_of(uint32_t slab, uint32_t page) { return (uint64_t{slab} << 32 | page) + 1; }
  Page& page_of(uint64_t ref) { return slabs_[(ref - 1) >> 32].pages[static_cast<uint32_t>(ref - 1)]; }

  [[nodiscard]] int alloc_small(uint64_t size, Place& out, bool hard_pressed);
  [[nodiscard]] int new_span(uint32_t size_class, bool hard_pressed);
  void link_span(uint32_t index);
  void unlink_span(uint32_t index);
  void free_small(uint32_t index, uint64_t offset);
  void release_span(uint32_t index);

  [[nodiscard]] bool alloc_run(uint32_t pages, bool hard_pressed, Placement placement, uint32_t& slab, uint32_t& page);
  void free_run(uint32_t slab, uint32_t page, uint32_t pages);
  [[nodiscard]] Runs& runs_of(Placement placement) { return runs_[static_cast<uint32_t>(placement)]; }
  void insert_run(uint32_t slab, uint32_t page, uint32_t pages);
  void remove_run(uint32_t slab, uint32_t page);
  void count_free(Slab& slab, int64_t pages);
  [[nodiscard]] static bool is_spent(const Slab& slab) {
    return slab.abandoned_pages != 0 && slab.free_pages + slab.abandoned_pages == slab.page_count;
  }

  os::Mapping slab_map_;
  Slab* slabs_ = nullptr;  // by number
  os::Mapping span_map_;
  Span* spans_ = nullptr;
  uint32_t spans_used_ = 0;
  uint32_t free_spans_ = 0;  // index + 1
  uint32_t first_slab_ = 0;  // number + 1
  uint32_t partial_[kClasses] = {};  // spans with room: index + 1
  Runs runs_[2] = {{.next_slab = kFirstSlab}, {.next_slab = kFirstInterleaved}};  // by placement
  uint64_t bytes_ = 0;
  uint64_t free_pages_ = 0;
  uint64_t free_slab_bytes_ = 0;
  uint32_t spent_slabs_ = 0;
};

}  // namespace tarn::store
