/* A client that fills a store: it puts objects of 8 MiB, labelled "part", and obeys a line of standard input at a time:
 *   put N     puts N objects;
 *   small N   puts N objects of 16 KiB, which never leave memory, labelled "crumb";
 *   pin N     gets the first N of them and keeps the pointers;
 *   unpin     gives those pointers back;
 *   hold      has a worker run a task that reads the first object, until the worker ends.
 * After each it says "ok", or "error CODE" and the message. Connects to $TARN_ADDRESS, and ends when its input ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tarn/tarn.h>

enum { kSize = 8 << 20, kSmallSize = 16 << 10, kMost = 256 };

static int hold(tarn_call *call)
{
  (void)call;
  sleep(60);
  return 0;
}

static tarn_object objects[kMost];
static int made, pinned;

/* Their handles are not kept: nobody releases them. */
static int put_small(tarn_client *client, int count)
{
  static const char data[kSmallSize];
  tarn_object_options options = {sizeof options, 0, 0, "crumb", NULL, 0, {0}};
  tarn_object object;
  int code = 0;
  for (; count > 0 && code == 0; --count) code = tarn_put_with(client, data, kSmallSize, &options, &object);
  return code;
}

static int put(tarn_client *client, int count)
{
  tarn_object_options options = {sizeof options, 0, 0, "part", NULL, 0, {0}};
  char *data = calloc(1, kSize);
  int code = 0;
  for (; count > 0 && made < kMost && code == 0; --count) {
    code = tarn_put_with(client, data, kSize, &options, &objects[made]);
    if (code == 0) ++made;
  }
  free(data);
  return code;
}

static int pin(tarn_client *client, int count)
{
  tarn_bytes bytes;
  for (; count > 0 && pinned < made; --count) {
    int code = tarn_get(client, objects[pinned], &bytes);
    if (code != 0) return code;
    ++pinned;
  }
  return 0;
}

static int unpin(tarn_client *client)
{
  for (; pinned > 0; --pinned) {
    int code = tarn_object_unpin(client, objects[pinned - 1]);
    if (code != 0) return code;
  }
  return 0;
}

static int submit(tarn_client *client)
{
  tarn_arg argument = tarn_arg_object(objects[0]);
  tarn_future future;
  return tarn_submit(client, tarn_task_id("hold"), &argument, 1, NULL, &future);
}

int main(int argc, char **argv)
{
  tarn_client *client;
  tarn_options options = {sizeof options, NULL, "full_client", 1, 0, 0, 0, 0, NULL, {0}};
  char line[64];

  if (tarn_task_define("hold", hold) < 0 || tarn_init(&client, &argc, &argv, &options) < 0) {
    tarn_print_error(stderr);
    return 1;
  }
  printf("ready %d\n", (int)getpid());
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL) {
    char word[16] = "";
    int count = 0, code = TARN_E_ARGUMENT;
    sscanf(line, "%15s %d", word, &count);
    if (strcmp(word, "put") == 0) code = put(client, count);
    if (strcmp(word, "small") == 0) code = put_small(client, count);
    if (strcmp(word, "pin") == 0) code = pin(client, count);
    if (strcmp(word, "unpin") == 0) code = unpin(client);
    if (strcmp(word, "hold") == 0) code = submit(client);
    if (code == 0)
      printf("ok\n");
    else
      printf("error %d %s\n", code, tarn_last_error());
    fflush(stdout);
  }
  _exit(0); /* leaves everything as it is: the daemon cleans up */
}
