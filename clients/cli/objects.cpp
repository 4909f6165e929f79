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
                       {"where", "WHERE", Kind::kText},
                       {"held_by", "HELD BY", Kind::kText},
                       {"pinned_by", "PINNED BY", Kind::kText},
                       {"unused_s", "UNUSED", Kind::kSeconds},
                       {"type", "TYPE", Kind::kText},
                       {"label", "LABEL", Kind::kLabel}},
                      {"holders", "slab", "file", "label_read"}},
                     options);
}

}  // namespace

constinit const Verb kObjectsVerb = {
    "objects", "who holds which data",
    "Shows the objects of your sessions, the largest first, mapped files last: the member in whose memory each lies (1 is the "
    "client, workers follow), its size, and where its bytes are: memory, disk, file, or dropped (nowhere: the task that made it runs again when somebody reads it). An object is being written (creating), a "
    "result that nobody has looked at (offered), or sealed; it is freed when the last that HELD BY names has released it. PINNED "
    "BY names those who use its bytes: it stays in memory until all of them have unpinned or released it; one that nobody pins "
    "may go to the disk when memory is short. UNUSED is the time since it was made or somebody last unpinned it; what is "
    "pinned is in use. Objects of up to 32 KiB and mapped files have neither: they stay where they are. TYPE and LABEL are "
    "what its maker said. With --json, `slabs` has the memory behind them, and its NUMA node; -2: interleaved over all.",
    nullptr, false, run};

}  // namespace tarn::cli
