#include "connection.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "os/clock.hpp"

namespace tarn::daemon {
namespace {

constexpr int kPacketsPerVisit = 16;          // then others have their turn
constexpr int64_t kRetryDelay = 10'000'000;  // when too many descriptors are in flight

}  // namespace

Connection::Connection(Loop& loop, Closer& closer, uid_t user, Fd socket, wire::From peer, Owner& owner)
    : loop_(loop), closer_(closer), user_(user), socket_(std::move(socket)), peer_(peer), owner_(&owner) {}

void Connection::start() {
  if (started_ || !socket_.valid()) return;
  started_ = true;
  watch_ = loop_.watch(socket_.get(), read_events(), [this](uint32_t events) { on_events(events); });
  if (!watch_.active()) return cut_off(last_error());
  if (!queue_.empty()) watch_for(true);
}

void Connection::on_events(uint32_t events) {
  if ((events & EPOLLOUT) != 0) flush();
  if (!reading_ && (events & (EPOLLHUP | EPOLLERR)) != 0) return cut_off("");
  if (socket_.valid() && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) receive();
}

void Connection::receive() {
  for (int i = 0; i < kPacketsPerVisit && socket_.valid() && !cut_ && reading_; ++i) {
    os::Received received;
    std::span<std::byte> buffer = loop_.packet_buffer();
    if (closer_.is_stuck(user_)) return cut_off("closing what its user sent before does not end");
    int r = os::socket_receive(socket_, buffer, received, 0);
    if (r == os::kWouldBlock) return;
    wire::Packet packet;
    if (r == 0 && received.size > 0)
      r = wire::parse(buffer.first(received.size), received.descriptor_count, peer_, packet);
    if (r < 0) {
      cut_off(last_error());
    } else if (received.size == 0) {
      cut_off("");
    } else {
      owner_->on_packet(*this, packet, received);
    }
    leave_to_closer(received);
  }
}

// Whatever nobody took.
void Connection::leave_to_closer(os::Received& received) {
  for (Fd& each : received.descriptors) closer_.close(user_, Closer::Kind::kForeign, std::move(each));
  for (Fd& each : received.excess) closer_.close(user_, Closer::Kind::kForeign, std::move(each));
}

void Connection::send(wire::Builder& message, std::initializer_list<SharedFd> descriptors) {
  if (!socket_.valid() || cut_) return;
  std::span<const std::byte> bytes = message.finish();
  if (queue_.empty()) {
    int r = send_now(bytes, {descriptors.begin(), descriptors.size()});
    if (r == 0) return;
    // A peer that has left is noticed when reading, where what it said last is still heard.
    if (r < 0) return;
  }
  if (queue_.size() >= kQueuePacketsMax || queued_bytes_ + bytes.size() > kQueueBytesMax)
    return cut_off("it does not read what it is sent");
  queue_.push_back({{bytes.begin(), bytes.end()}, {descriptors.begin(), descriptors.end()}});
  queued_bytes_ += bytes.size();
  if (started_ && !retry_.armed()) watch_for(true);
}

bool Connection::withdraw(const SharedFd& file) {
  size_t count = std::erase_if(queue_, [&](const Queued& each) {
    bool carries = std::ranges::find(each.descriptors, file) != each.descriptors.end();
    if (carries) queued_bytes_ -= each.bytes.size();
    return carries;
  });
  return count > 0;
}

// Whether `count` descriptors more may lie in the socket.
bool Connection::may_fly(size_t count, Charge& out) {
  if (count == 0 || flight_budget_ == nullptr) return true;
  if (in_flight_.amount() > 0 && os::socket_unreceived(socket_) == 0) in_flight_.reset();
  return Charge::take(*flight_budget_, count, out) == 0;
}

int Connection::send_now(std::span<const std::byte> bytes, std::span<const SharedFd> descriptors) {
  int raw[os::kSocketDescriptorsMax];
  TARN_ASSERT(descriptors.size() <= os::kSocketDescriptorsMax);
  for (size_t i = 0; i < descriptors.size(); ++i) raw[i] = descriptors[i]->get();
  Charge flying;
  if (!may_fly(descriptors.size(), flying)) return os::kWouldBlock;
  int r = os::socket_send(socket_, bytes, {raw, descriptors.size()}, 0);
  if (r == 0) in_flight_.join(std::move(flying));
  return r;
}

void Connection::flush() {
  for (bool progress = false; !queue_.empty(); progress = true) {
    Queued& next = queue_.front();
    int r = send_now(next.bytes, next.descriptors);
    if (r == os::kWouldBlock) {
      if (progress) return watch_for(true);
      // Writable, and yet it would block: not the socket but the descriptors in flight are too many, for the budget or for
      // the kernel, which no event tells of.
      watch_for(false);
      retry_ = loop_.call_at(os::now_ns() + kRetryDelay, [this] {
        retry_.reset();
        if (socket_.valid() && !cut_) flush();
      });
      return;
    }
    if (r < 0) {
      queue_.clear();
      queued_bytes_ = 0;
      break;
    }
    queued_bytes_ -= next.bytes.size();
    queue_.pop_front();
  }
  if (started_ && !cut_) watch_for(false);
  if (std::exchange(wants_room_, false) && !cut_) owner_->on_room(*this);
}

void Connection::call_when_roomy() {
  wants_room_ = true;
  if (started_ && socket_.valid() && !cut_ && !retry_.armed()) watch_for(true);
}

void Connection::watch_for(bool writable) {
  writing_ = writable;
  watch_.set_events(read_events() | (writable ? uint32_t{EPOLLOUT} : 0));
}

uint32_t Connection::read_events() const { return reading_ ? uint32_t{EPOLLIN} : 0; }

void Connection::set_reading(bool reading) {
  reading_ = reading;
  if (started_ && socket_.valid() && !cut_) watch_for(writing_);
}

void Connection::cut_off(std::string reason) {
  if (cut_ || !socket_.valid()) return;
  cut_ = true;
  watch_.reset();
  // Later, because whoever sends is in the middle of something that the owner would turn over.
  loop_.defer([this, why = std::move(reason)] {
    if (!socket_.valid()) return;
    owner_->on_closed(*this, why);
  });
}

void Connection::close() {
  retry_.reset();
  watch_.reset();
  queue_.clear();
  queued_bytes_ = 0;
  if (in_flight_.amount() > 0 && os::socket_unreceived(socket_) > 0)
    return closer_.close_once_received(user_, std::move(socket_), std::move(receipt_), std::move(in_flight_));
  in_flight_.reset();
  // With a packet that was not received goes what it brought.
  closer_.close(user_, Closer::Kind::kOurs, std::move(socket_), std::move(receipt_));
}

}  // namespace tarn::daemon
