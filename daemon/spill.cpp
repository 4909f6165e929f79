#include "spill.hpp"

#define XXH_INLINE_ALL
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "base/error.hpp"
#include "log.hpp"
#include "os/clock.hpp"
#include "os/memory.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

constexpr auto kBufferPatience = std::chrono::seconds(2);  // then a thread without work has no memory either
constexpr uint64_t kDiscardPiece = 64u << 20;
constexpr uint64_t kReserveAhead = 64u << 20;
constexpr int64_t kLookAgainNs = 1'000'000'000;

// All of it, or a negative code. `what` and the rest name the file for messages.
template <class Call>
int transfer_all(Call call, uint64_t size, int code, const char* what) {
  for (uint64_t at = 0; at < size;) {
    ssize_t count = call(at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(code, "cannot %s", what);
    if (count == 0) return fail(code, "cannot %s: the file ends early", what);
    at += static_cast<uint64_t>(count);
  }
  return 0;
}

int punch(int file, uint64_t offset, uint64_t size) {
  int r;
  do {
    r = fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(size));
  } while (r < 0 && errno == EINTR);
  return r < 0 ? fail_errno(TARN_E_SYSTEM, "cannot give up %llu bytes of a file", static_cast<unsigned long long>(size)) : 0;
}

}  // namespace

struct Spill::File {
  File(Fd opened, uint64_t most) : fd(std::move(opened)), size(most) {}
  ~File() {
    if (number != 0) keeper->drop(name(number));
  }
  static std::string name(uint64_t number) { return std::string(kKeptPrefix) + "f" + std::to_string(number); }
  // From now on it is kept, if that can be: what is in it is lost otherwise when this process is killed.
  void keep(Keeper& by, uint64_t as) {
    if (!by.is_on()) return;
    if (!by.keep(name(as), fd)) return log(Level::kWarning, "what leaves memory is lost, should tarnd be killed: %s", last_error());
    keeper = &by;
    number = as;
  }

  Fd fd;
  uint64_t size;          // that it may reach
  Keeper* keeper = nullptr;
  uint64_t number = 0;    // 0: it is not kept
  std::vector<std::pair<uint64_t, uint64_t>> taken_over;  // begin and size
  uint64_t reserved = 0;  // of the disk, from the start
  uint64_t end = 0;       // of what was given out
  uint64_t live = 0;      // bytes of copies
};

// Memory for one piece, aligned as O_DIRECT wants it, and in huge pages where the host has them: a request to the disk is then
// two pieces of memory instead of a thousand (reads 2.6 GB/s instead of 1.3 on a virtual disk, writes 1.9 instead of 1.5).
struct Spill::Buffer {
  Buffer() {
    constexpr uint64_t kHugePage = 2u << 20;
    if (os::Mapping::reserve(kPiece + kHugePage, mapping) < 0) return;
    data = reinterpret_cast<std::byte*>(os::round_up(reinterpret_cast<uintptr_t>(mapping.data()), kHugePage));
    (void)madvise(data, kPiece, MADV_HUGEPAGE);
  }
  void empty() {
    if (data != nullptr) (void)madvise(data, kPiece, MADV_DONTNEED);
  }
  os::Mapping mapping;
  std::byte* data = nullptr;
};

Spill::Copy::~Copy() {
  if (file_ == nullptr) return;
  // Others follow in the file, and the disk has the room back before the file goes.
  auto job = std::make_shared<Job>();
  job->kind = Kind::kErase;
  job->user = user_;
  job->range = {nullptr, 0, size_};
  job->file = std::move(file_);
  job->file_offset = offset_;
  job->charge = std::move(charge_);
  spill_.submit(std::move(job));
}

Spill::Spill(Loop& loop, std::string directory, Keeper& keeper)
    : loop_(loop), directory_(std::move(directory)), keeper_(keeper), last_number_(static_cast<uint64_t>(os::now_ns())) {}

Spill::~Spill() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  // Copies that jobs hold submit one more each when they go: nobody does those any more, and the files end here.
  std::exchange(finished_, {}).clear();
  std::exchange(kept_, {}).clear();
  for (Line& line : lines_) std::exchange(line.jobs, {}).clear();
}

// ---- The disk --------------------------------------------------------------------------------

const char* Spill::why_off() const {
  // Whatever was wrong may have been put right meanwhile.
  int64_t now = os::now_ns();
  if (!was_looked_at_ || (!why_off_.empty() && now >= look_again_ns_)) {
    was_looked_at_ = true;
    look_again_ns_ = now + kLookAgainNs;
    why_off_.clear();
    struct statfs status;
    if (directory_.empty()) {
      why_off_ = "no directory is configured for it";
    } else if (statfs(directory_.c_str(), &status) < 0) {
      (void)fail_errno(TARN_E_SYSTEM, "%s cannot be used", directory_.c_str());
      why_off_ = last_error();
    } else if (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC) {
      why_off_ = directory_ + " lies in memory itself";
    } else if (std::shared_ptr<File> file; open_file(kFileSize, file) < 0) {
      why_off_ = last_error();
    }
  }
  return why_off_.empty() ? nullptr : why_off_.c_str();
}

uint64_t Spill::disk_free(const std::string& directory) {
  struct statfs status;
  if (directory.empty() || statfs(directory.c_str(), &status) < 0) return 0;
  return static_cast<uint64_t>(status.f_bavail) * static_cast<uint64_t>(status.f_bsize);
}

// A file without a name.
int Spill::open_file(uint64_t size, std::shared_ptr<File>& out) const {
  constexpr int kFlags = O_RDWR | O_CLOEXEC;
  Fd fd{open(directory_.c_str(), O_TMPFILE | O_EXCL | O_DIRECT | kFlags, 0600)};
  // A file system without O_DIRECT says EINVAL.
  if (!fd.valid() && errno == EINVAL) fd = Fd{open(directory_.c_str(), O_TMPFILE | O_EXCL | kFlags, 0600)};
  if (!fd.valid()) return fail_errno(TARN_E_SYSTEM, "cannot make a file in %s", directory_.c_str());
  out = std::make_shared<File>(std::move(fd), size);
  return 0;
}

int Spill::find_room(uint64_t size, uint64_t ahead, std::shared_ptr<File>& file, uint64_t& offset) {
  if (last_file_ == nullptr || size > last_file_->size - last_file_->end) {
    if (int r = open_file(std::max(size, kFileSize), last_file_); r < 0) return r;
    last_file_->keep(keeper_, ++last_number_);
  }
  if (int r = reserve(*last_file_, last_file_->end + size, ahead); r < 0) {
    if (last_file_->live == 0) last_file_.reset();
    return r;
  }
  file = last_file_;
  offset = file->end;
  file->end += size;
  file->live += size;
  return 0;
}

// Blocks in advance: writes into them go side by side, where those that extend a file wait for one another (1.6 GB/s
// instead of 1.1 on ext4), and a full disk is met before anything is written. `ahead` more than is needed, if there is room.
int Spill::reserve(File& file, uint64_t end, uint64_t ahead) {
  if (end <= file.reserved) return 0;
  uint64_t most = std::min(std::max(end, file.reserved + std::min(ahead, kReserveAhead)), file.size);
  for (uint64_t wanted : {most, end}) {
    auto begin = static_cast<off_t>(file.reserved);
    uint64_t size = wanted - file.reserved;
    if (fallocate(file.fd.get(), 0, begin, static_cast<off_t>(size)) == 0 || errno == EOPNOTSUPP) {
      file.reserved = wanted;
      return 0;
    }
    int error = errno;
    // What it got before the disk was full it keeps, and nobody else has it.
    (void)punch(file.fd.get(), file.reserved, size);
    errno = error;
  }
  return fail_errno(TARN_E_SYSTEM, "%s has no room for %llu bytes", directory_.c_str(),
                    static_cast<unsigned long long>(end - file.reserved));
}

// ---- What the tarnd before had written -------------------------------------------------------

Spill::Place Spill::place_of(const Copy& copy) { return {copy.file_->number, copy.offset_, copy.size_, copy.digest_}; }

void Spill::take_over_files(KeptDescriptors& passed) {
  std::string prefix = std::string(kKeptPrefix) + "f";
  for (auto at = passed.lower_bound(prefix); at != passed.end() && at->first.starts_with(prefix);) {
    uint64_t number = strtoull(at->first.c_str() + prefix.size(), nullptr, 10);
    auto file = std::make_shared<File>(std::move(at->second), 0);
    file->keeper = &keeper_;
    file->number = number;
    taken_over_.emplace(number, std::move(file));
    at = passed.erase(at);
  }
}

int Spill::take_over(uid_t user, const Place& place, Budget& disk, std::shared_ptr<Copy>& out) {
  auto file = taken_over_.find(place.file);
  if (file == taken_over_.end()) return fail(TARN_E_LOST, "a file on the disk with objects was not kept");
  auto copy = std::make_shared<Copy>(*this, user);
  if (int r = Charge::take(disk, place.size, copy->charge_); r < 0) return r;
  copy->file_ = file->second;
  copy->offset_ = place.offset;
  copy->size_ = place.size;
  copy->digest_ = place.digest;
  file->second->live += place.size;
  file->second->taken_over.emplace_back(place.offset, place.size);
  largest_ = std::max(largest_, place.size);
  out = std::move(copy);
  return 0;
}

// What was being written, or was kept of what is in memory, and what was reserved.
void Spill::end_take_over() {
  for (auto& [number, file] : taken_over_) {
    auto& ranges = file->taken_over;
    std::ranges::sort(ranges);
    uint64_t end = 0;
    for (auto& [begin, size] : ranges) {
      if (begin > end) (void)punch(file->fd.get(), end, begin - end);
      end = begin + size;
    }
    (void)!ftruncate(file->fd.get(), static_cast<off_t>(end));
    ranges = {};
  }
  taken_over_.clear();  // those without copies go
}

// ---- Copies of what is in memory again -------------------------------------------------------

void Spill::keep(std::shared_ptr<Copy> copy) {
  bytes_kept_ += copy->size_;
  copy->kept_number_ = ++last_kept_;
  auto& kept = kept_[copy->charge_.budget()];
  kept.push_back(copy);
  copy->kept_at_ = std::prev(kept.end());
}

std::shared_ptr<Spill::Copy> Spill::take_back(const std::weak_ptr<Copy>& copy) {
  auto taken = copy.lock();
  if (taken == nullptr || !taken->is_kept()) return nullptr;
  taken->kept_number_ = 0;
  auto kept = kept_.find(taken->charge_.budget());
  kept->second.erase(taken->kept_at_);
  if (kept->second.empty()) kept_.erase(kept);  // the budget may go with its last copy
  bytes_kept_ -= taken->size_;
  return taken;
}

// Kept copies stay only while a quarter of the disk is free. Their room comes back a little later, so what goes is twice what
// is asked for: there is none left before the disk is full.
void Spill::make_room(const Budget& disk, uint64_t size) {
  for (const Budget* at = &disk; at != nullptr; at = at->parent())
    if (at->limit() - at->used() < at->limit() / 4 + size) drop_kept(at, 2 * size);
}

// The oldest until they have `bytes` together, of those that `of` pays for; nullptr: of all. One look for each that goes, and
// each user: nobody waits for how many there are of others.
void Spill::drop_kept(const Budget* of, uint64_t bytes) {
  while (bytes > 0) {
    const std::list<std::shared_ptr<Copy>>* oldest = nullptr;
    for (auto& [payer, kept] : kept_) {
      if (of != nullptr && !kept.front()->charge_.is_paid_by(*of)) continue;
      if (oldest == nullptr || kept.front()->kept_number_ < oldest->front()->kept_number_) oldest = &kept;
    }
    if (oldest == nullptr) return;
    std::shared_ptr<Copy> copy = oldest->front();
    bytes -= std::min(bytes, copy->size_);
    (void)take_back(copy);
  }
}

// ---- Jobs ------------------------------------------------------------------------------------

// Memory and disk are full, and somebody wants an object back: others have to go to the disk before it can leave that. So
// there is room for the two largest that only this may use, of a quarter of the disk at most.
int Spill::check_room(const Budget& disk, uint64_t size, For why) {
  largest_ = std::max(largest_, size);
  for (const Budget* at = &disk; at != nullptr; at = at->parent()) {
    uint64_t set_aside = why == For::kReturn ? 0 : std::min(2 * largest_, at->limit() / 4);
    uint64_t room = at->limit() - std::min(at->used(), at->limit());
    if (room < size + set_aside) return at->refuse(size);
  }
  return 0;
}

int Spill::save(uid_t user, std::weak_ptr<const void> wanted, Range range, Budget& disk, For why, Done done,
                std::shared_ptr<Copy>& out) {
  auto copy = std::make_shared<Copy>(*this, user);
  make_room(disk, range.size);
  if (int r = check_room(disk, range.size, why); r < 0) return r;
  if (int r = Charge::take(disk, range.size, copy->charge_); r < 0) return r;
  if (int r = find_room(range.size, disk.room(), copy->file_, copy->offset_); r < 0) {
    // Others fill the disk too.
    drop_kept(nullptr, bytes_kept_);
    return r;
  }
  copy->size_ = range.size;
  auto job = std::make_shared<Job>();
  job->kind = Kind::kSave;
  job->sums.resize((range.size + kPiece - 1) / kPiece);
  job->user = user;
  job->wanted = std::move(wanted);
  job->range = std::move(range);
  job->copy = copy;
  job->file = copy->file_;
  job->file_offset = copy->offset_;
  job->done = std::move(done);
  submit(std::move(job));
  out = std::move(copy);
  return 0;
}

// Into huge pages, where they can be had: all of them first, since the kernel makes many at once as fast as few.
void Spill::load(uid_t user, std::weak_ptr<const void> wanted, std::shared_ptr<Copy> copy, Range range, Done done) {
  if (!range.is_huge) return read_back(user, std::move(wanted), std::move(copy), std::move(range), std::move(done));
  auto job = std::make_shared<Job>();
  job->kind = Kind::kMake;
  job->user = user;
  job->wanted = wanted;
  job->range = range;
  job->done = [this, user, wanted, copy = std::move(copy), range, done = std::move(done)](int, const std::string&) {
    read_back(user, wanted, copy, range, done);
  };
  submit(std::move(job));
}

void Spill::read_back(uid_t user, std::weak_ptr<const void> wanted, std::shared_ptr<Copy> copy, Range range, Done done) {
  auto job = std::make_shared<Job>();
  job->kind = Kind::kLoad;
  job->sums.resize((range.size + kPiece - 1) / kPiece);
  job->user = user;
  job->wanted = std::move(wanted);
  job->range = std::move(range);
  job->file = copy->file_;
  job->file_offset = copy->offset_;
  job->copy = std::move(copy);
  job->done = std::move(done);
  submit(std::move(job));
}

void Spill::copy(uid_t user, std::weak_ptr<const void> wanted, Range from, Range to, Done done) {
  auto job = std::make_shared<Job>();
  job->kind = Kind::kCopy;
  job->user = user;
  job->wanted = std::move(wanted);
  job->range = std::move(to);
  job->range.size = from.size;
  job->from = std::move(from);
  job->done = std::move(done);
  submit(std::move(job));
}

void Spill::discard(uid_t user, std::weak_ptr<const void> wanted, Range range, Done done) {
  auto job = std::make_shared<Job>();
  job->kind = Kind::kDiscard;
  job->user = user;
  job->wanted = std::move(wanted);
  job->range = std::move(range);
  job->done = std::move(done);
  submit(std::move(job));
}

void Spill::submit(std::shared_ptr<Job> job) {
  if (threads_.empty()) start();
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    Line& line = lines_[static_cast<size_t>(job->kind)];
    auto& jobs = line.jobs[job->user];
    if (job->kind == Kind::kErase && !jobs.empty() && jobs.back()->takes(*job)) return;
    ++under_way_;
    if (jobs.empty()) line.turns.push_back(job->user);
    jobs.push_back(std::move(job));
    if (waiting_threads_ == 0) return;  // who works looks here before it waits
  }
  wake_.notify_one();
}

// Many objects are freed at once, most of them in the order in which they lie on the disk: their room is given up as one piece.
bool Spill::Job::takes(Job& other) {
  if (kind != Kind::kErase || file != other.file || charge.budget() != other.charge.budget() || running != 0 || next != 0) return false;
  if (file_offset + range.size == other.file_offset) {
    range.size += other.range.size;
  } else if (other.file_offset + other.range.size == file_offset) {
    file_offset = other.file_offset;
    range.size += other.range.size;
  } else {
    return false;
  }
  charge.join(std::move(other.charge));
  return true;
}

void Spill::start() {
  event_ = Fd{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  watch_ = loop_.watch(event_.get(), EPOLLIN, [this](uint32_t) { deliver(); });
  if (!event_.valid() || !watch_.active()) throw std::runtime_error("cannot make an event descriptor");
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (uint32_t i = 0; i < kThreads; ++i) threads_.emplace_back([this] { work(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

bool Spill::idle() {
  std::lock_guard lock(mutex_);
  return under_way_ == 0;
}

// With mutex_ held.
bool Spill::has_work() const {
  return std::ranges::any_of(lines_, [](const Line& line) { return !line.turns.empty(); });
}

// The next piece in turn, with mutex_ held; nullptr if there is none.
std::shared_ptr<Spill::Job> Spill::take_piece(uint64_t& at, uint64_t& size) {
  if (!has_work()) return nullptr;
  while (lines_[next_line_].turns.empty()) next_line_ = (next_line_ + 1) % kLines;
  Line& line = lines_[next_line_];
  next_line_ = (next_line_ + 1) % kLines;
  uid_t user = line.turns.front();
  line.turns.pop_front();
  auto found = line.jobs.find(user);
  std::shared_ptr<Job> job = found->second.front();
  // What nobody wants any more ends with no further piece, unless it is what nobody waits for anyhow.
  bool is_over = job->kind != Kind::kErase && (job->code < 0 || job->wanted.expired());
  at = job->next;
  bool is_copied = job->kind == Kind::kSave || job->kind == Kind::kLoad || job->kind == Kind::kCopy;
  uint64_t piece = is_copied ? kPiece : kDiscardPiece;
  size = is_over ? 0 : std::min(piece, job->range.size - at);
  job->next += size;
  ++job->running;
  if (is_over || job->next == job->range.size) found->second.pop_front();
  if (found->second.empty()) {
    line.jobs.erase(found);
  } else {
    line.turns.push_back(user);
  }
  if (is_over) job->next = job->range.size;
  return job;
}

void Spill::work() {
  Buffer buffer;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    uint64_t at;
    uint64_t size;
    std::shared_ptr<Job> job = take_piece(at, size);
    if (job == nullptr) {
      ++waiting_threads_;
      if (wake_.wait_for(lock, kBufferPatience) == std::cv_status::timeout) {
        buffer.empty();
        wake_.wait(lock, [this] { return stopping_ || has_work(); });
      }
      --waiting_threads_;
      continue;
    }
    if (waiting_threads_ != 0 && has_work()) wake_.notify_one();
    lock.unlock();
    int code = size == 0 ? 0 : do_piece(*job, at, size, buffer);
    std::string text = code < 0 ? last_error() : "";
    lock.lock();
    if (code < 0 && job->code == 0) {
      job->code = code;
      job->text = std::move(text);
    }
    if (--job->running == 0 && job->next == job->range.size) {
      finished_.push_back(std::move(job));
      uint64_t one = 1;
      [[maybe_unused]] ssize_t written = write(event_.get(), &one, sizeof one);
    }
    job.reset();  // with the lock: the loop thread shall be the last to have it
  }
}

// A part of an object that lies in huge pages, in place: the disk reads and writes them as well as a buffer, and nothing is copied.
// Of small pages a request would be a thousand bits of memory.
class Spill::InPlace {
 public:
  // Invalid where it is not in huge pages. Those of an end that fills none are small; so may others be, which costs time and nothing else.
  InPlace(const Range& range, uint64_t at, uint64_t size, os::Access access) {
    if (!range.is_huge) return;
    ErrorGuard guard;  // there is another way
    (void)os::Mapping::map_range(*range.file, range.begin + at, size, access, mapping_);
    (void)guard.end(0);
  }
  [[nodiscard]] bool valid() const { return mapping_.valid(); }
  [[nodiscard]] std::span<std::byte> bytes() const { return {mapping_.data(), mapping_.size()}; }

 private:
  os::Mapping mapping_;
};

// Best effort: what is missing then comes with what is read into it. Nothing before or behind the range is touched: it is not paid for.
int Spill::make_pages(const Range& range, uint64_t at, uint64_t size) {
  uint64_t page_size = os::huge_page_size();
  if (page_size == 0) return 0;
  uint64_t begin = os::round_up(range.begin + at, page_size);
  uint64_t end = (range.begin + at + size) / page_size * page_size;
  ErrorGuard guard;
  if (os::Mapping pages; begin < end && os::Mapping::map_range(*range.file, begin, end - begin, os::Access::kReadWrite, pages) == 0)
    (void)os::populate_huge(pages, page_size);
  return guard.end(0);
}

// The copy is of what was there at one time or another: who writes into a sealed object may find it lost.
int Spill::save_piece(Job& job, uint64_t at, std::span<const std::byte> bytes) {
  job.sums[at / kPiece] = XXH3_64bits(bytes.data(), bytes.size());
  return transfer_all(
      [&](uint64_t i) {
        return pwrite(job.file->fd.get(), bytes.data() + i, bytes.size() - i, static_cast<off_t>(job.file_offset + at + i));
      },
      bytes.size(), TARN_E_SYSTEM, "write an object to the disk");
}

int Spill::load_piece(Job& job, uint64_t at, std::span<std::byte> bytes) {
  int r = transfer_all(
      [&](uint64_t i) {
        return pread(job.file->fd.get(), bytes.data() + i, bytes.size() - i, static_cast<off_t>(job.file_offset + at + i));
      },
      bytes.size(), TARN_E_LOST, "read an object from the disk");
  if (r == 0) job.sums[at / kPiece] = XXH3_64bits(bytes.data(), bytes.size());
  return r;
}

int Spill::copy_piece(Job& job, uint64_t at, std::span<std::byte> bytes) {
  return transfer_all(
      [&](uint64_t i) {
        return pread(job.from.file->get(), bytes.data() + i, bytes.size() - i, static_cast<off_t>(job.from.begin + at + i));
      },
      bytes.size(), TARN_E_SYSTEM, "read an object that was made again");
}

int Spill::do_piece(Job& job, uint64_t at, uint64_t size, Buffer& buffer) {
  if (job.kind == Kind::kErase) return punch(job.file->fd.get(), job.file_offset + at, size);
  int slab = job.range.file->get();
  auto slab_at = static_cast<off_t>(job.range.begin + at);
  if (job.kind == Kind::kDiscard) return punch(slab, static_cast<uint64_t>(slab_at), size);
  bool is_load = job.kind == Kind::kLoad || job.kind == Kind::kCopy;
  auto load = [&](std::span<std::byte> to) { return job.kind == Kind::kLoad ? load_piece(job, at, to) : copy_piece(job, at, to); };
  if (job.kind == Kind::kMake) return make_pages(job.range, at, size);
  if (InPlace found(job.range, at, size, is_load ? os::Access::kReadWrite : os::Access::kRead); found.valid())
    return is_load ? load(found.bytes()) : save_piece(job, at, found.bytes());
  if (buffer.data == nullptr) return fail(TARN_E_NO_MEMORY, "no memory to copy an object");
  std::span bytes(buffer.data, size);
  auto place = [slab_at](uint64_t i) { return slab_at + static_cast<off_t>(i); };
  if (!is_load) {
    int r = transfer_all([&](uint64_t i) { return pread(slab, bytes.data() + i, size - i, place(i)); }, size, TARN_E_SYSTEM,
                         "read an object");
    return r < 0 ? r : save_piece(job, at, bytes);
  }
  if (int r = load(bytes); r < 0) return r;
  return transfer_all([&](uint64_t i) { return pwrite(slab, bytes.data() + i, size - i, place(i)); }, size, TARN_E_NO_MEMORY,
                      "bring an object back to memory");
}

// All pieces are through.
void Spill::finish(Job& job) {
  if (job.sums.empty() || job.code < 0) return;
  uint64_t digest = XXH3_64bits(job.sums.data(), job.sums.size() * sizeof(uint64_t));
  if (job.kind == Kind::kSave) {
    job.copy->digest_ = digest;
  } else if (digest != job.copy->digest_) {
    job.code = TARN_E_LOST;
    job.text = "an object's copy on the disk is damaged: its checksum is wrong";
  }
}

void Spill::deliver() {
  uint64_t count;
  [[maybe_unused]] ssize_t size = read(event_.get(), &count, sizeof count);
  std::vector<std::shared_ptr<Job>> finished;
  {
    std::lock_guard lock(mutex_);
    finished.swap(finished_);
    under_way_ -= static_cast<uint32_t>(finished.size());
  }
  for (auto& job : finished) {
    if (job->kind == Kind::kErase) {
      // Nothing stays of a time when memory was short.
      job->file->live -= job->range.size;
      if (job->file->live == 0 && job->file == last_file_) last_file_.reset();
    }
    if (job->done && !job->wanted.expired()) {
      finish(*job);
      job->done(job->code, job->text);
    }
    job.reset();
  }
}

}  // namespace tarn::daemon
