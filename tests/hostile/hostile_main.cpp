// The hostile program: one case, in a process of its own, as the user that is hostile.
//
//   hostile --list                          the cases, a line each, with their Case::Counter as a number
//   hostile NUMBER SOCKET SPAWN_SOCKET FOLDER SCRATCH TARND SPAWN VICTIM VICTIM_WORKER...
//
// It tells the outcome in one line, VERDICT and the text, and keeps what it got until standard input is closed.
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cases.hpp"
#include "tarn/tarn.h"

namespace tarn::hostile {
namespace {

std::vector<const Case*> all_cases() {
  std::vector<const Case*> all;
  for (auto list : {memory_cases(), process_cases(), message_cases(), exhaust_cases(), scribble_cases()})
    for (const Case& each : list) all.push_back(&each);
  return all;
}

int run(char** argv, int argc) {
  auto cases = all_cases();
  auto number = strtoul(argv[1], nullptr, 10);
  if (number >= cases.size()) return 2;
  Context context;
  context.socket = argv[2];
  context.spawn_socket = argv[3];
  context.folder = argv[4];
  context.scratch = argv[5];
  context.tarnd = atoi(argv[6]);
  context.spawn = atoi(argv[7]);
  context.victim = atoi(argv[8]);
  for (int i = 9; i < argc; ++i) context.victim_workers.push_back(atoi(argv[i]));
  Outcome outcome = cases[number]->run(context);
  printf("%s\t%s\n", outcome.verdict, outcome.text.c_str());
  fflush(stdout);
  if (context.stops) raise(SIGSTOP);
  while (getchar() != EOF) {
  }
  // Everything ends with the process, and without a goodbye.
  _exit(0);
}

}  // namespace
}  // namespace tarn::hostile

int main(int argc, char** argv) {
  using namespace tarn::hostile;
  if (argc > 1 && strcmp(argv[1], "--worker") == 0) run_worker(argc, argv);
  tarn_task_define("hostile", [](tarn_call* call) { return tarn_call_return(call, "result", 6); });
  if (getenv("TARN_WORKER_FD") != nullptr) {
    tarn_client* none;
    return tarn_init(&none, &argc, &argv, nullptr) < 0;
  }
  signal(SIGPIPE, SIG_IGN);
  if (argc == 2 && strcmp(argv[1], "--list") == 0) {
    for (const Case* each : all_cases()) printf("%d %s\n", static_cast<int>(each->counter), each->name);
    return 0;
  }
  if (argc < 9) {
    fprintf(stderr, "usage: hostile --list | NUMBER SOCKET SPAWN_SOCKET FOLDER SCRATCH TARND SPAWN VICTIM WORKER...\n");
    return 2;
  }
  return run(argv, argc);
}
