#include "query.hpp"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "census.hpp"
#include "os/clock.hpp"
#include "query_memory.hpp"
#include "query_parts.hpp"
#include "store/holders.hpp"
#include "store/object_meta.hpp"
#include "tarn/tarn.h"
#include "tarn_build_config.h"
#include "tarnd.hpp"
#include "task_reasons.hpp"

namespace tarn::daemon {
namespace {

std::string cpus_of(const Slot& slot) {
  topo::CpuSet cpus;
  for (uint32_t cpu = 0; cpu < topo::kCpusMax; ++cpu)
    if ((slot.cpus[cpu / 64] >> cpu % 64 & 1) != 0) cpus.add(cpu);
  return cpus.text();
}

bool is_worker(const Member& member) { return member.index() >= shm::kFirstWorker; }

Json counts_of(const TaskCensus& census) {
  Json counts;
  for (size_t phase = 1; phase < kTaskPhases.size(); ++phase) counts[std::string(kTaskPhases[phase])] = census.counts[phase];
  return counts;
}

// What the disk says to the sessions of the asker: of each trouble the latest that is found.
void add_disk_troubles(Json& answer, const Tarnd& daemon, const Asker& asker) {
  const Budget* full = find_nearly_full(daemon.disk());
  answer["disk_full"] = full == nullptr ? Json() : Json(full->name());
  answer["disk_refused"] = Json();
  answer["disk_refused_s"] = Json();
  for_each_session(daemon, asker, [&](const Session& session) {
    Json entry;
    add_disk_refusal(entry, session);
    if (answer["disk_full"].is_null()) answer["disk_full"] = entry["disk_full"];
    bool is_later = answer["disk_refused_s"].is_null() || entry["disk_refused_s"] < answer["disk_refused_s"];
    if (entry["disk_refused"].is_null() || !is_later) return;
    answer["disk_refused"] = entry["disk_refused"];
    answer["disk_refused_s"] = entry["disk_refused_s"];
  });
}

Json status(const Tarnd& daemon, const Asker& asker) {
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
  add_disk_troubles(answer, daemon, asker);
  Json resources = Json::array();
  const ResourceBook& book = daemon.resources();
  for (uint32_t i = 0; i < book.kinds().size(); ++i)
    resources.push_back({{"name", book.kinds()[i].name}, {"total", book.kinds()[i].total}, {"used", book.used(i)}});
  answer["resources"] = std::move(resources);
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
    row["wanted_by"] = daemon.sharing().wanted_by(number);
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
    row["disk_used"] = session.mover().bytes_on_disk();
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
      row["rank"] = session.rank_of(*member);
      row["core"] = slot.core;
      row["node"] = slot.node;
      row["tasks_done"] = tasks_done(session, index);
      const Share* share = daemon.sharing().find(session.number(), slot.number);
      bool is_shared = share != nullptr && share->is_active() && share->entitled < 1;
      // Parts of the slot, of its session: what it is to have, and what it had lately.
      row["share"] = is_shared ? Json(share->entitled) : Json();
      row["share_had"] = is_shared ? Json(share->had) : Json();
      row["nice"] = share != nullptr ? share->nice : 0;
      row["died"] = session.deaths_in_lane(*member);
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

// FROM.RECORD and the name, each.
Json names_of(const Session& session, const std::vector<TaskOnWhich>& tasks) {
  Json names = Json::array();
  for (const TaskOnWhich& each : tasks) {
    const std::string* name = session.task_name(each.task);
    names.push_back(std::to_string(each.member) + "." + std::to_string(each.record) + " " + (name != nullptr ? *name : task_number(each.task)));
  }
  return names;
}

Json tasks(const Tarnd& daemon, const Asker& asker) {
  TaskCensus census;
  CensusBudget budget(kCensusRecordsMax);
  for_each_session(daemon, asker, [&](const Session& session) { count_tasks(session, asker.rows_max, budget, census); });
  Json answer = with_schema("tarn.tasks/1");
  answer["counts"] = counts_of(census);
  LabelBudget labels;
  Json rows = Json::array();
  std::map<uint32_t, WorkerCount> workers;
  std::map<uint32_t, std::vector<std::vector<TaskOnWhich>>> waits_on;  // by session, then as the rows
  uint32_t edges_left = kEdgesLookedAtMax;
  for_each_session(daemon, asker, [&](const Session& session) {
    workers[session.number()] = count_workers(session);
    waits_on[session.number()] = find_dependencies(session, census, edges_left);
  });
  for (const TaskRow& each : census.rows) {
    const std::string* name = daemon.sessions().at(each.session)->task_name(each.task);
    Json row;
    row["session"] = each.session;
    row["member"] = each.member;
    row["record"] = each.record;
    row["generation"] = each.generation;
    row["task"] = name != nullptr ? *name : task_number(each.task);
    row["number"] = task_number(each.task);
    row["state"] = kTaskPhases[each.phase];
    row["priority"] = each.priority;
    std::string needs = needs_of(*daemon.sessions().at(each.session), each);
    row["needs"] = text_or_null(needs);
    row["why"] = text_or_null(why_it_waits(each, workers[each.session], needs));
    row["waits_for"] = each.missing;
    row["waits_on"] = names_of(*daemon.sessions().at(each.session), waits_on[each.session][static_cast<size_t>(&each - census.rows.data())]);
    row["failed"] = each.failed;
    row["cancelled"] = each.cancelled;
    row["worker"] = each.claimant == 0 ? Json() : Json(each.claimant);
    row["attempts"] = each.attempts;
    row["retry_in_ns"] = each.retry_in_ns < 0 ? Json() : Json(each.retry_in_ns);
    row["labels"] = labels.take() ? Json(labels_of(*daemon.sessions().at(each.session), each)) : Json();
    rows.push_back(std::move(row));
  }
  answer["tasks"] = std::move(rows);
  answer["truncated"] = !census.complete;
  return answer;
}

// What tasks are called, for who has only their numbers.
Json task_names(const Tarnd& daemon, const Asker& asker) {
  Json answer = with_schema("tarn.task_names/1");
  Rows rows(asker.rows_max);
  for_each_session(daemon, asker, [&](const Session& session) {
    for (auto& [number, name] : session.task_names()) {
      Json row;
      row["session"] = session.number();
      row["number"] = number;
      row["task"] = name;
      rows.add(std::move(row));
    }
  });
  rows.finish(answer, "task_names");
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
    bool is_read = each.meta_size == 0 || labels.take();
    row["label"] = is_read ? text_or_null(label_of(session, each)) : Json();
    row["label_read"] = is_read;
    rows.push_back(std::move(row));
  }
  answer["objects"] = std::move(rows);
  slab_rows.finish(answer, "slabs");
  answer["truncated"] = !census.complete;
  return answer;
}

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
    {"task_names", task_names},
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
