// A program that waits in poll() could miss what happens to its objects, be told of what it did not ask for, or be held up
// by what it does not dispatch. Each kind of event is brought about here and awaited by the client's descriptor.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "support/own_daemon.hpp"
#include "support/processes.hpp"
#include "tarn/tarn.h"

namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint32_t kAll =
    TARN_EVENT_SEALED | TARN_EVENT_FREED | TARN_EVENT_SPILLED | TARN_EVENT_RESTORED | TARN_EVENT_PRESSURE;

// A client that writes down what it is told.
class Listener {
 public:
  Listener(const tarn::test::OwnDaemon& daemon, uint32_t mask) : client_(daemon.connect(0, TARN_INIT_NO_WORKERS)) {
    (void)tarn_client_dispatch(client_);
    listen(mask);
  }
  ~Listener() { tarn_close(client_); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  operator tarn_client*() const { return client_; }

  void listen(uint32_t mask) { EXPECT_EQ(0, tarn_client_on_event(client_, mask, note, this)) << tarn_last_error(); }

  // Sleeps in poll() and dispatches until `enough`; false after `timeout_ms`.
  bool await(const std::function<bool()>& enough, int timeout_ms = 20'000) {
    for (int waited = 0; !enough(); waited += 100) {
      if (waited >= timeout_ms) return false;
      pollfd ready{tarn_client_fd(client_), POLLIN, 0};
      if (poll(&ready, 1, 100) != 1) continue;
      EXPECT_GE(tarn_client_dispatch(client_), 0) << tarn_last_error();
    }
    return true;
  }
  bool await_count(size_t count) {
    return await([this, count] { return events.size() >= count; });
  }
  // Whether nothing comes for a while.
  bool is_quiet() {
    size_t before = events.size();
    return !await([this, before] { return events.size() != before; }, 300);
  }
  const tarn_event* find(uint32_t kind, tarn_object object) const {
    for (const tarn_event& event : events)
      if (event.kind == kind && event.object.id == object.id) return &event;
    return nullptr;
  }
  size_t count(uint32_t kind) const {
    size_t sum = 0;
    for (const tarn_event& event : events) sum += event.kind == kind ? 1 : 0;
    return sum;
  }

  tarn_object put(uint64_t size) {
    static const std::vector<char> bytes(64 * kMiB, 'b');
    tarn_object object{};
    EXPECT_EQ(0, tarn_put(client_, bytes.data(), size, &object)) << tarn_last_error();
    return object;
  }
  // More than the session may have in memory.
  std::vector<tarn_object> put_much() {
    std::vector<tarn_object> objects;
    for (int i = 0; i < 16; ++i) objects.push_back(put(16 * kMiB));
    return objects;
  }
  void release(const std::vector<tarn_object>& objects) {
    for (tarn_object object : objects) EXPECT_EQ(0, tarn_release(client_, object)) << tarn_last_error();
  }

  std::vector<tarn_event> events;
  std::vector<std::thread::id> threads;

 private:
  static void note(tarn_client* client, const tarn_event* event, void* context) {
    auto* self = static_cast<Listener*>(context);
    EXPECT_EQ(self->client_, client);
    EXPECT_EQ(sizeof *event, event->size);
    self->events.push_back(*event);
    self->threads.push_back(std::this_thread::get_id());
  }

  tarn_client* client_;
};

class EventsClient : public testing::Test {
 protected:
  tarn::test::OwnDaemon daemon_{"[memory]\nper_client = \"128MiB\""};
};

TEST_F(EventsClient, SealedTellsOfPutsAndOfSealsOfOtherThreads) {
  Listener client(daemon_, TARN_EVENT_SEALED);
  tarn_object small = client.put(100);
  ASSERT_TRUE(client.await_count(1));
  EXPECT_EQ(uint32_t{TARN_EVENT_SEALED}, client.events[0].kind);
  EXPECT_EQ(small.id, client.events[0].object.id);
  EXPECT_EQ(small.origin, client.events[0].object.origin);
  EXPECT_EQ(100u, client.events[0].object.size);
  EXPECT_EQ(100u, client.events[0].bytes);
  tarn_object large = client.put(kMiB);
  tarn_object made{};
  void* data;
  ASSERT_EQ(0, tarn_object_create(client, 64, &made, &data));
  ASSERT_TRUE(client.await_count(2));
  EXPECT_EQ(large.id, client.events[1].object.id);
  EXPECT_TRUE(client.is_quiet()) << "not sealed yet";
  std::thread([&] {
    usleep(50'000);
    EXPECT_EQ(0, tarn_object_seal(client, made));
  }).join();
  ASSERT_TRUE(client.await_count(3));
  EXPECT_EQ(made.id, client.events[2].object.id);
  EXPECT_EQ(std::this_thread::get_id(), client.threads[2]) << "the thread that dispatches";
  tarn_bytes bytes{};
  EXPECT_EQ(0, tarn_get(client, client.events[2].object, &bytes)) << tarn_last_error();
  client.release({small, large, made});
  EXPECT_TRUE(client.is_quiet());
}

// Also where tarnd has nothing to be told: what is asked for already, and what this process knows by itself.
TEST(EventsWithoutADaemon, AskingForThemSaysThatItHasLeft) {
  for (uint32_t mask : {uint32_t{TARN_EVENT_SEALED}, kAll}) {
    tarn_options options{};
    options.size = sizeof options;
    options.address = "private";
    options.flags = TARN_INIT_NO_WORKERS;
    tarn_client* client = nullptr;
    ASSERT_EQ(0, tarn_init(&client, nullptr, nullptr, &options)) << tarn_last_error();
    auto ignore = [](tarn_client*, const tarn_event*, void*) {};
    ASSERT_EQ(0, tarn_client_on_event(client, mask, ignore, nullptr)) << tarn_last_error();
    tarn_client_info info{};
    info.size = sizeof info;
    ASSERT_EQ(0, tarn_client_get_info(client, &info));
    (void)tarn_client_dispatch(client);
    ASSERT_EQ(0, kill(tarn::test::parent_of(info.daemon_pid), SIGKILL));  // tarnd alone would be started again
    pollfd ready{tarn_client_fd(client), POLLIN, 0};
    EXPECT_EQ(1, poll(&ready, 1, 20'000)) << "the socket ends";
    EXPECT_EQ(TARN_E_DAEMON_GONE, tarn_client_on_event(client, mask, ignore, nullptr));
    EXPECT_NE(nullptr, strstr(tarn_last_error(), "has left")) << tarn_last_error();
    EXPECT_EQ(0, tarn_client_on_event(client, 0, nullptr, nullptr));
    tarn_close(client);
  }
}

TEST_F(EventsClient, FreedTellsOfTheLastReleaseOnly) {
  Listener client(daemon_, TARN_EVENT_FREED);
  tarn_object object = client.put(5000);
  ASSERT_EQ(0, tarn_object_ref(client, object));
  client.release({object});
  EXPECT_TRUE(client.is_quiet()) << "there is another reference";
  std::thread([&] { client.release({object}); }).join();
  ASSERT_TRUE(client.await_count(1));
  EXPECT_EQ(uint32_t{TARN_EVENT_FREED}, client.events[0].kind);
  EXPECT_EQ(object.id, client.events[0].object.id);
  EXPECT_EQ(5000u, client.events[0].bytes);
  EXPECT_EQ(0, tarn_object_exists(client, client.events[0].object));
  // Unsealed ones count, too.
  tarn_object made{};
  void* data;
  ASSERT_EQ(0, tarn_object_create(client, 64, &made, &data));
  ASSERT_EQ(0, tarn_object_abort(client, made));
  ASSERT_TRUE(client.await_count(2));
  EXPECT_EQ(made.id, client.events[1].object.id);
}

TEST_F(EventsClient, SpilledAndRestoredTellOfTheSameObjectInThatOrder) {
  Listener client(daemon_, TARN_EVENT_SPILLED | TARN_EVENT_RESTORED);
  std::vector<tarn_object> objects = client.put_much();
  ASSERT_TRUE(client.await([&] { return client.find(TARN_EVENT_SPILLED, objects[0]) != nullptr; }));
  EXPECT_EQ(16 * kMiB, client.find(TARN_EVENT_SPILLED, objects[0])->bytes);
  EXPECT_EQ(0u, client.count(TARN_EVENT_RESTORED));
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_get(client, objects[0], &bytes)) << tarn_last_error();
  ASSERT_TRUE(client.await([&] { return client.find(TARN_EVENT_RESTORED, objects[0]) != nullptr; }));
  EXPECT_GT(client.find(TARN_EVENT_RESTORED, objects[0]), client.find(TARN_EVENT_SPILLED, objects[0]));
  EXPECT_EQ(1u, client.count(TARN_EVENT_RESTORED));
  EXPECT_EQ(client.events.size(), client.count(TARN_EVENT_SPILLED) + 1);
  for (const tarn_event& event : client.events) EXPECT_EQ(0u, event.lost);
  client.release(objects);
}

TEST_F(EventsClient, PressureBeginsAndIsOver) {
  Listener client(daemon_, TARN_EVENT_PRESSURE);
  std::vector<tarn_object> objects;
  for (int i = 0; i < 3; ++i) objects.push_back(client.put(32 * kMiB));
  EXPECT_TRUE(client.is_quiet()) << "there was room";
  for (tarn_object object : objects) {
    tarn_bytes bytes{};
    ASSERT_EQ(0, tarn_get(client, object, &bytes));
  }
  tarn_object more{};
  std::vector<char> bytes(64 * kMiB, 'm');
  EXPECT_EQ(TARN_E_QUOTA, tarn_put(client, bytes.data(), bytes.size(), &more));
  ASSERT_TRUE(client.await_count(1));
  EXPECT_EQ(uint32_t{TARN_EVENT_PRESSURE}, client.events[0].kind);
  EXPECT_EQ(0u, client.events[0].is_over);
  EXPECT_GE(client.events[0].bytes, 64 * kMiB);
  EXPECT_EQ(0u, client.events[0].object.id);
  ASSERT_TRUE(client.await_count(2));
  EXPECT_EQ(1u, client.events[1].is_over);
  EXPECT_TRUE(client.is_quiet());
  client.release(objects);
}

TEST_F(EventsClient, WhoDoesNotListenIsToldNothing) {
  Listener client(daemon_, 0);
  std::vector<tarn_object> objects = client.put_much();
  EXPECT_TRUE(client.is_quiet());
  // What has happened is not told afterwards.
  client.listen(TARN_EVENT_SEALED | TARN_EVENT_FREED);
  EXPECT_TRUE(client.is_quiet());
  client.listen(TARN_EVENT_SEALED);
  client.release(objects);
  EXPECT_TRUE(client.is_quiet());
  EXPECT_TRUE(client.events.empty());
  // Nor is what has happened when nobody listens any more.
  client.listen(kAll);
  client.listen(0);
  client.release(client.put_much());
  EXPECT_TRUE(client.is_quiet());
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_client_on_event(client, 32, nullptr, nullptr));
  EXPECT_TRUE(client.events.empty());
}

TEST_F(EventsClient, WhoNeverDispatchesHarmsNobodyAndHearsOfTheNewest) {
  Listener deaf(daemon_, kAll);
  Listener other(daemon_, TARN_EVENT_SPILLED);
  constexpr int kRounds = 6;
  for (int i = 0; i < kRounds; ++i) {
    for (int j = 0; j < 200; ++j) deaf.release({deaf.put(40'000)});
    deaf.release(deaf.put_much());
  }
  tarn_object last = deaf.put(100);
  // Nobody else waits for it.
  std::vector<tarn_object> objects = other.put_much();
  ASSERT_TRUE(other.await_count(1));
  EXPECT_EQ(0u, other.events[0].lost);
  other.release(objects);
  // And it has lost what came first. That objects have left memory which it does not hold any more is not told.
  ASSERT_TRUE(deaf.await([&] { return deaf.find(TARN_EVENT_SEALED, last) != nullptr; }));
  uint64_t sum = 0;
  for (const tarn_event& event : deaf.events) sum += 1 + event.lost;
  EXPECT_GT(deaf.events[0].lost, 0u);
  EXPECT_GE(sum, uint64_t{kRounds} * 400);
  EXPECT_LE(deaf.events.size(), 1024u + 300);
  deaf.release({last});
}

TEST_F(EventsClient, ACallbackMayMakeAndReplaceAndEnd) {
  Listener client(daemon_, 0);
  struct State {
    tarn_object made;
    int calls;
  } state{};
  auto once = [](tarn_client* c, const tarn_event* event, void* context) {
    auto* s = static_cast<State*>(context);
    ++s->calls;
    EXPECT_EQ(uint32_t{TARN_EVENT_SEALED}, event->kind);
    int r = s->calls == 1 ? tarn_put(c, "x", 1, &s->made) : tarn_client_on_event(c, 0, nullptr, nullptr);
    EXPECT_EQ(0, r) << tarn_last_error();
  };
  ASSERT_EQ(0, tarn_client_on_event(client, kAll, once, &state));
  tarn_object first = client.put(10);
  // What the callback makes comes with the next dispatch, for which the descriptor is readable.
  EXPECT_EQ(1, tarn_client_dispatch(client));
  pollfd ready{tarn_client_fd(client), POLLIN, 0};
  EXPECT_EQ(1, poll(&ready, 1, 5000));
  tarn_object second = client.put(10);
  EXPECT_EQ(1, tarn_client_dispatch(client)) << "it has ended itself before the third";
  EXPECT_EQ(0, tarn_client_dispatch(client));
  EXPECT_EQ(2, state.calls);
  client.release({first, second, state.made});
}

}  // namespace
