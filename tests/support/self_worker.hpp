// SelfWorker: makes a test program its own worker, which it must be before GoogleTest's main() starts.
//
// One static object in the test program. Workers are the same executable started again: in them the
// constructor serves tasks and does not return.
#pragma once

#include <unistd.h>

#include <cstdlib>

#include "tarn/tarn.h"

namespace tarn::test {

struct SelfWorker {
  explicit SelfWorker(void (*define_tasks)()) {
    define_tasks();
    if (getenv("TARN_WORKER_FD") == nullptr) return;
    tarn_client* none;
    tarn_init(&none, nullptr, nullptr, nullptr);
    tarn_print_error(stderr);
    _exit(1);
  }
};

// A session with a private daemon.
class PrivateClient {
 public:
  explicit PrivateClient(uint32_t workers = 1) {
    tarn_options options{};
    options.size = sizeof options;
    options.address = "private";
    options.workers = workers;
    options.timeout_ns = 20'000'000'000;
    if (tarn_init(&client_, nullptr, nullptr, &options) < 0) {
      tarn_print_error(stderr);
      abort();
    }
  }
  ~PrivateClient() { tarn_close(client_); }
  PrivateClient(const PrivateClient&) = delete;
  PrivateClient& operator=(const PrivateClient&) = delete;

  operator tarn_client*() const { return client_; }

 private:
  tarn_client* client_ = nullptr;
};

}  // namespace tarn::test
