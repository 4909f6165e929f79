// SessionView: the shared memory of a session as one process has it mapped.
//
// Filled by whoever talks to tarnd (clients/c/session.cpp, or a test's own host); the task room only
// reads it, and asks `learn` for members that it meets in a hint before it has been told of them.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "shm/board.hpp"
#include "shm/member_segment.hpp"
#include "task/task_protocol.hpp"
#include "trace/tracer.hpp"

namespace tarn::task {

class SessionLink {  // what the task room needs from tarnd; implemented by the session
 public:
  // Takes in what tarnd has sent until `member` is known. Blocks; fails when tarnd is gone, and at once when that member is.
  [[nodiscard]] virtual int learn(uint32_t member) = 0;
  // Takes in what tarnd has sent so far. Does not block. Fails when tarnd is gone.
  [[nodiscard]] virtual int poll() = 0;
  // Has tarnd back more of the own segment with memory: at least this many of each.
  [[nodiscard]] virtual int grow(uint32_t records, uint32_t edges) = 0;
  // Has tarnd end the process of `member`, which runs the doomed task in record `id`: of this process, or of a dead one that it
  // recovers. Waits only while tarnd does not read. Fails when tarnd is gone.
  [[nodiscard]] virtual int end_run(uint32_t member, uint32_t id, uint32_t generation) = 0;
  // Has tarnd start the stand-in of that rank for this worker's slot, unless there is one. Does not wait. Fails when tarnd is gone.
  [[nodiscard]] virtual int ask_for_stand_in(uint32_t rank) { return static_cast<void>(rank), 0; }
  // Has tarnd lend more to this session, for a task that asks for so much. Does not wait. Fails when tarnd is gone.
  [[nodiscard]] virtual int wish_for(const shm::ResourceCounts& counts) { return static_cast<void>(counts), 0; }
  // Tells tarnd that a worker of a session which is not watched has woken up.
  [[nodiscard]] virtual int tell_awake() { return 0; }
  // Has tarnd back so many pages of the own arena for graphs.
  [[nodiscard]] virtual int grow_graphs(uint32_t pages) = 0;
  // Writes to `text` what a run (generation 32 | record id 32) printed last before `worker` died in it, NUL-terminated; "" if
  // nothing is known. May wait some ms for it.
  virtual void read_last_output(uint32_t worker, uint64_t run, std::span<char> text) {
    (void)worker, (void)run;
    text[0] = '\0';
  }

 protected:
  ~SessionLink() = default;
};

inline constexpr size_t kLastOutputMax = 2048;  // of the error of a task, with the NUL

struct SessionView {
  SessionLink* link = nullptr;
  shm::Board* board = nullptr;
  uint32_t self = 0;
  uint32_t members_end = 0;                              // members below this index may be known
  shm::MemberSegment* segments[shm::kMembersMax] = {};   // nullptr: not known
  uint64_t numbers[shm::kMembersMax] = {};               // whose segments these are (shm::Members)
  int event_fds[shm::kMembersMax] = {};                  // written when the member's poll waiter is woken; 0: none
  shm::HintRing<shm::kHintRingSlots>::Producer producer; // of the own ring
  shm::HintRing<shm::kUnusualRingSlots>::Producer unusual[shm::kLevels];
  uint32_t published = 0;                                // hints pushed since the caller last rang

  trace::Tracer tracer;

  // Whether what happens is to be written into `tracer`.
  [[nodiscard]] bool is_traced() const { return trace::Tracer::is_on(*board); }

  [[nodiscard]] shm::MemberSegment& own() const { return *segments[self]; }

  // Whether the segment of `member` is there, and not that of a former one. The client and this process have no others after them.
  [[nodiscard]] bool is_known(uint32_t member) const {
    return segments[member] != nullptr &&
           (member == shm::kClientMember || member == self || numbers[member] == board->members.number_of(member));
  }
  // Makes sure that `member`, met in a record, is known: it may have joined since we last read the socket.
  [[nodiscard]] int know(uint32_t member) {
    return member >= shm::kMembersMax || link == nullptr || is_known(member) ? 0 : link->learn(member);
  }

  // Tells where a ready record of this kind is. The caller rings the doorbell when it has published all it has.
  void publish(uint32_t id, uint32_t kind) {
    if (lane_of(kind) == kUsualLane) [[likely]] {
      if (!push(own().usual.ring, producer, id)) segments[shm::id_member(id)]->usual.unhinted.fetch_add(1);
    } else if (uint32_t number = class_of(kind); number != 0) {
      return publish_in_class(id, number);
    } else {
      uint32_t level = level_of(kind);
      uint32_t bit = 1u << level;
      if ((board->levels.load(shm::kRelaxed) & bit) == 0) board->levels.fetch_or(bit);
      if (!push(own().unusual[level].ring, unusual[level], id)) segments[shm::id_member(id)]->unusual[level].unhinted.fetch_add(1);
    }
    ++published;
  }

  // (scheduling.cpp) The same in the queue of a class; wakes a worker that may begin it now.
  void publish_in_class(uint32_t id, uint32_t number);
  void ring_class(uint32_t number);

 private:
  static constexpr uint32_t kLooksMax = 64;          // at hints, for room in the ring
  static constexpr uint32_t kPauseInPublishes = 256;  // after a look that found none

  // A worker runs the tasks that it waits for without their hints: its ring fills up with those. As records are used again, they
  // may as well all tell of the same one.
  template <class Ring, class Producer>
  bool push(Ring& ring, Producer& own_end, uint32_t id) {
    if (ring.push(own_end, id)) [[likely]]
      return true;
    if (self < shm::kFirstWorker || (looks_paused != 0 && --looks_paused != 0)) return false;
    uint32_t ids[kLooksMax];
    size_t count = ring.take(ids, kLooksMax);
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i)
      if (ids[i] != id && is_ready(ids[i]) && std::find(ids, ids + kept, ids[i]) == ids + kept) ids[kept++] = ids[i];
    for (size_t i = 0; i < kept; ++i) (void)ring.push(own_end, ids[i]);  // there is room for as many as were taken
    if (kept == count) looks_paused = kPauseInPublishes;
    return kept != count && ring.push(own_end, id);
  }

  [[nodiscard]] bool is_ready(uint32_t id) const {
    uint32_t member = shm::id_member(id);
    if (member >= shm::kMembersMax || segments[member] == nullptr || shm::id_index(id) >= shm::kTaskRecordsMax) return false;
    auto* records = reinterpret_cast<const TaskRecord*>(segments[member]->task_records);
    return State::unpack(records[shm::id_index(id)].state.load(shm::kAcquire)).phase == Phase::kReady;
  }

  uint32_t looks_paused = 0;
};

// Space for task_protocol.hpp: the segment of one member, in production.
class SegmentSpace {
 public:
  SegmentSpace(SessionView& view, uint32_t member)
      : view_(view), member_(member), segment_(*view.segments[member]) {}

  TaskRecord& record(uint32_t index) { return reinterpret_cast<TaskRecord*>(segment_.task_records)[index]; }
  Edge& edge(uint32_t index) { return reinterpret_cast<Edge*>(segment_.edges)[index]; }
  Group& group(uint32_t index) { return *reinterpret_cast<Group*>(&segment_.group_words[index]); }
  [[nodiscard]] uint32_t id(uint32_t index) const { return shm::make_id(member_, index); }
  [[nodiscard]] uint32_t index_of(const TaskRecord& record) const {
    return static_cast<uint32_t>(&record - reinterpret_cast<const TaskRecord*>(segment_.task_records));
  }
  // The record may be done and used again by now: a hint in the wrong lane is still a hint.
  void publish(uint32_t id) { view_.publish(id, record(shm::id_index(id)).kind.load(shm::kRelaxed)); }

  [[nodiscard]] Word<uint64_t>& retry_at() { return segment_.retry_at; }

  // The record has finished: its group is marked before the event is counted, so that who sees the one finds the other.
  void notify(const TaskRecord& record) {
    segment_.finished.mark(index_of(record));
    notify();
  }
  void notify() { wake_set(segment_.waiters.count_event()); }

  // Everybody who sleeps looks again, whatever was counted: after a crash.
  void notify_all() { wake_set(segment_.waiters.count_all()); }

 private:
  void wake_set(uint64_t waiters) {
    for (; waiters != 0; waiters &= waiters - 1) wake(static_cast<uint32_t>(std::countr_zero(waiters)));
  }

  void wake(uint32_t index) {
    if (index == shm::Waiters::kPollWaiter) {
      // Full (EAGAIN) means that it is readable already.
      if (int fd = view_.event_fds[member_]; fd > 0) (void)eventfd_write(fd, 1);
      return;
    }
    segment_.waiters.release(index);
    os::futex_wake(segment_.waiters.futex_address(index), 1);
  }

  SessionView& view_;
  uint32_t member_;
  shm::MemberSegment& segment_;
};

}  // namespace tarn::task
