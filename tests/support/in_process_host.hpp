// InProcessHost: a session without tarnd, whose workers are threads of the test.
//
// Thread sanitizers see one process only, so this is where they see a client and workers share records.
// By default every "process" maps the segments at addresses of its own, as real ones do. Under a thread
// sanitizer all use the same ones, or it could not relate their accesses.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "os/memory.hpp"
#include "store/store.hpp"
#include "task/executor.hpp"
#include "task/session_view.hpp"
#include "task/submitter.hpp"

namespace tarn::test {

class InProcessHost {
 public:
  enum class Mappings { kOwn, kShared };

#ifdef __SANITIZE_THREAD__
  static constexpr Mappings kMappings = Mappings::kShared;
#else
  static constexpr Mappings kMappings = Mappings::kOwn;
#endif

  explicit InProcessHost(uint32_t workers, Mappings mappings = kMappings, uint32_t spin_budget_ns = 20'000);
  ~InProcessHost();

  [[nodiscard]] task::Submitter& client() { return *processes_[0]->submitter; }
  [[nodiscard]] store::Store& store() { return *processes_[0]->store; }
  [[nodiscard]] shm::MemberSegment& client_segment() { return processes_[0]->view.own(); }
  [[nodiscard]] task::SessionView& client_view() { return processes_[0]->view; }

  // The executor of worker `index`, for tests that drive it by hand: only before start().
  [[nodiscard]] task::Executor& executor(uint32_t index) { return *processes_[index + 1]->executor; }
  // With which its tasks submit tasks: in place of a client, tarn_call::client is this one's address.
  [[nodiscard]] task::Submitter& submitter(uint32_t index) { return *processes_[index + 1]->submitter; }
  [[nodiscard]] task::SessionView& view(uint32_t index) { return processes_[index + 1]->view; }
  [[nodiscard]] uint32_t member_of(uint32_t index) const { return shm::kFirstWorker + index; }

  void start();
  void stop();

 private:
  // What tarnd would keep: every slab of every member, handed to whoever asks.
  struct Slab {
    Fd fd;
    uint64_t size;
    bool is_file;
  };

  struct Process final : task::SessionLink, store::SlabSource {
    int learn(uint32_t member) override;
    int poll() override { return 0; }
    int grow(uint32_t, uint32_t) override { return 0; }
    int grow_graphs(uint32_t) override { return 0; }
    int end_run(uint32_t, uint32_t, uint32_t) override { return 0; }  // its workers are threads
    int request_slab(uint64_t size, store::Placement placement, wire::SlabHow how, store::SlabView& out) override;
    int learn_slab(uint32_t member, uint32_t slab) override;
    int share_file(Fd file, uint64_t size, uint32_t& member, uint32_t& slab) override;
    int grow_objects(uint32_t) override { return 0; }
    void drop_slab(uint32_t member, uint32_t slab) override;
    int restore(const shm::ObjectRef&, uint32_t, uint64_t) override { return 0; }  // nothing is ever away
    int bring(const wire::Made&) override { return 0; }
    void give_up(const wire::Made&) override {}
    void drop_copy(uint32_t, uint64_t) override {}

    InProcessHost* host = nullptr;
    os::Mapping board_map;
    std::vector<os::Mapping> segment_maps;
    task::SessionView view;
    std::unique_ptr<store::Store> store;
    std::unique_ptr<task::Submitter> submitter;
    std::unique_ptr<task::Executor> executor;
    std::thread thread;
  };

  Fd board_fd_;
  std::vector<Fd> segment_fds_;  // by member, from the client
  std::vector<std::unique_ptr<Process>> processes_;
  std::mutex mutex_;  // guards slabs_
  std::map<std::pair<uint32_t, uint32_t>, Slab> slabs_;
  std::map<uint32_t, uint32_t> next_slab_;
  bool started_ = false;
};

}  // namespace tarn::test
