#include "query_parts.hpp"

#include "os/clock.hpp"

namespace tarn::daemon {

Json with_schema(const char* schema) {
  Json answer;
  answer["schema"] = schema;
  return answer;
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

const char* state_of(const Member& member) {
  switch (member.phase) {
    case Member::Phase::kStarting: return "starting";
    case Member::Phase::kAdmitted: return "joining";
    case Member::Phase::kServing: return "serving";
    case Member::Phase::kDead: return "dead";
  }
  return "?";
}

const Budget* find_nearly_full(const Budget& budget) {
  constexpr uint64_t kNextToNothing = 16;  // that part of the limit
  for (const Budget* b = &budget; b != nullptr; b = b->parent())
    if (b->used() >= b->limit() - b->limit() / kNextToNothing) return b;
  return nullptr;
}

void add_disk_refusal(Json& entry, const Session& session) {
  // Longer than it takes somebody who got an error to ask why.
  constexpr int64_t kToldNs = 60'000'000'000;
  const Budget* full = find_nearly_full(session.mover().disk());
  entry["disk_full"] = full == nullptr ? Json() : Json(full->name());
  Mover::Refusal last = session.mover().last_refusal();
  int64_t age_ns = os::now_ns() - last.at_ns;
  bool is_told = !last.why.empty() && age_ns < kToldNs;
  entry["disk_refused"] = is_told ? Json(last.why) : Json();
  entry["disk_refused_s"] = is_told ? Json(static_cast<uint64_t>(age_ns / 1'000'000'000)) : Json();
}

void add_disk(Json& answer, const Tarnd& daemon) {
  answer["disk_used"] = daemon.disk().used();
  answer["disk_kept"] = daemon.disk_kept();
  answer["disk_limit"] = daemon.disk().limit();
  answer["disk_directory"] = text_or_null(daemon.config().spill_directory);
  answer["disk_off"] = text_or_null(daemon.why_disk_is_off());
}

}  // namespace tarn::daemon
