#include "trace_summary.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "table.hpp"
#include "text.hpp"

namespace tarn::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kTasksMax = 100;   // of one session, those that took most
constexpr size_t kGraphsMax = 20;   // runs, those that took longest
constexpr size_t kPathMax = 1000;   // steps of one path

struct TaskSum {
  uint64_t runs = 0;
  uint64_t failed = 0;
  uint64_t cut = 0;
  uint64_t run_ns = 0;
  uint64_t run_max_ns = 0;
  uint64_t queued = 0;  // of which it is known
  uint64_t queue_ns = 0;
  uint64_t queue_max_ns = 0;

  void add(const TraceSlice& slice) {
    uint64_t took = slice.end_ns - slice.begin_ns;
    ++runs;
    failed += slice.has_failed ? 1 : 0;
    cut += slice.cut != nullptr ? 1 : 0;
    run_ns += took;
    run_max_ns = std::max(run_max_ns, took);
    if (slice.queue_ns < 0) return;
    ++queued;
    queue_ns += static_cast<uint64_t>(slice.queue_ns);
    queue_max_ns = std::max(queue_max_ns, static_cast<uint64_t>(slice.queue_ns));
  }
};

Json tasks_of(const TracedSession& session) {
  std::map<std::string, TaskSum> sums;
  for (const TraceSlice& slice : session.story.slices)
    if (slice.kind == TraceSlice::Kind::kRun || slice.kind == TraceSlice::Kind::kNode) sums[name_of(session.events, slice)].add(slice);
  std::vector<std::pair<std::string, TaskSum>> sorted(sums.begin(), sums.end());
  std::ranges::stable_sort(sorted, std::ranges::greater{}, [](const auto& entry) { return entry.second.run_ns; });
  if (sorted.size() > kTasksMax) sorted.resize(kTasksMax);
  Json rows = Json::array();
  for (auto& [name, sum] : sorted) {
    Json row;
    row["task"] = name;
    row["runs"] = sum.runs;
    row["failed"] = sum.failed;
    row["cut"] = sum.cut;
    row["run_ns"] = sum.run_ns;
    row["run_mean_ns"] = sum.run_ns / sum.runs;
    row["run_max_ns"] = sum.run_max_ns;
    row["queue_mean_ns"] = sum.queued == 0 ? Json() : Json(sum.queue_ns / sum.queued);
    row["queue_max_ns"] = sum.queued == 0 ? Json() : Json(sum.queue_max_ns);
    rows.push_back(std::move(row));
  }
  return rows;
}

Json step_of(const TracedSession& session, const GraphStory::Step& step) {
  const TraceSlice& slice = session.story.slices[step.slice];
  Json row;
  row["task"] = name_of(session.events, slice);
  row["node"] = trace::node_index(slice.run);
  row["run_ns"] = slice.end_ns - slice.begin_ns;
  row["wait_ns"] = step.wait_ns;
  return row;
}

Json graph_of(const TracedSession& session, const GraphStory& graph) {
  Json row;
  row["run"] = graph.number;
  row["nodes_run"] = graph.seen;
  row["complete"] = graph.wall_ns != 0;
  row["wall_ns"] = graph.wall_ns == 0 ? Json() : Json(graph.wall_ns);
  row["wait_ns"] = graph.wait_ns;
  Json path;
  path["nodes"] = graph.path.size();
  path["run_ns"] = graph.path_run_ns;
  path["wait_ns"] = graph.path_wait_ns;
  path["steps"] = Json::array();
  for (size_t i = 0; i < graph.path.size() && i < kPathMax; ++i) path["steps"].push_back(step_of(session, graph.path[i]));
  row["critical_path"] = graph.wall_ns == 0 ? Json() : std::move(path);
  row["longest_waits"] = Json::array();
  for (const auto& step : graph.longest_waits) row["longest_waits"].push_back(step_of(session, step));
  return row;
}

Json graphs_of(const TracedSession& session) {
  std::vector<const GraphStory*> sorted;
  for (const GraphStory& graph : session.story.graphs) sorted.push_back(&graph);
  std::ranges::stable_sort(sorted, std::ranges::greater{}, [](const GraphStory* graph) { return graph->wall_ns; });
  if (sorted.size() > kGraphsMax) sorted.resize(kGraphsMax);
  Json rows = Json::array();
  for (const GraphStory* graph : sorted) rows.push_back(graph_of(session, *graph));
  return rows;
}

Json slots_of(const TracedSession& session, uint64_t span_ns) {
  Json rows = Json::array();
  for (const TraceTrack& track : session.story.tracks) {
    if (!track.is_slot) continue;
    Json row;
    row["slot"] = track.slot;
    row["name"] = track.name;
    row["runs"] = track.runs;
    row["busy_ns"] = track.busy_ns;
    row["busy"] = span_ns == 0 ? 0.0 : static_cast<double>(track.busy_ns) / static_cast<double>(span_ns);
    rows.push_back(std::move(row));
  }
  return rows;
}

// Three digits: what is looked for is often within the next unit.
std::string duration(const Json& ns) {
  if (!ns.is_number()) return "-";
  auto value = ns.get<double>();
  const char* unit = "ns";
  for (const char* next : {"us", "ms", "s"}) {
    if (value < 1000) break;
    value /= 1000;
    unit = next;
  }
  char text[32];
  snprintf(text, sizeof text, "%.3g %s", value, unit);
  return value < 999.5 ? text : std::to_string(static_cast<int64_t>(value)) + " " + unit;
}

std::string percent(double part) {
  char text[32];
  snprintf(text, sizeof text, "%.1f %%", part * 100);
  return text;
}

void show_graph(const Json& graph, std::string& out) {
  out += "\n  graph run " + graph["run"].dump() + ": " + graph["nodes_run"].dump() + " nodes";
  const Json& path = graph["critical_path"];
  if (path.is_null()) {
    out += "; its beginning or its end is not in the trace\n";
  } else {
    out += " in " + duration(graph["wall_ns"]) + "; critical path of " + path["nodes"].dump() + ": " + duration(path["run_ns"]) + " of work (" +
           percent(graph["wall_ns"] == 0 ? 0 : path["run_ns"].get<double>() / graph["wall_ns"].get<double>()) + "), " + duration(path["wait_ns"]) +
           " of waiting for a worker\n";
  }
  for (const Json& step : graph["longest_waits"])
    out += "    waited " + duration(step["wait_ns"]) + ": " + escape(step["task"].get<std::string>()) + ", node " + step["node"].dump() + "\n";
}

}  // namespace

Json summarize(const std::vector<TracedSession>& sessions) {
  Json rows = Json::array();
  for (const TracedSession& session : sessions) {
    uint64_t span = session.events.end_ns - session.events.begin_ns;
    Json row;
    row["session"] = session.events.session;
    row["name"] = session.events.name;
    row["pid"] = session.events.client_pid;
    row["span_ns"] = span;
    row["events"] = session.story.events;
    row["lost"] = session.events.lost;
    row["note"] = session.note.empty() ? Json() : Json(session.note);
    row["slots"] = slots_of(session, span);
    row["tasks"] = tasks_of(session);
    row["graph_runs"] = session.story.graphs.size();
    row["graphs"] = graphs_of(session);
    rows.push_back(std::move(row));
  }
  Json summary;
  summary["schema"] = "tarn.trace/1";
  summary["sessions"] = std::move(rows);
  return summary;
}

std::string show_summary(const Json& summary) {
  constexpr size_t kTasksShown = 10;
  constexpr size_t kGraphsShown = 3;
  std::string out;
  for (const Json& session : summary["sessions"]) {
    out += "session " + session["session"].dump() + ", " + escape(session["name"].get<std::string>()) + ": " + session["events"].dump() + " events in " +
           duration(session["span_ns"]) + "\n";
    for (const Json& slot : session["slots"])
      out += "  " + slot["name"].get<std::string>() + ": busy " + percent(slot["busy"].get<double>()) + ", " + slot["runs"].dump() + " runs\n";
    Table table({{"  TASK", Align::kLeft}, {"RUNS", Align::kRight}, {"FAILED", Align::kRight}, {"RUNNING", Align::kRight}, {"MEAN", Align::kRight},
                 {"LONGEST", Align::kRight}, {"QUEUED", Align::kRight}, {"LONGEST", Align::kRight}});
    size_t shown = 0;
    for (const Json& task : session["tasks"]) {
      if (shown++ == kTasksShown) break;
      table.add({"  " + task["task"].get<std::string>(), task["runs"].dump(), task["failed"].dump(), duration(task["run_ns"]), duration(task["run_mean_ns"]),
                 duration(task["run_max_ns"]), duration(task["queue_mean_ns"]), duration(task["queue_max_ns"])});
    }
    if (shown != 0) out += table.text(false);
    shown = 0;
    for (const Json& graph : session["graphs"])
      if (shown++ < kGraphsShown) show_graph(graph, out);
  }
  return out;
}

}  // namespace tarn::cli
