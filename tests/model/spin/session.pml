/* Session: client, tarnd, spawn service and workers, any of which may be killed at any step.
 *
 * After daemon/session_worker.cpp (lanes, indices, orders to recover), daemon/spawn/service.cpp and
 * clients/c/session.cpp. A task is a word in shared memory that workers claim; what happens inside a
 * claim and a recovery is the explorer's (../task_models.hpp), here they are one step each.
 *
 * Processes: Client submits two tasks, waits for both, or closes the session at any moment. Tarnd
 * handles one message at a time. Spawn starts and reaps. Worker says HELLO, recovers whom it is told
 * to, says READY and serves. Killer sends SIGKILL, CRASHES times, to whom and when it likes.
 *
 * Proved: no index is given to a new worker while a task still bears it (assert in start_worker); an
 * order to recover is only about somebody who is dead (assert in Worker); when nobody can move, nothing
 * is left to do (Monitor): the client has its answers, or knows that the daemon is gone; every lane has
 * a worker that serves; every dead one was settled; after the end of client, tarnd or session no
 * process is left; tarn_close returns only when no worker runs any more, unless tarnd died (assert in
 * Client). And by LTL, with weak fairness: who waits does not wait for ever.
 *
 * Left out: slabs, growth, back-off, versions, sockets that are full.
 *
 * MUTATION, if defined, breaks one of the rules: run.py expects each of them to be found.
 */
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef LANES
#define LANES 1
#endif
#ifndef CLIENT_MAY_DIE
#define CLIENT_MAY_DIE 1
#endif
#ifndef TARND_MAY_DIE
#define TARND_MAY_DIE 1
#endif
#ifndef MAY_CLOSE
#define MAY_CLOSE 1
#endif
#ifndef MUTATION
#define MUTATION 0
#endif
#define REUSE_BEFORE_RECOVERY 1
#define ORDER_GIVEN_ONCE 2
#define READY_BEFORE_RECOVERY_COUNTS 3
#define REPLACE_WHILE_ENDING 4
#define CLOSE_BEFORE_REAPED 5

#define INDICES 3
#define TASKS 2
#define NOBODY 255

mtype = { HELLO, READY, RECOVERED, EXITED, GOODBYE, GONE, SPAWN, KILL };
mtype = { kFree, kStarting, kAdmitted, kServing, kDead };
mtype = { kNone, kReady, kRunning, kDone };

/* Shared memory. */
mtype task[TASKS] = kNone;
byte runner[TASKS] = NOBODY;

/* The kernel: who lives, and sockets. */
bool alive[INDICES], killed[INDICES];
bool client_dead, tarnd_dead, kill_tarnd, kill_client;
bool client_eof;             /* tarnd has closed the client's socket */
chan to_tarnd = [8] of { mtype, byte, byte, byte };  /* what, index, incarnation, about whom */
chan to_spawn = [8] of { mtype, byte, byte };
chan exits = [4] of { byte, byte };
chan welcome[INDICES] = [1] of { byte };
byte crashes = CRASHES;

/* tarnd's own. */
mtype phase[INDICES] = kFree;
byte incarnation[INDICES], settled_by[INDICES], lane_of[INDICES];
byte incarnations;
bool ending;

/* The client's own. */
bool waiting, closing, closed, gone;

inline start_worker(lane) {
  i = 0;
  do
  :: i < INDICES && phase[i] != kFree -> i++
  :: else -> break
  od;
  if
  :: i < INDICES ->
    assert(!alive[i]);
    assert(!(task[0] == kRunning && runner[0] == i) && !(task[1] == kRunning && runner[1] == i));
    phase[i] = kStarting;
    incarnations++;
    incarnation[i] = incarnations;
    lane_of[i] = lane;
    settled_by[i] = NOBODY;
    to_spawn!SPAWN(i, incarnation[i])
  :: else -> assert(false)  /* INDICES is chosen so that there is always one */
  fi
}

inline end_session() {
  if
  :: !ending ->
    ending = true;
    i = 0;
    do
    :: i < INDICES ->
      if
      :: phase[i] == kStarting || phase[i] == kAdmitted || phase[i] == kServing -> to_spawn!KILL(i, incarnation[i])
      :: else
      fi;
      i++
    :: else -> break
    od
  :: else
  fi
}

inline handle_exit(who) {
  i = 0;
  do
  :: i < INDICES ->
    if
    :: settled_by[i] == who && MUTATION != ORDER_GIVEN_ONCE -> settled_by[i] = NOBODY
    :: else
    fi;
    i++
  :: else -> break
  od;
  if
  :: phase[who] == kStarting -> phase[who] = kFree  /* it was never let in, so nothing bears its index */
  :: else -> phase[who] = (MUTATION == REUSE_BEFORE_RECOVERY -> kFree : kDead)
  fi;
  if
  :: !ending || MUTATION == REPLACE_WHILE_ENDING -> start_worker(lane_of[who])
  :: else
  fi
}

proctype Worker(byte me; byte my) {
  byte orders, d, t;
  {
    to_tarnd!HELLO(me, my, 0);
    welcome[me]?orders;
    if
    :: MUTATION == READY_BEFORE_RECOVERY_COUNTS -> to_tarnd!RECOVERED(me, my, 0); to_tarnd!RECOVERED(me, my, 1);
       to_tarnd!RECOVERED(me, my, 2)
    :: else
    fi;
    d = 0;
    do
    :: d < INDICES && (orders >> d & 1) ->
      t = 0;
      do
      :: t < TASKS ->
        atomic {
          assert(!alive[d]);
          if
          :: task[t] == kRunning && runner[t] == d -> task[t] = kReady; runner[t] = NOBODY
          :: else
          fi
        };
        t++
      :: else -> break
      od;
      to_tarnd!RECOVERED(me, my, d);
      d++
    :: d < INDICES && !(orders >> d & 1) -> d++
    :: d == INDICES -> break
    od;
    to_tarnd!READY(me, my, 0);
end_serving:
    do
    :: atomic { task[0] == kReady -> task[0] = kRunning; runner[0] = me }; task[0] = kDone
    :: atomic { task[1] == kReady -> task[1] = kRunning; runner[1] = me }; task[1] = kDone
    od
  } unless { killed[me] };
  atomic { alive[me] = false; exits!me, my }
}

proctype Spawn() {
  byte i, n;
end_serving:
  do
  :: atomic { to_spawn?SPAWN(i, n) -> killed[i] = false; alive[i] = true; run Worker(i, n) }
  :: atomic { to_spawn?KILL(i, n) -> if :: alive[i] && incarnation[i] == n -> killed[i] = true :: else fi }
  :: atomic { exits?i, n -> if :: !tarnd_dead -> to_tarnd!EXITED(i, n, 0) :: else fi }
  :: tarnd_dead && empty(to_spawn) -> break
  od;
  /* Everything that it started for this tarnd. */
  atomic {
    i = 0;
    do
    :: i < INDICES -> if :: alive[i] -> killed[i] = true :: else fi; i++
    :: else -> break
    od
  };
end_reaping:
  do
  :: exits?i, n
  od
}

active proctype Tarnd() {
  byte i, who, n, about, orders;
  run Spawn();
  {
    atomic {
      start_worker(0);
      if
      :: LANES > 1 -> start_worker(1)
      :: else
      fi
    };
end_loop:
    do
    :: atomic { to_tarnd?HELLO(who, n, about) ->
        if
        :: incarnation[who] == n && phase[who] == kStarting && !ending ->
          phase[who] = kAdmitted;
          orders = 0;
          i = 0;
          do
          :: i < INDICES ->
            if
            :: phase[i] == kDead && settled_by[i] == NOBODY -> settled_by[i] = who; orders = orders | (1 << i)
            :: else
            fi;
            i++
          :: else -> break
          od;
          /* It may have died meanwhile, with a letter in its socket. */
          if :: nempty(welcome[who]) -> welcome[who]?_ :: empty(welcome[who]) fi;
          welcome[who]!orders
        :: else
        fi;
        orders = 0; i = 0; who = 0; n = 0; about = 0 }
    :: atomic { to_tarnd?RECOVERED(who, n, about) ->
        if
        :: incarnation[who] == n && phase[who] == kAdmitted && phase[about] == kDead && settled_by[about] == who ->
          settled_by[about] = NOBODY;
          phase[about] = kFree
        :: else
        fi;
        i = 0; who = 0; n = 0; about = 0 }
    :: atomic { to_tarnd?READY(who, n, about) ->
        if :: incarnation[who] == n && phase[who] == kAdmitted -> phase[who] = kServing :: else fi;
        who = 0; n = 0; about = 0 }
    :: atomic { to_tarnd?EXITED(who, n, about) ->
        assert(incarnation[who] == n);
        if :: nempty(welcome[who]) -> welcome[who]?_ :: empty(welcome[who]) fi;
        handle_exit(who);
        i = 0; who = 0; n = 0; about = 0 }
    :: atomic { to_tarnd?GOODBYE(who, n, about) -> end_session(); i = 0; who = 0; n = 0; about = 0 }
    :: atomic { client_dead && !ending -> end_session(); i = 0 }
    :: atomic { ending && (MUTATION == CLOSE_BEFORE_REAPED ||
          ((phase[0] == kFree || phase[0] == kDead) && (phase[1] == kFree || phase[1] == kDead) &&
           (phase[2] == kFree || phase[2] == kDead))) -> client_eof = true; break }
    od
  } unless { kill_tarnd };
  atomic { tarnd_dead = true; client_eof = true }
}

active proctype Client() {
  {
    task[0] = kReady;
    task[1] = kReady;
    waiting = true;
    if
    :: task[0] == kDone && task[1] == kDone
    :: client_eof -> gone = true
    :: MAY_CLOSE -> skip
    fi;
    waiting = false;
    if
    :: MAY_CLOSE && !gone ->
      closing = true;
      if
      :: !tarnd_dead -> to_tarnd!GOODBYE(0, 0, 0)
      :: else
      fi;
      client_eof;
      assert(kill_tarnd || (!alive[0] && !alive[1] && !alive[2]));
      closing = false;
      closed = true
    :: skip  /* or it stays */
    fi
  } unless { kill_client };
  if
  :: kill_client -> client_dead = true
  :: else
  fi
}

active proctype Killer() {
  do
  :: atomic { crashes > 0 && alive[0] && !killed[0] -> killed[0] = true; crashes-- }
  :: atomic { crashes > 0 && alive[1] && !killed[1] -> killed[1] = true; crashes-- }
  :: atomic { crashes > 0 && alive[2] && !killed[2] -> killed[2] = true; crashes-- }
  :: atomic { crashes > 0 && CLIENT_MAY_DIE && !kill_client && !closed -> kill_client = true; crashes-- }
  :: atomic { crashes > 0 && TARND_MAY_DIE && !kill_tarnd && !tarnd_dead -> kill_tarnd = true; crashes-- }
  :: break
  od
}

/* timeout: nobody else can move. */
active proctype Monitor() {
  timeout;
  assert(!waiting || client_dead);
  assert(!closing || client_dead);
  if
  :: client_dead || closed || tarnd_dead -> assert(!alive[0] && !alive[1] && !alive[2])
  :: else ->
    assert(phase[0] == kFree || phase[0] == kServing);
    assert(phase[1] == kFree || phase[1] == kServing);
    assert(phase[2] == kFree || phase[2] == kServing);
    assert((phase[0] == kServing) + (phase[1] == kServing) + (phase[2] == kServing) == LANES)
  fi
}

ltl answered { [] ((waiting || closing) -> <> ((!waiting && !closing) || client_dead)) }
