// Session: one client, its workers, and all that they share. tarnd's side of it.
//
// Members know one another by index (shm/ids.hpp); the client is 1, a worker process gets an index of
// its own and gives it back when it is dead, settled (RECOVERED) and none of its slabs is left. A lane
// is a place for a worker process, replaced when it dies: one for each slot that this session has, and as many again for each
// rank of stand-ins (shm/seat.hpp), which stay empty until a worker asks for one.
//
// All members are of one user and trust each other; this class trusts none of them. It writes to the
// board and the waiters of their segments, and reads nothing there that it acts upon but which wake-up
// is due. Loop thread only.
//
// A session outlives a tarnd that is killed (kept_session.hpp): its processes go on, and the next tarnd takes it over. It
// tells every member what there is, as it tells a new one; who knows all that notices nothing, and who asked for something
// asks again.
//
// The code lies in session.cpp (life and death of the whole), session_worker.cpp (lanes and workers), session_slab.cpp
// (memory) and session_resume.cpp (being taken over).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "connection.hpp"
#include "event_feed.hpp"
#include "kept_session.hpp"
#include "ledger.hpp"
#include "loop.hpp"
#include "memory_queue.hpp"
#include "mover.hpp"
#include "os/memory.hpp"
#include "prefault.hpp"
#include "resources.hpp"
#include "session_output.hpp"
#include "session_trace.hpp"
#include "shm/board.hpp"
#include "slots.hpp"
#include "spawn_link.hpp"
#include "throttle.hpp"

namespace tarn::daemon {

class Session;

// What was paid for a file. Goes with the last copy of it, and is given back when that is closed.
struct Payment {
  std::shared_ptr<Budget> session;  // outlives the session by as much
  Charge memory;
  Charge descriptors;
};

struct Slab {
  enum class Phase { kPreparing, kReady } phase = Phase::kPreparing;
  SharedFd writer;  // tarnd's own; none of a mapped file
  SharedFd owners;  // the same memory for its owner, who may set the flags of this open file; until it is granted
  SharedFd reader;  // for all others
  uint64_t size = 0;
  int32_t node = -1;
  bool is_file = false;
  bool is_huge = false;  // it was made of huge pages
  uint32_t serial = 0;  // of the request
  std::shared_ptr<Payment> payment;                        // none of a mapped file
  std::map<uint64_t, std::unique_ptr<MovedObject>> moved;  // by offset
  uint64_t bytes_away = 0;                                 // that have no pages and are not paid for
  uint32_t discards = 0;       // of pages that its owner brought back to where they are gone, of what was abandoned
  uint64_t taken_again_to = 0;  // the same of what is away: where to go on
  std::shared_ptr<const bool> wanted;  // while it is being prepared: gone, and so is the work
};

class Member final : public Connection::Owner, public SpawnedProcess {
 public:
  enum class Phase {
    kStarting,  // asked for; nobody knows of it yet
    kAdmitted,  // WELCOME was sent, and everybody told
    kServing,   // said READY
    kDead,      // nobody runs any more; its records are not settled or its slabs not empty
  };

  Member(Session& session, uint32_t index) : session_(session), index_(index) {}

  void on_packet(Connection& from, const wire::Packet& packet, os::Received& received) override;
  void on_closed(Connection& from, const std::string& reason) override;
  void on_room(Connection& from) override;
  void fill_order(SpawnOrder& order) override;
  void on_started(int32_t pid) override;
  void on_failed(int error, const std::string& text) override;
  void on_exited(int signal, int exit_status) override;
  void on_stopped(bool stopped) override;
  void on_service_gone() override { service_gone = true; }

  [[nodiscard]] uint32_t index() const { return index_; }
  [[nodiscard]] bool is_client() const { return index_ == shm::kClientMember; }
  // Others have been told of it and it of them.
  [[nodiscard]] bool is_known() const { return phase != Phase::kStarting; }
  [[nodiscard]] bool is_reachable() const { return phase == Phase::kAdmitted || phase == Phase::kServing; }

  Phase phase = Phase::kStarting;
  int32_t pid = 0;
  uint64_t ticket = 0;  // workers, while the process may run
  uint32_t lane = 0;
  SharedFd standard_output;  // a worker's own, until they are asked for
  SharedFd standard_error;
  SharedFd control;     // a worker's end of `connection`, until it is asked for
  bool ended_by_us = false;
  uint32_t resuming = 0;  // the serial of a RESUME that it has not answered: what it says was for the tarnd before; 0: none
  int no_room = 0;           // of a worker for whose records there was none: the code,
  std::string no_room_text;  // and the numbers
  bool service_gone = false;  // that had started it
  Loop::Timer last_moment;  // for a worker that has closed its connection to be gone
  std::optional<wire::Hello> hello;  // of a worker whose pid is not known yet
  uint32_t hello_serial = 0;
  std::unique_ptr<Connection> connection;

  SharedFd segment_file;
  os::Mapping segment;  // its fixed beginning
  os::Mapping records;  // its object records, once one of its objects is moved
  std::shared_ptr<Payment> segment_payment;
  std::shared_ptr<Payment> connection_payment;
  wire::Grow backed{};
  bool is_growing = false;
  std::shared_ptr<Member*> self = std::make_shared<Member*>(this);
  // Its requests for memory live as long as this: until it dies or leaves, or its session ends.
  std::shared_ptr<const void> asks = std::make_shared<bool>(true);

  std::map<uint32_t, Slab> slabs;
  uint32_t next_slab = 0;

  // Once dead.
  int32_t signal = 0;
  int32_t exit_status = 0;
  bool settled = false;
  uint32_t settled_by = 0;  // the worker that has the order to, 0: none yet

 private:
  Session& session_;
  uint32_t index_;
};

// What tarnd lends to its sessions.
struct SessionServices {
  Loop& loop;
  Closer& closer;
  SpawnLink& spawn;
  ResourceBook& resources;
  SlotTable& slots;
  Prefaulter& prefaulter;
  MemoryQueue& memory_queue;
  Spill& spill;
  Keeper& keeper;
  uint32_t host_epoch;
  bool is_private;
  uint32_t spin_budget_ns;
  int64_t keep_ns;  // how long empty slabs are kept, and copies of what is in memory again
  uint32_t slabs_max;
  uint32_t workers_max;
};

// What the tenant of a session has, of which the session is paid.
struct TenantBudgets {
  Budget& memory;
  Budget& descriptors;
  Budget& in_flight;  // descriptors that nobody has received yet
  Budget& disk;
};

struct SessionIdentity {
  uint32_t number;
  pid_t client_pid;
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};

class Session {
 public:
  class Owner {
   public:
    // No process of it runs and nobody holds its memory by us any more: bury it.
    virtual void on_session_ended(Session& session) = 0;
    // `full` lacks so many bytes for something that does not wait for them: they may be there when it is tried again.
    virtual void on_memory_wanted(const Budget& full, uint64_t missing) = 0;
    // One of its workers begins to serve, woke up, or died.
    virtual void on_awake(Session& session) = 0;
    // A slab was paid from `budget`.
    virtual void on_memory_taken(const Budget& budget) = 0;
    // Who has most of what `full` has lent, as `asker` may know it.
    [[nodiscard]] virtual std::string largest_holders(const Budget& full, uid_t asker) const = 0;

   protected:
    ~Owner() = default;
  };

  Session(SessionServices services, SessionIdentity identity, const TenantBudgets& of_tenant, uint64_t memory_max,
          Owner& owner);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  // Takes the client's connection and its HELLO, and answers. On failure the caller refuses the client
  // with the error and drops this; nothing was started.
  [[nodiscard]] int open(std::unique_ptr<Connection>& connection, const wire::Packet& packet, os::Received& received,
                         Fd client_pidfd);

  // Instead of open: goes on with a session of the tarnd before, whose book `kept` is; `streams` are the outputs of all clients.
  // On failure the caller drops this, and the session has ended.
  [[nodiscard]] int resume(std::unique_ptr<KeptSession> kept, std::span<const Fd> streams);

  // Ends it: kills the workers, and tells the owner once they are dead. `reason` is for the log.
  void end(const char* reason);

  // Asks all members to drop the slabs in which nothing is alive.
  void reclaim() { reclaim_.ask(); }
  // Its objects that leave memory and come back.
  [[nodiscard]] Mover& mover() { return mover_; }
  [[nodiscard]] const Mover& mover() const { return mover_; }
  [[nodiscard]] KeptSession& kept() { return *kept_; }
  // What its client is told.
  [[nodiscard]] EventFeed& events() { return events_; }

  // What its workers print.
  [[nodiscard]] const SessionOutput& output() const { return output_; }

  // What tools are told of what happens.
  [[nodiscard]] SessionTrace& trace() { return trace_; }

  // Answers a request for a slab, a file, records or an object.
  void refuse_slab(Member& to, uint32_t serial, int code, const char* text);
  // What to tell who asked for `bytes` of memory and gets `code`: last_error(), and who fills what is full.
  [[nodiscard]] std::string memory_refusal(int code, uint64_t bytes) const;

  // For the tools.
  [[nodiscard]] uint32_t number() const { return identity_.number; }
  [[nodiscard]] const SessionIdentity& identity() const { return identity_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  // Of the task with that number; nullptr if the client told none.
  [[nodiscard]] const std::string* task_name(uint32_t number) const;
  [[nodiscard]] const std::map<uint32_t, std::string>& task_names() const { return task_names_; }
  [[nodiscard]] const std::map<uint32_t, std::unique_ptr<Member>>& members() const { return members_; }
  [[nodiscard]] uint32_t slot_of(const Member& worker) const { return lanes_[worker.lane].slot; }
  // 0: others want its cores.
  void set_spin_budget(uint32_t budget_ns);
  // Whether the worker has nothing to do, as it says: it waits for a task, in a task, or for its turn in its slot.
  [[nodiscard]] bool is_asleep(const Member& worker) const;
  // Whether a worker of it that wakes up need not say so. True if it was otherwise.
  bool set_watched(bool watched);
  [[nodiscard]] uint64_t deaths_in_lane(const Member& worker) const { return lanes_[worker.lane].deaths; }
  // Without stand-ins, that is, slots.
  [[nodiscard]] uint32_t worker_count() const { return static_cast<uint32_t>(lanes_.size()) / shm::Seat::kRanks; }
  [[nodiscard]] uint32_t rank_of(const Member& worker) const { return worker.lane / worker_count(); }
  [[nodiscard]] const Budget& budget() const { return *budget_; }
  [[nodiscard]] const SharedFd& board_file() const { return board_file_; }
  // Its members write it, also while somebody reads.
  [[nodiscard]] const shm::Board& board() const { return *board_; }
  [[nodiscard]] bool is_ending() const { return ending_; }
  [[nodiscard]] uint32_t host_epoch() const { return services_.host_epoch; }

 private:
  friend Member;
  friend SessionOutput;
  friend SessionTrace;

  static constexpr uint64_t kDescriptorsOfSession = 2;  // the pidfd, and one in passing
  static constexpr uint64_t kDescriptorsOfSlab = 2;     // the writer's, and the readers'
  struct Area;

  struct Lane {
    uint32_t slot;
    uint32_t waits = 0;     // for the spawn service to come back
    uint32_t failures = 0;  // workers in a row that died before they were ready
    uint32_t refusals = 0;  // in a row, of memory for a worker's records
    uint64_t deaths = 0;    // of workers, since this tarnd began
    bool broken = false;
    bool is_used = false;   // a worker is in it, or to be
    bool has_served = false;
    Loop::Timer restart;
  };

  // session.cpp
  [[nodiscard]] int pay(uint64_t memory, uint64_t descriptors, std::shared_ptr<Payment>& out);
  [[nodiscard]] int make_board();
  [[nodiscard]] int map_board(Fd file);
  [[nodiscard]] int make_segment(Member& member);
  [[nodiscard]] int pay_segment(Member& member);
  [[nodiscard]] int watch_client(Fd pidfd);
  void fill_board();
  [[nodiscard]] int take_resources();
  void handle_resource_wish(Member& from, const wire::ResourceWish& wish);
  void take_names(std::span<const std::byte> names);
  [[nodiscard]] int keep_hello(const wire::Packet& packet, os::Received& received);
  void welcome(Member& member, uint32_t serial);
  void handle(Member& from, const wire::Packet& packet, os::Received& received);
  void handle_task_names(Member& from, const wire::Packet& packet);
  void handle_end_run(Member& from, const wire::EndRun& wish);
  void handle_subscribe(Member& from, const wire::Subscribe& wish);
  void handle_client_gone(const std::string& reason);
  void broadcast(uint32_t except, wire::Builder& message, std::initializer_list<SharedFd> descriptors = {});
  void announce(const Member& member, Member& to);
  void tell_of_death(const Member& dead, Member& to, bool recover);
  void wake_everybody();
  void finish_if_over();
  void forget(Member& member);
  void break_session(int code, const std::string& text);
  void mend_session();
  void tell_client_broken(int code, const std::string& text);
  // Ends `from` because of what it sent: the session for the client, the process for a worker.
  void reject(Member& from, const char* what);

  // session_resume.cpp
  void keep_session(uint32_t hello_serial);
  void keep_member(const Member& member);
  void update_kept(const Member& member);
  void keep_slab(const Member& owner, uint32_t number, const Slab& slab);
  [[nodiscard]] int resume_all(std::span<const Fd> streams);
  [[nodiscard]] int resume_client();
  [[nodiscard]] int resume_descriptor(const char* what, Fd fd, SharedFd& out);
  [[nodiscard]] int resume_streams(std::span<const Fd> streams);
  [[nodiscard]] int resume_members();
  [[nodiscard]] int resume_member(uint32_t index, const KeptMember& kept);
  [[nodiscard]] int resume_slab(const KeptSlab& kept);
  void tell_all(Member& to);

  // session_worker.cpp
  void start_worker(uint32_t lane);
  [[nodiscard]] int try_start_worker(uint32_t lane);
  void fill_order(Member& worker, SpawnOrder& order);
  [[nodiscard]] uint32_t free_index();
  void kill_worker(Member& worker);
  void kill_worker_later(Member& worker);
  void admit_worker(Member& worker);
  void handle_worker_hello(Member& worker, const wire::Packet& packet);
  void handle_ready(Member& worker);
  void handle_awake(Member& worker);
  void handle_recovered(Member& worker, const wire::MemberInfo& message);
  void handle_worker_ended(Member& worker, int signal, int exit_status);
  void handle_start_failed(Member& worker, int error, const std::string& text);
  void handle_stopped(Member& worker, bool stopped);
  void make_lanes(std::span<const uint32_t> slots);
  [[nodiscard]] uint32_t seat_of(uint32_t lane) const { return lane % worker_count(); }
  void handle_stand_in(Member& worker, const wire::StandIn& wish);
  void restart_lane(uint32_t lane, bool was_ready, const std::string& how_it_ended, int no_room = 0);
  void wait_for_room(uint32_t lane, const std::string& text, int no_room);
  [[nodiscard]] bool is_anyone_serving() const;
  void order_an_idle_one_to_settle();
  void release_if_empty(Member& dead);

  // session_slab.cpp
  [[nodiscard]] int32_t node_of(const Member& member) const;
  [[nodiscard]] int make_slab(Member& from, const wire::SlabRequest& request, uint32_t serial);
  [[nodiscard]] const Budget* find_full(uint64_t bytes) const;
  void handle_slab_request(Member& from, const wire::SlabRequest& request, uint32_t serial);
  [[nodiscard]] bool is_memory_coming() const;
  [[nodiscard]] bool ask_again_later(const Member& from, std::function<void(Member&)> ask);
  void grant_slab(Member& owner, uint32_t number, const Prefaulter::Result& result);
  void send_slab(Member& owner, uint32_t number, wire::Type type);
  void send_warm(Member& owner, uint32_t serial, uint64_t bytes);
  void handle_slab_drop(Member& from, const wire::SlabId& id);
  void handle_file_share(Member& from, const wire::SlabInfo& info, uint32_t serial, Fd file);
  void handle_grow(Member& from, const wire::Grow& wish, uint32_t serial);
  [[nodiscard]] static std::vector<Area> missing_areas(const Member& member, const wire::Grow& wish, uint64_t& bytes);
  [[nodiscard]] int pay_areas(Member& member, const wire::Grow& wish, std::vector<Area>& areas);
  [[nodiscard]] int pay_backed(Member& member, const wire::Grow& backed);
  void back_areas(Member& member, std::vector<Area> areas, uint32_t serial);
  [[nodiscard]] int back_first_records(Member& member);
  void announce_slab(const Member& owner, uint32_t number, const Slab& slab, Member& to,
                     wire::Type how = wire::Type::kSlabAdded);
  void announce_slab_to_others(const Member& owner, uint32_t number, const Slab& slab);
  void ask_for_memory();
  [[nodiscard]] int check_slab_count(const Member& owner, uint32_t& number);
  [[nodiscard]] std::string largest_members() const;
  [[nodiscard]] Member* find(uint32_t index);

  SessionServices services_;
  SessionIdentity identity_;
  Owner& owner_;
  std::shared_ptr<Budget> budget_;
  Budget& descriptors_;
  Budget& in_flight_;  // descriptors that no member has received yet
  Throttle reclaim_;          // its members are asked for memory
  Loop::Timer idle_timer_;    // when it has wanted none for long
  Charge descriptor_charge_;
  std::string name_;
  std::map<uint32_t, std::string> task_names_;  // by number, for the tools
  bool has_told_names_ = false;                 // the client, to this tarnd

  // From the client's HELLO.
  wire::Hello hello_{};
  std::vector<std::byte> argv_;
  std::vector<std::byte> environment_;
  SharedFd executable_;
  SharedFd directory_;
  SharedFd standard_output_;
  SharedFd standard_error_;
  SharedFd client_event_;
  Fd client_pidfd_;
  Loop::Watch client_watch_;

  SharedFd board_file_;
  os::Mapping board_mapping_;
  shm::Board* board_ = nullptr;
  bool watched_ = true;
  static constexpr uint32_t kNotKnown = UINT32_MAX;
  uint32_t spin_budget_ns_ = kNotKnown;  // as it is on the board

  std::unique_ptr<KeptSession> kept_;
  EventFeed events_;
  Mover mover_;  // its objects go with the slabs of the members
  SessionOutput output_{*this};
  SessionTrace trace_{*this};
  std::vector<Lane> lanes_;
  std::map<uint32_t, std::unique_ptr<Member>> members_;
  uint32_t last_index_ = shm::kFirstWorker - 1;
  uint32_t slab_count_ = 0;
  bool is_starved_ = false;  // its client was told that no worker can start for want of memory
  bool ending_ = false;
  Loop::Timer end_timer_;
  // What asynchronous work holds to see whether the session is still there.
  std::shared_ptr<Session*> self_ = std::make_shared<Session*>(this);
};

}  // namespace tarn::daemon
