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
                       {"priority", "PRIORITY", Kind::kNumber},
                       {"waits_for", "WAITS_FOR", Kind::kNumber},
                       {"waits_on", "ON", Kind::kText},
                       {"worker", "WORKER", Kind::kNumber},
                       {"attempts", "ATTEMPTS", Kind::kNumber},
                       {"failed", "FAILED", Kind::kText},
                       {"cancelled", "CANCELLED", Kind::kText},
                       {"retry_in_ns", "RETRY_IN", Kind::kNanoseconds},
                       {"why", "WHY", Kind::kText},
                       {"labels", "LABELS", Kind::kText}},
                      {"number", "generation", "needs"}},
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
    "released. FROM is the member of the session that submitted it (1 is the client, others are workers, whose tasks submitted it), "
    "TASK its name, WAITS_FOR how many of those that it depends on are not done (1 for all of them, if it depends on more than "
    "31), ON which of these, up to eight, as FROM.RECORD and the name, WHY what else keeps one that waits or is ready from running, such as the slot or the resources that it asks for, CANCELLED also whether its time was over, RETRY_IN how long one that failed waits before it runs again, LABELS what it was "
    "called when it was submitted, until it is done: --filter labels=KEY=VALUE. "
    "The picture is taken while things go on and is not exact. With --json, `counts` has the sums.",
    nullptr,
    false,
    run};

}  // namespace tarn::cli
