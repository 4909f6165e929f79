// RecoveryOrders: the dead members whose records this worker has been ordered to settle.
//
// An order is carried out once, and told of once. Others may come while it is: to settle a member's records its segment may have to
// be learned of, and then all that tarnd has sent is read.
//
// One thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shm/ids.hpp"

namespace tarn::task {

struct RecoveryOrder {
  uint32_t member;
  int signal;       // that it ended by, or
  int exit_status;
};

class RecoveryOrders {
 public:
  void add(const RecoveryOrder& order) {
    bool is_known = std::any_of(orders_, orders_ + count_, [&](const RecoveryOrder& each) { return each.member == order.member; });
    if (!is_known && count_ < shm::kMembersMax) orders_[count_++] = order;
  }

  // All there are: `settle(order)`, then `tell(order)`. What fails is still to be done, and what this returns.
  template <class Settle, class Tell>
  [[nodiscard]] int carry_out(Settle settle, Tell tell) {
    if (is_at_it_) return 0;  // called within one: that one goes on
    is_at_it_ = true;
    int r = 0;
    while (count_ > 0 && r >= 0) {
      RecoveryOrder order = orders_[0];
      if (r = settle(order); r < 0) break;
      std::copy(orders_ + 1, orders_ + count_, orders_);  // the first one: others are added behind it
      --count_;
      r = tell(order);
    }
    is_at_it_ = false;
    return r < 0 ? r : 0;
  }

 private:
  RecoveryOrder orders_[shm::kMembersMax];
  uint32_t count_ = 0;
  bool is_at_it_ = false;
};

}  // namespace tarn::task
