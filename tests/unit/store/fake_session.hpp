// FakeSession: several stores in one process, each with its own mappings, over a stand-in for tarnd.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "base/error.hpp"
#include "store/store.hpp"

namespace tarn::store {

// A session without tarnd. Slabs that were dropped are forgotten, so that tests can count them.
class FakeSession {
 public:
  struct Slab {
    Fd fd;
    uint64_t size;
    bool is_file;
    Fd writer;
  };

  struct Process final : SlabSource {
    Process(FakeSession& of, uint32_t member) : session(of), self(member), store(*this) {}

    int request_slab(uint64_t size, Placement placement, wire::SlabHow, SlabView& out) override {
      if (size > session.largest || session.slabs.size() >= session.slabs_max)
        return fail(TARN_E_STORE_FULL, "no slab of %llu bytes", static_cast<unsigned long long>(size));
      Fd fd;
      EXPECT_EQ(os::memfd_create("slab", size, fd), 0);
      EXPECT_EQ(os::Mapping::map(fd, size, os::Access::kReadWrite, out.mapping), 0);
      Fd reader;
      EXPECT_EQ(os::memfd_open_reader(fd, reader), 0);
      out.slab = next_slab++;
      out.node = placement == Placement::kInterleaved ? TARN_NODE_ALL : 0;
      session.slabs[{self, out.slab}] = {std::move(reader), size, false, std::move(fd)};
      ++requests;
      return 0;
    }
    int learn_slab(uint32_t member, uint32_t slab) override {
      auto found = session.slabs.find({member, slab});
      if (found == session.slabs.end()) return fail(TARN_E_PROTOCOL, "no slab %u of %u", slab, member);
      return store.on_slab_added(member, slab, Fd{fcntl(found->second.fd.get(), F_DUPFD_CLOEXEC, 3)}, found->second.size,
                                 found->second.is_file);
    }
    int share_file(Fd file, uint64_t size, uint32_t& member, uint32_t& slab) override {
      member = self;
      slab = next_slab++;
      session.slabs[{self, slab}] = {std::move(file), size, true, {}};
      return 0;
    }
    int grow_objects(uint32_t objects) override {
      grown_to = objects;
      return 0;
    }
    void drop_slab(uint32_t member, uint32_t slab) override {
      session.slabs.erase({member, slab});
      for (auto& process : session.processes)
        if (process != nullptr && process.get() != this) process->store.on_slab_dropped(member, slab);
    }

    // Puts the bytes back that take_away took; what it has dropped is to be made again.
    int restore(const ObjectRef& ref, uint32_t slab, uint64_t offset) override {
      ++session.restores;
      if (session.restore_error != 0) return fail(session.restore_error, "no room for the object");
      if (session.others_at_it != 0) return --session.others_at_it, kAskAgain;
      if (!session.copies.contains({shm::id_member(ref.id), slab, offset})) return session.record(ref).pins.is_away() ? kMakeAgain : 0;
      auto& slot = session.slabs[{shm::id_member(ref.id), slab}];
      std::string& copy = session.copies.at({shm::id_member(ref.id), slab, offset});
      EXPECT_EQ(pwrite(slot.writer.get(), copy.data(), copy.size(), static_cast<off_t>(offset)), static_cast<ssize_t>(copy.size()));
      session.record(ref).pins.come_back();
      return 0;
    }
    int bring(const wire::Made& made) override {
      std::string bytes(made.size, '\0');
      EXPECT_EQ(pread(session.slabs.at({self, made.slab}).fd.get(), bytes.data(), made.size, static_cast<off_t>(made.offset)),
                static_cast<ssize_t>(made.size));
      EXPECT_EQ(pwrite(session.slabs.at({made.place.member, made.place.slab}).writer.get(), bytes.data(), made.size,
                       static_cast<off_t>(made.place.offset)),
                static_cast<ssize_t>(made.size));
      session.record(session.dropped).pins.come_back();
      return 0;
    }
    void give_up(const wire::Made& made) override { session.given_up = made.code; }
    void drop_copy(uint32_t slab, uint64_t offset) override { EXPECT_EQ(session.copies.erase({self, slab, offset}), 1u); }

    FakeSession& session;
    uint32_t self;
    uint32_t next_slab = 0;
    uint32_t requests = 0;
    uint32_t grown_to = 0;
    std::vector<os::Mapping> segments;
    Store store;
  };

  explicit FakeSession(uint32_t members = 3) {
    segments.resize(shm::kClientMember + members);
    processes.resize(shm::kClientMember + members);
    for (uint32_t m = shm::kClientMember; m < segments.size(); ++m)
      EXPECT_EQ(os::memfd_create("segment", sizeof(shm::MemberSegment), segments[m]), 0);
    for (uint32_t m = shm::kClientMember; m < segments.size(); ++m) start(m);
  }

  // A process comes up as member `m`, with mappings of its own.
  void start(uint32_t m) {
    auto process = std::make_unique<Process>(*this, m);
    std::vector<shm::MemberSegment*> mapped(segments.size());
    for (uint32_t other = shm::kClientMember; other < segments.size(); ++other) {
      os::Mapping map;
      EXPECT_EQ(os::Mapping::map(segments[other], sizeof(shm::MemberSegment), os::Access::kReadWrite, map), 0);
      mapped[other] = reinterpret_cast<shm::MemberSegment*>(map.data());
      process->segments.push_back(std::move(map));
    }
    EXPECT_EQ(process->store.init(m, 1, *mapped[m]), 0);
    for (uint32_t other = shm::kClientMember; other < segments.size(); ++other)
      EXPECT_EQ(other == m ? 0 : process->store.on_member_added(other, mapped[other]), 0);
    processes[m] = std::move(process);
  }

  // The process is gone at once; those that live are told.
  void kill(uint32_t m) {
    processes[m].reset();
    for (auto& process : processes)
      if (process != nullptr) process->store.on_member_died(m);
  }

  [[nodiscard]] size_t slabs_of(uint32_t member) const {
    size_t count = 0;
    for (const auto& [key, slab] : slabs) count += key.first == member ? 1 : 0;
    return count;
  }

  Store& store(uint32_t m) { return processes[m]->store; }

  ObjectRecord& record(const ObjectRef& ref) {
    auto* segment = reinterpret_cast<shm::MemberSegment*>(processes[kAnybody]->segments[shm::id_member(ref.id) - shm::kClientMember].data());
    return ObjectTable::records(*segment)[shm::id_index(ref.id)];
  }

  // What tarnd does with an object when memory is short. False if somebody has pinned it. With `drops` it keeps no copy.
  bool take_away(const ObjectRef& ref, bool drops = false) {
    ObjectRecord& object = record(ref);
    ObjectPlace place = ObjectPlace::unpack(object.place);
    Slab& slab = slabs.at({shm::id_member(ref.id), place.slab});
    std::string copy(object.size, '\0');
    EXPECT_EQ(pread(slab.writer.get(), copy.data(), copy.size(), static_cast<off_t>(place.offset)), static_cast<ssize_t>(copy.size()));
    if (!object.pins.leave(drops)) return false;
    if (drops) {
      dropped = ref;
    } else {
      copies[{shm::id_member(ref.id), place.slab, place.offset}] = std::move(copy);
    }
    EXPECT_EQ(fallocate(slab.writer.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(place.offset),
                        static_cast<off_t>(os::round_up(object.size, os::kPageSize))), 0);
    return true;
  }

  static constexpr uint32_t kAnybody = shm::kClientMember;

  uint64_t largest = UINT64_MAX;
  size_t slabs_max = SIZE_MAX;
  uint32_t restores = 0;
  int restore_error = 0;
  ObjectRef dropped{};  // last
  int given_up = 0;
  int others_at_it = 0;  // so often who wants it is told to ask again
  std::map<std::tuple<uint32_t, uint32_t, uint64_t>, std::string> copies;
  std::vector<Fd> segments;
  std::map<std::pair<uint32_t, uint32_t>, Slab> slabs;
  std::vector<std::unique_ptr<Process>> processes;
};

inline constexpr uint32_t kClient = shm::kClientMember;
inline constexpr uint32_t kWorker = shm::kFirstWorker;
inline constexpr uint32_t kSecond = kWorker + 1;

inline std::string text_of(const tarn_bytes& bytes) { return {static_cast<const char*>(bytes.data), bytes.size}; }

inline ObjectRef put(Store& store, const std::string& text) {
  ObjectRef ref{};
  EXPECT_EQ(store.put(text.data(), text.size(), ref), 0) << last_error();
  return ref;
}

// As a worker reads an argument, for good.
inline int resolve(Store& store, const ObjectRef& ref, tarn_bytes& bytes) {
  Store::Resolved how;
  return store.resolve(ref, bytes, how);
}

// The client's own reference to a result, as tarn_future_object and tarn_future_release give it.
inline int own_result(Store& client, const ObjectRef& ref) {
  if (int r = client.adopt(ref); r < 0) return r;
  int r = client.share(ref);
  client.unkeep(ref);
  return r;
}

// A worker's result with these bytes, published, for a task record of the client.
inline ObjectRef result(Store& store, const std::string& text, uint32_t record = 0) {
  ObjectRef ref{};
  void* data = nullptr;
  EXPECT_EQ(store.make_result(text.size(), shm::make_id(shm::kClientMember, record), ref, data), 0) << last_error();
  memcpy(data, text.data(), text.size());
  EXPECT_EQ(store.publish_result(ref), 0);
  return ref;
}

inline bool referenced(void*, uint32_t, uint32_t, uint32_t) { return true; }
inline bool unreferenced(void*, uint32_t, uint32_t, uint32_t) { return false; }

}  // namespace tarn::store
