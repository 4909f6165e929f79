// Shares: how much of a slot each session gets that wants it, and what makes it so.
//
// The kernel lends the core of a slot, microsecond by microsecond: to whom it owes most time, and to who has just been woken
// before who has been running. It counts threads, though, and knows neither clients nor tenants. So tarnd looks now and then at
// the time on the core that each session has had, by the kernel's own clocks, and keeps an account for each session in each slot:
// what it was entitled to, less what it had. That is deficit round robin with the kernel dealing the cards; the deficit becomes a
// nice value, by which the kernel deals out more or less.
//
// A tenant gets its weight's part of a slot, and its sessions there have equal parts of that. Who wants less than that leaves the
// rest to the others. Nobody saves up: who has nothing to do at a look is owed nothing, and no account grows beyond kOwedMax.
//
// Arithmetic alone; loop thread only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>

namespace tarn::daemon {

inline constexpr uint32_t kWeightUsual = 100;
inline constexpr uint32_t kWeightMax = 10'000;
inline constexpr int kNiceMax = 19;
inline constexpr uint32_t kQuietLooks = 4;  // without having used the core: then a session does not want it any more

// One session in one slot: all its processes there together.
struct Share {
  uid_t tenant = 0;
  uint32_t weight = kWeightUsual;
  int64_t used_ns = 0;           // since the last look
  bool wants = false;            // right now: one of its workers is not asleep
  uint32_t quiet = kQuietLooks;  // looks in a row at which it had used next to nothing
  int64_t owed_ns = 0;           // what it was entitled to and has not had; negative: had before its turn
  double entitled = 1;           // part of the slot
  double had = 0;                // of what all had, at the last look
  int nice = 0;                  // of its processes, above that of the others of the host

  [[nodiscard]] bool is_active() const { return quiet < kQuietLooks; }
};

inline constexpr int64_t kOwedPerNice = 20'000'000;
inline constexpr int64_t kOwedMax = 380'000'000;
static_assert(kOwedMax == kNiceMax * kOwedPerNice);

// Takes in `used_ns` of all that have workers in one slot, `period_ns` after the last look.
void settle(std::span<Share* const> of_slot, int64_t period_ns);

}  // namespace tarn::daemon
