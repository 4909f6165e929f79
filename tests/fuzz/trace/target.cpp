// The lanes of a trace are written by processes of the session's user, and `tarn trace` makes a file of them. Whatever they say: slices
// of one track lie in one another or apart, arrows have both ends, and the file is JSON.
//
// Input: the events of four members, 32 bytes each, with the member in the upper bits of the kind.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trace_story.hpp"
#include "trace_summary.hpp"

namespace {

using namespace tarn;
using namespace tarn::cli;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "trace: %s\n", what);
  std::abort();
}

void check_slices(const TraceStory& story) {
  std::map<uint32_t, std::vector<const TraceSlice*>> by_track;
  for (const TraceSlice& slice : story.slices) {
    require(slice.begin_ns <= slice.end_ns && slice.track < story.tracks.size(), "a slice ends before it begins, or is on no track");
    by_track[slice.track].push_back(&slice);
  }
  for (auto& [track, slices] : by_track) {
    std::stable_sort(slices.begin(), slices.end(), [](const auto* a, const auto* b) { return a->begin_ns != b->begin_ns ? a->begin_ns < b->begin_ns : a->end_ns > b->end_ns; });
    std::vector<uint64_t> stack;
    for (const TraceSlice* slice : slices) {
      while (!stack.empty() && stack.back() <= slice->begin_ns) stack.pop_back();
      require(stack.empty() || slice->end_ns <= stack.back(), "slices overlap");
      stack.push_back(slice->end_ns);
    }
  }
  for (const TraceFlow& flow : story.flows)
    require(flow.from < story.slices.size() && flow.to < story.slices.size(), "an arrow leads to nowhere");
  for (const GraphStory& graph : story.graphs)
    require(graph.path.size() <= story.slices.size() && (graph.wall_ns != 0 || graph.path.empty()), "a path is longer than what there is");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint32_t kMembers = 4;
  SessionEvents events;
  events.begin_ns = 1000;
  events.end_ns = 1'000'000;
  events.name = "\xff\"\x1b";
  events.task_names[1] = "one";
  for (uint32_t member = 0; member < kMembers; ++member) events.lanes.push_back({member, {}});
  for (; size >= sizeof(trace::RawEvent); data += sizeof(trace::RawEvent), size -= sizeof(trace::RawEvent)) {
    trace::RawEvent raw;
    memcpy(&raw, data, sizeof raw);
    auto member = static_cast<uint32_t>(raw.words[2] >> 5 & (kMembers - 1));
    raw.words[2] &= ~uint64_t{0xe0};
    trace::Event event;
    if (!trace::Event::unpack(raw, event)) event = {raw.words[0], 0, raw.words[3], 0, 0, 0, trace::Kind::kNone};
    events.lanes[member].events.push_back(event);
  }
  std::vector<TracedSession> sessions(1);
  sessions[0].story = TraceStory::of(events);
  sessions[0].events = std::move(events);
  check_slices(sessions[0].story);
  char* text = nullptr;
  size_t length = 0;
  FILE* file = open_memstream(&text, &length);
  TraceWriter writer(file);
  writer.begin();
  writer.add(sessions[0].events, sessions[0].story, sessions[0].events.begin_ns);
  writer.end();
  std::fclose(file);
  require(nlohmann::json::accept(std::string(text, length)), "the file is not JSON");
  std::free(text);
  require(!show_summary(summarize(sessions)).empty(), "no summary");
  return 0;
}
