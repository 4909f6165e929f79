#include "listing.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

using Kind = Field::Kind;

int run(const Options& options) {
  return run_listing({"tasks",
                      {{"session", "SESSION", Kind::kNumber},
                       {"member", "FROM", Kind::kNumber},
                       {"record", "RECORD", Kind::kNumber},
                       {"task", "TASK", Kind::kText},
                       {"state", "STATE", Kind::kState},
                       {"worker", "WORKER", Kind::kNumber},
                       {"attempts", "ATTEMPTS", Kind::kNumber},
                       {"failed", "FAILED", Kind::kText}},
                      {"number"}},
                     options);
}

}  // namespace

constinit const Verb kTasksVerb = {
    "tasks",
    "what has been submitted and is not forgotten yet",
    "Shows the task records of your sessions, those that run now first. A task is waiting (for "
    "others that it depends on), "
    "ready, running, finished (its result is there, others are being told) or done; it is "
    "forgotten when its future is "
    "released. FROM is the member of the session that submitted it (1 is the client), TASK its "
    "name. "
    "The picture is taken while things go on and is not exact. With --json, `counts` has the sums.",
    nullptr,
    false,
    run};

}  // namespace tarn::cli
