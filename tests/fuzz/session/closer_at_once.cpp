// os::Closer without threads, in place of the one in os/closer.cpp: a descriptor is closed before close() returns, and its
// receipt comes back by collect() as ever. Threads cost more than the rest of an input, and make one of a hundred not
// repeatable; what they do is for tests/unit/os/closer_test.cpp to try, and where the corpus is replayed they are there.
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "base/error.hpp"
#include "os/closer.hpp"

namespace tarn::os {

struct Closer::State {
  Fd event;
  std::vector<std::pair<Lane, Receipt>> finished;
};

Closer::~Closer() = default;

int Closer::start() {
  state_ = std::make_shared<State>();
  state_->event = Fd{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  return state_->event.valid() ? 0 : fail_errno(code_of_errno(errno), "cannot make an event descriptor");
}

void Closer::close(Lane lane, Fd fd, Receipt receipt) {
  if (!fd.valid()) return;
  Count& count = counts_[lane];
  ++count.waiting;
  if (receipt == nullptr) ++count.unpaid;
  fd.reset();
  state_->finished.emplace_back(lane, std::move(receipt));
  uint64_t one = 1;
  [[maybe_unused]] ssize_t written = write(state_->event.get(), &one, sizeof one);
}

const Fd& Closer::event() const { return state_->event; }

void Closer::collect() {
  uint64_t ignored;
  [[maybe_unused]] ssize_t size = read(event().get(), &ignored, sizeof ignored);
  for (auto& [lane, receipt] : std::exchange(state_->finished, {})) {
    auto found = counts_.find(lane);
    if (receipt == nullptr) --found->second.unpaid;
    if (--found->second.waiting == 0) counts_.erase(found);
  }
}

size_t Closer::waiting(Lane lane) const {
  auto found = counts_.find(lane);
  return found == counts_.end() ? 0 : found->second.waiting;
}

size_t Closer::unpaid(Lane lane) const {
  auto found = counts_.find(lane);
  return found == counts_.end() ? 0 : found->second.unpaid;
}

}  // namespace tarn::os
