#include "closer.hpp"

#include <stdexcept>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/socket.hpp"

namespace tarn::daemon {
namespace {

constexpr int64_t kUnreceivedLookNs = 20'000'000;

}  // namespace

Closer::Closer(Loop& loop) : loop_(loop) {
  if (closer_.start() < 0) throw std::runtime_error(last_error());
  watch_ = loop_.watch(closer_.event().get(), EPOLLIN, [this](uint32_t) {
    closer_.collect();
    for (auto& call : std::exchange(calls_, {})) call();
  });
  if (!watch_.active()) throw std::runtime_error(last_error());
}

void Closer::close(uid_t user, Kind kind, Fd fd, Receipt receipt) {
  closer_.close(lane(user, kind), std::move(fd), std::move(receipt));
}

SharedFd Closer::share(uid_t user, Kind kind, Fd fd, Receipt receipt) {
  return {new Fd(std::move(fd)), [this, user, kind, receipt = std::move(receipt)](const Fd* dropped) mutable {
            std::unique_ptr<Fd> owned(const_cast<Fd*>(dropped));
            close(user, kind, std::move(*owned), std::move(receipt));
          }};
}

void Closer::close_once_received(uid_t user, Fd socket, Receipt receipt, Charge in_flight) {
  os::socket_shut_down(socket);
  unreceived_.push_back({user, std::move(socket), std::move(receipt), std::move(in_flight)});
  if (!look_.armed()) look_ = loop_.call_at(os::now_ns() + kUnreceivedLookNs, [this] { look_at_unreceived(); });
}

void Closer::look_at_unreceived() {
  look_.reset();
  std::erase_if(unreceived_, [this](Unreceived& each) {
    if (os::socket_unreceived(each.socket) > 0) return false;
    close(each.user, Kind::kOurs, std::move(each.socket), std::move(each.receipt));
    return true;
  });
  if (!unreceived_.empty()) look_ = loop_.call_at(os::now_ns() + kUnreceivedLookNs, [this] { look_at_unreceived(); });
}

bool Closer::is_closing_memory(uid_t user) const { return closer_.waiting(lane(user, Kind::kOurs)) > 0; }

void Closer::call_after_next(std::function<void()> call) { calls_.push_back(std::move(call)); }

}  // namespace tarn::daemon
