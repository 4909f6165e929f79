// tarn_client_on_event.

#include "base/error.hpp"
#include "client.hpp"

using namespace tarn;

namespace {

constexpr uint32_t kAllEvents =
    TARN_EVENT_SEALED | TARN_EVENT_FREED | TARN_EVENT_SPILLED | TARN_EVENT_RESTORED | TARN_EVENT_PRESSURE;

}  // namespace

int tarn_client_on_event(tarn_client* client, uint32_t mask, tarn_event_fn fn, void* context) {
  if (int r = client::check_outside(client); r < 0) return r;
  if ((mask & ~kAllEvents) != 0) return fail(TARN_E_ARGUMENT, "mask is %#x; it is a sum of TARN_EVENT_*", mask);
  if (fn == nullptr) mask = 0;
  ErrorGuard guard;
  // First who listens, then who tells: nothing that tarnd says from now on is missed.
  if (int r = client->events.set(mask, fn, context); r < 0) return r;
  client->store.set_listener(&client->events, (mask & TARN_EVENT_SEALED) != 0, (mask & TARN_EVENT_FREED) != 0);
  int r = client->session.subscribe(mask & ~uint32_t{TARN_EVENT_SEALED});
  // If tarnd is told nothing new it would not be noticed to be gone.
  if (r == 0 && mask != 0) r = client->session.poll();
  if (r < 0 && mask != 0) {
    client->store.set_listener(&client->events, false, false);
    (void)client->events.set(0, nullptr, nullptr);
  }
  return mask != 0 ? r : guard.end(0);  // without tarnd there is nothing to be told by it
}
