#include "memory_queue.hpp"

#include <algorithm>
#include <string>

#include "base/error.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

constexpr int64_t kSliceNs = 2'000'000;        // of one pass: the rest of the loop has its turn in between
constexpr int64_t kLookAgainNs = 200'000'000;  // at what is overdue and not the first of its session
constexpr int64_t kToldNs = 50'000'000;        // a shorter wait is not worth a word

}  // namespace

MemoryQueue::MemoryQueue(Loop& loop, int64_t wait_ns, OnWanted on_wanted, IsComing is_coming, Clock now_ns)
    : loop_(loop),
      wait_ns_(wait_ns),
      on_wanted_(std::move(on_wanted)),
      is_coming_(std::move(is_coming)),
      now_ns_(std::move(now_ns)) {}

MemoryQueue::~MemoryQueue() = default;

void MemoryQueue::submit(Request request) {
  if (request.alive.expired()) return;
  for (const Budget* b = request.budget; b != nullptr; b = b->parent())
    if (request.bytes > b->limit()) return request.refuse(b->refuse(request.bytes));
  int64_t now = now_ns_();
  request.latest_ns = std::min(std::max(std::min(request.latest_ns, now + wait_ns_), request.deadline_ns), now + kWaitMaxNs);
  request.deadline_ns = std::min(request.deadline_ns, request.latest_ns);
  const Budget* full = nullptr;
  // In the midst of a pass it is not known yet who finds what full, and they were here before.
  bool is_known = !is_serving_ && !is_cut_ && !again_;
  if (is_known) {
    full = find_full(request);
    if (full == nullptr) {
      if (int r = request.attempt(); r < 0) request.refuse(r);
      return;
    }
    coming_.clear();
    if (is_over(request, *full, now)) return request.refuse(explain(request, *full));
  }
  if (waits_of(*request.budget).requests >= kOfSessionMax)
    return request.refuse(fail(TARN_E_LIMIT, "too many requests for memory at once: %zu of %s wait already", kOfSessionMax,
                               request.budget->name().c_str()));
  Waiting& waiting = enqueue(std::move(request), now);
  if (!is_known) return serve_soon();
  hold_up_others(waiting.request);
  ask_for(*full, waiting, now);
}

void MemoryQueue::serve() {
  if (is_serving_) return serve_soon();
  is_serving_ = true;
  is_cut_ = again_ = false;
  int64_t begin = now_ns_();
  if (begin - asked_ns_ >= kTickNs) asked_.clear();
  full_.clear();
  coming_.clear();
  for (auto next = order_.begin(); next != order_.end() && !is_cut_;) {
    uint64_t number = next->first;
    bool waits = look_at_first(*next->second, begin);
    // Whoever was behind one that is done came later, so this comes to him as well.
    next = order_.upper_bound(number);
    if (!waits) is_cut_ = is_slice_over(begin);
  }
  if (!is_cut_) end_overdue(begin);
  is_serving_ = false;
  soon_.reset();
  tick_.reset();
  if (order_.empty()) {
    full_.clear();
    is_cut_ = again_ = false;
    return;
  }
  if (is_cut_ || again_) serve_soon();
  tick_ = loop_.call_at(now_ns_() + kTickNs, [this] { serve(); });
}

void MemoryQueue::serve_soon() {
  if (is_serving_) {
    again_ = true;
    return;
  }
  if (order_.empty() || soon_.armed()) return;
  soon_ = loop_.call_at(now_ns_(), [this] { serve(); });
}

MemoryQueue::Waits MemoryQueue::waits() const {
  if (order_.empty()) return {};
  return {count_, bytes_, order_.begin()->second->line.front().since_ns};
}

MemoryQueue::Waits MemoryQueue::waits_of(const Budget& session) const {
  auto found = lanes_.find(&session);
  if (found == lanes_.end()) return {};
  const Lane& lane = *found->second;
  return {lane.line.size(), lane.bytes, lane.line.front().since_ns};
}

const Budget* MemoryQueue::blocked_by(const Budget& budget) const {
  for (const Budget* b = &budget; b != nullptr; b = b->parent())
    if (full_.contains(b)) return b;
  return nullptr;
}

const Budget* MemoryQueue::find_full(const Request& request) const {
  // Urgent ones come first in a pass: until then only they have held up anybody.
  const Budget* blocked = request.is_urgent && !is_serving_ ? nullptr : blocked_by(*request.budget);
  return blocked != nullptr ? blocked : request.budget->full_for(request.bytes);
}

// From here to the end of the pass nobody is tried who is paid from a budget that has no room for `request`. Not only from
// the nearest: what comes back to one comes back to those above, and would be taken there. But who is at a limit of his own
// disturbs no other user at the host's: he waits for himself first.
void MemoryQueue::hold_up_others(const Request& request) {
  const Budget* nearest = request.budget->full_for(request.bytes);
  for (const Budget* b = nearest; b != nullptr; b = b->parent())
    if (b->full_for(request.bytes) == b && (b == nearest || b->parent() != nullptr)) full_.insert(b);
}

// Whether it is to be refused. Asks once in a pass whether memory is coming.
bool MemoryQueue::is_over(const Request& request, const Budget& full, int64_t now) {
  if (now < request.deadline_ns) return false;
  if (now >= request.latest_ns) return true;
  auto [found, is_new] = coming_.emplace(&full, false);
  if (is_new) found->second = is_coming_(full);
  return !found->second;
}

bool MemoryQueue::is_slice_over(int64_t begin) const { return now_ns_() - begin > kSliceNs; }

int MemoryQueue::explain(const Request& request, const Budget& full) {
  if (const Budget* nearest = request.budget->full_for(request.bytes)) return nearest->refuse(request.bytes);
  return fail(full.error_code(), "no room for %llu bytes: others wait already for what is left to %s",
              static_cast<unsigned long long>(request.bytes), full.name().c_str());
}

MemoryQueue::Waiting& MemoryQueue::enqueue(Request request, int64_t now) {
  auto& lane = lanes_[request.budget];
  if (lane == nullptr) lane = std::make_unique<Lane>(Lane{request.budget, {}, 0});
  int64_t due = request.deadline_ns;
  auto& line = lane->line;
  auto behind = line.end();
  if (request.is_urgent) behind = std::ranges::find_if(line, [](const Waiting& each) { return !each.request.is_urgent; });
  if (behind == line.begin() && !line.empty()) order_.erase(line.front().number);
  uint64_t number = request.is_urgent ? ++last_urgent_ : ++last_number_;
  auto at = line.insert(behind, Waiting{std::move(request), lane.get(), number, now, due});
  Waiting& waiting = *at;
  waiting.self = at;
  if (at == line.begin()) order_.emplace(waiting.number, lane.get());
  due_.emplace(due, &waiting);
  lane->bytes += waiting.request.bytes;
  bytes_ += waiting.request.bytes;
  ++count_;
  if (!is_serving_ && !tick_.armed()) tick_ = loop_.call_at(now + kTickNs, [this] { serve(); });
  return waiting;
}

// `waiting` is gone then, and its lane if it was the last.
MemoryQueue::Request MemoryQueue::take_out(Waiting& waiting) {
  Request request = std::move(waiting.request);
  Lane& lane = *waiting.lane;
  due_.erase({waiting.due_ns, &waiting});
  lane.bytes -= request.bytes;
  bytes_ -= request.bytes;
  --count_;
  bool was_first = waiting.self == lane.line.begin();
  if (was_first) order_.erase(waiting.number);
  lane.line.erase(waiting.self);
  if (lane.line.empty()) {
    const Budget* session = lane.session;
    lanes_.erase(session);
  } else if (was_first) {
    order_.emplace(lane.line.front().number, &lane);
  }
  return request;
}

void MemoryQueue::ask_for(const Budget& full, const Waiting& waiting, int64_t now) {
  if (waiting.request.deadline_ns <= waiting.since_ns) return;
  if (asked_.empty()) asked_ns_ = now;
  if (!asked_.emplace(&full, waiting.request.is_return).second) return;
  uint64_t left = full.limit() - std::min(full.limit(), full.used());
  uint64_t bytes = waiting.request.bytes;
  on_wanted_(full, bytes > left ? bytes - left : bytes, waiting.request.is_return);  // what is left is for who came before
}

// Whether it still waits; else the one behind it is the first.
bool MemoryQueue::look_at_first(Lane& lane, int64_t now) {
  Waiting& first = lane.line.front();
  if (first.request.alive.expired()) {
    (void)take_out(first);
    return false;
  }
  const Budget* full = find_full(first.request);
  if (full == nullptr) {
    Request request = take_out(first);
    if (int r = request.attempt(); r < 0) request.refuse(r);
    return false;
  }
  if (is_over(first.request, *full, now)) {
    refuse(first, *full, now);
    return false;
  }
  hold_up_others(first.request);
  ask_for(*full, first, now);
  return true;
}

// Those behind the first of their session, which nobody has tried: they came later, but their time may end sooner.
void MemoryQueue::end_overdue(int64_t now) {
  while (!due_.empty() && due_.begin()->first <= now && !is_cut_) {
    Waiting& waiting = *due_.begin()->second;
    const Request& request = waiting.request;
    bool is_gone = request.alive.expired();
    // None: it came in this pass, which is followed by another.
    const Budget* full = is_gone ? nullptr : blocked_by(*request.budget);
    if (is_gone) {
      (void)take_out(waiting);
    } else if (full != nullptr && is_over(request, *full, now)) {
      refuse(waiting, *full, now);
    } else {
      due_.erase(due_.begin());
      waiting.due_ns = std::max(now + 1, std::min(now + kLookAgainNs, request.latest_ns));
      due_.emplace(waiting.due_ns, &waiting);
    }
    is_cut_ = is_slice_over(now);
  }
}

void MemoryQueue::refuse(Waiting& waiting, const Budget& full, int64_t now) {
  int64_t waited = now - waiting.since_ns;
  int code = explain(waiting.request, full);
  Request request = take_out(waiting);
  if (waited >= kToldNs) {
    std::string text = last_error();
    code = fail(code, "%s; it has waited for %.1f s", text.c_str(), static_cast<double>(waited) / 1e9);
  }
  request.refuse(code);
}

}  // namespace tarn::daemon
