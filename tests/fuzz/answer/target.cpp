// What tarnd answers to the tools is made of what members wrote into their records and slabs, and of the name that a client
// gave itself. Whatever that is: the answer is JSON, has no more rows than were asked for, and no control character.
//
// Input: which answer, how many rows; the beginning of the slab; then records, objects and tasks by turns.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../host.hpp"
#include "log.hpp"
#include "query.hpp"

namespace tarn::fuzz {
namespace {

constexpr size_t kSlabBytes = 160;  // two pages of the slab begin with them: of payloads, and of what lies behind

void fill(Host& host, Input& input) {
  daemon::Slab& slab = host.client().slabs[0];
  slab.phase = daemon::Slab::Phase::kReady;
  slab.reader = host.file();
  slab.size = Host::kFileSize;
  input.read(host.slab_bytes(), kSlabBytes);
  memcpy(host.slab_bytes() + 10 * os::kPageSize, host.slab_bytes(), kSlabBytes);
  std::vector<store::ObjectImage> objects;
  memset(host.tasks(), 0, Host::kRecords * shm::kRecordSize);
  while (!input.empty() && objects.size() < Host::kRecords) {
    input.read(host.tasks() + objects.size() * shm::kRecordSize, shm::kRecordSize / 2);
    input.read(&objects.emplace_back(), shm::kRecordSize);
  }
  host.set_objects(objects, Host::kRecords);
  host.set_tasks_used(Host::kRecords);
}

// Every text in it. In the answer itself control characters are escaped, and come out in somebody's terminal.
bool is_printable(const nlohmann::json& part) {
  if (part.is_structured()) return std::ranges::all_of(part, is_printable);
  if (!part.is_string()) return true;
  return std::ranges::none_of(part.get_ref<const std::string&>(),
                              [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

}  // namespace
}  // namespace tarn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tarn::fuzz;
  Host& host = quiet_host();
  Input input(data, size);
  const char* const names[] = {"objects",  "memory",  "memory_types", "memory_labels", "tasks",
                               "sessions", "workers", "slots",        "status",        "no such thing"};
  tarn::wire::Query query{};
  tarn::wire::set_text(query.what, names[input.byte() % std::size(names)]);
  query.limit = 1 + input.byte() % 4u;
  fill(host, input);
  std::string text = tarn::daemon::answer(host.daemon(), query, 0);
  auto parsed = nlohmann::json::parse(text, nullptr, false);
  require(!parsed.is_discarded(), "an answer is JSON");
  for (auto& [key, value] : parsed.items())
    require(!value.is_array() || key == "sessions" || value.size() <= query.limit, "rows have a bound");
  require(is_printable(parsed), "an answer can be printed");
  host.client().slabs.clear();
  return 0;
}
