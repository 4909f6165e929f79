#include "query_parts.hpp"

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

void add_disk(Json& answer, const Tarnd& daemon) {
  answer["disk_used"] = daemon.disk().used();
  answer["disk_kept"] = daemon.disk_kept();
  answer["disk_limit"] = daemon.disk().limit();
  answer["disk_directory"] = text_or_null(daemon.config().spill_directory);
  answer["disk_off"] = text_or_null(daemon.why_disk_is_off());
}

}  // namespace tarn::daemon
