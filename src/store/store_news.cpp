// Store: members die, tarnd says what is new, and what that leaves to be done.
#include "base/error.hpp"
#include "store/store.hpp"

namespace tarn::store {

// ---- After a crash ---------------------------------------------------------------------------

void Store::sweep_dead_member(uint32_t dead, IsReferenced is_referenced, void* context) {
  if (dead >= shm::kMembersMax) return;
  is_dead_[dead].store(true, std::memory_order_release);
  Gate::Pass pass(gate_);
  for (uint32_t member = 0; member < shm::kMembersMax; ++member) {
    shm::MemberSegment* segment = table_.segment(member);
    if (segment == nullptr) continue;
    uint32_t used = table_.used(member);
    for (uint32_t i = 0; i < used; ++i) {
      ObjectRecord& record = ObjectTable::records(*segment)[i];
      Holders& life = record.life;
      if (member == dead) {
        ObjectState state = life.state_now();
        bool is_lost = state.phase == Phase::kCreating;
        if (state.phase == Phase::kOffered)
          is_lost = !is_referenced(context, record.link.load(kRelaxed), shm::make_id(member, i), state.generation);
        if (is_lost) (void)life.abandon(state);
      }
      if (record.pins.is_pinned_by(dead)) record.pins.unpin(dead);
      if (life.drop(dead, self_) && member != dead) give_back(member, i);
    }
  }
  drop_empty_slabs(dead);
}

// A dead member's slabs in which no object is alive are of no use to anybody.
void Store::drop_empty_slabs(uint32_t member) {
  uint64_t in_use[SlabMap::kNumbers / 64] = {};
  shm::MemberSegment* segment = table_.segment(member);
  if (segment == nullptr) return;
  uint32_t used = table_.used(member);
  Dead& dead = dead_[member];
  dead = {};
  for (uint32_t i = 0; i < used; ++i) {
    const ObjectRecord& record = ObjectTable::records(*segment)[i];
    if (!record.life.state_now().readable() || (record.life.bits.load(kAcquire) & kDead) != 0) continue;
    ++dead.alive;
    uint32_t slab = ObjectPlace::unpack(record.place).slab;
    in_use[slab / 64] |= uint64_t{1} << slab % 64;
  }
  slabs_.for_each(member, [&](uint32_t slab) {
    if ((in_use[slab / 64] >> slab % 64 & 1) != 0) return;
    slabs_.drop(member, slab);
    source_.drop_slab(member, slab);
  });
}

// Members died since the last look.
void Store::settle_deaths() {
  any_died_.store(false, std::memory_order_relaxed);
  bool all = look_at_all_dead_.exchange(false, std::memory_order_relaxed);
  for (uint32_t member = 0; member < shm::kMembersMax; ++member) {
    if (!died_[member].exchange(false)) continue;
    take_back_from_dead(member);
    // Its worker's results are safe: they are offered, if nothing else. What this process let go of
    // while it took the member for alive was returned to nobody.
    // Not if its index is another's by now.
    bool is_dead = is_dead_[member].load(std::memory_order_acquire);
    if (is_dead && (table_.has_held(member) || table_.has_declined(member) || all)) drop_empty_slabs(member);
  }
}

void Store::settle() {
  Gate::Pass pass(gate_);
  settle_all();
}

void Store::settle_in_wait() {
  Gate::Attempt attempt(gate_);
  if (attempt.has_passed()) settle_all();
}

// Memory is short, or is about to be: all that this process has and does not need.
void Store::give_free_memory_back() {
  take_back();
  heap_.trim();
  drop_spent_slabs();
  drop_free_slabs(0);
}

void Store::settle_all() {
  settle_dead();
  if (of_frees_ != nullptr) [[unlikely]]
    take_back();
  if (!reclaim_.exchange(false, std::memory_order_relaxed)) return;
  give_free_memory_back();
  for (uint32_t member = 0; member < shm::kMembersMax; ++member) {
    shm::MemberSegment* segment = table_.segment(member);
    if (segment == nullptr || !is_dead_[member].load(std::memory_order_acquire)) continue;
    // tarnd was the last to hold something of a dead member, which it cannot hear of any more.
    if (segment->returned_objects.load(kRelaxed) != 0 && segment->returned_objects.exchange(0) != 0) drop_empty_slabs(member);
  }
}

// ---- News from tarnd -------------------------------------------------------------------------

int Store::on_member_added(uint32_t member, shm::MemberSegment* segment) {
  if (member >= shm::kMembersMax) return fail(TARN_E_PROTOCOL, "there is no member %u", member);
  is_dead_[member].store(false, std::memory_order_release);
  table_.attach(member, segment);
  return 0;
}

void Store::on_member_died(uint32_t member) {
  if (member >= shm::kMembersMax) return;
  is_dead_[member].store(true, std::memory_order_release);
  died_[member].store(true, std::memory_order_release);
  any_died_.store(true, std::memory_order_release);
}

void Store::on_another_daemon(uint32_t host_epoch) {
  slabs_.doubt_all_but(self_);
  host_epoch_.store(host_epoch, std::memory_order_relaxed);
  on_member_died(shm::kDaemonMember);
  is_dead_[shm::kDaemonMember].store(false, std::memory_order_release);
}

// What the former one was told of empty slabs of dead members, or freed there itself, may be lost.
void Store::on_all_announced() {
  slabs_.drop_doubted();
  for (uint32_t member = shm::kFirstWorker; member < shm::kMembersMax; ++member)
    if (is_dead_[member].load(std::memory_order_acquire)) on_member_died(member);
  look_at_all_dead_.store(true, std::memory_order_relaxed);
}

void Store::on_reclaim() {
  reclaim_.store(true, std::memory_order_relaxed);
}

void Store::on_member_gone(uint32_t member) {
  if (member >= shm::kMembersMax) return;
  table_.detach(member);
  slabs_.drop_all(member);
}

int Store::on_slab_added(uint32_t member, uint32_t slab, Fd file, uint64_t size, bool is_file) {
  return slabs_.add(member, slab, std::move(file), size, is_file);
}

void Store::on_slab_dropped(uint32_t member, uint32_t slab) { slabs_.drop(member, slab); }

}  // namespace tarn::store
