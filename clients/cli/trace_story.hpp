// TraceStory: what the events of a trace tell: who did what on which track, from when to when, and what came of what.
//
// The events come from processes of the session's user, any of which can be killed or lie. So nothing is taken for granted: an end
// without a beginning is passed over, a beginning without an end ends with its process, or with the trace. Slices of one track
// never overlap unless one lies in the other.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "trace/event.hpp"

namespace tarn::cli {

// What one member of a session wrote, in that order. A hole, where events were lost, is an event of kind kNone; `argument` says
// how many.
struct TraceLane {
  uint32_t member;
  std::vector<trace::Event> events;
};

struct SessionEvents {
  uint32_t session = 0;
  int32_t client_pid = 0;
  std::string name;
  std::map<uint32_t, std::string> task_names;  // by number
  std::map<uint32_t, int64_t> cores;           // by slot
  std::vector<TraceLane> lanes;                // lane 0 is tarnd's
  uint64_t begin_ns = 0;
  uint64_t end_ns = 0;
  uint64_t lost = 0;
};

struct TraceSlice {
  enum class Kind : uint8_t { kRun, kNode, kJoint, kWait, kParked, kSubmit, kGraph };
  Kind kind;
  bool has_failed = false;
  bool is_critical = false;  // of a node: on the critical path of its graph's run
  uint32_t track;
  uint32_t depth;            // of the slices of its track that it lies in
  uint64_t begin_ns;
  uint64_t end_ns = 0;
  uint64_t run = 0;          // of a task or a node, as in trace/event.hpp
  uint32_t task = 0;
  uint32_t attempt = 0;
  int32_t pid = 0;           // of the worker
  int32_t code = 0;
  int64_t queue_ns = -1;     // from being ready (a task: submitted) to its beginning; -1: not known
  uint64_t count = 0;        // of a wait: for how many; of a graph: its nodes
  const char* cut = nullptr; // why it has no end of its own
};

struct TraceInstant {
  uint32_t track;
  uint64_t time_ns;
  std::string text;
};

struct TraceFlow {
  enum class Kind : uint8_t { kSubmit, kDepends } kind;
  uint32_t from;  // slices
  uint32_t to;
};

struct TraceTrack {
  std::string name;
  bool is_slot = false;
  uint32_t slot = 0;
  uint64_t busy_ns = 0;  // in runs and nodes
  uint64_t runs = 0;
};

// One run of a graph.
struct GraphStory {
  struct Step {
    uint32_t slice;
    uint64_t wait_ns;  // from being ready to its beginning
  };
  uint64_t number;
  uint64_t nodes = 0;          // of the graph, as far as is known
  uint64_t seen = 0;           // of these, in the trace
  uint64_t begin_ns = 0;
  uint64_t wall_ns = 0;        // 0: its beginning or its end is not in the trace
  std::vector<Step> path;      // the critical one, from the first node on; joints are left out
  uint64_t path_run_ns = 0;    // what its nodes took
  uint64_t path_wait_ns = 0;   // what they waited for a worker
  uint64_t wait_ns = 0;        // of all nodes
  std::vector<Step> longest_waits;
};

struct TraceStory {
  std::vector<TraceTrack> tracks;
  std::vector<TraceSlice> slices;
  std::vector<TraceInstant> instants;
  std::vector<TraceFlow> flows;
  std::vector<GraphStory> graphs;
  uint64_t events = 0;

  [[nodiscard]] static TraceStory of(const SessionEvents& events);
};

// What a slice is called.
[[nodiscard]] std::string name_of(const SessionEvents& events, const TraceSlice& slice);

// Writes the Chrome trace-event JSON of sessions, which Perfetto and chrome://tracing open.
class TraceWriter {
 public:
  explicit TraceWriter(FILE* file) : file_(file) {}
  void begin();
  void add(const SessionEvents& events, const TraceStory& story, uint64_t base_ns);
  void end();

 private:
  void next();

  FILE* file_;
  bool is_first_ = true;
  uint64_t last_flow_ = 0;
};

}  // namespace tarn::cli
