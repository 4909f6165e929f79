#include "listing.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

using Kind = Field::Kind;

int run(const Options& options) {
  return run_listing({"workers",
                      {{"session", "SESSION", Kind::kNumber},
                       {"worker", "WORKER", Kind::kNumber},
                       {"pid", "PID", Kind::kNumber},
                       {"state", "STATE", Kind::kState},
                       {"slot", "SLOT", Kind::kNumber},
                       {"rank", "RANK", Kind::kNumber},
                       {"core", "CORE", Kind::kNumber},
                       {"node", "NODE", Kind::kNumber},
                       {"tasks_done", "DONE", Kind::kNumber},
                       {"share", "SHARE", Kind::kPart},
                       {"share_had", "HAD", Kind::kPart},
                       {"name", "NAME", Kind::kText}},
                      {"uid", "nice"}},
                     options);
}

}  // namespace

constinit const Verb kWorkersVerb = {
    "workers", "the processes that run tasks",
    "Shows each worker with its session, process, slot, and how many tasks it has done since it started. A worker is "
    "starting, joining (reading what its session has), serving, or dead (its tasks are being settled). Those of a rank above 0 stand in: "
    "they serve while those of lower rank in their slot wait in a task. While other sessions want the same slot, SHARE is the part of it "
    "that the worker's session is to have, and HAD what it had in the last 50 ms.",
    nullptr, false, run};

}  // namespace tarn::cli
