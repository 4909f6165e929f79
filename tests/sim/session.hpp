// Session: a client and its workers in a World, and what tarnd does for them.
//
// The processes run the product's own Store, Submitter and Executor over the product's own shared memory. tarnd is written anew
// here, as daemon/session*.cpp has it, without sockets and budgets: it announces members and slabs, replaces who died, assigns what is
// to be settled, cleans the doorbell and wakes everybody.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "os/memory.hpp"
#include "store/store.hpp"
#include "task/executor.hpp"
#include "task/recovery_orders.hpp"
#include "task/session_view.hpp"
#include "task/submitter.hpp"
#include "world.hpp"

namespace tarn::sim {

using shm::kAcquire;
using shm::kRelaxed;
using shm::kRelease;

class Session {
 public:
  Session(World& world, uint32_t slots, std::function<void(task::Submitter&)> client);
  ~Session();

  void run() { world_.run(); }

  // What is left of tasks and objects, in words; "" if nothing is.
  [[nodiscard]] std::string leftovers() const;
  // Whether a process of that member may still do anything.
  [[nodiscard]] bool is_alive(uint32_t member) const;
  // What the client waits for from now on; nullptr: nothing.
  void client_awaits(const tarn_future* future) { awaited_ = future; }
  [[nodiscard]] World& world() { return world_; }
  [[nodiscard]] uint32_t slots() const { return slots_; }
  [[nodiscard]] size_t member_count() const { return members_.size(); }

  // Has the client read what tarnd has said.
  void poll_client() { (void)members_.front()->poll(); }
  // Of the task that calls it: its worker's member number.
  [[nodiscard]] static uint32_t member_of(const tarn_call& call) { return call.view->self; }

 private:
  struct Message {
    enum class Kind { kMemberAdded, kMemberDied, kMemberGone, kSlabAdded, kSlabDropped } kind;
    uint32_t member;
    uint32_t slab = 0;
    bool recover = false;
  };
  struct Slab {
    Fd fd;
    uint64_t size;
  };
  struct Member final : task::SessionLink, store::SlabSource {
    int learn(uint32_t wanted) override;
    int poll() override;
    int grow(uint32_t, uint32_t) override { return 0; }
    int grow_graphs(uint32_t) override { return 0; }
    int end_run(uint32_t worker, uint32_t id, uint32_t generation) override;
    int ask_for_stand_in(uint32_t wanted_rank) override;
    int request_slab(uint64_t size, store::Placement placement, wire::SlabHow how, store::SlabView& out) override;
    int learn_slab(uint32_t owner, uint32_t slab) override;
    int share_file(Fd, uint64_t, uint32_t&, uint32_t&) override { return -1; }
    int grow_objects(uint32_t) override { return 0; }
    void drop_slab(uint32_t owner, uint32_t slab) override;
    int restore(const shm::ObjectRef&, uint32_t, uint64_t) override { return 0; }  // nothing is ever away
    int bring(const wire::Made&) override { return 0; }
    void give_up(const wire::Made&) override {}
    void drop_copy(uint32_t, uint64_t) override {}

    bool take_in();

    Session* session = nullptr;
    uint32_t number = 0;
    uint32_t lane = 0;
    int process = -1;
    bool is_serving = false;
    bool is_dead = false;  // tarnd knows
    bool is_settled = false;
    bool is_gone = false;
    uint32_t settled_by = 0;
    os::Mapping segment;
    std::deque<Message> inbox;
    task::RecoveryOrders orders;
    // Private memory of the process. Never freed by it: a process that is killed frees nothing either.
    task::SessionView view;
    store::Store* store = nullptr;
    task::Submitter* submitter = nullptr;
    task::Executor* executor = nullptr;
  };

  Member& add_member();
  void admit(Member& member);
  void start_worker(uint32_t lane);
  void run_worker(Member& member);
  void tell_others(const Member& about, const Message& message);
  void handle_recovered(uint32_t number, uint32_t by);
  void release_if_empty(Member& dead);
  void wake_everybody();
  void serve_tarnd();
  void do_soon(std::function<void()> what);
  void handle_death(Member& member);
  void check_idle();
  [[nodiscard]] std::string where_hints_are() const;
  [[nodiscard]] Member* find(uint32_t number);
  [[nodiscard]] Member* member_of_process(int process);
  [[nodiscard]] shm::MemberSegment& segment_of(const Member& member) const {
    return *reinterpret_cast<shm::MemberSegment*>(member.segment.data());
  }

  World& world_;
  uint32_t slots_;
  Fd board_fd_;
  os::Mapping board_map_;
  shm::Board* board_ = nullptr;
  std::vector<std::unique_ptr<Member>> members_;
  std::map<std::pair<uint32_t, uint32_t>, Slab> slabs_;
  std::map<uint32_t, uint32_t> next_slab_;
  std::vector<bool> lane_used_;
  const tarn_future* awaited_ = nullptr;
  std::deque<std::function<void()>> tarnd_does_;
  uint32_t tarnd_word_ = 0;
};

}  // namespace tarn::sim
