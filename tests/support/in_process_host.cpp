#include "support/in_process_host.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.hpp"
#include "os/process.hpp"

namespace tarn::test {
namespace {

void must(int r) {
  if (r < 0) {
    fprintf(stderr, "InProcessHost: %s\n", last_error());
    abort();
  }
}

}  // namespace

InProcessHost::InProcessHost(uint32_t workers, Mappings mappings, uint32_t spin_budget_ns) {
  if (os::membarrier_register()) shm::fences_are_symmetric = false;
  must(os::memfd_create("board", sizeof(shm::Board), board_fd_));
  for (uint32_t i = 0; i <= workers; ++i) {
    Fd fd;
    must(os::memfd_create("segment", sizeof(shm::MemberSegment), fd));
    segment_fds_.push_back(std::move(fd));
  }
  for (uint32_t i = 0; i <= workers; ++i) {
    auto process = std::make_unique<Process>();
    process->host = this;
    task::SessionView& view = process->view;
    if (i == 0 || mappings == Mappings::kOwn) {
      must(os::Mapping::map(board_fd_, sizeof(shm::Board), os::Access::kReadWrite, process->board_map));
      view.board = reinterpret_cast<shm::Board*>(process->board_map.data());
      for (uint32_t j = 0; j <= workers; ++j) {
        os::Mapping map;
        must(os::Mapping::map(segment_fds_[j], sizeof(shm::MemberSegment), os::Access::kReadWrite, map));
        view.segments[shm::kClientMember + j] = reinterpret_cast<shm::MemberSegment*>(map.data());
        process->segment_maps.push_back(std::move(map));
      }
    } else {
      view.board = processes_[0]->view.board;
      for (uint32_t j = 0; j <= workers; ++j)
        view.segments[shm::kClientMember + j] = processes_[0]->view.segments[shm::kClientMember + j];
    }
    view.link = process.get();
    view.self = shm::kClientMember + i;
    view.members_end = shm::kClientMember + workers + 1;
    process->store = std::make_unique<store::Store>(*process);
    must(process->store->init(view.self, 1, view.own()));
    for (uint32_t j = 0; j <= workers; ++j)
      if (j != i) must(process->store->on_member_added(shm::kClientMember + j, view.segments[shm::kClientMember + j]));
    processes_.push_back(std::move(process));
  }
  processes_[0]->view.board->spin_budget_ns.store(spin_budget_ns, shm::kRelaxed);
  processes_[0]->submitter = std::make_unique<task::Submitter>(processes_[0]->view, *processes_[0]->store);
  must(processes_[0]->submitter->init());
  for (uint32_t i = 0; i < workers; ++i) {
    Process& process = *processes_[i + 1];
    process.submitter = std::make_unique<task::Submitter>(process.view, *process.store);
    must(process.submitter->init());
    process.executor = std::make_unique<task::Executor>(process.view, *process.store, i, 1000 + static_cast<int>(i), 0);
    // The tasks of these tests know a submitter where those of programs have a client.
    must(process.executor->set_submitter(*process.submitter, reinterpret_cast<tarn_client*>(process.submitter.get())));
  }
}

InProcessHost::~InProcessHost() { stop(); }

void InProcessHost::start() {
  started_ = true;
  for (size_t i = 1; i < processes_.size(); ++i) {
    Process& process = *processes_[i];
    process.view.board->doorbell.set_serving(process.view.self, true);
    process.thread = std::thread([&process] { (void)process.executor->serve(); });
  }
}

void InProcessHost::stop() {
  if (!started_) return;
  started_ = false;
  for (size_t i = 1; i < processes_.size(); ++i) processes_[i]->executor->stop();
  for (size_t i = 1; i < processes_.size(); ++i) processes_[i]->thread.join();
}

int InProcessHost::Process::learn(uint32_t member) { return fail(TARN_E_DAEMON_GONE, "no member %u here", member); }

int InProcessHost::Process::request_slab(uint64_t size, store::Placement, wire::SlabHow, store::SlabView& out) {
  size = os::round_up(size, os::kPageSize);
  Fd fd;
  if (int r = os::memfd_create("slab", size, fd); r < 0) return r;
  if (int r = os::memfd_reserve(fd, 0, size); r < 0) return r;
  if (int r = os::Mapping::map(fd, size, os::Access::kReadWrite, out.mapping); r < 0) return r;
  Fd reader;
  if (int r = os::memfd_open_reader(fd, reader); r < 0) return r;
  std::lock_guard lock(host->mutex_);
  out.slab = host->next_slab_[view.self]++;
  out.node = 0;
  host->slabs_[{view.self, out.slab}] = {std::move(reader), size, false};
  return 0;
}

int InProcessHost::Process::learn_slab(uint32_t member, uint32_t slab) {
  std::lock_guard lock(host->mutex_);
  auto found = host->slabs_.find({member, slab});
  if (found == host->slabs_.end()) return fail(TARN_E_PROTOCOL, "there is no slab %u of member %u", slab, member);
  return store->on_slab_added(member, slab, Fd{fcntl(found->second.fd.get(), F_DUPFD_CLOEXEC, 3)}, found->second.size,
                              found->second.is_file);
}

int InProcessHost::Process::share_file(Fd file, uint64_t size, uint32_t& member, uint32_t& slab) {
  std::lock_guard lock(host->mutex_);
  member = view.self;
  slab = host->next_slab_[view.self]++;
  host->slabs_[{member, slab}] = {std::move(file), size, true};
  return 0;
}

void InProcessHost::Process::drop_slab(uint32_t member, uint32_t slab) {
  std::lock_guard lock(host->mutex_);
  host->slabs_.erase({member, slab});
}

}  // namespace tarn::test
