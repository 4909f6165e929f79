#include "event_feed.hpp"

#include <algorithm>

#include "os/clock.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {

bool EventFeed::wants_pressure() const { return wants(TARN_EVENT_PRESSURE); }

void EventFeed::subscribe(Connection& client, uint32_t mask) {
  if (mask == 0) return stop();
  bool was_told = wants_pressure();
  client_ = &client;
  mask_ = mask;
  if (waiting_ && !wants(waiting_->kind)) waiting_.reset();
  if (!was_told && wants_pressure()) look_whether_it_waits(0);
  if (wants_pressure()) return;
  is_short_ = is_told_short_ = false;
  calm_.reset();
}

void EventFeed::stop() {
  client_ = nullptr;
  mask_ = 0;
  waiting_.reset();
  lost_ = 0;
  is_short_ = is_told_short_ = false;
  calm_.reset();
}

bool EventFeed::has_room() {
  if (client_->has_room()) return true;
  client_->call_when_roomy();
  return false;
}

void EventFeed::send(wire::Event event) {
  wire::Buffer<sizeof(wire::Header) + sizeof(wire::Event)> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kEvent, 0);
  event.lost = lost_;
  lost_ = 0;
  message.body<wire::Event>() = event;
  client_->send(message);
}

void EventFeed::tell(uint32_t kind, uint32_t id, uint32_t generation, uint64_t bytes) {
  if (waiting_) ++lost_;
  waiting_ = {kind, 0, id, generation, bytes, 0};
  flush();
}

void EventFeed::tell_of_free() {
  // Without room there is something to read, which wakes it as well.
  if (!client_->has_room()) return;
  wire::Buffer<sizeof(wire::Header)> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kWake, 0);
  client_->send(message);
}

void EventFeed::on_room() {
  if (client_ != nullptr) flush();
}

void EventFeed::flush() {
  if (waiting_ && has_room()) {
    send(*waiting_);
    waiting_.reset();
  }
  if (is_short_ != is_told_short_ && has_room()) {
    send({TARN_EVENT_PRESSURE, is_short_ ? 0u : 1u, 0, 0, short_bytes_, 0});
    is_told_short_ = is_short_;
  }
}

// ---- Shortage --------------------------------------------------------------------------------

void EventFeed::look_whether_it_waits(uint64_t bytes) {
  MemoryQueue::Waits waits = queue_.waits_of(session_);
  if (waits.requests != 0) begin_pressure(bytes != 0 ? bytes : waits.bytes);
}

void EventFeed::after_refusal(int code, uint64_t bytes) {
  if (wants_pressure() && (code == TARN_E_STORE_FULL || code == TARN_E_QUOTA)) begin_pressure(bytes);
}

void EventFeed::begin_pressure(uint64_t bytes) {
  last_ns_ = os::now_ns();
  if (!is_short_) short_bytes_ = std::min(bytes, wire::kSizeMax);  // many may wait
  is_short_ = true;
  if (!calm_.armed()) calm_ = loop_.call_at(last_ns_ + kCalmNs, [this] { look_whether_it_is_over(); });
  flush();
}

void EventFeed::look_whether_it_is_over() {
  calm_.reset();
  int64_t now = os::now_ns();
  if (queue_.waits_of(session_).requests != 0) last_ns_ = now;
  if (now - last_ns_ < kCalmNs) {
    calm_ = loop_.call_at(last_ns_ + kCalmNs, [this] { look_whether_it_is_over(); });
    return;
  }
  is_short_ = false;
  flush();
}

}  // namespace tarn::daemon
