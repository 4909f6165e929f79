// Tasks of the fault tests: every result follows from the arguments, so that whoever reads one can check it.
//
// Each task's first argument is an Order. Before a task does anything it writes its id into the journal
// (a file named by $TARN_TEST_JOURNAL, if set): the proof that it ran at least once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tarn/tarn.h"

namespace tarn::fault {

struct Order {
  uint64_t id;
  uint32_t size;    // of the result, or microseconds to sleep
  uint32_t detail;  // how to crash; how deep
};

// Names of the tasks, by what they do.
inline constexpr const char* kEcho = "echo";      // answer(id), 8 bytes
inline constexpr const char* kFill = "fill";      // `size` bytes of pattern(id)
inline constexpr const char* kDigest = "digest";  // digest_all(id, the other arguments), 8 bytes
inline constexpr const char* kSleep = "sleep";    // answer(id), `size` microseconds later
inline constexpr const char* kFail = "fail";      // fails with fail_code(id) and words about id
inline constexpr const char* kAgain = "again";    // fails in the first `detail` attempts, then answer(id): to be retried on error
inline constexpr const char* kCrash = "crash";    // ends its worker in the first attempt, then answer(id)

inline constexpr const char* kYield = "yield";  // yields `detail` items, each of up to `size` bytes
inline constexpr const char* kTree = "tree";    // tree_answer(id, detail): by tasks of its own, `detail` deep

inline constexpr int kAgainCode = -999;

inline constexpr const char* kFailType = "fault::Planned";

// Before tarn_init.
void define_tasks();

uint64_t mix(uint64_t value);
inline uint64_t answer(uint64_t id) { return mix(id ^ 0x9e3779b97f4a7c15); }
inline int fail_code(uint64_t id) { return -1000 - static_cast<int>(id % 1000); }

uint64_t tree_answer(uint64_t id, uint32_t depth);

void fill_pattern(uint64_t id, std::span<std::byte> out);
bool has_pattern(uint64_t id, tarn_bytes bytes);

// Whether that is item `number` of the stream that an order makes.
bool is_item(const Order& order, uint32_t number, tarn_bytes bytes);

uint64_t digest(tarn_bytes bytes);
// The digest that `size` bytes of pattern(id) have.
uint64_t digest_of_pattern(uint64_t id, size_t size);
inline uint64_t add_digest(uint64_t sum, uint64_t digest) { return mix(sum ^ digest); }

}  // namespace tarn::fault
