// Models of runs that borrow the slots of other workers (shm/loan.hpp), as src/task/executor_loan.cpp does it.
//
// Each worker has a slot, and perhaps a task that wants all of them. Nobody looks again after a while: each wake-up has to come.
#pragma once

#include <cstdint>

#include "explorer.hpp"
#include "shm/loan.hpp"
#include "shm/seat.hpp"

namespace tarn::model {

using shm::kAcquire;
using shm::kRelaxed;
using shm::kRelease;
using shm::Word;

inline constexpr uint32_t kFirst = 2;      // the worker of seat 0
inline constexpr uint32_t kLoanMembers = 8;  // the others, and their replacements from kFirst + seats on

struct LoanState {
  shm::Collector collector;
  shm::Seat seats[3];
  Word<uint32_t> futex[kLoanMembers];
  Word<uint32_t> wants_turn[kLoanMembers];
  Word<uint32_t> serving[kLoanMembers];  // 1: by tarnd
  Word<uint32_t> event;                  // what a run waits for, in a situation with a run that waits
  uint32_t user[3];                      // member whose wide run uses that slot
  uint32_t has_run[kLoanMembers];        // the wide task of that worker
  uint32_t has_begun;                    // the run that waits for one in another worker
};

struct LoanWorker {
  LoanState& s;
  uint32_t me;
  uint32_t seat;
  uint32_t seats;
  uint32_t wanted = seats;  // slots for its wide run, its own among them
  bool is_perhaps_lent = true;
  uint64_t collection = 0;
  uint32_t taken = 0;  // a bit each

  void wake(uint32_t member) {
    if (member == 0) return;
    s.futex[member].fetch_add(1);
    futex_wake(s.futex[member].futex_address(), 1);
  }
  void wake_on_duty(uint32_t of) { wake(s.seats[of].member_on_duty()); }
  [[nodiscard]] bool is_serving(uint32_t member) const { return member != 0 && s.serving[member].load(kAcquire) != 0; }
  [[nodiscard]] bool is_wanted(uint64_t& word) const {
    word = s.collector.now();
    uint32_t member = shm::Collector::member_of(word);
    return member != 0 && member != me && is_serving(member);
  }
  // Who comes first: here the lowest, there who has waited for longest.
  [[nodiscard]] uint32_t first_to_collect() const {
    for (uint32_t member = kFirst; member < kLoanMembers; ++member)
      if (is_serving(member) && s.wants_turn[member].load(kAcquire) != 0) return member;
    return me;
  }
  void wake_next() {
    if (uint32_t member = first_to_collect(); member != me) wake(member);
  }
  void withdraw_offers(uint64_t word) {
    for (uint32_t i = 0; i < seats; ++i)
      if (s.seats[i].loan().withdraw(word)) wake_on_duty(i);
  }

  // ---- Lending

  void begin() {
    (void)s.seats[seat].occupy(0, me);
    s.serving[me].store(1, kRelease);
  }
  void offer() {
    uint64_t word = s.collector.now();
    is_perhaps_lent = true;
    if (s.seats[seat].loan().offer(word)) wake(shm::Collector::member_of(word));
  }
  void withdraw_stale() {
    uint64_t word = s.collector.now();
    s.seats[seat].loan().withdraw_unless(is_serving(shm::Collector::member_of(word)) ? word : 0);
  }
  // As Executor::serve: nothing else is to be done here.
  void serve() {
    for (;;) {
      uint64_t word;
      if (is_wanted(word)) {
        if (s.seats[seat].is_on_duty(0)) offer();
        else is_perhaps_lent = true;
      }
      uint32_t ticket = s.futex[me].load(kAcquire);
      bool is_away = is_perhaps_lent && !s.seats[seat].is_on_duty(0);
      if (is_away) {
        withdraw_stale();
        if (!s.seats[seat].is_on_duty(0)) futex_wait(s.futex[me].futex_address(), ticket);
      } else {
        is_perhaps_lent = false;
        check(s.user[seat] == 0, "a worker serves in a slot that a run elsewhere uses");
        if (!is_wanted(word)) futex_wait(s.futex[me].futex_address(), ticket);
      }
      forget(is_perhaps_lent ? 1 : 0);
    }
  }

  // ---- Borrowing

  [[nodiscard]] bool begin_collection() {
    withdraw_stale();
    if (s.seats[seat].loan().is_lent() && !s.seats[seat].loan().is_idle()) {
      if (s.wants_turn[me].load(kRelaxed) != 0) {
        s.wants_turn[me].store(0, shm::kSeqCst);
        wake_next();
      }
      return false;
    }
    s.wants_turn[me].store(1, shm::kSeqCst);
    uint64_t seen = s.collector.now();
    uint32_t member = shm::Collector::member_of(seen);
    if (is_serving(member) || first_to_collect() != me) return false;
    uint64_t mine;
    if (!s.collector.begin(seen, me, 0, mine)) return false;
    collection = mine;
    s.wants_turn[me].store(0, kRelaxed);
    if (member != 0) withdraw_offers(seen);
    for (uint32_t i = 0; i < seats; ++i)
      if (i != seat && !s.seats[i].loan().is_lent()) wake_on_duty(i);
    return true;
  }
  [[nodiscard]] bool is_free(uint32_t i) const {
    const shm::Seat& it = s.seats[i];
    return it.loan().is_offered(collection) || it.loan().is_idle() || (it.all_wait() && !it.loan().is_lent());
  }
  [[nodiscard]] bool take(uint32_t i) {
    shm::Seat& it = s.seats[i];
    if (it.loan().take(collection)) return true;
    bool was_idle = it.loan().is_idle();
    if ((!was_idle && !it.all_wait()) || !it.loan().take_idle(collection)) return false;
    if (was_idle || it.all_wait()) return true;
    if (it.loan().give_back(collection)) wake_on_duty(i);
    return false;
  }
  [[nodiscard]] bool collect() {
    if (collection != 0 && s.collector.now() != collection) {
      give_back();
      collection = 0;
    }
    if (collection == 0 && !begin_collection()) {
      uint64_t word;
      if (is_wanted(word)) offer();
      return false;
    }
    uint32_t there = 1;
    for (uint32_t i = 0; i < seats; ++i)
      if (i != seat && ((taken >> i & 1) != 0 || is_free(i))) ++there;
    if (there < wanted) return false;
    there = 1;
    for (uint32_t i = 0; i < seats && there < wanted; ++i) {
      if (i == seat || ((taken >> i & 1) == 0 && !take(i))) continue;
      taken |= 1u << i;
      ++there;
    }
    if (there < wanted) return false;
    s.collector.end(collection);
    withdraw_offers(collection);
    wake_next();
    return true;
  }
  void give_back() {
    for (uint32_t i = 0; i < seats; ++i)
      if ((taken >> i & 1) != 0 && s.seats[i].loan().give_back(collection)) wake_on_duty(i);
    taken = 0;
  }
  void run_wide() {
    is_perhaps_lent = true;
    for (;;) {
      uint32_t ticket = s.futex[me].load(kAcquire);
      if (collect()) break;
      futex_wait(s.futex[me].futex_address(), ticket);
    }
    uint32_t used = taken | 1u << seat;
    for (uint32_t i = 0; i < seats; ++i) {
      if ((used >> i & 1) == 0) continue;
      check(s.user[i] == 0, "two runs have a slot");
      s.user[i] = me;
    }
    step();
    for (uint32_t i = 0; i < seats; ++i)
      if ((used >> i & 1) != 0) s.user[i] = 0;
    s.has_run[me] = 1;
    give_back();
    collection = 0;
  }

  // ---- Recovery

  void recover(uint32_t dead) {
    s.wants_turn[dead].store(0, kRelaxed);
    if (uint64_t seen = s.collector.now(); shm::Collector::member_of(seen) == dead) s.collector.end(seen);
    for (uint32_t i = 0; i < seats; ++i)
      if (s.seats[i].loan().forget(dead)) wake_on_duty(i);
    wake_next();
  }
};

inline void name_loans(LoanState& s) {
  name_words(&s.collector, 8, "collector");
  for (uint32_t i = 0; i < 3; ++i) {
    auto* at = reinterpret_cast<std::byte*>(&s.seats[i]);
    name_words(at, 8, "loan" + std::to_string(i));
    name_words(at + 8, 4, "waiting" + std::to_string(i));
    name_words(at + 12, 4, "member" + std::to_string(i));
  }
  name_words(s.futex, sizeof s.futex, "futex", 4);
  name_words(s.wants_turn, sizeof s.wants_turn, "wants_turn", 4);
  name_words(s.serving, sizeof s.serving, "serving", 4);
  name_words(&s.event, 4, "event");
}

inline const char* all_is_back(const LoanState& s, uint32_t wide) {
  for (uint32_t i = 0; i < wide; ++i)
    if (s.has_run[kFirst + i] == 0) return "a task that wants several cores waits for ever";
  for (const shm::Seat& seat : s.seats)
    if (seat.loan().is_lent()) return "a slot stays lent";
  return shm::Collector::member_of(s.collector.now()) == 0 ? nullptr : "somebody collects for ever";
}

// `wide` of `seats` workers have a task that wants so many slots. Worker `mortal` (a seat; none: `seats`) may die anywhere: then its
// replacement runs its task, if that had not run.
inline Report loans(uint32_t seats, uint32_t wide, uint32_t wanted, uint32_t mortal, unsigned preemptions) {
  Options options{.name = "loans, " + std::to_string(wide) + " of " + std::to_string(seats) + " want " + std::to_string(wanted) + " slots" +
                          (mortal == seats ? "" : mortal < wide ? ", a borrower dies" : ", a lender dies")};
  options.crashes_max = mortal == seats ? 0 : 1;
  options.preemptions_max = preemptions;
  options.states_max = 60'000'000;
  Model<LoanState> model(options);
  model.setup(name_loans);
  for (uint32_t seat = 0; seat < seats; ++seat)
    model.process("worker " + std::to_string(seat), seat == mortal ? Kill::kAllowed : Kill::kNever, [=](LoanState& s) {
      LoanWorker worker{s, kFirst + seat, seat, seats, wanted};
      worker.begin();
      if (seat < wide) worker.run_wide();
      worker.serve();
    });
  if (mortal != seats)
    model.replacement("replacement", Kill::kNever, static_cast<int>(mortal), [=](LoanState& s) {
      uint32_t dead = kFirst + mortal;
      LoanWorker worker{s, kFirst + seats, mortal, seats, wanted};
      // tarnd
      s.serving[dead].store(0, shm::kSeqCst);
      for (uint32_t member = kFirst; member < kFirst + seats; ++member)
        if (member != dead) worker.wake(member);
      // The new worker: the dead one uses nothing any more.
      for (uint32_t& user : s.user)
        if (user == dead) user = 0;
      worker.recover(dead);
      worker.begin();
      if (mortal < wide && s.has_run[dead] == 0) {
        worker.run_wide();
        s.has_run[dead] = 1;
      }
      worker.serve();
    });
  model.finally([=](const LoanState& s) { return all_is_back(s, wide); });
  return model.run();
}

// Both workers want both slots; the first is stopped at any time, for a while. (Here it goes on all the same: that is harder.)
inline Report loans_of_one_that_is_stopped(unsigned preemptions) {
  Options options{.name = "loans, a borrower is stopped"};
  options.preemptions_max = preemptions;
  options.states_max = 60'000'000;
  Model<LoanState> model(options);
  model.setup(name_loans);
  for (uint32_t seat = 0; seat < 2; ++seat)
    model.process("worker " + std::to_string(seat), Kill::kNever, [seat](LoanState& s) {
      LoanWorker worker{s, kFirst + seat, seat, 2};
      worker.begin();
      if (seat == 0) s.has_begun = 1;
      worker.run_wide();
      worker.serve();
    });
  model.process("tarnd", Kill::kNever, [](LoanState& s) {
    await(&s.has_begun);
    step();
    LoanWorker tarnd{s, 0, 0, 2};
    for (uint32_t serving : {0u, 1u}) {
      s.serving[kFirst].store(serving, shm::kSeqCst);
      tarnd.wake(kFirst);
      tarnd.wake(kFirst + 1);
    }
  });
  model.finally([](const LoanState& s) { return all_is_back(s, 2); });
  return model.run();
}

// The second worker waits in a task, and nobody is in its place: its slot is free. Then it goes on, at any moment.
inline Report loan_of_one_that_waits(unsigned preemptions) {
  Options options{.name = "loans, a worker that waits comes back"};
  options.preemptions_max = preemptions;
  options.states_max = 60'000'000;
  Model<LoanState> model(options);
  model.setup(name_loans);
  model.process("borrower", Kill::kNever, [](LoanState& s) {
    LoanWorker worker{s, kFirst, 0, 2};
    worker.begin();
    worker.run_wide();
    worker.serve();
  });
  model.process("waiter", Kill::kNever, [](LoanState& s) {
    LoanWorker worker{s, kFirst + 1, 1, 2};
    worker.begin();
    worker.is_perhaps_lent = false;
    (void)s.seats[1].lend(0);
    if (uint32_t member = shm::Collector::member_of(s.collector.now()); member != 0) worker.wake(member);
    step();
    (void)s.seats[1].take_back(0);
    if (s.seats[1].loan().is_lent()) worker.is_perhaps_lent = true;
    worker.serve();
  });
  model.finally([](const LoanState& s) { return all_is_back(s, 1); });
  return model.run();
}

// The run of the first worker has all slots and waits; what it waits for wants them as well, in the second worker.
inline Report loan_of_a_loan(unsigned preemptions) {
  Options options{.name = "loans, a borrower waits for another one"};
  options.preemptions_max = preemptions;
  options.states_max = 60'000'000;
  Model<LoanState> model(options);
  model.setup(name_loans);
  model.process("first", Kill::kNever, [](LoanState& s) {
    LoanWorker worker{s, kFirst, 0, 3};
    worker.begin();
    // It has the slot of the third worker.
    (void)worker.begin_collection();
    while (!s.seats[2].loan().take(worker.collection)) {
      uint32_t ticket = s.futex[kFirst].load(kAcquire);
      if (!s.seats[2].loan().is_offered(worker.collection)) futex_wait(s.futex[kFirst].futex_address(), ticket);
    }
    s.collector.end(worker.collection);
    worker.withdraw_offers(worker.collection);
    s.has_begun = 1;
    while (s.event.load(kAcquire) == 0) {
      s.seats[2].loan().set_idle(worker.collection, true);
      (void)s.seats[0].lend(0);
      if (uint32_t member = shm::Collector::member_of(s.collector.now()); member != 0) worker.wake(member);
      futex_wait(s.event.futex_address(), 0);
      (void)s.seats[0].take_back(0);
      if (s.seats[0].loan().is_lent()) worker.is_perhaps_lent = true;
      s.seats[2].loan().set_idle(worker.collection, false);
    }
    worker.taken = 1u << 2;
    worker.give_back();
    s.has_run[kFirst] = 1;
    worker.serve();
  });
  model.process("second", Kill::kNever, [](LoanState& s) {
    LoanWorker worker{s, kFirst + 1, 1, 3};
    worker.begin();
    await(&s.has_begun);
    step();
    worker.run_wide();
    s.event.store(1, kRelease);
    futex_wake(s.event.futex_address(), 1);
    worker.serve();
  });
  model.process("third", Kill::kNever, [](LoanState& s) {
    LoanWorker worker{s, kFirst + 2, 2, 3};
    worker.begin();
    worker.serve();
  });
  model.finally([](const LoanState& s) { return all_is_back(s, 2); });
  return model.run();
}

}  // namespace tarn::model
