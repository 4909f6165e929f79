// KeptSession: what the next tarnd has to know of a session, in memory that outlives this one.
//
// The descriptors of the session are with the service manager (keeper.hpp), by the names below; what they are is told by a
// book: a memory file of tarnd's own, which no other process has. tarnd writes it as things happen and reads it only when
// it begins. Killed at any instruction it leaves a book that says what was, or what is about to be: a descriptor is kept
// before its line is written and dropped after it is erased, and a line is written beside the one that counts, which one word
// says.
//
//   k.7      the book of session 7
//   k.7.x@1000  its executable; d: directory, o: standard output, e: standard error, v: event descriptor, which user 1000 gave us
//   k.7.p    the client's pidfd; b: the board
//   k.7.l    the log of what is printed
//   k.7.3s   the connection of member 3; g: its segment; o and e: where what it prints is read
//   k.7.3.12 slab 12 of member 3 (the writer's descriptor), or file; then with @1000
//
// A session that cannot be kept, because the manager has no room, ends with this tarnd. Loop thread only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "keeper.hpp"
#include "os/memory.hpp"
#include "shm/ids.hpp"
#include "shm/word.hpp"
#include "wire/messages.hpp"

namespace tarn::daemon {

// What does not change.
struct KeptIdentity {
  uint32_t number;
  pid_t client_pid;
  uid_t uid;
  gid_t gid;
  uint32_t group_count;
  uint32_t lane_count;
  uint32_t hello_serial;
  uint32_t reserved;
  wire::Hello hello;
  // Its standard output and error: the manager keeps one of two that are the same, also of two sessions.
  struct File {
    uint64_t device;
    uint64_t inode;
  } streams[2];
  gid_t groups[wire::kGroupsMax];
  uint32_t lanes[shm::kMembersMax];  // their slots
};

struct KeptMember {
  uint64_t ticket;  // 0: it is the client, or dead
  int32_t pid;
  uint32_t lane;
  uint32_t phase;  // Member::Phase
  int32_t signal;
  int32_t exit_status;
  uint32_t is_settled;
  uint32_t settled_by;
  uint32_t next_slab;
  wire::Grow backed;
};

struct KeptSlab {
  uint32_t owner;
  uint32_t number;
  uint64_t size;
  int32_t node;
  uint32_t is_file;
  uint32_t is_huge;
  uint32_t reserved;
};

// An object that is on the disk, or dropped, and not in memory: whether that is so yet, or still, its record says (store/pins.hpp).
struct KeptMoved {
  uint32_t owner;
  uint32_t slab;
  uint64_t offset;
  uint64_t size;
  uint32_t index;
  uint32_t generation;
  uint64_t payload;
  uint64_t file;         // Spill::Place, of one that was not dropped
  uint64_t file_offset;
  uint64_t digest;
  uint32_t is_abandoned;
  uint32_t is_dropped;
};

class KeptSession {
 public:
  explicit KeptSession(Keeper& keeper) : keeper_(keeper) {}
  KeptSession(const KeptSession&) = delete;
  KeptSession& operator=(const KeptSession&) = delete;

  // ---- Writing. Nothing happens once the session is not kept any more.

  [[nodiscard]] bool is_kept() const { return book_ != nullptr; }
  // From open() the next tarnd takes the session over. What belongs to it has been kept before.
  void begin(const KeptIdentity& identity, std::span<const std::byte> argv, std::span<const std::byte> environment);
  void open();
  void set_welcomed();
  void set_task_names(std::span<const std::byte> names);

  // Of the tarn-output that runs; 0: none does.
  void set_output_ticket(uint64_t ticket) {
    if (is_kept()) book_->output_ticket.store(ticket, shm::kRelease);
  }

  // `what` is what stands behind "k.7.".
  void keep(const std::string& what, const Fd& fd);
  void put_member(uint32_t index, const KeptMember& member);
  void erase_member(uint32_t index, bool has_connection);
  void drop_connection(uint32_t index);
  void put_slab(const KeptSlab& slab, const Fd& file);
  void erase_slab(uint32_t owner, uint32_t number);

  // Returns the line; kNoLine: it is not kept.
  static constexpr uint32_t kNoLine = UINT32_MAX;
  [[nodiscard]] uint32_t put_moved(const KeptMoved& moved);
  void abandon_moved(uint32_t line);
  void erase_moved(uint32_t line);

  // It is over, or `why` it cannot be kept: everything is dropped.
  void end();
  void give_up(const char* why);

  static std::string connection_name(uint32_t member) { return std::to_string(member) + "s"; }
  static std::string pipe_name(uint32_t member, int stream) { return std::to_string(member) + (stream == 0 ? "o" : "e"); }
  static std::string segment_name(uint32_t member) { return std::to_string(member) + "g"; }
  static std::string slab_name(const KeptSlab& slab, uid_t user) {
    std::string name = std::to_string(slab.owner) + "." + std::to_string(slab.number);
    return slab.is_file != 0 ? of_user(name, user) : name;
  }
  static std::string of_user(const std::string& what, uid_t user) { return what + "@" + std::to_string(user); }

  // ---- Reading, by who takes it over.

  // Takes the book and the descriptors of `number` out of `passed`. False, with last_error(), for a session that was not open
  // any more, or not yet, or that another release wrote.
  [[nodiscard]] bool take_over(uint32_t number, KeptDescriptors& passed);
  [[nodiscard]] const KeptIdentity& identity() const { return book_->identity; }
  [[nodiscard]] std::span<const std::byte> argv() const;
  [[nodiscard]] std::span<const std::byte> environment() const;
  [[nodiscard]] std::span<const std::byte> task_names() const;
  [[nodiscard]] bool was_welcomed() const { return book_->is_welcomed.load(shm::kAcquire) != 0; }
  [[nodiscard]] uint64_t output_ticket() const { return book_->output_ticket.load(shm::kAcquire); }
  // Calls fn(index, member).
  template <class Fn>
  void for_each_member(Fn fn) const {
    for (uint32_t i = 0; i < shm::kMembersMax; ++i)
      if (uint32_t current = book_->members[i].current.load(shm::kAcquire); current == 1 || current == 2)
        fn(i, book_->members[i].lines[current - 1]);
  }
  template <class Fn>
  void for_each_slab(Fn fn) const {
    for (uint32_t i = 0; i < book_->slab_lines; ++i)
      if (slab_line(i).is_used.load(shm::kAcquire) != 0) fn(slab_line(i).slab);
  }
  // Calls fn(line, moved); it may erase that line.
  template <class Fn>
  void for_each_moved(Fn fn) {
    for (uint32_t i = 0; i < book_->moved_lines; ++i)
      if (moved_line(i).is_used.load(shm::kAcquire) != 0) fn(i, moved_line(i).moved);
  }
  // The descriptor that was kept as "k.7." and `what`, which stays kept; invalid if there is none.
  [[nodiscard]] Fd take(const std::string& what);
  // Drops what was kept and is not in the book: it was being made or dropped. After everything was taken. The caller closes it:
  // it may be users'.
  [[nodiscard]] KeptDescriptors take_rest();

 private:
  static constexpr uint64_t kMagic = 0x3142'4b4f'4f42'5254;
  static constexpr uint32_t kSlabLinesMax = 1u << 16;
  static constexpr uint32_t kMovedLinesMax = 1u << 21;

  struct MemberEntry {
    shm::Word<uint32_t> current;  // which of the lines counts, 1 or 2; 0: there is no such member
    uint32_t reserved;
    KeptMember lines[2];
  };
  struct SlabLine {
    shm::Word<uint32_t> is_used;
    uint32_t reserved;
    KeptSlab slab;
  };
  struct MovedLine {
    shm::Word<uint32_t> is_used;
    uint32_t reserved;
    KeptMoved moved;
  };
  // The file: this, then what the client said in its HELLO, then the lines of the slabs and of what has left memory, each
  // backed with memory as far as they are used.
  struct Book {
    uint64_t magic;
    uint64_t size_of_all;  // of the structs: another release has others
    shm::Word<uint32_t> is_open;
    shm::Word<uint32_t> is_welcomed;
    shm::Word<uint32_t> names_size;
    uint32_t argv_size;
    uint32_t environment_size;
    uint32_t slab_lines;  // that are backed
    uint32_t moved_lines;
    uint32_t reserved;
    shm::Word<uint64_t> output_ticket;
    KeptIdentity identity;
    MemberEntry members[shm::kMembersMax];
  };
  static constexpr uint64_t kLayout = sizeof(Book) ^ sizeof(SlabLine) << 32 ^ sizeof(MovedLine) << 48;
  static constexpr uint64_t kTextsAt = os::round_up(sizeof(Book), os::kPageSize);
  static constexpr uint64_t kNamesAt = kTextsAt + os::round_up(wire::kArgumentsSizeMax, os::kPageSize);
  static constexpr uint64_t kSlabsAt = kNamesAt + os::round_up(wire::kTaskNamesSizeMax, os::kPageSize);
  static constexpr uint64_t kMovedAt = os::round_up(kSlabsAt + uint64_t{kSlabLinesMax} * sizeof(SlabLine), os::kPageSize);
  static constexpr uint64_t kSize = kMovedAt + uint64_t{kMovedLinesMax} * sizeof(MovedLine);

  [[nodiscard]] SlabLine& slab_line(uint32_t i) const {
    return reinterpret_cast<SlabLine*>(mapping_.data() + kSlabsAt)[i];
  }
  [[nodiscard]] MovedLine& moved_line(uint32_t i) const {
    return reinterpret_cast<MovedLine*>(mapping_.data() + kMovedAt)[i];
  }
  [[nodiscard]] std::string name(const std::string& what) const;
  [[nodiscard]] bool find_free_line(std::vector<uint32_t>& free, uint32_t& count, uint64_t at, size_t size, uint32_t most);

  Keeper& keeper_;
  uint32_t number_ = 0;
  Fd file_;
  os::Mapping mapping_;
  Book* book_ = nullptr;  // nullptr: it is not kept
  std::map<std::string, bool> names_;          // of all that is kept of it; whether it was taken over, until it is taken
  std::map<uint64_t, uint32_t> lines_;         // of slabs, by owner and number
  std::vector<uint32_t> free_lines_;
  std::vector<uint32_t> free_moved_;
  KeptDescriptors passed_;
};

}  // namespace tarn::daemon
