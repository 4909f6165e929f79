// Kill points: with -Dkill_points=true every operation on a shared Word and every message of the control
// protocol is a place where a test can kill or stop the process, before it and after it. tests/fault goes
// through all of them.
//
//   TARN_KILL=ROLE:N:SIGNAL:FILE    at the N-th point of a process of ROLE (client, worker, tarnd, spawn),
//                                   send it SIGNAL (a number), once: by the process that makes FILE
//   TARN_KILL_MEMORY=BYTES          the memory of a private tarnd, so little that objects leave it
//
// Nothing of this is in a normal build. Any thread may pass a point.
#pragma once

#include <cstdint>

#ifdef TARN_KILL_POINTS

namespace tarn {

// The process says what it is; until then it passes no points.
void set_kill_role(const char* role);

void kill_point();

// 0 if the test does not care.
uint64_t planned_memory();

}  // namespace tarn

#define TARN_KILL_POINT() ::tarn::kill_point()

#else

namespace tarn {
inline void set_kill_role(const char*) {}
inline uint64_t planned_memory() { return 0; }
}  // namespace tarn

#define TARN_KILL_POINT() ((void)0)

#endif
