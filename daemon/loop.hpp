// Loop: one thread that waits for descriptors and moments, and calls back.
//
// Everything of tarnd but the pre-faulting runs on it, so nothing there needs a lock. Callbacks may
// add and drop watches and timers, their own too: what they drop is destroyed after the callbacks of
// this round.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "wire/packet.hpp"

namespace tarn::daemon {

class Loop {
  struct Entry {
    int fd;
    std::function<void(uint32_t)> on_events;
  };

 public:
  // Watch: a descriptor is looked at for as long as this lives. The descriptor must outlive it.
  class Watch {
   public:
    Watch() = default;
    Watch(Watch&& other) noexcept
        : loop_(std::exchange(other.loop_, nullptr)), entry_(std::move(other.entry_)) {}
    Watch& operator=(Watch&& other) noexcept {
      reset();
      loop_ = std::exchange(other.loop_, nullptr);
      entry_ = std::move(other.entry_);
      return *this;
    }
    ~Watch() { reset(); }

    [[nodiscard]] bool active() const { return entry_ != nullptr; }
    void set_events(uint32_t events);
    void reset();

   private:
    friend Loop;
    Loop* loop_ = nullptr;
    std::unique_ptr<Entry> entry_;
  };

  // Timer: the callback comes once, unless this is destroyed before.
  class Timer {
   public:
    Timer() = default;
    Timer(Timer&& other) noexcept : loop_(std::exchange(other.loop_, nullptr)), key_(other.key_) {}
    Timer& operator=(Timer&& other) noexcept {
      reset();
      loop_ = std::exchange(other.loop_, nullptr);
      key_ = other.key_;
      return *this;
    }
    ~Timer() { reset(); }
    [[nodiscard]] bool armed() const { return loop_ != nullptr && loop_->timers_.contains(key_); }
    void reset();

   private:
    friend Loop;
    Loop* loop_ = nullptr;
    std::pair<int64_t, uint64_t> key_;
  };

  Loop();  // throws std::runtime_error
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() { empty_graveyard(); }

  // Not active, with last_error(), if the descriptor is none or the kernel has no room.
  [[nodiscard]] Watch watch(int fd, uint32_t events, std::function<void(uint32_t)> on_events);
  [[nodiscard]] Timer call_at(int64_t moment_ns, std::function<void()> call);

  // Calls `call` after the callbacks of this round.
  void defer(std::function<void()> call) { deferred_.push_back(std::move(call)); }

  // Destroys `thing` after the deferred calls of this round: for what may still be on the stack.
  template <class T>
  void bury(std::unique_ptr<T> thing) {
    graveyard_.push_back(std::shared_ptr<void>(std::move(thing)));
  }

  // Destroys what was buried now: when what that refers to is about to go.
  void empty_graveyard();

  void run();
  // Does what is to do now, without waiting; false if that was nothing. For tests.
  bool run_ready();
  void stop() { stopped_ = true; }

  // Where the one packet that is being handled lies. Large, but touched only as far as packets reach.
  [[nodiscard]] std::span<std::byte> packet_buffer() { return packet_buffer_->bytes; }

 private:
  bool run_round(int timeout);
  [[nodiscard]] int timeout_ms() const;
  void run_timers();

  Fd epoll_;
  bool stopped_ = false;
  uint64_t timer_count_ = 0;
  std::map<std::pair<int64_t, uint64_t>, std::function<void()>> timers_;
  std::array<epoll_event, 64> events_;
  std::span<epoll_event> round_;  // those of them that are being called back; data.ptr null: dropped
  std::vector<std::function<void()>> deferred_;
  std::vector<std::shared_ptr<void>> graveyard_;
  std::unique_ptr<wire::Buffer<wire::kMessageSizeMax>> packet_buffer_;
};

}  // namespace tarn::daemon
