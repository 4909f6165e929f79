/* A user's C program, outside the tree: it sends two numbers to a worker process and gets their sum. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <tarn/tarn.h>
#include <unistd.h>

struct answer {
  int64_t sum;
  int64_t pid;
};

static int add(tarn_call *call)
{
  int64_t a, b;
  const tarn_bytes first = tarn_call_arg(call, 0), second = tarn_call_arg(call, 1);
  struct answer answer;

  if (first.size != sizeof a || second.size != sizeof b)
    return tarn_call_fail(call, TARN_E_TYPE, NULL, "two numbers of 8 bytes, please");
  memcpy(&a, first.data, sizeof a);
  memcpy(&b, second.data, sizeof b);
  answer.sum = a + b;
  answer.pid = getpid();
  return tarn_call_return(call, &answer, sizeof answer);
}

int main(int argc, char **argv)
{
  const int64_t a = 40, b = 2;
  const tarn_arg args[] = {tarn_arg_value(&a, sizeof a), tarn_arg_value(&b, sizeof b)};
  tarn_client *client;
  tarn_future future;
  tarn_bytes result;
  struct answer answer;

  if (tarn_task_define("add", add) < 0 || tarn_init(&client, &argc, &argv, NULL) < 0)
    return tarn_print_error(stderr), 1;
  if (tarn_submit(client, tarn_task_id("add"), args, 2, NULL, &future) < 0 ||
      tarn_result(client, future, -1, &result) < 0)
    return tarn_print_error(stderr), 1;
  if (result.size != sizeof answer)
    return fprintf(stderr, "a result of %zu bytes\n", result.size), 1;
  memcpy(&answer, result.data, sizeof answer);
  tarn_future_release(client, future);
  tarn_close(client);

  printf("%lld by %s\n", (long long)answer.sum, answer.pid == getpid() ? "myself" : "a worker");
  return 0;
}
