// TaskReasons: why tasks wait, and for which others, for the tools.
//
// Read out of members' memory as all of a census is (census.hpp): copied once, bounded, believed by nobody. Loop thread only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "census.hpp"
#include "session.hpp"

namespace tarn::daemon {

inline constexpr uint32_t kWaitsOnMax = 8;         // tasks that are named of those which one waits for
inline constexpr uint32_t kEdgesLookedAtMax = 4096;  // for one answer

struct TaskOnWhich {
  uint32_t member;
  uint32_t record;
  uint32_t task;
};

// The workers of a session that serve, and those that are in a task or a graph.
struct WorkerCount {
  uint32_t serving = 0;
  uint32_t busy = 0;
};
[[nodiscard]] WorkerCount count_workers(const Session& session);

// For each row of the session, the tasks that it waits for, the first kWaitsOnMax that are found. `edges_left`, kEdgesLookedAtMax for an
// answer, says how far to look.
[[nodiscard]] std::vector<std::vector<TaskOnWhich>> find_dependencies(const Session& session, const TaskCensus& census, uint32_t& edges_left);

// What the task asks for (tarn_needs), such as "only slot 3, licence=1"; "": nothing.
[[nodiscard]] std::string needs_of(const Session& session, const TaskRow& row);

// In a few words; "": it does not wait. `needs`: what it asks for.
[[nodiscard]] std::string why_it_waits(const TaskRow& row, const WorkerCount& workers, const std::string& needs);

}  // namespace tarn::daemon
