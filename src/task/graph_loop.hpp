// GraphLoop: a worker's way through a run of a graph: finds ready nodes, claims them, runs them, tells their followers.
//
// What it makes ready itself it keeps in private memory and comes to next, the last first: those nodes and what they read are
// in this core's cache. Older ones it puts into its ring (shm/hint_ring.hpp) as soon as that is empty, for others to take. All
// of these are hints; whatever becomes of them, the nodes are the truth.
//
// While nodes are long, nothing is kept back: all hints go through the ring, and the most urgent is taken out.
//
// `Host` supplies
//   uint32_t self()                    the member
//   uint32_t members_end(); Ring* ring(uint32_t member)     nullptr: it has none
//   uint8_t execute(GraphNode&, uint32_t index, NodeState, bool has_failed)    the outcome: kFailed, kObject
//   void over(); void wake_another()
//   void lose(uint32_t slot)           a hint of that run found no room: nodes are ready that no hint tells of
//   bool is_wanted()                   something else is to be done: the loop is left for it
//   void note_ready(uint32_t index)    if it has this: the node that was executed last was the last that this one waited for
//   int64_t spin_ns()                  how long to look for more before the loop is left
// `Protocol` is CrashSafe, or what a benchmark compares it with. One thread.
#pragma once

#include <cstdint>

#include "os/clock.hpp"
#include "os/process.hpp"
#include "shm/hint_ring.hpp"
#include "shm/member_segment.hpp"
#include "shm/prefetch.hpp"
#include "task/graph_protocol.hpp"
#include "task/graph_view.hpp"

namespace tarn::task {

using GraphRing = shm::HintRing<shm::kGraphRingSlots>;

// A hint: which of the session's runs, and the node in it.
constexpr uint32_t pack_graph_hint(uint32_t slot, uint32_t node) { return slot << 26 | node; }
static_assert(shm::kGraphSlots <= 64 && kGraphNodesMax == 1u << 26);

struct CrashSafe {
  static bool claim(GraphNode& node, uint32_t epoch, uint8_t member, NodeState& mine, bool& has_failed) {
    return task::claim(node, epoch, member, mine, has_failed);
  }
  template <class Space>
  static void finish(Space& space, GraphNode& node, NodeState mine, uint8_t outcome) {
    task::finish(space, node, mine, outcome);
  }
};

template <class Host, class Protocol = CrashSafe>
class GraphLoop {
 public:
  explicit GraphLoop(Host& host) : host_(host) {}

  // Runs nodes of the run in `slot` until it finds no more, or the host is wanted elsewhere. How many it ran.
  uint32_t run(const GraphView& view, uint32_t slot, uint32_t epoch) {
    view_ = view;
    slot_ = slot;
    epoch_ = epoch;
    top_ = bottom_ = 0;
    uint32_t ran = 0;
    uint64_t since = os::ticks();
    uint32_t index;
    while (next(index)) {
      ran += run_node(index);
      if (++steps_ % kStepsPerLook != 0 && !is_long_) continue;
      uint64_t now = os::ticks();
      set_pace(now - since);
      since = now;
      if (host_.is_wanted()) break;
    }
    share(top_ - bottom_);
    return ran;
  }

  // What the protocol asks of its Space.
  GraphNode& node(uint32_t index) { return view_.nodes[index]; }
  const uint32_t* successors(const GraphNode& node) { return view_.successors + node.successors; }
  void publish(uint32_t index) {
    if constexpr (requires { host_.note_ready(index); }) host_.note_ready(index);
    keep(index);
  }
  void over() { host_.over(); }

  // Recovery, or somebody who found ready nodes by looking: sets the run whose nodes are published, and hands over what was.
  void set_run(const GraphView& view, uint32_t slot, uint32_t epoch) {
    view_ = view;
    slot_ = slot;
    epoch_ = epoch;
    top_ = bottom_ = 0;
  }
  void share_all() { share(top_ - bottom_); }

 private:
  static constexpr uint32_t kCapacity = 1u << 13;
  static constexpr uint32_t kStepsPerLook = 16;
  static constexpr uint32_t kSharedAtATime = 16;
  static constexpr uint64_t kLongTicks = 20'000;   // a node, in the mean of kStepsPerLook: some microseconds on anything
  static constexpr uint32_t kShortStreak = 8;
  static constexpr int kPausesPerLook = 8;
  static constexpr int kPrefetched = 4;

  // ---- Hints in private memory: a ring of its own, the newest at the top.

  void keep(uint32_t index) {
    if (top_ - bottom_ == kCapacity && !share(kSharedAtATime)) {
      host_.lose(slot_);
      return;
    }
    kept_[top_++ % kCapacity] = index;
  }

  // Puts the oldest of them where others find them. False if none found room.
  bool share(uint32_t count) {
    GraphRing& ring = *host_.ring(host_.self());
    uint32_t done = 0;
    for (; done < count && ring.push(producer_, pack_graph_hint(slot_, kept_[bottom_ % kCapacity])); ++done) ++bottom_;
    if (done < count && count == top_ - bottom_ + done) {  // nothing may stay behind
      host_.lose(slot_);
      bottom_ = top_;
    }
    if (done != 0) host_.wake_another();
    return done != 0;
  }

  // ---- Finding.

  // Takes from a ring. A hint may be of a run that began since this one was entered, here or in another slot: such are put back
  // for whoever enters that, and this run is left (`stale_`) if it is its own that has changed.
  bool take(uint32_t member, uint32_t max) {
    GraphRing* ring = host_.ring(member);
    if (ring == nullptr) return false;
    uint32_t hints[kSharedAtATime];
    size_t count = ring->take(hints, max);
    if (count == 0) return false;
    // After the take: see graph_models.hpp.
    if (view_.header->epoch.load(shm::kAcquire) != epoch_) stale_ = true;
    bool any = false;
    for (size_t i = 0; i < count; ++i) {
      uint32_t index = hints[i] & (kGraphNodesMax - 1);
      if (!stale_ && hints[i] >> 26 == slot_) {
        if (index >= view_.node_count) continue;
        shm::prefetch_for_write(&view_.nodes[index]);
        keep(index);
        any = true;
      } else {
        if (!host_.ring(host_.self())->push(producer_, hints[i])) host_.lose(hints[i] >> 26);
        foreign_ = true;
      }
    }
    return any;
  }

  bool take_part(uint32_t part) {
    uint32_t first;
    uint32_t count = take_roots(view_.header->cursors[part], epoch_, first);
    for (uint32_t i = count; i-- > 0;) {  // the first of them is the most urgent
      shm::prefetch_for_write(&view_.nodes[view_.roots[first + i]]);
      keep(view_.roots[first + i]);
    }
    if (count != 0) host_.wake_another();  // for the others; it looks whether anybody sleeps
    return count != 0;
  }

  bool find_elsewhere() {
    uint32_t own_part = host_.self() % view_.parts;
    for (uint32_t i = 0; i < view_.parts; ++i)
      if (take_part((own_part + i) % view_.parts)) return true;
    for (uint32_t member = shm::kFirstWorker; member < host_.members_end(); ++member)
      if (member != host_.self() && take(member, kSharedAtATime / 2)) return true;
    return false;
  }

  bool find() {
    if (take(host_.self(), kSharedAtATime) || (!foreign_ && !stale_ && find_elsewhere())) return true;
    if (view_.header->unhinted.load(shm::kRelaxed) != 0 && look_through()) return true;
    if (foreign_ || stale_ || view_.is_over(epoch_)) return false;
    int64_t end = os::now_ns() + host_.spin_ns();
    do {
      for (int i = 0; i < kPausesPerLook; ++i) {
        os::pause();
        if (find_elsewhere()) return true;
        if (foreign_ || stale_ || view_.is_over(epoch_)) return false;
      }
      if (host_.is_wanted()) return false;
    } while (os::now_ns() < end);
    return false;
  }

  bool next(uint32_t& index) {
    if (is_long_) {
      // All that is at hand, but for the best, is for others as well.
      if (top_ - bottom_ < kSharedAtATime) (void)take(host_.self(), kSharedAtATime - (top_ - bottom_));
      if (top_ == bottom_ && !find()) return leave();
      uint32_t best = bottom_;
      for (uint32_t i = bottom_; i != top_; ++i)
        if (view_.nodes[kept_[i % kCapacity]].level > view_.nodes[kept_[best % kCapacity]].level) best = i;
      index = kept_[best % kCapacity];
      kept_[best % kCapacity] = kept_[--top_ % kCapacity];
      if (top_ != bottom_) share(top_ - bottom_);
      return true;
    }
    if (top_ == bottom_ && !find()) return leave();
    index = kept_[--top_ % kCapacity];
    if (top_ - bottom_ > 1 && host_.ring(host_.self())->empty()) share((top_ - bottom_) / 2 < kSharedAtATime ? (top_ - bottom_) / 2 : kSharedAtATime);
    return true;
  }

  bool leave() {
    if (stale_) bottom_ = top_;  // of a run that is over
    stale_ = foreign_ = false;
    return false;
  }

  // ---- Running.

  uint32_t run_node(uint32_t index) {
    GraphNode& it = view_.nodes[index];
    NodeState mine;
    bool has_failed;
    if (!Protocol::claim(it, epoch_, static_cast<uint8_t>(host_.self()), mine, has_failed)) return 0;
    // What is written next, while the task runs.
    const uint32_t* at = successors(it);
    if ((it.shape & GraphNode::kEnd) == 0)
      for (int i = 0; i < kPrefetched; ++i) {
        shm::prefetch_for_write(&view_.nodes[successor_node(at[i])]);
        if (is_last_successor(at[i])) break;
      }
    uint8_t outcome = host_.execute(it, index, mine, has_failed);
    Protocol::finish(*this, it, mine, outcome);
    return 1;
  }

  void set_pace(uint64_t ticks) {
    if (!is_long_) {
      is_long_ = ticks > kLongTicks * kStepsPerLook;
      streak_ = 0;
      return;
    }
    streak_ = ticks < kLongTicks ? streak_ + 1 : 0;
    if (streak_ == kShortStreak) is_long_ = false, steps_ = 0;
  }

  // ---- Ready nodes without a hint.

 public:
  // Looks through all nodes, and keeps the ready ones that it finds, as far as there is room.
  bool look_through() {
    GraphHeader& header = *view_.header;
    uint32_t unhinted = header.unhinted.load(shm::kAcquire);
    uint32_t at = header.scan_cursor.load(shm::kRelaxed);
    bool found = false;
    for (uint32_t looked = 0; looked < view_.node_count && top_ - bottom_ < kSharedAtATime; ++looked) {
      if (at >= view_.node_count) at = 0;
      if (is_ready(view_.nodes[at], epoch_)) {
        kept_[top_++ % kCapacity] = at;
        found = true;
      }
      ++at;
    }
    header.scan_cursor.store(at, shm::kRelaxed);
    if (!found) (void)header.unhinted.compare_exchange(unhinted, 0);
    return found;
  }

 private:
  Host& host_;
  GraphView view_{};
  uint32_t slot_ = 0;
  uint32_t epoch_ = 0;
  uint32_t top_ = 0;
  uint32_t bottom_ = 0;
  uint32_t steps_ = 0;
  uint32_t streak_ = 0;
  bool is_long_ = true;
  bool stale_ = false;    // a later run of this graph has begun
  bool foreign_ = false;  // hints of other runs are in the own ring
  GraphRing::Producer producer_;
  uint32_t kept_[kCapacity];
};

}  // namespace tarn::task
