#include "task/needs.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/error.hpp"
#include "base/options.hpp"
#include "task/cores.hpp"

namespace tarn::task {
namespace {

constexpr uint32_t kCountMax = 1'000'000'000;  // docs/limits.md

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

// A text of what there is, for messages; it ends in "..." if not all of it fits.
class Inventory {
 public:
  template <class... Values>
  void add(const char* format, Values... values) {
    if (size_ + 40 >= sizeof text_) {
      if (!is_cut_) size_ += static_cast<size_t>(snprintf(text_ + size_, sizeof text_ - size_, ", ..."));
      is_cut_ = true;
      return;
    }
    size_ += static_cast<size_t>(snprintf(text_ + size_, sizeof text_ - size_, "%s", size_ == 0 ? "" : ", "));
    size_ += static_cast<size_t>(snprintf(text_ + size_, sizeof text_ - size_, format, values...));
  }
  [[nodiscard]] const char* text() const { return size_ == 0 ? "none" : text_; }

 private:
  char text_[400] = "";
  size_t size_ = 0;
  bool is_cut_ = false;
};

bool is_there(const shm::SeatPlace& place, const tarn_needs& needs) {
  return needs.where == TARN_ON_SLOT ? place.slot == static_cast<uint32_t>(needs.where_number) : place.node == needs.where_number;
}

int check_place(const shm::Board& board, const tarn_needs& needs) {
  bool is_slot = needs.where == TARN_ON_SLOT;
  Inventory places;
  for (const shm::SeatPlace& each : slots_of(board)) {
    places.add("%u on node %d", each.slot, each.node);
    if (!is_there(each, needs)) continue;
    uint32_t cpus = cpus_on_node(board, each.node);
    if (needs.cores <= 1 || cpus >= needs.cores) return 0;
    return fail(TARN_E_UNSATISFIABLE, "%u cores were asked for on %s %d, and nowhere else; the slots of this session have %u on node %d",
                needs.cores, is_slot ? "slot" : "node", needs.where_number, cpus, each.node);
  }
  return fail(TARN_E_UNSATISFIABLE, "%s %d was asked for, and nothing else; the slots of this session are %s", is_slot ? "slot" : "node",
              needs.where_number, places.text());
}

int lacks(const shm::Board& board, const ResourceList::Entry& entry) {
  Inventory kinds;
  for (uint32_t i = 0; i < shm::kResourcesMax; ++i)
    if (const auto& kind = board.resources.kind(i); kind.name[0] != '\0') kinds.add("%s=%u", kind.name, kind.total.load(shm::kRelaxed));
  return fail(TARN_E_UNSATISFIABLE, "%u of the resource '%.*s' were asked for; this host has %s ([resources] in tarnd.toml)", entry.count,
              static_cast<int>(entry.name_size), entry.name, kinds.text());
}

int count_resources(const shm::Board& board, const char* text, shm::ResourceCounts& counts) {
  ResourceList list(text);
  ResourceList::Entry entry;
  int r;
  while ((r = list.next(entry)) > 0) {
    uint32_t at = 0;
    while (at < shm::kResourcesMax && (strncmp(board.resources.kind(at).name, entry.name, entry.name_size) != 0 ||
                                       strnlen(board.resources.kind(at).name, shm::kResourceNameMax + 1) != entry.name_size))
      ++at;
    if (at == shm::kResourcesMax || entry.count > board.resources.kind(at).total.load(shm::kAcquire)) return lacks(board, entry);
    if (counts[at] != 0) return fail(TARN_E_ARGUMENT, "needs: the resource '%.*s' is named twice", static_cast<int>(entry.name_size), entry.name);
    counts[at] = entry.count;
  }
  return r;
}

}  // namespace

int ResourceList::next(Entry& out) {
  if (*at_ == '\0') return 0;
  const char* begin = at_;
  while (is_name_character(*at_)) ++at_;
  out = {begin, static_cast<size_t>(at_ - begin), 1};
  uint64_t count = 0;
  bool is_counted = *at_ == '=';
  if (is_counted)
    for (++at_; *at_ >= '0' && *at_ <= '9' && count <= kCountMax; ++at_) count = 10 * count + static_cast<uint64_t>(*at_ - '0');
  bool ends = *at_ == '\0' || (*at_ == ',' && at_[1] != '\0');
  if (!ends || out.name_size == 0 || out.name_size > shm::kResourceNameMax || (is_counted && (count == 0 || count > kCountMax)))
    return fail(TARN_E_ARGUMENT,
                "resources: '%.60s' is not NAME=COUNT, separated by commas; a name has up to %zu letters, digits and any of _-., a count "
                "is 1 to %u",
                begin, shm::kResourceNameMax, kCountMax);
  if (is_counted) out.count = static_cast<uint32_t>(count);
  if (*at_ == ',') ++at_;
  return 1;
}

int check_needs(shm::Board& board, const tarn_needs& needs, uint32_t level, uint32_t& number) {
  number = 0;
  if (int r = check_options(&needs, needs.size, sizeof needs, "tarn_needs"); r < 0) return r;
  uint64_t reserved = 0;
  for (uint64_t value : needs.reserved) reserved |= value;
  if (reserved != 0) return fail(TARN_E_ARGUMENT, "tarn_needs: reserved must be zero");
  if (needs.where > TARN_ON_NODE) return fail(TARN_E_ARGUMENT, "tarn_needs: where is %u; there are 0 to 2, see enum tarn_where", needs.where);
  if (needs.is_strict > 1) return fail(TARN_E_ARGUMENT, "tarn_needs: is_strict is %u; 0 or 1 is wanted", needs.is_strict);
  if (needs.where == TARN_ANYWHERE && (needs.is_strict != 0 || needs.where_number != 0))
    return fail(TARN_E_ARGUMENT, "tarn_needs: is_strict or where_number is set, but where is TARN_ANYWHERE");
  shm::ClassNeeds wanted{.level = static_cast<uint8_t>(level),
                         .place = static_cast<shm::Place>(needs.where),
                         .is_strict = static_cast<uint8_t>(needs.is_strict),
                         .number = needs.where_number};
  if (int r = check_cores(board, needs.cores); r < 0) return r;
  if (needs.is_strict != 0) {
    if (int r = check_place(board, needs); r < 0) return r;
  }
  // What only prefers a place that there is not would wait until somebody is idle.
  if (needs.is_strict == 0 && std::ranges::none_of(slots_of(board), [&](const auto& place) { return is_there(place, needs); })) {
    wanted.place = shm::Place::kAnywhere;
    wanted.number = 0;
  }
  if (int r = count_resources(board, needs.resources, wanted.counts); r < 0) return r;
  if (wanted.place == shm::Place::kAnywhere && !wanted.wants_resources()) return 0;
  number = board.classes.find_or_make(wanted);
  if (number != 0) {
    if (board.classes_in_use.load(shm::kRelaxed) == 0) (void)board.classes_in_use.fetch_or(1);
    return 0;
  }
  return fail(TARN_E_LIMIT, "the tasks of this session have %u combinations of place, resources and priority already; there can be no more",
              shm::kClassesMax);
}

}  // namespace tarn::task
