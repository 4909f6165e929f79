// GraphView: a graph as one process has it mapped.
//
// Valid while this process says on the board that it is in that graph, or while it is the one that made it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm/ids.hpp"
#include "shm/member_segment.hpp"
#include "task/graph_record.hpp"

namespace tarn::task {

struct GraphView {
  GraphHeader* header;
  GraphNode* nodes;
  const uint32_t* successors;
  const uint32_t* roots;
  uint32_t node_count;
  uint32_t parts;

  [[nodiscard]] static GraphView of(GraphHeader& header) {
    auto* base = reinterpret_cast<std::byte*>(&header);
    return {&header,
            reinterpret_cast<GraphNode*>(base + header.nodes_at),
            reinterpret_cast<const uint32_t*>(base + header.successors_at),
            reinterpret_cast<const uint32_t*>(base + header.roots_at),
            header.node_count,
            header.parts};
  }
  // Behind the header; the values of parameters may lie before it.
  template <class T>
  [[nodiscard]] const T& at(uint64_t offset) const {
    return *reinterpret_cast<const T*>(reinterpret_cast<const std::byte*>(header) + static_cast<int64_t>(offset));
  }
  [[nodiscard]] const GraphArgument* arguments() const { return &at<GraphArgument>(header->arguments_at); }
  [[nodiscard]] const GraphParameter* parameters() const { return &at<GraphParameter>(header->parameters_at); }
  // As results are named: behind the records of tasks, the lines of the arena.
  [[nodiscard]] uint32_t id_of(uint32_t node) const {
    return shm::make_id(shm::kClientMember, shm::kTaskRecordsMax + header->first_line + static_cast<uint32_t>(header->nodes_at / 64) + node);
  }
  [[nodiscard]] bool is_over(uint32_t epoch) const {
    NodeState end = NodeState::unpack(nodes[node_count - 1].state.load(shm::kAcquire));
    return end.epoch == epoch && end.phase == NodePhase::kFinished;
  }
};

}  // namespace tarn::task
