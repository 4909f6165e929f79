#include "events.hpp"

#include <sys/eventfd.h>

#include <new>
#include <utility>

#include "base/error.hpp"
#include "client.hpp"

namespace tarn::client {

int Events::set(uint32_t mask, tarn_event_fn fn, void* context) {
  Gate::Pass pass(gate_);
  if (fn == nullptr) mask = 0;
  if (mask != 0 && ring_ == nullptr) {
    ring_.reset(new (std::nothrow) wire::Event[kQueueMax]);
    if (ring_ == nullptr) return fail(TARN_E_NO_MEMORY, "no memory for the events of a client");
  }
  if (mask == 0) count_ = pressures_ = 0;
  fn_ = fn;
  context_ = context;
  mask_.store(mask, std::memory_order_relaxed);
  return 0;
}

void Events::on_sealed(const shm::ObjectRef& ref) {
  add({TARN_EVENT_SEALED, 0, ref.id, ref.generation, ref.size, 0});
}

void Events::on_freed(const shm::ObjectRef& ref) {
  add({TARN_EVENT_FREED, 0, ref.id, ref.generation, ref.size, 0});
}

void Events::add(const wire::Event& event) {
  {
    Gate::Pass pass(gate_);
    if ((mask() & event.kind) == 0) return;
    if (count_ == kQueueMax) make_room();
    at(count_++) = event;
    if (event.kind == TARN_EVENT_PRESSURE) ++pressures_;
    if (count_ != 1) return;  // whoever added the first one wakes
  }
  wake();
}

void Events::wake() { (void)eventfd_write(event_fd_->get(), 1); }

// Drops the oldest event, or the second if the oldest is the last word on memory: who misses that it is over waits for ever.
void Events::make_room() {
  wire::Event dropped = take_first();
  if (dropped.kind == TARN_EVENT_PRESSURE && pressures_ == 0) {
    uint64_t lost = take_first().lost + 1;
    dropped.lost += lost;
    first_ = (first_ + kQueueMax - 1) % kQueueMax;
    ++count_;
    ++pressures_;
    at(0) = dropped;
    return;
  }
  at(0).lost += dropped.lost + 1;
}

wire::Event Events::take_first() {
  wire::Event event = at(0);
  first_ = (first_ + 1) % kQueueMax;
  --count_;
  if (event.kind == TARN_EVENT_PRESSURE) --pressures_;
  return event;
}

int Events::dispatch_waiting(tarn_client& client) {
  int called = 0;
  uint64_t lost = 0;
  uint32_t left;
  {
    Gate::Pass pass(gate_);
    left = count_;
  }
  for (; left > 0; --left) {
    wire::Event event;
    tarn_event_fn fn;
    void* context;
    {
      Gate::Pass pass(gate_);
      if (count_ == 0) break;
      event = take_first();
      // The callback may have been replaced since, by the one before this.
      fn = (mask() & event.kind) != 0 ? fn_ : nullptr;
      context = context_;
    }
    lost += event.lost;
    if (fn == nullptr) continue;
    shm::ObjectRef ref{event.id, event.generation, 0, event.bytes};
    bool is_held = (event.kind & (TARN_EVENT_SPILLED | TARN_EVENT_RESTORED)) == 0 || client.store.exists(ref);
    if (!is_held) continue;
    tarn_event told{};
    told.size = sizeof told;
    told.kind = event.kind;
    told.is_over = event.is_over;
    if (event.kind != TARN_EVENT_PRESSURE) told.object = object_handle(client, ref);
    told.bytes = event.bytes;
    told.lost = std::exchange(lost, 0);
    fn(&client, &told, context);
    ++called;
  }
  {
    Gate::Pass pass(gate_);
    if (count_ == 0) return called;
    at(0).lost += lost;
  }
  wake();  // for what came meanwhile
  return called;
}

}  // namespace tarn::client
