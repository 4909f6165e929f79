// What a packet may be is decided in one place, for everybody. Every message is shown here as it should
// be, then cut, stretched, with other descriptors, from the wrong side, and with each field wrong in turn.
#include "wire/validate.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/error_info.hpp"
#include "tarn/tarn.h"

namespace tarn::wire {
namespace {

struct Sample {
  std::string name;
  From from;
  size_t descriptors;
  std::vector<std::byte> bytes;
};

int parse_copy(const std::vector<std::byte>& bytes, size_t descriptors, From from, Packet& out) {
  static Buffer<kMessageSizeMax * 2> buffer;
  if (!bytes.empty()) memcpy(buffer.bytes, bytes.data(), bytes.size());
  return parse({buffer.bytes, bytes.size()}, descriptors, from, out);
}

template <class Body>
Sample sample(Type type, From from, size_t descriptors, const Body& body, const std::string& tail = {}) {
  static Buffer<kMessageSizeMax> buffer;
  Builder message(buffer.bytes, type, 5);
  message.body<Body>() = body;
  EXPECT_TRUE(message.append(tail.data(), tail.size()));
  auto packet = message.finish();
  return {type_name(type), from, descriptors, {packet.begin(), packet.end()}};
}

Sample empty_sample(Type type, From from) {
  static Buffer<64> buffer;
  Builder message(buffer.bytes, type, 5);
  auto packet = message.finish();
  return {type_name(type), from, 0, {packet.begin(), packet.end()}};
}

const std::string kArgv("prog\0arg\0", 9);
const std::string kEnvironment("A=1\0", 4);

Hello client_hello() {
  Hello hello{};
  hello.role = static_cast<uint32_t>(Role::kClient);
  hello.workers = 2;
  hello.pid = 7;
  hello.build_id_size = 3;
  hello.build_id[0] = hello.build_id[1] = hello.build_id[2] = 9;
  hello.argv_size = 9;
  hello.environment_size = 4;
  set_text(hello.name, "me");
  return hello;
}

Hello worker_hello() {
  Hello hello{};
  hello.role = static_cast<uint32_t>(Role::kWorker);
  hello.pid = 7;
  return hello;
}

Welcome good_welcome() {
  Welcome welcome{};
  welcome.board_size = 4096;
  welcome.segment_size = 8192;
  welcome.member = 1;
  welcome.workers = 2;
  welcome.core = -1;
  welcome.node = -1;
  welcome.daemon_pid = 8;
  return welcome;
}

Spawn good_spawn() {
  Spawn spawn{};
  spawn.ticket = 3;
  spawn.group_count = 2;
  spawn.argv_size = 9;
  spawn.environment_size = 4;
  spawn.cpu_count = 2;
  spawn.cpus[1] = 3;
  return spawn;
}

MemberInfo member(int32_t pid, int32_t signal, uint32_t recover, uint64_t segment_size, uint32_t index = 2) {
  MemberInfo info{};
  info.member = index;
  info.pid = pid;
  info.signal = signal;
  info.recover = recover;
  info.segment_size = segment_size;
  return info;
}

template <class Body>
Body refusal() {
  Body body{};
  body.code = TARN_E_LIMIT;
  set_text(body.text, "too much");
  return body;
}

std::vector<Sample> all_samples() {
  Query query{};
  set_text(query.what, "status");
  SpawnFailed failed{};
  failed.ticket = 3;
  failed.error = 2;
  const std::string groups(8, '\1');
  return {
      sample(Type::kHello, From::kMember, 5, client_hello(), kArgv + kEnvironment),
      sample(Type::kHello, From::kMember, 0, worker_hello()),
      sample(Type::kSlabRequest, From::kMember, 0, SlabRequest{1, -1, 0}),
      sample(Type::kSlabRequest, From::kMember, 0, SlabRequest{1, kAllNodes, 0}),
      sample(Type::kFileShare, From::kMember, 1, SlabInfo{0, 0, 1, -1, 1}),
      sample(Type::kGrow, From::kMember, 0, Grow{1, 2, 3, 0}),
      sample(Type::kRecovered, From::kMember, 0, member(0, 0, 0, 0)),
      empty_sample(Type::kReady, From::kMember),
      sample(Type::kSlabDrop, From::kMember, 0, SlabId{255, kSlabNumberMax}),
      sample(Type::kQuery, From::kMember, 0, query),
      empty_sample(Type::kGoodbye, From::kMember),
      sample(Type::kTaskNames, From::kMember, 0, TaskNames{12, 0},
             std::string("count\0lines\0", 12)),
      sample(Type::kRestore, From::kMember, 0, Extent{1, 2, 4096}),
      sample(Type::kCopyDrop, From::kMember, 0, Extent{255, kSlabNumberMax, 0}),
      sample(Type::kMade, From::kMember, 0, Made{{1, 2, 4096}, 3, 0, 64, 100'000}),
      sample(Type::kMade, From::kMember, 0, Made{{1, 2, 4096}, 0, TARN_E_LOST, 0, 0}),
      sample(Type::kMake, From::kDaemon, 0, Make{1, 0}),
      sample(Type::kMake, From::kDaemon, 0, Make{2, 0}),
      sample(Type::kSubscribe, From::kMember, 0,
             Subscribe{TARN_EVENT_SPILLED | TARN_EVENT_FREED, 0}),
      sample(Type::kEndRun, From::kMember, 0, EndRun{2, 7, 1, 1}),
      sample(Type::kStandIn, From::kMember, 0, StandIn{kRanksMax - 1, 0}),
      sample(Type::kResourceWish, From::kMember, 0, ResourceWish{{1, 0, 2}}),
      sample(Type::kLogAsk, From::kMember, 0, LogAsk{1, 0}),
      empty_sample(Type::kAwake, From::kMember),
      sample(Type::kTraceAsk, From::kMember, 0, TraceAsk{1, 16, 3'000'000'000}),
      sample(Type::kTrace, From::kDaemon, 1, Trace{4096, 1, 16, 3, 0}),
      sample(Type::kLog, From::kDaemon, 1, Log{4096, 1, 0}),
      sample(Type::kLog, From::kDaemon, 0, Log{0, 1, 0}),
      sample(Type::kOutputBegin, From::kDaemonToOutput, 2, OutputBegin{4096, 8192, 1, 4},
             std::string("abc\0", 4)),
      sample(Type::kOutputBegin, From::kDaemonToOutput, 1, OutputBegin{4096, 0, 4, 0}),
      sample(Type::kOutputWorker, From::kDaemonToOutput, 2, OutputWorker{2, 0, 0, 7}),
      sample(Type::kOutputEnd, From::kDaemonToOutput, 0, OutputWorker{2, 0, 0, 7}),
      sample(Type::kWelcome, From::kDaemon, 2, good_welcome()),
      sample(Type::kRefused, From::kDaemon, 0, refusal<Refused>()),
      sample(Type::kMemberAdded, From::kDaemon, 1, member(5, 0, 0, 4096)),
      sample(Type::kMemberAdded, From::kDaemon, 2, member(5, 0, 0, 4096, 1)),
      sample(Type::kMemberDied, From::kDaemon, 0, member(5, 9, 1, 0)),
      sample(Type::kMemberGone, From::kDaemon, 0, member(0, 0, 0, 0)),
      sample(Type::kSlabGranted, From::kDaemon, 1, SlabInfo{1, 2, 4096, 0, 0}),
      sample(Type::kSlabGranted, From::kDaemon, 1, SlabInfo{1, 2, 4096, kAllNodes, 0}),
      sample(Type::kSlabComing, From::kDaemon, 1, SlabInfo{1, 2, 4096, 0, 0}),
      sample(Type::kSlabWarm, From::kDaemon, 0, SlabWarm{4096}),
      sample(Type::kSlabAdded, From::kDaemon, 1, SlabInfo{1, 2, 5, -1, 1}),
      sample(Type::kSlabReady, From::kDaemon, 0, SlabId{1, 2}),
      sample(Type::kSlabDropped, From::kDaemon, 0, SlabId{1, 2}),
      sample(Type::kSlabRefused, From::kDaemon, 0, refusal<SlabRefused>()),
      sample(Type::kGrown, From::kDaemon, 0, Grow{1, 2, 3, 0}),
      sample(Type::kSessionBroken, From::kDaemon, 0, refusal<Broken>()),
      sample(Type::kReply, From::kDaemon, 0, Reply{1, 2}, "{}"),
      empty_sample(Type::kWake, From::kDaemon),
      empty_sample(Type::kReclaim, From::kDaemon),
      empty_sample(Type::kRestored, From::kDaemon),
      sample(Type::kEvent, From::kDaemon, 0, Event{TARN_EVENT_SPILLED, 0, 0, 5, 4096, 1}),
      sample(Type::kEvent, From::kDaemon, 0, Event{TARN_EVENT_PRESSURE, 1, 0, 0, 4096, 0}),
      sample(Type::kSpawn, From::kDaemonToSpawn, 5, good_spawn(), groups + kArgv + kEnvironment),
      sample(Type::kKill, From::kDaemonToSpawn, 0, Kill{3, 9, 0}),
      sample(Type::kWeigh, From::kDaemonToSpawn, 0, Weigh{3, kNiceMax, 0}),
      sample(Type::kSpawned, From::kSpawn, 1, Spawned{3, 4, 0}),
      sample(Type::kSpawnFailed, From::kSpawn, 0, failed),
      sample(Type::kExited, From::kSpawn, 0, Exited{3, 4, 9, 0, 0}),
      sample(Type::kStopped, From::kSpawn, 0, Exited{3, 4, 0, 0, 1}),
  };
}

TEST(Validate, AcceptsEachMessageAsItShouldBe) {
  for (const Sample& good : all_samples()) {
    Packet packet;
    EXPECT_EQ(parse_copy(good.bytes, good.descriptors, good.from, packet), 0) << last_error();
    EXPECT_EQ(good.name, type_name(packet.type));
    EXPECT_EQ(packet.serial, 5u);
    EXPECT_EQ(sizeof(Header) + packet.body_size + packet.tail.size(), good.bytes.size());
  }
}

TEST(Validate, RefusesAByteLessAndAByteMore) {
  for (const Sample& good : all_samples()) {
    Packet packet;
    for (bool longer : {false, true}) {
      for (bool size_tells : {false, true}) {
        std::vector<std::byte> bytes(good.bytes.begin(), good.bytes.end() - (longer ? 0 : 1));
        if (longer) bytes.push_back(std::byte{0});
        auto size = static_cast<uint32_t>(bytes.size());
        if (size_tells) memcpy(bytes.data() + offsetof(Header, size), &size, sizeof size);
        EXPECT_EQ(parse_copy(bytes, good.descriptors, good.from, packet), TARN_E_PROTOCOL) << good.name;
      }
    }
  }
}

TEST(Validate, RefusesOtherNumbersOfDescriptors) {
  for (const Sample& good : all_samples()) {
    Packet packet;
    for (size_t count = 0; count <= kDescriptorsMax; ++count) {
      if (count == good.descriptors) continue;
      EXPECT_EQ(parse_copy(good.bytes, count, good.from, packet), TARN_E_PROTOCOL) << good.name << ' ' << count;
    }
  }
}

TEST(Validate, RefusesMessagesFromTheWrongSide) {
  for (const Sample& good : all_samples()) {
    Packet packet;
    for (From from : {From::kMember, From::kDaemon, From::kDaemonToSpawn, From::kSpawn, From::kDaemonToOutput}) {
      if (from == good.from) continue;
      EXPECT_EQ(parse_copy(good.bytes, good.descriptors, from, packet), TARN_E_PROTOCOL) << good.name;
    }
  }
}

TEST(Validate, RefusesBadHeaders) {
  Sample good = all_samples().front();
  Packet packet;
  auto with_header = [&](const std::function<void(Header&)>& change) {
    auto bytes = good.bytes;
    Header header;
    memcpy(&header, bytes.data(), sizeof header);
    change(header);
    memcpy(bytes.data(), &header, sizeof header);
    return parse_copy(bytes, good.descriptors, good.from, packet);
  };
  EXPECT_EQ(with_header([](Header&) {}), 0);
  EXPECT_EQ(with_header([](Header& h) { h.magic ^= 1; }), TARN_E_PROTOCOL);
  EXPECT_EQ(with_header([](Header& h) { h.version = 2; }), TARN_E_VERSION);
  EXPECT_EQ(with_header([](Header& h) { h.type = 0; }), TARN_E_PROTOCOL);
  EXPECT_EQ(with_header([](Header& h) { h.type = 999; }), TARN_E_PROTOCOL);
  EXPECT_EQ(with_header([](Header& h) { h.size += 8; }), TARN_E_PROTOCOL);
  EXPECT_EQ(parse_copy({}, 0, From::kMember, packet), TARN_E_PROTOCOL);
}

// Parses `body` after `change`, and expects it to be refused with a text that names `field`.
template <class Body>
void expect_wrong(Type type, From from, size_t descriptors, Body body, const std::string& tail, const char* field,
                  const std::function<void(Body&)>& change) {
  change(body);
  Packet packet;
  Sample bad = sample(type, from, descriptors, body, tail);
  EXPECT_EQ(parse_copy(bad.bytes, descriptors, from, packet), TARN_E_PROTOCOL) << bad.name << ": " << field;
  EXPECT_NE(std::string(last_error()).find(field), std::string::npos) << last_error();
}

TEST(Validate, TakesEveryCodeOfTheInterfaceForARefusalAndNoOther) {
  for (int32_t code = 2; code > -200; --code) {
    SlabRefused body = refusal<SlabRefused>();
    body.code = code;
    Packet packet;
    Sample message = sample(Type::kSlabRefused, From::kDaemon, 0, body);
    EXPECT_EQ(parse_copy(message.bytes, 0, From::kDaemon, packet) == 0, code < 0 && error_info(code) != nullptr) << code;
  }
}

TEST(Validate, RefusesEachWrongFieldOfTaskNames) {
  auto wrong = [](const char* field, TaskNames names, const std::string& tail) {
    expect_wrong<TaskNames>(Type::kTaskNames, From::kMember, 0, names, tail, field,
                            [](TaskNames&) {});
  };
  wrong("names_size", {0, 0}, "");
  wrong("names_size", {kTaskNamesSizeMax + 2, 0}, std::string(kTaskNamesSizeMax + 2, '\0'));
  wrong("size", {3, 0}, std::string("a\0", 2));
  wrong("names", {2, 0}, "ab");
  wrong("reserved", {2, 1}, std::string("a\0", 2));
}

TEST(Validate, RefusesEachWrongFieldOfHello) {
  auto wrong = [](const char* field, const std::function<void(Hello&)>& change) {
    expect_wrong(Type::kHello, From::kMember, 5, client_hello(), kArgv + kEnvironment, field, change);
  };
  wrong("role", [](Hello& h) { h.role = 3; });
  wrong("workers", [](Hello& h) { h.workers = 255; });
  wrong("flags", [](Hello& h) { h.flags = 2; });
  wrong("pid", [](Hello& h) { h.pid = 0; });
  wrong("build_id_size", [](Hello& h) { h.build_id_size = kBuildIdSize + 1; });
  wrong("build_id", [](Hello& h) { h.build_id[5] = 1; });
  wrong("output", [](Hello& h) { h.output = 5; });
  wrong("reserved", [](Hello& h) { h.padding[3] = 1; });
  wrong("name", [](Hello& h) { memset(h.name, 'x', sizeof h.name); });
  wrong("size", [](Hello& h) { h.argv_size = 8; });
  wrong("argv", [](Hello& h) { h.argv_size = 8, h.environment_size = 5; });
  wrong("argv_size", [](Hello& h) { h.argv_size = UINT32_MAX, h.environment_size = 14; });  // no wrapping round
  wrong("argv_size", [](Hello& h) { h.argv_size = 0, h.environment_size = 13; });
  expect_wrong<Hello>(Type::kHello, From::kMember, 5, client_hello(), kArgv + "A=12", "environment", [](Hello&) {});
  expect_wrong<Hello>(Type::kHello, From::kMember, 0, worker_hello(), "", "workers", [](Hello& h) { h.workers = 1; });
  expect_wrong<Hello>(Type::kHello, From::kMember, 0, worker_hello(), kEnvironment, "argv_size",
                      [](Hello& h) { h.environment_size = 4; });
}

TEST(Validate, RefusesEachWrongFieldOfTheOthers) {
  auto request = [](const char* field, const std::function<void(SlabRequest&)>& change) {
    expect_wrong(Type::kSlabRequest, From::kMember, 0, SlabRequest{1, -1, 0}, "", field, change);
  };
  request("size", [](SlabRequest& r) { r.size = 0; });
  request("size", [](SlabRequest& r) { r.size = kSizeMax + 1; });
  request("node", [](SlabRequest& r) { r.node = kAllNodes - 1; });
  request("node", [](SlabRequest& r) { r.node = 1024; });
  request("how", [](SlabRequest& r) { r.how = 3; });

  auto share = [](const char* field, const std::function<void(SlabInfo&)>& change) {
    expect_wrong(Type::kFileShare, From::kMember, 1, SlabInfo{0, 0, 1, -1, 1}, "", field, change);
  };
  share("member", [](SlabInfo& s) { s.member = 1; });
  share("is_file", [](SlabInfo& s) { s.is_file = 0; });
  share("size", [](SlabInfo& s) { s.size = 0; });
  share("node", [](SlabInfo& s) { s.node = kAllNodes; });  // where a file lies is not for tarnd to choose

  auto id = [](const char* field, const std::function<void(SlabId&)>& change) {
    expect_wrong(Type::kSlabDrop, From::kMember, 0, SlabId{1, 0}, "", field, change);
  };
  id("member", [](SlabId& s) { s.member = 0; });
  id("member", [](SlabId& s) { s.member = 256; });
  id("slab", [](SlabId& s) { s.slab = kSlabNumberMax + 1; });

  auto extent = [](const char* field, const std::function<void(Extent&)>& change) {
    expect_wrong(Type::kRestore, From::kMember, 0, Extent{1, 0, 0}, "", field, change);
  };
  extent("member", [](Extent& e) { e.member = 0; });
  extent("slab", [](Extent& e) { e.slab = kSlabNumberMax + 1; });
  extent("offset", [](Extent& e) { e.offset = kSizeMax; });

  auto made = [](const char* field, const std::function<void(Made&)>& change) {
    expect_wrong(Type::kMade, From::kMember, 0, Made{{1, 2, 4096}, 3, 0, 64, 100'000}, "", field,
                 change);
  };
  made("member", [](Made& m) { m.place.member = 0; });
  made("slab", [](Made& m) { m.place.slab = kSlabNumberMax + 1; });
  made("slab", [](Made& m) { m.slab = kSlabNumberMax + 1; });
  made("offset", [](Made& m) { m.offset = kSizeMax; });
  made("size", [](Made& m) { m.size = kSizeMax + 1; });
  made("code", [](Made& m) { m.code = 1; });
  made("code", [](Made& m) { m.code = TARN_E_LOST; });  // and bytes all the same
  expect_wrong<Make>(Type::kMake, From::kDaemon, 0, Make{1, 0}, "", "how",
                     [](Make& m) { m.how = 0; });
  expect_wrong<Make>(Type::kMake, From::kDaemon, 0, Make{1, 0}, "", "how",
                     [](Make& m) { m.how = 3; });
  expect_wrong<Make>(Type::kMake, From::kDaemon, 0, Make{1, 0}, "", "reserved",
                     [](Make& m) { m.reserved = 1; });

  expect_wrong<Subscribe>(Type::kSubscribe, From::kMember, 0, Subscribe{0, 0}, "", "mask",
                          [](Subscribe& s) { s.mask = TARN_EVENT_SEALED; });
  expect_wrong<Subscribe>(Type::kSubscribe, From::kMember, 0, Subscribe{0, 0}, "", "reserved",
                          [](Subscribe& s) { s.reserved = 1; });
  auto event = [](const char* field, const std::function<void(Event&)>& change) {
    expect_wrong(Type::kEvent, From::kDaemon, 0, Event{TARN_EVENT_RESTORED, 0, 7, 5, 4096, 0}, "", field, change);
  };
  event("kind", [](Event& e) { e.kind = 0; });
  event("kind", [](Event& e) { e.kind = TARN_EVENT_FREED; });
  event("kind", [](Event& e) { e.kind = TARN_EVENT_SPILLED | TARN_EVENT_RESTORED; });
  event("is_over", [](Event& e) { e.is_over = 1; });
  event("generation", [](Event& e) { e.generation = 0; });
  event("bytes", [](Event& e) { e.bytes = kSizeMax + 1; });
  event("id", [](Event& e) { e.kind = TARN_EVENT_PRESSURE, e.generation = 0; });

  auto recovered = [](const char* field, const std::function<void(MemberInfo&)>& change) {
    expect_wrong(Type::kRecovered, From::kMember, 0, member(0, 0, 0, 0), "", field, change);
  };
  recovered("member", [](MemberInfo& m) { m.member = 0; });
  recovered("pid", [](MemberInfo& m) { m.pid = 1; });
  recovered("recover", [](MemberInfo& m) { m.recover = 1; });
  recovered("segment_size", [](MemberInfo& m) { m.segment_size = 1; });

  auto spawn = [](const char* field, const std::function<void(Spawn&)>& change) {
    expect_wrong(Type::kSpawn, From::kDaemonToSpawn, 5, good_spawn(), std::string(8, '\1') + kArgv + kEnvironment, field,
                 change);
  };
  spawn("ticket", [](Spawn& s) { s.ticket = 0; });
  spawn("uid", [](Spawn& s) { s.uid = UINT32_MAX; });
  spawn("cpu_count", [](Spawn& s) { s.cpu_count = 1; });
  spawn("group_count", [](Spawn& s) { s.group_count = UINT32_MAX; });
  spawn("size", [](Spawn& s) { s.group_count = 1; });

  expect_wrong<Reply>(Type::kReply, From::kDaemon, 0, Reply{1, 2}, "{}", "more", [](Reply& r) { r.more = 2; });
  expect_wrong<Kill>(Type::kKill, From::kDaemonToSpawn, 0, Kill{3, 9, 0}, "", "signal", [](Kill& k) { k.signal = 0; });
  expect_wrong<Weigh>(Type::kWeigh, From::kDaemonToSpawn, 0, Weigh{3, 4, 0}, "", "nice", [](Weigh& w) { w.nice = kNiceMax + 1; });
  expect_wrong<Weigh>(Type::kWeigh, From::kDaemonToSpawn, 0, Weigh{3, 4, 0}, "", "ticket", [](Weigh& w) { w.ticket = 0; });
  expect_wrong<Refused>(Type::kRefused, From::kDaemon, 0, refusal<Refused>(), "", "code",
                        [](Refused& r) { r.code = 1; });
  expect_wrong<Broken>(Type::kSessionBroken, From::kDaemon, 0, refusal<Broken>(), "", "text",
                       [](Broken& b) { memset(b.text, 'x', sizeof b.text); });
  expect_wrong<Exited>(Type::kExited, From::kSpawn, 0, Exited{3, 4, 9, 0, 0}, "", "stopped",
                       [](Exited& e) { e.stopped = 1; });
  expect_wrong<Welcome>(Type::kWelcome, From::kDaemon, 2, good_welcome(), "", "board_size",
                        [](Welcome& w) { w.board_size = 0; });
}

TEST(Packet, TailsThatDoNotFitAreNotAppended) {
  Buffer<sizeof(Header) + sizeof(SlabId) + 4> buffer;
  Builder message(buffer.bytes, Type::kSlabDrop, 1);
  message.body<SlabId>();
  EXPECT_TRUE(message.append("abc", 3));
  EXPECT_FALSE(message.append("de", 2));
  EXPECT_TRUE(message.append("d", 1));
  EXPECT_EQ(message.finish().size(), sizeof(Header) + sizeof(SlabId) + 4);
}

TEST(Packet, TextsAreCutInsideTheirField) {
  char field[4];
  set_text(field, "abcdef");
  EXPECT_STREQ(field, "abc");
  set_text(field, "");
  EXPECT_EQ(std::string(field, 4), std::string(4, '\0'));
}

TEST(Packet, WalksOverStringsAndStopsAtOneWithoutEnd) {
  std::string text("a\0\0bc\0d", 7);
  StringWalk walk(std::as_bytes(std::span(text)));
  std::vector<std::string> seen;
  for (std::string_view each; walk.next(each);) seen.emplace_back(each);
  EXPECT_EQ(seen, (std::vector<std::string>{"a", "", "bc"}));
}

}  // namespace
}  // namespace tarn::wire
