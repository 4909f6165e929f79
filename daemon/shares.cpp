#include "shares.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace tarn::daemon {
namespace {

constexpr double kUsedAtLeast = 0.02;  // of the time: less than that is no wish for a core
constexpr double kOfItsPart = 0.25;    // nor is it for who is to have little, if it is less than that of what he is to have
constexpr double kStarved = 0.002;     // enough for who is awake now: others on the host may leave all sessions together little
constexpr double kPerNice = 1.25;       // how much more each step of nice is worth to the kernel

// Whether `share`, by what it used, wanted the core of a slot of which all together had `all_ns`.
bool wanted(const Share& share, int64_t all_ns, int64_t period_ns) {
  auto used = static_cast<double>(share.used_ns);
  double least = std::min(kUsedAtLeast, kOfItsPart * share.entitled);
  if (used >= least * static_cast<double>(period_ns)) return true;
  return share.wants && used >= kStarved * static_cast<double>(period_ns) && used >= least * static_cast<double>(all_ns);
}

// Each tenant's part by weight, divided among its sessions.
void entitle(std::span<Share* const> active) {
  std::map<uid_t, uint32_t> sessions;
  double weights = 0;
  for (const Share* share : active)
    if (sessions[share->tenant]++ == 0) weights += share->weight;
  for (Share* share : active) share->entitled = share->weight / weights / sessions[share->tenant];
}

void charge(std::span<Share* const> active) {
  int64_t all = 0;
  for (const Share* share : active) all += share->used_ns;
  double left = 0;  // by those who have nothing to do
  double wanting = 0;
  for (Share* share : active) {
    share->had = all == 0 ? 0 : static_cast<double>(share->used_ns) / static_cast<double>(all);
    share->owed_ns += static_cast<int64_t>(share->entitled * static_cast<double>(all)) - share->used_ns;
    if (share->wants) {
      wanting += share->entitled;
    } else {
      left += static_cast<double>(std::max<int64_t>(share->owed_ns, 0));
      share->owed_ns = std::min<int64_t>(share->owed_ns, 0);
    }
  }
  for (Share* share : active) {
    if (share->wants) share->owed_ns += static_cast<int64_t>(left * share->entitled / wanting);
    share->owed_ns = std::clamp(share->owed_ns, -kOwedMax, kOwedMax);
  }
}

// The best has 0: nobody gets in front of what else runs on the host.
void grade(std::span<Share* const> active) {
  double most = 0;
  for (const Share* share : active) most = std::max(most, share->entitled);
  int best = kNiceMax;
  for (Share* share : active) {
    double steps = std::log(most / share->entitled) / std::log(kPerNice) -
                   static_cast<double>(share->owed_ns) / static_cast<double>(kOwedPerNice);
    share->nice = static_cast<int>(std::lround(steps));
    best = std::min(best, share->nice);
  }
  for (Share* share : active) share->nice = std::min(share->nice - best, kNiceMax);
}

}  // namespace

void settle(std::span<Share* const> of_slot, int64_t period_ns) {
  std::vector<Share*> active;
  int64_t all_ns = 0;
  for (const Share* share : of_slot) all_ns += share->used_ns;
  for (Share* share : of_slot) {
    if (wanted(*share, all_ns, period_ns)) {
      share->quiet = 0;
    } else {
      share->quiet = std::min(share->quiet + 1, kQuietLooks);
    }
    if (share->is_active()) active.push_back(share);
  }
  bool is_wanted_by_several = active.size() > 1;
  for (Share* share : of_slot) {
    if (share->is_active() && is_wanted_by_several) continue;
    share->owed_ns = 0;
    share->nice = 0;
    share->entitled = 1;
    share->had = share->is_active() ? 1 : 0;
  }
  if (!is_wanted_by_several) return;
  entitle(active);
  charge(active);
  grade(active);
}

}  // namespace tarn::daemon
