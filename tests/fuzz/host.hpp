// Host: a tarnd with one session and no worker, once for all inputs, whose client's memory a target fills as it likes.
//
// Only what tarnd reads there is tried, so its loop does not run after the session is open: nothing of it costs time.
#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <utility>
#include <vector>

#include "input.hpp"
#include "log.hpp"
#include "os/memory.hpp"
#include "os/socket.hpp"
#include "shm/member_segment.hpp"
#include "store/object_record.hpp"
#include "tarn/tarn.h"
#include "tarnd.hpp"
#include "task/task_record.hpp"
#include "wire/packet.hpp"

namespace tarn::fuzz {

class Host {
 public:
  static constexpr uint32_t kRecords = 16;           // of each kind, that are filled
  static constexpr uint64_t kFileSize = 256 * 1024;  // of the file behind all slabs, none of which is larger

  Host() : daemon_(loop_, config(), daemon::SlotTable(std::vector<daemon::Slot>(1)), keeper_, true) {
    Fd theirs;
    require(os::socket_pair(spawn_, theirs) == 0, "socket pair");
    daemon_.use_spawn_service(std::move(theirs), [] {});
    require(os::socket_pair(socket_, theirs) == 0, "socket pair");
    daemon_.serve_client(std::move(theirs));
    say_hello();
    while (loop_.run_ready()) {
    }
    require(daemon_.sessions().size() == 1, "the session is open");
    session_ = daemon_.sessions().begin()->second.get();
    client_ = session_->members().at(shm::kClientMember).get();
    map(offsetof(shm::MemberSegment, object_records), objects_);
    map(offsetof(shm::MemberSegment, task_records), tasks_);
    put_beyond();
    Fd file;
    require(os::memfd_create("slab", kFileSize, file) == 0, "a slab");
    require(os::Mapping::map(file, kFileSize, os::Access::kReadWrite, slab_) == 0, "it can be mapped");
    file_ = daemon::share(std::move(file));
  }

  [[nodiscard]] const daemon::Tarnd& daemon() const { return daemon_; }
  [[nodiscard]] daemon::Session& session() { return *session_; }
  [[nodiscard]] daemon::Member& client() { return *client_; }
  [[nodiscard]] const daemon::SharedFd& file() const { return file_; }
  [[nodiscard]] std::byte* slab_bytes() { return slab_.data(); }

  void set_objects(const std::vector<store::ObjectImage>& images, uint32_t used) {
    memset(objects_.data(), 0, kRecords * shm::kRecordSize);
    if (!images.empty()) memcpy(objects_.data(), images.data(), images.size() * sizeof(store::ObjectImage));
    segment().objects_used.store(used, shm::kRelaxed);
  }
  // kRecords of them.
  [[nodiscard]] std::byte* tasks() { return tasks_.data(); }
  void set_tasks_used(uint32_t used) { segment().records_used.store(used, shm::kRelaxed); }

 private:
  static daemon::Config config() {
    daemon::Config config;
    config.memory_max = 64u << 20;
    return config;
  }

  void say_hello() {
    wire::Buffer<1024> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kHello, 1);
    auto& hello = message.body<wire::Hello>();
    hello.role = static_cast<uint32_t>(wire::Role::kClient);
    hello.flags = TARN_INIT_NO_WORKERS;
    hello.pid = getpid();
    hello.build_id_size = 1;
    hello.argv_size = 2;
    require(message.append("a", 2), "it fits");
    Fd executable{open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
    Fd directory{open("/", O_RDONLY | O_CLOEXEC)};
    Fd event{eventfd(0, EFD_CLOEXEC)};
    int descriptors[] = {executable.get(), directory.get(), 1, 2, event.get()};
    require(os::socket_send(socket_, message.finish(), descriptors, 0) == 0, "HELLO is sent");
  }

  // Only kRecords are backed, as far as tarnd knows. What is behind them it must not find.
  void put_beyond() {
    client_->backed.objects = client_->backed.records = kRecords;
    store::ObjectImage object{};
    object.state = store::ObjectState{1, store::Phase::kSealed, 0}.pack();
    object.holders = store::holder_bit(shm::kClientMember);
    object.place = store::ObjectPlace{store::kNoSlab, false, 0}.pack();
    memcpy(objects_.data() + kRecords * shm::kRecordSize, &object, sizeof object);
    uint64_t running = task::State{1, 0, task::Phase::kRunning, 0}.pack();
    memcpy(tasks_.data() + kRecords * shm::kRecordSize + offsetof(task::TaskRecord, state), &running, sizeof running);
  }

  void map(uint64_t area, os::Mapping& out) {
    require(os::Mapping::map_range(*client().segment_file, area, (kRecords + 1) * shm::kRecordSize, os::Access::kReadWrite, out) == 0,
            "records can be mapped");
  }
  [[nodiscard]] shm::MemberSegment& segment() {
    return *reinterpret_cast<shm::MemberSegment*>(client().segment.data());
  }

  daemon::Loop loop_;
  daemon::Keeper keeper_{0};
  daemon::Tarnd daemon_;
  Fd spawn_;
  Fd socket_;  // the client's
  daemon::Session* session_ = nullptr;
  daemon::Member* client_ = nullptr;
  os::Mapping objects_;
  os::Mapping tasks_;
  os::Mapping slab_;
  daemon::SharedFd file_;
};

// The one of a target, with a daemon that says nothing. For ever: its threads see the end of the process.
inline Host& quiet_host() {
  static Host& host = *new Host();
  daemon::set_log_level(static_cast<daemon::Level>(0));
  return host;
}

}  // namespace tarn::fuzz
