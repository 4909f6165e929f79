// ResourceBook: what the host has of what tasks ask for by name and count ([resources] of tarnd.toml), and what of it is lent to
// which session.
//
// A session that comes gets all that is lent to nobody, and spends it among its workers without tarnd (shm/resources.hpp). When
// somebody lacks something he says RESOURCE_WISH. tarnd then lowers what others may take, those that have most first, and passes on
// what they do not use: at once, or as their tasks end, as it sees every few ms while there are wishes. Wishes are met in
// order, but those for other things do not wait for one that has to. What a wish has brought stays for a moment, until it is used: or
// sessions that want the same would take it from each other before any of them comes to it.
//
// What is lent is known here; what is used is read from the boards of sessions, which may lie: at most to keep what was lent to them.
// Loop thread only.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "loop.hpp"
#include "shm/board.hpp"

namespace tarn::daemon {

struct ResourceKind {
  std::string name;
  uint32_t total = 0;
};

class ResourceBook {
 public:
  // REQUIRES: at most shm::kResourcesMax kinds.
  ResourceBook(Loop& loop, std::vector<ResourceKind> kinds) : loop_(loop), kinds_(std::move(kinds)) {}

  // A new session: its board is told what there is. The board lasts until `close`.
  void open(uint32_t session, shm::Board& board);
  // The same after a restart: what was lent to it stays so, as far as it is there. The file may say something else by now.
  void resume(uint32_t session, shm::Board& board);
  void close(uint32_t session);

  // A task of the session asks for so much, and not enough is lent to it.
  void wish(uint32_t session, const shm::ResourceCounts& counts);

  [[nodiscard]] const std::vector<ResourceKind>& kinds() const { return kinds_; }
  // Of a private daemon, which has no file: what its client says, a list as in tarn_options. Before its session. TARN_E_ARGUMENT.
  [[nodiscard]] int set_kinds(const char* list);
  [[nodiscard]] uint64_t lent(uint32_t kind) const;
  // Of what is lent, as the sessions say.
  [[nodiscard]] uint64_t used(uint32_t kind) const;

 private:
  struct Session {
    shm::Board* board;
    std::array<uint32_t, shm::kResourcesMax> at{};  // where each kind is on its board; kResourcesMax: there was no room for it
    shm::ResourceCounts allowed{};  // as its board says
    shm::ResourceCounts lent{};     // at least that: it may still use more than it may take
    std::array<int64_t, shm::kResourcesMax> kept_until_ns{};  // what is allowed is not lowered, unless all of it is in use
  };
  struct Wish {
    uint32_t session;
    shm::ResourceCounts counts;
  };

  void look();
  [[nodiscard]] bool meet(const Wish& wish, uint32_t& held_up);
  void make_room(uint32_t kind, uint32_t wanted, uint32_t except);
  void take_back(uint32_t kind);
  static void place(Session& session, const std::vector<ResourceKind>& kinds);
  static void tell(Session& session, uint32_t kind);
  [[nodiscard]] static uint32_t used_by(const Session& session, uint32_t kind);
  [[nodiscard]] static bool is_kept(Session& session, uint32_t kind);

  Loop& loop_;
  std::vector<ResourceKind> kinds_;
  std::map<uint32_t, Session> sessions_;
  std::deque<Wish> wishes_;
  Loop::Timer timer_;
};

}  // namespace tarn::daemon
