// TracedWait: a wait, for whoever traces; from its construction to its end.
#pragma once

#include <cstddef>

#include "task/session_view.hpp"

namespace tarn::task {

class TracedWait {
 public:
  // `count`: for how many.
  TracedWait(SessionView& view, size_t count) : view_(view.is_traced() ? &view : nullptr) {
    if (view_ != nullptr) [[unlikely]]
      view_->tracer.write(trace::Kind::kWaitBegin, 0, count);
  }
  ~TracedWait() {
    if (view_ != nullptr) [[unlikely]]
      view_->tracer.write(trace::Kind::kWaitEnd);
  }
  TracedWait(const TracedWait&) = delete;
  TracedWait& operator=(const TracedWait&) = delete;

 private:
  SessionView* view_;
};

}  // namespace tarn::task
