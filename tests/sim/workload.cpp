#include "workload.hpp"

#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "history.hpp"
#include "os/clock.hpp"
#include "tarn/tarn.h"
#include "task/call.hpp"
#include "task/registry.hpp"

namespace tarn::sim {
namespace {

constexpr int64_t kLong = 100'000'000'000;   // of virtual time: who waits longer hangs
constexpr int64_t kQuietMax = 3'000'000'000;  // after the last result, for everything to be let go of

Session* session = nullptr;
History* history = nullptr;
uint64_t next_id = 0;

// What a task is told. Its answer follows from it.
struct Order {
  uint64_t id;
  uint64_t value;
  uint32_t micros;   // that it sleeps
  uint32_t depth;    // of the tree below it
  uint32_t cores;    // that it needs at the same time, as does the first task below it; 0: those of its slot
};

uint64_t answer(uint64_t value) { return value * 0x9e3779b97f4a7c15 + 1; }
uint64_t answer_of_tree(uint64_t value, uint32_t depth) {
  if (depth == 0) return answer(value);
  return answer(value) + answer_of_tree(value + 1, depth - 1) + answer_of_tree(value + 2, depth - 1);
}

void expect(int r, const char* what) {
  if (r < 0) session->world().violate(std::string(what) + ": " + std::to_string(r) + " " + last_error());
}

Order begin(tarn_call* call) {
  Order order;
  if (call->arg_count == 0 || call->args[0].size != sizeof order) session->world().violate("a task without its order");
  memcpy(&order, call->args[0].data, sizeof order);
  history->begins(order.id, Session::member_of(*call));
  if (order.micros != 0) usleep(order.micros);
  return order;
}

int end(tarn_call* call, const Order& order, const void* data, size_t size) {
  void* result;
  if (int r = task::result_buffer(*call, size, result); r < 0) return r;
  memcpy(result, data, size);
  history->ends(order.id);
  return 0;
}

// The sum of what it depends on, beside its own answer; what is larger than a number stands for its first one.
int echo(tarn_call* call) {
  Order order = begin(call);
  uint64_t sum = answer(order.value);
  for (size_t i = 1; i < call->arg_count; ++i) {
    uint64_t number;
    memcpy(&number, call->args[i].data, sizeof number);
    sum += number;
  }
  return end(call, order, &sum, sizeof sum);
}

// Too large for a record: an object.
int fill(tarn_call* call) {
  Order order = begin(call);
  std::vector<uint64_t> numbers(64 + order.value % 512, answer(order.value));
  return end(call, order, numbers.data(), numbers.size() * sizeof(uint64_t));
}

int refuse(tarn_call* call) {
  Order order = begin(call);
  history->ends(order.id);
  return task::fail_call(*call, -4711, "Refusal", "%s", "not today");
}

tarn_future submit(task::Submitter& submitter, const char* task, const Order& order, const std::vector<tarn_arg>& more, int& r,
                   const std::vector<uint64_t>& after = {}) {
  std::vector<tarn_arg> args = {tarn_arg_value(&order, sizeof order)};
  args.insert(args.end(), more.begin(), more.end());
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = 100;
  tarn_needs needs{};
  needs.size = sizeof needs;
  needs.cores = order.cores;
  options.needs = &needs;
  tarn_future future{};
  history->submitted(order.id, after);
  r = submitter.submit(task::task_number(task), args.data(), args.size(), &options, future);
  return future;
}

// Two trees below it, and one child that nobody asks for.
int tree(tarn_call* call) {
  Order order = begin(call);
  uint64_t sum = answer(order.value);
  auto& submitter = *reinterpret_cast<task::Submitter*>(call->client);
  int r = 0;
  if (order.depth > 0) {
    tarn_future futures[2];
    uint64_t ids[2];
    for (uint32_t i = 0; i < 2; ++i) {
      ids[i] = ++next_id;
      futures[i] = submit(submitter, "sim.tree", {ids[i], order.value + 1 + i, order.micros, order.depth - 1, i == 0 ? order.cores : 0}, {}, r);
      if (r < 0) return r;
    }
    (void)submit(submitter, "sim.echo", {++next_id, order.value, 0, 0, 0}, {tarn_arg_future(futures[1])}, r, {ids[1]});
    if (r < 0) return r;
    for (uint32_t i = 0; i < 2; ++i) {
      tarn_bytes bytes{};
      if (r = submitter.result(futures[i], kLong, bytes); r < 0) return r;
      history->seen(ids[i]);
      uint64_t number;
      memcpy(&number, bytes.data, sizeof number);
      sum += number;
    }
  }
  return end(call, order, &sum, sizeof sum);
}

// ---- The client ------------------------------------------------------------------------------

class Client {
 public:
  explicit Client(task::Submitter& submitter) : submitter_(submitter), world_(session->world()) {}

  void run() {
    uint64_t rounds = 5 + world_.random(60);
    for (uint64_t i = 0; i < rounds; ++i) {
      switch (world_.random(10)) {
        case 0: case 1: case 2: submit_one(); break;
        case 3: submit_after(); break;
        case 4: submit_tree(); break;
        case 5: submit_refusal(); break;
        case 6: cancel_one(); break;
        case 7: let_go_of_one(); break;
        default: look_at_one(); break;
      }
      if (world_.chance(6)) usleep(static_cast<useconds_t>(world_.random(30'000)));
    }
    while (!open_.empty()) look_at(world_.random(open_.size()));
    await_quiet();
  }

 private:
  struct Open {
    uint64_t id;
    tarn_future future;
    uint64_t expected;
    int code = 0;            // that it fails with; 0: it does not
    bool is_cancelled = false;
    bool is_number = true;
  };

  Order make_order() {
    return {++next_id, world_.random(1000), world_.chance(8) ? static_cast<uint32_t>(world_.random(40'000)) : 0, 0,
            world_.chance(8) ? 1 + static_cast<uint32_t>(world_.random(session->slots())) : 0};
  }
  void add(const char* task, const Order& order, uint64_t expected, const std::vector<tarn_arg>& more = {}, const std::vector<uint64_t>& after = {},
           int code = 0) {
    int r = 0;
    tarn_future future = submit(submitter_, task, order, more, r, after);
    expect(r, "submit");
    open_.push_back({order.id, future, expected, code});
  }

  void submit_one() {
    Order order = make_order();
    bool is_large = world_.chance(3);
    add(is_large ? "sim.fill" : "sim.echo", order, answer(order.value));
  }
  void submit_tree() {
    Order order = make_order();
    order.depth = static_cast<uint32_t>(world_.random(4));
    add("sim.tree", order, answer_of_tree(order.value, order.depth));
  }
  void submit_refusal() { add("sim.refuse", make_order(), 0, {}, {}, -4711); }

  // Of up to forty others: more than 31 hang on a group.
  void submit_after() {
    std::vector<tarn_arg> more;
    std::vector<uint64_t> after;
    Order order = make_order();
    uint64_t expected = answer(order.value);
    uint64_t count = world_.chance(5) ? 40 : 1 + world_.random(3);
    bool fails = false;
    for (uint64_t i = 0; i < count && !open_.empty(); ++i) {
      Open& other = open_[world_.random(open_.size())];
      if (other.is_cancelled) continue;
      fails |= other.code != 0;
      more.push_back(tarn_arg_future(other.future));
      after.push_back(other.id);
      expected += other.expected;
    }
    if (fails) after.clear();  // one that has failed is not waited for
    add("sim.echo", order, expected, more, after, fails ? TARN_E_DEPENDENCY : 0);
  }

  void cancel_one() {
    if (open_.empty()) return;
    Open& one = open_[world_.random(open_.size())];
    for (const Open& other : open_)
      if (other.id > one.id) return;  // the latest only: nothing depends on it
    int r = submitter_.cancel(one.future, world_.chance(2));
    if (r == TARN_E_STATE) return;  // it is done
    expect(r, "cancel");
    one.is_cancelled = true;
  }

  void let_go_of_one() {
    if (open_.empty()) return;
    size_t at = world_.random(open_.size());
    expect(submitter_.release(open_[at].future), "release");
    open_.erase(open_.begin() + static_cast<long>(at));
  }

  void look_at_one() {
    if (!open_.empty()) look_at(world_.random(open_.size()));
  }

  void look_at(size_t at) {
    Open one = open_[at];
    session->client_awaits(&one.future);
    if (world_.chance(3)) {
      size_t done = 0;
      int r = submitter_.wait(&one.future, 1, 1, kLong, nullptr, &done);
      expect(r, "wait");
    }
    tarn_bytes bytes{};
    int r = submitter_.result(one.future, kLong, bytes);
    session->client_awaits(nullptr);
    if (one.is_cancelled && (r == TARN_E_CANCELLED || r == TARN_E_TASK_FAILED || r == TARN_E_DEPENDENCY)) {
      r = 0;
    } else if (one.code != 0) {
      int wanted = one.code == TARN_E_DEPENDENCY ? TARN_E_DEPENDENCY : TARN_E_TASK_FAILED;
      if (r != wanted) world_.violate("task " + std::to_string(one.id) + " ended with " + std::to_string(r) + ": " + last_error());
    } else {
      if (r < 0) world_.violate("task " + std::to_string(one.id) + " failed with " + std::to_string(r) + ": " + last_error());
      history->seen(one.id);
      uint64_t number;
      memcpy(&number, bytes.data, sizeof number);
      if (number != one.expected) world_.violate("task " + std::to_string(one.id) + " has a wrong result");
    }
    expect(submitter_.release(one.future), "release");
    open_.erase(open_.begin() + static_cast<long>(at));
  }

  // All that was held is let go of, whoever has died.
  void await_quiet() {
    world_.allow_kills(0);
    int64_t end = os::now_ns() + kQuietMax;
    for (;;) {
      session->poll_client();
      (void)submitter_.reap_all();
      std::string left = session->leftovers();
      if (left.empty()) return;
      if (os::now_ns() > end) world_.violate("left over: " + left);
      usleep(2'000);
    }
  }

  task::Submitter& submitter_;
  World& world_;
  std::vector<Open> open_;
};

}  // namespace

void simulate(uint64_t seed, Tally& tally) {
  static const bool are_defined = [] {
    const std::pair<const char*, tarn_task_fn> all[] = {{"sim.echo", echo}, {"sim.fill", fill}, {"sim.refuse", refuse}, {"sim.tree", tree}};
    for (auto [name, fn] : all)
      if (task::define_task(name, fn, 0, nullptr) < 0) abort();
    return true;
  }();
  (void)are_defined;
  World world(seed);
  History own_history(session);
  history = &own_history;
  next_id = 0;
  uint32_t slots = 1 + static_cast<uint32_t>(world.random(3));
  Session own_session(world, slots, [](task::Submitter& submitter) { Client(submitter).run(); });
  session = &own_session;
  world.allow_kills(world.chance(4) ? 0 : static_cast<uint32_t>(world.random(20)));
  own_session.run();
  tally.steps += world.steps();
  tally.tasks += own_history.size();
  tally.kills += world.kills();
}

}  // namespace tarn::sim
