#include "query_memory.hpp"

#include <map>

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
  uint64_t objects_on_disk = 0;
  uint64_t on_disk = 0;  // bytes
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
      if (!is_on_disk(*object)) continue;
      ++share.objects_on_disk;
      share.on_disk += object->size;
    }
    // What the records say has been checked against the slab (object_row.hpp).
    if (auto found = census.by_slab.find(number); found != census.by_slab.end()) {
      share.objects += found->second.count;
      share.bytes += found->second.bytes;
      share.pinned += found->second.pinned;
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

// The nearest of the budgets that a session is paid from in which next to nothing is left; nullptr: there is room.
const Budget* full_budget(const Session& session) {
  constexpr uint64_t kNextToNothing = 16;  // that part of the limit
  for (const Budget* b = &session.budget(); b != nullptr; b = b->parent())
    if (b->used() >= b->limit() - b->limit() / kNextToNothing) return b;
  return nullptr;
}

Json session_memory(const Session& session, uint64_t pinned) {
  const Budget* full = full_budget(session);
  Json entry;
  entry["session"] = session.number();
  entry["memory_used"] = session.budget().used();
  entry["memory_limit"] = session.budget().limit_of_all();
  entry["pinned"] = pinned;
  entry["full"] = full == nullptr ? Json() : Json(full->name());
  entry["disk_refused"] = text_or_null(session.mover().why_not());
  return entry;
}

// The objects of each session by what they say they are, in rows that `tarn memory` sums up further.
Json memory_by(const Tarnd& daemon, const Asker& asker, GroupBy by, const char* key) {
  Json answer = with_schema("tarn.memory/1");
  answer["memory_used"] = daemon.budget().used();
  answer["memory_limit"] = daemon.budget().limit();
  Rows rows(asker.rows_max);
  CensusBudget budget(kCensusRecordsMax);
  LabelBudget labels;
  bool complete = true;
  for_each_session(daemon, asker, [&](const Session& session) {
    ObjectGroups groups;
    group_objects(session, by, budget, labels, groups);
    complete = complete && groups.complete;
    for (auto& [name, sum] : groups.sums) {
      Json row;
      row["session"] = session.number();
      row[key] = text_or_null(name);
      row["objects"] = sum.count;
      row["bytes"] = sum.bytes;
      row["on_disk"] = sum.on_disk;
      rows.add(std::move(row));
    }
  });
  rows.finish(answer, "memory");
  if (!complete) answer["truncated"] = true;
  return answer;
}

}  // namespace

Json memory(const Tarnd& daemon, const Asker& asker) {
  Json answer = with_schema("tarn.memory/1");
  answer["memory_used"] = daemon.budget().used();
  answer["memory_limit"] = daemon.budget().limit();
  add_disk(answer, daemon);
  answer["waiting"] = waiting(daemon.memory_queue());
  uint64_t pinned = 0;
  Json by_session = Json::array();
  Rows rows(asker.rows_max);
  CensusBudget budget(kCensusRecordsMax);
  bool complete = true;
  for_each_session(daemon, asker, [&](const Session& session) {
    // Goes with the first row of the session.
    uint64_t waiting = daemon.memory_queue().waits_of(session.budget()).bytes;
    uint64_t pinned_before = pinned;
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
        row["objects_on_disk"] = share.objects_on_disk;
        row["on_disk"] = share.on_disk;
        pinned += share.pinned;
        row["records"] = std::exchange(records, 0);
        row["waiting"] = std::exchange(waiting, 0);
        rows.add(std::move(row));
      }
    }
    by_session.push_back(session_memory(session, pinned - pinned_before));
  });
  answer["pinned"] = pinned;
  answer["sessions"] = std::move(by_session);  // as many as there may be sessions: no rows
  rows.finish(answer, "memory");
  if (!complete) answer["truncated"] = true;
  return answer;
}

Json memory_types(const Tarnd& daemon, const Asker& asker) { return memory_by(daemon, asker, GroupBy::kType, "type"); }
Json memory_labels(const Tarnd& daemon, const Asker& asker) { return memory_by(daemon, asker, GroupBy::kLabel, "label"); }

}  // namespace tarn::daemon
