// Events: what a client is told of its objects and of memory, between those who see it happen and the thread that dispatches.
//
// A ring of the newest events. Who adds to it never waits: the oldest is dropped and counted if it is full. The client's event
// descriptor becomes readable with the first one. There is no ring, and nothing is added, until somebody wants events.
//
// Thread safety: all functions, by one gate, the innermost of this process's gates but for that of slab_map. The callback runs
// outside of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/fd.hpp"
#include "base/gate.hpp"
#include "store/store.hpp"
#include "tarn/tarn.h"
#include "wire/messages.hpp"

namespace tarn::client {

class Events final : public store::ObjectListener {
 public:
  static constexpr uint32_t kQueueMax = 1024;  // docs/limits.md

  // The callback, with those kinds, from now on; fn == nullptr: none.
  [[nodiscard]] int set(uint32_t mask, tarn_event_fn fn, void* context);
  [[nodiscard]] uint32_t mask() const { return mask_.load(std::memory_order_relaxed); }

  // What becomes readable when there is something to dispatch; before the first event.
  void set_event_fd(const Fd& event_fd) { event_fd_ = &event_fd; }

  // From tarnd.
  void add(const wire::Event& event);
  // ObjectListener, behind the gate of the store.
  void on_sealed(const shm::ObjectRef& ref) override;
  void on_freed(const shm::ObjectRef& ref) override;

  // Calls the callback for what waits now; how often.
  int dispatch(tarn_client& client) { return mask() == 0 ? 0 : dispatch_waiting(client); }

 private:
  [[nodiscard]] wire::Event& at(uint32_t index) { return ring_[(first_ + index) % kQueueMax]; }
  void make_room();
  [[nodiscard]] wire::Event take_first();
  int dispatch_waiting(tarn_client& client);
  void wake();

  const Fd* event_fd_ = nullptr;
  std::atomic<uint32_t> mask_{0};  // written behind gate_

  Gate gate_;
  // Guarded by gate_.
  tarn_event_fn fn_ = nullptr;
  void* context_ = nullptr;
  std::unique_ptr<wire::Event[]> ring_;
  uint32_t first_ = 0;
  uint32_t count_ = 0;
  uint32_t pressures_ = 0;  // of those, of that kind
};

}  // namespace tarn::client
