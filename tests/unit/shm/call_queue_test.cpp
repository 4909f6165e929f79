// Calls come in the order in which they were made, each once, whatever block they lie in; a reader that begins again misses none
// that was not settled; and the caller's blocks are as many as what is not settled needs, however many calls are made.

#include "shm/call_queue.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace tarn::shm {
namespace {

using Queue = CallQueue<ActorCalls>;

// A caller's blocks, as its arena will give them: a few, used again in the order in which they were filled.
class Caller {
 public:
  explicit Caller(uint32_t blocks) : blocks_(blocks + 1), end_(queue.open(1)) {}

  ActorCalls& block(uint32_t line) { return blocks_[line]; }

  // False: all blocks are full of calls that may still have to begin.
  bool call(uint64_t call) {
    if (Queue::is_full(end_)) {
      uint32_t line = end_.number + 2;
      if (line >= blocks_.size()) {
        if (queue.first_block() <= oldest_) return false;
        line = 1 + oldest_++ % static_cast<uint32_t>(blocks_.size() - 1);
        for (auto& each : blocks_[line].calls) each.store(0, kRelaxed);
        blocks_[line].next.store(0, kRelaxed);
      }
      Queue::link(*this, end_, line);
    }
    Queue::push(*this, end_, call);
    return true;
  }

  Queue queue;

 private:
  std::vector<ActorCalls> blocks_;
  CallPlace end_;
  uint32_t oldest_ = 0;
};

TEST(CallQueue, NamesARecordAndItsGeneration) {
  uint64_t call = pack_call(0, 7);
  EXPECT_NE(0u, call);
  EXPECT_EQ(0u, call_record(call));
  EXPECT_EQ(7u, call_generation(call));
  EXPECT_EQ(1048575u, call_record(pack_call(1048575, ~0u)));
}

TEST(CallQueue, IsEmptyAtFirstAndBehindItsLastCall) {
  Caller caller(2);
  CallPlace place = caller.queue.begin();
  EXPECT_EQ(0u, Queue::peek(caller, place));
  for (uint32_t i = 0; i < ActorCalls::kCalls; ++i) ASSERT_TRUE(caller.call(pack_call(i, 1)));
  for (uint32_t i = 0; i < ActorCalls::kCalls; ++i, ++place.at) ASSERT_EQ(pack_call(i, 1), Queue::peek(caller, place));
  EXPECT_EQ(0u, Queue::peek(caller, place));  // at the end of a full block, and there is no next one
  ASSERT_TRUE(caller.call(pack_call(99, 1)));
  EXPECT_EQ(pack_call(99, 1), Queue::peek(caller, place));
  EXPECT_EQ(1u, place.number);
}

TEST(CallQueue, IsReadAgainFromWhatIsNotSettled) {
  Caller caller(4);
  for (uint32_t i = 0; i < 3 * ActorCalls::kCalls; ++i) ASSERT_TRUE(caller.call(pack_call(i, 1)));
  CallPlace place = caller.queue.begin();
  for (uint32_t i = 0; i < 2 * ActorCalls::kCalls + 5; ++i, ++place.at) {
    ASSERT_NE(0u, Queue::peek(caller, place));
    caller.queue.settle(place);
  }
  CallPlace again = caller.queue.begin();
  EXPECT_EQ(pack_call(2 * ActorCalls::kCalls, 1), Queue::peek(caller, again));
}

TEST(CallQueue, ABlockIsNotUsedAgainBeforeItsCallsAreSettled) {
  Caller caller(2);
  uint32_t made = 0;
  while (caller.call(pack_call(made, 1))) ++made;
  EXPECT_EQ(2 * ActorCalls::kCalls, made);
  CallPlace place = caller.queue.begin();
  for (uint32_t i = 0; i <= ActorCalls::kCalls; ++i, ++place.at) ASSERT_EQ(pack_call(i, 1), Queue::peek(caller, place));
  EXPECT_FALSE(caller.call(pack_call(made, 1)));
  caller.queue.settle(place);
  ASSERT_TRUE(caller.call(pack_call(made, 1)));
  for (uint32_t i = ActorCalls::kCalls + 1; i <= made; ++i, ++place.at) ASSERT_EQ(pack_call(i, 1), Queue::peek(caller, place));
}

TEST(CallQueue, AThreadReadsWhatAnotherWritesInOrder) {
  constexpr uint32_t kCalls = 200'000;
  Caller caller(3);
  std::thread writer([&caller] {
    for (uint32_t i = 0; i < kCalls; ++i)
      while (!caller.call(pack_call(i, i))) std::this_thread::yield();
  });
  CallPlace place = caller.queue.begin();
  uint32_t wrong = 0;
  for (uint32_t i = 0; i < kCalls; ++i, ++place.at) {
    uint64_t call;
    while ((call = Queue::peek(caller, place)) == 0) std::this_thread::yield();
    caller.queue.settle(place);
    wrong += call != pack_call(i, i);
  }
  writer.join();
  EXPECT_EQ(0u, wrong);
}

TEST(Callers, AreSetOnceAndClearedTogether) {
  Callers callers;
  callers.mark(0);
  callers.mark(61);
  callers.mark(61);
  EXPECT_EQ(uint64_t{1} << 61 | 1, callers.bits());
  callers.clear(1);
  EXPECT_EQ(uint64_t{1} << 61, callers.bits());
}

}  // namespace
}  // namespace tarn::shm
