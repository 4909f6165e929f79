#include "store/slab_heap.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "base/assert.hpp"
#include "os/memory.hpp"

namespace tarn::store {
namespace {

constexpr uint64_t kFirstSlabSize = 4 << 20;
constexpr uint64_t kSlabSizeMax = 256 << 20;
constexpr uint32_t kBlocksMax = SlabHeap::kPage / SlabHeap::kAlignment;

}  // namespace

// A run begins at `page` of `slab`. Only the entry of its first page is filled in, and for a free run
// the entry of its last page tells where it begins.
struct SlabHeap::Run {
  enum class Kind : uint8_t { kNone, kFree, kLarge, kSmall, kFreeEnd };

  Run* next;
  Run* previous;
  uint32_t slab;
  uint32_t page;   // of kFreeEnd: where the free run begins
  uint32_t pages;
  Kind kind;
  uint8_t size_class;
  uint16_t free_blocks;
  uint16_t first_word;        // no free block in the words before this one
  uint64_t* free_bits;        // of kSmall: 1 = free
};

struct SlabHeap::Slab {
  uint32_t number;
  std::byte* data;
  uint32_t pages;
  std::unique_ptr<Run[]> runs;  // by page
};

SlabHeap::SlabHeap() : next_slab_size_(kFirstSlabSize) {}

SlabHeap::~SlabHeap() {
  for (auto& slab : slabs_)
    if (slab != nullptr)
      for (uint32_t page = 0; page < slab->pages; ++page) ::operator delete(slab->runs[page].free_bits);
}

// Four classes for each doubling: at most a quarter of a block is wasted, 64 bytes apart at the least.
uint64_t SlabHeap::class_size(uint32_t size_class) {
  if (size_class < 4) return (size_class + 1) * uint64_t{64};
  uint32_t doubling = size_class / 4 - 1;
  return (uint64_t{256} << doubling) + (size_class % 4 + 1) * (uint64_t{64} << doubling);
}

uint32_t SlabHeap::class_of(uint64_t size) {
  if (size <= 256) return static_cast<uint32_t>((std::max<uint64_t>(size, 1) - 1) / 64);
  auto doubling = static_cast<uint32_t>(std::bit_width(size - 1)) - 9;
  uint64_t step = uint64_t{64} << doubling;
  return 4 + doubling * 4 + static_cast<uint32_t>((size - 1 - (uint64_t{256} << doubling)) / step);
}

uint64_t SlabHeap::slab_size_for(uint64_t size) const {
  return std::max(next_slab_size_, os::round_up(std::max<uint64_t>(size, 1), kPage));
}

bool SlabHeap::add_slab(uint32_t number, std::byte* data, uint64_t size) {
  auto pages = static_cast<uint32_t>(size / kPage);
  TARN_ASSERT(pages > 0);
  auto slab = std::unique_ptr<Slab>(new (std::nothrow) Slab);
  if (slab == nullptr) return false;
  slab->number = number;
  slab->data = data;
  slab->pages = pages;
  slab->runs.reset(new (std::nothrow) Run[pages]());
  if (slab->runs == nullptr) return false;
  if (number >= slabs_.size()) slabs_.resize(number + 1);
  slabs_[number] = std::move(slab);
  bytes_total_ += uint64_t{pages} * kPage;
  next_slab_size_ = std::min(next_slab_size_ * 2, kSlabSizeMax);
  put_free_run(*slabs_[number], 0, pages);
  return true;
}

void SlabHeap::unlink_free(Slab& slab, uint32_t page) {
  Run& run = slab.runs[page];
  if (run.previous != nullptr) {
    run.previous->next = run.next;
  } else {
    bins_[std::bit_width(run.pages)] = run.next;
  }
  if (run.next != nullptr) run.next->previous = run.previous;
  slab.runs[page + run.pages - 1].kind = Run::Kind::kNone;
  run.kind = Run::Kind::kNone;
}

// Joins the pages with free neighbours and puts the whole into its bin.
void SlabHeap::put_free_run(Slab& slab, uint32_t page, uint32_t pages) {
  if (page + pages < slab.pages && slab.runs[page + pages].kind == Run::Kind::kFree) {
    uint32_t more = slab.runs[page + pages].pages;
    unlink_free(slab, page + pages);
    pages += more;
  }
  if (page > 0) {
    Run& before = slab.runs[page - 1];
    if (before.kind == Run::Kind::kFree || before.kind == Run::Kind::kFreeEnd) {
      uint32_t begin = before.kind == Run::Kind::kFree ? page - 1 : before.page;
      pages += page - begin;
      unlink_free(slab, begin);
      page = begin;
    }
  }
  Run& last = slab.runs[page + pages - 1];
  last.kind = Run::Kind::kFreeEnd;
  last.page = page;
  Run& run = slab.runs[page];
  Run*& bin = bins_[std::bit_width(pages)];
  run.kind = Run::Kind::kFree;  // also when it is its own last page
  run.slab = slab.number;
  run.page = page;
  run.pages = pages;
  run.previous = nullptr;
  run.next = bin;
  if (bin != nullptr) bin->previous = &run;
  bin = &run;
}

// The smallest free run that is large enough, cut to size; null if there is none.
SlabHeap::Run* SlabHeap::take_run(uint32_t pages) {
  Run* best = nullptr;
  for (auto bin = static_cast<uint32_t>(std::bit_width(pages)); bin < kBins && best == nullptr; ++bin)
    for (Run* run = bins_[bin]; run != nullptr; run = run->next)
      if (run->pages >= pages && (best == nullptr || run->pages < best->pages)) best = run;
  if (best == nullptr) return nullptr;
  Slab& slab = *slabs_[best->slab];
  uint32_t page = best->page;
  uint32_t rest = best->pages - pages;
  unlink_free(slab, page);
  if (rest != 0) put_free_run(slab, page + pages, rest);
  Run& run = slab.runs[page];
  run.slab = slab.number;
  run.page = page;
  run.pages = pages;
  return &run;
}

bool SlabHeap::allocate_small(uint32_t size_class, Place& out) {
  uint64_t size = class_size(size_class);
  Run* run = partial_[size_class];
  if (run == nullptr) {
    run = take_run(1);
    if (run == nullptr) return false;
    auto* bits = static_cast<uint64_t*>(::operator new(kBlocksMax / 8, std::nothrow));
    if (bits == nullptr) {
      put_free_run(*slabs_[run->slab], run->page, 1);
      return false;
    }
    auto blocks = static_cast<uint32_t>(kPage / size);
    for (uint32_t i = 0; i < kBlocksMax / 64; ++i) {
      uint32_t left = blocks > i * 64 ? blocks - i * 64 : 0;
      bits[i] = left >= 64 ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
    }
    run->kind = Run::Kind::kSmall;
    run->size_class = static_cast<uint8_t>(size_class);
    run->free_blocks = static_cast<uint16_t>(blocks);
    run->first_word = 0;
    run->free_bits = bits;
    run->next = run->previous = nullptr;
    partial_[size_class] = run;
  }
  uint32_t word = run->first_word;
  while (run->free_bits[word] == 0) ++word;
  run->first_word = static_cast<uint16_t>(word);
  auto block = word * 64 + static_cast<uint32_t>(std::countr_zero(run->free_bits[word]));
  run->free_bits[word] &= run->free_bits[word] - 1;
  if (--run->free_blocks == 0) {
    partial_[size_class] = run->next;
    if (run->next != nullptr) run->next->previous = nullptr;
  }
  out.slab = run->slab;
  out.offset = run->page * kPage + block * size;
  out.data = slabs_[run->slab]->data + out.offset;
  bytes_used_ += size;
  return true;
}

bool SlabHeap::allocate(uint64_t size, Place& out) {
  if (size <= kSmallMax) return allocate_small(class_of(size), out);
  if (size > UINT32_MAX * kPage) return false;
  auto pages = static_cast<uint32_t>(os::round_up(size, kPage) / kPage);
  Run* run = take_run(pages);
  if (run == nullptr) return false;
  run->kind = Run::Kind::kLarge;
  out.slab = run->slab;
  out.offset = run->page * kPage;
  out.data = slabs_[run->slab]->data + out.offset;
  bytes_used_ += pages * kPage;
  return true;
}

void SlabHeap::free(uint32_t number, uint64_t offset, uint64_t size) {
  TARN_ASSERT(number < slabs_.size() && slabs_[number] != nullptr);
  Slab& slab = *slabs_[number];
  auto page = static_cast<uint32_t>(offset / kPage);
  Run& run = slab.runs[page];
  if (size > kSmallMax) {
    TARN_ASSERT(run.kind == Run::Kind::kLarge && offset % kPage == 0);
    bytes_used_ -= run.pages * kPage;
    put_free_run(slab, page, run.pages);
    return;
  }
  TARN_ASSERT(run.kind == Run::Kind::kSmall && run.size_class == class_of(size));
  uint64_t block_size = class_size(run.size_class);
  auto block = static_cast<uint32_t>(offset % kPage / block_size);
  uint64_t bit = uint64_t{1} << block % 64;
  TARN_ASSERT((run.free_bits[block / 64] & bit) == 0);
  run.free_bits[block / 64] |= bit;
  run.first_word = static_cast<uint16_t>(std::min<uint32_t>(run.first_word, block / 64));
  bytes_used_ -= block_size;
  Run*& partial = partial_[run.size_class];
  if (++run.free_blocks == 1) {
    run.previous = nullptr;
    run.next = partial;
    if (partial != nullptr) partial->previous = &run;
    partial = &run;
  }
  // An empty run goes back, unless it is the only one of its class: that would come and go with
  // every put and release.
  if (run.free_blocks == kPage / block_size && (run.next != nullptr || run.previous != nullptr)) {
    if (run.previous != nullptr) {
      run.previous->next = run.next;
    } else {
      partial = run.next;
    }
    if (run.next != nullptr) run.next->previous = run.previous;
    ::operator delete(run.free_bits);
    run.free_bits = nullptr;
    put_free_run(slab, page, 1);
  }
}

}  // namespace tarn::store
