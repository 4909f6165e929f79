// SlabHeap: hands out memory of the process's own slabs. All its bookkeeping is in private memory.
//
// A slab is divided into pages of 64 KiB. A *run* is a number of adjoining pages that belong together: free,
// one large block, or the home of small blocks of one size class. Free runs are kept by size in bins
// and join with their neighbours when freed. Small blocks of a run are found by a bit map.
//
// Blocks are aligned to 64 bytes. One thread at a time (the store's gate).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace tarn::store {

class SlabHeap {
 public:
  static constexpr uint64_t kPage = 64 * 1024;
  static constexpr uint64_t kSmallMax = 16 * 1024;
  static constexpr uint64_t kAlignment = 64;

  struct Place {
    uint32_t slab;
    uint64_t offset;
    std::byte* data;
  };

  SlabHeap();
  ~SlabHeap();
  SlabHeap(const SlabHeap&) = delete;
  SlabHeap& operator=(const SlabHeap&) = delete;

  // Takes a slab of the process into use. `data` is its writable mapping; `size` a multiple of kPage.
  // False without memory for the bookkeeping.
  [[nodiscard]] bool add_slab(uint32_t slab, std::byte* data, uint64_t size);

  // Finds room; false if a further slab is needed, of at least slab_size_for(size).
  [[nodiscard]] bool allocate(uint64_t size, Place& out);

  // `size` as it was allocated.
  void free(uint32_t slab, uint64_t offset, uint64_t size);

  // How large the next slab should be so that `size` fits.
  [[nodiscard]] uint64_t slab_size_for(uint64_t size) const;

  [[nodiscard]] uint64_t bytes_used() const { return bytes_used_; }  // rounded up to blocks
  [[nodiscard]] uint64_t bytes_total() const { return bytes_total_; }

 private:
  struct Slab;
  struct Run;

  static uint32_t class_of(uint64_t size);
  static uint64_t class_size(uint32_t size_class);

  Run* take_run(uint32_t pages);
  void put_free_run(Slab& slab, uint32_t page, uint32_t pages);
  void unlink_free(Slab& slab, uint32_t page);
  [[nodiscard]] bool allocate_small(uint32_t size_class, Place& out);

  static constexpr uint32_t kClasses = 40;
  static constexpr uint32_t kBins = 48;

  std::vector<std::unique_ptr<Slab>> slabs_;  // by number; null: not ours or gone
  Run* partial_[kClasses] = {};               // runs of a class with free blocks
  Run* bins_[kBins] = {};                     // free runs by the logarithm of their pages
  uint64_t next_slab_size_;
  uint64_t bytes_used_ = 0;
  uint64_t bytes_total_ = 0;
};

}  // namespace tarn::store
