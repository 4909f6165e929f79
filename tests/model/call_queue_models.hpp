// Models of the calls of one caller to one actor (shm/call_queue.hpp): made in order, run in order, by a process that sleeps when
// there is none, that may die anywhere, and whose next one goes on where it ended.
//
// Records are a word each, of which there are fewer than calls, and so are the blocks: both are used again. A call that was claimed
// by who died has failed, or begins again first if it is `idempotent`. One call may wait for something that another process brings.
#pragma once

#include <cstdint>
#include <string>

#include "explorer.hpp"
#include "shm/call_queue.hpp"
#include "shm/doorbell.hpp"

namespace tarn::model {

using shm::kAcquire;
using shm::kRelaxed;
using shm::kRelease;
using shm::Word;

struct CallsState {
  using Block = shm::CallBlock<1>;
  using Queue = shm::CallQueue<Block>;
  static constexpr uint32_t kCaller = 1;
  static constexpr uint32_t kRecords = 2;
  static constexpr uint32_t kLines = 4;  // the first is not used
  static constexpr uint32_t kCallsMax = 8;
  enum : uint64_t { kWaiting = 1, kReady = 2, kClaimed = 3, kDone = 4 };

  Queue queue;
  Block blocks[kLines];
  shm::Callers callers;
  shm::Doorbell bell;
  Word<uint32_t> host;               // the member that has the actor
  Word<uint32_t> futex;              // of that, whichever it is
  Word<uint32_t> events;             // stands for Waiters
  Word<uint64_t> records[kRecords];  // generation 32 | claimant 16 | phase 8
  shm::CallPlace end;                // of the caller, when it begins
  uint32_t number_of[kLines];        // of the block that lies there
  uint32_t runs[kCallsMax];
  uint32_t failed[kCallsMax];
  uint32_t last_begun;               // + 1
  uint32_t is_made[kCallsMax];

  Block& block(uint32_t line) { return blocks[line]; }
  static uint64_t pack(uint64_t generation, uint64_t claimant, uint64_t phase) { return generation << 32 | claimant << 8 | phase; }
  static uint64_t generation_of(uint64_t word) { return word >> 32; }
  static uint64_t claimant_of(uint64_t word) { return word >> 8 & 0xff; }
  static uint64_t phase_of(uint64_t word) { return word & 0xff; }
};

// The process that has the actor, if it sleeps. Another one that begins looks at all there is.
inline void wake_actor(CallsState& s) {
  uint32_t host = s.host.load(kAcquire);
  if (!s.bell.is_parked(host) || !s.bell.pick_one(host)) return;
  (void)s.futex.fetch_add(1);
  futex_wake(s.futex.futex_address(), 1);
}

inline void announce_call(CallsState& s) {
  s.bell.order_for_producer();
  s.callers.mark(CallsState::kCaller);
  wake_actor(s);
}

inline void await_record(CallsState& s, uint32_t record, uint64_t what_it_remembers) {
  for (;;) {
    uint32_t events = s.events.load(kAcquire);
    if (CallsState::phase_of(s.records[record].load(kAcquire)) == CallsState::kDone) return;
    futex_wait(s.events.futex_address(), events);
    forget(what_it_remembers);
  }
}

// `waiting`: that call waits for what another process brings.
inline void make_calls(CallsState& s, uint32_t count, uint32_t waiting) {
  shm::CallPlace end = s.end;
  uint32_t lines = 2;  // used so far, the unused one among them
  uint32_t oldest = 1;
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t record = i % CallsState::kRecords;
    auto remembers = uint64_t{i} << 32 | end.line << 16 | end.at << 8 | oldest << 4 | lines;
    forget(remembers);
    if (i >= CallsState::kRecords) await_record(s, record, remembers);
    if (i == waiting) {
      (void)s.records[record].exchange(CallsState::pack(i + 1, 0, CallsState::kWaiting));  // seen by who is asked to bring it
      s.is_made[i] = 1;
    } else {
      s.records[record].store(CallsState::pack(i + 1, 0, CallsState::kReady), kRelease);
    }
    if (s.queue.is_full(end)) {
      uint32_t line = lines;
      if (lines < CallsState::kLines) {
        ++lines;
      } else {
        check(s.number_of[oldest] < s.queue.first_block(), "all blocks are full, though no call is left in the first");
        line = oldest;
        oldest = oldest % (CallsState::kLines - 1) + 1;
        for (auto& call : s.blocks[line].calls) call.store(0, kRelaxed);
        s.blocks[line].next.store(0, kRelaxed);
      }
      s.number_of[line] = end.number + 1;
      s.queue.link(s, end, line);
    }
    s.queue.push(s, end, shm::pack_call(record, i + 1));
    announce_call(s);
  }
  for (uint32_t record = 0; record < CallsState::kRecords && record < count; ++record) await_record(s, record, uint64_t{count} << 32 | record);
}

// Runs what can be run, up to the end or to a call that has to wait.
inline void run_calls(CallsState& s, shm::CallPlace& place, uint32_t me) {
  while (uint64_t call = s.queue.peek(s, place)) {
    check(s.number_of[place.line] == place.number, "a block is read that is used for something else");
    s.queue.settle(place);
    Word<uint64_t>& record = s.records[shm::call_record(call)];
    uint32_t generation = shm::call_generation(call);
    uint64_t word = record.load(kAcquire);
    if (CallsState::generation_of(word) == generation && CallsState::phase_of(word) == CallsState::kWaiting) return;
    if (CallsState::generation_of(word) == generation && CallsState::phase_of(word) == CallsState::kReady) {
      if (record.compare_exchange(word, CallsState::pack(generation, me, CallsState::kClaimed))) {
        check(generation >= s.last_begun, "a call overtook another");
        s.last_begun = generation;
        ++s.runs[generation - 1];
        record.store(CallsState::pack(generation, me, CallsState::kDone), kRelease);
        (void)s.events.fetch_add(1);
        futex_wake(s.events.futex_address(), 1);
      }
    }
    ++place.at;
    forget(uint64_t{place.number} << 32 | place.at);
  }
}

// As Executor will: what to do is found by the bit, and the queue is left to it before the process sleeps.
inline void serve_calls(CallsState& s, uint32_t me) {
  s.host.store(me, kRelease);
  shm::CallPlace place = s.queue.begin();
  s.callers.mark(CallsState::kCaller);  // who begins looks at all
  for (;;) {
    if (s.callers.bits() != 0) run_calls(s, place, me);
    uint32_t ticket = s.futex.load(kAcquire);
    uint64_t left = s.callers.bits();
    s.callers.clear(left);
    s.bell.announce(me);
    shm::CallPlace before = place;
    if (left != 0) run_calls(s, place, me);
    bool is_asked = place.number != before.number || place.at != before.at || s.callers.bits() != 0;
    if (!is_asked) futex_wait(s.futex.futex_address(), ticket);
    s.bell.withdraw(me);
    if (is_asked) s.callers.mark(CallsState::kCaller);
    forget(uint64_t{place.number} << 32 | place.at);
  }
}

// The next process of the actor, `me`, after the certain death of those before it.
inline void recover_calls(CallsState& s, uint32_t me, bool idempotent) {
  for (auto& record : s.records) {
    uint64_t word = record.load(kAcquire);
    if (CallsState::phase_of(word) != CallsState::kClaimed || CallsState::claimant_of(word) >= me) continue;
    uint64_t generation = CallsState::generation_of(word);
    if (idempotent) {
      record.store(CallsState::pack(generation, 0, CallsState::kReady), kRelease);
    } else {
      s.failed[generation - 1] = 1;
      record.store(CallsState::pack(generation, 0, CallsState::kDone), kRelease);
    }
  }
  (void)s.events.fetch_add(1);  // the dead one may have been about to
  futex_wake(s.events.futex_address(), 1);
}

inline Report calls_of_an_actor(uint32_t count, uint32_t waiting, unsigned crashes, bool idempotent, bool symmetric_fences,
                                unsigned preemptions = kUnbounded) {
  using S = CallsState;
  Options options{.name = std::to_string(count) + " calls of an actor" + (waiting < count ? ", one waits" : "") +
                          (crashes != 0 ? ", its process may die" : "") + (idempotent ? ", idempotent" : "")};
  options.crashes_max = crashes;
  options.symmetric_fences = symmetric_fences;
  options.preemptions_max = preemptions;
  Model<S> model(options);
  model.setup([](S& s) {
    s.end = s.queue.open(1);
    name_words(&s.queue, sizeof s.queue, "first", 8);
    name_words(s.blocks, sizeof s.blocks, "block", sizeof(S::Block));
    name_words(&s.callers, sizeof s.callers, "callers");
    name_words(&s.bell, sizeof s.bell, "bell", 8);
    name_words(&s.host, 4, "host");
    name_words(&s.futex, 4, "futex");
    name_words(&s.events, 4, "events");
    name_words(s.records, sizeof s.records, "record", 8);
  });
  model.process("caller", Kill::kNever, [=](S& s) { make_calls(s, count, waiting); });
  auto serve = [](uint32_t me) { return [me](S& s) { serve_calls(s, me); }; };
  model.process("actor", crashes != 0 ? Kill::kAllowed : Kill::kNever, serve(2));
  if (waiting < count)
    model.process("bringer", Kill::kNever, [waiting](S& s) {
      await(&s.is_made[waiting]);
      uint64_t word = S::pack(waiting + 1, 0, S::kWaiting);
      (void)s.records[waiting % S::kRecords].compare_exchange(word, S::pack(waiting + 1, 0, S::kReady));
      announce_call(s);
    });
  for (unsigned dead = 1; dead <= crashes; ++dead)
    model.replacement("actor" + std::to_string(dead + 1), dead < crashes ? Kill::kAllowed : Kill::kNever, static_cast<int>(dead == 1 ? 1 : dead + (waiting < count ? 1 : 0)),
                      [=](S& s) {
                        recover_calls(s, dead + 2, idempotent);
                        serve(dead + 2)(s);
                      });
  model.finally([=](const S& s) -> const char* {
    for (uint32_t i = 0; i < count; ++i) {
      if (s.runs[i] + s.failed[i] == 0) return "a call was neither run nor failed";
      if (!idempotent && s.runs[i] > 1) return "a call ran twice";
      if (idempotent && (s.failed[i] != 0 || s.runs[i] > 1 + crashes)) return "an idempotent call failed, or ran too often";
    }
    for (const auto& record : s.records)
      if (S::generation_of(record.load(kAcquire)) != 0 && S::phase_of(record.load(kAcquire)) != S::kDone) return "a call is left";
    return nullptr;
  });
  return model.run();
}

}  // namespace tarn::model
