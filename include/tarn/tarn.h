/* tarn.h: the C interface of Tarn.
 *
 * A program defines its tasks, calls tarn_init, and submits tasks that run in worker processes; the
 * workers are the same executable started again, and enter at tarn_init. Data is shared through
 * objects: immutable byte ranges in memory that every process maps, so a get is a pointer.
 *
 * Conventions, valid for every function here unless it says otherwise:
 *   - The result is 0 or a negative TARN_E_* code, whose number keeps its meaning for ever.
 *     tarn_strerror(code) says what a code means; tarn_last_error() says what happened in this
 *     thread's last failed call, to what, and what to do about it. A call that succeeds leaves that
 *     as it was.
 *   - Outputs come last and are untouched on failure.
 *   - Time is int64_t nanoseconds; a timeout of -1 waits for ever, 0 does not wait. Sizes are bytes.
 *   - Structs that begin with `size` are set to sizeof by the caller and may grow in later releases.
 *   - Functions that take a client may be called from any thread of the process that made it. After
 *     fork() only the parent may use a client; the child gets TARN_E_FORKED.
 */
#ifndef TARN_TARN_H
#define TARN_TARN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <tarn/tarn_version.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TARN_API __attribute__((visibility("default")))
#define TARN_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define TARN_API
#define TARN_PRINTF(format_index, first)
#endif

/* ---- Errors ---------------------------------------------------------------------------------- */

/* Each line reads NAME = number, then "meaning | what the user can do". docs/errors.md, the text of
 * tarn_strerror and the exceptions of the other languages are generated from this list. */
enum tarn_error {
  TARN_OK = 0,                    /* Success | Nothing to do. */
  TARN_E_NOT_INITIALISED = -1,    /* The client is NULL, or in C++ was closed | Call tarn_init first and pass its client. In C a client that was closed must not be passed at all: see tarn_close. */
  TARN_E_ARGUMENT = -2,           /* An argument is not allowed | Read tarn_last_error(): it names the argument and the values allowed. */
  TARN_E_NO_TASK = -3,            /* No task of that name is defined | Call tarn_task_define with that name before tarn_init, in every program that is started as a worker. */
  TARN_E_NO_OBJECT = -4,          /* No such object | It was released by its last holder, or the handle was not made by this session. */
  TARN_E_NO_FUTURE = -5,          /* No such future | It was released, or the handle was not made by this client. */
  TARN_E_TYPE = -6,               /* Types do not match | Compare the argument and result types of the caller with those of the task, or the object's type with the one asked for. */
  TARN_E_TASK_FAILED = -7,        /* The task reported an error | tarn_future_error() has the task's own error. */
  TARN_E_WORKER_CRASHED = -8,     /* The worker process died while it ran the task | Look at the signal or exit status in tarn_future_error(); the retries were used up. */
  TARN_E_CANCELLED = -9,          /* The task was cancelled | Nothing to do. */
  TARN_E_TIMED_OUT = -10,         /* The time given for waiting passed | Wait again, or longer: nothing was lost. */
  TARN_E_GONE = -11,              /* The object was freed | Keep a reference for as long as the object is needed. */
  TARN_E_STORE_FULL = -12,        /* The object store has no room | Release objects, or raise the memory limit; `tarn memory` and `tarn objects` say who holds what. */
  TARN_E_QUOTA = -13,             /* A limit set for this tenant or client is reached | docs/limits.md names the limit and where it is set. */
  TARN_E_NO_MEMORY = -14,         /* The system has no memory left | Free memory or raise the limit of the cgroup. */
  TARN_E_TOO_LARGE = -15,         /* Larger than the documented limit | docs/limits.md names the bound and its reason. */
  TARN_E_DAEMON_GONE = -16,       /* The daemon has left | Close the client and call tarn_init again; results that had arrived can still be read. */
  TARN_E_VERSION = -17,           /* Versions or builds do not match | Use the same release, and the same build, on both sides. */
  TARN_E_DENIED = -18,            /* Permission denied | The other side belongs to another user, or the file may not be read. */
  TARN_E_NOT_IN_TASK = -19,       /* Not permitted inside a task | Use the client of the task (tarn_call_client); what that cannot do, do in the program. */
  TARN_E_UNSATISFIABLE = -20,     /* What was asked for exists nowhere on this host | tarn_last_error() says what was asked and what there is. */
  TARN_E_NO_DAEMON = -21,         /* No daemon answers at that address | Start tarnd, or use the address `auto` or `private`. */
  TARN_E_STATE = -22,             /* Not allowed in this state | tarn_last_error() names the state, for example an object that is sealed already. */
  TARN_E_SYSTEM = -23,            /* The operating system refused | tarn_last_error() has the call, the object and the reason. */
  TARN_E_FORKED = -24,            /* The client belongs to the parent of this process | Call tarn_init again in the child. */
  TARN_E_FILE = -25,              /* A file cannot be used | tarn_last_error() names the file and the reason. */
  TARN_E_FILE_CHANGED = -26,      /* A mapped file shrank while it was read | Map files that nobody truncates, or use TARN_FILE_COPY. */
  TARN_E_LIMIT = -27,             /* Too many of something at once | docs/limits.md names the bound; finish or release some first. */
  TARN_E_DEPENDENCY = -28,        /* A task this one depends on failed | tarn_future_error() has the first cause. */
  TARN_E_PROTOCOL = -29,          /* The other side sent something malformed | A bug or a hostile peer: report it with the text of tarn_last_error(). */
  TARN_E_LOST = -30,              /* The copy of an object on disk cannot be read or is damaged, or its task could not make it again | Make the object again; look for errors of the disk under `memory.spill_directory`. A task whose result can differ is not TARN_TASK_REPEATABLE. */
  TARN_E_DEADLINE = -31,          /* The task took longer than its time-out, or its deadline passed | Give it more time, or look why it is slow or waits: `tarn tasks`. */
  TARN_E_STUCK_GRAPH = -32,       /* A graph cannot proceed | tarn_last_error() names the nodes that wait for one another; take one of their edges away. */
  TARN_E_END = -33,               /* The stream has ended: there are no more items | Nothing to do; release its future. */
  TARN_E_NO_READER = -34          /* Nobody reads the stream any more | End the task: what it would yield has no reader. */
};

/* Returns what `code` means, as a static string; never NULL. Thread-safe. Since 0.1. */
TARN_API const char *tarn_strerror(int code);

/* Returns the name of `code`, such as "TARN_E_TIMED_OUT", as a static string; never NULL. Since 0.1. */
TARN_API const char *tarn_error_name(int code);

/* Returns the text of this thread's last failed call: what happened, to what, and what to do.
 * Valid until the next failing call of this thread; "" if none failed. Calls that succeed do not
 * change it, whatever went wrong and was put right on their way. Since 0.1. */
TARN_API const char *tarn_last_error(void);

/* Writes "tarn: <last error>" and a newline to `stream`. Since 0.1. */
TARN_API void tarn_print_error(FILE *stream);

/* ---- Clients --------------------------------------------------------------------------------- */

typedef struct tarn_client tarn_client; /* one session of this process with a daemon */
typedef struct tarn_call tarn_call;     /* one run of a task, inside its worker */

typedef struct tarn_bytes { /* a borrowed, read-only range; whoever handed it out says how long it lives */
  const void *data;
  size_t size;
} tarn_bytes;

/* Options for tarn_init. Zero means the default, everywhere. Since 0.1. */
typedef struct tarn_options {
  size_t size;           /* sizeof(tarn_options) */
  const char *address;   /* "auto" (the default), "private", "unix:PATH"; NULL: $TARN_ADDRESS or "auto" */
  const char *name;      /* shown by the tools; NULL: the program's name */
  uint32_t workers;      /* worker processes; 0: $TARN_WORKERS or one per slot; more than the slots is refused */
  uint32_t flags;        /* TARN_INIT_* */
  int64_t timeout_ns;    /* for connecting and starting; 0: 10 s */
  uint32_t output;       /* enum tarn_output; 0: $TARN_OUTPUT (prefixed, plain, raw or none) or TARN_OUTPUT_PREFIXED */
  uint32_t reserved2;    /* zero */
  const char *resources; /* for a private daemon: "NAME=COUNT,NAME=COUNT", what tasks may ask for (tarn_needs); NULL: $TARN_RESOURCES.
                            The daemon of the host has those of its tarnd.toml: with it this is TARN_E_ARGUMENT */
  uint64_t reserved[6];  /* zero */
} tarn_options;

/* What becomes of what workers print. Unless it is raw, it is read from pipes: stdout is written line by line, a task that floods
 * them leaves only what fits (docs/limits.md) and one line that says how much is missing, nobody waits for a client that is not
 * read, and the last of it is kept for `tarn logs` and for the errors of tasks whose workers die. It arrives in whole lines, of
 * each worker in its order, when it is printed; at the latest when tarn_close returns. Since 0.1. */
enum tarn_output {
  TARN_OUTPUT_PREFIXED = 1, /* to the client's stdout and stderr, each line behind "(TASK pid=PID slot=SLOT) " */
  TARN_OUTPUT_PLAIN = 2,    /* the same without that */
  TARN_OUTPUT_RAW = 3,      /* workers have the client's own stdout and stderr: byte by byte, without bounds, and nothing is kept */
  TARN_OUTPUT_NONE = 4      /* only kept */
};

enum {
  TARN_INIT_NO_WORKERS = 1u /* a session of this process alone, which keeps objects for itself and its threads; no other session
                               can use them. tarn_submit is TARN_E_UNSATISFIABLE */
};

/* In the program as the user started it: connects to a daemon (starting a private one when none
 * answers and the address allows it), starts workers, and sets `*client`. The private daemon, its
 * workers and all memory end with this process, however it ends.
 * In a worker process: serves tasks and does not return.
 * `argc` and `argv` are those of main; both may be NULL. They are what workers are started with.
 * Every task must have been defined before. `options` may be NULL. Blocks until connected, not until
 * the workers are up. Not to be called twice at the same time from two threads.
 * Errors: TARN_E_NO_DAEMON, TARN_E_VERSION, TARN_E_DENIED, TARN_E_LIMIT, TARN_E_UNSATISFIABLE,
 * TARN_E_TIMED_OUT, TARN_E_STORE_FULL, TARN_E_QUOTA (no memory for its records, after a while), TARN_E_ARGUMENT, TARN_E_SYSTEM,
 * TARN_E_NOT_IN_TASK. Since 0.1. */
TARN_API int tarn_init(tarn_client **client, int *argc, char ***argv, const tarn_options *options);

/* Ends the session: tasks that have not finished are dropped, objects and futures are freed, and all
 * pointers handed out by this client become invalid. NULL is allowed. No other thread may be using the
 * client. WARNING: `client` is freed. To pass it to any function afterwards, this one included, is
 * undefined and may crash; nothing can find it out. Set the variable to NULL: that is
 * TARN_E_NOT_INITIALISED. (tarn::client of C++ does so by itself.) Blocks until the workers have ended,
 * some seconds at most. Since 0.1. */
TARN_API void tarn_close(tarn_client *client);

/* A descriptor that becomes readable (poll, epoll, select) when tarn_client_dispatch has something to
 * do. It stays owned by the client; do not read or close it. Returns the descriptor or a negative
 * code. Since 0.1. */
TARN_API int tarn_client_fd(tarn_client *client);

/* Runs the callbacks of futures that finished (tarn_future_then), then those of the events that wait
 * (tarn_client_on_event), in this thread, and arms the descriptor again. Does not block. Call it once
 * before the first poll. Returns the number of callbacks run, or a negative code: TARN_E_DAEMON_GONE
 * when there is nothing left to run and the daemon has left, so that nothing more will finish.
 * Since 0.1. */
TARN_API int tarn_client_dispatch(tarn_client *client);

typedef struct tarn_client_info {
  size_t size;         /* sizeof(tarn_client_info) */
  uint32_t workers;    /* worker processes of this session */
  uint32_t is_private; /* 1 if the daemon was started for this client */
  int32_t daemon_pid;
  uint32_t session;    /* as the tools show it */
  uint64_t reserved[6];
} tarn_client_info;

/* Fills `*info` (whose size is set by the caller). Since 0.1. */
TARN_API int tarn_client_get_info(tarn_client *client, tarn_client_info *info);

typedef struct tarn_slot_info { /* a worker and where it runs */
  size_t size;         /* sizeof(tarn_slot_info) */
  uint32_t slot;       /* from 0, as `tarn slots` shows it */
  int32_t pid;
  int32_t core;        /* first core of the slot */
  int32_t node;        /* its NUMA node */
  uint64_t tasks_done; /* by this worker process, since it started */
  uint64_t reserved[4];
} tarn_slot_info;

/* Fills `*info` for worker `index` of this session, 0 <= index < workers. Since 0.1. */
TARN_API int tarn_client_get_slot(tarn_client *client, uint32_t index, tarn_slot_info *info);

/* ---- Tasks ----------------------------------------------------------------------------------- */

typedef uint32_t tarn_task; /* a task's number: a hash of its name, the same in every process */

/* The body of a task. Runs in a worker; returns 0, or a negative code which then is the task's error.
 * What it got from `call` is valid until it returns. */
typedef int (*tarn_task_fn)(tarn_call *call);

/* Defines a task under `name` (at most 255 bytes, copied). Before tarn_init, in every process.
 * TARN_E_ARGUMENT if the name is empty or too long, or is or collides with that of another task;
 * TARN_E_LIMIT beyond 65 536 tasks; TARN_E_STATE while a client is open. Since 0.1. */
TARN_API int tarn_task_define(const char *name, tarn_task_fn fn);

/* The same for language bindings: `signature` is a number made from the argument and result types;
 * a submission with another non-zero signature fails with TARN_E_TYPE (22 bits of it are compared: use a hash). `context` comes back from
 * tarn_call_context. Since 0.1. */
TARN_API int tarn_task_define_typed(const char *name, tarn_task_fn fn, uint32_t signature, void *context);

/* The number of the task called `name`, whether or not it is defined here. Since 0.1. */
TARN_API tarn_task tarn_task_id(const char *name);

typedef struct tarn_future { /* the result of a task that may still run; a value, copy it freely */
  uint64_t id;
} tarn_future;

typedef struct tarn_object { /* an object or a range of one; a value, copy it freely */
  uint64_t origin;           /* daemon and session */
  uint64_t id;               /* member, index and generation */
  uint64_t offset;           /* of this range in the object */
  uint64_t size;             /* of this range */
} tarn_object;

enum tarn_arg_kind {
  TARN_ARG_VALUE = 0,
  TARN_ARG_OBJECT = 1,
  TARN_ARG_FUTURE = 2,
  TARN_ARG_NODE = 3,     /* of a node in a graph: the result of another one */
  TARN_ARG_PARAMETER = 4 /* of a node in a graph: what tarn_graph_run is given */
};

typedef struct tarn_arg {
  uint32_t kind; /* enum tarn_arg_kind */
  uint32_t part; /* FUTURE, NODE: 0 for the result as a whole, n for its part n - 1 (tarn_arg_part); otherwise zero */
  union {
    tarn_bytes value;   /* copied when the task is submitted; at most 1 MiB in all, use objects beyond */
    tarn_object object; /* held for the task until this process finds it done */
    tarn_future future; /* the task runs after it; its result, or a part of it, is the argument */
    uint32_t index;     /* of the node or the parameter */
  } u;
} tarn_arg;

/* That a task which reports an error is run again, after a while in which it occupies no worker: `first_ns`, the next time `factor`
 * times as long, and so on up to `max_ns`; of each of these between half and all, by chance, so that many do not come at the
 * same moment. It keeps its arguments, and begins anew with the next attempt (tarn_call_attempt). If it fails the last time as
 * well, or its deadline would pass before it could begin again, that error is its error. Only what the task's own function returned counts, or threw in C++
 * (TARN_E_TASK_FAILED unless it was a tarn::error); not that it was cancelled or late. Since 0.1. */
typedef struct tarn_retry {
  size_t size;           /* sizeof(tarn_retry) */
  uint32_t times;        /* how often at most it is run again after an error, 1 to 200; a crash counts apart (`retries`) */
  uint32_t code_count;   /* of `codes`, at most 16 */
  const int32_t *codes;  /* the errors after which it is, copied; NULL: any */
  int64_t first_ns;      /* what passes before the first time; 0: 10 ms */
  int64_t max_ns;        /* what passes at most, up to a day; 0: 10 s */
  double factor;         /* 1 to 1000; 0: 2 */
  uint64_t reserved[2];  /* zero */
} tarn_retry;

/* Where a task is to run. Since 0.1. */
enum tarn_where {
  TARN_ANYWHERE = 0,
  TARN_ON_SLOT = 1, /* in the slot of that number, as `tarn slots` and tarn_client_get_slot show it */
  TARN_ON_NODE = 2  /* in a slot on the NUMA node of that number */
};

/* What a task needs of the host. All 0: one slot, whichever.
 * Tasks that ask for the same place, the same resources and are equally urgent wait in a queue of their own, and hold up no others; a
 * session has 127 such queues, for as many combinations (TARN_E_LIMIT beyond). Since 0.1. */
typedef struct tarn_needs {
  size_t size;           /* sizeof(tarn_needs) */
  uint64_t memory;       /* bytes that a run may take for itself, at most: what it and its threads get from malloc and new beyond what
                            its worker had. malloc then fails in the task, new throws std::bad_alloc. Objects, results and files mapped
                            for reading do not count, nor does the stack of the task's own thread; 0: no limit */
  uint32_t cores;        /* that it runs on at the same time, all of one NUMA node; 0: those of its slot */
  uint32_t where;        /* enum tarn_where */
  int32_t where_number;  /* of the slot or node */
  uint32_t is_strict;    /* 1: it runs there and nowhere else, and waits as long as it takes; 0: elsewhere while all workers there
                            are busy and another is not */
  const char *resources; /* "NAME=COUNT,NAME=COUNT" (COUNT is 1 if left out): what a run has to itself of what the host's tarnd.toml
                            counts in [resources], or tarn_options.resources for a private daemon. It begins when all of it
                            is free. Counted, not enforced: what a name means is up to the program. NULL or "": nothing */
  uint64_t reserved[4];  /* zero */
} tarn_needs;

typedef struct tarn_submit_options {
  size_t size;          /* sizeof(tarn_submit_options) */
  uint32_t signature;   /* see tarn_task_define_typed; 0: not checked */
  int32_t retries;      /* after a crash of the worker; -1: never, 0: the default of 3, at most 200 */
  int64_t timeout_ns;   /* for each run of the task, with its waiting for arguments; 0: none */
  int64_t deadline_ns;  /* from the submission until the task is done, with its waiting for others and for a worker; 0: none */
  int32_t priority;     /* TARN_PRIORITY_MIN to TARN_PRIORITY_MAX, the most urgent; 0: the usual */
  uint32_t flags;       /* enum tarn_task_flags */
  const tarn_retry *retry_on_error; /* NULL: a task that reports an error is not run again */
  const char *labels;   /* for people and tools (`tarn tasks --filter labels=KEY=VALUE`): "KEY=VALUE,KEY=VALUE", at most 255 bytes;
                           NULL or "": none */
  const tarn_needs *needs; /* where it runs, and what it has there; NULL: anywhere, and nothing. TARN_E_UNSATISFIABLE at once if that
                           never will be */
  uint64_t reserved[2]; /* zero */
} tarn_submit_options;

enum { TARN_PRIORITY_MIN = -4, TARN_PRIORITY_MAX = 3 };

enum tarn_task_flags {
  /* The same arguments give the same bytes, and running it again does no harm. So its result need not be written to a disk when
   * memory is short: it is dropped, and when somebody reads it the task runs again, in the worker that reads. For that the
   * task's arguments are kept until the future is released; from then on its result is as any other. Read what the
   * task is to read through its arguments only: what it finds in other ways may be different the next time. A result of another size, or an error, is
   * TARN_E_LOST for who reads it. timeout_ns and deadline_ns do not hold for such a run, but those of the task that reads do.
   * Results of up to 32 KiB never leave memory. Not for streams, nor
   * for tasks with needs, as it runs where the result is read: TARN_E_ARGUMENT. In a task it is ignored. */
  TARN_TASK_REPEATABLE = 1
};

/* Submits one run of `task` with `count` arguments (at most 65 535) and sets `*future`, to be released
 * with tarn_future_release. `options` may be NULL. Does not block. Tasks are started in about the order
 * they are submitted once their future arguments are done; if such an argument failed, the task fails
 * with TARN_E_DEPENDENCY and its cause. A task whose worker dies is run again, so its effects may
 * happen more than once; its result is delivered once.
 * An object that is not sealed yet is taken as an argument, and held. If it is not sealed by the time a
 * worker begins the task, the task fails with TARN_E_STATE (tarn_result: TARN_E_TASK_FAILED, the code in
 * tarn_future_error); the worker does not wait for the seal. tarn_object_wait does, before the call.
 * A worker begins what is most urgent among the ready tasks of its session, and of those that are equally urgent about the oldest. It interrupts
 * nothing, and has up to 16 short ones in hand: at a time when all of them last no longer than some tens of microseconds.
 * A task that takes longer than its time-out or deadline fails with TARN_E_DEADLINE and is not run again. If it waits then, it
 * does not begin: it fails when somebody waits for it, or when a worker comes to it. If it runs, it can see so
 * (tarn_call_cancelled); after another 0.1 s its process is ended. A result that comes in that time does not count. (A task that blocks the signal
 * SIGRTMAX - 1 is not ended. Callbacks, tarn_future_then, do not count as waiting.)
 * Objects that have left memory come back when a worker begins the task. While they find no room the
 * task tries again for up to 30 s (docs/limits.md), holding none of them meanwhile, but its worker; then
 * it fails with TARN_E_STORE_FULL or TARN_E_QUOTA, told in the same way.
 * A task that needs more cores than its slot has borrows the slots of other workers of its session, on one NUMA node. It waits until
 * enough of them have finished what they run, which counts for its time-out and can be cancelled; those that have wait with it, and
 * take nothing else, so that it gets its turn. While it runs, it and all threads of its process may use the cores of all these
 * slots, and OMP_NUM_THREADS, OPENBLAS_NUM_THREADS and MKL_NUM_THREADS are `cores`, as is what those libraries, if they are loaded,
 * take for it. A task that it waits for may use the same cores.
 * Errors: TARN_E_NO_TASK, TARN_E_ARGUMENT, TARN_E_NO_OBJECT, TARN_E_NO_FUTURE, TARN_E_TOO_LARGE,
 * TARN_E_LIMIT (too many in flight), TARN_E_UNSATISFIABLE (tarn_needs: no slot of this session is there, there are not so many, or
 * not so many cores on any NUMA node), TARN_E_DAEMON_GONE, TARN_E_STORE_FULL, TARN_E_NOT_IN_TASK. Since 0.1. */
TARN_API int tarn_submit(tarn_client *client, tarn_task task, const tarn_arg *args, size_t count,
                         const tarn_submit_options *options, tarn_future *future);

/* Submits `count` runs of `task`, of `args_each` arguments each: those of run i are args[i * args_each] and the ones behind it. Sets
 * futures[i]. `options`, which may be NULL, hold for each, and a deadline counts from this call. As tarn_submit for each in turn, and a
 * little faster. Stops at the first error: `*done` (may be NULL) is set in any case, futures[0] to futures[*done - 1] are submitted and
 * the others are not. Errors as tarn_submit. Since 0.1. */
TARN_API int tarn_submit_batch(tarn_client *client, tarn_task task, const tarn_arg *args, size_t args_each, size_t count,
                               const tarn_submit_options *options, tarn_future *futures, size_t *done);

/* Waits until at least `want` of the `count` futures are done (succeeded or failed) or the time passes.
 * Sets done[i] to 1 or 0 for each future (`done` may be NULL) and `*done_count` (may be NULL) to how
 * many are, also when the time passed. Blocks without using the processor after a short spin. A future
 * may stand there more than once and counts each time.
 * Errors: TARN_E_TIMED_OUT, TARN_E_NO_FUTURE, TARN_E_ARGUMENT (want > count), TARN_E_DAEMON_GONE (fewer
 * than `want` are done and the rest never will be). Since 0.1. */
TARN_API int tarn_wait(tarn_client *client, const tarn_future *futures, size_t count, size_t want,
                       int64_t timeout_ns, uint8_t *done, size_t *done_count);

/* Waits for `future` and sets `*bytes` to its result, in place: valid until the future is released. A
 * result of more than 32 KiB is pinned from here until then, and cannot leave memory; there is no unpin
 * for a future. To keep it without that, make an object of it instead (tarn_future_object) and release
 * the future. `timeout_ns` is for the task, and once more for its running again if the result was dropped
 * (TARN_TASK_REPEATABLE): a result that has left memory is read from the disk, which
 * may take longer and wait for room as tarn_get does. A task whose arguments find no room in memory
 * takes up to 30 s to fail (see tarn_submit).
 * Errors: TARN_E_TIMED_OUT (of this call, never of the task); from the task TARN_E_WORKER_CRASHED, TARN_E_CANCELLED,
 * TARN_E_DEADLINE, TARN_E_DEPENDENCY, TARN_E_TYPE, TARN_E_NO_TASK, TARN_E_FILE_CHANGED, and TARN_E_TASK_FAILED for everything
 * else, with the task's own code in tarn_future_error; for a result that has to come back from the disk
 * TARN_E_STORE_FULL, TARN_E_QUOTA (no room for it now: the future stays, and may be asked again),
 * TARN_E_LOST; TARN_E_DAEMON_GONE. Since 0.1. */
TARN_API int tarn_result(tarn_client *client, tarn_future future, int64_t timeout_ns, tarn_bytes *bytes);

/* tarn_result for the part `index`, from 0, of a task that has several results (tarn_call_return_parts): sets `*bytes` to that part,
 * in place, aligned to 8 bytes and valid until the future is released. What is pinned is the result as a whole, as tarn_result does.
 * Errors: those of tarn_result; TARN_E_ARGUMENT (there is no such part; tarn_last_error() says how many there are), TARN_E_TYPE (the
 * result has no parts), TARN_E_PROTOCOL (it is damaged). Since 0.1. */
TARN_API int tarn_result_part(tarn_client *client, tarn_future future, uint32_t index, int64_t timeout_ns, tarn_bytes *bytes);

/* Of a whole result that has parts, wherever it was read: by tarn_result, tarn_graph_result, tarn_call_arg of a task that was given
 * all of it, or tarn_get of an object that was made of it. Sets `*count` to how many parts there are. Whatever the bytes are, nothing is
 * read outside of them. Thread-safe, does not block. Errors: TARN_E_TYPE (it has no parts), TARN_E_PROTOCOL (it is damaged). Since 0.1. */
TARN_API int tarn_part_count(tarn_bytes result, size_t *count);

/* The same for one of them: sets `*part` to the part `index`, in place, valid for as long as `result` is. Errors as
 * tarn_part_count; TARN_E_ARGUMENT (there is no such part). Since 0.1. */
TARN_API int tarn_part_read(tarn_bytes result, size_t index, tarn_bytes *part);

/* Waits for `future` and makes its result an object, with one reference, to be released with
 * tarn_release. No copy if the result is larger than 32 bytes; a smaller one is put. Does not read the
 * result, and pins nothing. Errors: those of tarn_result that come from the task, TARN_E_TIMED_OUT and
 * TARN_E_DAEMON_GONE; for a small result those of tarn_put. Since 0.1. */
TARN_API int tarn_future_object(tarn_client *client, tarn_future future, int64_t timeout_ns, tarn_object *object);

typedef struct tarn_task_error {
  size_t size;            /* sizeof(tarn_task_error) */
  int32_t code;           /* TARN_E_*, or the task's own negative result, whatever it is */
  int32_t signal;         /* that killed the worker, or 0 */
  int32_t exit_status;    /* of a worker that exited in the task, or 0 */
  uint32_t attempts;      /* how often the task was started */
  const char *type;       /* of the error, such as "std::runtime_error"; "" if it has none */
  const char *message;    /* the task's own words; "" if it has none */
  const char *task;       /* name of the task that failed: for TARN_E_DEPENDENCY, the first cause */
  int32_t cause;          /* for TARN_E_DEPENDENCY the code of the first cause, else as `code` */
  uint32_t padding;
  const char *output;     /* the last lines that it printed, of a task whose worker died; "" if there are none, or nobody kept
                             them (TARN_OUTPUT_RAW) */
  uint64_t reserved[2];
} tarn_task_error;

/* Fills `*error` for a future that failed; strings live until the future is released. Does not block.
 * TARN_E_STATE if it is not done or did not fail. Since 0.1. */
TARN_API int tarn_future_error(tarn_client *client, tarn_future future, tarn_task_error *error);

enum {
  TARN_CANCEL_KILL = 1u /* end the process that runs the task; another one takes its place */
};

/* Cancels the task behind `future`, which stays the caller's. A task that has not begun never does: it is done when this
 * returns, with TARN_E_CANCELLED. One that runs is told (tarn_call_cancelled) and goes on until it returns; if it then reports
 * TARN_E_CANCELLED so does tarn_result, and a result that it has all the same counts. With TARN_CANCEL_KILL in `flags` its process is ended, it has no result,
 * and it fails with TARN_E_CANCELLED as soon as that is certain: wait for the future. It is never run again, not after a crash either. Tasks that depend on it fail with
 * TARN_E_DEPENDENCY, as soon as a worker comes to them: it does so in their turn. To cancel twice does no harm. Thread-safe.
 * It waits only while tarnd does not take messages, for a minute at most (TARN_CANCEL_KILL, TARN_E_TIMED_OUT: the task is cancelled, but its process goes on).
 * WARNING: what a killed task was doing outside of Tarn is left half done.
 * Errors: TARN_E_STATE (it is done already, whatever came of it), TARN_E_NO_FUTURE, TARN_E_ARGUMENT (unknown flags),
 * TARN_E_DAEMON_GONE (with TARN_CANCEL_KILL: nobody is there to end the process). Since 0.1. */
TARN_API int tarn_cancel(tarn_client *client, tarn_future future, uint32_t flags);

/* Gives the future back; its result becomes invalid. A task that has not run yet still runs. Since 0.1. */
TARN_API int tarn_future_release(tarn_client *client, tarn_future future);

typedef void (*tarn_future_fn)(tarn_client *client, tarn_future future, void *context);

/* Has `fn` called by tarn_client_dispatch once `future` is done, also when it is done already. At most
 * one callback a future: TARN_E_STATE for a second, or if it is watched. A dispatch costs by what has finished, however many
 * futures have callbacks. The future stays the caller's. Since 0.1. */
TARN_API int tarn_future_then(tarn_client *client, tarn_future future, tarn_future_fn fn, void *context);

typedef struct tarn_watch tarn_watch; /* which of many futures are done, as they finish */

/* Watches `count` futures: tarn_watch_next tells of each once, by its position here. They stay the caller's; one that is
 * released is no longer watched. A future has one callback or one watch at a time. To be closed by tarn_watch_close. In a task it
 * is for that run only. Does not block.
 * Errors: TARN_E_NO_FUTURE, TARN_E_STATE (a future is watched or has a callback already, or stands there twice), TARN_E_NO_MEMORY:
 * nothing is watched then. Since 0.1. */
TARN_API int tarn_watch_open(tarn_client *client, const tarn_future *futures, size_t count, tarn_watch **watch);

/* Waits until at least one watched future that was not told of is done (succeeded or failed), and sets positions[0] to
 * positions[*count - 1] to those that are: at most `capacity`, in the order in which they were found done. `*count` is 0 only when
 * all were told of. Costs by what it tells, however many are watched. Blocks without using the processor after a short spin; one
 * thread at a time for each watch.
 * Errors: TARN_E_TIMED_OUT, TARN_E_ARGUMENT, TARN_E_LIMIT, in a task those of tarn_wait; TARN_E_DAEMON_GONE (none is done and the
 * rest never will be). Since 0.1. */
TARN_API int tarn_watch_next(tarn_watch *watch, int64_t timeout_ns, size_t *positions, size_t capacity, size_t *count);

/* Ends the watch; the futures stay as they are. NULL is allowed. `client` is that of the watch, or NULL if that has been closed
 * meanwhile. Does not block. Since 0.1. */
TARN_API void tarn_watch_close(tarn_client *client, tarn_watch *watch);

/* ---- Inside a task --------------------------------------------------------------------------- */

/* How many arguments the call has. Since 0.1. */
TARN_API size_t tarn_call_arg_count(const tarn_call *call);

/* Argument `index`, in place and aligned to 8 bytes; {NULL, 0} if there is none. Since 0.1. */
TARN_API tarn_bytes tarn_call_arg(const tarn_call *call, size_t index);

typedef struct tarn_arg_details { /* the object that an argument is a range of */
  size_t size;         /* sizeof(tarn_arg_details) */
  uint32_t type;       /* its tag, 0: none */
  uint32_t is_object;  /* 0: a value or the result of another task, which say nothing about themselves */
  uint64_t bytes;      /* of the whole object */
  uint64_t offset;     /* of the argument in it */
  const char *label;   /* "" if it has none */
  tarn_bytes metadata; /* {NULL, 0} if it has none */
  uint64_t reserved[4];
} tarn_arg_details;

/* Fills `*details` (whose size is set by the caller) with what the object of argument `index` says about itself, in place: valid
 * until the task returns. In the task's thread. Does not block.
 * Errors: TARN_E_ARGUMENT (there is no such argument); TARN_E_PROTOCOL (damaged by its writer). Since 0.1. */
TARN_API int tarn_call_arg_info(const tarn_call *call, size_t index, tarn_arg_details *details);

/* Sets `*object` to the object that argument `index` is a range of, as that range, with one reference of this worker, to be
 * released with tarn_release: to give it to other tasks without a copy. An argument that is a value, or the result of another
 * task, is put. In the task's thread. Blocks only for memory, as tarn_put.
 * Errors: TARN_E_ARGUMENT (there is no such argument); those of tarn_put; TARN_E_NOT_IN_TASK (see tarn_call_client). Since 0.1. */
TARN_API int tarn_call_arg_object(const tarn_call *call, size_t index, tarn_object *object);

/* The client of this worker, with which the task submits tasks of its own, waits for them, and makes objects. It is the same
 * one for all tasks of the worker; it stays, and tarn_close does nothing with it. It is for the thread that the task's function
 * was called in, and has no descriptor, callbacks or events (TARN_E_NOT_IN_TASK). NULL in a worker that cannot hold objects (docs/limits.md): calls with it are TARN_E_NOT_IN_TASK.
 *
 * What a task submits are its children, and do not outlive it: when its function has returned, what is not done of them is
 * waited for, and only then is the task done; if it failed or was cancelled, they are cancelled first. Their futures are
 * released then; use them in this task only. A child runs in any worker; what a task waits for and nobody has begun, its worker
 * runs itself, within the wait, which may so take longer than its timeout (one of 0 only looks, and leaves it to others). So a task that
 * waits always gets on, with one worker as well, and recursion may be some 10 000 tasks deep.
 * A wait of a task that is cancelled, or whose time is over, ends with TARN_E_CANCELLED or TARN_E_DEADLINE.
 * When the worker dies, its children end with it, and the task is run again from its start, as after any crash; a child
 * that crashes may so take those with it that wait for it in the same process, which counts as one of their attempts, too.
 * Does not block. Since 0.1. */
TARN_API tarn_client *tarn_call_client(const tarn_call *call);

/* The context given to tarn_task_define_typed. Since 0.1. */
TARN_API void *tarn_call_context(const tarn_call *call);

/* Which attempt at this task this is, from 1. Since 0.1. */
TARN_API uint32_t tarn_call_attempt(const tarn_call *call);

/* Returns 1 if nobody wants the result any more: the task was cancelled, or its time is over. It should then return soon, with
 * TARN_E_CANCELLED or whatever it has. Costs a load; call it as often as you like, from any thread of the task. Since 0.1. */
TARN_API int tarn_call_cancelled(const tarn_call *call);

/* Fills `*info` with the worker this call runs in. Since 0.1. */
TARN_API int tarn_call_get_slot(const tarn_call *call, tarn_slot_info *info);

/* Sets the result to a copy of `size` bytes. The last of the tarn_call_return* calls counts. A task that
 * sets no result has one of 0 bytes. Errors: TARN_E_STORE_FULL, TARN_E_TOO_LARGE. Since 0.1. */
TARN_API int tarn_call_return(tarn_call *call, const void *data, size_t size);

/* Sets the result to `size` bytes that the task fills in place before it returns: no copy if it is
 * larger than 32 bytes. Aligned to 64 bytes then, to 8 otherwise. Errors as above. Since 0.1. */
TARN_API int tarn_call_return_buffer(tarn_call *call, size_t size, void **data);

/* Several results: sets the result to a copy of `count` parts (0 to 65 535, of any sizes), which can be read one by one
 * (tarn_result_part) and given to other tasks one by one (tarn_arg_part), as they lie there. They are one result all the same: made at
 * once, held and released together. Each is aligned to 64 bytes; to 8 if they lie in the task's record, which up to three do that
 * fit into 24 bytes, each rounded up to 8. To those who ask for the result as a whole (tarn_result) it is its bytes with a table before them:
 * see tarn_part_count. `parts` may be NULL if `count` is 0. Errors: those of tarn_call_return; TARN_E_ARGUMENT (a part that is NULL and not empty).
 * Since 0.1. */
TARN_API int tarn_call_return_parts(tarn_call *call, const tarn_bytes *parts, size_t count);

/* The same for parts of `sizes` bytes each that the task fills in place before it returns: sets data[0] to data[count - 1]. No copy, unless
 * they lie in the record (as above). Errors: those of tarn_call_return. Since 0.1. */
TARN_API int tarn_call_return_parts_buffer(tarn_call *call, const size_t *sizes, size_t count, void **data);

/* Describes the error with which the task is about to return: `type` (such as the exception's, may be
 * NULL) and a message (printf, cut at 4 096 bytes). Returns `code`, so that a task can end with
 * `return tarn_call_fail(...)`. `code` is negative; 0 or more is replaced by TARN_E_TASK_FAILED. Since 0.1. */
TARN_API int tarn_call_fail(tarn_call *call, int code, const char *type, const char *format, ...) TARN_PRINTF(4, 5);

/* ---- Objects --------------------------------------------------------------------------------- */

/* Copies `size` bytes into a new object, with one reference for the caller. Aligned to 64 bytes.
 * Errors: TARN_E_STORE_FULL, TARN_E_TOO_LARGE, TARN_E_LIMIT, TARN_E_DAEMON_GONE, TARN_E_NOT_IN_TASK. Since 0.1. */
TARN_API int tarn_put(tarn_client *client, const void *data, size_t size, tarn_object *object);

/* Makes an object of `size` bytes (0 is allowed) that only the caller can see and write, at `*data`,
 * until tarn_object_seal. The pointer pins the object as one of tarn_get does: it can be read after the
 * seal, until tarn_object_unpin. Errors as tarn_put. Since 0.1. */
TARN_API int tarn_object_create(tarn_client *client, size_t size, tarn_object *object, void **data);

/* Makes the object readable by all and writable by nobody: `data` must not be written from now on.
 * Does not block, whatever the size. An object of more than 32 KiB of which the maker does not need the
 * pointer any more should be unpinned (tarn_object_unpin), so that it can leave memory when that is full. TARN_E_STATE if it is sealed already. Since 0.1. */
TARN_API int tarn_object_seal(tarn_client *client, tarn_object object);

enum {
  TARN_FILE_MAP = 0u, /* map it: no copy, nothing read ahead of need. The bytes change if someone writes
                         the file; if it shrinks, a task that reads beyond the end fails with
                         TARN_E_FILE_CHANGED, and so do later calls with the object. */
  TARN_FILE_COPY = 1u /* copy it into the store: immutable from then on, as a put */
};

/* Makes an object of the regular file at `path`, with one reference. An empty file is an object of 0
 * bytes. Errors: TARN_E_FILE (no such file, a directory, not regular, too large), TARN_E_DENIED, and
 * those of tarn_put. Since 0.1. */
TARN_API int tarn_object_from_file(tarn_client *client, const char *path, uint32_t flags, tarn_object *object);

/* Sets `*slice` to `size` bytes of `object` from `offset`, with a reference of its own. No copy.
 * TARN_E_ARGUMENT if the range does not lie inside `object`. Since 0.1. */
TARN_API int tarn_object_slice(tarn_client *client, tarn_object object, uint64_t offset, uint64_t size,
                               tarn_object *slice);

/* Sets `*bytes` to the object's bytes, in place and read-only: valid while the caller keeps a reference
 * and has not unpinned it. The object stays in memory until then. Blocks only if it has left memory: it
 * comes back from disk, or the task runs again that made it (TARN_TASK_REPEATABLE), when a worker is free. WARNING: a pointer that is used for longer reads what lies there by then, without
 * a signal or an error: see tarn_object_unpin.
 * Errors: TARN_E_NO_OBJECT, TARN_E_ARGUMENT (the handle's range does not lie inside the object), TARN_E_STATE (not sealed),
 * TARN_E_FILE_CHANGED; for an object that has to come back, also TARN_E_STORE_FULL, TARN_E_QUOTA (no room for it), TARN_E_LOST, TARN_E_DAEMON_GONE. Since 0.1. */
TARN_API int tarn_get(tarn_client *client, tarn_object object, tarn_bytes *bytes);

/* Says that one pointer that tarn_get or tarn_object_create gave this process is not used any more. When
 * all are given back, the object may leave memory for a disk while memory is short; its reference
 * remains, and the next tarn_get brings it back, to the same place. The last tarn_release of this process
 * gives all back as well. Objects of up to 32 KiB and mapped files never leave, and this does nothing.
 * WARNING: the pointer is invalid from now on, and nothing says so. A read through it gives the bytes
 * while the object happens to be in memory, zeros once it has left, and after the last release those of
 * other objects: silently, without a signal.
 * An object that is not sealed may be unpinned, too: it does not leave memory before the seal, and can be
 * written through its pointer until then; from the seal on it is as any other that nobody has pinned.
 * Does not block. Errors: TARN_E_NO_OBJECT, TARN_E_STATE (more often than it was got). Since 0.1. */
TARN_API int tarn_object_unpin(tarn_client *client, tarn_object object);

/* Takes one more reference. Since 0.1. */
TARN_API int tarn_object_ref(tarn_client *client, tarn_object object);

/* Gives one reference back; the object is freed with its last one, anywhere. An unsealed object is
 * dropped. Since 0.1. */
TARN_API int tarn_release(tarn_client *client, tarn_object object);

enum {
  TARN_NODE_NONE = -1, /* none is known: a mapped file, or nothing */
  TARN_NODE_ALL = -2   /* interleaved over all nodes: TARN_PLACE_INTERLEAVE */
};

typedef struct tarn_object_details {
  size_t size;         /* sizeof(tarn_object_details) */
  uint64_t bytes;      /* of the whole object */
  uint32_t is_sealed;
  uint32_t is_file;    /* mapped from a file */
  int32_t node;        /* NUMA node of its memory, or TARN_NODE_* */
  uint32_t owner;      /* member of the session whose memory it lies in */
  uint32_t references; /* of this process */
  uint32_t holders;    /* processes that hold it */
  uint32_t type;       /* its tag, 0: none */
  uint32_t meta_bytes; /* what its label and metadata take; 0: it has neither */
  uint32_t pins;       /* pointers to it that this process has not given back; 65535: that many or more */
  uint32_t is_on_disk; /* its bytes are not in memory now, but on a disk */
  uint32_t is_dropped; /* its bytes are nowhere now: who reads it has the task run again that made it (TARN_TASK_REPEATABLE) */
  uint32_t reserved2;
  uint64_t reserved[1];
} tarn_object_details;

/* Fills `*details`. Since 0.1. */
TARN_API int tarn_object_info(tarn_client *client, tarn_object object, tarn_object_details *details);

/* ---- What objects say about themselves -------------------------------------------------------- */

/* Tags of objects. Those below TARN_TYPE_USER are Tarn's, the others are for programs to choose. */
enum tarn_type {
  TARN_TYPE_NONE = 0,        /* nothing is said */
  TARN_TYPE_BYTES = 1,       /* bytes without a meaning of their own */
  TARN_TYPE_STRING = 2,      /* text in UTF-8, without a NUL at its end */
  TARN_TYPE_ARRAY = 3,       /* an array, described by its metadata: see tarn_array_describe */
  TARN_TYPE_USER = 0x10000   /* the first one for programs */
};

/* On which NUMA nodes the memory of a new object lies. It stays there, also when it comes back from a disk. */
enum tarn_placement {
  TARN_PLACE_NEAR = 0,      /* that of the core on which the caller runs when the process gets the memory; another one if it is full */
  TARN_PLACE_INTERLEAVE = 1 /* page by page on all that tarnd may use: for what workers on all nodes read, so that they share
                               the bandwidth of all. Without effect on objects of up to 32 KiB, and on a host with one node;
                               tarn_object_info tells. Such objects get slabs of their own, of 2 MiB or more */
};

/* What to say about a new object. Zero means nothing, everywhere. Since 0.1. */
typedef struct tarn_object_options {
  size_t size;            /* sizeof(tarn_object_options) */
  uint32_t type;          /* enum tarn_type, or a tag of the program's own */
  uint32_t placement;     /* enum tarn_placement */
  const char *label;      /* for people and tools: at most 63 bytes and a NUL; NULL or "": none */
  const void *metadata;   /* bytes that go with the object; NULL: none */
  size_t metadata_size;   /* at most 4096 */
  uint64_t reserved2[3];  /* zero */
} tarn_object_options;

/* tarn_put with a type, a label and metadata, which are copied and never change, as the bytes. A slice has those of its
 * object. `options` may be NULL. Thread-safe; blocks as tarn_put does.
 * Errors: those of tarn_put; TARN_E_ARGUMENT for a tag below TARN_TYPE_USER that is not Tarn's, an unknown placement, a label that is too long, or
 * TARN_TYPE_ARRAY with metadata that describes no array of `size` bytes; TARN_E_TOO_LARGE for more metadata. Since 0.1. */
TARN_API int tarn_put_with(tarn_client *client, const void *data, size_t size, const tarn_object_options *options,
                           tarn_object *object);

/* tarn_object_create with a type, a label and metadata: they are fixed now, the bytes with tarn_object_seal. `options` may be
 * NULL. Thread-safe; blocks as tarn_put does. Errors as tarn_put_with. Since 0.1. */
TARN_API int tarn_object_create_with(tarn_client *client, size_t size, const tarn_object_options *options,
                                     tarn_object *object, void **data);

/* Sets `*metadata` to the object's metadata, in place, read-only and aligned to 8 bytes: valid while the caller keeps a
 * reference and has not unpinned it: pins, and blocks, as tarn_get does. {NULL, 0} if it has none. Thread-safe.
 * Errors: those of tarn_get (not sealed: TARN_E_STATE); TARN_E_PROTOCOL if they were damaged by their writer. Since 0.1. */
TARN_API int tarn_object_get_metadata(tarn_client *client, tarn_object object, tarn_bytes *metadata);

/* Sets `*label` to the object's label, in place: pins, and is valid, as what tarn_object_get_metadata gives. "" if it has none. Thread-safe.
 * Errors as tarn_object_get_metadata. Since 0.1. */
TARN_API int tarn_object_get_label(tarn_client *client, tarn_object object, const char **label);

/* tarn_get for an object that must have the tag `type`: another one, or none, is TARN_E_TYPE, and tarn_last_error() names
 * both. Thread-safe, blocks as tarn_get does. TARN_E_ARGUMENT if `type` is 0; other errors as tarn_get. Since 0.1. */
TARN_API int tarn_get_typed(tarn_client *client, tarn_object object, uint32_t type, tarn_bytes *bytes);

/* ---- Finding, awaiting and dropping objects --------------------------------------------------- */

/* Returns 1 if this process holds the object and the range lies inside it, so that it can be used; 0 if it was released, never
 * was, or belongs to another session. An unsealed object exists. Another thread may release it at any time. Thread-safe, does
 * not block. Negative: TARN_E_NOT_INITIALISED, TARN_E_FORKED. Since 0.1. */
TARN_API int tarn_object_exists(tarn_client *client, tarn_object object);

/* Lists the objects that this process holds, to see what it forgot to release: each once, as a whole and without a reference
 * for the caller, in no particular order. Sets the first `capacity` elements of `objects`, and of `details` unless that is
 * NULL; details[0].size is set to sizeof(tarn_object_details) by the caller. `*count` is how many objects there are, which may
 * be more than `capacity`; with a capacity of 0 both arrays may be NULL. Objects that another thread makes at the same time
 * with tarn_object_create or tarn_object_from_file are listed unsealed: they are not the caller's to drop. Thread-safe; other
 * threads wait meanwhile, some milliseconds for a million objects.
 * Errors: TARN_E_ARGUMENT. Since 0.1. */
TARN_API int tarn_object_list(tarn_client *client, tarn_object *objects, tarn_object_details *details, size_t capacity,
                              size_t *count);

/* Waits until another thread of this process has sealed the object; returns at once if it is sealed. Sleeps meanwhile.
 * Thread-safe. Errors: TARN_E_TIMED_OUT; TARN_E_NO_OBJECT, also if it is dropped while this waits; TARN_E_ARGUMENT (timeout
 * below -1). Since 0.1. */
TARN_API int tarn_object_wait(tarn_client *client, tarn_object object, int64_t timeout_ns);

/* Drops an object that is not sealed, with all references of this process to it; its memory must not be used any more.
 * Thread-safe, does not block. Errors: TARN_E_STATE if it is sealed (release it) or the argument of a task; TARN_E_NO_OBJECT.
 * Since 0.1. */
TARN_API int tarn_object_abort(tarn_client *client, tarn_object object);

/* Puts `count` pieces of data, each into an object of its own, in their order. `options`, which may be NULL, holds for each.
 * Stops at the first error: `*done` is set in any case, objects[0] to objects[*done - 1] are there, each with one reference for
 * the caller, and of the others nothing is. Thread-safe; blocks as tarn_put does. Errors as tarn_put_with. Since 0.1. */
TARN_API int tarn_put_many(tarn_client *client, const tarn_bytes *data, size_t count, const tarn_object_options *options,
                           tarn_object *objects, size_t *done);

/* tarn_get for `count` objects, in their order. Stops at the first error: `*done` is set in any case, bytes[0] to
 * bytes[*done - 1] are set. Thread-safe; blocks as tarn_get does. Errors as tarn_get. Since 0.1. */
TARN_API int tarn_get_many(tarn_client *client, const tarn_object *objects, size_t count, tarn_bytes *bytes, size_t *done);

/* tarn_release for `count` objects, in their order. Stops at the first error: `*done` is set in any case, objects[0] to
 * objects[*done - 1] are released and the others are not. Thread-safe, does not block. Errors as tarn_release. Since 0.1. */
TARN_API int tarn_release_many(tarn_client *client, const tarn_object *objects, size_t count, size_t *done);

/* ---- Events ------------------------------------------------------------------------------------ */

/* What a client can be told of; a mask is a sum of them. */
enum tarn_event_kind {
  TARN_EVENT_SEALED = 1,   /* an object was sealed by this process: by tarn_object_seal, or made sealed by any other call */
  TARN_EVENT_FREED = 2,    /* an object that this process had made was freed, whoever was the last to hold it, or was dropped
                              unsealed; it comes when this process learns of it. Not of results of tasks: workers make those. */
  TARN_EVENT_SPILLED = 4,  /* the bytes of an object that this process holds have left memory: for a disk, or dropped, for a task
                              can make them again (tarn_object_info tells) */
  TARN_EVENT_RESTORED = 8, /* they are back */
  TARN_EVENT_PRESSURE = 16 /* memory is short: a request for memory of this session (of the client or its workers) waits for
                              room, or was refused with TARN_E_STORE_FULL or TARN_E_QUOTA; or (`is_over`) for 0.2 s none
                              waited or was refused any more. That is no promise for the next request. */
};

typedef struct tarn_event {
  size_t size;          /* sizeof(tarn_event) as the library knows it */
  uint32_t kind;        /* enum tarn_event_kind, one of them */
  uint32_t is_over;     /* PRESSURE: 0 when it begins, 1 when it is over; else 0 */
  tarn_object object;   /* which one, as a whole and without a reference for the callback; PRESSURE: all zero. Of FREED it only
                           says which one it was */
  uint64_t bytes;       /* of the object; PRESSURE: that the request lacked when it began */
  uint64_t lost;        /* so many events of any kind came before this one, and after the last that was told, and were dropped */
  uint64_t reserved[4]; /* zero */
} tarn_event;

/* `event` is valid until the callback returns. Every function of this header may be called in it but tarn_close. */
typedef void (*tarn_event_fn)(tarn_client *client, const tarn_event *event, void *context);

/* Has `fn` called with `context` for each event whose kind is in `mask`, by tarn_client_dispatch in the thread that calls that;
 * tarn_client_fd is readable while there are any. There is one callback for each client, which this replaces: events that wait
 * and are in the new mask go to the new one. Mask 0 or `fn` NULL: none any more, and what waits is dropped. If another thread
 * dispatches at the same time, the former callback may still be running when this returns. `context` stays the caller's.
 *
 * Each event is told at most once. Those of this process (SEALED, FREED) come in the order in which they happened, and so do
 * those that the daemon tells (SPILLED, RESTORED, PRESSURE); one order of both there is not. An object that the program has
 * released by the time of the dispatch is not told of as SPILLED or RESTORED. Events of what happened before this call are not
 * told, but a request that waits for memory already begins a shortage if PRESSURE was not in the mask before.
 *
 * Who does not dispatch loses events, and holds up nobody: this process keeps the newest 1024 of them, the daemon what fits a
 * quarter of the socket and the newest one; `lost` counts the others, and a shortage that is over by the time it could be told
 * is not told. The newest PRESSURE event is never among the lost. After a loss tarn_object_exists and tarn_object_info tell
 * what is so.
 *
 * Without a callback none of this costs anything: the daemon sends events only to those who asked for them. With one, a seal
 * or release takes a lock more, and a system call if no event was waiting yet. Thread-safe, does not block.
 * Errors: TARN_E_ARGUMENT (unknown bits in `mask`): the callback from before stays. TARN_E_NO_MEMORY, TARN_E_DAEMON_GONE if
 * tarnd is found to have left, whatever is in the mask: then there is no callback. Without a callback this succeeds also when
 * tarnd has left. Since 0.1. */
TARN_API int tarn_client_on_event(tarn_client *client, uint32_t mask, tarn_event_fn fn, void *context);

/* ---- Arrays ----------------------------------------------------------------------------------- */

/* Types of elements. The numbers are those of the metadata, docs/formats/arrays.md. */
enum tarn_dtype {
  TARN_DTYPE_BOOL = 1, /* one byte, 0 or 1 */
  TARN_DTYPE_INT8 = 2,
  TARN_DTYPE_INT16 = 3,
  TARN_DTYPE_INT32 = 4,
  TARN_DTYPE_INT64 = 5,
  TARN_DTYPE_UINT8 = 6,
  TARN_DTYPE_UINT16 = 7,
  TARN_DTYPE_UINT32 = 8,
  TARN_DTYPE_UINT64 = 9,
  TARN_DTYPE_FLOAT16 = 10,
  TARN_DTYPE_FLOAT32 = 11,
  TARN_DTYPE_FLOAT64 = 12,
  TARN_DTYPE_COMPLEX64 = 13, /* two float32, the real part first */
  TARN_DTYPE_COMPLEX128 = 14 /* two float64 */
};

enum {
  TARN_ORDER_C = 0u,       /* the last index runs fastest */
  TARN_ORDER_FORTRAN = 1u, /* the first index runs fastest */
  TARN_ARRAY_DIMENSIONS_MAX = 32
};

/* Where the elements of an array lie in an object: that with the indices i, j, ... begins at
 * offset + i * strides[0] + j * strides[1] + ... bytes. Without dimensions there is one element. Since 0.1. */
typedef struct tarn_array_layout {
  size_t size;         /* sizeof(tarn_array_layout) */
  uint32_t dtype;      /* enum tarn_dtype */
  uint32_t ndim;       /* dimensions, at most 32 */
  uint64_t offset;     /* bytes from the start of the object */
  uint64_t shape[32];  /* elements along each dimension; 0: the array is empty */
  int64_t strides[32]; /* bytes from one element to the next along each, of any sign */
  uint64_t reserved[4];
} tarn_array_layout;

/* Returns the bytes of one element, 0 if there is no such type. Thread-safe, does not block. Since 0.1. */
TARN_API size_t tarn_dtype_size(uint32_t dtype);

/* Fills `*layout`, whose size is set by the caller, for an array without gaps in `order` (TARN_ORDER_*), and sets `*bytes`
 * to how many it takes. `shape` has `ndim` numbers and may be NULL if that is 0. Thread-safe, does not block.
 * Errors: TARN_E_ARGUMENT (no such dtype or order, more than 32 dimensions); TARN_E_TOO_LARGE. Since 0.1. */
TARN_API int tarn_array_contiguous(uint32_t dtype, uint32_t ndim, const uint64_t *shape, uint32_t order,
                                   tarn_array_layout *layout, uint64_t *bytes);

/* The most bytes of metadata that an array needs: 16, and 16 for each dimension. */
#define TARN_ARRAY_METADATA_MAX 528

/* Writes the metadata of an array that lies in an object of `bytes` bytes to `metadata`, which has room for `capacity` bytes,
 * and sets `*metadata_size`. Goes with the tag TARN_TYPE_ARRAY. Thread-safe, does not block.
 * Errors: TARN_E_ARGUMENT (an element lies outside the object, no such dtype, too many dimensions, no room). Since 0.1. */
TARN_API int tarn_array_describe(const tarn_array_layout *layout, uint64_t bytes, void *metadata, size_t capacity,
                                 size_t *metadata_size);

/* Reads the metadata of an array in an object of `bytes` bytes, the whole of it and not of a slice, into `*layout`, whose size
 * is set by the caller. What comes out is safe to use whoever wrote it: every element lies inside the object, and all of them
 * together have fewer than 2^63 bytes. Elements may lie where their type is not aligned. Thread-safe, does not block.
 * Errors: TARN_E_TYPE (it describes no array of so many bytes); TARN_E_ARGUMENT. Since 0.1. */
TARN_API int tarn_array_read(tarn_bytes metadata, uint64_t bytes, tarn_array_layout *layout);

/* ---- Building arguments ---------------------------------------------------------------------- */

static inline tarn_arg tarn_arg_value(const void *data, size_t size)
{
  tarn_arg arg;
  arg.kind = TARN_ARG_VALUE;
  arg.part = 0;
  arg.u.value.data = data;
  arg.u.value.size = size;
  return arg;
}

static inline tarn_arg tarn_arg_object(tarn_object object)
{
  tarn_arg arg;
  arg.kind = TARN_ARG_OBJECT;
  arg.part = 0;
  arg.u.object = object;
  return arg;
}

static inline tarn_arg tarn_arg_future(tarn_future future)
{
  tarn_arg arg;
  arg.kind = TARN_ARG_FUTURE;
  arg.part = 0;
  arg.u.future = future;
  return arg;
}

/* The part `index` of several results (tarn_call_return_parts): the task runs after `future`, and has the bytes of that part, in
 * place. Without waiting, and whether or not there is such a part: if there is none, the task that it is given to fails
 * (TARN_E_TASK_FAILED, in tarn_future_error TARN_E_ARGUMENT; TARN_E_TYPE if that result has no parts at all). Since 0.1. */
static inline tarn_arg tarn_arg_part(tarn_future future, uint32_t index)
{
  tarn_arg arg = tarn_arg_future(future);
  arg.part = index < UINT32_MAX ? index + 1 : UINT32_MAX;
  return arg;
}

#ifdef __cplusplus
}
#endif

#include <tarn/graph.h>
#include <tarn/stream.h>

#endif /* TARN_TARN_H */
