// Which worker may begin a task of a class (shm/scheduling_class.hpp), and whether it can now.
#pragma once

#include "shm/board.hpp"

namespace tarn::task {

// Whether this worker is where the class asks to be.
[[nodiscard]] bool is_in_place(const shm::ClassNeeds& needs, const shm::WorkerLine& worker);

// Whether what the class asks for is free, and nobody who is as urgent waits for some of it already.
[[nodiscard]] bool may_have_resources(const shm::Board& board, uint32_t number);

// Whether a worker that is where the class asks to be will look at it soon; otherwise others may take what need not be there.
[[nodiscard]] bool is_anyone_in_place_free(const shm::Board& board, const shm::ClassNeeds& needs);

}  // namespace tarn::task
