// Connection: one socket to somebody who is not trusted: a client, a worker, a tool.
//
// Receives whole packets, checks them (wire::parse) and hands them to its owner. Sends without ever
// blocking: what the socket does not take waits in a bounded queue, and a peer that lets it run over
// is cut off.
//
// Lives on the loop thread. Destroy it by Loop::bury only: its callbacks may be on the stack.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "closer.hpp"
#include "loop.hpp"
#include "os/socket.hpp"
#include "wire/validate.hpp"

namespace tarn::daemon {

class Connection {
 public:
  class Owner {
   public:
    virtual void on_packet(Connection& from, const wire::Packet& packet, os::Received& received) = 0;
    // The other side has left, or was cut off because of `reason` (empty if it left). Comes once, and
    // not after close().
    virtual void on_closed(Connection& from, const std::string& reason) = 0;
    // There is room again, as call_when_roomy was asked for. Comes once.
    virtual void on_room(Connection&) {}

   protected:
    ~Owner() = default;
  };

  static constexpr size_t kQueuePacketsMax = 16 * 1024;  // every member, slab and file of a session, for a newcomer
  static constexpr size_t kQueueBytesMax = 4u << 20;

  // `user` is at the other end, or made the process that is.
  Connection(Loop& loop, Closer& closer, uid_t user, Fd socket, wire::From peer, Owner& owner);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(); }

  // What to give back once the socket is closed.
  void set_receipt(Closer::Receipt receipt) { receipt_ = std::move(receipt); }

  // Descriptors that the other side has not received are paid from `budget`: what lies in sockets counts for this process,
  // and the kernel lets it have as many there as it may have open. Without room they wait here.
  void pay_in_flight(Budget& budget) { flight_budget_ = &budget; }

  void set_owner(Owner& owner) { owner_ = &owner; }

  // Begins to receive; until then packets wait in the socket.
  void start();

  void send(wire::Builder& message, std::initializer_list<SharedFd> descriptors = {});

  // Whether what is sent now is received soon: nothing waits here, and at most a quarter of the socket is taken. For what
  // may be left out, so that a peer that does not read is not cut off for it.
  [[nodiscard]] bool has_room() const { return queue_.empty() && socket_.valid() && !cut_ && os::socket_has_room(socket_); }
  void call_when_roomy();

  // Whether it receives: what arrives meanwhile waits in the socket. A peer that has left is noticed all the same.
  void set_reading(bool reading);
  // Takes the packets that carry `file` out of what waits, with those descriptors the last hold on it perhaps. Returns
  // whether there were any.
  bool withdraw(const SharedFd& file);

  // Ends the connection now; queued packets are dropped.
  void close();
  [[nodiscard]] bool is_open() const { return socket_.valid(); }
  [[nodiscard]] const Fd& socket() const { return socket_; }

 private:
  struct Queued {
    std::vector<std::byte> bytes;
    std::vector<SharedFd> descriptors;
  };

  void on_events(uint32_t events);
  void receive();
  void leave_to_closer(os::Received& received);
  void flush();
  [[nodiscard]] bool may_fly(size_t count, Charge& out);
  [[nodiscard]] int send_now(std::span<const std::byte> bytes, std::span<const SharedFd> descriptors);
  void cut_off(std::string reason);
  void watch_for(bool writable);
  [[nodiscard]] uint32_t read_events() const;

  Loop& loop_;
  Closer& closer_;
  uid_t user_;
  Fd socket_;
  Closer::Receipt receipt_;
  Budget* flight_budget_ = nullptr;
  Charge in_flight_;  // since the socket was last seen empty
  wire::From peer_;
  Owner* owner_;
  Loop::Watch watch_;
  Loop::Timer retry_;
  bool started_ = false;
  bool cut_ = false;
  bool reading_ = true;
  bool writing_ = false;  // waits to be writable
  bool wants_room_ = false;
  std::deque<Queued> queue_;
  size_t queued_bytes_ = 0;
};

}  // namespace tarn::daemon
