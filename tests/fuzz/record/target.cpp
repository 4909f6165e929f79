// A member may write anything into its records and its slabs. tarnd reads them to find objects that can leave memory, and
// to show the tools what there is. Whatever that is: what leaves lies in its slab and in nothing that has left before, no sum
// is larger than what is paid for, and a label comes from inside the slab and can be printed.
//
// Input: the slabs, as tarnd made them; object records, whole or nearly right; what lies behind their payloads; what becomes
// of those that can leave; task records. Numbers are checked again here, with more bits.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "census.hpp"
#include "../host.hpp"
#include "leaving_object.hpp"
#include "log.hpp"
#include "object_label.hpp"
#include "object_row.hpp"
#include "store/object_meta.hpp"

namespace tarn::fuzz {
namespace {

using daemon::MovedObject;
using daemon::ObjectRow;
using daemon::Slab;
using store::ObjectImage;
using store::ObjectPlace;
__extension__ typedef unsigned __int128 Wide;  // a number that cannot wrap here

// What a record names and whether it lies there, with numbers that cannot wrap.
bool lies_in(uint64_t offset, uint64_t size, uint32_t meta_size, uint64_t room) {
  Wide end = Wide{offset} + size;
  if (meta_size != 0) end = Wide{offset} + (Wide{size} + 7) / 8 * 8 + meta_size;
  return end <= room;
}

bool is_printable(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; });
}

class Scene {
 public:
  Scene(Host& host, Input& input) : host_(host), input_(input) {}
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;
  ~Scene() {
    host_.client().slabs.clear();
    host_.set_tasks_used(0);
    for (uint64_t at : written_) memset(host_.slab_bytes() + at, 0, kBlockMax);
    require(host_.session().mover().bytes_on_disk() == 0 && host_.session().mover().bytes_leaving() == 0, "nothing is counted twice");
  }

  void play() {
    make_slabs();
    make_records();
    for (uint32_t i = 0; i < images_.size(); ++i) let_leave(i);
    for (uint32_t i = 0; i < images_.size(); ++i) check_label(i);
    host_.set_objects(images_, input_.byte() % 8 == 7 ? ~0u : static_cast<uint32_t>(images_.size()));
    check_rows();
    check_sums();
    if (input_.byte() % 4 == 1) check_tasks();
  }

 private:
  static constexpr uint64_t kBlockMax = 272;  // of a block behind a payload, that is written

  void make_slabs() {
    uint32_t count = 1 + input_.byte() % 4u;
    for (uint32_t number = 0; number < count; ++number) {
      uint8_t kind = input_.byte();
      Slab& slab = host_.client().slabs[number];
      slab.phase = kind % 8 == 7 ? Slab::Phase::kPreparing : Slab::Phase::kReady;
      slab.is_file = kind % 32 / 8 == 3;
      slab.reader = host_.file();
      slab.size = (1 + input_.byte() % (Host::kFileSize / os::kPageSize)) * os::kPageSize;
      if (slab.is_file) slab.size -= kind / 32;
    }
  }

  // A number at or near one that matters.
  uint64_t near(std::initializer_list<uint64_t> marks) {
    uint8_t which = input_.byte();
    uint64_t mark = marks.begin()[which % marks.size()];
    return which < 128 ? mark : mark + static_cast<uint64_t>(static_cast<int8_t>(input_.byte()));
  }

  ObjectImage make_record() {
    ObjectImage image{};
    uint8_t kind = input_.byte();
    if (kind % 4 == 3) {
      input_.read(&image, sizeof image);
      return image;
    }
    auto phase = static_cast<store::Phase>(kind % 16 == 0 ? input_.byte() : 3);
    image.state = store::ObjectState{kind / 16u, phase, 0}.pack();
    const uint64_t sets[] = {2, 2, 6, store::kDaemonHolder | 2, store::kDead, 0, ~uint64_t{0}, store::kDaemonHolder};
    const uint64_t pins[] = {0, 0, 0, 2, store::kAway, store::kAway | 2, store::kDaemonHolder, ~uint64_t{0}};
    uint8_t words = input_.byte();
    image.holders = sets[words % 8];
    image.pins = pins[words / 8 % 8];
    uint32_t number = input_.byte() % 5u;
    auto slab = host_.client().slabs.find(number);
    uint64_t room = slab == host_.client().slabs.end() ? 0 : slab->second.size;
    uint64_t offset = words % 2 == 0 ? input_.byte() % 64 * os::kPageSize
                                     : near({0, room, room - 64, input_.number() * 64, uint64_t{1} << 45});
    image.place = ObjectPlace{number == 4 ? store::kNoSlab : number, words >= 192, offset}.pack();
    image.size = near({10 * os::kPageSize, store::kStaysMax + 1, store::kStaysMax, room - offset, 40, store::kObjectSizeMax,
                       store::kObjectSizeMax + 1, uint64_t{1} << 63, ~uint64_t{0}, input_.number() * os::kPageSize});
    if (kind >= 128) image.meta_size = static_cast<uint32_t>(near({16, 24, 80, store::kMetaSizeMax, room, ~uint64_t{0}}));
    image.used_at = input_.byte();
    image.type = input_.byte();
    return image;
  }

  void make_records() {
    uint32_t count = 1 + input_.byte() % Host::kRecords;
    for (uint32_t i = 0; i < count; ++i) {
      images_.push_back(make_record());
      labels_.emplace_back();
      if (images_.back().meta_size != 0) write_block(images_.back(), labels_.back());
    }
  }

  // What lies behind a payload: as an honest owner writes it, with a head that fits its size, or anything.
  std::vector<std::byte> make_block(ObjectImage& image, std::string& label) {
    std::vector<std::byte> block(kBlockMax);
    uint8_t kind = input_.byte() % 4;
    if (kind == 3) {
      input_.read(block.data(), 1 + input_.byte() % 95u);
      return block;
    }
    std::string text(1 + input_.byte() % (kind == 2 ? 255u : store::kLabelSizeMax), '\0');
    input_.read(text.data(), text.size() % 96);
    std::ranges::replace(text, '\0', ' ');
    store::ObjectMeta meta{0, text, {}};
    image.meta_size = store::meta_size(meta) + (kind == 2 ? input_.byte() % 2u : 0);
    store::write_meta(block.data(), meta);
    if (kind != 2) label = text;
    return block;
  }

  // Where the record says that it is, also if that is not in its slab, but in the file.
  void write_block(ObjectImage& image, std::string& label) {
    std::vector<std::byte> block = make_block(image, label);
    read_block(block, image.meta_size);
    Wide at = Wide{ObjectPlace::unpack(image.place).offset} + (Wide{image.size} + 7) / 8 * 8;
    if (at + kBlockMax > Host::kFileSize) return label.clear();
    memcpy(host_.slab_bytes() + static_cast<uint64_t>(at), block.data(), kBlockMax);
    written_.push_back(static_cast<uint64_t>(at));
  }

  // The same by those who have it mapped; no byte beyond what they were told there is.
  void read_block(const std::vector<std::byte>& block, uint32_t meta_size) {
    std::vector<std::byte> whole(block.begin(), block.begin() + std::min<uint32_t>(meta_size, kBlockMax));
    size_t begin_size = std::min<size_t>(whole.size(), input_.byte() % 4 == 0 ? input_.byte() : store::kMetaLabelEnd);
    std::vector<std::byte> begin(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(begin_size));
    std::string_view label = store::read_label(begin.data(), begin.size(), meta_size);
    require(label.size() <= store::kLabelSizeMax, "a label has a bound");
    store::ObjectMeta meta;
    if (meta_size > whole.size() || store::read_meta(whole.data(), meta_size, meta) != 0) return;
    require(meta.label.size() <= store::kLabelSizeMax && meta.label.starts_with(label), "a label is the same to all");
    require(meta.metadata.size + meta.label.size() <= meta_size, "metadata lies in its block");
  }

  // The first that has some of those bytes, looked for one by one.
  static const MovedObject* find_in_the_way(const Slab& slab, uint64_t begin, uint64_t size) {
    for (auto& [offset, other] : slab.moved)
      if (begin < other->offset + other->size && other->offset < begin + size) return other.get();
    return nullptr;
  }

  // As Mover does with a record that it has taken.
  void let_leave(uint32_t index) {
    const ObjectImage& image = images_[index];
    bool can = daemon::can_leave(image);
    ObjectPlace place = ObjectPlace::unpack(image.place);
    if (can) {
      require(image.pins == 0 || image.pins == store::kRepeatable, "nobody pins what leaves");
      require(image.holders != 0 && (image.holders & store::kDead) == 0, "somebody holds what leaves");
      require(image.size > store::kStaysMax && image.size <= store::kObjectSizeMax && !place.is_file, "what leaves has pages");
    }
    auto found = host_.client().slabs.find(place.slab);
    if (found == host_.client().slabs.end()) return;
    Slab& slab = found->second;
    daemon::Pages pages{};
    bool leaves = daemon::find_pages(image, slab, pages);
    uint64_t taken = image.meta_size == 0 ? image.size : (image.size + 7) / 8 * 8 + image.meta_size;
    uint64_t size = (taken + os::kPageSize - 1) / os::kPageSize * os::kPageSize;
    bool should = can && slab.phase == Slab::Phase::kReady && !slab.is_file && place.offset % os::kPageSize == 0 &&
                  lies_in(place.offset, size, 0, slab.size);
    require(leaves == should, "exactly what lies well in a slab leaves it");
    if (!leaves) return;
    require(pages.offset == place.offset && pages.size == size, "its pages are those that hold it");
    auto in_the_way = daemon::find_moved(slab, pages);
    const MovedObject* other = in_the_way == slab.moved.end() ? nullptr : in_the_way->second.get();
    require(other == find_in_the_way(slab, pages.offset, pages.size), "no page leaves with two objects");
    if (other != nullptr) return;
    auto object = std::make_unique<MovedObject>(host_.session().mover(), host_.client());
    object->slab = place.slab;
    object->offset = pages.offset;
    object->size = pages.size;
    object->payload = image.size;
    object->index = index;
    uint8_t fate = input_.byte();
    using enum MovedObject::Phase;
    constexpr MovedObject::Phase kPhases[] = {kSaving, kLeaving, kAway, kWaiting, kReturning, kAbandoned};
    object->enter(kPhases[fate % 6]);
    object->is_charged = fate % 6 < 2 || fate >= 128;
    if (!object->is_charged) slab.bytes_away += object->size;
    slab.moved.emplace(object->offset, std::move(object));
  }

  void check_label(uint32_t index) {
    const ObjectImage& image = images_[index];
    ObjectPlace place = ObjectPlace::unpack(image.place);
    auto slab = host_.client().slabs.find(place.slab);
    if (image.meta_size == 0 || slab == host_.client().slabs.end()) return;
    uint64_t room = slab->second.size;
    std::string label = daemon::read_label(*host_.file(), room, {place.offset, image.size, image.meta_size});
    require(label.size() <= store::kLabelSizeMax && is_printable(label), "a label can be printed");
    bool lies = lies_in(place.offset, image.size, image.meta_size, room);
    require(lies || label.empty(), "a label comes from inside the slab");
    // Others may have written over it; so only of the last.
    if (lies && index + 1 == images_.size() && !labels_[index].empty())
      require(label == daemon::printable(labels_[index]), "a label is what its owner wrote");
  }

  void check_row(const ObjectRow& row) {
    require(row.record < images_.size(), "a row is a record in use");
    require(row.phase >= 1 && row.phase < daemon::kObjectPhases.size(), "a row has a phase");
    require((row.holders >> store::kHoldersMax) == 0 && (row.pins >> store::kHoldersMax) == 0, "a row names members");
    require(row.can_leave || row.pins == 0, "who cannot leave has no pins");
    if (row.where == ObjectRow::Where::kNone) return require(row.size == 0, "what is nowhere has no bytes");
    const Slab& slab = host_.client().slabs.at(row.slab);
    const ObjectImage& image = images_.at(row.record);
    require(row.size <= image.size, "nothing is larger than it says");
    require(row.size == 0 || lies_in(row.offset, row.size, 0, slab.size), "an object lies in its slab");
    require(row.meta_size == 0 || row.size == image.size, "behind a payload that is cut there is nothing");
    bool is_dropped = row.where == ObjectRow::Where::kDropped;
    if (row.where != ObjectRow::Where::kDisk && !is_dropped) return;
    const MovedObject& moved = *slab.moved.at(row.offset);
    require(moved.index == row.record && daemon::is_away(moved) && moved.is_dropped == is_dropped && row.size <= moved.size,
            "what is on the disk tarnd put there, or has dropped");
  }

  void check_rows() {
    daemon::ObjectCensus census;
    daemon::CensusBudget budget(daemon::kCensusRecordsMax);
    daemon::count_objects(host_.session(), Host::kRecords, budget, census);
    require(census.rows.size() <= Host::kRecords, "rows have a bound");
    for (const ObjectRow& row : census.rows) {
      check_row(row);
      require(is_printable(daemon::label_of(host_.session(), row)), "a label can be printed");
    }
  }

  void check_sums() {
    daemon::ObjectCensus census;
    daemon::CensusBudget budget(daemon::kCensusRecordsMax);
    daemon::count_objects_of(host_.client(), budget, census);
    for (auto& [number, sum] : census.by_slab) {
      auto slab = host_.client().slabs.find(number);
      if (slab == host_.client().slabs.end()) {
        require(sum.bytes == 0 && sum.on_disk == 0 && sum.dropped == 0, "where no slab is there are no bytes");
        continue;
      }
      uint64_t away = 0;
      for (auto& [offset, moved] : slab->second.moved)
        if (daemon::is_away(*moved)) away += moved->size;
      require(sum.bytes <= slab->second.size - slab->second.bytes_away, "a sum is no more than is paid for");
      require(sum.pinned <= sum.bytes && sum.on_disk + sum.dropped <= away, "nor is what is pinned, or away");
    }
  }

  void check_tasks() {
    input_.read(host_.tasks(), Host::kRecords * shm::kRecordSize);
    host_.set_tasks_used(input_.byte() % 8 == 7 ? ~0u : Host::kRecords);
    daemon::TaskCensus census;
    daemon::CensusBudget budget(daemon::kCensusRecordsMax);
    daemon::count_tasks(host_.session(), 4, budget, census);
    require(census.rows.size() <= 4, "rows have a bound");
    for (const daemon::TaskRow& row : census.rows)
      require(row.phase > 0 && row.phase < daemon::kTaskPhases.size() && row.claimant < shm::kMembersMax &&
                  row.record < Host::kRecords,
              "a task has a phase");
  }

  Host& host_;
  Input& input_;
  std::vector<ObjectImage> images_;
  std::vector<std::string> labels_;  // of each, if it is honest
  std::vector<uint64_t> written_;    // places in the file
};

}  // namespace
}  // namespace tarn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tarn::fuzz;
  Host& host = quiet_host();
  Input input(data, size);
  Scene(host, input).play();
  return 0;
}
