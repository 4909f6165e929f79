#include "sharing.hpp"

#include <algorithm>
#include <vector>

#include "os/clock.hpp"
#include "os/process.hpp"
#include "session.hpp"
#include "spawn_link.hpp"

namespace tarn::daemon {
namespace {

constexpr int64_t kPeriodNs = 50'000'000;
constexpr int64_t kRest = 100;  // a look takes no more than this part of the loop's time

bool runs(const Member& member) { return !member.is_client() && member.ticket != 0 && member.pid > 0; }

}  // namespace

void Sharing::begin() {
  if (timer_.armed()) return;
  auto working = std::ranges::count_if(sessions_, [](const auto& each) { return each.second->worker_count() > 0; });
  if (working < 2) return;
  read_clocks();  // what was used until now is nobody's debt
  looked_ns_ = os::now_ns();
  call_again(looked_ns_);
}

void Sharing::begin_after_restart() {
  read_clocks();
  for (auto& [ticket, process] : processes_) process.nice = -1;
  looked_ns_ = os::now_ns();
  call_again(looked_ns_);
}

void Sharing::call_again(int64_t began_ns) {
  int64_t now = os::now_ns();
  timer_ = loop_.call_at(now + std::max(kPeriodNs, (now - began_ns) * kRest), [this] { look(); });
}

void Sharing::look() {
  int64_t began_ns = os::now_ns();
  read_clocks();
  settle_slots(began_ns - looked_ns_);
  looked_ns_ = began_ns;
  bool is_given = give_nice();
  bool go_on = watch_sessions();
  on_change_();
  if (go_on || !is_given) call_again(began_ns);
}

void Sharing::read_clocks() {
  ++looks_;
  for (auto& [key, entry] : shares_) {
    entry.used_ns = 0;
    entry.wants = false;
  }
  for (auto& [number, session] : sessions_) {
    if (session->is_ending()) continue;
    for (auto& [index, member] : session->members()) {
      if (!runs(*member)) continue;
      Entry& entry = shares_[{session->slot_of(*member), number}];
      entry.seen = looks_;
      entry.tenant = session->identity().uid;
      entry.weight = weight_of_(entry.tenant);
      entry.wants |= !session->is_asleep(*member);
      auto [process, is_new] = processes_.try_emplace(member->ticket);
      process->second.seen = looks_;
      int64_t core_ns = os::core_time_ns(member->pid);
      if (core_ns < 0) continue;  // it is about to be told of
      if (!is_new) entry.used_ns += std::max<int64_t>(core_ns - process->second.core_ns, 0);
      process->second.core_ns = core_ns;
    }
  }
  std::erase_if(shares_, [this](const auto& each) { return each.second.seen != looks_; });
  std::erase_if(processes_, [this](const auto& each) { return each.second.seen != looks_; });
}

void Sharing::settle_slots(int64_t period_ns) {
  wishes_.clear();
  for (auto at = shares_.begin(); at != shares_.end();) {
    uint32_t slot = at->first.first;
    auto begin = at;
    std::vector<Share*> of_slot;
    for (; at != shares_.end() && at->first.first == slot; ++at) of_slot.push_back(&at->second);
    settle(of_slot, period_ns);
    auto active = std::ranges::count_if(of_slot, &Share::is_active);
    for (auto each = begin; each != at; ++each) {
      bool is_active = each->second.is_active();
      Wish& wish = wishes_[each->first.second];
      wish.is_active |= is_active;
      wish.is_shared |= active > (is_active ? 1 : 0);
    }
  }
}

// Also to a worker that took the place of another, or was started while its session had a lower share. False if one is not there
// yet to be given any.
bool Sharing::give_nice() {
  bool is_given = true;
  for (auto& [number, session] : sessions_) {
    if (session->is_ending()) continue;
    for (auto& [index, member] : session->members()) {
      auto entry = shares_.find({runs(*member) ? session->slot_of(*member) : UINT32_MAX, number});
      if (entry == shares_.end()) continue;
      Process& process = processes_.at(member->ticket);
      if (process.nice == entry->second.nice) continue;
      if (spawn_.weigh(member->ticket, entry->second.nice)) {
        process.nice = entry->second.nice;
      } else {
        is_given = false;
      }
    }
  }
  return is_given;
}

// Whether there is something to look at next time: two sessions that want cores, or one that was told only now that nobody
// watches it, and may have begun before it heard.
bool Sharing::watch_sessions() {
  bool is_news = false;
  uint32_t active = 0;
  for (auto& [number, session] : sessions_) {
    if (session->worker_count() == 0) continue;
    auto wish = wishes_.find(number);
    bool is_active = wish != wishes_.end() && wish->second.is_active;
    active += is_active ? 1 : 0;
    is_news |= session->set_watched(is_active) && !is_active;
  }
  return active > 1 || is_news;
}

bool Sharing::is_shared(uint32_t session) const {
  auto found = wishes_.find(session);
  return found != wishes_.end() && found->second.is_shared;
}

uint32_t Sharing::wanted_by(uint32_t slot) const {
  auto count = std::ranges::count_if(shares_, [slot](const auto& each) { return each.first.first == slot && each.second.is_active(); });
  return static_cast<uint32_t>(count);
}

const Share* Sharing::find(uint32_t session, uint32_t slot) const {
  auto found = shares_.find({slot, session});
  return found == shares_.end() ? nullptr : &found->second;
}

}  // namespace tarn::daemon
