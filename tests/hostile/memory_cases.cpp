// Memory of others, and descriptors of it: write to it, change its size, its seals or its rights.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "cases.hpp"
#include "shm/board.hpp"

namespace tarn::hostile {
namespace {

using Files = std::initializer_list<const Fd*>;

// What a member gets of another one's slab: here of a worker's of the same session, as no other one is ever handed to this
// user.
struct Reader {
  Fd fd;
  uint64_t size = 0;
};

bool get_reader(Context& context, Reader& out) {
  Peer& peer = context.peer();
  if (!peer.open({.workers = 1, .worker_arguments = {"slab"}, .descriptors = {}})) return false;
  auto added = peer.expect(wire::Type::kSlabAdded);
  if (!added || added->descriptors.size() != 1) return false;
  out.size = added->as<wire::SlabInfo>().size;
  out.fd = std::move(added->descriptors[0]);
  return true;
}

std::string path_of(const Fd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

bool opens(const std::string& path, int flags) {
  Fd fd{open(path.c_str(), flags | O_CLOEXEC)};
  return fd.valid();
}

Outcome protect_reader_for_writing(Context& context) {
  Reader reader;
  HOSTILE_NEEDS(get_reader(context, reader));
  void* data = mmap(nullptr, reader.size, PROT_READ, MAP_SHARED, reader.fd.get(), 0);
  HOSTILE_NEEDS(data != MAP_FAILED);
  HOSTILE_REFUSED(mprotect(data, reader.size, PROT_READ | PROT_WRITE) != 0 && errno == EACCES);
  HOSTILE_REFUSED(mprotect(data, reader.size, PROT_WRITE) != 0);
  HOSTILE_REFUSED(madvise(data, reader.size, MADV_REMOVE) != 0);
  return refused();
}

Outcome map_reader_for_writing(Context& context) {
  Reader reader;
  HOSTILE_NEEDS(get_reader(context, reader));
  for (int flags : {MAP_SHARED, MAP_SHARED_VALIDATE})
    HOSTILE_REFUSED(mmap(nullptr, reader.size, PROT_READ | PROT_WRITE, flags, reader.fd.get(), 0) == MAP_FAILED);
  return refused();
}

Outcome open_reader_again(Context& context) {
  Reader reader;
  HOSTILE_NEEDS(get_reader(context, reader));
  Fd own{memfd_create("own", MFD_CLOEXEC)};
  HOSTILE_NEEDS(opens(path_of(own), O_RDWR));  // so it is not /proc that refuses
  for (int flags : {O_RDWR, O_WRONLY, O_RDWR | O_TRUNC, O_WRONLY | O_APPEND})
    HOSTILE_REFUSED(!opens(path_of(reader.fd), flags));
  std::string by_thread = "/proc/thread-self/fd/" + std::to_string(reader.fd.get());
  HOSTILE_REFUSED(!opens(by_thread, O_RDWR));
  return refused();
}

Outcome change_mode_and_open_again(Context& context) {
  Reader reader;
  HOSTILE_NEEDS(get_reader(context, reader));
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open());
  auto granted = peer.request_slab(os::kPageSize);
  HOSTILE_NEEDS(granted.has_value());
  for (const Fd* fd : Files{&reader.fd, &granted->descriptors[0]}) {
    HOSTILE_REFUSED(fchmod(fd->get(), 0666) != 0);
    HOSTILE_REFUSED(chmod(path_of(*fd).c_str(), 0666) != 0);
    HOSTILE_REFUSED(fchown(fd->get(), geteuid(), getegid()) != 0 || geteuid() == 0);
  }
  HOSTILE_REFUSED(!opens(path_of(reader.fd), O_RDWR));
  return refused();
}

Outcome write_to_reader(Context& context) {
  Reader reader;
  HOSTILE_NEEDS(get_reader(context, reader));
  int fd = reader.fd.get();
  Fd source{open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  HOSTILE_REFUSED(write(fd, "x", 1) < 0);
  HOSTILE_REFUSED(pwrite(fd, "x", 1, 0) < 0);
  HOSTILE_REFUSED(sendfile(fd, source.get(), nullptr, 64) < 0);
  HOSTILE_REFUSED(copy_file_range(source.get(), nullptr, fd, nullptr, 64, 0) < 0);
  HOSTILE_REFUSED(ftruncate(fd, 0) != 0);
  HOSTILE_REFUSED(ftruncate(fd, static_cast<off_t>(2 * reader.size)) != 0);
  HOSTILE_REFUSED(truncate(path_of(reader.fd).c_str(), 0) != 0);
  HOSTILE_REFUSED(fallocate(fd, 0, 0, static_cast<off_t>(2 * reader.size)) != 0);
  HOSTILE_REFUSED(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, os::kPageSize) != 0);
  return refused();
}

// Also of what it may write: nobody waits for a page that is not there any more.
Outcome change_size(Context& context) {
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open());
  auto granted = peer.request_slab(1 << 20);
  HOSTILE_NEEDS(granted.has_value());
  for (const Fd* fd : Files{&granted->descriptors[0], &peer.board_file(), &peer.segment_file()}) {
    struct stat before {};
    struct stat after {};
    HOSTILE_NEEDS(fstat(fd->get(), &before) == 0);
    HOSTILE_REFUSED(ftruncate(fd->get(), 0) != 0);
    HOSTILE_REFUSED(ftruncate(fd->get(), before.st_size * 2) != 0);
    HOSTILE_REFUSED(fallocate(fd->get(), 0, before.st_size, os::kPageSize) != 0);
    HOSTILE_REFUSED(pwrite(fd->get(), "x", 1, before.st_size) < 0);
    HOSTILE_REFUSED(fstat(fd->get(), &after) == 0 && after.st_size == before.st_size);
  }
  HOSTILE_NEEDS(peer.is_served());
  return refused();
}

Outcome change_seals(Context& context) {
  Reader reader;
  HOSTILE_NEEDS(get_reader(context, reader));
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open());
  auto granted = peer.request_slab(1 << 20);
  HOSTILE_NEEDS(granted.has_value());
  const Fd* all[] = {&reader.fd, &granted->descriptors[0], &peer.board_file(), &peer.segment_file()};
  for (const Fd* fd : all) {
    int before = fcntl(fd->get(), F_GET_SEALS);
    HOSTILE_REFUSED((before & F_SEAL_SHRINK) != 0 && (before & F_SEAL_GROW) != 0);
    for (int seal : {F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL, 0x20 /* F_SEAL_EXEC */})
      HOSTILE_REFUSED(fcntl(fd->get(), F_ADD_SEALS, seal) != 0);
    HOSTILE_REFUSED(fcntl(fd->get(), F_GET_SEALS) == before);
  }
  return refused();
}

// Holes in its own memory, where tarnd and the tools look: they read zeros.
Outcome punch_holes_in_its_own(Context& context) {
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open({.workers = 1, .worker_arguments = {"slab"}, .descriptors = {}}));
  auto granted = peer.request_slab(1 << 20);
  HOSTILE_NEEDS(granted.has_value());
  for (const Fd* fd : Files{&granted->descriptors[0], &peer.board_file(), &peer.segment_file()}) {
    struct stat status {};
    HOSTILE_NEEDS(fstat(fd->get(), &status) == 0);
    HOSTILE_NEEDS(fallocate(fd->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, status.st_size) == 0);
  }
  HOSTILE_NEEDS(peer.is_served());
  return harmless("its own");
}

// Flags, locks, leases and signals hang on what tarnd has open as well.
Outcome change_how_its_files_are_open(Context& context) {
  Reader reader;
  HOSTILE_NEEDS(get_reader(context, reader));
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open());
  auto granted = peer.request_slab(1 << 20);
  HOSTILE_NEEDS(granted.has_value());
  const Fd* all[] = {&reader.fd, &granted->descriptors[0], &peer.board_file(), &peer.segment_file(), &peer.socket()};
  for (const Fd* fd : all) {
    fcntl(fd->get(), F_SETFL, O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT);
    fcntl(fd->get(), F_SETOWN, context.tarnd);
    fcntl(fd->get(), F_SETSIG, SIGKILL);
    fcntl(fd->get(), F_SETLEASE, F_WRLCK);
    flock(fd->get(), LOCK_EX | LOCK_NB);
    lseek(fd->get(), 1 << 30, SEEK_SET);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    fcntl(fd->get(), F_OFD_SETLK, &lock);
  }
  for (int i = 0; i < 16; ++i) HOSTILE_NEEDS(peer.is_served());
  return harmless("still served itself");
}

// What it locks is what it has anyway; what it limits are its own processes.
Outcome lock_and_limit(Context& context) {
  HOSTILE_REFUSED(geteuid() == 0 || setpriority(PRIO_PROCESS, 0, -20) != 0);
  rlimit few{0, 0};
  setrlimit(RLIMIT_FSIZE, &few);
  signal(SIGXFSZ, SIG_IGN);
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open({.workers = 1, .worker_arguments = {"slab"}, .descriptors = {}}));
  auto granted = peer.request_slab(16 << 20);
  HOSTILE_NEEDS(granted.has_value());
  void* data = mmap(nullptr, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, granted->descriptors[0].get(), 0);
  HOSTILE_NEEDS(data != MAP_FAILED);
  int locked = mlock(data, 16 << 20);
  HOSTILE_NEEDS(peer.is_served());
  return harmless(locked == 0 ? "its own memory is locked" : "mlock is refused");
}

// A descriptor that is kept keeps its memory (docs/service.md), and not what is charged.
Outcome keep_a_slab_after_its_session(Context& context) {
  Fd kept;
  {
    Peer peer(context.socket);
    HOSTILE_NEEDS(peer.open());
    auto granted = peer.request_slab(8 << 20);
    HOSTILE_NEEDS(granted.has_value());
    kept = std::move(granted->descriptors[0]);
  }
  HOSTILE_NEEDS(pwrite(kept.get(), "x", 1, 0) == 1);
  context.keep(std::move(kept));
  return harmless("the pages are its own until it ends");
}

constexpr Case kCases[] = {
    {"mprotect the reader mapping for writing", protect_reader_for_writing},
    {"map a reader descriptor for writing", map_reader_for_writing},
    {"open a reader descriptor again for writing", open_reader_again, Case::Counter::kRootWithWorkers},
    {"change the mode of a slab and open it again", change_mode_and_open_again, Case::Counter::kRootWithWorkers},
    {"write, truncate, grow, punch through a reader", write_to_reader},
    {"truncate or grow slab, board and segment", change_size},
    {"add or remove seals", change_seals},
    {"punch holes in its own memory", punch_holes_in_its_own},
    {"flags, locks, leases, owners of shared files", change_how_its_files_are_open},
    {"mlock, RLIMIT_FSIZE 0, a better priority", lock_and_limit},
    {"keep a slab's descriptor after the session", keep_a_slab_after_its_session},
};

}  // namespace

std::span<const Case> memory_cases() { return kCases; }

}  // namespace tarn::hostile
