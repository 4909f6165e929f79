#include "prefault.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <stdexcept>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/memory.hpp"
#include "wire/messages.hpp"

namespace tarn::daemon {
namespace {

// Mapped at a time: what tarnd itself counts as resident meanwhile.
constexpr uint64_t kPiece = 64u << 20;
// The same where somebody follows. His part, to zero and map the pages, takes longer than to make them: from the second piece
// on both are at work. With 4 MiB a word comes each millisecond or two.
constexpr uint64_t kStep = 4u << 20;
// To make a step of huge pages takes 0.2 ms, of small ones 2 with what their owner does. When memory is in small bits the kernel
// looks for huge ones long, and maybe in vain. After a step that was in vain, or took so long, so many are made of small ones, and
// twice as many if it is so again. Not sooner: what a hypervisor has not backed yet takes 7 ms, but only the first time.
constexpr int64_t kSlowStepNs = 20'000'000;
constexpr uint32_t kRestMin = 16;
constexpr uint32_t kRestMax = 1024;

void bind(const os::Mapping& piece, int32_t node) {
  if (node == wire::kAllNodes) {
    os::interleave(piece);
  } else {
    os::prefer_node(piece, node);
  }
}

// The size of the huge pages for it; 0: the usual ones. Never on the loop thread: for a huge page the kernel may have to move
// what others have, and slabs that are made at once are so small that the processor knows all their pages anyway. Nor for
// records, which are paid for as they grow.
uint64_t huge_page_for(const Prefaulter::Range& range) {
  if (range.zero || range.size <= Prefaulter::kAtOnceMax) return 0;
  uint64_t huge = os::huge_page_size();
  return huge != 0 && kStep % huge == 0 ? huge : 0;
}

}  // namespace

Prefaulter::Prefaulter(Loop& loop) : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!event_.valid()) throw std::runtime_error("cannot make an event descriptor");
  watch_ = loop.watch(event_.get(), EPOLLIN, [this](uint32_t) { deliver(); });
  if (!watch_.active()) throw std::runtime_error(last_error());
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { work(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Prefaulter::~Prefaulter() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Prefaulter::prepare(uid_t user, std::weak_ptr<const void> wanted, Range range, Done done, Progress progress) {
  auto follower = progress ? std::make_shared<const Progress>(std::move(progress)) : nullptr;
  Job job{user, std::move(wanted), std::move(range), std::move(done), std::move(follower), 0, {}};
  job.result.is_huge = true;  // until a piece is not
  if (job.range.size <= kAtOnceMax) {
    make_piece_warm(job);
    job.done(job.result);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    auto& jobs = waiting_[user];
    jobs.push_back(std::move(job));
    if (jobs.size() == 1 && at_ != user) turns_.push_back(user);
  }
  wake_.notify_one();
}

bool Prefaulter::is_dropping(uid_t user) {
  std::lock_guard lock(mutex_);
  auto is_dropped = [user](const Job& job) { return job.user == user && job.wanted.expired(); };
  auto jobs = waiting_.find(user);
  return std::ranges::any_of(finished_, is_dropped) ||
         (jobs != waiting_.end() && std::ranges::any_of(jobs->second, is_dropped));
}

bool Prefaulter::idle() {
  std::lock_guard lock(mutex_);
  return waiting_.empty() && finished_.empty();
}

void Prefaulter::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !turns_.empty(); });
    if (stopping_) return;
    uid_t user = turns_.front();
    turns_.pop_front();
    auto& jobs = waiting_[user];
    Job& job = jobs.front();  // stays: only this thread takes jobs out, and a deque moves none when it grows
    at_ = user;
    lock.unlock();
    if (!job.is_over()) make_piece_warm(job);
    lock.lock();
    at_.reset();
    if (job.is_over()) {
      std::erase_if(steps_, [&job](const Step& step) { return step.progress == job.progress; });
      finished_.push_back(std::move(job));
      jobs.pop_front();
      ring();
    } else if (job.progress != nullptr) {
      tell(job);
    }
    if (jobs.empty()) {
      waiting_.erase(user);
    } else {
      turns_.push_back(user);
    }
  }
}

// With the mutex held, like ring().
void Prefaulter::tell(const Job& job) {
  auto known = std::ranges::find(steps_, job.progress, &Step::progress);
  if (known != steps_.end()) {
    known->warm = job.warm;
    return;
  }
  steps_.push_back({job.wanted, job.progress, job.warm});
  ring();
}

void Prefaulter::ring() {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = write(event_.get(), &one, sizeof one);
}

void Prefaulter::deliver() {
  uint64_t count;
  [[maybe_unused]] ssize_t size = read(event_.get(), &count, sizeof count);
  std::vector<Job> finished;
  std::vector<Step> steps;
  {
    std::lock_guard lock(mutex_);
    finished.swap(finished_);
    steps.swap(steps_);
  }
  for (const Step& step : steps)
    if (!step.wanted.expired()) (*step.progress)(step.warm);
  for (Job& job : finished)
    if (!job.wanted.expired()) job.done(job.result);
}

// Whether it is huge pages now, but for the end.
bool Prefaulter::make_huge(const os::Mapping& piece, uint64_t page_size) {
  auto steps = static_cast<uint32_t>(os::round_up(piece.size(), kStep) / kStep);
  if (rest_ != 0) {
    rest_ -= std::min(rest_, steps);
    return false;
  }
  int64_t begin = os::now_ns();
  bool is_made = os::populate_huge(piece, page_size);
  next_rest_ = !is_made || os::now_ns() - begin > kSlowStepNs * steps ? std::clamp(next_rest_ * 2, kRestMin, kRestMax) : 0;
  rest_ = next_rest_;
  return is_made;
}

void Prefaulter::make_piece_warm(Job& job) {
  const Range& range = job.range;
  uint64_t huge = huge_page_for(range);
  bool tries_huge = huge != 0 && rest_ == 0;  // which is best done at once, and fast
  uint64_t size = std::min(job.progress != nullptr && !tries_huge ? kStep : kPiece, range.size - job.warm);
  uint64_t begin = range.begin + job.warm;
  os::Mapping piece;
  job.result.code = os::Mapping::map_range(*range.file, begin, size, os::Access::kReadWrite, piece);
  if (job.result.code == 0) {
    bind(piece, range.node);  // before there are pages
    job.result.is_huge = huge != 0 && make_huge(piece, huge) && job.result.is_huge;
    job.result.code = os::memfd_reserve(*range.file, begin, size);
  }
  if (job.result.code == 0 && range.zero) os::prefault(piece.data(), piece.size(), os::Access::kReadWrite);
  if (job.result.code < 0) job.result.text = last_error();
  job.warm += size;
}

}  // namespace tarn::daemon
