// Spill: copies of objects on a disk, written and read back by threads of its own.
//
// The disk is filled by appending to files that have no name, so that nothing is left of them however this process ends;
// what is dropped is punched out, and a file goes with its last copy. Pieces of kPiece bytes have a checksum each, and a copy
// the one of those, kept here. The service manager keeps the files (keeper.hpp): the next tarnd takes over what copies there
// are. Files are read and written past the page cache (O_DIRECT): memory is short when this is used.
//
// What came back to memory may keep its copy (keep): it can then leave again without being written. Such copies go, the oldest
// first, while the disk's room is getting short for others.
//
// What comes back without a copy, because it was made again, is copied here as well, from one slab to another.
//
// Users have turns, a piece each; reading back, writing, giving up pages, making them and giving up room of the disk have turns as well, so none
// waits for all of another: what a user frees at once is much. A
// Copy and its jobs are made, delivered and dropped on the loop thread.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "closer.hpp"
#include "keeper.hpp"
#include "ledger.hpp"
#include "loop.hpp"

namespace tarn::daemon {

class Spill {
  struct File;

 public:
  static constexpr uint64_t kPiece = 4u << 20;
  static constexpr uint64_t kFileSize = uint64_t{1} << 30;  // of a file, unless an object is larger
  static constexpr uint32_t kThreads = 3;                   // one waits for the disk, one copies, one computes

  // Whole pages of a slab.
  struct Range {
    SharedFd file;
    uint64_t begin;
    uint64_t size;
    bool is_huge = false;  // it lies in huge pages, as far as they fit, and shall again
  };

  // Where a copy is. Dropping it frees its room on the disk.
  class Copy {
   public:
    Copy(Spill& spill, uid_t user) : spill_(spill), user_(user) {}
    Copy(const Copy&) = delete;
    Copy& operator=(const Copy&) = delete;
    ~Copy();

   private:
    friend Spill;
    [[nodiscard]] bool is_kept() const { return kept_number_ != 0; }
    Spill& spill_;
    uid_t user_;
    Charge charge_;
    std::shared_ptr<File> file_;
    uint64_t offset_ = 0;
    uint64_t size_ = 0;
    uint64_t digest_ = 0;  // of the checksums of its pieces
    uint64_t kept_number_ = 0;  // in the order in which they were kept; 0: it is not
    std::list<std::shared_ptr<Copy>>::iterator kept_at_{};
  };

  // What the memory that becomes free is wanted for.
  enum class For : uint8_t {
    kNew,
    kReturn,  // an object that is on the disk: some room there is set aside for that
  };

  // `code` is 0, or negative with a text.
  using Done = std::function<void(int code, const std::string& text)>;

  // `directory` "": there is no disk. Nothing is opened and no thread started before the first save. `keeper` outlives it.
  Spill(Loop& loop, std::string directory, Keeper& keeper);
  Spill(const Spill&) = delete;
  Spill& operator=(const Spill&) = delete;
  ~Spill();

  // Why nothing can be written at all: no directory, one that lies in memory, ...; nullptr if it can, as far as known.
  // Looked at when it is first asked for, and then while something is wrong once a second.
  [[nodiscard]] const char* why_off() const;
  // How much room the disk behind `directory` has.
  [[nodiscard]] static uint64_t disk_free(const std::string& directory);

  // Each calls `done` from the loop, unless `wanted` has expired by then.
  //
  // Copies `range`, paid from `disk`. TARN_E_QUOTA or TARN_E_STORE_FULL if that has no room, TARN_E_SYSTEM; then `done` does not come.
  [[nodiscard]] int save(uid_t user, std::weak_ptr<const void> wanted, Range range, Budget& disk, For why, Done done,
                         std::shared_ptr<Copy>& out);
  // Puts the bytes back into `range`. TARN_E_LOST if they are not what was saved, or cannot be read.
  void load(uid_t user, std::weak_ptr<const void> wanted, std::shared_ptr<Copy> copy, Range range, Done done);
  // Copies `from`, which another object does not need, to the beginning of `to`. TARN_E_NO_MEMORY, TARN_E_SYSTEM.
  void copy(uid_t user, std::weak_ptr<const void> wanted, Range from, Range to, Done done);
  // Takes the pages of `range` away.
  void discard(uid_t user, std::weak_ptr<const void> wanted, Range range, Done done);

  // Keeps a copy of what is in memory again for as long as there is room for it.
  void keep(std::shared_ptr<Copy> copy);
  // The copy, which is kept no more but the caller's; nullptr if it had to go.
  [[nodiscard]] std::shared_ptr<Copy> take_back(const std::weak_ptr<Copy>& copy);
  [[nodiscard]] uint64_t bytes_kept() const { return bytes_kept_; }

  // Where a whole copy is, for who takes it over.
  struct Place {
    uint64_t file;
    uint64_t offset;
    uint64_t size;
    uint64_t digest;
  };
  [[nodiscard]] static Place place_of(const Copy& copy);
  // The files of the tarnd before, out of `passed`; then its copies, paid from `disk`; then what else is in the files goes.
  void take_over_files(KeptDescriptors& passed);
  [[nodiscard]] int take_over(uid_t user, const Place& place, Budget& disk, std::shared_ptr<Copy>& out);
  void end_take_over();

  [[nodiscard]] bool idle();

 private:
  enum class Kind : uint8_t { kLoad, kSave, kDiscard, kErase, kMake, kCopy };
  struct Job {
    Kind kind;
    uid_t user;
    std::weak_ptr<const void> wanted;
    Range range;
    Range from;  // kCopy
    std::shared_ptr<Copy> copy;
    std::shared_ptr<File> file;  // of the copy; or whose end this is
    uint64_t file_offset = 0;
    Charge charge;  // of an end: the disk's room is free when it is done
    Done done;
    std::vector<uint64_t> sums;  // of the pieces
    uint64_t next = 0;     // the first byte that no thread has begun with
    uint32_t running = 0;  // pieces in hand
    int code = 0;
    std::string text;

    [[nodiscard]] bool takes(Job& other);
  };
  struct Buffer;
  class InPlace;
  struct Line {
    std::map<uid_t, std::deque<std::shared_ptr<Job>>> jobs;
    std::deque<uid_t> turns;
  };

  void make_room(const Budget& disk, uint64_t size);
  void drop_kept(const Budget* of, uint64_t bytes);
  [[nodiscard]] int check_room(const Budget& disk, uint64_t size, For why);
  static void finish(Job& job);
  [[nodiscard]] int find_room(uint64_t size, uint64_t ahead, std::shared_ptr<File>& file, uint64_t& offset);
  [[nodiscard]] int open_file(uint64_t size, std::shared_ptr<File>& out) const;
  [[nodiscard]] int reserve(File& file, uint64_t end, uint64_t ahead);
  void submit(std::shared_ptr<Job> job);
  void start();
  void work();
  [[nodiscard]] bool has_work() const;
  [[nodiscard]] std::shared_ptr<Job> take_piece(uint64_t& at, uint64_t& size);
  static int do_piece(Job& job, uint64_t at, uint64_t size, Buffer& buffer);
  static int make_pages(const Range& range, uint64_t at, uint64_t size);
  void read_back(uid_t user, std::weak_ptr<const void> wanted, std::shared_ptr<Copy> copy, Range range, Done done);
  static int save_piece(Job& job, uint64_t at, std::span<const std::byte> bytes);
  static int load_piece(Job& job, uint64_t at, std::span<std::byte> bytes);
  static int copy_piece(Job& job, uint64_t at, std::span<std::byte> bytes);
  void deliver();

  Loop& loop_;
  const std::string directory_;
  Keeper& keeper_;
  uint64_t last_number_;  // of a file
  std::map<uint64_t, std::shared_ptr<File>> taken_over_;  // until end_take_over
  mutable std::string why_off_;
  mutable bool was_looked_at_ = false;
  mutable int64_t look_again_ns_ = 0;
  std::shared_ptr<File> last_file_;  // that has room at its end
  std::map<const Budget*, std::list<std::shared_ptr<Copy>>> kept_;  // by who pays, the oldest first; none is empty
  uint64_t last_kept_ = 0;
  uint64_t bytes_kept_ = 0;
  uint64_t largest_ = 0;  // of what was saved
  Fd event_;
  Loop::Watch watch_;

  std::mutex mutex_;  // guards the rest
  std::condition_variable wake_;
  static constexpr uint32_t kLines = 6;
  Line lines_[kLines];  // one of each kind
  uint32_t next_line_ = 0;
  uint32_t under_way_ = 0;
  uint32_t waiting_threads_ = 0;
  std::vector<std::shared_ptr<Job>> finished_;
  bool stopping_ = false;

  std::vector<std::thread> threads_;
};

}  // namespace tarn::daemon
