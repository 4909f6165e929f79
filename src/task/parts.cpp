#include "task/parts.hpp"

#include <cstdio>

#include "base/error.hpp"
#include "store/copy.hpp"
#include "store/object_record.hpp"
#include "task/call.hpp"

namespace tarn::task {
namespace {

struct Range {
  uint64_t begin;
  uint64_t end;
};

// Where the part lies, as the table says it.
Range find_part(const PartsTable& table, const std::byte* bytes, size_t index) {
  if (table.kind == PartsTable::kSmall)
    return {os::round_up(index == 0 ? sizeof table : table.small.ends[index - 1], 8),
            table.small.ends[index]};
  const std::byte* ends = bytes + sizeof table;
  uint64_t before = sizeof table + table.count() * sizeof before;
  uint64_t end;
  if (index != 0) memcpy(&before, ends + (index - 1) * sizeof before, sizeof before);
  memcpy(&end, ends + index * sizeof end, sizeof end);
  // One that would wrap lies outside as well.
  return {before > store::kObjectSizeMax ? before : os::round_up(before, 64), end};
}

int refuse(int code, const char* task, const char* words) {
  if (task == nullptr) return fail(code, "the result %s", words);
  return fail(code, "the result of task '%s' %s", task, words);
}

int read_table(const tarn_bytes& result, const char* task, PartsTable& table) {
  table.kind = 0;
  if (result.size >= sizeof table) memcpy(&table, result.data, sizeof table);
  if (table.kind != PartsTable::kSmall && table.kind != PartsTable::kLarge)
    return refuse(TARN_E_TYPE, task, "has no parts; take it as a whole");
  size_t room = table.kind == PartsTable::kSmall ? PartsTable::kSmallCountMax
                                                 : (result.size - sizeof table) / sizeof(uint64_t);
  return table.count() <= room
             ? 0
             : refuse(TARN_E_PROTOCOL, task, "is damaged: its table has more parts than fit");
}

// Room for the result, and the places in it.
template <class Each>
int make_parts(tarn_call& call, const PartSizes& sizes, Each each) {
  PartsLayout layout;
  if (int r = layout.measure(sizes); r < 0) return r;
  void* data;
  if (int r = result_buffer(call, layout.size(), data); r < 0) return r;
  layout.write(static_cast<std::byte*>(data), sizes, each);
  return 0;
}

}  // namespace

int PartsLayout::measure(const PartSizes& sizes) {
  size_t count = sizes.count();
  if (count > kPartsMax)
    return fail(TARN_E_TOO_LARGE, "%zu results; a task may have %zu", count, kPartsMax);
  for (bool is_small : {true, false}) {
    is_small_ = is_small;
    size_ = table_size(count);
    for (size_t i = 0; i < count; ++i) {
      if (sizes[i] > store::kObjectSizeMax)
        return fail(TARN_E_TOO_LARGE, "result %zu has %llu bytes", i,
                    static_cast<unsigned long long>(sizes[i]));
      size_ = os::round_up(size_, alignment()) + sizes[i];
    }
    if (is_small && count <= PartsTable::kSmallCountMax && size_ <= PartsTable::kSmallSizeMax)
      break;
  }
  return 0;
}

int count_parts(tarn_bytes result, const char* task, size_t& count) {
  PartsTable table;
  if (int r = read_table(result, task, table); r < 0) return r;
  count = table.count();
  return 0;
}

int read_part(tarn_bytes result, size_t index, const char* task, tarn_bytes& out) {
  PartsTable table;
  if (int r = read_table(result, task, table); r < 0) return r;
  if (index >= table.count()) {
    char words[96];
    snprintf(words, sizeof words, "has %zu parts, and there is no part %zu; they count from 0",
             table.count(), index);
    return refuse(TARN_E_ARGUMENT, task, words);
  }
  auto* bytes = static_cast<const std::byte*>(result.data);
  Range part = find_part(table, bytes, index);
  if (part.end > result.size || part.begin > part.end)
    return refuse(TARN_E_PROTOCOL, task, "is damaged: a part lies outside");
  out = {bytes + part.begin, part.end - part.begin};
  return 0;
}

int return_parts(tarn_call& call, const tarn_bytes* parts, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (parts[i].data == nullptr && parts[i].size != 0)
      return fail(TARN_E_ARGUMENT, "part %zu is a null pointer of %zu bytes", i, parts[i].size);
  return make_parts(call, {parts, count}, [&](size_t i, std::byte* to) {
    store::copy(to, parts[i].data, parts[i].size);
  });
}

int reserve_parts(tarn_call& call, const size_t* sizes, size_t count, void** places) {
  return make_parts(call, {sizes, count}, [&](size_t i, std::byte* to) { places[i] = to; });
}

}  // namespace tarn::task
