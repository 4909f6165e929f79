#include "prefault.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "os/memory.hpp"

namespace tarn::daemon {
namespace {

constexpr uint64_t kPiece = 64u << 20;  // mapped at a time: what tarnd itself counts as resident meanwhile

}  // namespace

Prefaulter::~Prefaulter() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Prefaulter::prepare(SharedFd file, uint64_t size, Done done) {
  Job job{std::move(file), size, std::move(done), 0, {}};
  if (size <= kAtOnceMax) {
    make_warm(job);
    job.done(job.code, job.text);
    return;
  }
  if (!thread_.joinable()) start_thread();
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Prefaulter::start_thread() {
  event_ = Fd{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  TARN_ASSERT(event_.valid());
  watch_ = loop_.watch(event_.get(), EPOLLIN, [this](uint32_t) { deliver(); });
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { work(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Prefaulter::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    Job job = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    make_warm(job);
    lock.lock();
    finished_.push_back(std::move(job));
    uint64_t one = 1;
    [[maybe_unused]] ssize_t written = write(event_.get(), &one, sizeof one);
  }
}

void Prefaulter::deliver() {
  uint64_t count;
  [[maybe_unused]] ssize_t size = read(event_.get(), &count, sizeof count);
  std::deque<Job> finished;
  {
    std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }
  for (Job& job : finished) job.done(job.code, job.text);
}

void Prefaulter::make_warm(Job& job) {
  for (uint64_t at = 0; at < job.size && job.code == 0; at += kPiece) {
    uint64_t size = std::min(kPiece, job.size - at);
    job.code = os::memfd_reserve(*job.file, at, size);
    if (job.code < 0) break;
    os::Mapping piece;
    job.code = os::Mapping::map_range(*job.file, at, size, os::Access::kReadWrite, piece);
    if (job.code == 0) os::prefault(piece.data(), piece.size(), os::Access::kReadWrite);
  }
  if (job.code < 0) job.text = last_error();
}

}  // namespace tarn::daemon
