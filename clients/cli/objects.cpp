#include "listing.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

using Kind = Field::Kind;

int run(const Options& options) {
  return run_listing({"objects",
                      {{"session", "SESSION", Kind::kNumber},
                       {"owner", "OWNER", Kind::kNumber},
                       {"record", "RECORD", Kind::kNumber},
                       {"state", "STATE", Kind::kState},
                       {"size", "SIZE", Kind::kBytes},
                       {"holders", "HOLDERS", Kind::kText},
                       {"slab", "SLAB", Kind::kNumber},
                       {"file", "FILE", Kind::kText},
                       {"type", "TYPE", Kind::kText},
                       {"label", "LABEL", Kind::kText}}},
                     options);
}

}  // namespace

constinit const Verb kObjectsVerb = {
    "objects", "who holds which data",
    "Shows the objects of your sessions, the largest first: the member in whose memory each lies (1 is the client, workers "
    "follow), its size, and which members hold it. An object is being written (creating), a result that nobody has looked at "
    "(offered), or sealed; it is freed when its last holder releases it. TYPE and LABEL are what its maker said. With --json, `slabs` has the memory behind them.",
    nullptr, false, run};

}  // namespace tarn::cli
