// Models of tasks that ask for resources: the queue of their class (shm/scheduling_class.hpp), the ring with several producers
// (shm/hint_ring.hpp), who has how much (shm/resources.hpp), with the doorbell around them.
#pragma once

#include <cstdint>

#include "shm/resources.hpp"
#include "shm/scheduling_class.hpp"
#include "shm_models.hpp"

namespace tarn::model {

// ---- SharedHintRing ---------------------------------------------------------------------------

// Two producers, of whom one may die in the middle, and a consumer who looks once more when they have ended.
inline Report shared_ring(bool crash, unsigned hints_each, unsigned preemptions) {
  static constexpr uint32_t kCapacity = 2;
  struct S {
    shm::SharedHintRing<kCapacity> ring;
    uint32_t taken[8];
    uint32_t pushed[8];
    uint32_t done[2];
  };
  Options options{.name = crash ? "shared hint ring, a producer may die" : "shared hint ring"};
  options.crashes_max = crash ? 1 : 0;
  options.preemptions_max = preemptions;
  Model<S> model(options);
  model.setup([](S& s) { name_words(&s.ring, sizeof s.ring, "ring", 8); });
  for (uint32_t p = 0; p < 2; ++p)
    model.process(p == 0 && crash ? "mortal" : "producer", p == 0 && crash ? Kill::kAllowed : Kill::kNever, [p, hints_each](S& s) {
      for (uint32_t i = 0; i < hints_each; ++i) {
        uint32_t id = 1 + p * hints_each + i;
        if (s.ring.push(id)) s.pushed[id] = 1;
      }
      s.done[p] = 1;
    });
  model.process("consumer", Kill::kNever, [crash](S& s) {
    for (bool last = false;;) {
      uint32_t id = 0;
      if (s.ring.take(&id, 1) != 0) {
        check(id >= 1 && id < 8, "a hint that nobody pushed");
        check(++s.taken[id] == 1, "a hint came out twice");
        continue;
      }
      check(s.ring.empty() || !last || crash, "empty() and take() do not agree");  // the mortal one may still push
      if (last) {
        if (s.done[0] == 0 && !is_dead(0)) return;
        while (s.ring.take(&id, 1) != 0) check(++s.taken[id] == 1, "a hint came out twice");
        check(s.ring.push(7), "a ring that was empty is full");
        return;
      }
      await(&s.done[1]);
      if (!crash) await(&s.done[0]);
      step();
      last = true;
    }
  });
  model.finally([crash](const S& s) -> const char* {
    for (uint32_t id = 1; id < 7; ++id) {
      if (s.pushed[id] != 0 && s.taken[id] == 0 && !crash) return "a hint was lost";
      if (!crash && s.taken[id] != s.pushed[id]) return "a hint that was refused came out";
    }
    return nullptr;
  });
  return model.run();
}

// One who is slow, and another who goes round the ring meanwhile, where there is always room.
inline Report shared_ring_with_room(unsigned preemptions) {
  struct S {
    shm::SharedHintRing<2> ring;
    uint32_t taken;
  };
  Options options{.name = "shared hint ring, with room"};
  options.preemptions_max = preemptions;
  Model<S> model(options);
  model.setup([](S& s) { name_words(&s.ring, sizeof s.ring, "ring", 8); });
  model.process("slow", Kill::kNever, [](S& s) { check(s.ring.push(1), "refused, and there was room"); });
  model.process("fast", Kill::kNever, [](S& s) {
    uint32_t ids[2];
    for (uint32_t i = 0; i < 4; ++i) {
      check(s.ring.push(2), "refused, and there was room");
      while (s.ring.take(ids, 2) != 0) {
      }
    }
  });
  model.finally([](const S&) -> const char* { return nullptr; });
  return model.run();
}

// ---- Resources --------------------------------------------------------------------------------

// Workers 2 and 3 run tasks that want so many of the one kind there is, of which the session may have `kLent`.
struct ResourceState : DoorbellState {
  static constexpr uint32_t kLent = 2;
  shm::ResourceTable<5> resources;
  shm::ClassQueues<1, 4> classes;
  Word<uint32_t> futex_of_new;  // of worker 4, the replacement
  Word<uint32_t> fence[5];
  uint32_t in_use;
  uint32_t has[5];    // of that, by the worker,
  uint32_t holds[5];  // and the task + 1 that it took: of one that dies it is found again in the records
  bool is_gone[5];
};

inline shm::ResourceCounts wants(uint32_t count) {
  shm::ResourceCounts counts{};
  counts[0] = count;
  return counts;
}

inline Word<uint32_t>& futex_of(ResourceState& s, uint32_t member) { return member < 4 ? s.futex[member] : s.futex_of_new; }

inline void full_fence(ResourceState& s, uint32_t me) { (void)s.fence[me].fetch_or(1); }

// As SessionView::ring_class.
inline void ring_class(ResourceState& s, uint32_t me, uint32_t count) {
  full_fence(s, me);
  if (!s.bell.anyone_to_wake() || !s.resources.may_take(wants(count))) return;
  uint32_t worker = s.bell.pick();
  if (worker == 0) return;
  futex_of(s, worker).fetch_add(1);
  futex_wake(futex_of(s, worker).futex_address(), 1);
}

inline void publish(ResourceState& s, uint32_t me, uint32_t id, uint32_t count) {
  if (!s.classes[1].ring.push(id)) s.classes[1].unhinted.fetch_add(1);
  s.classes.set_pending(1);
  ring_class(s, me, count);
}

inline bool may_begin_one(ResourceState& s, uint32_t count) {
  return s.classes.pending(0) != 0 && s.classes[1].has_hints() && s.resources.may_take(wants(count));
}

// As Executor::run with begin_class, put_back and end_class.
inline void run_with_resources(ResourceState& s, uint32_t me, uint32_t id, uint32_t count) {
  auto taken = s.resources.take(me, wants(count), [&](uint32_t member) { return !s.is_gone[member]; });
  if (taken != shm::ResourceTable<5>::Taken::kBusy) {
    full_fence(s, me);
    if (s.classes[1].has_hints()) ring_class(s, me, count);
  }
  if (taken != shm::ResourceTable<5>::Taken::kYes) {
    publish(s, me, id, count);
    s.holds[me] = 0;
    return;
  }
  s.in_use += s.has[me] = count;
  check(s.in_use <= ResourceState::kLent, "more is in use than there is");
  step();
  s.in_use -= s.has[me];
  s.has[me] = 0;
  s.ran[id] = 1;
  s.resources.give_back(me, wants(count));
  s.holds[me] = 0;
  full_fence(s, me);
  if (s.classes[1].has_hints()) ring_class(s, me, count);
}

// As Executor::take_of_classes and idle.
inline void serve_class(ResourceState& s, uint32_t me, uint32_t count) {
  for (;;) {
    uint32_t id = 0;
    if (s.classes.pending(0) != 0 && s.resources.may_take(wants(count))) {
      if (s.classes[1].ring.take(&id, 1) != 0) {
        s.holds[me] = id + 1;
        if (s.classes[1].has_hints()) ring_class(s, me, count);
        run_with_resources(s, me, id, count);
        forget();
        continue;
      }
      s.classes.clear_pending(1);
    }
    uint32_t ticket = futex_of(s, me).load(kAcquire);
    s.bell.announce(me);
    if (!may_begin_one(s, count)) futex_wait(futex_of(s, me).futex_address(), ticket);
    s.bell.withdraw(me);
    forget();
  }
}

inline void name_resources(ResourceState& s) {
  name_doorbell(s);
  name_words(&s.resources, sizeof s.resources, "resources", 4);
  name_words(&s.classes, sizeof s.classes, "classes", 8);
  name_words(&s.futex_of_new, 4, "futex_of_new");
  name_words(s.fence, sizeof s.fence, "fence", 4);
  s.resources.kind(0).lent.store(ResourceState::kLent, kRelease);
  (void)s.classes.find_or_make(shm::ClassNeeds{});
}

inline Report resources(uint32_t tasks, uint32_t count, bool crash, bool symmetric, unsigned preemptions) {
  Options options{.name = std::string("resources") + (crash ? ", a worker may die" : "") + (symmetric ? ", symmetric" : "")};
  options.symmetric_fences = symmetric;
  options.crashes_max = crash ? 1 : 0;
  options.preemptions_max = preemptions;
  options.states_max = 60'000'000;
  Model<ResourceState> model(options);
  model.setup(name_resources);
  model.process("client", Kill::kNever, [tasks, count](ResourceState& s) {
    for (uint32_t id = 0; id < tasks; ++id) publish(s, 1, id, count);
  });
  model.process("worker", crash ? Kill::kAllowed : Kill::kNever, [count](ResourceState& s) { serve_class(s, 2, count); });
  model.process("other", Kill::kNever, [count](ResourceState& s) { serve_class(s, 3, count); });
  if (crash)
    model.replacement("replacement", Kill::kNever, 1, [count](ResourceState& s) {
      // As Executor::recover_member: the process is dead, and what it had in use with it.
      s.in_use -= s.has[2];
      s.has[2] = 0;
      s.bell.set_serving(2, false);
      s.bell.withdraw(2);
      s.resources.forget(2);
      s.bell.set_serving(4, true);
      if (s.holds[2] != 0 && s.ran[s.holds[2] - 1] == 0) publish(s, 4, s.holds[2] - 1, count);
      s.classes.set_pending(1);
      ring_class(s, 4, count);
      serve_class(s, 4, count);
    });
  model.finally([tasks](const ResourceState& s) -> const char* {
    for (uint32_t id = 0; id < tasks; ++id)
      if (s.ran[id] != 1) return "everybody sleeps although there is a task";
    return nullptr;
  });
  return model.run();
}

}  // namespace tarn::model
