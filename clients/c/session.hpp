// Session: this process's connection to tarnd, and the shared memory that tarnd hands out through it.
//
// A client's session starts a private daemon when none answers. A worker's session comes with the
// descriptor that its spawn service left it. The control socket is read only by calls that need
// something from tarnd and by waits that take long: there is no thread.
//
// A tarnd that is killed is followed by another, which says RESUME: what was asked and not answered is asked again, here, and
// what there is is told once more; to callers it is as if tarnd had taken its time.
//
// Thread safety: all public functions, by one gate; it is the innermost of this process's gates but one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/fd.hpp"
#include "base/gate.hpp"
#include "os/memory.hpp"
#include "os/socket.hpp"
#include "store/store.hpp"
#include "task/executor.hpp"
#include "task/recovery_orders.hpp"
#include "task/session_view.hpp"
#include "tarn/tarn.h"
#include "wire/packet.hpp"

namespace tarn::client {

class Session final : public task::SessionLink, public store::SlabSource {
 public:
  // Who is told of what tarnd announces; constant once the session is open.
  struct Listeners {
    store::Store* store = nullptr;
    void (*broken)(void* context, int code, const char* text) = nullptr;
    void (*event)(void* context, const wire::Event& event) = nullptr;
    void* context = nullptr;
  };

  Session() = default;
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Connects as a client; `deadline_ns` bounds all of it.
  [[nodiscard]] int open(const tarn_options& options, std::string_view address, int argc, char** argv,
                         const Listeners& listeners, int64_t deadline_ns);

  // Continues as a worker over the descriptor that the spawn service left.
  [[nodiscard]] int open_worker(Fd socket, const Listeners& listeners);

  // Tells what the client's tasks are called: NUL-terminated, one behind the other.
  [[nodiscard]] int say_task_names(std::span<const char> names);

  // Has tarnd tell the events in `mask` (TARN_EVENT_*, without SEALED), and no others.
  [[nodiscard]] int subscribe(uint32_t mask);

  // A worker's orders to settle the records of the dead go there, from `poll`.
  void set_executor(task::Executor* executor) { executor_ = executor; }
  [[nodiscard]] int say_ready();

  // Ends the session and waits, for a while, until tarnd has ended everything.
  void close();

  // SessionLink
  [[nodiscard]] int learn(uint32_t member) override;
  [[nodiscard]] int poll() override;
  [[nodiscard]] int grow(uint32_t records, uint32_t edges) override;
  [[nodiscard]] int end_run(uint32_t member, uint32_t id, uint32_t generation) override;
  [[nodiscard]] int ask_for_stand_in(uint32_t rank) override;
  [[nodiscard]] int wish_for(const shm::ResourceCounts& counts) override;
  [[nodiscard]] int tell_awake() override { return say(wire::Type::kAwake); }
  [[nodiscard]] int grow_graphs(uint32_t pages) override;
  void read_last_output(uint32_t worker, uint64_t run, std::span<char> text) override;  // last_output.cpp

  // SlabSource
  [[nodiscard]] int request_slab(uint64_t size, store::Placement placement, wire::SlabHow how, store::SlabView& out) override;
  [[nodiscard]] int learn_slab(uint32_t member, uint32_t slab) override;
  [[nodiscard]] int share_file(Fd file, uint64_t size, uint32_t& member, uint32_t& slab) override;
  [[nodiscard]] int grow_objects(uint32_t objects) override;
  void drop_slab(uint32_t member, uint32_t slab) override;
  [[nodiscard]] int restore(const shm::ObjectRef& ref, uint32_t slab, uint64_t offset) override;
  [[nodiscard]] int bring(const wire::Made& what) override;
  void give_up(const wire::Made& what) override;
  void drop_copy(uint32_t slab, uint64_t offset) override;

  [[nodiscard]] task::SessionView& view() { return view_; }
  [[nodiscard]] const wire::Welcome& welcome() const { return welcome_; }
  [[nodiscard]] const Fd& event_fd() const { return event_fd_; }
  // Readable when the event descriptor or the control socket is: what a program polls.
  [[nodiscard]] const Fd& poll_fd() const { return poll_fd_; }

 private:
  static constexpr uint32_t kEndRunsMax = shm::kMembersMax;  // no more are under way: each ends a worker
  // What await_answer returns when the request has to be made once more.
  static constexpr int kAskAgain = 2;

  [[nodiscard]] int connect(std::string_view address, int64_t deadline_ns);
  [[nodiscard]] int start_private();
  [[nodiscard]] int make_poll_fd();
  [[nodiscard]] int send(std::span<const std::byte> packet, std::span<const int> descriptors = {});
  [[nodiscard]] int greet(const tarn_options& options, int argc, char** argv, int64_t deadline_ns);
  [[nodiscard]] int say_hello(const tarn_options& options, int argc, char** argv, int64_t deadline_ns);
  [[nodiscard]] int await_welcome(int64_t deadline_ns);

  // Receives one packet; 0, os::kWouldBlock, or an error that is kept in gone_.
  [[nodiscard]] int receive(wire::Packet& packet, os::Received& received, int64_t deadline_ns);
  // Receives and takes in packets until one answers `serial`, which is left in `packet`.
  [[nodiscard]] int await_answer(uint32_t serial, wire::Packet& packet, os::Received& received);
  [[nodiscard]] int take_in(const wire::Packet& packet, os::Received& received);
  [[nodiscard]] int take_in_member(const wire::MemberInfo& info, os::Received& received);
  [[nodiscard]] int take_in_slab(const wire::SlabInfo& info, os::Received& received);
  void take_in_death(const wire::MemberInfo& info);
  void take_in_gone(uint32_t member);
  [[nodiscard]] int take_in_own_slab(const wire::SlabInfo& info);
  [[nodiscard]] int resume(const wire::Resume& info, uint32_t serial);
  void forget_what_is_gone();
  void take_in_event(const wire::Event& event);
  [[nodiscard]] int say(wire::Type type, uint32_t serial = 0);
  [[nodiscard]] int send_task_names();
  [[nodiscard]] int try_request_slab(const wire::SlabRequest& request, uint32_t serial, store::SlabView& out);
  [[nodiscard]] int try_share_file(const Fd& file, uint64_t size, uint32_t serial, wire::SlabId& out);
  [[nodiscard]] bool is_granted(uint32_t slab) const { return (granted_[slab / 64].load() >> slab % 64 & 1) != 0; }
  void set_granted(uint32_t slab) { granted_[slab / 64].fetch_or(uint64_t{1} << slab % 64); }
  void clear_granted(uint32_t slab) { granted_[slab / 64].fetch_and(~(uint64_t{1} << slab % 64)); }
  template <class Try>
  [[nodiscard]] int ask(Try attempt);
  [[nodiscard]] int refused(const wire::Packet& packet);
  [[nodiscard]] int send_grow(const wire::Grow& wish);
  [[nodiscard]] int gone();
  [[nodiscard]] int ask_for_log();

  template <class Body>
  [[nodiscard]] int ask_for_object(wire::Type type, const Body& body);
  template <class Body>
  [[nodiscard]] int tell(wire::Type type, const Body& body, uint32_t serial = 0);

  Listeners listeners_;
  task::Executor* executor_ = nullptr;
  wire::Welcome welcome_{};
  task::SessionView view_;

  Gate gate_;
  // Guarded by gate_.
  Fd socket_;
  Fd event_fd_;
  Fd poll_fd_;
  os::SpareDescriptors spares_;
  uint32_t serial_ = 0;
  uint32_t subscribed_ = 0;
  std::atomic<bool> is_gone_{false};
  bool is_worker_ = false;
  Fd private_daemon_;  // pidfd of the spawn service started for us
  wire::Grow grown_{shm::kRecordsAtStart, shm::kObjectsAtStart, shm::kEdgesAtStart, 0};  // of the own segment
  bool waits_for_memory_ = false;  // a thread waits in here for some, and is outside the store
  bool is_resumed_ = false;   // since a request was sent: it is to be sent again
  bool is_closing_ = false;
  bool is_told_short_ = false;  // of memory
  uint32_t resumed_ = 0;      // how often
  std::unique_ptr<char[]> task_names_;
  size_t task_names_size_ = 0;
  uint32_t announced_[shm::kMembersMax] = {};    // resumed_ at that time
  // The slabs and files of this process, a bit each, as tarnd has granted them. Set under gate_; cleared by drop_slab.
  std::atomic<uint64_t> granted_[(wire::kSlabNumberMax + 64) / 64] = {};
  os::Mapping board_;
  os::Mapping segments_[shm::kMembersMax];
  os::Mapping orphaned_segment_;  // of a member that is gone, and whose task this worker still runs
  os::Mapping log_;     // of what is printed in the session, once it was asked for
  Fd client_event_fd_;  // worker: the client's
  task::RecoveryOrders orders_;
  wire::Buffer<wire::kToMemberSizeMax> in_;

  Gate end_runs_gate_;  // guards the rest; the innermost one
  wire::EndRun end_runs_[kEndRunsMax] = {};
  uint32_t end_run_count_ = 0;
};

}  // namespace tarn::client
