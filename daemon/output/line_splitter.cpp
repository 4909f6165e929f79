#include "line_splitter.hpp"

#include <algorithm>
#include <cstring>

#include "shm/output_log.hpp"

namespace tarn::output {
namespace {

constexpr size_t kHeldMax = 64 * 1024;

const std::string_view kMagic(reinterpret_cast<const char*>(&shm::OutputMark::kMagic), sizeof shm::OutputMark::kMagic);

// Where a mark begins, perhaps one that is not all there; npos: there is none.
size_t find_mark(std::string_view bytes, size_t from) {
  size_t found = bytes.find(kMagic, from);
  if (found != std::string_view::npos) return found;
  for (size_t size = std::min(kMagic.size() - 1, bytes.size() - from); size > 0; --size)
    if (bytes.ends_with(kMagic.substr(0, size))) return bytes.size() - size;
  return std::string_view::npos;
}

}  // namespace

void LineSplitter::add(std::string_view bytes, TaskRun current) {
  held_.append(bytes);
  std::string_view rest = held_;
  size_t from = 0;
  while (from < rest.size()) {
    size_t at = find_mark(rest, from);
    if (at == std::string_view::npos) break;
    shm::OutputMark mark;
    if (rest.size() - at < sizeof mark) break;
    memcpy(&mark, rest.data() + at, sizeof mark);
    if (mark.check != ~mark.run) {
      from = at + 1;  // somebody's bytes
      continue;
    }
    claim(rest.substr(0, at), {mark.run, mark.task});
    finish_line();
    rest.remove_prefix(at + sizeof mark);
    from = 0;
  }
  if (rest.size() > kHeldMax) {
    size_t at = find_mark(rest, rest.size() - std::min(rest.size(), sizeof(shm::OutputMark)));
    size_t size = at == std::string_view::npos ? rest.size() : at;
    claim(rest.substr(0, size), current);
    rest.remove_prefix(size);
  }
  held_.erase(0, held_.size() - rest.size());
}

void LineSplitter::settle(TaskRun current) {
  claim(held_, current);
  held_.clear();
}

void LineSplitter::finish_line() {
  if (part_.empty()) return;
  sink_(part_, part_run_, true);
  part_.clear();
}

void LineSplitter::claim(std::string_view bytes, TaskRun run) {
  if (bytes.empty()) return;
  if (!(part_run_ == run)) finish_line();
  part_run_ = run;
  while (!bytes.empty()) {
    size_t newline = bytes.find('\n');
    size_t size = std::min({newline, bytes.size(), shm::kOutputTextMax - part_.size()});
    bool ends = size == newline;
    if (ends && part_.empty()) {
      sink_(bytes.substr(0, size), run, false);
    } else {
      part_.append(bytes.substr(0, size));
      if (ends) {
        sink_(part_, run, false);
        part_.clear();
      } else if (part_.size() == shm::kOutputTextMax) {
        finish_line();
      }
    }
    bytes.remove_prefix(size + (ends ? 1 : 0));
  }
}

}  // namespace tarn::output
