/* stream.h: tasks that yield results one by one, in C. Part of tarn.h, which includes it; the conventions are those of that. */
#ifndef TARN_STREAM_H
#define TARN_STREAM_H

#include <tarn/tarn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A stream is a task that yields items while it runs; whoever submitted it reads them at once, in the order of the yields:
 *
 *   static int count_up(tarn_call *call)
 *   {
 *     for (int i = 0; i < 1000; ++i) {
 *       int r = tarn_call_yield(call, &i, sizeof i);
 *       if (r < 0) return r;
 *     }
 *     return 0;
 *   }
 *   ...
 *   tarn_submit_stream(client, tarn_task_id("count_up"), NULL, 0, NULL, NULL, &future);
 *   while ((r = tarn_stream_next(client, future, -1, &item)) == 0) use(item);
 *   if (r != TARN_E_END) tarn_print_error(stderr);
 *   tarn_future_release(client, future);
 *
 * The window is what may have been yielded and not read; when it is full, the task waits in its next yield, and its worker with it.
 * Who releases the future reads no more: the task is told by its next yield (TARN_E_NO_READER). Cancelling, time-outs and deadlines
 * are those of any task, also while it waits in a yield.
 * If its worker dies, or it is run again after an error, the task begins anew and what it had yielded before stays: of its
 * yields, as many as there were are passed over. Such a task has to yield the same items each time, or not be retried
 * (tarn_submit_options: retries -1).
 * The future is that of a task as well: tarn_result waits for the task's end, and keeps what is yielded meanwhile for later
 * reads, up to 1 048 576 items (TARN_E_LIMIT). Other waits (tarn_wait, tarn_watch_next) take nothing in, so that a full window holds them up: read
 * the stream first. It cannot be an argument of another task. */

typedef struct tarn_stream_options {
  size_t size;          /* sizeof(tarn_stream_options) */
  uint32_t items;       /* the window: that were not read, 1 to 4096; 0: 256 */
  uint32_t reserved2;   /* zero */
  uint64_t bytes;       /* and their bytes together; a single item may be larger; 0: 16 MiB */
  uint64_t reserved[4]; /* zero */
} tarn_stream_options;

/* Submits a task as tarn_submit does, as a stream that this process reads. `options` and `stream_options` may be NULL. In a task,
 * by its client, too: such a stream ends with the task that reads it, as all that it submitted; if no other worker begins it
 * within a millisecond, it runs within the read, all of it at once: up to 1 048 576 items instead of the window, then its yields are
 * TARN_E_LIMIT. Errors: those of tarn_submit; TARN_E_LIMIT (streams
 * that are not done: docs/limits.md). Since 0.1. */
TARN_API int tarn_submit_stream(tarn_client *client, tarn_task task, const tarn_arg *args, size_t count,
                                const tarn_submit_options *options, const tarn_stream_options *stream_options, tarn_future *future);

/* Waits for the next item and sets `*bytes` to it, in place: valid until the next read of this stream, or its release. Items of more
 * than 32 KiB are pinned for that long. Blocks without using the processor after a short spin. One thread at a time for each stream.
 * When nothing is there yet and `timeout_ns` is 0, the client's descriptor (tarn_client_fd) becomes readable with the next item, or the end.
 * Errors: TARN_E_END when all were read and the task has succeeded; when it has failed, its error, as tarn_result has it, after what
 * it had yielded before; both again and again. TARN_E_TIMED_OUT (nothing was lost), TARN_E_NO_FUTURE, TARN_E_STATE (the future
 * is not that of a stream), TARN_E_DAEMON_GONE; for an item that has to come back from the disk TARN_E_STORE_FULL, TARN_E_QUOTA (to be
 * read again), TARN_E_LOST. Since 0.1. */
TARN_API int tarn_stream_next(tarn_client *client, tarn_future future, int64_t timeout_ns, tarn_bytes *bytes);

/* The same as an object, with one reference, to be released with tarn_release: it stays when the next item is read. No copy if the
 * item is larger than 40 bytes; a smaller one is put. Reads and pins nothing. Errors as of tarn_stream_next, and for a small item
 * tarn_put: it is then to be read again. Since 0.1. */
TARN_API int tarn_stream_next_object(tarn_client *client, tarn_future future, int64_t timeout_ns, tarn_object *object);

/* Calls fn(client, future, context) from tarn_client_dispatch, once, when there is an item to read, or the end. Instead of, not beside
 * tarn_future_then and a watch: one of them at a time. Errors: TARN_E_NO_FUTURE, TARN_E_ARGUMENT, TARN_E_STATE, TARN_E_NOT_IN_TASK.
 * Since 0.1. */
TARN_API int tarn_stream_then(tarn_client *client, tarn_future future, tarn_future_fn fn, void *context);

/* In a task that was submitted as a stream, by the thread that runs it: yields an item, a copy of these bytes; up to 40 lie in the
 * stream itself, more in an object. Waits while the window is full, without using the processor after a short spin.
 * Errors: TARN_E_NO_READER, TARN_E_CANCELLED, TARN_E_DEADLINE (all three: end the task), TARN_E_STATE (it is no stream), TARN_E_ARGUMENT,
 * TARN_E_FORKED, TARN_E_LIMIT (tarn_submit_stream), TARN_E_DAEMON_GONE, and those of tarn_put. After any error the item was not yielded. Since 0.1. */
TARN_API int tarn_call_yield(tarn_call *call, const void *data, size_t size);

/* The same without a copy: waits until the window has room for `size` bytes and sets `*data` to where they are to be written, at a
 * multiple of 8; then tarn_call_yield_filled yields them. Another call of this before takes the buffer back. Errors as of
 * tarn_call_yield. Since 0.1. */
TARN_API int tarn_call_yield_buffer(tarn_call *call, size_t size, void **data);

/* Yields what was written to the last buffer; from then on it is the reader's. Does not block. Errors as of tarn_call_yield, and
 * TARN_E_STATE if there is none. Since 0.1. */
TARN_API int tarn_call_yield_filled(tarn_call *call);

#ifdef __cplusplus
}
#endif

#endif /* TARN_STREAM_H */
