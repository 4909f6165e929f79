// TraceSummary: a trace in figures: how busy each slot was, what the tasks took and waited, the critical paths of graphs.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "trace_story.hpp"

namespace tarn::cli {

struct TracedSession {
  SessionEvents events;
  TraceStory story;
  std::string note;  // why it ends before the trace does; "": it does not
};

// An object of the schema tarn.trace/1, but for what the caller adds.
[[nodiscard]] nlohmann::ordered_json summarize(const std::vector<TracedSession>& sessions);

// The same for people.
[[nodiscard]] std::string show_summary(const nlohmann::ordered_json& summary);

}  // namespace tarn::cli
