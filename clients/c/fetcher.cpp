#include "fetcher.hpp"

#include <cstring>

#include "base/error.hpp"
#include "task/call.hpp"
#include "task/registry.hpp"

namespace tarn::client {
namespace {

constexpr const char* kTask = "tarn.fetch";

// The object is the value, and no argument that is an object: the program may not hold it, but its future does.
int fetch(tarn_call* call) {
  tarn_bytes bytes = tarn_call_arg(call, 0);
  shm::ObjectRef ref;
  if (bytes.size != sizeof ref) return TARN_E_ARGUMENT;
  memcpy(&ref, bytes.data, sizeof ref);
  store::Store::Resolved how;
  int r = call->view->know(shm::id_member(ref.id));
  if (r == 0) r = call->store->resolve(ref, bytes, how);
  if (r < 0) return task::fail_call(*call, r, nullptr, "%s", last_error());
  call->store->unpin_resolved(ref, how);
  return 0;
}

}  // namespace

void Fetcher::define_task() {
  (void)task::define_task(kTask, fetch, 0, nullptr);
}

int Fetcher::make_again(const shm::ObjectRef& ref, const store::ObjectRecord&, int64_t timeout_ns) {
  tarn_arg argument{};
  argument.kind = TARN_ARG_VALUE;
  argument.u.value = {&ref, sizeof ref};
  tarn_submit_options options{};
  options.size = sizeof options;
  options.priority = TARN_PRIORITY_MAX;  // somebody waits
  options.retries = 200;                 // if the task ends workers, tarnd says so sooner
  tarn_future future{};
  if (int r = submitter_.submit(tarn_task_id(kTask), &argument, 1, &options, future); r < 0)
    return r;
  tarn_bytes ignored;
  int r = submitter_.result(future, timeout_ns, ignored);
  tarn_task_error error{};
  error.size = sizeof error;
  if (r == TARN_E_TIMED_OUT) {
    r = fail(r, "the result was dropped, and is not made again yet");
  } else if (r < 0 && submitter_.error(future, error) == 0) {
    // What went wrong there went wrong here. When memory is short there may have been no room for its words.
    r = fail(error.code, "%s", *error.message != '\0' ? error.message : last_error());
  }
  ErrorGuard guard;
  (void)submitter_.release(future);
  (void)guard.end(0);
  return r;
}

}  // namespace tarn::client
