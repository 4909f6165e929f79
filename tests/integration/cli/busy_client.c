/* A client to look at: its name would clear a terminal, and so would the label of one of its objects; one task runs until it is told to
 * end, others wait for it, and it holds an object of 1 MiB and some smaller ones that say what they are. Connects to $TARN_ADDRESS. Says "ready" and its pid, and ends when its input ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tarn/tarn.h>

static int sleep_for_long(tarn_call *call)
{
  (void)call;
  puts("going to \033[2J sleep");
  fputs("not a word", stderr);
  sleep(60);
  return 0;
}

static int check(int code)
{
  if (code < 0) {
    tarn_print_error(stderr);
    exit(1);
  }
  return code;
}

int main(int argc, char **argv)
{
  tarn_client *client;
  tarn_options options = {sizeof options, NULL, "evil\033[2J\xc2\x9bname", 1, 0, 0, 0, 0, NULL, {0}};
  tarn_future first, second;
  tarn_object_options labelled = {sizeof labelled, TARN_TYPE_STRING, 0, "evil\033[2J\xc2\x9blabel", "meta", 4, {0}};
  tarn_object_options tagged = {sizeof tagged, TARN_TYPE_USER + 1, 0, "part", NULL, 0, {0}};
  tarn_object_options spread = {sizeof spread, 0, TARN_PLACE_INTERLEAVE, NULL, NULL, 0, {0}};
  tarn_needs needs = {sizeof needs, 0, 0, TARN_ON_SLOT, 0, 0, "licence", {0}};
  tarn_submit_options urgent = {sizeof urgent, 0, 0, 0, 0, 2, 0, NULL, "part=2,kind=evil\033[2J", &needs, {0}};
  tarn_object object;
  tarn_arg argument;
  char *data = calloc(1, 1 << 20);
  char byte;

  check(tarn_task_define("sleep_for_long", sleep_for_long));
  check(tarn_init(&client, &argc, &argv, &options));
  check(tarn_put_with(client, data, 1 << 20, &spread, &object));
  check(tarn_put_with(client, data, 4096, &labelled, &object));
  check(tarn_put_with(client, data, 1000, &tagged, &object));
  check(tarn_put_with(client, data, 2000, &tagged, &object));
  check(tarn_put_with(client, NULL, 0, &tagged, &object));
  check(tarn_submit(client, tarn_task_id("sleep_for_long"), NULL, 0, NULL, &first));
  argument = tarn_arg_future(first);
  check(tarn_submit(client, tarn_task_id("sleep_for_long"), &argument, 1, &urgent, &second));
  printf("ready %d\n", (int)getpid());
  fflush(stdout);
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
  free(data);
  _exit(0); /* leaves everything as it is: the daemon cleans up */
}
