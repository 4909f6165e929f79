// A tarnd that a service manager starts again, and what it says to a client that speaks the protocol by hand: in which order, what it
// believes of a client that does not answer, and what becomes of a session of which something was not kept.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>
#include <type_traits>

#include "host.hpp"
#include "os/clock.hpp"
#include "support/processes.hpp"
#include "tarn/tarn.h"

namespace tarn::testing {
namespace {

using wire::Type;

class Resume : public ::testing::Test {
 protected:
  void SetUp() override {
    host_.start_service();
    host_.start_daemon(manager_);
  }
  void TearDown() override { EXPECT_EQ(host_.stop_daemon(SIGTERM), 0); }

  void restart() {
    EXPECT_EQ(host_.stop_daemon(SIGKILL), 128 + SIGKILL);
    host_.start_daemon(manager_);
  }

  static void acknowledge(FakeClient& client, uint32_t serial) {
    wire::Buffer<sizeof(wire::Header)> buffer;
    wire::Builder message(buffer.bytes, Type::kResumed, serial);
    client.send(message);
  }

  // What the next tarnd says, from RESUME to CURRENT.
  static std::vector<Message> hear(FakeClient& client) {
    std::vector<Message> heard;
    heard.push_back(client.expect(Type::kResume));
    while (auto message = client.next()) {
      bool is_last = message->type == Type::kCurrent;
      heard.push_back(std::move(*message));
      if (is_last) return heard;
    }
    ADD_FAILURE() << "the connection ended before CURRENT";
    return heard;
  }

  static size_t count(const std::vector<Message>& heard, Type type) {
    size_t n = 0;
    for (const Message& message : heard) n += message.type == type ? 1 : 0;
    return n;
  }

  Manager manager_;
  Host host_;
};

TEST_F(Resume, WhatThereIsIsToldAgainAndTheWorkersStay) {
  FakeClient client(host_.socket_path());
  client.open(host_.options());
  Message granted = client.request_slab(1 << 20, 3);
  ASSERT_EQ(granted.type, Type::kSlabGranted);
  // As if it were killed between the board and its book.
  client.board().members.set_there(200, true);
  client.board().members.set_there(client.workers()[0].member, false);
  restart();
  std::vector<Message> heard = hear(client);
  EXPECT_FALSE(client.board().members.is_there(200));
  EXPECT_TRUE(client.board().members.is_there(client.workers()[0].member));
  EXPECT_NE(heard.front().as<wire::Resume>().daemon_pid, client.daemon_pid());
  EXPECT_EQ(count(heard, Type::kMemberAdded), 2u);
  EXPECT_EQ(count(heard, Type::kMemberDied), 0u);
  ASSERT_EQ(count(heard, Type::kSlabGranted), 1u);
  for (const Message& message : heard) {
    if (message.type == Type::kSlabGranted) {
      EXPECT_EQ(message.as<wire::SlabInfo>().slab, granted.as<wire::SlabInfo>().slab);
    }
    if (message.type != Type::kMemberAdded) continue;
    auto info = message.as<wire::MemberInfo>();
    bool is_one_of_them = false;
    for (auto& worker : client.workers()) is_one_of_them = is_one_of_them || (worker.member == info.member && worker.pid == info.pid);
    EXPECT_TRUE(is_one_of_them) << info.pid;
  }
  for (auto& worker : client.workers()) EXPECT_TRUE(process_exists(worker.pid));
  acknowledge(client, heard.front().serial);
  EXPECT_EQ(client.request_slab(1 << 20, 4).type, Type::kSlabGranted);
  client.close();
  for (auto& worker : client.workers()) EXPECT_TRUE(eventually([&] { return !process_exists(worker.pid); }));
  EXPECT_TRUE(eventually([&] { return manager_.names().size() == 3; })) << "the host's book, the listener, the link";
}

TEST_F(Resume, WhatIsSaidBeforeTheAnswerToResumeDoesNotCount) {
  FakeClient client(host_.socket_path());
  client.open(host_.options());
  restart();
  std::vector<Message> heard = hear(client);
  uint32_t serial = heard.front().serial;
  acknowledge(client, serial + 2);  // to some other tarnd
  client.send(Type::kGrow, 7, wire::Grow{8192, 4096, 16384, 0});
  client.send(Type::kGrow, 8, wire::Grow{8192, 4096, 16384, 0});  // two at once would be an error
  acknowledge(client, serial);
  acknowledge(client, serial);
  client.send(Type::kGrow, 9, wire::Grow{8192, 4096, 16384, 0});
  EXPECT_EQ(client.expect(Type::kGrown).serial, 9u);
  client.close();
}

TEST_F(Resume, ASlabThatItsOwnerDoesNotKnowIsDroppedByHim) {
  FakeClient client(host_.socket_path());
  client.open(host_.options({}));
  client.send(Type::kSlabRequest, 5, wire::SlabRequest{1 << 20, -1, wire::kSlabNow});
  // Granted, perhaps, and not heard of.
  EXPECT_TRUE(eventually([&] {
    auto names = manager_.names();
    return std::ranges::any_of(names, [](const std::string& name) { return name.ends_with(".1.0"); });
  }));
  restart();
  std::vector<Message> heard = hear(client);
  acknowledge(client, heard.front().serial);
  client.send(Type::kSlabDrop, 0, wire::SlabId{1, 0});
  EXPECT_TRUE(eventually([&] {
    auto names = manager_.names();
    return std::ranges::none_of(names, [](const std::string& name) { return name.ends_with(".1.0"); });
  }));
  client.close();
}

TEST_F(Resume, AWorkerThatDiedMeanwhileIsReplaced) {
  FakeClient client(host_.socket_path());
  client.open(host_.options());
  EXPECT_EQ(host_.stop_daemon(SIGKILL), 128 + SIGKILL);
  wire::MemberInfo victim = client.workers()[0];
  kill(victim.pid, SIGKILL);
  host_.start_daemon(manager_);
  std::vector<Message> heard = hear(client);
  acknowledge(client, heard.front().serial);
  Message died = client.expect(Type::kMemberDied);
  EXPECT_EQ(died.as<wire::MemberInfo>().member, victim.member);
  EXPECT_EQ(died.as<wire::MemberInfo>().signal, SIGKILL);
  Message added = client.expect(Type::kMemberAdded);
  EXPECT_NE(added.as<wire::MemberInfo>().pid, victim.pid);
  client.close();
}

TEST_F(Resume, ASessionOfWhichSomethingWasNotKeptEndsAndNoOther) {
  for (const char* lost : {".b", ".1s", ".2g", ".1.0", ".x", ""}) {
    FakeClient other(host_.socket_path());
    other.open(host_.options());
    FakeClient client(host_.socket_path());
    client.open(host_.options());
    ASSERT_EQ(client.request_slab(1 << 20, 3).type, Type::kSlabGranted);
    std::string session = "k." + std::to_string(client.welcome().session);
    EXPECT_EQ(host_.stop_daemon(SIGKILL), 128 + SIGKILL);
    usleep(50'000);
    std::string user = std::string(lost) == ".x" ? "@" + std::to_string(getuid()) : "";
    EXPECT_EQ(manager_.lose(session + lost + user), 1u) << lost;
    host_.start_daemon(manager_);
    EXPECT_TRUE(client.wait_for_end()) << lost;
    for (auto& worker : client.workers()) EXPECT_TRUE(eventually([&] { return !process_exists(worker.pid); })) << lost;
    std::vector<Message> heard = hear(other);
    acknowledge(other, heard.front().serial);
    EXPECT_EQ(other.request_slab(1 << 20, 4).type, Type::kSlabGranted);
    other.close();
    EXPECT_TRUE(eventually([&] { return manager_.names().size() == 3; })) << lost;
  }
}

// There is room for the first session, and not for a slab of the second.
TEST(ResumeLimits, ASessionForWhichThereIsNoRoomEndsWithItsDaemon) {
  Manager manager(22);
  Host host;
  host.start_service();
  host.start_daemon(manager);
  FakeClient first(host.socket_path());
  FakeClient::Options one = host.options();
  one.workers = 1;
  first.open(one);
  FakeClient second(host.socket_path());
  second.open(one);
  EXPECT_EQ(second.request_slab(1 << 20, 3).type, Type::kSlabGranted) << "it is served all the same";
  EXPECT_EQ(host.stop_daemon(SIGKILL), 128 + SIGKILL);
  host.start_daemon(manager);
  EXPECT_TRUE(second.wait_for_end());
  EXPECT_EQ(first.expect(Type::kResume).type, Type::kResume);
  first.close();
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

TEST(ResumeLimits, SlotsThatAreNoMoreEndTheSession) {
  Manager manager;
  Host host;
  host.start_service();
  host.start_daemon(manager);
  FakeClient client(host.socket_path());
  client.open(host.options());
  ASSERT_EQ(client.workers().size(), 2u);
  EXPECT_EQ(host.stop_daemon(SIGKILL), 128 + SIGKILL);
  host.configure("[slots]\ncpus = [\"0\"]\n");
  host.start_daemon(manager);
  EXPECT_TRUE(client.wait_for_end());
  for (auto& worker : client.workers()) EXPECT_TRUE(eventually([&] { return !process_exists(worker.pid); }));
  EXPECT_EQ(host.stop_daemon(SIGTERM), 0);
}

TEST_F(Resume, ASpawnServiceThatComesBackIsUsedByTheNextOne) {
  FakeClient client(host_.socket_path());
  client.open(host_.options());
  restart();
  std::vector<Message> heard = hear(client);
  acknowledge(client, heard.front().serial);
  EXPECT_EQ(host_.stop_service(SIGKILL), 128 + SIGKILL);
  host_.start_service();
  for (int i = 0; i < 2; ++i) client.expect(Type::kMemberAdded);
  restart();
  heard = hear(client);
  EXPECT_GE(count(heard, Type::kMemberAdded), 2u);
  acknowledge(client, heard.front().serial);
  client.close();
}

// The test itself is the service that starts processes: it says so late, and the worker has died by then.
TEST(ResumeOfASession, IsPossibleThoughAWorkerDiedBeforeItsStartWasReported) {
  Host host;
  Manager manager;
  Fd listener;
  ASSERT_EQ(os::socket_listen(host.spawn_socket_path(), 0600, listener), 0);
  host.start_daemon(manager);
  Fd service{accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  ASSERT_TRUE(service.valid());
  wire::Buffer<wire::kMessageSizeMax> buffer;
  os::Received order;
  auto await_order = [&] {
    wire::Packet packet;
    do {
      EXPECT_EQ(os::socket_receive(service, buffer.bytes, order, os::deadline_after(kPatience)), 0);
      EXPECT_EQ(wire::parse({buffer.bytes, order.size}, order.descriptor_count, wire::From::kDaemonToSpawn, packet), 0);
    } while (packet.type != Type::kSpawn && !HasFailure());
    return packet.as<wire::Spawn>().ticket;
  };
  FakeClient client(host.socket_path());
  FakeClient::Options options = host.options();
  options.workers = 1;
  client.say_hello(options);
  uint64_t ticket = await_order();
  std::vector<std::string> kept = manager.names();
  auto say = [](const Fd& to, Type type, const auto& body, std::vector<int> descriptors = {}) {
    wire::Buffer<1024> out;
    wire::Builder message(out.bytes, type, 1);
    message.body<std::decay_t<decltype(body)>>() = body;
    EXPECT_EQ(os::socket_send(to, message.finish(), descriptors, os::deadline_after(kPatience)), 0);
  };
  wire::Hello hello{};
  hello.role = static_cast<uint32_t>(wire::Role::kWorker);
  hello.pid = getpid();
  hello.build_id_size = static_cast<uint32_t>(options.build_id.size());
  memcpy(hello.build_id, options.build_id.data(), options.build_id.size());
  wire::set_text(hello.name, "a worker");
  Fd control = std::move(order.descriptors[4]);
  say(control, Type::kHello, hello);
  control.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // tarnd sees that first
  Fd process{static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0))};
  say(service, Type::kSpawned, wire::Spawned{ticket, getpid(), 0}, {process.get()});
  say(service, Type::kExited, wire::Exited{ticket, getpid(), SIGKILL, 0, 0});
  EXPECT_NE(await_order(), ticket);  // another one is to take its place
  std::vector<std::string> still = manager.names();
  for (const std::string& name : kept) EXPECT_EQ(std::ranges::count(still, name), 1) << name << " is not kept any more";
  EXPECT_EQ(host.stop_daemon(SIGKILL), 128 + SIGKILL);
}

}  // namespace
}  // namespace tarn::testing
