// Models of a slot that several workers have in turn (shm/seat.hpp), with the doorbell around it.
//
// Worker 2 has the slot. Task 0 waits for task 1, which is submitted later: worker 2 sleeps in it, and the stand-in, worker 3, has
// to find the other one. Task 2 may come at any moment of all that, also when the slot changes hands.
#pragma once

#include <cstdint>

#include "shm/seat.hpp"
#include "shm_models.hpp"

namespace tarn::model {

struct SeatState : DoorbellState {
  shm::Seat seat;
  Word<uint32_t> busy[6];
  Word<uint32_t> event;  // task 1 is done; whoever waits for that sleeps on it
  Word<uint32_t> futex_of_new[2];  // of workers 4 and 5, the replacements
  Word<uint32_t> fence[6];
  uint32_t holds[6];     // the hint that a worker took, + 1: of one that dies it is found again in the records
};

inline Word<uint32_t>& futex_of(SeatState& s, uint32_t member) { return member < 4 ? s.futex[member] : s.futex_of_new[member - 4]; }

inline void wake(SeatState& s, uint32_t member) {
  futex_of(s, member).fetch_add(1);
  futex_wake(futex_of(s, member).futex_address(), 1);
}

// A read-modify-write waits until what the process has stored is visible.
inline void full_fence(SeatState& s, uint32_t me) { (void)s.fence[me].fetch_or(1); }

inline void ring_seat(SeatState& s) {
  shm::light_fence();
  if (!s.bell.anyone_parked()) return;
  if (uint32_t worker = s.bell.pick(); worker != 0) wake(s, worker);
}

// As Submitter::ring once tasks have submitted tasks: nobody is woken while somebody seems to be about to look.
inline void ring_unless_idle(SeatState& s) {
  shm::light_fence();
  if (!s.bell.anyone_parked()) return;
  full_fence(s, 1);
  for (uint64_t left = s.bell.looking(0); left != 0; left &= left - 1)
    if (s.busy[std::countr_zero(left)].load(kRelaxed) == 0) return;
  if (uint32_t worker = s.bell.pick(); worker != 0) wake(s, worker);
}

// As Executor::send_off.
inline void send_off(SeatState& s, uint32_t member) {
  if (member != 0) s.bell.withdraw(member);
}

inline void run_task(SeatState& s, uint32_t id, uint32_t rank) {
  if (id == 0) {
    while (s.event.load(kAcquire) == 0) {
      if (uint32_t member = s.seat.lend(rank); member != 0) wake(s, member);
      futex_wait(s.event.futex_address(), 0);
      send_off(s, s.seat.take_back(rank));
    }
  }
  s.ran[id] = 1;
  if (id != 1) return;
  s.event.store(1, kRelease);
  futex_wake(s.event.futex_address(), 2);
}

// What a stand-in says before it sleeps on duty: that it is busy, or nothing, and then it seems about to look when it is sent off.
enum class Sleeper { kBusy, kIdle };

// As Executor::serve, rest, run_batch and idle.
inline void serve_seat(SeatState& s, uint32_t me, uint32_t rank, Sleeper sleeper = Sleeper::kBusy) {
  for (;;) {
    if (rank != 0 && !s.seat.is_on_duty(rank)) {
      uint32_t ticket = futex_of(s, me).load(kAcquire);
      s.busy[me].store(1, kRelaxed);
      full_fence(s, me);
      if (!s.ring[0].empty()) ring_seat(s);
      if (!s.seat.is_on_duty(rank)) futex_wait(futex_of(s, me).futex_address(), ticket);
      forget();
      continue;
    }
    uint32_t id = 0;
    if (s.ring[0].take(&id, 1) != 0) {
      s.holds[me] = id + 1;
      s.busy[me].store(1, kRelaxed);
      full_fence(s, me);
      if (s.bell.anyone_parked() && !s.ring[0].empty()) ring_seat(s);
      run_task(s, id, rank);
      s.holds[me] = 0;
      s.busy[me].store(0, kRelaxed);
      forget();
      continue;
    }
    uint32_t ticket = futex_of(s, me).load(kAcquire);
    if (rank != 0 && sleeper == Sleeper::kBusy) s.busy[me].store(1, kRelaxed);
    s.bell.announce(me);
    if (s.ring[0].empty()) futex_wait(futex_of(s, me).futex_address(), ticket);
    s.bell.withdraw(me);
    forget();
  }
}

// As Executor::set_seat.
inline void take_seat(SeatState& s, uint32_t me, uint32_t rank) {
  if (rank != 0) s.busy[me].store(1, kRelaxed);
  send_off(s, s.seat.occupy(rank, me));
}

inline void name_seat(SeatState& s) {
  name_doorbell(s);
  name_words(&s.seat, 8, "loan");
  name_words(reinterpret_cast<std::byte*>(&s.seat) + 8, 4, "waiting");
  name_words(reinterpret_cast<std::byte*>(&s.seat) + 12, 4 * shm::Seat::kRanks, "member", 4);
  name_words(s.busy, sizeof s.busy, "busy", 4);
  name_words(&s.event, 4, "event");
  name_words(s.fence, sizeof s.fence, "fence", 4);
  name_words(s.futex_of_new, sizeof s.futex_of_new, "futex_of_new", 4);
}

inline void submit_tasks(SeatState& s, uint32_t tasks) {
  shm::HintRing<DoorbellState::kCapacity>::Producer producer;
  for (uint32_t id = 0; id < tasks; ++id) {
    (void)s.ring[0].push(producer, id);
    ring_unless_idle(s);
  }
}

inline const char* all_ran(const SeatState& s, uint32_t tasks) {
  for (uint32_t id = 0; id < tasks; ++id)
    if (s.ran[id] != 1) return "everybody sleeps although there is a task";
  return nullptr;
}

inline Report seat(uint32_t tasks, bool symmetric, unsigned preemptions, Sleeper sleeper = Sleeper::kBusy) {
  Options options{.name = "seat, " + std::to_string(tasks) + " tasks" + (symmetric ? ", symmetric" : "")};
  options.symmetric_fences = symmetric;
  options.preemptions_max = preemptions;
  options.states_max = 60'000'000;
  Model<SeatState> model(options);
  model.setup(name_seat);
  model.process("client", Kill::kNever, [tasks](SeatState& s) { submit_tasks(s, tasks); });
  model.process("worker", Kill::kNever, [](SeatState& s) {
    take_seat(s, 2, 0);
    serve_seat(s, 2, 0);
  });
  model.process("stand-in", Kill::kNever, [sleeper](SeatState& s) {
    take_seat(s, 3, 1);
    serve_seat(s, 3, 1, sleeper);
  });
  model.finally([tasks](const SeatState& s) { return all_ran(s, tasks); });
  return model.run();
}

// One of the two dies, anywhere. tarnd sees it and wakes everybody; the replacement runs again what the dead one had in hand.
inline Report seat_worker_dies(uint32_t rank, uint32_t tasks, unsigned preemptions) {
  Options options{.name = rank == 0 ? "seat, the worker that waits dies" : "seat, the stand-in dies"};
  options.crashes_max = 1;
  options.preemptions_max = preemptions;
  options.states_max = 60'000'000;
  Model<SeatState> model(options);
  model.setup(name_seat);
  model.process("client", Kill::kNever, [tasks](SeatState& s) { submit_tasks(s, tasks); });
  for (uint32_t each = 0; each < 2; ++each)
    model.process(each == 0 ? "worker" : "stand-in", each == rank ? Kill::kAllowed : Kill::kNever, [each](SeatState& s) {
      take_seat(s, 2 + each, each);
      serve_seat(s, 2 + each, each);
    });
  model.replacement("replacement", Kill::kNever, static_cast<int>(1 + rank), [rank](SeatState& s) {
    uint32_t dead = 2 + rank;
    uint32_t me = 4 + rank;
    s.bell.set_serving(dead, false);
    s.bell.withdraw(dead);
    wake(s, 3 - rank);  // the other one
    take_seat(s, me, rank);
    s.bell.set_serving(me, true);
    // The store of an event whose waiter was not woken: its waiter looks at its records again when somebody dies.
    if (s.event.load(kAcquire) != 0) futex_wake(s.event.futex_address(), 2);
    if (s.holds[dead] != 0) {
      s.busy[me].store(1, kRelaxed);
      full_fence(s, me);
      run_task(s, s.holds[dead] - 1, rank);
      s.busy[me].store(0, kRelaxed);
    }
    serve_seat(s, me, rank);
  });
  model.finally([tasks](const SeatState& s) { return all_ran(s, tasks); });
  return model.run();
}

}  // namespace tarn::model
