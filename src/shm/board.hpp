// Board: what the members of one session share beside their segments. One memfd, made by tarnd.
//
// tarnd writes to it (doorbell.set_serving, members, membership, ring_all, trace) and believes nothing in it: the numbers of members,
// which it reads when it takes a session over, only go back to those who share the board.
#pragma once

#include <cstdint>

#include "os/futex.hpp"
#include "shm/doorbell.hpp"
#include "shm/ids.hpp"
#include "shm/loan.hpp"
#include "shm/member_segment.hpp"
#include "shm/members.hpp"
#include "shm/resources.hpp"
#include "shm/scheduling_class.hpp"
#include "shm/seat.hpp"
#include "shm/word.hpp"

namespace tarn::shm {

inline constexpr uint32_t kGraphRunBits = 40;  // of the number in Board::graph_runs
inline constexpr uint32_t kBatchMax = 16;  // hints that a worker takes at a time
inline constexpr uint32_t kCpuWords = 16;  // 1024 CPUs

struct alignas(64) WorkerLine {
  Word<uint32_t> futex;  // the worker sleeps on it; a waker adds 1
  // For the tools and tarn_client_get_slot; written by the worker.
  Word<uint32_t> slot;
  Word<uint32_t> pid;
  Word<uint32_t> core;
  Word<uint32_t> node;
  Word<uint32_t> busy;  // 1: has hints in hand, and looks for no others before it is through
  Word<uint32_t> graph; // first line of the graph that it works through, + 1; 0: none. That graph's memory is not used again
  Word<uint64_t> tasks_done;
  Word<uint64_t> tasks_failed;  // of these
  // The hints that the worker took and has not come to: others, when idle, try to claim them, so
  // that a long or stopped task does not hold up those behind it. Hints: stale ones do no harm.
  alignas(64) Word<uint32_t> batch[kBatchMax];
  // What it runs, or ran last: whose output what it prints is. Generation 32 | record id 32, and the task's number. In a line of their
  // own: clients that wait look at the first one, and a store to that for each task costs a sync call 10 ns.
  alignas(64) Word<uint64_t> run;
  Word<uint32_t> run_task;
  Word<uint32_t> taking;  // 1: takes hints, and perhaps has some that are not in `batch` yet
  Word<uint64_t> collects_since;  // os::now_ns time; 0: it does not wait for its turn to collect slots
};

// Where a slot of the session is.
struct SeatPlace {
  uint64_t cpus[kCpuWords];  // a bit each
  uint32_t cpu_count;        // 0: the session has no such slot
  int32_t node;
  uint32_t slot;             // its number on the host
  uint32_t reserved;
};

struct Board {
  static constexpr uint64_t kMagic = 0x3144524f'4f42524e;

  alignas(64) uint64_t magic;
  uint32_t session;
  uint32_t reserved;
  // tarnd adds 1 when a member comes or goes; members then read their sockets.
  Word<uint32_t> membership;
  Word<uint32_t> spin_budget_ns;  // 0: others want the cores, park at once
  // 1: tarnd does not watch who wants cores: a worker that wakes up makes it 0 and says AWAKE. It may die in between.
  Word<uint32_t> unwatched;

  alignas(64) Members members;

  // At most one idle worker spins: its member index, 0 none.
  alignas(64) Word<uint32_t> spinner;
  // Where the client's waiting thread spins: CPU + 1, 0 nowhere. A worker of that CPU does not spin.
  Word<uint32_t> client_cpu;

  // The levels of priority, a bit each, that somebody has used so far beside the usual one. Set before the first hint of such;
  // never cleared. A worker that looks for hints, also before it sleeps, does so in these lanes.
  alignas(64) Word<uint32_t> levels;

  // 1: a task has submitted tasks. Never cleared.
  Word<uint32_t> nested;

  // Not 0: somebody wants to know what happens, and until when (trace/trace_area.hpp). Set by tarnd; whoever finds the time over
  // clears it.
  Word<uint64_t> trace;

  // 1: a task was to be run again after a while (task/back_off.hpp). Set before the first of them is; never cleared. Workers then
  // look at each segment's `retry_at`.
  Word<uint32_t> retries;

  // 1: a task has asked for a place or for resources. Set before the first hint of such; never cleared. Workers then look at `classes`.
  Word<uint32_t> classes_in_use;

  // Which run collects slots, for several cores. In this line, as workers look at it whenever they look for work.
  Collector collector;

  // Runs of graphs, a bit each, and what they run: the graph's first line in the client's arena + 1, 24 bits | the number of
  // the run in this session 40, so that nobody takes one for another that lay in the same place. Set by the client; a run that
  // is over may still stand there.
  Word<uint64_t> graphs;
  Word<uint32_t> graphs_unhinted;  // counts: somewhere in them nodes are ready that no hint tells of
  alignas(64) Word<uint64_t> graph_runs[kGraphSlots];

  Doorbell doorbell;
  WorkerLine workers[kMembersMax];
  Seat seats[kMembersMax];
  alignas(64) ClassTable classes;
  alignas(64) Resources resources;
  SeatPlace places[kMembersMax];  // of the seats; written by tarnd before there is a member

  // The members whose lanes for events are backed with memory, a bit each. Set by tarnd.
  alignas(64) Word<uint64_t> trace_lanes[kMembersMax / 64];
};

// Wakes the worker that Doorbell::pick returned.
inline void wake_worker(Board& board, uint32_t member) {
  board.workers[member].futex.fetch_add(1);
  os::futex_wake(board.workers[member].futex.futex_address(), 1);
}

// Doorbell::pick, but a worker of the caller's own core first: where all cores have enough to do, that one runs as soon as the
// caller sleeps, and no other core has to be interrupted.
inline uint32_t pick_near(Board& board, uint32_t core) {
  for (uint32_t word = 0; word < Doorbell::kWords; ++word)
    for (uint64_t left = board.doorbell.parked(word); left != 0; left &= left - 1) {
      uint32_t member = word * 64 + static_cast<uint32_t>(std::countr_zero(left));
      if (board.workers[member].core.load(kRelaxed) == core && board.doorbell.pick_one(member)) return member;
    }
  return board.doorbell.pick();
}

// Whether a worker other than `self` is awake and will look for hints before anything else. Called after hints were published: either it sees
// them, or this sees that it is busy (Executor::run_batch has the other half).
inline bool is_anyone_idle(const Board& board, uint32_t self) {
  full_fence();
  for (uint32_t word = 0; word < Doorbell::kWords; ++word)
    for (uint64_t left = board.doorbell.looking(word); left != 0; left &= left - 1) {
      uint32_t member = word * 64 + static_cast<uint32_t>(std::countr_zero(left));
      if (member != self && board.workers[member].busy.load(kRelaxed) == 0) return true;
    }
  return false;
}

// A worker or the client died or was stopped: it may have been about to wake somebody. Wakes every
// worker. The waiting threads of each member are woken by wake_all_waiters.
inline void ring_all(Board& board) {
  for (uint32_t member = kFirstWorker; member < kMembersMax; ++member)
    if (board.workers[member].pid.load(kRelaxed) != 0) wake_worker(board, member);
}

// By tarnd: a worker that has started serves from now on. It waits for this before it looks for anything to do: tarnd has then sent
// all that it had to say, and those who sleep see what this one takes (Executor::is_anyone_taking).
inline void begin_serving(Board& board, uint32_t member) {
  board.doorbell.set_serving(member, true);
  wake_worker(board, member);
}

// Wakes all sleeping threads of a member, so that they look at their records and their sockets. Also
// those whose bit in `parked` is clear: whoever cleared it may have died before it woke them.
// The poll waiter is woken by a message from tarnd.
inline void wake_all_waiters(Waiters& waiters) {
  (void)waiters.count_all();
  for (uint32_t i = 0; i < Waiters::kPollWaiter; ++i) {
    waiters.release(i);
    os::futex_wake(waiters.futex_address(i), 1);
  }
}

}  // namespace tarn::shm
