// Fetcher: a client reads an object that was dropped from memory. It runs no tasks, so it has a worker read the object, which makes
// it again for that (task/executor_make.cpp).
//
// Thread safety: all functions.
#pragma once

#include "store/store.hpp"
#include "task/submitter.hpp"

namespace tarn::client {

class Fetcher final : public store::Maker {
 public:
  explicit Fetcher(task::Submitter& submitter) : submitter_(submitter) {}

  // The task that workers run for it: before the first session.
  static void define_task();

  [[nodiscard]] int make_again(const shm::ObjectRef& ref, const store::ObjectRecord& record,
                               int64_t timeout_ns) override;
  [[nodiscard]] int code_of_wait() const override { return 0; }

 private:
  task::Submitter& submitter_;
};

}  // namespace tarn::client
