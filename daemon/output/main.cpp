// tarn-output: reads what the workers of one session print and passes it on to its client, as the client's user.
//
// Started by tarnd, by way of tarn-spawn, when a worker first prints something: with the client's stdout and stderr, and with
// the socket to tarnd as descriptor 3.
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "relay.hpp"

int main(int argc, char**) {
  if (argc != 1) {
    fprintf(stderr, "usage: tarn-output, started by tarnd\n");
    return 2;
  }
  // The client's reader may go, and its terminal be another's for now.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTTOU, SIG_IGN);
  tarn::output::Relay relay{tarn::Fd{3}};
  _exit(relay.run());  // a thread may be writing to who does not read
}
