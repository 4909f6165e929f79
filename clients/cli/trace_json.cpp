// The Chrome trace-event format: an object with a list of events, times in microseconds with the nanoseconds behind the point.
// A client is a process in it, and slots are its threads. docs/tracing.md
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "shm/ids.hpp"
#include "trace_story.hpp"

namespace tarn::cli {
namespace {

std::string quote(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

// Times as the format has them.
struct Micros {
  explicit Micros(uint64_t ns) { std::snprintf(text, sizeof text, "%" PRIu64 ".%03u", ns / 1000, static_cast<unsigned>(ns % 1000)); }
  char text[32];
};

const char* category_of(const TraceSlice& slice) {
  switch (slice.kind) {
    case TraceSlice::Kind::kRun: return "task";
    case TraceSlice::Kind::kNode: return slice.is_critical ? "node,critical" : "node";
    case TraceSlice::Kind::kJoint: return "join";
    case TraceSlice::Kind::kWait: return "wait";
    case TraceSlice::Kind::kParked: return "idle";
    case TraceSlice::Kind::kSubmit: return "submit";
    case TraceSlice::Kind::kGraph: return "submit";
  }
  return "?";
}

bool is_node(const TraceSlice& slice) { return slice.kind == TraceSlice::Kind::kNode || slice.kind == TraceSlice::Kind::kJoint; }

void print_args(FILE* file, const TraceSlice& slice) {
  const char* comma = "";
  auto add = [&](const char* key, const std::string& value) {
    std::fprintf(file, "%s\"%s\":%s", comma, key, value.c_str());
    comma = ",";
  };
  if (slice.kind == TraceSlice::Kind::kRun || slice.kind == TraceSlice::Kind::kSubmit) {
    auto id = static_cast<uint32_t>(slice.run);
    add("task", "\"" + std::to_string(shm::id_member(id)) + "." + std::to_string(shm::id_index(id)) + "\"");
    add("generation", std::to_string(slice.run >> 32));
  }
  if (is_node(slice)) {
    add("graph_run", std::to_string(trace::graph_run(slice.run)));
    add("node", std::to_string(trace::node_index(slice.run)));
  }
  if (slice.kind == TraceSlice::Kind::kGraph) {
    add("graph_run", std::to_string(trace::graph_run(slice.run)));
    add("nodes", std::to_string(slice.count));
  }
  if (slice.kind == TraceSlice::Kind::kWait) add("for", std::to_string(slice.count));
  if (slice.kind == TraceSlice::Kind::kRun || is_node(slice)) {
    add("attempt", std::to_string(slice.attempt));
    add("worker_pid", std::to_string(slice.pid));
    if (slice.queue_ns >= 0) add(is_node(slice) ? "wait_ns" : "queue_ns", std::to_string(slice.queue_ns));
    if (slice.has_failed) add("failed", "true");
    if (slice.code != 0) add("code", std::to_string(slice.code));
    if (slice.is_critical) add("critical", "true");
  }
  if (slice.cut != nullptr) add("cut", quote(slice.cut));
}

}  // namespace

void TraceWriter::begin() { std::fputs("{\"displayTimeUnit\":\"ns\",\"otherData\":{\"schema\":\"tarn.trace/1\"},\"traceEvents\":[", file_); }
void TraceWriter::end() { std::fputs("\n]}\n", file_); }

void TraceWriter::next() {
  std::fputs(is_first_ ? "\n" : ",\n", file_);
  is_first_ = false;
}

void TraceWriter::add(const SessionEvents& events, const TraceStory& story, uint64_t base_ns) {
  int pid = events.client_pid;
  auto from_base = [base_ns](uint64_t ns) { return ns > base_ns ? ns - base_ns : 0; };
  auto name_track = [&](const char* what, uint32_t track, const std::string& key, const std::string& value) {
    next();
    std::fprintf(file_, "{\"ph\":\"M\",\"pid\":%d,\"tid\":%u,\"ts\":0,\"name\":\"%s\",\"args\":{\"%s\":%s}}", pid, track, what, key.c_str(), value.c_str());
  };
  name_track("process_name", 0, "name", quote("session " + std::to_string(events.session) + ": " + events.name));
  for (uint32_t i = 0; i < story.tracks.size(); ++i) {
    name_track("thread_name", i + 1, "name", quote(story.tracks[i].name));
    name_track("thread_sort_index", i + 1, "sort_index", std::to_string(i));
  }
  std::map<std::pair<uint32_t, TraceSlice::Kind>, std::string> names;  // quoted, of those that many slices have
  for (const TraceSlice& slice : story.slices) {
    next();
    bool is_named_by_task = slice.kind == TraceSlice::Kind::kRun || slice.kind == TraceSlice::Kind::kNode || slice.kind == TraceSlice::Kind::kSubmit;
    std::string* name = is_named_by_task ? &names[{slice.task, slice.kind}] : nullptr;
    if (name != nullptr && name->empty()) *name = quote(name_of(events, slice));
    std::fprintf(file_, "{\"ph\":\"X\",\"pid\":%d,\"tid\":%u,\"ts\":%s,\"dur\":%s,\"cat\":\"%s\",\"name\":%s", pid, slice.track + 1,
                 Micros(from_base(slice.begin_ns)).text, Micros(slice.end_ns - slice.begin_ns).text, category_of(slice),
                 name != nullptr ? name->c_str() : quote(name_of(events, slice)).c_str());
    if (slice.has_failed) std::fputs(",\"cname\":\"terrible\"", file_);
    else if (slice.is_critical) std::fputs(",\"cname\":\"bad\"", file_);
    std::fputs(",\"args\":{", file_);
    print_args(file_, slice);
    std::fputs("}}", file_);
  }
  for (const TraceInstant& instant : story.instants) {
    next();
    std::fprintf(file_, "{\"ph\":\"i\",\"s\":\"t\",\"pid\":%d,\"tid\":%u,\"ts\":%s,\"cat\":\"event\",\"name\":%s}", pid, instant.track + 1,
                 Micros(from_base(instant.time_ns)).text, quote(instant.text).c_str());
  }
  for (const TraceFlow& flow : story.flows) {
    const TraceSlice& from = story.slices[flow.from];
    const TraceSlice& to = story.slices[flow.to];
    // An arrow begins within the slice that it comes from: its end is no part of it.
    uint64_t at = flow.kind == TraceFlow::Kind::kSubmit || from.end_ns == from.begin_ns ? from.begin_ns : from.end_ns - 1;
    const char* name = flow.kind == TraceFlow::Kind::kSubmit ? "submit" : "depends";
    uint64_t id = ++last_flow_;
    next();
    std::fprintf(file_, "{\"ph\":\"s\",\"pid\":%d,\"tid\":%u,\"ts\":%s,\"cat\":\"%s\",\"name\":\"%s\",\"id\":%" PRIu64 "}", pid, from.track + 1,
                 Micros(from_base(at)).text, name, name, id);
    next();
    std::fprintf(file_, "{\"ph\":\"f\",\"bp\":\"e\",\"pid\":%d,\"tid\":%u,\"ts\":%s,\"cat\":\"%s\",\"name\":\"%s\",\"id\":%" PRIu64 "}", pid,
                 to.track + 1, Micros(from_base(to.begin_ns)).text, name, name, id);
  }
}

}  // namespace tarn::cli
