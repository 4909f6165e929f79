#include "session_trace.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "base/error.hpp"
#include "log.hpp"
#include "os/clock.hpp"
#include "session.hpp"
#include "tarn/tarn.h"
#include "trace/trace_area.hpp"

namespace tarn::daemon {
namespace {

constexpr size_t kAskersMax = 16;                   // of one session; docs/limits.md
constexpr uint32_t kLanesAtATime = 8;
constexpr int64_t kNextLanesNs = 5'000'000;
constexpr int64_t kLookEveryNs = 500'000'000;
constexpr int64_t kBeforeTakeBackNs = 2'000'000'000;  // from the end of a trace: longer than any store takes

}  // namespace

int SessionTrace::ask(uint64_t asker, const wire::TraceAsk& wish, Connection& to, uint32_t serial) {
  if (reader_ == nullptr) {
    std::shared_ptr<Payment> payment;
    Fd reader;
    if (int r = session_.pay(0, 1, payment); r < 0) return r;
    if (int r = os::memfd_open_reader_again(*session_.board_file_, reader); r < 0) return r;
    reader_ = session_.services_.closer.share(session_.identity_.uid, Closer::Kind::kOurs, std::move(reader), std::move(payment));
  }
  if (wish.for_ns > 0 && wish.events_log2 != 0) {
    bool is_new = !askers_.contains(asker);
    if (is_new && askers_.size() >= kAskersMax)
      return fail(TARN_E_LIMIT, "%zu tools trace session %u already; end one of them", kAskersMax, session_.number());
    if (int r = begin(wish.events_log2); r < 0) {
      update();  // what it has got goes back
      return r;
    }
    askers_[asker] = os::now_ns() + std::min(wish.for_ns, trace::kTraceAheadMaxNs);
  } else {
    askers_.erase(asker);
  }
  update();
  wire::Buffer<128> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kTrace, serial);
  auto& body = message.body<wire::Trace>();
  body.board_size = trace::kBoardFileSize;
  body.session = session_.number();
  body.events_log2 = askers_.empty() ? 0 : events_log2_;
  body.lanes = static_cast<uint32_t>(std::ranges::count_if(payments_, [](const auto& payment) { return payment != nullptr; }));
  to.send(message, {reader_});
  return 0;
}

void SessionTrace::forget(uint64_t asker) {
  if (askers_.erase(asker) != 0) update();
}

// Lanes for all that are there. Those of a trace that goes on, or has only just ended, stay as they are.
int SessionTrace::begin(uint32_t events_log2) {
  if (events_log2_ == 0) events_log2_ = std::clamp(events_log2, trace::kEventsLog2Min, trace::kEventsLog2Max);
  if (int r = back(shm::kDaemonMember); r < 0) return r;
  if (!own_lane_.valid()) {
    int r = os::Mapping::map_range(*session_.board_file_, trace::lane_at(shm::kDaemonMember), sizeof(trace::Lane), os::Access::kReadWrite, own_lane_);
    if (r < 0) return r;
  }
  return back_some();
}

// The client first. More take turns: a lane takes about a millisecond, and others wait for tarnd as well.
int SessionTrace::back_some() {
  uint32_t backed = 0;
  for (auto& [index, member] : session_.members()) {
    if (payments_[index] != nullptr) continue;
    if (backed++ == kLanesAtATime) {
      timer_ = session_.services_.loop.call_at(os::now_ns() + kNextLanesNs, [this] { look(); });
      return 0;
    }
    if (int r = back(index); r < 0) return r;
  }
  return 0;
}

int SessionTrace::back(uint32_t member) {
  if (payments_[member] != nullptr) return 0;
  uint64_t size = trace::lane_size(uint32_t{1} << events_log2_);
  std::shared_ptr<Payment> payment;
  if (int r = session_.pay(size, 0, payment); r < 0) return r;
  if (int r = os::memfd_reserve(*session_.board_file_, trace::lane_at(member), size); r < 0) return r;
  payments_[member] = std::move(payment);
  session_.board_->trace_lanes[member / 64].fetch_or(uint64_t{1} << member % 64);
  return 0;
}

void SessionTrace::add_member(uint32_t member) {
  if (events_log2_ == 0 || back(member) == 0) return;
  log(Level::kWarning, "session %u: member %u is not traced: %s", session_.number(), member, last_error());
}

// The word says what is wanted now. A member may have cleared it, or anybody scribbled upon it.
void SessionTrace::update() {
  int64_t now = os::now_ns();
  std::erase_if(askers_, [now](const auto& entry) { return entry.second <= now; });
  int64_t until = 0;
  for (auto& [asker, end] : askers_) until = std::max(until, end);
  uint64_t word = until == 0 ? 0 : trace::pack_trace(until, events_log2_);
  if (session_.board_->trace.load(shm::kRelaxed) != word) session_.board_->trace.store(word, shm::kRelease);
  off_since_ns_ = word == 0 ? (off_since_ns_ != 0 ? off_since_ns_ : now) : 0;
  if (events_log2_ != 0 && !timer_.armed()) timer_ = session_.services_.loop.call_at(now + kLookEveryNs, [this] { look(); });
}

void SessionTrace::look() {
  timer_.reset();
  if (!askers_.empty()) (void)back_some();  // how many have a lane is told to who asks
  update();
  if (off_since_ns_ == 0 || os::now_ns() < off_since_ns_ + kBeforeTakeBackNs) return;
  take_back();
}

void SessionTrace::take_back() {
  for (auto& lanes : session_.board_->trace_lanes) lanes.store(0, shm::kRelease);
  off_since_ns_ = 0;
  events_log2_ = 0;
  if (fallocate(session_.board_file_->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(trace::kLanesAt),
                static_cast<off_t>(trace::kBoardFileSize - trace::kLanesAt)) < 0) {
    log(Level::kWarning, "session %u: the memory of a trace is not given back: %s", session_.number(), strerror(errno));
    return;  // and stays paid
  }
  for (auto& payment : payments_) payment.reset();
}

void SessionTrace::resume() {
  session_.board_->trace.store(0, shm::kRelease);
  take_back();
}

void SessionTrace::write(trace::Kind kind, uint64_t run, uint64_t argument, uint32_t member) {
  if (askers_.empty() || !own_lane_.valid()) return;
  auto* lane = reinterpret_cast<trace::Lane*>(own_lane_.data());
  trace::append(lane->end, lane->slots, uint32_t{1} << events_log2_,
                trace::Event{static_cast<uint64_t>(os::now_ns()), run, argument, member, 0, 0, kind}.pack());
}

}  // namespace tarn::daemon
