#include "host_book.hpp"

#include <unistd.h>

#include "base/error.hpp"
#include "log.hpp"
#include "os/memory.hpp"

namespace tarn::daemon {
namespace {

struct Lines {
  static constexpr uint64_t kMagic = 0x3154'534f'484e'5254;
  uint64_t magic;
  uint64_t memory_max;
  uint64_t spill_max;
};

}  // namespace

void read_host_book(const Fd& file, Config& config) {
  Lines lines;
  if (!file.valid() || pread(file.get(), &lines, sizeof lines, 0) != sizeof lines || lines.magic != Lines::kMagic) return;
  if (config.memory_max == 0) config.memory_max = lines.memory_max;
  if (config.spill_max == 0) config.spill_max = lines.spill_max;
}

void keep_host_book(Keeper& keeper, uint64_t memory_max, uint64_t spill_max) {
  if (!keeper.is_on()) return;
  Fd file;
  Lines lines{Lines::kMagic, memory_max, spill_max};
  if (os::memfd_create("tarn-host", sizeof lines, file) < 0 ||
      pwrite(file.get(), &lines, sizeof lines, 0) != sizeof lines || !keeper.keep(kKeptHost, file))
    log(Level::kWarning, "the next tarnd looks up its memory anew: %s", last_error());
}

}  // namespace tarn::daemon
