#include "store/slab_heap.hpp"

#include <algorithm>
#include <bit>
#include <new>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "base/poison.hpp"
#include "tarn/tarn.h"

namespace tarn::store {

struct SlabHeap::Class {
  uint32_t units;       // of 64 bytes
  uint32_t pages;       // of a span
  uint32_t capacity;    // objects in a span
  uint32_t reciprocal;  // ceil(2^26 / units): exact for the at most 2^12 units of a span
};

// Eight classes for each doubling, so that at most an eighth of an object's memory is lost.
struct SlabHeap::Classes {
  Class by_number[kClasses];
  uint8_t by_units[kSmallMax / kUnit + 1];

  constexpr Classes() : by_number(), by_units() {
    uint32_t number = 0;
    uint32_t filled = 0;
    for (uint32_t units = 1; units <= kSmallMax / kUnit;) {
      Class& c = by_number[number];
      c.units = units;
      c.pages = 8;
      for (;; c.pages *= 2) {
        uint32_t span_units = c.pages * static_cast<uint32_t>(kPage / kUnit);
        c.capacity = std::min(span_units / units, kSpanSlots);
        if (c.capacity >= 4 && (span_units - c.capacity * units) * 16 <= span_units) break;
      }
      c.reciprocal = ((1u << 26) + units - 1) / units;
      while (filled <= units) by_units[filled++] = static_cast<uint8_t>(number);
      ++number;
      units += std::max(1u, std::bit_floor(units) / 8);
    }
    count = number;
  }

  uint32_t count = 0;
};

constinit const SlabHeap::Classes SlabHeap::kTable;

int SlabHeap::init() {
  TARN_ASSERT(kTable.count == kClasses);
  if (int r = os::Mapping::reserve(sizeof(Slab) * kSlabNumbers, slab_map_); r < 0) return r;
  slabs_ = reinterpret_cast<Slab*>(slab_map_.data());
  if (int r = os::Mapping::reserve(sizeof(Span) * kSpansMax, span_map_); r < 0) return r;
  spans_ = reinterpret_cast<Span*>(span_map_.data());
  return 0;
}

SlabHeap::~SlabHeap() {
  for (uint32_t at = first_slab_; at != 0;) {
    Slab& slab = slabs_[at - 1];
    at = slab.next;
    unpoison(slab.base, slab.page_count * kPage);
    slab.map.reset();
  }
}

// ---- Slabs -----------------------------------------------------------------------------------

SlabHeap::Wanted SlabHeap::wanted(uint64_t size, Placement placement) const {
  uint64_t next_slab = runs_[static_cast<uint32_t>(placement)].next_slab;
  uint64_t needed = os::round_up(size, kPage);
  // Room for a span, whatever the class.
  if (size <= kSmallMax) return {next_slab, false, placement};
  // Objects of the same size fill it: a little more than a power of two (a label does that) would leave much of one empty.
  if (needed <= next_slab) return {next_slab / needed * needed, false, placement};
  // Others of about that size may have it later.
  bool is_giant = needed > kGiantMin;
  return {is_giant ? os::round_up(needed, std::bit_floor(needed) / 32) : needed, is_giant, placement};
}

uint64_t SlabHeap::least(uint64_t size) {
  if (size > kSmallMax) return os::round_up(size, kPage);
  return kTable.by_number[kTable.by_units[(size + kUnit - 1) / kUnit]].pages * kPage;
}

int SlabHeap::add_slab(uint32_t number, std::byte* base, uint64_t size, bool is_giant, Placement placement) {
  TARN_ASSERT(number < kSlabNumbers && slabs_[number].base == nullptr);
  uint64_t pages = size / kPage;
  if (pages == 0 || pages > UINT32_MAX)
    return fail(TARN_E_TOO_LARGE, "a slab of %llu bytes", static_cast<unsigned long long>(size));
  Slab& slab = *new (&slabs_[number]) Slab{};
  if (int r = os::Mapping::reserve(pages * sizeof(Page), slab.map); r < 0) return r;
  slab.base = base;
  slab.pages = reinterpret_cast<Page*>(slab.map.data());
  slab.page_count = static_cast<uint32_t>(pages);
  slab.is_giant = is_giant;
  slab.placement = placement;
  slab.next = first_slab_;
  if (first_slab_ != 0) slabs_[first_slab_ - 1].previous = number + 1;
  first_slab_ = number + 1;
  bytes_ += pages * kPage;
  poison(base, pages * kPage);
  count_free(slab, static_cast<int64_t>(pages));
  insert_run(number, 0, slab.page_count);
  // The next one is twice as large as this, which may be smaller than it was wanted.
  uint64_t first_slab = placement == Placement::kNear ? kFirstSlab : kFirstInterleaved;
  if (!is_giant) runs_of(placement).next_slab = std::clamp(std::bit_ceil(size) * 2, first_slab, kSlabMax);
  return 0;
}

bool SlabHeap::find_spent_slab(uint32_t& number) const {
  if (spent_slabs_ == 0) [[likely]]
    return false;
  for (uint32_t at = first_slab_; at != 0; at = slabs_[at - 1].next) {
    number = at - 1;
    if (is_spent(slabs_[number])) return true;
  }
  return false;
}

bool SlabHeap::find_free_slab(uint64_t keep, uint32_t& number) const {
  if (free_slab_bytes_ <= keep) return false;
  uint32_t largest = 0;
  for (uint32_t at = first_slab_; at != 0; at = slabs_[at - 1].next) {
    const Slab& slab = slabs_[at - 1];
    if (slab.free_pages == slab.page_count && (largest == 0 || slab.page_count > slabs_[largest - 1].page_count))
      largest = at;
  }
  if (largest == 0) return false;
  number = largest - 1;
  return true;
}

void SlabHeap::drop_slab(uint32_t number) {
  Slab& slab = slabs_[number];
  TARN_ASSERT(slab.base != nullptr && slab.free_pages + slab.abandoned_pages == slab.page_count);
  unpoison(slab.base, slab.page_count * kPage);  // whatever is mapped there next
  for (uint32_t page = 0; page < slab.page_count; page += slab.pages[page].run)
    if (slab.pages[page].tag == kFreeRun) remove_run(number, page);
  if (is_spent(slab)) --spent_slabs_;
  slab.abandoned_pages = 0;
  count_free(slab, -static_cast<int64_t>(slab.free_pages));
  bytes_ -= slab.page_count * kPage;
  if (slab.next != 0) slabs_[slab.next - 1].previous = slab.previous;
  (slab.previous != 0 ? slabs_[slab.previous - 1].next : first_slab_) = slab.next;
  slab.map.reset();
  slab = Slab{};
}

// Keeps the totals; a slab with no free page, or with nothing else, is where the other total changes.
void SlabHeap::count_free(Slab& slab, int64_t pages) {
  if (slab.free_pages == slab.page_count) free_slab_bytes_ -= slab.page_count * kPage;
  if (is_spent(slab)) --spent_slabs_;
  slab.free_pages += static_cast<uint32_t>(pages);
  free_pages_ += static_cast<uint64_t>(pages);
  if (slab.free_pages == slab.page_count) free_slab_bytes_ += slab.page_count * kPage;
  if (is_spent(slab)) ++spent_slabs_;
}

// ---- Runs of pages ---------------------------------------------------------------------------

// Exact bins below 32 pages, then eight for each doubling.
uint32_t SlabHeap::bin_of(uint32_t pages) {
  if (pages < 32) return pages - 1;
  auto exponent = static_cast<uint32_t>(std::bit_width(pages)) - 1;
  return 31 + (exponent - 5) * 8 + (pages >> (exponent - 3) & 7);
}

void SlabHeap::insert_run(uint32_t slab, uint32_t page, uint32_t pages) {
  Page* first = &slabs_[slab].pages[page];
  Page* last = first + (pages - 1);
  last->run = pages;
  last->tag = kFreeRun;
  uint32_t bin = bin_of(pages);
  Runs& runs = runs_of(slabs_[slab].placement);
  *first = {runs.bins[bin], 0, pages, kFreeRun};
  uint64_t ref = ref_of(slab, page);
  if (first->next != 0) page_of(first->next).prev = ref;
  runs.bins[bin] = ref;
  runs.bits[bin / 64] |= uint64_t{1} << bin % 64;
}

void SlabHeap::remove_run(uint32_t slab, uint32_t page) {
  Page& first = slabs_[slab].pages[page];
  uint32_t bin = bin_of(first.run);
  Runs& runs = runs_of(slabs_[slab].placement);
  if (first.next != 0) page_of(first.next).prev = first.prev;
  (first.prev != 0 ? page_of(first.prev).next : runs.bins[bin]) = first.next;
  if (runs.bins[bin] == 0) runs.bits[bin / 64] &= ~(uint64_t{1} << bin % 64);
}

bool SlabHeap::alloc_run(uint32_t pages, bool hard_pressed, Placement placement, uint32_t& slab, uint32_t& page) {
  const Runs& runs = runs_of(placement);
  uint64_t best = 0;
  uint32_t best_run = UINT32_MAX;
  for (uint32_t bin = bin_of(pages); bin < kBins && best == 0; ++bin) {
    uint64_t bits = runs.bits[bin / 64] >> bin % 64;
    if (bits == 0) {
      bin |= 63;
      continue;
    }
    bin += static_cast<uint32_t>(std::countr_zero(bits));
    uint32_t looks = kLookMax;
    for (uint64_t at = runs.bins[bin]; at != 0 && looks > 0; at = page_of(at).next, --looks) {
      uint32_t run = page_of(at).run;
      if (run < pages || run >= best_run) continue;
      const Slab& in = slabs_[(at - 1) >> 32];
      // Left whole for the next object of that size.
      if (in.is_giant && run == in.page_count && pages < run / 4 && !hard_pressed) continue;
      best = at;
      best_run = run;
      if (run == pages) break;
    }
  }
  if (best == 0) return false;
  slab = static_cast<uint32_t>((best - 1) >> 32);
  page = static_cast<uint32_t>(best - 1);
  remove_run(slab, page);
  Slab& in = slabs_[slab];
  if (best_run > pages) insert_run(slab, page + pages, best_run - pages);
  count_free(in, -static_cast<int64_t>(pages));
  in.pages[page].run = pages;
  in.pages[page].tag = kUsedRun;
  in.pages[page + pages - 1].tag = kUsedRun;
  return true;
}

void SlabHeap::free_run(uint32_t slab, uint32_t page, uint32_t pages) {
  Slab& in = slabs_[slab];
  count_free(in, pages);
  if (uint32_t after = page + pages; after < in.page_count && in.pages[after].tag == kFreeRun) {
    uint32_t more = in.pages[after].run;
    remove_run(slab, after);
    pages += more;
  }
  if (page > 0 && in.pages[page - 1].tag == kFreeRun) {
    uint32_t more = in.pages[page - 1].run;
    remove_run(slab, page - more);
    page -= more;
    pages += more;
  }
  insert_run(slab, page, pages);
}

// ---- Small objects ---------------------------------------------------------------------------

void SlabHeap::link_span(uint32_t index) {
  Span& span = spans_[index];
  uint32_t& head = partial_[span.size_class];
  span.prev = 0;
  span.next = head;
  if (head != 0) spans_[head - 1].prev = index + 1;
  head = index + 1;
}

void SlabHeap::unlink_span(uint32_t index) {
  Span& span = spans_[index];
  if (span.next != 0) spans_[span.next - 1].prev = span.prev;
  (span.prev != 0 ? spans_[span.prev - 1].next : partial_[span.size_class]) = span.next;
}

int SlabHeap::new_span(uint32_t size_class, bool hard_pressed) {
  const Class& c = kTable.by_number[size_class];
  if (free_spans_ == 0 && spans_used_ == kSpansMax)
    return fail(TARN_E_LIMIT, "the store has %u spans of small objects, which is all it may", kSpansMax);
  uint32_t slab;
  uint32_t page;
  if (!alloc_run(c.pages, hard_pressed, Placement::kNear, slab, page)) return kNeedSlab;
  uint32_t index;
  if (free_spans_ != 0) {
    index = free_spans_ - 1;
    free_spans_ = spans_[index].next;
  } else {
    index = spans_used_++;
  }
  Span& span = spans_[index];
  for (uint32_t word = 0; word < kSpanSlots / 64; ++word) {
    uint32_t bits = std::min(64u, c.capacity - std::min(c.capacity, word * 64));
    span.free[word] = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
  }
  span.base = slabs_[slab].base + page * kPage;
  span.slab = slab;
  span.first_page = page;
  span.free_count = span.capacity = static_cast<uint16_t>(c.capacity);
  span.size_class = static_cast<uint8_t>(size_class);
  span.hint = 0;
  for (uint32_t i = 0; i < c.pages; ++i) slabs_[slab].pages[page + i].tag = index + kFirstSpan;
  link_span(index);
  return 0;
}

int SlabHeap::alloc_small(uint64_t size, Place& out, bool hard_pressed) {
  uint32_t size_class = kTable.by_units[(size + kUnit - 1) / kUnit];
  if (partial_[size_class] == 0) [[unlikely]] {
    if (int r = new_span(size_class, hard_pressed); r != 0) return r;
  }
  Span& span = spans_[partial_[size_class] - 1];
  uint32_t word = span.hint;
  while (span.free[word] == 0) ++word;
  span.hint = static_cast<uint8_t>(word);
  auto bit = static_cast<uint32_t>(std::countr_zero(span.free[word]));
  span.free[word] &= span.free[word] - 1;
  uint64_t within = uint64_t{word * 64 + bit} * kTable.by_number[size_class].units * kUnit;
  out = {span.slab, span.first_page * kPage + within, span.base + within};
  unpoison(out.data, size);
  if (--span.free_count == 0) unlink_span(partial_[size_class] - 1);
  return 0;
}

void SlabHeap::free_small(uint32_t index, uint64_t offset) {
  Span& span = spans_[index];
  const Class& c = kTable.by_number[span.size_class];
  auto unit = static_cast<uint32_t>((offset - span.first_page * kPage) / kUnit);
  auto slot = static_cast<uint32_t>(uint64_t{unit} * c.reciprocal >> 26);
  uint64_t bit = uint64_t{1} << slot % 64;
  uint32_t word = slot / 64;
  TARN_ASSERT(slot * c.units == unit && (span.free[word] & bit) == 0);
  span.free[word] |= bit;
  poison(span.base + uint64_t{slot} * c.units * kUnit, c.units * kUnit);
  span.hint = std::min(span.hint, static_cast<uint8_t>(word));
  if (span.free_count++ == 0) link_span(index);
  // One span of a class stays, so that an object made and freed again and again costs no more.
  if (span.free_count == span.capacity && (span.next != 0 || span.prev != 0)) release_span(index);
}

void SlabHeap::release_span(uint32_t index) {
  Span& span = spans_[index];
  unlink_span(index);
  free_run(span.slab, span.first_page, kTable.by_number[span.size_class].pages);
  span.next = free_spans_;
  free_spans_ = index + 1;
}

void SlabHeap::trim() {
  for (uint32_t first : partial_) {
    for (uint32_t at = first; at != 0;) {
      uint32_t index = at - 1;
      at = spans_[index].next;
      if (spans_[index].free_count == spans_[index].capacity) release_span(index);
    }
  }
}

// ---- Both ------------------------------------------------------------------------------------

int SlabHeap::alloc(uint64_t size, Place& out, bool hard_pressed, Placement placement) {
  if (size <= kSmallMax) [[likely]] {
    TARN_ASSERT(placement == Placement::kNear);
    return alloc_small(size, out, hard_pressed);
  }
  uint64_t pages = (size + kPage - 1) / kPage;
  uint32_t slab;
  uint32_t page;
  if (pages > UINT32_MAX || !alloc_run(static_cast<uint32_t>(pages), hard_pressed, placement, slab, page))
    return kNeedSlab;
  out = {slab, page * kPage, slabs_[slab].base + page * kPage};
  unpoison(out.data, size);
  return 0;
}

void SlabHeap::free(uint32_t number, const std::byte* data) {
  TARN_ASSERT(number < kSlabNumbers);
  auto offset = static_cast<uint64_t>(data - slabs_[number].base);
  TARN_ASSERT(offset / kPage < slabs_[number].page_count);
  auto page = static_cast<uint32_t>(offset / kPage);
  const Page& at = slabs_[number].pages[page];
  if (at.tag >= kFirstSpan) [[likely]]
    return free_small(at.tag - kFirstSpan, offset);
  TARN_ASSERT(at.tag == kUsedRun && offset % kPage == 0);
  poison(data, at.run * kPage);
  free_run(number, page, at.run);
}

void SlabHeap::abandon(uint32_t number, const std::byte* data) {
  Slab& slab = slabs_[number];
  auto page = static_cast<uint32_t>(static_cast<uint64_t>(data - slab.base) / kPage);
  TARN_ASSERT(page < slab.page_count && slab.pages[page].tag == kUsedRun);
  uint32_t pages = slab.pages[page].run;
  poison(data, pages * kPage);
  slab.pages[page].tag = kAbandonedRun;
  slab.pages[page + pages - 1].tag = kAbandonedRun;
  slab.abandoned_pages += pages;
  if (is_spent(slab)) ++spent_slabs_;
}

const char* SlabHeap::check() const {
  uint64_t free_pages = 0;
  uint64_t free_slabs = 0;
  uint64_t free_runs = 0;
  uint32_t spent_slabs = 0;
  for (uint32_t number = first_slab_; number != 0; number = slabs_[number - 1].next) {
    const Slab& slab = slabs_[number - 1];
    uint32_t free_here = 0;
    uint32_t abandoned_here = 0;
    bool was_free = false;
    for (uint32_t page = 0; page < slab.page_count;) {
      const Page& at = slab.pages[page];
      uint32_t run = at.run;
      bool is_free = at.tag == kFreeRun;
      if (at.tag >= kFirstSpan) {
        if (slab.placement != Placement::kNear) return "small objects lie in an interleaved slab";
        const Span& span = spans_[at.tag - kFirstSpan];
        if (span.slab != number - 1 || span.first_page != page) return "a span is not where its pages say";
        uint32_t count = 0;
        for (uint64_t word : span.free) count += static_cast<uint32_t>(std::popcount(word));
        if (count != span.free_count) return "a span has miscounted its free slots";
        run = kTable.by_number[span.size_class].pages;
      }
      if (run == 0 || run > slab.page_count - page) return "a run leaves its slab";
      if (is_free && was_free) return "two free runs lie side by side";
      if (is_free && slab.pages[page + run - 1].run != run) return "a free run has two lengths";
      if (slab.pages[page + run - 1].tag != at.tag) return "a run ends as another";
      if (is_free) {
        free_here += run;
        ++free_runs;
      }
      if (at.tag == kAbandonedRun) abandoned_here += run;
      was_free = is_free;
      page += run;
    }
    if (free_here != slab.free_pages) return "a slab has miscounted its free pages";
    if (abandoned_here != slab.abandoned_pages) return "a slab has miscounted its abandoned pages";
    if (is_spent(slab)) ++spent_slabs;
    free_pages += free_here;
    if (free_here == slab.page_count) free_slabs += slab.page_count * kPage;
  }
  for (Placement placement : {Placement::kNear, Placement::kInterleaved}) {
    const Runs& runs = runs_[static_cast<uint32_t>(placement)];
    for (uint32_t bin = 0; bin < kBins; ++bin) {
      if ((runs.bins[bin] != 0) != ((runs.bits[bin / 64] >> bin % 64 & 1) != 0)) return "a bin's bit is wrong";
      for (uint64_t at = runs.bins[bin]; at != 0; --free_runs) {
        const Slab& slab = slabs_[(at - 1) >> 32];
        const Page& first = slab.pages[static_cast<uint32_t>(at - 1)];
        if (first.tag != kFreeRun || bin_of(first.run) != bin || slab.placement != placement)
          return "a bin holds what does not belong there";
        at = first.next;
      }
    }
  }
  if (free_runs != 0) return "a free run is in no bin";
  if (free_pages != free_pages_ || free_slabs != free_slab_bytes_ || spent_slabs != spent_slabs_) return "the totals are wrong";
  return nullptr;
}

}  // namespace tarn::store
