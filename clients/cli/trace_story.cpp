#include "trace_story.hpp"

#include <algorithm>
#include <cstdio>
#include <unordered_map>

#include "shm/ids.hpp"

namespace tarn::cli {
namespace {

using trace::Event;
using trace::Kind;

constexpr uint64_t kSubmitNs = 100;  // that a submission is shown to take, at most: what begins a flow is a slice
constexpr size_t kLongestWaits = 5;

bool begins_in_process(Kind kind) { return kind == Kind::kRunBegin || kind == Kind::kNodeBegin || kind == Kind::kPark; }

struct Death {
  uint64_t time_ns;
  int32_t pid;
  std::string how;
};

// One process that was a member, or one thread of the client.
struct Life {
  uint32_t slot;
  uint64_t begin_ns;
  uint64_t end_ns;
  std::vector<uint32_t> slices;
  std::vector<TraceInstant> instants;
};

// A node of one graph's run.
struct NodeStory {
  uint32_t slice = UINT32_MAX;  // the last that began
  uint64_t ready_ns = 0;        // 0: not told
  uint32_t after = UINT32_MAX;  // the node that made it ready
  bool is_end = false;
};

class Builder {
 public:
  explicit Builder(const SessionEvents& events) : in_(events) {}

  TraceStory build() {
    read_daemon();
    for (const TraceLane& lane : in_.lanes)
      if (lane.member != shm::kDaemonMember) read_lane(lane);
    make_slot_tracks();
    tell_of_submissions();
    tell_of_graphs();
    count_busy();
    return std::move(out_);
  }

 private:
  // ---- Lanes: slices that lie in one another as they were begun and ended.

  void read_lane(const TraceLane& lane) {
    if (lane.member == shm::kClientMember) return read_client(lane);
    open_.clear();
    Life* life = nullptr;
    int32_t pid = 0;
    uint64_t last_ns = in_.begin_ns;
    for (const Event& event : lane.events) {
      uint64_t now = clamp(event.time_ns, last_ns);
      if (begins_in_process(event.kind)) {
        auto event_pid = static_cast<int32_t>(event.argument >> 32);
        if (life == nullptr || event_pid != pid) {
          if (life != nullptr) end_life(*life, lane.member, pid, last_ns, now);
          pid = event_pid;
          life = &lives_.emplace_back(Life{static_cast<uint32_t>(event.argument >> 16 & 0xffff), now, now, {}, {}});
        }
      }
      last_ns = now;
      if (life == nullptr) continue;  // ends of what is not known
      take(*life, event, now, lane);
      ++out_.events;
    }
    if (life != nullptr) end_life(*life, lane.member, pid, last_ns, in_.end_ns);
  }

  void read_client(const TraceLane& lane) {
    std::map<uint16_t, TraceLane> threads;
    for (const Event& event : lane.events) {
      if (event.kind == Kind::kNone) {  // of which thread nobody knows
        for (auto& [number, thread] : threads) thread.events.push_back(event);
        continue;
      }
      TraceLane& thread = threads[event.thread];
      thread.member = lane.member;
      thread.events.push_back(event);
    }
    for (auto& [number, thread] : threads) {
      auto track = static_cast<uint32_t>(out_.tracks.size());
      out_.tracks.push_back({track == 0 || out_.tracks.back().name == "tarnd" ? "client" : "client, thread " + std::to_string(number + 1), false, 0, 0, 0});
      open_.clear();
      Life life{0, in_.begin_ns, in_.begin_ns, {}, {}};
      uint64_t last_ns = in_.begin_ns;
      for (const Event& event : thread.events) {
        uint64_t now = clamp(event.time_ns, last_ns);
        take(life, event, now, thread);
        last_ns = now;
        ++out_.events;
      }
      end_life(life, lane.member, 0, last_ns, in_.end_ns);
      put_on_track(life, track);
    }
  }

  [[nodiscard]] uint64_t clamp(uint64_t time_ns, uint64_t last_ns) const { return std::max(std::min(time_ns, in_.end_ns), last_ns); }

  void take(Life& life, const Event& event, uint64_t now, const TraceLane& lane) {
    life.end_ns = now;
    switch (event.kind) {
      case Kind::kNone:
        life.instants.push_back({0, now, std::to_string(event.argument) + " events lost"});
        return close_all(life, now, "events were lost");
      case Kind::kSubmit: {
        uint32_t slice = add(life, TraceSlice::Kind::kSubmit, event, now);
        out_.slices[slice].end_ns = std::min(now + kSubmitNs, next_time(lane, event, now));
        submits_.emplace(event.run, slice);
        return;
      }
      case Kind::kDepends: depends_.emplace_back(event.run, event.argument); return;
      case Kind::kGraphBegin: {
        uint32_t slice = add(life, TraceSlice::Kind::kGraph, event, now);
        out_.slices[slice].count = event.argument;
        out_.slices[slice].end_ns = std::min(now + kSubmitNs, next_time(lane, event, now));
        graph_begins_[trace::graph_run(event.run)] = slice;
        return;
      }
      case Kind::kWaitBegin: out_.slices[open(life, TraceSlice::Kind::kWait, event, now)].count = event.argument; return;
      case Kind::kWaitEnd: return close(life, TraceSlice::Kind::kWait, 0, event, now);
      case Kind::kRunBegin: {
        uint32_t slice = open(life, TraceSlice::Kind::kRun, event, now);
        if (out_.slices[slice].attempt > 1) life.instants.push_back({0, now, "attempt " + std::to_string(out_.slices[slice].attempt)});
        runs_[event.run].push_back(slice);
        return;
      }
      case Kind::kRunEnd: return close(life, TraceSlice::Kind::kRun, event.run, event, now);
      case Kind::kNodeBegin: {
        bool is_task = event.detail == trace::kTaskNode;
        uint32_t slice = open(life, is_task ? TraceSlice::Kind::kNode : TraceSlice::Kind::kJoint, event, now);
        NodeStory& node = nodes_[event.run];
        node.slice = slice;
        node.is_end = event.detail == trace::kEndNode;
        return;
      }
      case Kind::kNodeEnd: return close(life, TraceSlice::Kind::kNode, event.run, event, now);
      case Kind::kNodeReady: {
        NodeStory& node = nodes_[event.run];
        node.ready_ns = now;
        node.after = trace::node_index(event.argument);
        return;
      }
      case Kind::kPark: open(life, TraceSlice::Kind::kParked, event, now); return;
      case Kind::kWake: return close(life, TraceSlice::Kind::kParked, 0, event, now);
      case Kind::kBackOff:
        life.instants.push_back({0, now, "failed, runs again after a while"});
        return;
      case Kind::kStarted:
      case Kind::kDied:
      case Kind::kSpilled:
      case Kind::kRestored: return;  // nobody but tarnd says so
    }
  }

  // When the next thing happens in this lane that is shown.
  [[nodiscard]] uint64_t next_time(const TraceLane& lane, const Event& event, uint64_t now) const {
    for (const Event* next = &event + 1; next < lane.events.data() + lane.events.size(); ++next)
      if (next->kind != Kind::kDepends) return clamp(next->time_ns, now);
    return now;
  }

  uint32_t add(Life& life, TraceSlice::Kind kind, const Event& event, uint64_t now) {
    TraceSlice slice{};
    slice.kind = kind;
    slice.depth = static_cast<uint32_t>(open_.size());
    slice.begin_ns = slice.end_ns = now;
    slice.run = event.run;
    slice.task = event.task;
    slice.queue_ns = -1;
    if (begins_in_process(event.kind)) {
      slice.pid = static_cast<int32_t>(event.argument >> 32);
      slice.attempt = static_cast<uint32_t>(event.argument & 0xffff);
    }
    out_.slices.push_back(slice);
    auto index = static_cast<uint32_t>(out_.slices.size() - 1);
    life.slices.push_back(index);
    return index;
  }

  uint32_t open(Life& life, TraceSlice::Kind kind, const Event& event, uint64_t now) {
    uint32_t index = add(life, kind, event, now);
    open_.push_back(index);
    return index;
  }

  static bool is_same(const TraceSlice& slice, TraceSlice::Kind kind, uint64_t run) {
    bool is_kind = slice.kind == kind || (kind == TraceSlice::Kind::kNode && slice.kind == TraceSlice::Kind::kJoint);
    return is_kind && slice.run == run;
  }

  void close(Life& life, TraceSlice::Kind kind, uint64_t run, const Event& event, uint64_t now) {
    auto found = std::find_if(open_.rbegin(), open_.rend(), [&](uint32_t index) { return is_same(out_.slices[index], kind, run); });
    if (found == open_.rend()) return;
    while (open_.back() != *found) close_last(life, now, "its end is not in the trace");
    TraceSlice& slice = out_.slices[open_.back()];
    slice.end_ns = now;
    slice.has_failed = (event.kind == Kind::kRunEnd || event.kind == Kind::kNodeEnd) && event.detail != 0;
    if (event.kind == Kind::kRunEnd && slice.has_failed) slice.code = static_cast<int32_t>(event.argument);
    open_.pop_back();
  }

  void close_last(Life& life, uint64_t now, const char* why) {
    TraceSlice& slice = out_.slices[open_.back()];
    slice.end_ns = now;
    slice.cut = why;
    life.end_ns = std::max(life.end_ns, now);
    open_.pop_back();
  }
  void close_all(Life& life, uint64_t now, const char* why) {
    while (!open_.empty()) close_last(life, now, why);
  }

  // Nothing more comes of a process: it died, or the trace is over.
  void end_life(Life& life, uint32_t member, int32_t pid, uint64_t last_ns, uint64_t next_ns) {
    auto [first, last] = deaths_.equal_range(member);
    auto death = std::find_if(first, last, [pid](const auto& entry) { return entry.second.pid == pid; });
    if (death == last) return close_all(life, next_ns, next_ns == in_.end_ns ? "it went on when the trace ended" : "its process died");
    uint64_t at = std::min(std::max(death->second.time_ns, last_ns), next_ns);
    life.instants.push_back({0, at, death->second.how});
    life.end_ns = std::max(life.end_ns, at);
    close_all(life, at, "its process died");
  }

  // ---- tarnd.

  void read_daemon() {
    auto lane = std::ranges::find(in_.lanes, shm::kDaemonMember, &TraceLane::member);
    if (lane == in_.lanes.end()) return;
    uint32_t track = UINT32_MAX;
    uint64_t last_ns = in_.begin_ns;
    for (const Event& event : lane->events) {
      last_ns = clamp(event.time_ns, last_ns);
      std::string text = text_of(event);
      if (text.empty()) continue;
      ++out_.events;
      if (event.kind == Kind::kDied) deaths_.emplace(event.task, Death{last_ns, static_cast<int32_t>(event.argument >> 32), text});
      if (track == UINT32_MAX) {
        track = static_cast<uint32_t>(out_.tracks.size());
        out_.tracks.push_back({"tarnd", false, 0, 0, 0});
      }
      out_.instants.push_back({track, last_ns, std::move(text)});
    }
  }

  static std::string text_of(const Event& event) {
    std::string pid = std::to_string(event.argument >> 32);
    std::string object = std::to_string(shm::id_member(static_cast<uint32_t>(event.run))) + "." + std::to_string(shm::id_index(static_cast<uint32_t>(event.run)));
    switch (event.kind) {
      case Kind::kNone: return std::to_string(event.argument) + " events lost";
      case Kind::kStarted: return "worker " + pid + " serves";
      case Kind::kDied: {
        auto signal = static_cast<int>(event.argument & 0xffff);
        std::string how = signal != 0 ? "was killed by signal " + std::to_string(signal)
                                      : "exited with status " + std::to_string(event.argument >> 16 & 0xffff);
        return "worker " + pid + " " + how;
      }
      case Kind::kSpilled:
        return "object " + object + (event.task != 0 ? " was dropped, " : " went to the disk, ") + std::to_string(event.argument) + " bytes";
      case Kind::kRestored:
        return "object " + object + (event.task != 0 ? " was made again, " : " came back, ") + std::to_string(event.argument) + " bytes";
      default: return "";
    }
  }

  // ---- Tracks: one for each slot; more, if several processes were in it at the same time.

  void put_on_track(Life& life, uint32_t track) {
    for (uint32_t slice : life.slices) out_.slices[slice].track = track;
    for (TraceInstant& instant : life.instants) {
      instant.track = track;
      out_.instants.push_back(std::move(instant));
    }
  }

  void make_slot_tracks() {
    std::ranges::stable_sort(lives_, [](const Life& a, const Life& b) { return a.slot != b.slot ? a.slot < b.slot : a.begin_ns < b.begin_ns; });
    std::vector<uint64_t> ends;  // of the tracks of the present slot
    uint32_t slot = UINT32_MAX;
    uint32_t first = 0;
    for (Life& life : lives_) {
      if (life.slot != slot) {
        slot = life.slot;
        ends.clear();
        first = static_cast<uint32_t>(out_.tracks.size());
      }
      auto free = std::ranges::find_if(ends, [&](uint64_t end_ns) { return end_ns <= life.begin_ns; });
      auto number = static_cast<uint32_t>(free - ends.begin());
      if (free == ends.end()) {
        ends.push_back(0);
        auto core = in_.cores.find(slot);
        std::string name = "slot " + std::to_string(slot) + (core == in_.cores.end() ? "" : " (core " + std::to_string(core->second) + ")");
        out_.tracks.push_back({name + (number == 0 ? "" : " #" + std::to_string(number + 1)), true, slot, 0, 0});
      }
      ends[number] = life.end_ns;
      put_on_track(life, first + number);
    }
  }

  // ---- What came of what.

  void tell_of_submissions() {
    for (auto& [run, slices] : runs_) {
      auto submit = submits_.find(run);
      TraceSlice& first = out_.slices[slices.front()];
      if (submit == submits_.end() || out_.slices[submit->second].begin_ns > first.begin_ns) continue;
      first.queue_ns = static_cast<int64_t>(first.begin_ns - out_.slices[submit->second].begin_ns);
      out_.flows.push_back({TraceFlow::Kind::kSubmit, submit->second, slices.front()});
    }
    for (auto& [dependent, dependency] : depends_) {
      auto from = runs_.find(dependency);
      auto to = runs_.find(dependent);
      if (from == runs_.end() || to == runs_.end()) continue;
      if (out_.slices[from->second.back()].end_ns > out_.slices[to->second.front()].begin_ns) continue;
      out_.flows.push_back({TraceFlow::Kind::kDepends, from->second.back(), to->second.front()});
      // It was ready only then.
      TraceSlice& slice = out_.slices[to->second.front()];
      auto since = static_cast<int64_t>(slice.begin_ns - out_.slices[from->second.back()].end_ns);
      if (slice.queue_ns > since) slice.queue_ns = since;
    }
  }

  void tell_of_graphs() {
    std::map<uint64_t, GraphStory> graphs;
    std::map<uint64_t, uint64_t> ends;  // the node that is the end, by run
    for (auto& [id, node] : nodes_) {
      if (node.slice == UINT32_MAX) continue;
      uint64_t number = trace::graph_run(id);
      GraphStory& graph = graphs[number];
      graph.number = number;
      TraceSlice& slice = out_.slices[node.slice];
      if (slice.kind == TraceSlice::Kind::kNode) ++graph.seen;
      if (node.is_end) ends[number] = id;
      uint64_t ready = ready_of(id, node);
      if (ready == 0 || ready > slice.begin_ns) continue;
      slice.queue_ns = static_cast<int64_t>(slice.begin_ns - ready);
      if (slice.kind != TraceSlice::Kind::kNode) continue;
      graph.wait_ns += slice.begin_ns - ready;
      graph.longest_waits.push_back({node.slice, slice.begin_ns - ready});
      if (node.after == UINT32_MAX) continue;
      auto before = nodes_.find(trace::node_id(number, node.after));
      if (before == nodes_.end() || before->second.slice == UINT32_MAX) continue;
      if (out_.slices[before->second.slice].end_ns <= slice.begin_ns)
        out_.flows.push_back({TraceFlow::Kind::kDepends, before->second.slice, node.slice});
    }
    for (auto& [number, graph] : graphs) {
      keep_longest(graph);
      if (auto begin = graph_begins_.find(number); begin != graph_begins_.end()) {
        graph.begin_ns = out_.slices[begin->second].begin_ns;
        graph.nodes = out_.slices[begin->second].count;
        add_flow_to_first(number, begin->second);
        if (auto end = ends.find(number); end != ends.end()) find_path(graph, end->second);
      }
      out_.graphs.push_back(std::move(graph));
    }
  }

  static void keep_longest(GraphStory& graph) {
    auto& waits = graph.longest_waits;
    size_t count = std::min(waits.size(), kLongestWaits);
    std::partial_sort(waits.begin(), waits.begin() + static_cast<ptrdiff_t>(count), waits.end(),
                      [](const auto& a, const auto& b) { return a.wait_ns != b.wait_ns ? a.wait_ns > b.wait_ns : a.slice < b.slice; });
    waits.resize(count);
    waits.shrink_to_fit();
  }

  // Nodes without predecessors are ready as the run begins.
  [[nodiscard]] uint64_t ready_of(uint64_t id, const NodeStory& node) const {
    if (node.ready_ns != 0) return node.ready_ns;
    auto begin = graph_begins_.find(trace::graph_run(id));
    return begin == graph_begins_.end() ? 0 : out_.slices[begin->second].begin_ns;
  }

  void add_flow_to_first(uint64_t number, uint32_t begin) {
    uint32_t first = UINT32_MAX;
    for (auto it = nodes_.lower_bound(trace::node_id(number, 0)); it != nodes_.end() && trace::graph_run(it->first) == number; ++it) {
      uint32_t slice = it->second.slice;
      if (slice == UINT32_MAX || out_.slices[slice].kind != TraceSlice::Kind::kNode) continue;
      if (out_.slices[slice].begin_ns < out_.slices[begin].begin_ns) continue;
      if (first == UINT32_MAX || out_.slices[slice].begin_ns < out_.slices[first].begin_ns) first = slice;
    }
    if (first != UINT32_MAX) out_.flows.push_back({TraceFlow::Kind::kSubmit, begin, first});
  }

  // From the end back: each node began when the last of those that it waits for had ended, and that is the one which says so.
  void find_path(GraphStory& graph, uint64_t end) {
    const TraceSlice& last = out_.slices[nodes_.at(end).slice];
    if (last.cut != nullptr || last.end_ns < graph.begin_ns) return;
    graph.wall_ns = last.end_ns - graph.begin_ns;
    uint64_t before_ns = UINT64_MAX;
    for (uint64_t id = end;;) {
      auto found = nodes_.find(id);
      if (found == nodes_.end() || found->second.slice == UINT32_MAX) break;  // of which the trace has lost the end
      const NodeStory& node = found->second;
      TraceSlice& slice = out_.slices[node.slice];
      if (slice.begin_ns >= before_ns) break;  // no way back goes on for ever
      before_ns = slice.begin_ns;
      uint64_t wait = slice.queue_ns < 0 ? 0 : static_cast<uint64_t>(slice.queue_ns);
      if (slice.kind == TraceSlice::Kind::kNode) {
        slice.is_critical = true;
        graph.path.push_back({node.slice, wait});
        graph.path_run_ns += slice.end_ns - slice.begin_ns;
      }
      graph.path_wait_ns += wait;
      if (node.after == UINT32_MAX) break;
      id = trace::node_id(graph.number, node.after);
    }
    std::ranges::reverse(graph.path);
  }

  void count_busy() {
    for (const TraceSlice& slice : out_.slices) {
      if (slice.kind == TraceSlice::Kind::kRun || slice.kind == TraceSlice::Kind::kNode) ++out_.tracks[slice.track].runs;
      if (slice.depth == 0 && (slice.kind == TraceSlice::Kind::kRun || slice.kind == TraceSlice::Kind::kNode))
        out_.tracks[slice.track].busy_ns += slice.end_ns - slice.begin_ns;
    }
  }

  const SessionEvents& in_;
  TraceStory out_;
  std::multimap<uint32_t, Death> deaths_;  // by member
  std::vector<Life> lives_;
  std::vector<uint32_t> open_;             // of the life that is read
  std::unordered_map<uint64_t, uint32_t> submits_;
  std::map<uint64_t, std::vector<uint32_t>> runs_;  // in order: the same events tell the same story
  std::vector<std::pair<uint64_t, uint64_t>> depends_;
  std::unordered_map<uint64_t, uint32_t> graph_begins_;  // by the number of the run
  std::map<uint64_t, NodeStory> nodes_;
};

}  // namespace

TraceStory TraceStory::of(const SessionEvents& events) { return Builder(events).build(); }

std::string name_of(const SessionEvents& events, const TraceSlice& slice) {
  switch (slice.kind) {
    case TraceSlice::Kind::kWait: return slice.count == 1 ? "wait" : "wait for " + std::to_string(slice.count);
    case TraceSlice::Kind::kParked: return "asleep";
    case TraceSlice::Kind::kJoint: return "join";
    case TraceSlice::Kind::kGraph: return "run graph";
    default: break;
  }
  std::string name;
  if (auto found = events.task_names.find(slice.task); found != events.task_names.end()) {
    name = found->second;
  } else {
    char number[16];
    snprintf(number, sizeof number, "%08x", slice.task);
    name = number;
  }
  return slice.kind == TraceSlice::Kind::kSubmit ? "submit " + name : name;
}

}  // namespace tarn::cli
