// tarn_call: the objects that arguments lie in. Looked for when a task asks, so that a task that does not pays nothing.

#include <cstring>

#include "base/error.hpp"
#include "task/arguments.hpp"
#include "task/call.hpp"

namespace tarn::task {
namespace {

int graph_argument_object(const GraphView& graph, const GraphNode& node, size_t index, ObjectRef& out) {
  const GraphArgument& argument = graph.arguments()[node.arguments + index];
  if (argument.kind == GraphArgument::kArgObject) out = graph.at<ObjectRef>(argument.offset);
  if (argument.kind == GraphArgument::kArgParameter) {
    const GraphParameter& parameter = graph.parameters()[argument.offset];
    if (parameter.is_object != 0) out = parameter.object;
  }
  return 0;
}

}  // namespace

int argument_object(const tarn_call& call, size_t index, ObjectRef& out) {
  out = {};
  if (index >= call.arg_count)
    return fail(TARN_E_ARGUMENT, "there is no argument %zu; the call has %zu", index, call.arg_count);
  if (call.graph != nullptr) return graph_argument_object(*call.graph, *call.node, index, out);
  uint32_t owner = shm::id_member(call.made_for);
  BlockRef ref;
  if (call.again != nullptr) {
    owner = call.again->owner;
    ref = call.again->arguments;
  } else {
    SegmentSpace space(*call.view, owner);
    // The result is written over the arguments only when the task has returned.
    const TaskRecord& record = space.record(shm::id_index(call.made_for));
    std::byte payload[kPayloadSize];
    memcpy(payload, record.payload, sizeof payload);
    if (record.arg_format == kOneObject) {
      memcpy(&out, payload, sizeof out);
      return 0;
    }
    if (record.arg_format != kBlock) return 0;
    memcpy(&ref, payload, sizeof ref);
  }
  const std::byte* block;
  if (int r = call.store->resolve_block(owner, ref.slab, ref.offset, ref.size, block); r < 0) return r;
  BlockEntry entry;
  if (!block_entry(block, ref.size, index, entry)) return fail(TARN_E_PROTOCOL, "argument %zu lies outside its block", index);
  if (entry.kind == TARN_ARG_OBJECT) out = {entry.id, entry.generation, entry.offset, entry.size};
  return 0;
}

}  // namespace tarn::task
