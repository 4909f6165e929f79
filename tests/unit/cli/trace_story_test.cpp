// What events tell: an end could be taken for another's beginning, a killed worker leave a run that never ends, an arrow lead to
// nowhere, the critical path be another one, or a lie make a file that nobody can open.
#include "trace_story.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "shm/ids.hpp"

namespace tarn::cli {
namespace {

using trace::Event;
using trace::Kind;
using trace::pack_process;

constexpr uint32_t kTask = 0xabc;
constexpr uint64_t kFirst = uint64_t{1} << 32 | shm::make_id(1, 0);
constexpr uint64_t kSecond = uint64_t{1} << 32 | shm::make_id(1, 1);

Event at(uint64_t time_ns, Kind kind, uint64_t run = 0, uint64_t argument = 0, uint32_t task = 0, uint8_t detail = 0) {
  return {time_ns, run, argument, task, 0, detail, kind};
}

SessionEvents session(std::vector<TraceLane> lanes) {
  SessionEvents events;
  events.session = 3;
  events.client_pid = 1000;
  events.name = "a \"name\"";
  events.task_names[kTask] = "task";
  events.cores[0] = 4;
  events.lanes = std::move(lanes);
  events.begin_ns = 1000;
  events.end_ns = 10'000;
  return events;
}

std::string write(const SessionEvents& events, const TraceStory& story) {
  char* text = nullptr;
  size_t size = 0;
  FILE* file = open_memstream(&text, &size);
  TraceWriter writer(file);
  writer.begin();
  writer.add(events, story, events.begin_ns);
  writer.end();
  fclose(file);
  std::string out(text, size);
  free(text);
  return out;
}

// Of each track, slices either lie in one another or apart.
void expect_nested(const TraceStory& story) {
  std::map<uint32_t, std::vector<const TraceSlice*>> by_track;
  for (const TraceSlice& slice : story.slices) {
    EXPECT_LE(slice.begin_ns, slice.end_ns);
    ASSERT_LT(slice.track, story.tracks.size());
    by_track[slice.track].push_back(&slice);
  }
  for (auto& [track, slices] : by_track) {
    std::ranges::stable_sort(slices, [](const auto* a, const auto* b) { return a->begin_ns != b->begin_ns ? a->begin_ns < b->begin_ns : a->end_ns > b->end_ns; });
    std::vector<uint64_t> stack;
    for (const TraceSlice* slice : slices) {
      while (!stack.empty() && stack.back() <= slice->begin_ns) stack.pop_back();
      EXPECT_TRUE(stack.empty() || slice->end_ns <= stack.back()) << "track " << track << " at " << slice->begin_ns;
      stack.push_back(slice->end_ns);
    }
  }
}

constexpr const char* kSubmissionAndRun = R"json({"displayTimeUnit":"ns","otherData":{"schema":"tarn.trace/1"},"traceEvents":[
{"ph":"M","pid":1000,"tid":0,"ts":0,"name":"process_name","args":{"name":"session 3: a \"name\""}},
{"ph":"M","pid":1000,"tid":1,"ts":0,"name":"thread_name","args":{"name":"client"}},
{"ph":"M","pid":1000,"tid":1,"ts":0,"name":"thread_sort_index","args":{"sort_index":0}},
{"ph":"M","pid":1000,"tid":2,"ts":0,"name":"thread_name","args":{"name":"slot 0 (core 4)"}},
{"ph":"M","pid":1000,"tid":2,"ts":0,"name":"thread_sort_index","args":{"sort_index":1}},
{"ph":"X","pid":1000,"tid":1,"ts":0.100,"dur":0.100,"cat":"submit","name":"submit task","args":{"task":"1.0","generation":1}},
{"ph":"X","pid":1000,"tid":1,"ts":0.200,"dur":1.900,"cat":"wait","name":"wait","args":{"for":1}},
{"ph":"X","pid":1000,"tid":2,"ts":0.500,"dur":1.500,"cat":"task","name":"task","args":{"task":"1.0","generation":1,"attempt":1,"worker_pid":77,"queue_ns":400}},
{"ph":"s","pid":1000,"tid":1,"ts":0.100,"cat":"submit","name":"submit","id":1},
{"ph":"f","bp":"e","pid":1000,"tid":2,"ts":0.500,"cat":"submit","name":"submit","id":1}
]}
)json";

TEST(TraceStoryTest, ASubmissionLeadsToItsRun) {
  SessionEvents events = session({{1, {at(1100, Kind::kSubmit, kFirst, 4, kTask), at(1200, Kind::kWaitBegin, 0, 1), at(3100, Kind::kWaitEnd)}},
                                  {2, {at(1500, Kind::kRunBegin, kFirst, pack_process(77, 0, 1), kTask), at(3000, Kind::kRunEnd, kFirst)}}});
  TraceStory story = TraceStory::of(events);
  expect_nested(story);
  EXPECT_EQ(kSubmissionAndRun, write(events, story));
}

TEST(TraceStoryTest, ADependencyIsQueuedFromTheEndOfTheOther) {
  SessionEvents events = session({{1, {at(1100, Kind::kSubmit, kFirst, 4, kTask), at(1200, Kind::kSubmit, kSecond, 4, kTask), at(1210, Kind::kDepends, kSecond, kFirst)}},
                                  {2, {at(1500, Kind::kRunBegin, kFirst, pack_process(77, 0, 1), kTask), at(3000, Kind::kRunEnd, kFirst)}},
                                  {3, {at(3050, Kind::kRunBegin, kSecond, pack_process(78, 1, 1), kTask), at(4000, Kind::kRunEnd, kSecond, static_cast<uint64_t>(-7), 0, 1)}}});
  TraceStory story = TraceStory::of(events);
  expect_nested(story);
  ASSERT_EQ(3u, story.flows.size());
  EXPECT_EQ(TraceFlow::Kind::kDepends, story.flows[2].kind);
  const TraceSlice& second = story.slices[story.flows[2].to];
  EXPECT_EQ(50, second.queue_ns);
  EXPECT_TRUE(second.has_failed);
  EXPECT_EQ(-7, second.code);
  ASSERT_EQ(3u, story.tracks.size());
  EXPECT_EQ(950u, story.tracks[2].busy_ns);
}

// A worker dies in a run within a run; another takes its place in the slot, later, with the same number. Expect: what it had begun ends with it.
TEST(TraceStoryTest, AKilledWorkerEndsWhatItHadBegun) {
  SessionEvents events = session(
      {{0, {at(2500, Kind::kDied, 0, pack_process(77, 0, 9), 2), at(2600, Kind::kStarted, 0, pack_process(78, 0, 0), 2)}},
       {2, {at(1500, Kind::kRunBegin, kFirst, pack_process(77, 0, 1), kTask), at(1600, Kind::kWaitBegin, 0, 1),
            at(1700, Kind::kRunBegin, kSecond, pack_process(77, 0, 1), kTask), at(2700, Kind::kRunBegin, kFirst, pack_process(78, 0, 2), kTask),
            at(2900, Kind::kRunEnd, kFirst)}}});
  TraceStory story = TraceStory::of(events);
  expect_nested(story);
  ASSERT_EQ(2u, story.tracks.size());  // tarnd's, and that of the slot
  size_t cut = 0;
  for (const TraceSlice& slice : story.slices)
    if (slice.cut != nullptr) {
      ++cut;
      EXPECT_EQ(2500u, slice.end_ns);
    }
  EXPECT_EQ(3u, cut);
  EXPECT_TRUE(std::ranges::any_of(story.instants, [](const auto& instant) { return instant.text == "attempt 2"; }));
  EXPECT_EQ(2, std::ranges::count_if(story.instants, [](const auto& instant) { return instant.text == "worker 77 was killed by signal 9"; }));
}

TEST(TraceStoryTest, WhatGoesOnEndsWithTheTrace) {
  SessionEvents events = session({{2, {at(1500, Kind::kRunBegin, kFirst, pack_process(77, 0, 1), kTask)}}});
  TraceStory story = TraceStory::of(events);
  ASSERT_EQ(1u, story.slices.size());
  EXPECT_EQ(10'000u, story.slices[0].end_ns);
  EXPECT_NE(nullptr, story.slices[0].cut);
}

TEST(TraceStoryTest, AfterAHoleNothingIsTakenForAnothersEnd) {
  SessionEvents events = session({{2, {at(1500, Kind::kRunBegin, kFirst, pack_process(77, 0, 1), kTask), at(1500, Kind::kNone, 0, 12), at(1900, Kind::kRunEnd, kSecond),
                                       at(2000, Kind::kRunBegin, kSecond, pack_process(77, 0, 1), kTask), at(2100, Kind::kRunEnd, kSecond)}}});
  TraceStory story = TraceStory::of(events);
  expect_nested(story);
  ASSERT_EQ(2u, story.slices.size());
  EXPECT_NE(nullptr, story.slices[0].cut);
  EXPECT_EQ(2100u, story.slices[1].end_ns);
  EXPECT_EQ(0u, story.slices[1].depth);
}

TEST(TraceStoryTest, WorkersOfOneSlotAtTheSameTimeHaveTheirOwnTracks) {
  auto busy = [](uint32_t member, int32_t pid, uint64_t from, uint64_t to) {
    return TraceLane{member, {at(from, Kind::kRunBegin, kFirst + member, pack_process(pid, 0, 1), kTask), at(to, Kind::kRunEnd, kFirst + member)}};
  };
  SessionEvents events = session({busy(2, 77, 1500, 3000), busy(3, 78, 2000, 4000), busy(4, 79, 5000, 6000)});
  TraceStory story = TraceStory::of(events);
  expect_nested(story);
  ASSERT_EQ(2u, story.tracks.size());
  EXPECT_EQ("slot 0 (core 4) #2", story.tracks[1].name);
}

// A diamond: 0 before 1 and 2, which are before 3, the end 4 behind. 2 takes longest.
TEST(TraceStoryTest, TheCriticalPathIsThatOfTheLast) {
  auto node = [](uint32_t index) { return trace::node_id(5, index); };
  auto begin = [&](uint64_t time_ns, uint32_t index, int32_t pid, uint8_t kind = 0) {
    return at(time_ns, Kind::kNodeBegin, node(index), pack_process(pid, pid == 77 ? 0u : 1u, 1), kTask, kind);
  };
  SessionEvents events = session({{1, {at(1100, Kind::kGraphBegin, node(0), 5)}},
                                  {2, {begin(1200, 0, 77), at(1300, Kind::kNodeEnd, node(0)), at(1310, Kind::kNodeReady, node(1), 0), at(1320, Kind::kNodeReady, node(2), 0),
                                       begin(1350, 1, 77), at(1400, Kind::kNodeEnd, node(1))}},
                                  {3, {begin(1420, 2, 78), at(2420, Kind::kNodeEnd, node(2)), at(2430, Kind::kNodeReady, node(3), 2), begin(2440, 3, 78),
                                       at(2500, Kind::kNodeEnd, node(3)), at(2501, Kind::kNodeReady, node(4), 3), begin(2502, 4, 78, trace::kEndNode),
                                       at(2503, Kind::kNodeEnd, node(4))}}});
  TraceStory story = TraceStory::of(events);
  expect_nested(story);
  ASSERT_EQ(1u, story.graphs.size());
  const GraphStory& graph = story.graphs[0];
  EXPECT_EQ(5u, graph.number);
  EXPECT_EQ(4u, graph.seen);
  EXPECT_EQ(2503u - 1100u, graph.wall_ns);
  ASSERT_EQ(3u, graph.path.size());
  std::vector<uint32_t> nodes;
  for (const auto& step : graph.path) nodes.push_back(trace::node_index(story.slices[step.slice].run));
  EXPECT_EQ((std::vector<uint32_t>{0, 2, 3}), nodes);
  EXPECT_EQ(100u + 1000u + 60u, graph.path_run_ns);
  EXPECT_EQ(100u + 100u + 10u + 1u, graph.path_wait_ns);
  EXPECT_EQ(100u + 40u + 100u + 10u, graph.wait_ns);
  EXPECT_EQ(100u, graph.longest_waits[0].wait_ns);
  EXPECT_EQ(3, std::ranges::count_if(story.slices, [](const auto& slice) { return slice.is_critical; }));
  EXPECT_TRUE(nlohmann::json::accept(write(events, story)));
}

// Whatever members write. Expect: what is promised of slices and arrows holds, and the file can be read.
TEST(TraceStoryTest, LiesMakeNoFileThatCannotBeOpened) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<TraceLane> lanes;
    for (uint32_t member = 0; member < 4; ++member) {
      TraceLane lane{member, {}};
      for (uint64_t i = random() % 60; i > 0; --i) {
        uint64_t time = random() % 10 == 0 ? random() : 1000 + random() % 9500;
        uint64_t run = random() % 5 == 0 ? random() : random() % 2 == 0 ? trace::node_id(random() % 2, static_cast<uint32_t>(random() % 5)) : kFirst + random() % 3;
        uint64_t argument = random() % 2 == 0 ? pack_process(static_cast<int32_t>(77 + random() % 3), static_cast<uint32_t>(random() % 2), static_cast<uint32_t>(random() % 3)) : random() % 5;
        lane.events.push_back({time, run, argument, kTask, static_cast<uint16_t>(random() % 3), static_cast<uint8_t>(random() % 4),
                               static_cast<Kind>(random() % (static_cast<unsigned>(Kind::kLast) + 1))});
      }
      lanes.push_back(std::move(lane));
    }
    SessionEvents events = session(std::move(lanes));
    TraceStory story = TraceStory::of(events);
    expect_nested(story);
    for (const TraceFlow& flow : story.flows) {
      ASSERT_LT(flow.from, story.slices.size());
      ASSERT_LT(flow.to, story.slices.size());
      EXPECT_LE(story.slices[flow.from].begin_ns, story.slices[flow.to].begin_ns);
    }
    EXPECT_TRUE(nlohmann::json::accept(write(events, story))) << "seed " << seed;
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

}  // namespace
}  // namespace tarn::cli
