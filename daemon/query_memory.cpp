#include "query_memory.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "census.hpp"
#include "os/clock.hpp"

namespace tarn::daemon {
namespace {

// What a member has of the host's memory on one node.
struct MemoryShare {
  uint64_t slabs = 0;
  uint64_t size = 0;    // of the slabs, less what has left memory
  uint64_t objects = 0;
  uint64_t bytes = 0;   // of the objects in them that are in memory
  uint64_t pinned = 0;  // of these: of objects that cannot leave it
  uint64_t small = 0;   // of these: of objects that never leave it
  uint64_t objects_on_disk = 0;
  uint64_t on_disk = 0;  // bytes
  uint64_t dropped = 0;  // bytes of objects that tasks make again when somebody reads them
};

std::map<int32_t, MemoryShare> memory_of(const Member& member, CensusBudget& budget, bool& complete) {
  ObjectCensus census;
  count_objects_of(member, budget, census);
  complete = complete && census.complete;
  std::map<int32_t, MemoryShare> by_node;
  for (auto& [number, slab] : member.slabs) {
    if (slab.is_file) continue;
    MemoryShare& share = by_node[slab.node];
    ++share.slabs;
    share.size += slab.size - slab.bytes_away;
    for (auto& [offset, object] : slab.moved) {
      if (!is_away(*object)) continue;
      if (object->is_dropped) {
        share.dropped += object->size;
        continue;
      }
      ++share.objects_on_disk;
      share.on_disk += object->size;
    }
    // What the records say has been checked against the slab (object_row.hpp).
    if (auto found = census.by_slab.find(number); found != census.by_slab.end()) {
      share.objects += found->second.count;
      share.bytes += found->second.bytes;
      share.pinned += found->second.pinned;
      share.small += found->second.small;
    }
  }
  return by_node;
}

// What waits of all sessions, whoever asks: a sum, as what is used.
Json waiting(const MemoryQueue& queue) {
  MemoryQueue::Waits waits = queue.waits();
  int64_t oldest_ms = waits.requests == 0 ? 0 : (os::now_ns() - waits.since_ns) / 1'000'000;
  Json answer;
  answer["requests"] = waits.requests;
  answer["bytes"] = waits.bytes;
  answer["oldest_s"] = static_cast<double>(oldest_ms) / 1000;
  return answer;
}

// What the memory of a session is full of. Slabs, and what is in them, with the rest between objects.
struct SessionShare {
  uint64_t size = 0;
  uint64_t bytes = 0;
  uint64_t pinned = 0;
  uint64_t small = 0;
  uint64_t dropped = 0;
};

Json session_memory(const Session& session, const SessionShare& share) {
  const Budget* full = find_nearly_full(session.budget());
  uint64_t used = session.budget().used();
  Json entry;
  entry["session"] = session.number();
  entry["memory_used"] = used;
  entry["memory_limit"] = session.budget().limit_of_all();
  entry["pinned"] = share.pinned;
  entry["small"] = share.small;
  entry["movable"] = share.bytes - std::min(share.bytes, share.pinned + share.small);
  entry["empty"] = share.size - std::min(share.size, share.bytes);
  entry["records"] = used - std::min(used, share.size);
  entry["full"] = full == nullptr ? Json() : Json(full->name());
  add_disk_refusal(entry, session);
  return entry;
}

// What all the answers about memory say, whatever their rows are.
Json begin_answer(const Tarnd& daemon) {
  Json answer = with_schema("tarn.memory/1");
  answer["memory_used"] = daemon.budget().used();
  answer["memory_limit"] = daemon.budget().limit();
  add_disk(answer, daemon);
  answer["waiting"] = waiting(daemon.memory_queue());
  return answer;
}

// The sessions of the asker: as many as there may be, so these are no rows that are bounded.
class SessionEntries {
 public:
  void add(const Session& session, const SessionShare& share) {
    pinned_ += share.pinned;
    small_ += share.small;
    dropped_ += share.dropped;
    entries_.push_back(session_memory(session, share));
  }
  void finish(Json& answer) {
    answer["pinned"] = pinned_;
    answer["small"] = small_;
    answer["dropped"] = dropped_;
    answer["sessions"] = std::move(entries_);
  }

 private:
  uint64_t pinned_ = 0;
  uint64_t small_ = 0;
  uint64_t dropped_ = 0;
  Json entries_ = Json::array();
};

uint64_t size_of_slabs(const Session& session) {
  uint64_t size = 0;
  for (auto& [index, member] : session.members())
    for (auto& [number, slab] : member->slabs)
      if (!slab.is_file) size += slab.size - slab.bytes_away;
  return size;
}

void add_sum(Json& row, const ObjectCensus::Sum& sum) {
  row["objects"] = sum.count;
  row["bytes"] = sum.bytes;
  row["pinned"] = sum.pinned;
  row["small"] = sum.small;
  row["on_disk"] = sum.on_disk;
  row["dropped"] = sum.dropped;
}

// The objects of each session by what they say they are.
Json memory_by(const Tarnd& daemon, const Asker& asker, GroupBy by) {
  Json answer = begin_answer(daemon);
  SessionEntries sessions;
  Rows rows(asker.rows_max);
  CensusBudget budget(kCensusRecordsMax);
  LabelBudget labels;
  bool complete = true;
  for_each_session(daemon, asker, [&](const Session& session) {
    ObjectGroups groups;
    group_objects(session, by, budget, labels, groups);
    complete = complete && groups.complete;
    auto add = [&](const std::string& name, bool is_read, const ObjectCensus::Sum& sum) {
      Json row;
      row["session"] = session.number();
      row[by == GroupBy::kType ? "type" : "label"] = text_or_null(name);
      if (by == GroupBy::kLabel) row["label_read"] = is_read;
      add_sum(row, sum);
      rows.add(std::move(row));
    };
    for (auto& [name, sum] : groups.sums) add(name, true, sum);
    if (groups.unread.count != 0) add("", false, groups.unread);
    sessions.add(session, {size_of_slabs(session), groups.all.bytes, groups.all.pinned, groups.all.small, groups.all.dropped});
  });
  sessions.finish(answer);
  rows.finish(answer, "memory");
  if (!complete) answer["truncated"] = true;
  return answer;
}

}  // namespace

Json memory(const Tarnd& daemon, const Asker& asker) {
  Json answer = begin_answer(daemon);
  SessionEntries sessions;
  Rows rows(asker.rows_max);
  CensusBudget budget(kCensusRecordsMax);
  bool complete = true;
  for_each_session(daemon, asker, [&](const Session& session) {
    // Goes with the first row of the session.
    uint64_t waiting = daemon.memory_queue().waits_of(session.budget()).bytes;
    SessionShare whole;
    for (auto& [index, member] : session.members()) {
      auto by_node = memory_of(*member, budget, complete);
      // What its records take goes with its first row.
      uint64_t records = member->segment_payment == nullptr ? 0 : member->segment_payment->memory.amount();
      if (by_node.empty()) by_node[-1];
      for (auto& [node, share] : by_node) {
        Json row;
        row["session"] = session.number();
        row["client"] = session.name();
        row["tenant"] = session.identity().uid;
        row["member"] = index;
        row["state"] = state_of(*member);
        row["node"] = node;
        row["slabs"] = share.slabs;
        row["size"] = share.size;
        row["objects"] = share.objects;
        row["bytes"] = share.bytes;
        row["pinned"] = share.pinned;
        row["small"] = share.small;
        row["objects_on_disk"] = share.objects_on_disk;
        row["on_disk"] = share.on_disk;
        row["dropped"] = share.dropped;
        whole.size += share.size;
        whole.bytes += share.bytes;
        whole.pinned += share.pinned;
        whole.small += share.small;
        whole.dropped += share.dropped;
        row["records"] = std::exchange(records, 0);
        row["waiting"] = std::exchange(waiting, 0);
        rows.add(std::move(row));
      }
    }
    sessions.add(session, whole);
  });
  sessions.finish(answer);
  rows.finish(answer, "memory");
  if (!complete) answer["truncated"] = true;
  return answer;
}

Json memory_types(const Tarnd& daemon, const Asker& asker) { return memory_by(daemon, asker, GroupBy::kType); }
Json memory_labels(const Tarnd& daemon, const Asker& asker) { return memory_by(daemon, asker, GroupBy::kLabel); }

}  // namespace tarn::daemon
