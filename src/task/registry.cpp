#include "task/registry.hpp"

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "base/error.hpp"

namespace tarn::task {
namespace {

// Open addressing, a power of two, at most half full. An entry with a null `fn` is free.
struct Table {
  Definition* entries = nullptr;
  size_t capacity = 0;
  size_t count = 0;
};

Table table;
std::mutex mutex;  // guards changes of `table`

Definition* slot_of(const Table& in, tarn_task number) {
  size_t at = number & (in.capacity - 1);
  while (in.entries[at].fn != nullptr && in.entries[at].number != number) at = (at + 1) & (in.capacity - 1);
  return &in.entries[at];
}

int grow() {
  Table larger;
  larger.capacity = table.capacity == 0 ? 64 : table.capacity * 2;
  larger.entries = static_cast<Definition*>(calloc(larger.capacity, sizeof(Definition)));
  if (larger.entries == nullptr) return fail(TARN_E_NO_MEMORY, "no memory for %zu tasks", larger.capacity);
  for (size_t i = 0; i < table.capacity; ++i)
    if (table.entries[i].fn != nullptr) *slot_of(larger, table.entries[i].number) = table.entries[i];
  larger.count = table.count;
  free(table.entries);
  table = larger;
  return 0;
}

}  // namespace

tarn_task task_number(std::string_view name) {
  // FNV-1a, 32 bits (http://www.isthe.com/chongo/tech/comp/fnv/).
  uint32_t hash = 2166136261u;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

int define_task(const char* name, tarn_task_fn fn, uint32_t signature, void* context) {
  size_t size = name == nullptr ? 0 : strlen(name);
  if (size == 0 || size > kTaskNameSizeMax)
    return fail(TARN_E_ARGUMENT, "a task's name has 1 to %zu bytes, this one has %zu", kTaskNameSizeMax, size);
  if (fn == nullptr) return fail(TARN_E_ARGUMENT, "task '%s' has no function", name);
  tarn_task number = task_number({name, size});
  std::lock_guard lock(mutex);
  if (table.capacity != 0) {
    const Definition* other = slot_of(table, number);
    if (other->fn != nullptr && strcmp(other->name, name) == 0)
      return fail(TARN_E_ARGUMENT, "task '%s' is defined already; every task needs a name of its own", name);
    if (other->fn != nullptr)
      return fail(TARN_E_ARGUMENT, "the names '%s' and '%s' have the same number; rename one of the tasks", name,
                  other->name);
  }
  if (table.count == kTasksMax) return fail(TARN_E_LIMIT, "task '%s' is one more than the %zu allowed", name, kTasksMax);
  if (table.count * 2 >= table.capacity) {
    if (int r = grow(); r < 0) return r;
  }
  char* copy = strdup(name);
  if (copy == nullptr) return fail(TARN_E_NO_MEMORY, "no memory for task '%s'", name);
  *slot_of(table, number) = {fn, context, copy, number, signature};
  ++table.count;
  return 0;
}

size_t copy_task_names(std::span<char> out) {
  std::lock_guard lock(mutex);
  size_t at = 0;
  for (size_t i = 0; i < table.capacity; ++i) {
    if (table.entries[i].fn == nullptr) continue;
    size_t size = strlen(table.entries[i].name) + 1;
    if (size > out.size() - at) continue;
    memcpy(out.data() + at, table.entries[i].name, size);
    at += size;
  }
  return at;
}

const Definition* find_task(tarn_task number) {
  if (table.capacity == 0) return nullptr;
  const Definition* entry = slot_of(table, number);
  return entry->fn == nullptr ? nullptr : entry;
}

const char* task_name(tarn_task number) {
  const Definition* definition = find_task(number);
  return definition == nullptr ? "?" : definition->name;
}

}  // namespace tarn::task
