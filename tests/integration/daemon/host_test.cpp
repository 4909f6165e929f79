// A host has one tarnd for everybody. What one client or one user does must not be felt by another, and
// the daemon must outlive them all, its spawn service too. Here real clients of several users come and
// go, politely and by SIGKILL.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "base/error.hpp"
#include "fake_client.hpp"
#include "host.hpp"
#include "os/clock.hpp"
#include "os/closer.hpp"
#include "os/socket.hpp"
#include "shm/member_segment.hpp"
#include "store/object_record.hpp"
#include "support/lingering_socket.hpp"
#include "tarn/tarn.h"

namespace tarn::testing {
namespace {

using wire::Type;

constexpr uid_t kNobody = 65534;

uid_t owner_of(pid_t pid) {
  struct stat status {};
  stat(("/proc/" + std::to_string(pid)).c_str(), &status);
  return status.st_uid;
}

TEST(Host, ServesManySessionsAtOnceAndEndsInOrder) {
  Host host;
  host.start_daemon();  // no spawn service answers, so it brings one along
  std::vector<std::unique_ptr<FakeClient>> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<FakeClient>(host.socket_path()));
    clients.back()->open(host.options());
    EXPECT_EQ(clients.back()->welcome().is_private, 0u);
    EXPECT_EQ(clients.back()->request_slab(1 << 20, 3).type, Type::kSlabGranted);
  }
  std::vector<pid_t> workers;
  for (auto& client : clients)
    for (auto& worker : client->workers()) workers.push_back(worker.pid);
  EXPECT_EQ(workers.size(), 40u);
  // One says goodbye, one just closes. Expect: theirs go, the others serve on.
  clients[0]->close();
  clients[1]->hang_up();
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(eventually([&] { return !process_exists(workers[i]); }));
  EXPECT_EQ(clients[2]->request_slab(1 << 20, 4).type, Type::kSlabGranted);
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
  for (pid_t worker : workers) EXPECT_FALSE(process_exists(worker));
  for (size_t i = 2; i < clients.size(); ++i) EXPECT_TRUE(clients[i]->wait_for_end());
  EXPECT_FALSE(std::filesystem::exists(host.socket_path()));
}

// A worker that goes with the spawn service before it has begun to serve says nothing about the program. A storm that killed the
// service often enough had tarnd give up a session.
TEST(Host, ASpawnServiceThatDiesAgainAndAgainBreaksNoSession) {
  Host host;
  host.start_service();
  host.start_daemon();
  FakeClient client(host.socket_path());
  client.say_hello(host.options({"asleep"}));
  ASSERT_FALSE(client.expect(Type::kWelcome).body.empty());
  for (int i = 0; i < 7; ++i) {
    usleep(300'000);  // tarnd finds the service, and that starts a worker
    EXPECT_EQ(host.stop_service(SIGKILL), 128 + SIGKILL);
    host.start_service();
  }
  usleep(300'000);
  while (std::optional<Message> message = client.next(200'000'000)) EXPECT_NE(message->type, Type::kSessionBroken);
  client.hang_up();
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

// One that cannot start says why and fails, also by way of the tarn-spawn that it brings along. Many times, because both
// ends of it end at the same moment.
TEST(Host, FailsAloudWhenItCannotStart) {
  Host host;
  host.start_daemon();
  std::string elsewhere = host.file("elsewhere.toml");
  std::ofstream(elsewhere) << "[daemon]\nsocket = \"" << host.file("missing/tarnd.sock") << "\"\nspawn_socket = \""
                           << host.file("none.sock") << "\"\n";
  std::string second = host.file("second.toml");
  std::ofstream(second) << "[daemon]\nsocket = \"" << host.socket_path() << "\"\nspawn_socket = \""
                        << host.file("none.sock") << "\"\n";
  for (int i = 0; i < 10; ++i) {
    for (const std::string& configuration : {elsewhere, second}) {
      std::string command = std::string(getenv("TARN_TEST_TARND")) + " --config " + configuration + " 2>&1";
      FILE* output = popen(command.c_str(), "r");
      char text[512] = "";
      size_t size = fread(text, 1, sizeof text - 1, output);
      int status = pclose(output);
      EXPECT_EQ(WEXITSTATUS(status), 1) << text;
      std::string_view expected = configuration == second ? "listens" : "missing/tarnd.sock";
      EXPECT_NE(std::string_view(text, size).find(expected), std::string_view::npos) << text;
    }
  }
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

// Few descriptors are enough for a small session; where they are not, the error has the numbers.
TEST(Host, ServesWithFewDescriptorsOrNamesTheLimit) {
  for (rlim_t most : {rlim_t{48}, rlim_t{47}}) {
    int output[2];
    ASSERT_EQ(pipe2(output, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
      dup2(output[1], STDERR_FILENO);
      rlimit limit{most, most};
      if (setrlimit(RLIMIT_NOFILE, &limit) < 0) _exit(1);
      FakeClient client;
      FakeClient::Options options;
      options.worker = worker_path();
      options.workers = 1;
      client.say_hello(options);
      auto answer = client.next();
      bool is_welcome = answer && answer->type == Type::kWelcome;
      bool has_worker = is_welcome && client.expect(Type::kMemberAdded).type == Type::kMemberAdded;
      _exit(has_worker ? 0 : 2);
    }
    ::close(output[1]);
    std::string text;
    char piece[256];
    for (ssize_t size; (size = read(output[0], piece, sizeof piece)) > 0;) text.append(piece, static_cast<size_t>(size));
    ::close(output[0]);
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), most == 48 ? 0 : 2) << text;
    const char* expected = most == 48 ? "" : "only 47 descriptors may be open here, and 48 are needed";
    EXPECT_NE(text.find(expected), std::string::npos) << text;
  }
}

TEST(Host, WorkersRunAsTheirClientsUser) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to be several users";
  Host host;
  host.start_service();
  host.start_daemon();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  FakeClient mine(host.socket_path());
  mine.open(host.options({"check"}));
  pid_t child = fork();
  if (child == 0) {
    if (setgid(kNobody) < 0 || setuid(kNobody) < 0) _exit(1);
    FakeClient theirs(host.socket_path());
    theirs.open(host.options({"check"}));
    pid_t pid = theirs.workers().empty() ? -1 : theirs.workers()[0].pid;
    if (write(ends[1], &pid, sizeof pid) != sizeof pid) _exit(1);
    for (;;) pause();
  }
  pid_t worker = -1;
  ASSERT_EQ(read(ends[0], &worker, sizeof worker), static_cast<ssize_t>(sizeof worker));
  ASSERT_GT(worker, 0);
  EXPECT_EQ(owner_of(worker), kNobody);
  EXPECT_EQ(owner_of(mine.workers()[0].pid), 0u);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(eventually([&] { return !process_exists(worker); }));
  // The other user's session never noticed.
  EXPECT_EQ(mine.request_slab(1 << 20, 3).type, Type::kSlabGranted);
  mine.close();
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
  EXPECT_EQ(host.stop_service(SIGTERM), 0);
}

// More groups than a packet takes. Expect: the first of them, not none.
TEST(Host, WorkersHaveTheFirstOfVeryManyGroups) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to be several users";
  Host host;
  host.start_service();
  host.start_daemon();
  pid_t child = fork();
  if (child == 0) {
    std::vector<gid_t> groups;
    for (gid_t group = 0; group < 1500; ++group) groups.push_back(20'000 + group);
    if (setgroups(groups.size(), groups.data()) < 0 || setgid(kNobody) < 0 || setuid(kNobody) < 0) _exit(1);
    FakeClient client(host.socket_path());
    client.open(host.options());
    if (client.workers().empty()) _exit(2);
    std::ifstream status("/proc/" + std::to_string(client.workers()[0].pid) + "/status");
    std::string text((std::istreambuf_iterator<char>(status)), {});
    bool has_first = text.find(" 21023 ") != std::string::npos || text.find("\t20000 ") != std::string::npos;
    bool has_others = text.find(" 21024 ") != std::string::npos;
    _exit(!has_first ? 3 : has_others ? 4 : 0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
  EXPECT_EQ(host.stop_service(SIGTERM), 0);
}

TEST(Host, RefusesSessionsAndMemoryBeyondAUsersQuota) {
  Host host("[memory]\nlimit = \"64MiB\"\nper_client = \"16MiB\"\n[limits]\nsessions_per_tenant = 2\n");
  host.start_daemon();
  FakeClient first(host.socket_path());
  first.open(host.options());
  EXPECT_EQ(first.request_slab(10 << 20, 1).type, Type::kSlabGranted);
  Message refused = first.request_slab(10 << 20, 2);
  ASSERT_EQ(refused.type, Type::kSlabRefused);
  EXPECT_EQ(refused.as<wire::SlabRefused>().code, TARN_E_QUOTA) << refused.as<wire::SlabRefused>().text;
  EXPECT_NE(std::string_view(refused.as<wire::SlabRefused>().text).find("most is held by the client 1"), std::string_view::npos)
      << refused.as<wire::SlabRefused>().text;
  FakeClient second(host.socket_path());
  second.open(host.options());
  EXPECT_EQ(second.request_slab(10 << 20, 1).type, Type::kSlabGranted);
  FakeClient third(host.socket_path());
  third.say_hello(host.options());
  EXPECT_EQ(third.expect(Type::kRefused).as<wire::Refused>().code, TARN_E_QUOTA);
  // A session that ends makes room.
  second.close();
  FakeClient fourth(host.socket_path());
  fourth.open(host.options());
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

// A user is told which sessions of his fill the host, and of others only how much they have.
TEST(Host, SaysWhoHoldsTheMemory) {
  Host host("[memory]\nlimit = \"64MiB\"\n");
  host.start_daemon();
  FakeClient first(host.socket_path());
  first.open(host.options());
  ASSERT_EQ(first.request_slab(40 << 20, 1).type, Type::kSlabGranted);
  FakeClient second(host.socket_path());
  second.open(host.options());
  Message refused = second.request_slab(40 << 20, 1);
  ASSERT_EQ(refused.type, Type::kSlabRefused);
  std::string text = refused.as<wire::SlabRefused>().text;
  EXPECT_NE(text.find("most is held by session 1 ("), std::string::npos) << text;
  EXPECT_EQ(text.find("other users"), std::string::npos) << text;
  first.close();
  second.close();
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

TEST(Host, OutlivesItsSpawnServiceAndUsesTheNextOne) {
  Host host;
  host.start_service();
  host.start_daemon();
  FakeClient client(host.socket_path());
  client.open(host.options());
  host.stop_service(SIGKILL);
  for (auto& worker : client.workers()) EXPECT_TRUE(eventually([&] { return !process_exists(worker.pid); }));
  client.expect(Type::kMemberDied);
  host.start_service();
  // The session's workers come back, by themselves.
  client.expect(Type::kMemberAdded);
  client.expect(Type::kMemberAdded);
  EXPECT_TRUE(eventually([&] {
    FakeClient another(host.socket_path());
    another.say_hello(host.options());
    auto answer = another.next();
    return answer && answer->type == Type::kWelcome;
  }));
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
  EXPECT_EQ(host.stop_service(SIGTERM), 0);
}

TEST(Host, ItsKillEndsAllWorkers) {
  Host host;
  host.start_service();
  host.start_daemon();
  FakeClient client(host.socket_path());
  client.open(host.options({"child"}));
  host.stop_daemon(SIGKILL);
  EXPECT_TRUE(client.wait_for_end());
  for (auto& worker : client.workers()) EXPECT_TRUE(eventually([&] { return !process_exists(worker.pid); }));
  // The socket file that it left is in nobody's way.
  host.start_daemon();
  FakeClient again(host.socket_path());
  again.open(host.options());
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
  EXPECT_EQ(host.stop_service(SIGTERM), 0);
}

TEST(Host, TellsTheServiceManagerWhenItIsReadyAndWhenItStops) {
  Host host;
  Fd manager{socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string path = host.file("notify");
  memcpy(address.sun_path, path.data(), path.size());
  ASSERT_EQ(bind(manager.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  setenv("NOTIFY_SOCKET", path.c_str(), 1);
  setenv("WATCHDOG_USEC", "20000", 1);
  host.start_daemon();
  std::string told;
  auto hears = [&](const char* state) {
    return eventually([&] {
      char text[256];
      ssize_t size = recv(manager.get(), text, sizeof text, MSG_DONTWAIT);
      if (size > 0) told += std::string(text, static_cast<size_t>(size)) + ";";
      return told.find(state) != std::string::npos;
    });
  };
  EXPECT_TRUE(hears("READY=1")) << told;
  told.clear();
  EXPECT_TRUE(hears("WATCHDOG=1")) << told;
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
  EXPECT_TRUE(hears("STOPPING=1")) << told;
  unsetenv("NOTIFY_SOCKET");
  unsetenv("WATCHDOG_USEC");
}

TEST(Host, TurnsAwayConnectionsThatNeverSayHello) {
  Host host;
  host.start_daemon();
  // As many silent connections as it takes, and one more.
  std::vector<Fd> silent(300);
  for (Fd& socket : silent) ASSERT_EQ(os::socket_connect(host.socket_path(), socket), 0) << last_error();
  EXPECT_TRUE(eventually([&] {
    pollfd entry{silent.back().get(), POLLIN, 0};
    return poll(&entry, 1, 0) > 0;
  }));
  silent.clear();
  EXPECT_TRUE(eventually([&] {
    FakeClient client(host.socket_path());
    client.say_hello(host.options());
    auto answer = client.next();
    return answer && answer->type == Type::kWelcome;
  }));
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

TEST(Host, WaitsForNobodysDescriptorsToClose) {
  Host host;
  host.start_daemon();
  Fd peers[4];
  os::Closer closer;  // this process may be the last to close one, too
  ASSERT_EQ(closer.start(), 0);
  {
    // Received and kept; received and refused; received with garbage; most likely never received.
    Fd kept = tarn::test::lingering_socket(peers[0]);
    FakeClient evil(host.socket_path());
    auto options = host.options();
    options.workers = 0;
    options.flags = TARN_INIT_NO_WORKERS;
    options.standard_output = kept.get();
    evil.say_hello(options);
    evil.expect(Type::kWelcome);
    closer.close(0, std::move(kept));
    Fd refused = tarn::test::lingering_socket(peers[1]);
    evil.send(Type::kFileShare, 5, wire::SlabInfo{0, 0, 1, -1, 1}, {refused.get()});
    closer.close(0, std::move(refused));
    evil.expect(Type::kSlabRefused);
    for (Fd& peer : {std::ref(peers[2]), std::ref(peers[3])}) {
      std::byte garbage[40]{};
      Fd late = tarn::test::lingering_socket(peer);
      evil.send_raw(garbage, {late.get()});
      closer.close(0, std::move(late));
    }
  }
  for (int i = 0; i < 3; ++i) {
    int64_t begin = os::now_ns();
    FakeClient victim(host.socket_path());
    victim.open(host.options());
    EXPECT_LT(os::now_ns() - begin, 5'000'000'000);
    victim.close();
  }
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

TEST(Host, MemoryThatWasDroppedIsThereForTheNextRequest) {
  Host host("[memory]\nlimit = \"256MiB\"\nper_client = \"96MiB\"\n");
  host.start_daemon();
  FakeClient client(host.socket_path());
  client.open(host.options());
  for (uint32_t i = 1; i <= 20; ++i) {
    Message granted = client.request_slab(60 << 20, i);
    ASSERT_EQ(granted.type, Type::kSlabGranted) << i;
    auto info = granted.as<wire::SlabInfo>();
    client.send(Type::kSlabDrop, 0, wire::SlabId{info.member, info.slab});
  }
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

// What tarnd answers to `what`, as JSON.
std::string query(const Host& host, const char* what) {
  Fd socket;
  EXPECT_EQ(os::socket_connect(host.socket_path(), socket), 0) << last_error();
  static wire::Buffer<wire::kMessageSizeMax> buffer;
  wire::Builder hello(buffer.bytes, Type::kHello, 1);
  auto& body = hello.body<wire::Hello>();
  body.role = static_cast<uint32_t>(wire::Role::kTool);
  body.pid = getpid();
  EXPECT_EQ(os::socket_send(socket, hello.finish(), {}, os::kForever), 0);
  wire::Builder query(buffer.bytes, Type::kQuery, 2);
  wire::set_text(query.body<wire::Query>().what, what);
  EXPECT_EQ(os::socket_send(socket, query.finish(), {}, os::kForever), 0);
  os::Received received;
  wire::Packet packet;
  EXPECT_EQ(os::socket_receive(socket, buffer.bytes, received, os::deadline_after(kPatience)), 0);
  EXPECT_EQ(wire::parse({buffer.bytes, received.size}, 0, wire::From::kDaemon, packet), 0) << last_error();
  return {reinterpret_cast<const char*>(packet.tail.data()), packet.tail.size()};
}

// A client writes records of objects that are larger than all there is, in its slab and in one that it does not have, that
// tarnd would hold and that were used in a time to come. Expect: the tools believe what the slab holds, once, and no more.
TEST(Host, ToolsBelieveNoMoreThanSlabsHold) {
  Host host("[memory]\nlimit = \"64MiB\"\n");
  host.start_daemon();
  FakeClient::Options options = host.options();
  options.workers = 0;
  options.flags = TARN_INIT_NO_WORKERS;
  FakeClient client(host.socket_path());
  client.open(options);
  auto slab = client.request_slab(1 << 20, 1).as<wire::SlabInfo>();
  client.send(Type::kGrow, 2, wire::Grow{0, 1000, 0, 0});
  ASSERT_GE(client.expect(Type::kGrown).as<wire::Grow>().objects, 4u);
  constexpr uint32_t kCount = 4;
  uint64_t records[kCount][shm::kRecordSize / 8] = {};
  for (uint32_t i = 0; i < kCount; ++i) {
    records[i][0] = store::ObjectState{1, store::Phase::kSealed, 0}.pack();
    records[i][1] = 0b10 | store::kDaemonHolder;
    records[i][2] = 0b10 | store::kAway;
    records[i][3] = UINT32_MAX;  // used_at
    records[i][5] = store::ObjectPlace{i < 3 ? slab.slab : slab.slab + 7, false, 0}.pack();
    records[i][6] = i == 0 ? UINT64_MAX : uint64_t{1} << 40;
  }
  int segment = client.segment_file().get();
  ASSERT_EQ(pwrite(segment, records, sizeof records, offsetof(shm::MemberSegment, object_records)),
            static_cast<ssize_t>(sizeof records));
  ASSERT_EQ(pwrite(segment, &kCount, sizeof kCount, offsetof(shm::MemberSegment, objects_used)),
            static_cast<ssize_t>(sizeof kCount));
  std::string objects = query(host, "objects");
  EXPECT_NE(objects.find("\"count\":4,\"bytes\":1048576,"), std::string::npos) << objects;
  EXPECT_NE(objects.find("\"size\":1048576,\"where\":\"memory\",\"holders\":[1],\"held_by\":[\"client\"],"
                         "\"pinned_by\":[\"client\"],\"unused_s\":null,"), std::string::npos) << objects;
  EXPECT_NE(objects.find("\"size\":0,\"where\":null,"), std::string::npos) << objects;
  std::string memory = query(host, "memory");
  EXPECT_NE(memory.find("\"bytes\":1048576,\"pinned\":1048576,\"small\":0,\"objects_on_disk\":0,\"on_disk\":0"), std::string::npos) << memory;
  client.hang_up();
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

void request_and_wait(FakeClient& client, uint64_t size, uint32_t serial) {
  client.send(Type::kSlabRequest, serial, wire::SlabRequest{size, -1, 1});
}

// Returns once tarnd has handled what `client` sent before.
void settle(FakeClient& client) {
  client.send(Type::kGrow, 1000, wire::Grow{});
  client.expect(Type::kGrown);
}

// False if this process was too slow for requests to wait for it.
bool a_large_request_gets_what_comes_back() {
  Host host("[memory]\nlimit = \"64MiB\"\n");
  host.start_daemon();
  FakeClient::Options options = host.options();
  options.workers = 0;
  options.flags = TARN_INIT_NO_WORKERS;
  FakeClient large(host.socket_path());
  FakeClient small(host.socket_path());
  large.open(options);
  small.open(options);
  wire::SlabId halves[2];
  for (uint32_t i = 0; i < 2; ++i) {
    auto info = large.request_slab(16 << 20, i + 1).as<wire::SlabInfo>();
    halves[i] = {info.member, info.slab};
  }
  // The other fills the rest.
  while (small.request_slab(1 << 20, 1).type == Type::kSlabGranted) continue;

  int64_t begin = os::now_ns();
  request_and_wait(large, 32 << 20, 10);
  settle(large);
  for (uint32_t serial = 20; serial < 23; ++serial) request_and_wait(small, 1 << 20, serial);
  settle(small);
  std::string memory = query(host, "memory");
  large.send(Type::kSlabDrop, 0, halves[0]);
  settle(large);
  // More than the small ones ask for is free now, or is in a moment: this is one that does not wait for long.
  Message late = small.request_slab(1 << 20, 23);
  large.send(Type::kSlabDrop, 0, halves[1]);
  settle(large);
  bool in_time = os::now_ns() - begin < 150'000'000;
  if (in_time) {
    EXPECT_NE(memory.find("\"waiting\":{\"requests\":4,\"bytes\":36700160,\"oldest_s\":0."), std::string::npos) << memory;
    EXPECT_NE(memory.find("\"waiting\":33554432"), std::string::npos) << memory;
    EXPECT_NE(memory.find("\"waiting\":3145728"), std::string::npos) << memory;
    EXPECT_EQ(late.type, Type::kSlabRefused);
    auto of = [](uint32_t serial) { return [serial](const Message& m) { return m.serial == serial; }; };
    EXPECT_EQ(large.expect(Type::kSlabGranted, of(10)).as<wire::SlabInfo>().size, 32u << 20);
    for (uint32_t serial = 20; serial < 23; ++serial) {
      auto refused = small.expect(Type::kSlabRefused, of(serial)).as<wire::SlabRefused>();
      EXPECT_EQ(refused.code, TARN_E_STORE_FULL);
      std::string text = refused.text;
      EXPECT_NE(text.find("it has waited for 0."), std::string::npos) << text;
      EXPECT_NE(text.find("most is held by session 1 ("), std::string::npos) << text;
    }
  }
  large.close();
  small.close();
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
  return in_time;
}

// Two sessions of one user fill the host. One asks for all that it has itself, which it gives back bit by bit, the other
// meanwhile for little, again and again. Expect: they queue; the large request is granted, the small ones, for which there
// was room before, are refused when their time has passed, with the names of those who hold most.
TEST(Host, SmallRequestsDoNotTakeWhatALargeOneWaitsFor) {
  for (int i = 0; i < 10; ++i)
    if (a_large_request_gets_what_comes_back()) return;
  GTEST_SKIP() << "this machine is too slow";
}

// Orders to the spawn service are as large as their users like. Expect: many at once do not end it for everybody.
TEST(Host, SurvivesManyLargeEnvironmentsAtOnce) {
  Host host;
  host.start_service();
  host.start_daemon();
  FakeClient victim(host.socket_path());
  victim.open(host.options());
  auto options = host.options();
  options.environment.push_back("LARGE=" + std::string(115'000, 'x'));
  std::vector<std::unique_ptr<FakeClient>> clients;
  host.signal_service(SIGSTOP);  // it is slow
  for (int i = 0; i < 40; ++i) {
    clients.push_back(std::make_unique<FakeClient>(host.socket_path()));
    clients.back()->say_hello(options);
  }
  for (auto& client : clients) client->expect(Type::kWelcome);
  host.signal_service(SIGCONT);
  for (auto& client : clients) {
    for (int worker = 0; worker < 2; ++worker) client->expect(Type::kMemberAdded);
  }
  for (auto& client : clients) client->close();
  for (const auto& worker : victim.workers()) EXPECT_TRUE(process_exists(worker.pid));
  victim.close();
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

// A client leaves while its memory is being prepared, in pieces on a thread of tarnd's.
TEST(Host, MemoryThatNobodyWaitsForAnyMoreIsThereForTheNextClient) {
  Host host("[memory]\nlimit = \"256MiB\"\n");
  host.start_daemon();
  for (int i = 0; i < 10; ++i) {
    FakeClient leaves(host.socket_path());
    leaves.open(host.options());
    leaves.send(Type::kSlabRequest, 1, wire::SlabRequest{200 << 20, -1, 0});
    leaves.close();
    FakeClient comes(host.socket_path());
    comes.open(host.options());
    ASSERT_EQ(comes.request_slab(200 << 20, 1).type, Type::kSlabGranted) << i;
    comes.close();
  }
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

// The records of a worker are paid by its session. Expect: where that is full, others are asked for what they keep, and if
// that does not help, the error is that it is full.
TEST(Host, AWorkerForWhoseRecordsThereIsNoRoom) {
  Host host("[memory]\nlimit = \"256MiB\"\nper_client = \"32MiB\"\n");
  host.start_daemon();
  for (bool gives : {true, false}) {
    FakeClient client(host.socket_path());
    auto options = host.options();
    options.workers = 1;
    client.open(options);
    uint32_t serial = 100;
    Message first = client.request_slab(2 << 20, ++serial);
    ASSERT_EQ(first.type, Type::kSlabGranted);
    for (uint64_t size : {uint64_t{1} << 20, uint64_t{4096}})
      while (client.request_slab(size, ++serial).type == Type::kSlabGranted) {
      }
    ASSERT_EQ(kill(client.workers()[0].pid, SIGKILL), 0);
    client.expect(Type::kReclaim);
    if (gives) {
      client.send(Type::kSlabDrop, 0, wire::SlabId{1, first.as<wire::SlabInfo>().slab});
      client.expect(Type::kMemberAdded);
    } else {
      auto broken = client.expect(Type::kSessionBroken).as<wire::Broken>();
      EXPECT_EQ(broken.code, TARN_E_QUOTA);
      EXPECT_NE(std::string_view(broken.text).find("no room for its records"), std::string_view::npos) << broken.text;
      client.send(Type::kSlabDrop, 0, wire::SlabId{1, first.as<wire::SlabInfo>().slab});
      client.expect(Type::kMemberAdded);
      EXPECT_EQ(client.expect(Type::kSessionBroken).as<wire::Broken>().code, 0);  // not any more
    }
    client.close();
  }
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

}  // namespace
}  // namespace tarn::testing
