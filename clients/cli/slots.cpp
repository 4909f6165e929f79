#include "listing.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

using Kind = Field::Kind;

int run(const Options& options) {
  return run_listing({"slots",
                      {{"slot", "SLOT", Kind::kNumber},
                       {"node", "NODE", Kind::kNumber},
                       {"package", "PACKAGE", Kind::kNumber},
                       {"cpus", "CPUS", Kind::kText},
                       {"siblings", "SIBLINGS", Kind::kText},
                       {"memory", "MEMORY", Kind::kBytes},
                       {"workers", "WORKERS", Kind::kNumber},
                       {"wanted_by", "WANTED BY", Kind::kNumber}}},
                     options);
}

}  // namespace

constinit const Verb kSlotsVerb = {
    "slots", "the places where workers run",
    "Shows each slot with its NUMA node, the CPUs on which its worker runs, the other hardware threads of the same cores, "
    "which stay free, its share of memory, how many workers run there now, and how many sessions "
    "have lately used it, if several did.",
    nullptr, false, run};

}  // namespace tarn::cli
