#include "keeper.hpp"

#include "base/error.hpp"
#include "log.hpp"
#include "os/service_manager.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

constexpr int64_t kPatienceNs = 1'000'000'000;  // with a manager that does not read; systemd reloads its units for so long

}  // namespace

Keeper::Keeper(size_t most) : most_(most) {
  if (most_ != 0) manager_ = os::connect_manager();
  if (!manager_.valid()) most_ = 0;
}

// Not for each of many: a session that ends drops a dozen and more.
int64_t Keeper::patience_ns() const { return is_deaf_ ? 0 : kPatienceNs; }

bool Keeper::keep(const std::string& name, const Fd& fd) {
  if (count_ >= most_) {
    (void)fail(TARN_E_LIMIT, "%zu descriptors are kept, which is all that may be", count_);
    return false;
  }
  is_deaf_ = !os::keep_descriptor(manager_, name, fd, patience_ns());
  if (is_deaf_) return false;
  ++count_;
  return true;
}

void Keeper::drop(const std::string& name) {
  if (!is_on()) return;
  if (count_ > 0) --count_;
  is_deaf_ = !os::drop_descriptor(manager_, name, patience_ns());
  if (is_deaf_) log(Level::kWarning, "%s stays with the service manager: %s", name.c_str(), last_error());
}

}  // namespace tarn::daemon
