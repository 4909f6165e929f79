// Kill points: with -Dkill_points=true every operation on a shared Word is a place where a test can kill
// or stop the process, before the operation and after it. tests/fault goes through all of them.
//
//   TARN_KILL=ROLE:N:SIGNAL:FILE    at the N-th point of a process of ROLE (client, worker), send it
//                                   SIGNAL (a number), once: by the process that manages to make FILE
//
// Nothing of this is in a normal build.
#pragma once

namespace tarn::shm {

// The process says what it is; until then it passes no points.
void set_kill_role(const char* role);

void kill_point();

}  // namespace tarn::shm
