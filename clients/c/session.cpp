#include "session.hpp"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "launch.hpp"
#include "os/clock.hpp"
#include "os/process.hpp"
#include "wire/validate.hpp"

extern char** environ;

namespace tarn::client {
namespace {

constexpr const char* kHostSocket = "/run/tarn/tarnd.sock";
// Pre-faulting a slab of tens of GB takes its time, and before that it may wait for room: MemoryQueue::kWaitMaxNs.
constexpr int64_t kRequestTimeoutNs = 60'000'000'000;
constexpr const char* kResourcesName = "TARN_RESOURCES=";
constexpr int64_t kCloseTimeoutNs = 5'000'000'000;
constexpr int64_t kRoomTimeoutNs = 1'000'000'000;  // for a host to make room for a session
constexpr useconds_t kRoomPauseUs = 20'000;

// The build id of this executable (the first loaded object), which tells one build from another.
int copy_build_id(dl_phdr_info* info, size_t, void* argument) {
  auto& hello = *static_cast<wire::Hello*>(argument);
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    auto* at = reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr);
    auto* end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      memcpy(&note, at, sizeof note);
      const char* name = at + sizeof note;
      const char* description = name + os::round_up(note.n_namesz, 4);
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(name, "GNU", 4) == 0) {
        hello.build_id_size = static_cast<uint32_t>(std::min<size_t>(note.n_descsz, sizeof hello.build_id));
        memcpy(hello.build_id, description, hello.build_id_size);
        return 1;
      }
      at = description + os::round_up(note.n_descsz, 4);
    }
  }
  return 1;  // only the executable
}

int open_path(const char* path, int flags, Fd& out) {
  out = Fd{::open(path, flags | O_CLOEXEC)};
  if (!out.valid()) return fail_errno(code_of_errno(errno), "cannot open %s", path);
  return 0;
}

// A duplicate of a standard stream, or of /dev/null if it is closed.
int duplicate_stream(int stream, Fd& out) {
  out = Fd{fcntl(stream, F_DUPFD_CLOEXEC, 3)};
  return out.valid() ? 0 : open_path("/dev/null", O_WRONLY, out);
}

}  // namespace

Session::~Session() { close(); }

int Session::gone() {
  is_gone_ = true;
  if (welcome_.daemon_pid == 0 && !is_worker_)
    return fail(TARN_E_NO_DAEMON, "the daemon ended before it had answered; what it wrote to standard error says why");
  return fail(TARN_E_DAEMON_GONE, "the daemon (process %d) has left; close the client and call tarn_init again",
              welcome_.daemon_pid);
}

template <class Body>
int Session::tell(wire::Type type, const Body& body, uint32_t serial) {
  wire::Buffer<sizeof(wire::Header) + sizeof(Body)> buffer;
  wire::Builder builder(buffer.bytes, type, serial);
  builder.body<Body>() = body;
  return send(builder.finish());
}

int Session::send(std::span<const std::byte> packet, std::span<const int> descriptors) {
  if (is_gone_ || !socket_.valid()) return gone();
  int r = os::socket_send(socket_, packet, descriptors, os::deadline_after(kRequestTimeoutNs));
  return r == TARN_E_DAEMON_GONE ? gone() : r;
}

int Session::receive(wire::Packet& packet, os::Received& received, int64_t deadline_ns) {
  if (is_gone_ || !socket_.valid()) return gone();
  int r = os::socket_receive(socket_, in_.bytes, received, deadline_ns, &spares_);
  if (r != 0) return r;
  if (received.size == 0) return gone();
  return wire::parse(std::span<const std::byte>(in_.bytes).first(received.size), received.descriptor_count,
                     wire::From::kDaemon, packet);
}

// ---- Opening ---------------------------------------------------------------------------------

int Session::connect(std::string_view address, int64_t deadline_ns) {
  (void)deadline_ns;  // connecting to a unix socket does not block for long
  if (address == "auto") {
    if (os::socket_connect(kHostSocket, socket_) == 0) return 0;
    return start_private();
  }
  if (address == "private") return start_private();
  constexpr std::string_view kUnix = "unix:";
  if (address.starts_with(kUnix)) return os::socket_connect(address.substr(kUnix.size()), socket_);
  return fail(TARN_E_ARGUMENT, "the address '%.*s' is none of 'auto', 'private' and 'unix:PATH'",
              static_cast<int>(address.size()), address.data());
}

int Session::start_private() {
  return launch_private_daemon(socket_, private_daemon_);
}

int Session::say_hello(const tarn_options& options, int argc, char** argv, int64_t deadline_ns) {
  if (options.resources != nullptr && !private_daemon_.valid())
    return fail(TARN_E_ARGUMENT,
                "tarn_options: resources are for a private daemon; this one was running already, and has those of its tarnd.toml");
  Fd executable;
  Fd directory;
  Fd out;
  Fd err;
  if (int r = open_path("/proc/self/exe", O_PATH, executable); r < 0) return r;
  if (int r = open_path(".", O_PATH | O_DIRECTORY, directory); r < 0) return r;
  if (int r = duplicate_stream(STDOUT_FILENO, out); r < 0) return r;
  if (int r = duplicate_stream(STDERR_FILENO, err); r < 0) return r;
  event_fd_ = Fd{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!event_fd_.valid()) return fail_errno(code_of_errno(errno), "cannot make an event descriptor");

  auto buffer = std::make_unique<wire::Buffer<wire::kMessageSizeMax>>();
  wire::Builder builder(buffer->bytes, wire::Type::kHello, ++serial_);
  auto& hello = builder.body<wire::Hello>();
  hello.role = static_cast<uint32_t>(wire::Role::kClient);
  hello.workers = options.workers;
  hello.flags = options.flags;
  hello.output = options.output;
  hello.pid = getpid();
  dl_iterate_phdr(copy_build_id, &hello);
  wire::set_text(hello.name, options.name != nullptr ? options.name : program_invocation_short_name);
  size_t size = 0;
  bool fits = true;
  auto append = [&](char** strings, int count) {
    for (int i = 0; (count < 0 || i < count) && strings[i] != nullptr && fits; ++i) {
      size_t length = strlen(strings[i]) + 1;
      size += length;
      fits = size <= wire::kArgumentsSizeMax && builder.append(strings[i], length);
    }
  };
  append(argv, argc);
  hello.argv_size = static_cast<uint32_t>(size);
  // A private daemon reads there what tasks may ask for.
  bool is_given = options.resources != nullptr;
  for (char** each = environ; *each != nullptr; ++each)
    if (!is_given || strncmp(*each, kResourcesName, strlen(kResourcesName)) != 0) append(each, 1);
  if (is_given) {
    char text[4096];
    if (snprintf(text, sizeof text, "%s%s", kResourcesName, options.resources) >= static_cast<int>(sizeof text))
      return fail(TARN_E_TOO_LARGE, "tarn_options: resources has more than %zu bytes", sizeof text - 1 - strlen(kResourcesName));
    char* entry = text;
    append(&entry, 1);
  }
  hello.environment_size = static_cast<uint32_t>(size - hello.argv_size);
  if (!fits)
    return fail(TARN_E_TOO_LARGE, "the arguments and environment of this program have more than %zu bytes",
                wire::kArgumentsSizeMax);
  int descriptors[] = {executable.get(), directory.get(), out.get(), err.get(), event_fd_.get()};
  if (int r = send(builder.finish(), descriptors); r < 0) return r;
  spares_.keep();
  if (int r = await_welcome(deadline_ns); r < 0) return r;
  return make_poll_fd();
}

int Session::refused(const wire::Packet& packet) {
  if (packet.type == wire::Type::kRefused) {
    const auto& body = packet.as<wire::Refused>();
    return fail(body.code < 0 ? body.code : TARN_E_PROTOCOL, "%s", body.text);
  }
  const auto& body = packet.as<wire::SlabRefused>();
  return fail(body.code < 0 ? body.code : TARN_E_PROTOCOL, "%s", body.text);
}

int Session::await_welcome(int64_t deadline_ns) {
  wire::Packet packet;
  os::Received received;
  if (int r = receive(packet, received, deadline_ns); r != 0) return r;
  if (packet.type == wire::Type::kRefused) return refused(packet);
  if (packet.type != wire::Type::kWelcome)
    return fail(TARN_E_PROTOCOL, "the daemon answered with %s instead of WELCOME", wire::type_name(packet.type));
  welcome_ = packet.as<wire::Welcome>();
  if (welcome_.board_size != sizeof(shm::Board) || welcome_.segment_size != sizeof(shm::MemberSegment) ||
      welcome_.member >= shm::kMembersMax)
    return fail(TARN_E_VERSION, "tarnd lays out shared memory differently: it is of another build than libtarn");
  if (int r = os::Mapping::map(received.descriptors[0], sizeof(shm::Board), os::Access::kReadWrite, board_); r < 0)
    return r;
  uint32_t self = welcome_.member;
  if (int r = os::Mapping::map(received.descriptors[1], sizeof(shm::MemberSegment), os::Access::kReadWrite,
                               segments_[self]);
      r < 0)
    return r;
  view_.link = this;
  view_.board = reinterpret_cast<shm::Board*>(board_.data());
  if (int r = view_.tracer.open(*view_.board, received.descriptors[0], self); r < 0) return r;
  view_.self = self;
  view_.members_end = self + 1;
  view_.segments[self] = reinterpret_cast<shm::MemberSegment*>(segments_[self].data());
  if (event_fd_.valid()) view_.event_fds[self] = event_fd_.get();
  if (view_.board->magic != shm::Board::kMagic || view_.own().magic != shm::MemberSegment::kMagic)
    return fail(TARN_E_VERSION, "shared memory is not what this release expects: tarnd is of another build");
  return 0;
}

int Session::make_poll_fd() {
  poll_fd_ = Fd{epoll_create1(EPOLL_CLOEXEC)};
  if (!poll_fd_.valid()) return fail_errno(code_of_errno(errno), "cannot make a pollable descriptor");
  for (int fd : {event_fd_.get(), socket_.get()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (epoll_ctl(poll_fd_.get(), EPOLL_CTL_ADD, fd, &event) < 0)
      return fail_errno(code_of_errno(errno), "cannot watch a descriptor");
  }
  return 0;
}

int Session::open(const tarn_options& options, std::string_view address, int argc, char** argv,
                  const Listeners& listeners, int64_t deadline_ns) {
  listeners_ = listeners;
  int64_t end = std::min(deadline_ns, os::deadline_after(kRoomTimeoutNs));
  for (;;) {
    int r = connect(address, deadline_ns);
    if (r == 0) r = greet(options, argc, argv, deadline_ns);
    bool is_full = r == TARN_E_STORE_FULL || r == TARN_E_QUOTA;
    if (!is_full || private_daemon_.valid() || os::now_ns() >= end) return r;
    // A host whose memory is full makes some free when it is asked.
    socket_.reset();
    usleep(kRoomPauseUs);
  }
}

int Session::greet(const tarn_options& options, int argc, char** argv, int64_t deadline_ns) {
  if (argc > 0 && argv != nullptr) return say_hello(options, argc, argv, deadline_ns);
  // main's own are not known: the kernel kept a copy. With the NUL behind it, it is a list of strings.
  auto line = std::make_unique<char[]>(wire::kArgumentsSizeMax + 1);
  Fd file;
  if (int r = open_path("/proc/self/cmdline", O_RDONLY, file); r < 0) return r;
  size_t size = 0;
  for (ssize_t got = 1; got > 0 && size < wire::kArgumentsSizeMax;
       size += static_cast<size_t>(got)) {
    got = read(file.get(), line.get() + size, wire::kArgumentsSizeMax - size);
    if (got < 0) return fail_errno(TARN_E_SYSTEM, "cannot read /proc/self/cmdline");
  }
  if (size == wire::kArgumentsSizeMax)
    return fail(TARN_E_TOO_LARGE, "the arguments of this program have more than %zu bytes",
                wire::kArgumentsSizeMax);
  auto count = static_cast<int>(std::count(line.get(), line.get() + size, '\0'));
  auto strings = std::make_unique<char*[]>(static_cast<size_t>(count) + 1);
  char* at = line.get();
  for (int i = 0; i < count; ++i, at += strlen(at) + 1) strings[static_cast<size_t>(i)] = at;
  return say_hello(options, count, strings.get(), deadline_ns);
}

int Session::open_worker(Fd socket, const Listeners& listeners) {
  listeners_ = listeners;
  socket_ = std::move(socket);
  is_worker_ = true;
  wire::Hello hello{};
  hello.role = static_cast<uint32_t>(wire::Role::kWorker);
  hello.pid = getpid();
  dl_iterate_phdr(copy_build_id, &hello);
  wire::set_text(hello.name, program_invocation_short_name);
  if (int r = tell(wire::Type::kHello, hello, ++serial_); r < 0) return r;
  spares_.keep();
  return await_welcome(os::deadline_after(kRequestTimeoutNs));
}

int Session::say_task_names(std::span<const char> names) {
  if (names.empty()) return 0;
  Gate::Pass pass(gate_);
  if (task_names_.get() != names.data()) {
    task_names_ = std::make_unique<char[]>(names.size());
    std::ranges::copy(names, task_names_.get());
    task_names_size_ = names.size();
  }
  return send_task_names();
}

int Session::send_task_names() {
  std::span<const char> names(task_names_.get(), task_names_size_);
  if (names.empty()) return 0;
  auto buffer = std::make_unique<wire::Buffer<wire::kMessageSizeMax>>();
  wire::Builder message(buffer->bytes, wire::Type::kTaskNames, 0);
  message.body<wire::TaskNames>().names_size = static_cast<uint32_t>(names.size());
  if (!message.append(names.data(), names.size()))
    return fail(TARN_E_TOO_LARGE, "%zu bytes of task names", names.size());
  return send(message.finish());
}

int Session::subscribe(uint32_t mask) {
  Gate::Pass pass(gate_);
  if (mask == subscribed_) return 0;
  int r = tell(wire::Type::kSubscribe, wire::Subscribe{mask, 0});
  if (r == 0) subscribed_ = mask;
  return r;
}

int Session::say_ready() {
  Gate::Pass pass(gate_);
  return say(wire::Type::kReady);
}

int Session::say(wire::Type type, uint32_t serial) {
  wire::Buffer<sizeof(wire::Header)> buffer;
  return send(wire::Builder(buffer.bytes, type, serial).finish());
}

void Session::close() {
  if (!socket_.valid()) return;
  int64_t deadline_ns = os::deadline_after(kCloseTimeoutNs);
  if (!is_worker_ && !is_gone_ && welcome_.session != 0 && say(wire::Type::kGoodbye) == 0) {
    is_closing_ = true;
    // tarnd closes its end when the workers have ended. What it says until then is of no use, unless it is another tarnd.
    wire::Packet packet;
    os::Received received;
    while (receive(packet, received, deadline_ns) == 0)
      if (packet.type == wire::Type::kResume) (void)resume(packet.as<wire::Resume>(), packet.serial);
  }
  socket_.reset();
  if (private_daemon_.valid()) await_private_daemon(private_daemon_, deadline_ns);
  private_daemon_.reset();
}

// ---- What tarnd says -------------------------------------------------------------------------

int Session::take_in_member(const wire::MemberInfo& info, os::Received& received) {
  if (info.member >= shm::kMembersMax || info.member == view_.self || info.segment_size != sizeof(shm::MemberSegment))
    return fail(TARN_E_PROTOCOL, "tarnd announced member %u with a segment of %llu bytes", info.member,
                static_cast<unsigned long long>(info.segment_size));
  announced_[info.member] = resumed_;
  if (view_.segments[info.member] != nullptr) {
    if (view_.numbers[info.member] == info.number) return 0;  // told twice
    take_in_gone(info.member);                                // before a tarnd that was killed could say so
  }
  os::Mapping mapping;
  if (int r = os::Mapping::map(received.descriptors[0], sizeof(shm::MemberSegment), os::Access::kReadWrite, mapping);
      r < 0)
    return r;
  // A run that waits here may be one of the former member of that number, and look at its record once more.
  if (executor_ != nullptr && orphaned_segment_.size() == 0 && executor_->runs_for(info.member))
    orphaned_segment_ = std::move(segments_[info.member]);
  segments_[info.member] = std::move(mapping);
  view_.segments[info.member] = reinterpret_cast<shm::MemberSegment*>(segments_[info.member].data());
  view_.numbers[info.member] = info.number;
  view_.members_end = std::max(view_.members_end, info.member + 1);
  if (info.member == shm::kClientMember && received.descriptor_count > 1) {
    client_event_fd_ = std::move(received.descriptors[1]);
    view_.event_fds[info.member] = client_event_fd_.get();
  }
  return listeners_.store == nullptr ? 0
                                     : listeners_.store->on_member_added(info.member, view_.segments[info.member]);
}

int Session::take_in_slab(const wire::SlabInfo& info, os::Received& received) {
  if (listeners_.store == nullptr) return 0;
  return listeners_.store->on_slab_added(info.member, info.slab, std::move(received.descriptors[0]), info.size,
                                         info.is_file != 0);
}

void Session::take_in_death(const wire::MemberInfo& info) {
  if (is_worker_ && info.recover != 0) orders_.add({info.member, info.signal, info.exit_status});
  if (listeners_.store != nullptr) listeners_.store->on_member_died(info.member);
}

void Session::take_in_gone(uint32_t member) {
  if (member >= shm::kMembersMax || member == view_.self) return;
  // The mapping stays until the index is used again: another thread may be reading in it.
  view_.segments[member] = nullptr;
  if (listeners_.store != nullptr) listeners_.store->on_member_gone(member);
}

void Session::take_in_event(const wire::Event& event) {
  if (event.kind == TARN_EVENT_PRESSURE) is_told_short_ = event.is_over == 0;
  if (listeners_.event != nullptr) listeners_.event(listeners_.context, event);
}

// Of a request that nobody waits for any more, because it failed meanwhile; or told by the next tarnd.
int Session::take_in_own_slab(const wire::SlabInfo& info) {
  if (info.member == view_.self && is_granted(info.slab)) return 0;
  return tell(wire::Type::kSlabDrop, wire::SlabId{info.member, info.slab});
}

int Session::take_in(const wire::Packet& packet, os::Received& received) {
  switch (packet.type) {
    case wire::Type::kMemberAdded:
      return take_in_member(packet.as<wire::MemberInfo>(), received);
    case wire::Type::kMemberDied:
      take_in_death(packet.as<wire::MemberInfo>());
      return 0;
    case wire::Type::kMemberGone:
      take_in_gone(packet.as<wire::MemberInfo>().member);
      return 0;
    case wire::Type::kSlabAdded:
      return take_in_slab(packet.as<wire::SlabInfo>(), received);
    case wire::Type::kSlabDropped:
      if (listeners_.store != nullptr) {
        const auto& id = packet.as<wire::SlabId>();
        listeners_.store->on_slab_dropped(id.member, id.slab);
      }
      return 0;
    case wire::Type::kReclaim:
      if (listeners_.store == nullptr) return 0;
      listeners_.store->on_reclaim();
      if (waits_for_memory_) listeners_.store->settle_in_wait();
      return 0;
    case wire::Type::kSessionBroken: {
      const auto& body = packet.as<wire::Broken>();
      if (listeners_.broken != nullptr) listeners_.broken(listeners_.context, body.code, body.text);
      return 0;
    }
    case wire::Type::kEvent:
      take_in_event(packet.as<wire::Event>());
      return 0;
    case wire::Type::kSlabGranted:
      return take_in_own_slab(packet.as<wire::SlabInfo>());
    case wire::Type::kResume:
      return resume(packet.as<wire::Resume>(), packet.serial);
    case wire::Type::kCurrent:
      forget_what_is_gone();
      return 0;
    default:
      return 0;  // another answer that nobody waits for
  }
}

int Session::poll() {
  {
    Gate::Pass pass(gate_);
    ErrorGuard guard;
    for (;;) {
      wire::Packet packet;
      os::Received received;
      int r = receive(packet, received, 0);
      if (r == os::kWouldBlock) break;
      // No descriptor left for what tarnd announces: it stays in the socket until there is one. Who needs it is told.
      if (r == TARN_E_LIMIT) {
        (void)guard.end(0);
        break;
      }
      if (r < 0) return r;
      if (r = take_in(packet, received); r < 0) return r;
    }
  }
  if (listeners_.store != nullptr) listeners_.store->settle();
  if (executor_ == nullptr) return 0;
  if (!executor_->is_in_task()) orphaned_segment_.reset();
  return orders_.carry_out(
      [this](const task::RecoveryOrder& order) { return executor_->recover_member(order.member, order.signal, order.exit_status); },
      [this](const task::RecoveryOrder& order) {
        wire::MemberInfo info{};
        info.member = order.member;
        Gate::Pass pass(gate_);
        return tell(wire::Type::kRecovered, info);
      });
}

// ---- Another tarnd ---------------------------------------------------------------------------

// All that the one before had to say has been read. What it was told is said again, unless it can be seen to have heard it.
int Session::resume(const wire::Resume& info, uint32_t serial) {
  welcome_.daemon_pid = info.daemon_pid;
  welcome_.host_epoch = info.host_epoch;
  is_resumed_ = true;
  ++resumed_;
  if (int r = say(wire::Type::kResumed, serial); r < 0) return r;
  if (is_closing_) return say(wire::Type::kGoodbye);
  if (is_worker_) view_.board->resources.end_wish(UINT32_MAX);  // what it was told before counts for nothing
  if (listeners_.store != nullptr) listeners_.store->on_another_daemon(info.host_epoch);
  // It tells anew if it is still so.
  if (is_told_short_) take_in_event({TARN_EVENT_PRESSURE, 1, 0, 0, 0, 0});
  if (subscribed_ != 0)
    if (int r = tell(wire::Type::kSubscribe, wire::Subscribe{subscribed_, 0}); r < 0) return r;
  if (int r = send_task_names(); r < 0) return r;
  Gate::Pass pass(end_runs_gate_);
  for (uint32_t i = 0; i < std::min(end_run_count_, kEndRunsMax); ++i)
    if (int r = tell(wire::Type::kEndRun, end_runs_[i]); r < 0) return r;
  return 0;
}

void Session::forget_what_is_gone() {
  for (uint32_t member = 0; member < view_.members_end; ++member)
    if (view_.segments[member] != nullptr && member != view_.self && announced_[member] != resumed_) take_in_gone(member);
  if (listeners_.store != nullptr) listeners_.store->on_all_announced();
}

int Session::learn(uint32_t member) {
  Gate::Pass pass(gate_);
  int64_t deadline_ns = os::deadline_after(kRequestTimeoutNs);
  while (!view_.is_known(member)) {
    if (!view_.board->members.is_there(member)) return fail(TARN_E_LOST, "member %u of the session is gone", member);
    wire::Packet packet;
    os::Received received;
    if (int r = receive(packet, received, deadline_ns); r < 0) return r;
    if (int r = take_in(packet, received); r < 0) return r;
  }
  return 0;
}

// ---- Requests --------------------------------------------------------------------------------

int Session::await_answer(uint32_t serial, wire::Packet& packet, os::Received& received) {
  int64_t deadline_ns = os::deadline_after(kRequestTimeoutNs);
  for (;;) {
    if (int r = receive(packet, received, deadline_ns); r < 0) return r;
    if (packet.serial == serial && packet.type != wire::Type::kResume)
      return packet.type == wire::Type::kSlabRefused ? refused(packet) : 0;
    if (int r = take_in(packet, received); r < 0) return r;
    if (is_resumed_) return kAskAgain;
  }
}

// Until a tarnd lives long enough to answer.
template <class Try>
int Session::ask(Try attempt) {
  int r;
  do {
    is_resumed_ = false;
    r = attempt(++serial_);
  } while (r == kAskAgain);
  return r;
}

int Session::send_grow(const wire::Grow& wish) {
  int r = ask([&](uint32_t serial) {
    if (int told = tell(wire::Type::kGrow, wish, serial); told < 0) return told;
    wire::Packet packet;
    os::Received received;
    return await_answer(serial, packet, received);
  });
  if (r < 0) return r;
  grown_ = wish;
  return 0;
}

int Session::grow(uint32_t records, uint32_t edges) {
  Gate::Pass pass(gate_);
  wire::Grow wish = grown_;
  wish.records = std::max(records, wish.records);
  wish.edges = std::max(edges, wish.edges);
  return send_grow(wish);
}

int Session::grow_graphs(uint32_t pages) {
  Gate::Pass pass(gate_);
  wire::Grow wish = grown_;
  wish.graph_pages = std::max(pages, wish.graph_pages);
  return send_grow(wish);
}

int Session::end_run(uint32_t member, uint32_t id, uint32_t generation) {
  wire::EndRun body{member, shm::id_index(id), generation, shm::id_member(id)};
  {
    Gate::Pass pass(end_runs_gate_);
    end_runs_[end_run_count_++ % kEndRunsMax] = body;
  }
  return tell(wire::Type::kEndRun, body);
}

int Session::ask_for_stand_in(uint32_t rank) { return tell(wire::Type::kStandIn, wire::StandIn{rank, 0}); }

int Session::wish_for(const shm::ResourceCounts& counts) {
  wire::ResourceWish wish{};
  std::ranges::copy(counts, wish.counts);
  return tell(wire::Type::kResourceWish, wish);
}

int Session::grow_objects(uint32_t objects) {
  Gate::Pass pass(gate_);
  wire::Grow wish = grown_;
  wish.objects = std::max(objects, wish.objects);
  return send_grow(wish);
}

int Session::request_slab(uint64_t size, store::Placement placement, wire::SlabHow how, store::SlabView& out) {
  Gate::Pass pass(gate_);
  // tarnd knows where workers run.
  int32_t node = is_worker_ ? wire::kOwnNode : os::current_node();
  if (placement == store::Placement::kInterleaved) node = wire::kAllNodes;
  waits_for_memory_ = how == wire::kSlabMayWait;
  wire::SlabRequest request{size, node, how};
  int r = ask([&](uint32_t serial) { return try_request_slab(request, serial, out); });
  waits_for_memory_ = false;
  return r;
}

int Session::try_request_slab(const wire::SlabRequest& request, uint32_t serial, store::SlabView& out) {
  if (int r = tell(wire::Type::kSlabRequest, request, serial); r < 0) return r;
  wire::Packet packet;
  wire::SlabInfo info{};
  os::Mapping mapping;
  uint64_t warm = 0;
  // The memory is warm; this process's page tables are not, and the kernel zeroes pages when they are mapped.
  auto map_to = [&mapping, &warm](uint64_t end) {
    if (end <= warm || end > mapping.size()) return;
    os::prefault(mapping.data() + warm, end - warm, os::Access::kReadWrite);
    warm = end;
  };
  do {
    os::Received received;
    if (int r = await_answer(serial, packet, received); r != 0) return r;
    switch (packet.type) {
      case wire::Type::kSlabWarm:
        map_to(packet.as<wire::SlabWarm>().bytes);
        break;
      case wire::Type::kSlabComing:
      case wire::Type::kSlabGranted:
        info = packet.as<wire::SlabInfo>();
        if (mapping.size() == info.size) break;
        if (int r = os::Mapping::map(received.descriptors[0], info.size, os::Access::kReadWrite, mapping); r < 0) {
          // Of no use to anybody, and charged: it is dropped before this returns, or the next request would find no room. What
          // is only coming cannot be yet.
          if (packet.type == wire::Type::kSlabComing) break;
          (void)tell(wire::Type::kSlabDrop, wire::SlabId{info.member, info.slab});
          return r;
        }
        break;
      default:
        return fail(TARN_E_PROTOCOL, "tarnd answered a request for a slab with %s", wire::type_name(packet.type));
    }
  } while (packet.type != wire::Type::kSlabGranted);
  set_granted(info.slab);
  map_to(info.size);
  out.slab = info.slab;
  out.mapping = std::move(mapping);
  out.node = info.node;
  return 0;
}

int Session::share_file(Fd file, uint64_t size, uint32_t& member, uint32_t& slab) {
  Gate::Pass pass(gate_);
  wire::SlabId id{};
  int r = ask([&](uint32_t serial) { return try_share_file(file, size, serial, id); });
  if (r < 0) return r;
  set_granted(id.slab);
  member = id.member;
  slab = id.slab;
  return 0;
}

int Session::try_share_file(const Fd& file, uint64_t size, uint32_t serial, wire::SlabId& out) {
  wire::Buffer<sizeof(wire::Header) + sizeof(wire::SlabInfo)> buffer;
  wire::Builder builder(buffer.bytes, wire::Type::kFileShare, serial);
  auto& info = builder.body<wire::SlabInfo>();
  info.size = size;
  info.node = -1;
  info.is_file = 1;
  int descriptor = file.get();
  if (int r = send(builder.finish(), {&descriptor, 1}); r < 0) return r;
  wire::Packet packet;
  os::Received received;
  if (int r = await_answer(serial, packet, received); r != 0) return r;
  out = packet.as<wire::SlabId>();
  return 0;
}

int Session::learn_slab(uint32_t member, uint32_t slab) {
  Gate::Pass pass(gate_);
  int64_t deadline_ns = os::deadline_after(kRequestTimeoutNs);
  while (listeners_.store != nullptr && !listeners_.store->knows_slab(member, slab)) {
    wire::Packet packet;
    os::Received received;
    if (int r = receive(packet, received, deadline_ns); r < 0) return r;
    if (int r = take_in(packet, received); r < 0) return r;
  }
  return 0;
}

// Not behind the gate, here and below: another thread may wait there for the very memory that this gives back. The socket
// is the same until the session is closed, and takes packets one by one.
void Session::drop_slab(uint32_t member, uint32_t slab) {
  ErrorGuard guard;
  if (member == view_.self) clear_granted(slab);  // first: if this is not heard, the next tarnd is told so when it asks
  // tarnd gone: everything ends anyway.
  (void)tell(wire::Type::kSlabDrop, wire::SlabId{member, slab});
  (void)guard.end(0);
}

void Session::drop_copy(uint32_t slab, uint64_t offset) {
  ErrorGuard guard;
  (void)tell(wire::Type::kCopyDrop, wire::Extent{view_.self, slab, offset});
  (void)guard.end(0);
}

// Nothing printed so far: there is none, and log_ stays as it is.
int Session::ask_for_log() {
  Gate::Pass pass(gate_);
  if (log_.valid()) return 0;
  wire::Packet packet;
  os::Received received;
  int r = ask([&](uint32_t serial) {
    int told = tell(wire::Type::kLogAsk, wire::LogAsk{}, serial);
    return told < 0 ? told : await_answer(serial, packet, received);
  });
  if (r < 0) return r;
  if (packet.type != wire::Type::kLog)
    return fail(TARN_E_PROTOCOL, "tarnd answered a request for the log with %s", wire::type_name(packet.type));
  uint64_t size = packet.as<wire::Log>().size;
  return size == 0 ? 0 : os::Mapping::map(received.descriptors[0], size, os::Access::kRead, log_);
}

template <class Body>
int Session::ask_for_object(wire::Type type, const Body& body) {
  Gate::Pass pass(gate_);
  waits_for_memory_ = true;
  wire::Packet packet;
  os::Received received;
  int r = ask([&](uint32_t serial) {
    int told = tell(type, body, serial);
    return told < 0 ? told : await_answer(serial, packet, received);
  });
  waits_for_memory_ = false;
  if (r < 0) return r;
  if (packet.type == wire::Type::kRestored) return 0;
  if (packet.type != wire::Type::kMake)
    return fail(TARN_E_PROTOCOL, "tarnd answered a request for an object with %s", wire::type_name(packet.type));
  bool is_ours = packet.as<wire::Make>().how == static_cast<uint32_t>(wire::MakeHow::kYou);
  return is_ours ? store::SlabSource::kMakeAgain : store::SlabSource::kAskAgain;
}

int Session::restore(const shm::ObjectRef& ref, uint32_t slab, uint64_t offset) {
  return ask_for_object(wire::Type::kRestore, wire::Extent{shm::id_member(ref.id), slab, offset});
}

// Whatever tarnd has to say but an error: the object is asked for again.
int Session::bring(const wire::Made& what) { return std::min(ask_for_object(wire::Type::kMade, what), 0); }

void Session::give_up(const wire::Made& what) {
  ErrorGuard guard;
  (void)tell(wire::Type::kMade, what);
  (void)guard.end(0);
}

}  // namespace tarn::client
