// What the store says about a reference that does not work. Thread-safe: they write this thread's error only.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "shm/ids.hpp"
#include "store/holders.hpp"
#include "tarn/tarn.h"

namespace tarn::store {

inline int no_object(const shm::ObjectRef& ref) {
  return fail(TARN_E_NO_OBJECT, "no such object (member %u, index %u, generation %u): it was released, or never was",
              shm::id_member(ref.id), shm::id_index(ref.id), ref.generation);
}

inline int bad_range(const shm::ObjectRef& ref, uint64_t size) {
  return fail(TARN_E_ARGUMENT, "%llu bytes from %llu on, of an object of %llu",
              static_cast<unsigned long long>(ref.size), static_cast<unsigned long long>(ref.offset),
              static_cast<unsigned long long>(size));
}

inline int cannot_hold(uint32_t member) {
  return fail(TARN_E_LIMIT, "member %u of the session cannot hold objects, nor can those after it: only those below %u can", member,
              kHoldersMax);
}

[[nodiscard]] inline bool range_fits(const shm::ObjectRef& ref, uint64_t size) {
  return ref.offset <= size && ref.size <= size - ref.offset;
}

}  // namespace tarn::store
