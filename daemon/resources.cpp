#include "resources.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "tarn/tarn.h"
#include "task/needs.hpp"

namespace tarn::daemon {
namespace {

constexpr int64_t kLookNs = 5'000'000;     // while somebody waits for what others use
constexpr int64_t kKeptNs = 50'000'000;    // for a worker to wake up and take what its session has wished for
constexpr size_t kWishesOfSession = shm::kClassesMax;

}  // namespace

int ResourceBook::set_kinds(const char* list) {
  std::vector<ResourceKind> kinds;
  task::ResourceList entries(list);
  task::ResourceList::Entry entry{};
  int r;
  while ((r = entries.next(entry)) > 0) {
    std::string name(entry.name, entry.name_size);
    if (std::ranges::any_of(kinds, [&](const ResourceKind& kind) { return kind.name == name; }))
      return fail(TARN_E_ARGUMENT, "resources: '%s' is named twice", name.c_str());
    if (kinds.size() == shm::kResourcesMax) return fail(TARN_E_LIMIT, "resources: there are more than %u", shm::kResourcesMax);
    kinds.push_back({std::move(name), entry.count});
  }
  if (r == 0) kinds_ = std::move(kinds);
  return r;
}

// Tasks of the session name a resource by its place on the board, which therefore never changes.
void ResourceBook::place(Session& session, const std::vector<ResourceKind>& kinds) {
  shm::Resources& on_board = session.board->resources;
  auto name_at = [&](uint32_t at) {
    const char* name = on_board.kind(at).name;
    return std::string_view(name, strnlen(name, shm::kResourceNameMax + 1));
  };
  for (uint32_t at = 0; at < shm::kResourcesMax; ++at) {
    if (std::ranges::any_of(kinds, [&](const ResourceKind& kind) { return kind.name == name_at(at); })) continue;
    on_board.kind(at).total.store(0, shm::kRelaxed);  // there is none of it any more
    on_board.kind(at).lent.store(0, shm::kRelaxed);
  }
  for (uint32_t i = 0; i < kinds.size(); ++i) {
    uint32_t at = 0;
    while (at < shm::kResourcesMax && !name_at(at).empty() && name_at(at) != kinds[i].name) ++at;
    session.at[i] = at;
    if (at == shm::kResourcesMax) continue;
    kinds[i].name.copy(on_board.kind(at).name, shm::kResourceNameMax);
    on_board.kind(at).total.store(kinds[i].total, shm::kRelaxed);
  }
}

void ResourceBook::open(uint32_t number, shm::Board& board) {
  Session session{&board};
  place(session, kinds_);
  for (uint32_t i = 0; i < kinds_.size(); ++i) {
    session.allowed[i] = session.lent[i] = kinds_[i].total - static_cast<uint32_t>(lent(i));
    tell(session, i);
  }
  sessions_[number] = session;
}

void ResourceBook::resume(uint32_t number, shm::Board& board) {
  Session session{&board};
  place(session, kinds_);
  for (uint32_t i = 0; i < kinds_.size(); ++i) {
    uint32_t at = session.at[i];
    if (at == shm::kResourcesMax) continue;
    uint64_t left = kinds_[i].total - lent(i);
    uint64_t before = board.resources.kind(at).lent.load(shm::kAcquire);
    session.lent[i] = static_cast<uint32_t>(std::min(std::max(before, board.resources.used(at)), left));
    session.allowed[i] = static_cast<uint32_t>(std::min<uint64_t>(before, session.lent[i]));
    tell(session, i);
  }
  sessions_[number] = session;
  board.resources.end_wish(UINT32_MAX);  // this tarnd has heard of none; its workers look again
}

void ResourceBook::close(uint32_t number) {
  if (sessions_.erase(number) == 0) return;
  std::erase_if(wishes_, [number](const Wish& wish) { return wish.session == number; });
  if (!wishes_.empty()) look();
}

void ResourceBook::wish(uint32_t number, const shm::ResourceCounts& counts) {
  auto found = sessions_.find(number);
  if (found == sessions_.end()) return;
  auto of_session = std::ranges::count_if(wishes_, [number](const Wish& wish) { return wish.session == number; });
  bool is_known = std::ranges::any_of(wishes_, [&](const Wish& wish) { return wish.session == number && wish.counts == counts; });
  if (is_known || static_cast<size_t>(of_session) >= kWishesOfSession) return;
  wishes_.push_back({number, counts});
  look();
}

uint64_t ResourceBook::lent(uint32_t kind) const {
  uint64_t sum = 0;
  for (auto& [number, session] : sessions_) sum += session.lent[kind];
  return sum;
}

uint64_t ResourceBook::used(uint32_t kind) const {
  uint64_t sum = 0;
  for (auto& [number, session] : sessions_) sum += used_by(session, kind);
  return sum;
}

uint32_t ResourceBook::used_by(const Session& session, uint32_t kind) {
  uint32_t at = session.at[kind];
  return at == shm::kResourcesMax ? 0 : static_cast<uint32_t>(std::min<uint64_t>(session.board->resources.used(at), session.lent[kind]));
}

bool ResourceBook::is_kept(Session& session, uint32_t kind) {
  if (used_by(session, kind) >= session.allowed[kind]) session.kept_until_ns[kind] = 0;
  return os::now_ns() < session.kept_until_ns[kind];
}

void ResourceBook::tell(Session& session, uint32_t kind) {
  if (uint32_t at = session.at[kind]; at != shm::kResourcesMax) session.board->resources.kind(at).lent.store(session.allowed[kind], shm::kSeqCst);
}

void ResourceBook::look() {
  uint32_t held_up = 0;
  for (auto wish = wishes_.begin(); wish != wishes_.end();) {
    if (!meet(*wish, held_up)) {
      ++wish;
      continue;
    }
    Session& session = sessions_.at(wish->session);
    uint32_t kinds = 0;
    for (uint32_t i = 0; i < shm::kResourcesMax; ++i) kinds |= wish->counts[i] != 0 ? 1u << i : 0;
    session.board->resources.end_wish(kinds);
    shm::ring_all(*session.board);
    wish = wishes_.erase(wish);
  }
  timer_.reset();
  if (!wishes_.empty()) timer_ = loop_.call_at(os::now_ns() + kLookNs, [this] { look(); });
}

// All of it or nothing: two sessions that each have a part of what the other wants would wait for each other. `held_up`: kinds, a bit
// each, that an earlier wish waits for; what its session has of them already is left to it.
bool ResourceBook::meet(const Wish& wish, uint32_t& held_up) {
  Session& session = sessions_.at(wish.session);
  shm::ResourceCounts wanted{};
  uint32_t mine = 0;
  for (uint32_t i = 0; i < kinds_.size(); ++i) {
    uint32_t count = session.at[i] == shm::kResourcesMax ? 0 : wish.counts[session.at[i]];
    if (count == 0 || count > kinds_[i].total) continue;
    wanted[i] = std::min(kinds_[i].total, used_by(session, i) + count);
    mine |= 1u << i;
  }
  bool is_there = (mine & held_up) == 0;
  for (uint32_t i = 0; i < kinds_.size() && is_there; ++i) {
    if (wanted[i] <= session.lent[i]) continue;
    make_room(i, wanted[i] - session.lent[i], wish.session);
    is_there = kinds_[i].total - lent(i) >= wanted[i] - session.lent[i];
  }
  if (!is_there) {
    held_up |= mine;
    return false;
  }
  for (uint32_t i = 0; i < kinds_.size(); ++i) {
    if ((mine >> i & 1) == 0) continue;
    session.lent[i] = std::max(session.lent[i], wanted[i]);
    session.allowed[i] = std::max(session.allowed[i], wanted[i]);
    session.kept_until_ns[i] = os::now_ns() + kKeptNs;
    tell(session, i);
  }
  return true;
}

// Others may take less from now on, who has most first, until `wanted` will be left once they use no more than that.
void ResourceBook::make_room(uint32_t kind, uint32_t wanted, uint32_t except) {
  uint64_t allowed = sessions_.at(except).lent[kind];
  for (auto& [number, session] : sessions_)
    if (number != except) allowed += session.allowed[kind];
  while (kinds_[kind].total - allowed < wanted) {
    Session* most = nullptr;
    for (auto& [number, session] : sessions_)
      if (number != except && session.allowed[kind] != 0 && !is_kept(session, kind) && (most == nullptr || session.allowed[kind] > most->allowed[kind])) most = &session;
    if (most == nullptr) break;
    auto less = static_cast<uint32_t>(std::min<uint64_t>(most->allowed[kind], wanted - (kinds_[kind].total - allowed)));
    most->allowed[kind] -= less;
    allowed -= less;
    tell(*most, kind);
  }
  take_back(kind);
}

// Who has the gate may be about to take something by what he was allowed before: then nothing is known of what his session uses.
void ResourceBook::take_back(uint32_t kind) {
  shm::full_fence();
  for (auto& [number, session] : sessions_)
    if (session.lent[kind] > session.allowed[kind] && session.board->resources.is_gate_open())
      session.lent[kind] = std::max(session.allowed[kind], used_by(session, kind));
}

}  // namespace tarn::daemon
