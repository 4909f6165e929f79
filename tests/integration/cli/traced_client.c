/* A client to trace: in turns, tasks that depend on one another, a task that submits and waits for tasks, one whose worker is
 * killed at its first attempt, one that fails, one that is run again after an error, and a graph. Connects to $TARN_ADDRESS. Says
 * "ready" and its pid, and goes on until its input ends; with "once" as its argument it does one turn for each line of its input, and says "done". */
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <tarn/graph.h>
#include <tarn/tarn.h>

static void work(long us)
{
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do clock_gettime(CLOCK_MONOTONIC, &now);
  while ((now.tv_sec - begin.tv_sec) * 1000000L + (now.tv_nsec - begin.tv_nsec) / 1000 < us);
}

static int check(int code)
{
  if (code < 0) {
    tarn_print_error(stderr);
    exit(1);
  }
  return code;
}

static int first_step(tarn_call *call)
{
  int n = 1;
  work(200);
  return tarn_call_return(call, &n, sizeof n);
}

static int second_step(tarn_call *call)
{
  int n = 2;
  work(100);
  return tarn_call_return(call, &n, sizeof n);
}

static int leaf(tarn_call *call)
{
  (void)call;
  work(50);
  return 0;
}

static int parent(tarn_call *call)
{
  tarn_client *client = tarn_call_client(call);
  tarn_future leaves[4];
  size_t i;
  for (i = 0; i < 4; ++i) check(tarn_submit(client, tarn_task_id("leaf"), NULL, 0, NULL, &leaves[i]));
  check(tarn_wait(client, leaves, 4, 4, -1, NULL, NULL));
  for (i = 0; i < 4; ++i) check(tarn_future_release(client, leaves[i]));
  return 0;
}

static int dies_once(tarn_call *call)
{
  if (tarn_call_attempt(call) == 1) {
    work(1000);
    raise(SIGKILL);
  }
  work(100);
  return 0;
}

static int fails(tarn_call *call)
{
  (void)call;
  return -1000;
}

static int fails_once(tarn_call *call)
{
  return tarn_call_attempt(call) == 1 ? -1000 : 0;
}

static int node(tarn_call *call)
{
  tarn_bytes us = tarn_call_arg(call, 0);
  work(us.size == sizeof(long) ? *(const long *)us.data : 10);
  return 0;
}

/* A diamond, of which one side takes longer. */
static void make_graph(tarn_client *client, tarn_graph **graph)
{
  long shorter = 50, longer = 400;
  tarn_arg one = tarn_arg_value(&shorter, sizeof shorter), other = tarn_arg_value(&longer, sizeof longer);
  tarn_node top, left, right, bottom;
  check(tarn_graph_create(client, NULL, graph));
  check(tarn_graph_add(*graph, tarn_task_id("node"), &one, 1, NULL, &top));
  check(tarn_graph_add(*graph, tarn_task_id("node"), &one, 1, NULL, &left));
  check(tarn_graph_add(*graph, tarn_task_id("node"), &other, 1, NULL, &right));
  check(tarn_graph_add(*graph, tarn_task_id("node"), &one, 1, NULL, &bottom));
  check(tarn_graph_add_edge(*graph, top, left));
  check(tarn_graph_add_edge(*graph, top, right));
  check(tarn_graph_add_edge(*graph, left, bottom));
  check(tarn_graph_add_edge(*graph, right, bottom));
}

static void take_turn(tarn_client *client, tarn_graph *graph)
{
  tarn_future all[6];
  tarn_arg first;
  tarn_retry retry = {sizeof retry, 1, 0, NULL, 2000000, 0, 0, {0}};
  tarn_submit_options again = {sizeof again, 0, 0, 0, 0, 0, 0, &retry, NULL, NULL, {0}};
  size_t i;
  check(tarn_submit(client, tarn_task_id("first_step"), NULL, 0, NULL, &all[0]));
  first = tarn_arg_future(all[0]);
  check(tarn_submit(client, tarn_task_id("second_step"), &first, 1, NULL, &all[1]));
  check(tarn_submit(client, tarn_task_id("parent"), NULL, 0, NULL, &all[2]));
  check(tarn_submit(client, tarn_task_id("fails"), NULL, 0, NULL, &all[3]));
  check(tarn_submit(client, tarn_task_id("fails_once"), NULL, 0, &again, &all[4]));
  check(tarn_submit(client, tarn_task_id("dies_once"), NULL, 0, NULL, &all[5]));
  check(tarn_wait(client, all, 6, 6, -1, NULL, NULL));
  for (i = 0; i < 6; ++i) check(tarn_future_release(client, all[i]));
  check(tarn_graph_run(graph, NULL, 0));
  check(tarn_graph_wait(graph, -1));
}

int main(int argc, char **argv)
{
  tarn_client *client;
  tarn_graph *graph;
  struct pollfd input = {STDIN_FILENO, POLLIN, 0};
  tarn_options options = {sizeof options, NULL, "traced", 2, 0, 0, 0, 0, NULL, {0}};
  char line[64];

  check(tarn_task_define("first_step", first_step));
  check(tarn_task_define("second_step", second_step));
  check(tarn_task_define("leaf", leaf));
  check(tarn_task_define("parent", parent));
  check(tarn_task_define("dies_once", dies_once));
  check(tarn_task_define("fails", fails));
  check(tarn_task_define("fails_once", fails_once));
  check(tarn_task_define("node", node));
  check(tarn_init(&client, &argc, &argv, &options));
  make_graph(client, &graph);
  printf("ready %d\n", (int)getpid());
  fflush(stdout);
  if (argc > 1 && strcmp(argv[1], "once") == 0) {
    while (fgets(line, sizeof line, stdin) != NULL) {
      take_turn(client, graph);
      puts("done");
      fflush(stdout);
    }
  } else {
    while (poll(&input, 1, 0) == 0) take_turn(client, graph);
  }
  tarn_graph_free(graph);
  tarn_close(client);
  return 0;
}
