// Sharing: which sessions want which slots at the moment, and what follows: who may spin, and by which share each gets the core.
//
// tarnd is not on the path of a task, so it has to look: every 50 ms, at the clocks of all workers, and only while two sessions
// or more seem to want cores. A session that has used none for a while is told that nobody watches it (Board::unwatched); its next
// worker to wake up says AWAKE, and the looking begins anew. Where nothing is shared, and where nothing runs, tarnd sleeps.
//
// What it goes by is the kernel's: a tenant that writes nonsense on its board, or says AWAKE all the time, changes nothing but
// how often tarnd looks, and that is bounded. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "loop.hpp"
#include "shares.hpp"

namespace tarn::daemon {

class Session;
class SpawnLink;

class Sharing {
 public:
  using Sessions = std::map<uint32_t, std::unique_ptr<Session>>;
  // All outlive it. `weight_of` a tenant; `on_change` when `is_shared` may answer otherwise than before.
  Sharing(Loop& loop, SpawnLink& spawn, const Sessions& sessions, std::function<uint32_t(uid_t)> weight_of, std::function<void()> on_change)
      : loop_(loop), spawn_(spawn), sessions_(sessions), weight_of_(std::move(weight_of)), on_change_(std::move(on_change)) {}

  // A session came or goes on, or one of its workers woke up or died: begins to look unless it does.
  void begin();

  // The same after a restart, whoever is there: workers have the nice values that the tarnd before gave them.
  void begin_after_restart();

  // Whether another session wants one of the slots of `session`.
  [[nodiscard]] bool is_shared(uint32_t session) const;
  // How many sessions want that slot, while tarnd looks.
  [[nodiscard]] uint32_t wanted_by(uint32_t slot) const;
  // For the tools; nullptr if nothing is known, as while nobody shares anything.
  [[nodiscard]] const Share* find(uint32_t session, uint32_t slot) const;
  [[nodiscard]] bool is_looking() const { return timer_.armed(); }

 private:
  struct Process {
    int64_t core_ns = 0;  // in all, at the last look
    int nice = 0;  // -1: not known
    uint64_t seen = 0;
  };
  struct Entry : Share {
    uint64_t seen = 0;  // the look at which it had workers
  };

  struct Wish {              // of a session
    bool is_active = false;  // for a core
    bool is_shared = false;  // by another session: that core, or one on which this has a worker that may wake up
  };

  void look();
  void read_clocks();
  void settle_slots(int64_t period_ns);
  [[nodiscard]] bool watch_sessions();
  [[nodiscard]] bool give_nice();
  void call_again(int64_t began_ns);

  Loop& loop_;
  SpawnLink& spawn_;
  const Sessions& sessions_;
  std::function<uint32_t(uid_t)> weight_of_;
  std::function<void()> on_change_;
  std::map<std::pair<uint32_t, uint32_t>, Entry> shares_;  // by slot and session
  std::map<uint32_t, Wish> wishes_;                        // by session, as of the last look
  std::map<uint64_t, Process> processes_;                  // by ticket
  uint64_t looks_ = 0;
  int64_t looked_ns_ = 0;
  Loop::Timer timer_;
};

}  // namespace tarn::daemon
