// Members: which members a session has, and whether an index still means the process that one has met.
//
// The index of a member that is gone is given again. Whoever has not read his socket since still has the segment of the former one
// mapped, and may meet a reference that the new one has made: in that segment he would look at the records of a dead process.
// So every worker has a number that no other ever had, and who met it compares.
//
// tarnd alone writes, before it tells anybody of a member and before the member begins. A tarnd may be killed anywhere; the next
// one sets the bits by what it finds in its book, and leaves the numbers as they are.
//
// Everything here may be cut off by SIGKILL at any instruction. tests/model runs it through every interleaving and crash.
#pragma once

#include <cstdint>

#include "shm/ids.hpp"
#include "shm/word.hpp"

namespace tarn::shm {

struct Members {
  // The members that there are, a bit each, from before anybody is told of them until everybody is told that they are gone. Who meets
  // another index in an old hint need not wait to be told.
  Word<uint64_t> there[kMembersMax / 64];
  // Of who has the index now, or had it last; 0: nobody had it, or the client.
  Word<uint64_t> numbers[kMembersMax];

  void join(uint32_t member, uint64_t number) {
    numbers[member].store(number, kRelease);
    set_there(member, true);
  }
  void leave(uint32_t member) { set_there(member, false); }
  void set_there(uint32_t member, bool is_there) {
    auto& word = there[member / 64];
    (void)(is_there ? word.fetch_or(bit(member)) : word.fetch_and(~bit(member)));
  }

  [[nodiscard]] bool is_there(uint32_t member) const {
    return member < kMembersMax && (there[member / 64].load(kAcquire) & bit(member)) != 0;
  }
  [[nodiscard]] uint64_t number_of(uint32_t member) const { return numbers[member].load(kAcquire); }

 private:
  static constexpr uint64_t bit(uint32_t member) { return uint64_t{1} << member % 64; }
};

}  // namespace tarn::shm
