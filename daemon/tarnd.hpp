// Tarnd: the daemon as a whole. Owns what sessions share, lets clients and tools in, and ends.
//
// Everything runs on one loop; other threads belong to the Prefaulter and the Closer. It never forks, never
// runs code of a user, and never follows a pointer or an index that it read from a user's memory.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "closer.hpp"
#include "config.hpp"
#include "connection.hpp"
#include "keeper.hpp"
#include "ledger.hpp"
#include "loop.hpp"
#include "memory_queue.hpp"
#include "prefault.hpp"
#include "session.hpp"
#include "sharing.hpp"
#include "slots.hpp"
#include "spawn_link.hpp"
#include "wake_cost.hpp"

namespace tarn::daemon {

struct Tenant {
  struct Limits {
    uint64_t memory;  // Budget::kNoLimit: all there is
    const char* memory_key;
    uint64_t descriptors;
    uint64_t disk;
  };
  Tenant(uid_t user, const Limits& limits, const TenantBudgets& of_host);
  uid_t uid;
  Budget budget;
  Budget descriptors;
  Budget in_flight;
  Budget disk;
  uint32_t sessions = 0;
};

class Tarnd final : public Session::Owner {
 public:
  // `keeper` outlives it.
  Tarnd(Loop& loop, const Config& config, SlotTable slots, Keeper& keeper, bool is_private);
  Tarnd(const Tarnd&) = delete;
  Tarnd& operator=(const Tarnd&) = delete;
  ~Tarnd();

  // Who starts the workers. When the service goes, `on_lost` decides.
  void use_spawn_service(Fd socket, std::function<void()> on_lost);

  // Goes on with the sessions of the tarnd before: takes out of `passed` what was kept of them. After use_spawn_service with
  // that one's link. Those that cannot be taken over end.
  void take_over(KeptDescriptors& passed);
  [[nodiscard]] bool has_spawn_service() const { return spawn_.connected(); }

  // Lets in whoever connects to `listener`: clients and tools, or only tools.
  void listen(Fd listener, bool tools_only);

  // The one client of a private tarnd, which ends with it.
  void serve_client(Fd socket);

  // Ends all sessions, then the loop.
  void shut_down();

  // For the tools.
  [[nodiscard]] const std::map<uint32_t, std::unique_ptr<Session>>& sessions() const { return sessions_; }
  [[nodiscard]] const SlotTable& slots() const { return slots_; }
  [[nodiscard]] const Budget& budget() const { return budget_; }
  [[nodiscard]] const Budget& disk() const { return disk_; }
  // Of what is used there: copies of objects that are in memory again.
  [[nodiscard]] uint64_t disk_kept() const { return spill_.bytes_kept(); }
  // Why no object can go there, whatever its session; or "".
  [[nodiscard]] std::string why_disk_is_off() const {
    const char* why = spill_.why_off();
    return why == nullptr ? "" : why;
  }
  [[nodiscard]] const Sharing& sharing() const { return sharing_; }
  [[nodiscard]] const ResourceBook& resources() const { return resources_; }
  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] bool is_private() const { return is_private_; }
  [[nodiscard]] const MemoryQueue& memory_queue() const { return memory_queue_; }
  [[nodiscard]] int64_t started_ns() const { return started_ns_; }
  [[nodiscard]] bool is_ending() const { return ending_; }
  // Whether all that was left to close is closed. For tests.
  [[nodiscard]] bool has_closed_all() { return prefaulter_.idle() && closer_.idle() && spill_.idle(); }

  void on_session_ended(Session& session) override;
  void on_memory_wanted(const Budget& full, uint64_t missing) override;
  void on_memory_taken(const Budget& budget) override;
  void on_awake(Session& session) override;
  [[nodiscard]] std::string largest_holders(const Budget& full, uid_t asker) const override;

 private:
  // How long waiting processes spin before they sleep: as long as a wake-up costs, and not at all while
  // others want the same cores, where a spin would keep somebody from working.
  [[nodiscard]] uint32_t spin_budget_ns(uint32_t session) const;
  void set_spin_budgets();
  [[nodiscard]] uint32_t weight_of(uid_t tenant) const;
  void measure_wake_cost();

  // Somebody who has not said HELLO yet, or a tool.
  struct Visitor final : Connection::Owner {
    Visitor(Tarnd& host, uint64_t number, bool is_limited) : daemon(host), id(number), tools_only(is_limited) {}
    void on_packet(Connection& from, const wire::Packet& packet, os::Received& received) override;
    void on_closed(Connection& from, const std::string& reason) override;

    Tarnd& daemon;
    uint64_t id;
    bool tools_only;
    bool is_tool = false;
    os::PeerCredentials peer{};
    std::unique_ptr<Connection> connection;
    Loop::Timer patience;   // for HELLO; then for its turn to ask
    wire::Query query{};    // of a tool, that waits for its turn
    uint32_t query_serial = 0;
  };

  struct Listener {
    Fd socket;
    Loop::Watch watch;
    bool tools_only;
  };

  void accept_on_loop(Listener& listener);
  void receive_visitor(Fd socket, bool tools_only);
  void handle(Visitor& visitor, const wire::Packet& packet, os::Received& received);
  void answer_in_turn(Visitor& visitor);
  void send_log(Visitor& visitor, uint32_t session, uint32_t serial);
  void send_trace(Visitor& visitor, const wire::TraceAsk& wish, uint32_t serial);
  void answer_query(Visitor& visitor, const wire::Query& query, uint32_t serial);
  [[nodiscard]] int open_session(Visitor& visitor, const wire::Packet& packet, os::Received& received);
  [[nodiscard]] std::unique_ptr<Session> make_session(SessionIdentity identity, Tenant& tenant);
  void add_session(std::unique_ptr<Session> session, Tenant& tenant);
  [[nodiscard]] int take_over_session(uint32_t number, KeptDescriptors& passed, std::span<const Fd> streams);
  // Calls fn(session) for all that are paid from `budget`, and looks at no others.
  template <class Fn>
  void for_each_payer(const Budget& budget, Fn fn) const;
  void want_memory(const Budget& full, uint64_t missing, bool is_return);
  void move_out(const Budget& full, uint64_t missing, bool is_return);
  [[nodiscard]] bool is_memory_coming(const Budget& full);
  [[nodiscard]] int check_tenant(uid_t uid, Tenant*& tenant);
  void refuse(Visitor& visitor, uint32_t serial, int code, const std::string& text);
  void drop_visitor(Visitor& visitor);

  Loop& loop_;
  Keeper& keeper_;
  const Config config_;
  const bool is_private_;
  const int64_t started_ns_;
  const uint32_t host_epoch_;
  SlotTable slots_;
  Budget budget_;
  Budget descriptors_;
  Budget in_flight_;
  Budget disk_;
  std::map<uid_t, std::unique_ptr<Tenant>> tenants_;
  std::unordered_map<const Budget*, std::vector<Session*>> payers_;  // by the budget of a tenant or a session
  MemoryQueue memory_queue_;  // hears of all that is given back, so it outlives those who give
  Closer closer_;  // gives back to the budgets above what those below leave to it
  Spill spill_;
  bool said_why_off_ = false;
  int64_t short_until_ns_ = 0;  // memory was wanted not long ago
  SpawnLink spawn_;
  Prefaulter prefaulter_;
  std::map<uint32_t, std::unique_ptr<Session>> sessions_;
  ResourceBook resources_;
  Sharing sharing_;
  std::map<uint64_t, std::unique_ptr<Visitor>> visitors_;
  std::map<uid_t, int64_t> next_query_ns_;  // when a user that had a costly answer may have another
  std::vector<std::unique_ptr<Listener>> listeners_;
  Fd spare_;  // given up for a moment to turn somebody away when descriptors have run out
  uint32_t last_session_ = 0;
  uint64_t last_visitor_ = 0;
  bool ending_ = false;
  Loop::Timer end_timer_;
  WakeCost wake_cost_;
  Loop::Timer wake_cost_timer_;
};

}  // namespace tarn::daemon
