// Models of an index that a member has after another (shm/members.hpp), and of tarnd's messages about them.
//
// Index 2 was that of a worker whom the reader knows. It goes, and another comes and makes something. tarnd may be killed anywhere in
// that; the next one knows what is in the book. What it said before lies in the reader's socket, which the reader looks at only
// when it has to.
#pragma once

#include <cstdint>

#include "explorer.hpp"
#include "shm/members.hpp"

namespace tarn::model {

using shm::kAcquire;
using shm::kRelease;
using shm::Word;

struct MembersState {
  static constexpr uint32_t kIndex = 2;
  static constexpr uint32_t kMessagesMax = 16;

  shm::Members members;
  Word<uint32_t> sent;
  uint64_t messages[kMessagesMax];  // the number of who is added; 0: the member is gone
  uint64_t book;                    // the number of the member that the next tarnd finds; 0: none
  uint32_t begins[4];               // the worker of that number
  Word<uint64_t> reference;         // made by the worker of that number
  uint32_t is_made;
  uint32_t is_read;
};

inline void tell(MembersState& s, uint64_t number) {
  uint32_t at = s.sent.load(kAcquire);
  s.messages[at] = number;
  (void)s.sent.fetch_add(1);
  futex_wake(s.sent.futex_address(), 1);
}

// As Session::release_if_empty.
inline void end_member(MembersState& s) {
  s.members.leave(s.kIndex);
  tell(s, 0);
  s.book = 0;
  step();
}

// As Session::admit_worker.
inline void begin_member(MembersState& s, uint64_t number) {
  s.members.join(s.kIndex, number);
  s.book = number;
  step();
  tell(s, number);
  s.begins[number] = 1;
  step();
}

// As Session::resume_all; a worker that had been admitted and had not begun is killed.
inline void resume_members(MembersState& s) {
  s.members.set_there(s.kIndex, s.book != 0);
  tell(s, s.book == 0 ? 0 : s.members.number_of(s.kIndex));
  if (s.book != 0 && s.book != 1 && s.begins[s.book] != 0) return;
  if (s.book != 0) end_member(s);
  begin_member(s, 3);
}

struct MembersReader {
  uint64_t known = 1;
  uint32_t read = 0;

  // As SessionView::know and Session::learn. False: the member is gone.
  bool know(MembersState& s) {
    while (known == 0 || known != s.members.number_of(s.kIndex)) {
      if (!s.members.is_there(s.kIndex)) return false;
      while (s.sent.load(kAcquire) == read) futex_wait(s.sent.futex_address(), read);
      known = s.messages[read++];
    }
    return true;
  }
};

inline Report index_given_again(bool dies) {
  using S = MembersState;
  Options options{.name = dies ? "an index is given again, tarnd may die" : "an index is given again"};
  options.crashes_max = dies ? 1 : 0;
  Model<S> model(options);
  model.setup([](S& s) {
    s.members.numbers[S::kIndex].store(1, kRelease);
    s.members.set_there(S::kIndex, true);
    s.book = 1;
    name_words(s.members.there, sizeof s.members.there, "there", 8);
    name_words(s.members.numbers, sizeof s.members.numbers, "number", 8);
    name_words(&s.sent, 4, "sent");
    name_words(&s.reference, 8, "reference");
  });
  model.process("tarnd", dies ? Kill::kAllowed : Kill::kNever, [](S& s) {
    end_member(s);
    begin_member(s, 2);
  });
  model.process("reader", Kill::kNever, [](S& s) {
    MembersReader reader;
    (void)reader.know(s);  // an old hint
    await(&s.is_made);
    uint64_t made_by = s.reference.load(kAcquire);
    check(reader.know(s), "who has made something is taken for gone");
    check(reader.known == made_by, "the records of a former member are read");
    s.is_read = 1;
  });
  for (uint64_t number : {uint64_t{2}, uint64_t{3}})
    model.process("worker " + std::to_string(number), Kill::kNever, [number](S& s) {
      await(&s.begins[number]);
      s.reference.store(number, kRelease);
      (void)s.reference.fetch_or(0);  // the record that tells of it
      s.is_made = 1;
    });
  if (dies) model.replacement("tarnd again", Kill::kNever, 0, [](S& s) { resume_members(s); });
  model.finally([](const S& s) { return s.is_read == 1 ? nullptr : "the reader waits to be told for ever"; });
  return model.run();
}

}  // namespace tarn::model
