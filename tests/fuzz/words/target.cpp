// tarnd takes and drops objects, sets them away and back, rings and wakes by changing words that members write as they like.
// Whatever it finds there: it comes to an end, says "freed" only for what nobody else held, and changes no bit but its own.
//
// Input: which operation, then the words as they are found.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "../input.hpp"
#include "shm/doorbell.hpp"
#include "shm/waiters.hpp"
#include "store/holders.hpp"
#include "store/pins.hpp"

namespace tarn::fuzz {
namespace {

using shm::kDaemonMember;
using store::Holders;
using store::Pins;

uint64_t bits_of(const Holders& life) { return life.bits.load(shm::kRelaxed); }

void try_take(Input& input) {
  Holders life;
  auto generation = static_cast<uint32_t>(input.word());
  uint64_t state = input.byte() % 2 == 0 ? input.word() : store::ObjectState{generation, store::Phase::kSealed, 0}.pack();
  uint64_t before = input.byte() % 4 == 0 ? store::dead_by(input.byte()) : input.word();
  life.state.store(state, shm::kRelaxed);
  life.bits.store(before, shm::kRelaxed);
  Holders::Taken taken = life.take(generation, kDaemonMember);
  auto found = store::ObjectState::unpack(state);
  bool is_that = (before & store::kDead) == 0 && found.generation == generation && found.readable();
  require((taken == Holders::Taken::kHeld) == is_that, "tarnd holds what was meant and lives, and nothing else");
  require(life.state.load(shm::kRelaxed) == state, "a take leaves the state alone");
  uint64_t after = bits_of(life);
  if (is_that) return require(after == (before | store::kDaemonHolder), "it sets its own bit");
  if (taken == Holders::Taken::kGoneAndFreed)
    return require(before == 0 && after == store::dead_by(kDaemonMember), "it frees what nobody held");
  require(after == before, "a take that is refused leaves nothing behind");
}

void try_drop(Input& input) {
  Holders life;
  uint32_t holder = input.byte() % 4 == 0 ? kDaemonMember : input.byte();
  uint64_t bit = store::holder_bit(holder);
  uint64_t before = input.byte() % 2 == 0 ? bit | (input.byte() % 2 == 0 ? 0 : input.word()) : input.word();
  life.bits.store(before, shm::kRelaxed);
  bool frees = life.drop(holder, kDaemonMember);
  uint64_t after = bits_of(life);
  require(frees == (bit != 0 && before == bit), "who drops the last bit frees");
  if (frees) return require(after == store::dead_by(kDaemonMember), "the set says who freed");
  require(after == ((before & store::kDead) != 0 ? before : before & ~bit), "a drop changes its own bit, and nothing that is dead");
}

void try_pins(Input& input) {
  uint64_t before = input.byte() % 4 == 0 ? 0 : input.word();
  uint32_t member = input.byte();
  Pins pins;
  auto now = [&] { return pins.word.load(shm::kRelaxed); };
  bool drops = input.byte() % 2 == 0;
  uint64_t nobody = drops ? store::kRepeatable : 0;
  if (input.byte() % 4 == 0) before = nobody;
  pins.reset(before);
  bool left = pins.leave(drops);
  require(left == (before == nobody) && now() == (left ? nobody | store::kAway : before), "it leaves if nobody pins, and only then");
  pins.reset(before);
  bool ended = pins.end_repeats(member);
  bool is_needed = (before & ~(store::kRepeatable | store::holder_bit(member))) != 0;
  require(ended == ((before & store::kRepeatable) == 0 || !is_needed), "what it was made of goes if nobody needs it, and only then");
  require(now() == (ended ? before & ~store::kRepeatable : before), "and nothing else changes");
  pins.reset(before);
  pins.come_back();
  require(now() == (before & ~store::kAway) && !pins.is_away() && pins.is_pinned() == ((now() & ~store::kRepeatable) != 0), "it is back, and who pins does so");
  pins.reset(before);
  require(pins.pin(member) == ((before & store::kAway) == 0) && now() == (before | store::holder_bit(member)), "a pin is a bit");
  pins.unpin(member);
  require(now() == (before & ~store::holder_bit(member)), "and goes alone");
}

// The chain is the members'. tarnd pushes to it; its owner must come to an end whatever it is.
void try_chain(Input& input) {
  constexpr uint32_t kRecords = 16;
  std::vector<shm::Word<uint32_t>> links(kRecords);
  auto any = [&] {
    uint8_t choice = input.byte();
    return choice < 224 ? choice % (kRecords + 2u) : static_cast<uint32_t>(input.word());
  };
  for (auto& link : links) link.store(any(), shm::kRelaxed);
  uint32_t first = any();
  shm::Word<uint32_t> head(first);
  auto link = [&](uint32_t index) -> shm::Word<uint32_t>& { return links.at(index); };
  uint32_t pushed = input.byte() % kRecords;
  store::push_returned(head, link, pushed);
  require(head.load(shm::kRelaxed) == pushed + 1 && links[pushed].load(shm::kRelaxed) == first, "what is pushed is the first");
  uint32_t count = 0;
  store::take_returned(head, link, kRecords, [&](uint32_t index) {
    require(index < kRecords && (count != 0 || index == pushed), "a chain leads to records");
    require(++count <= kRecords, "a chain has an end");
  });
  require(count >= 1 && head.load(shm::kRelaxed) == 0, "it is empty then");
}

void try_doorbell(Input& input) {
  // Its words, parked and serving, as the members see them.
  shm::Doorbell bell;
  uint64_t words[sizeof bell / sizeof(uint64_t)];
  for (uint64_t& word : words) word = input.byte() % 2 == 0 ? 0 : input.word();
  memcpy(static_cast<void*>(&bell), words, sizeof bell);
  uint32_t member = input.byte();
  uint32_t word = member / 64;
  uint64_t bit = uint64_t{1} << member % 64;
  bool serves = input.byte() % 2 == 0;
  uint64_t before = bell.serving(word);
  bell.set_serving(member, serves);
  require(bell.serving(word) == (serves ? before | bit : before & ~bit), "one worker serves, or does not");
  bell.withdraw(member);
  require(bell.awake() <= shm::kMembersMax, "members are awake");
  uint32_t left = shm::kMembersMax;
  while (uint32_t picked = bell.pick(input.byte())) {
    require(picked < shm::kMembersMax && picked != member, "who is picked has slept");
    require(--left > 0, "each is picked once");
  }
}

void try_waiters(Input& input) {
  shm::Waiters waiters;
  std::vector<std::byte> bytes(sizeof waiters);
  input.read(bytes.data(), bytes.size());
  memcpy(static_cast<void*>(&waiters), bytes.data(), bytes.size());
  uint32_t events = waiters.events();
  uint64_t parked;
  memcpy(&parked, bytes.data() + 8, sizeof parked);
  uint64_t woken = waiters.count_event();
  require((woken & ~parked) == 0, "who is woken has slept");
  require(waiters.count_all() == (parked & ~woken) && waiters.events() == events + 2, "all others are woken by tarnd");
  require(waiters.count_all() == 0, "once");
}

}  // namespace
}  // namespace tarn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tarn::fuzz::Input input(data, size);
  switch (input.byte() % 6) {
    case 0: tarn::fuzz::try_take(input); break;
    case 1: tarn::fuzz::try_drop(input); break;
    case 2: tarn::fuzz::try_pins(input); break;
    case 3: tarn::fuzz::try_chain(input); break;
    case 4: tarn::fuzz::try_doorbell(input); break;
    default: tarn::fuzz::try_waiters(input); break;
  }
  return 0;
}
