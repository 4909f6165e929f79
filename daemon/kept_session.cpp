#include "kept_session.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "log.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

uint64_t line_key(uint32_t owner, uint32_t number) { return uint64_t{owner} << 32 | number; }

}  // namespace

std::string KeptSession::name(const std::string& what) const {
  std::string of_book = kKeptPrefix + std::to_string(number_);
  return what.empty() ? of_book : of_book + "." + what;
}

// ---- Writing ---------------------------------------------------------------------------------

void KeptSession::begin(const KeptIdentity& identity, std::span<const std::byte> argv, std::span<const std::byte> environment) {
  if (!keeper_.is_on()) return;
  number_ = identity.number;
  if (os::memfd_create("tarn-book", kSize, file_) < 0 || os::memfd_reserve(file_, 0, kTextsAt) < 0 ||
      os::memfd_reserve(file_, kTextsAt, argv.size() + environment.size()) < 0 ||
      os::Mapping::map(file_, kSize, os::Access::kReadWrite, mapping_) < 0)
    return give_up(last_error());
  book_ = reinterpret_cast<Book*>(mapping_.data());
  book_->magic = kMagic;
  book_->size_of_all = kLayout;
  book_->identity = identity;
  book_->argv_size = static_cast<uint32_t>(argv.size());
  book_->environment_size = static_cast<uint32_t>(environment.size());
  std::ranges::copy(argv, mapping_.data() + kTextsAt);
  std::ranges::copy(environment, mapping_.data() + kTextsAt + argv.size());
  keep("", file_);
}

void KeptSession::open() {
  if (is_kept()) book_->is_open.store(1, shm::kRelease);
}

void KeptSession::set_welcomed() {
  if (is_kept()) book_->is_welcomed.store(1, shm::kRelease);
}

void KeptSession::set_task_names(std::span<const std::byte> names) {
  if (!is_kept()) return;
  if (os::memfd_reserve(file_, kNamesAt, names.size()) < 0) return give_up(last_error());
  std::ranges::copy(names, mapping_.data() + kNamesAt);
  book_->names_size.store(static_cast<uint32_t>(names.size()), shm::kRelease);
}

void KeptSession::keep(const std::string& what, const Fd& fd) {
  if (!is_kept()) return;
  if (!keeper_.keep(name(what), fd)) return give_up(last_error());
  names_.emplace(what, false);
}

void KeptSession::put_member(uint32_t index, const KeptMember& member) {
  if (!is_kept()) return;
  MemberEntry& entry = book_->members[index];
  uint32_t next = entry.current.load(shm::kRelaxed) == 1 ? 2 : 1;
  entry.lines[next - 1] = member;
  entry.current.store(next, shm::kRelease);
}

void KeptSession::erase_member(uint32_t index, bool has_connection) {
  if (!is_kept()) return;
  book_->members[index].current.store(0, shm::kRelease);
  if (has_connection) drop_connection(index);
  if (names_.erase(segment_name(index)) != 0) keeper_.drop(name(segment_name(index)));
}

void KeptSession::drop_connection(uint32_t index) {
  if (!is_kept()) return;
  for (const std::string& what : {connection_name(index), pipe_name(index, 0), pipe_name(index, 1)})
    if (names_.erase(what) != 0) keeper_.drop(name(what));
}

// `free` is not empty afterwards, or the session is not kept any more. `count` lines of `size` bytes are backed, from `at` on.
bool KeptSession::find_free_line(std::vector<uint32_t>& free, uint32_t& count, uint64_t at, size_t size, uint32_t most) {
  if (!free.empty()) return true;
  uint32_t had = count;
  uint32_t more = std::min(std::max(had / 2, static_cast<uint32_t>(os::kPageSize / size)), most - had);
  if (more == 0) {
    give_up("there are more of its slabs or moved objects than its book has lines");
    return false;
  }
  if (os::memfd_reserve(file_, at + had * size, more * size) < 0) {
    give_up(last_error());
    return false;
  }
  count = had + more;
  for (uint32_t i = count; i > had; --i) free.push_back(i - 1);
  return true;
}

void KeptSession::put_slab(const KeptSlab& slab, const Fd& file) {
  keep(slab_name(slab, book_->identity.uid), file);
  if (!is_kept() || !find_free_line(free_lines_, book_->slab_lines, kSlabsAt, sizeof(SlabLine), kSlabLinesMax)) return;
  uint32_t number = free_lines_.back();
  free_lines_.pop_back();
  lines_.emplace(line_key(slab.owner, slab.number), number);
  slab_line(number).slab = slab;
  slab_line(number).is_used.store(1, shm::kRelease);
}

void KeptSession::erase_slab(uint32_t owner, uint32_t number) {
  if (!is_kept()) return;
  auto found = lines_.find(line_key(owner, number));
  if (found == lines_.end()) return;
  SlabLine& line = slab_line(found->second);
  line.is_used.store(0, shm::kRelease);
  free_lines_.push_back(found->second);
  lines_.erase(found);
  std::string what = slab_name(line.slab, book_->identity.uid);
  names_.erase(what);
  keeper_.drop(name(what));
}

uint32_t KeptSession::put_moved(const KeptMoved& moved) {
  if (!is_kept() || !find_free_line(free_moved_, book_->moved_lines, kMovedAt, sizeof(MovedLine), kMovedLinesMax)) return kNoLine;
  uint32_t number = free_moved_.back();
  free_moved_.pop_back();
  moved_line(number).moved = moved;
  moved_line(number).is_used.store(1, shm::kRelease);
  return number;
}

void KeptSession::abandon_moved(uint32_t line) {
  if (is_kept() && line != kNoLine) moved_line(line).moved.is_abandoned = 1;
}

void KeptSession::erase_moved(uint32_t line) {
  if (!is_kept() || line == kNoLine) return;
  moved_line(line).is_used.store(0, shm::kRelease);
  free_moved_.push_back(line);
}

void KeptSession::end() {
  if (!is_kept()) return;
  book_->is_open.store(0, shm::kRelease);
  book_ = nullptr;
  for (auto& [what, is_new] : names_) keeper_.drop(name(what));
  names_.clear();
  mapping_.reset();
  file_.reset();
}

void KeptSession::give_up(const char* why) {
  log(Level::kWarning, "session %u ends with this tarnd, should it be killed: %s", number_, why);
  end();
}

// ---- Reading ---------------------------------------------------------------------------------

bool KeptSession::take_over(uint32_t number, KeptDescriptors& passed) {
  number_ = number;
  std::string own = name("");
  for (auto at = passed.lower_bound(own); at != passed.end() && at->first.starts_with(own);) {
    std::string_view rest = std::string_view(at->first).substr(own.size());
    if (!rest.empty() && rest[0] != '.') {
      ++at;  // of session 12, where this is 1
      continue;
    }
    std::string what(rest.empty() ? rest : rest.substr(1));
    names_.emplace(what, true);
    passed_.emplace(std::move(what), std::move(at->second));
    at = passed.erase(at);
  }
  file_ = take("");
  auto refuse = [&](const char* why) {
    for (auto& [what, is_new] : names_) keeper_.drop(name(what));
    names_.clear();
    book_ = nullptr;
    (void)fail(TARN_E_LOST, "session %u cannot be taken over: %s", number, why);
    return false;
  };
  if (!file_.valid()) return refuse("there is no book of it");
  if (os::Mapping::map(file_, kSize, os::Access::kReadWrite, mapping_) < 0) return refuse(last_error());
  book_ = reinterpret_cast<Book*>(mapping_.data());
  if (book_->magic != kMagic || book_->size_of_all != kLayout || book_->identity.number != number)
    return refuse("its book is of another release");
  if (book_->is_open.load(shm::kAcquire) == 0) return refuse("it was being opened, or ended");
  for (uint32_t i = book_->slab_lines; i > 0; --i) {
    const SlabLine& line = slab_line(i - 1);
    if (line.is_used.load(shm::kAcquire) == 0) {
      free_lines_.push_back(i - 1);
    } else {
      lines_.emplace(line_key(line.slab.owner, line.slab.number), i - 1);
    }
  }
  for (uint32_t i = book_->moved_lines; i > 0; --i)
    if (moved_line(i - 1).is_used.load(shm::kAcquire) == 0) free_moved_.push_back(i - 1);
  return true;
}

std::span<const std::byte> KeptSession::argv() const { return {mapping_.data() + kTextsAt, book_->argv_size}; }

std::span<const std::byte> KeptSession::environment() const {
  return {mapping_.data() + kTextsAt + book_->argv_size, book_->environment_size};
}

std::span<const std::byte> KeptSession::task_names() const {
  return {mapping_.data() + kNamesAt, book_->names_size.load(shm::kAcquire)};
}

Fd KeptSession::take(const std::string& what) {
  auto found = passed_.find(what);
  if (found == passed_.end()) return {};
  Fd fd = std::move(found->second);
  passed_.erase(found);
  names_[what] = false;
  return fd;
}

KeptDescriptors KeptSession::take_rest() {
  std::erase_if(names_, [this](const auto& entry) {
    if (entry.second) keeper_.drop(name(entry.first));
    return entry.second;
  });
  return std::exchange(passed_, {});
}

}  // namespace tarn::daemon
