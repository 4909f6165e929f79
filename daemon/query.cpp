#include "query.hpp"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "census.hpp"
#include "os/clock.hpp"
#include "store/holders.hpp"
#include "store/object_meta.hpp"
#include "tarn/tarn.h"
#include "tarn_build_config.h"
#include "tarnd.hpp"

namespace tarn::daemon {
namespace {

using Json = nlohmann::ordered_json;

// Who asks, and how much.
struct Asker {
  uid_t uid;
  uint32_t rows_max;

  [[nodiscard]] bool may_see(const Session& session) const { return uid == 0 || session.identity().uid == uid; }
};

template <class Fn>
void for_each_session(const Tarnd& daemon, const Asker& asker, Fn fn) {
  for (auto& [number, session] : daemon.sessions())
    if (asker.may_see(*session)) fn(*session);
}

Json with_schema(const char* schema) {
  Json answer;
  answer["schema"] = schema;
  return answer;
}

std::string cpus_of(const Slot& slot) {
  topo::CpuSet cpus;
  for (uint32_t cpu = 0; cpu < topo::kCpusMax; ++cpu)
    if ((slot.cpus[cpu / 64] >> cpu % 64 & 1) != 0) cpus.add(cpu);
  return cpus.text();
}

const char* state_of(const Member& member) {
  switch (member.phase) {
    case Member::Phase::kStarting: return "starting";
    case Member::Phase::kAdmitted: return "joining";
    case Member::Phase::kServing: return "serving";
    case Member::Phase::kDead: return "dead";
  }
  return "?";
}

bool is_worker(const Member& member) { return member.index() >= shm::kFirstWorker; }

Json counts_of(const TaskCensus& census) {
  Json counts;
  for (size_t phase = 1; phase < kTaskPhases.size(); ++phase) counts[std::string(kTaskPhases[phase])] = census.counts[phase];
  return counts;
}

// Adds rows as long as there is room; says in `truncated` when there was none.
class Rows {
 public:
  explicit Rows(uint32_t most) : most_(most) {}

  void add(Json row) {
    if (rows_.size() < most_) {
      rows_.push_back(std::move(row));
    } else {
      truncated_ = true;
    }
  }
  void finish(Json& answer, const char* name) {
    answer[name] = std::move(rows_);
    answer["truncated"] = truncated_;
  }

 private:
  uint32_t most_;
  Json rows_ = Json::array();
  bool truncated_ = false;
};

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

// The disk where objects go while memory is short, of all tenants, as memory_used is.
void add_disk(Json& answer, const Tarnd& daemon) {
  answer["disk_used"] = daemon.disk().used();
  answer["disk_kept"] = daemon.disk_kept();
  answer["disk_limit"] = daemon.disk().limit();
  answer["disk_directory"] = text_or_null(daemon.config().spill_directory);
  answer["disk_off"] = text_or_null(daemon.why_disk_is_off());
}

Json status(const Tarnd& daemon, const Asker&) {
  uint64_t workers = 0;
  for (auto& [number, session] : daemon.sessions())
    for (auto& [index, member] : session->members())
      if (is_worker(*member) && member->phase == Member::Phase::kServing) ++workers;
  Json answer = with_schema("tarn.status/1");
  answer["version"] = TARN_VERSION;
  answer["pid"] = getpid();
  answer["uid"] = geteuid();
  answer["private"] = daemon.is_private();
  answer["uptime_ns"] = os::now_ns() - daemon.started_ns();
  answer["sessions"] = daemon.sessions().size();
  answer["workers"] = workers;
  answer["slots"] = daemon.slots().size();
  answer["memory_used"] = daemon.budget().used();
  answer["memory_limit"] = daemon.budget().limit();
  add_disk(answer, daemon);
  answer["spawn_service"] = daemon.has_spawn_service();
  return answer;
}

Json slots(const Tarnd& daemon, const Asker& asker) {
  Json answer = with_schema("tarn.slots/1");
  Rows rows(asker.rows_max);
  for (uint32_t number = 0; number < daemon.slots().size(); ++number) {
    const Slot& slot = daemon.slots()[number];
    Json row;
    row["slot"] = slot.number;
    row["node"] = slot.node;
    row["package"] = slot.package;
    row["cpus"] = cpus_of(slot);
    row["siblings"] = slot.siblings.text();
    row["memory"] = slot.memory;
    row["workers"] = slot.workers;
    rows.add(std::move(row));
  }
  rows.finish(answer, "slots");
  return answer;
}

Json sessions(const Tarnd& daemon, const Asker& asker) {
  Json answer = with_schema("tarn.sessions/1");
  Rows rows(asker.rows_max);
  CensusBudget budget(kCensusRecordsMax);
  for_each_session(daemon, asker, [&](const Session& session) {
    TaskCensus census;
    count_tasks(session, 0, budget, census);
    Json row;
    row["session"] = session.number();
    row["name"] = session.name();
    row["pid"] = session.identity().client_pid;
    row["uid"] = session.identity().uid;
    row["state"] = session.is_ending() ? "ending" : "open";
    row["workers"] = session.worker_count();
    row["memory_used"] = session.budget().used();
    row["memory_limit"] = session.budget().limit_of_all();
    row["tasks"] = counts_of(census);
    rows.add(std::move(row));
  });
  rows.finish(answer, "sessions");
  return answer;
}

Json workers(const Tarnd& daemon, const Asker& asker) {
  Json answer = with_schema("tarn.workers/1");
  Rows rows(asker.rows_max);
  for_each_session(daemon, asker, [&](const Session& session) {
    for (auto& [index, member] : session.members()) {
      if (!is_worker(*member)) continue;
      const Slot& slot = daemon.slots()[session.slot_of(*member)];
      Json row;
      row["session"] = session.number();
      row["worker"] = index;
      row["name"] = session.name();
      row["pid"] = member->pid;
      row["uid"] = session.identity().uid;
      row["state"] = state_of(*member);
      row["slot"] = slot.number;
      row["core"] = slot.core;
      row["node"] = slot.node;
      row["tasks_done"] = tasks_done(session, index);
      rows.add(std::move(row));
    }
  });
  rows.finish(answer, "workers");
  return answer;
}

std::string task_number(uint32_t number) {
  char text[16];
  snprintf(text, sizeof text, "%08x", number);
  return text;
}

Json tasks(const Tarnd& daemon, const Asker& asker) {
  TaskCensus census;
  CensusBudget budget(kCensusRecordsMax);
  for_each_session(daemon, asker, [&](const Session& session) { count_tasks(session, asker.rows_max, budget, census); });
  Json answer = with_schema("tarn.tasks/1");
  answer["counts"] = counts_of(census);
  Json rows = Json::array();
  for (const TaskRow& each : census.rows) {
    const std::string* name = daemon.sessions().at(each.session)->task_name(each.task);
    Json row;
    row["session"] = each.session;
    row["member"] = each.member;
    row["record"] = each.record;
    row["task"] = name != nullptr ? *name : task_number(each.task);
    row["number"] = task_number(each.task);
    row["state"] = kTaskPhases[each.phase];
    row["failed"] = each.failed;
    row["worker"] = each.claimant == 0 ? Json() : Json(each.claimant);
    row["attempts"] = each.attempts;
    rows.push_back(std::move(row));
  }
  answer["tasks"] = std::move(rows);
  answer["truncated"] = !census.complete;
  return answer;
}

Json holders_of(uint64_t bits) {
  Json members = Json::array();
  for (uint32_t member = 0; member < store::kHoldersMax; ++member)
    if ((bits >> member & 1) != 0) members.push_back(member);
  return members;
}

const char* state_of(const Slab& slab) {
  switch (slab.phase) {
    case Slab::Phase::kPreparing: return "preparing";
    case Slab::Phase::kReady: return "ready";
  }
  return "?";
}

void add_slabs(const Session& session, Rows& rows) {
  for (auto& [index, member] : session.members()) {
    for (auto& [number, slab] : member->slabs) {
      Json row;
      row["session"] = session.number();
      row["owner"] = index;
      row["slab"] = number;
      row["state"] = state_of(slab);
      row["size"] = slab.size;
      row["node"] = slab.node;
      row["file"] = slab.is_file;
      rows.add(std::move(row));
    }
  }
}

// The members of a set as people speak of them. A bit of nobody is shown as well: it keeps the object.
Json names_of(const Session& session, uint64_t bits, bool and_tarnd) {
  Json names = Json::array();
  for (uint32_t index = 1; index < store::kHoldersMax; ++index) {
    if ((bits >> index & 1) == 0) continue;
    auto member = session.members().find(index);
    const char* state = member == session.members().end()               ? "gone "
                        : member->second->phase == Member::Phase::kDead ? "dead "
                                                                        : "";
    names.push_back(state + (index == shm::kClientMember ? "client" : "worker " + std::to_string(index)));
  }
  if (and_tarnd) names.push_back("tarnd");
  return names;
}

Json type_of(uint32_t type) { return type == 0 ? Json() : Json(store::TypeText(type).text); }

Json objects(const Tarnd& daemon, const Asker& asker) {
  ObjectCensus census;
  LabelBudget labels;
  CensusBudget budget(kCensusRecordsMax);
  Rows slab_rows(asker.rows_max);
  for_each_session(daemon, asker, [&](const Session& session) {
    count_objects(session, asker.rows_max, budget, census);
    add_slabs(session, slab_rows);
  });
  Json answer = with_schema("tarn.objects/1");
  answer["count"] = census.count;
  answer["bytes"] = census.bytes;
  Json rows = Json::array();
  auto now_s = os::now_s();
  for (const ObjectRow& each : census.rows) {
    const Session& session = *daemon.sessions().at(each.session);
    Json row;
    row["session"] = each.session;
    row["owner"] = each.owner;
    row["record"] = each.record;
    row["state"] = kObjectPhases[each.phase];
    row["size"] = each.size;
    row["where"] = text_or_null(std::string(name_of(each.where)));
    row["holders"] = holders_of(each.holders);
    row["held_by"] = names_of(session, each.holders, each.is_moving);
    // What cannot leave memory needs no pins and has none.
    row["pinned_by"] = each.can_leave ? names_of(session, each.pins, false) : Json();
    std::optional<uint32_t> unused = unused_s(each, now_s);
    row["unused_s"] = unused ? Json(*unused) : Json();
    row["slab"] = each.in_slab ? Json(each.slab) : Json();
    row["file"] = each.is_file;
    row["type"] = type_of(each.type);
    row["label"] = Json();
    if (each.meta_size != 0) {
      if (labels.take()) {
        row["label"] = text_or_null(label_of(session, each));
      } else {
        census.complete = false;
      }
    }
    rows.push_back(std::move(row));
  }
  answer["objects"] = std::move(rows);
  slab_rows.finish(answer, "slabs");
  answer["truncated"] = !census.complete;
  return answer;
}

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

Json memory_types(const Tarnd& daemon, const Asker& asker) { return memory_by(daemon, asker, GroupBy::kType, "type"); }
Json memory_labels(const Tarnd& daemon, const Asker& asker) { return memory_by(daemon, asker, GroupBy::kLabel, "label"); }

Json refusal(int code, const std::string& text) {
  Json answer = with_schema("tarn.error/1");
  answer["code"] = code;
  answer["error"] = text;
  return answer;
}

struct Answerer {
  std::string_view what;
  Json (*make)(const Tarnd&, const Asker&);
};

constexpr Answerer kAnswerers[] = {
    {"status", status}, {"slots", slots}, {"sessions", sessions}, {"workers", workers},
    {"tasks", tasks},   {"objects", objects}, {"memory", memory},
    {"memory_types", memory_types}, {"memory_labels", memory_labels},
};

}  // namespace

std::string answer(const Tarnd& daemon, const wire::Query& query, uid_t uid) {
  std::string_view what = query.what;
  Asker asker{uid, query.limit == 0 ? kCensusRowsMax : std::min(query.limit, kCensusRowsMax)};
  auto found = std::ranges::find(kAnswerers, what, &Answerer::what);
  Json reply;
  if (found != std::end(kAnswerers)) {
    reply = found->make(daemon, asker);
  } else {
    reply = refusal(TARN_E_ARGUMENT, "this tarnd (" TARN_VERSION ") knows no query \"" + std::string(what) + "\"");
  }
  // Names come from clients: what is not UTF-8 in them is replaced.
  return reply.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tarn::daemon
