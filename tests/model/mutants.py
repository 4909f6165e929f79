#!/usr/bin/env python3
"""Breaks the shared protocols on purpose, one rule at a time, and expects a model to find each. Prints TAP.

    mutants.py --library libmodel_explorer.a [--only WORD] COMPILER [ARGUMENT...]

A mutant is the production header with one passage replaced. When that passage is not there any more, the protocol has
changed: look whether the rule that it stood for still exists, and change the table with it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Mutant:
    what: str
    header: str
    old: str
    new: str
    models: str
    call: str


DOORBELL = ("shm/doorbell.hpp", "shm_models.hpp")
RING = ("shm/hint_ring.hpp", "shm_models.hpp")
SHARED_RING = ("shm/hint_ring.hpp", "scheduling_models.hpp")
RESOURCES = ("shm/resources.hpp", "scheduling_models.hpp")
SCHEDULING = ("shm/scheduling_class.hpp", "scheduling_models.hpp")
WAITERS = ("shm/waiters.hpp", "shm_models.hpp")
SEAT = ("shm/seat.hpp", "seat_models.hpp")
LOAN = ("shm/loan.hpp", "loan_models.hpp")
SEAT_LENT = ("shm/seat.hpp", "loan_models.hpp")
GROUPS = ("shm/finished_groups.hpp", "shm_models.hpp")
FAN_IN = ("shm/fan_in.hpp", "shm_models.hpp")
TASK = ("task/task_protocol.hpp", "task_models.hpp")
GRAPH = ("task/graph_protocol.hpp", "graph_models.hpp")
STREAM = ("shm/stream_ring.hpp", "stream_models.hpp")
BACK_OFF = ("task/back_off.hpp", "back_off_models.hpp")
HOLDERS = ("store/holders.hpp", "store_models.hpp")
EVENTS = ("trace/event_ring.hpp", "trace_models.hpp")
PINS = ("store/pins.hpp", "pin_models.hpp")
MEMBERS = ("shm/members.hpp", "members_models.hpp")
CALLS = ("shm/call_queue.hpp", "call_queue_models.hpp")


def mutant(what: str, where: tuple[str, str], old: str, new: str, call: str) -> Mutant:
    return Mutant(what, where[0], old, new, where[1], call)


MUTANTS = [
    mutant("blocks of calls are never used again", CALLS,
           "    if (place.number != first_block()) first_.store", "    if (place.number == ~0u) first_.store",
           "calls_of_an_actor(4, 100, 0, false, false)"),
    mutant("a block of calls is given back before it is read", CALLS,
           "first_.store(pack(place.number, place.line), kRelease);", "first_.store(pack(place.number + 1, place.line), kRelease);",
           "calls_of_an_actor(4, 100, 1, false, true)"),
    mutant("the next process of an actor begins behind the call that was not settled", CALLS,
           "    return {static_cast<uint32_t>(first), static_cast<uint32_t>(first >> 32), 0};",
           "    return {static_cast<uint32_t>(first), static_cast<uint32_t>(first >> 32), 1};",
           "calls_of_an_actor(2, 100, 1, true, true)"),
    mutant("who calls does not say so", CALLS,
           "    if ((bits_.load(kAcquire) & bit) == 0) (void)bits_.fetch_or(bit);\n", "    (void)bit;\n",
           "calls_of_an_actor(2, 100, 0, false, false)"),
    mutant("who calls does not order its call before the look at the bit", ("shm/doorbell.hpp", "call_queue_models.hpp"),
           "    light_fence();\n    if (order_.load(kRelaxed) != kSleepersFence) full_fence();\n", "",
           "calls_of_an_actor(2, 100, 0, false, true)"),
    mutant("an index is given again and does not look so", MEMBERS,
           "    numbers[member].store(number, kRelease);\n", "", "index_given_again(false)"),
    mutant("an event counts before it is written", EVENTS,
           "  for (uint32_t i = 0; i < kEventWords; ++i) slot.words[i].store(event.words[i], kRelease);\n  end.store(at + 1, kRelease);\n",
           "  end.store(at + 1, kRelease);\n  for (uint32_t i = 0; i < kEventWords; ++i) slot.words[i].store(event.words[i], kRelease);\n",
           "event_ring(3, 1, false)"),
    mutant("who has copied events does not look whether they were overwritten", EVENTS,
           "uint64_t passed = end.load(kAcquire) - from;", "uint64_t passed = until - from;", "event_ring(4, 1, false)"),
    mutant("the event that is being overwritten is taken for whole", EVENTS,
           "passed - capacity + 1", "passed - capacity", "event_ring(4, 1, false)"),
    mutant("events that were overwritten are not counted", EVENTS,
           "    lost = until - from - capacity;\n", "", "event_ring(4, 2, false)"),
    mutant("a worker announces that it sleeps without a fence", DOORBELL,
           "    full_fence();\n    if (order_.load(kAcquire) != kBothFence) heavy_fence();\n", "", "doorbell(1, 1, 1, false)"),
    mutant("a worker looks who fences before it announces that it sleeps", DOORBELL,
           "    parked_[member / 64].fetch_or(uint64_t{1} << member % 64);\n    full_fence();\n"
           "    if (order_.load(kAcquire) != kBothFence) heavy_fence();\n",
           "    bool heavy = order_.load(kAcquire) != kBothFence;\n"
           "    parked_[member / 64].fetch_or(uint64_t{1} << member % 64);\n    if (heavy) heavy_fence();\n",
           "doorbell_order(false, 1, 3)"),
    mutant("both are to fence, and those that do not yet are not waited for", DOORBELL,
           "    if (both) heavy_fence();\n", "", "doorbell_order(false, 1, 3)"),
    mutant("both are to fence at once", DOORBELL,
           "    order_.store(kChanging, kSeqCst);\n    if (both)", "    if (both)", "doorbell_order(false, 1, 3)"),
    mutant("a worker announces by load and store", DOORBELL,
           "parked_[member / 64].fetch_or(uint64_t{1} << member % 64);",
           "parked_[member / 64].store(parked_[member / 64].load(kRelaxed) | uint64_t{1} << member % 64, kRelease);",
           "doorbell_counts_the_awake(Taker::kWakesNextIfMore, 0, 2)"),
    mutant("a slot is lent by load and store", SEAT,
           "waiting_.fetch_or(bit) | bit, rank);",
           "waiting_.load(kRelaxed) | bit, rank) + (waiting_.store(waiting_.load(kRelaxed) | bit, kRelease), 0);",
           "seat(2, false, 2)"),
    mutant("the stand-in is on duty when its worker does not wait", SEAT,
           "return (waiting_.load(kAcquire) & below) == below &&", "return (waiting_.load(kAcquire) & below) != below &&", "seat(2, false, 2)"),
    mutant("who replaces a stand-in does not say so", SEAT,
           "    members_[rank].store(member, kRelease);\n", "", "seat(2, false, 2)"),
    mutant("who finds the tail behind does not move it on", SHARED_RING,
           "        if (tail_.compare_exchange(tail, tail + 1)) ++tail;\n", "        return false;\n", "shared_ring(true, 2, 3)"),
    mutant("an old tail is taken for the present one", SHARED_RING,
           "now >> 32 != lap_before(tail)", "false", "shared_ring(false, 3, 3)"),
    mutant("a slot is written by a store", SHARED_RING,
           "slot.compare_exchange(now, Ring::pack(tail, id))", "(slot.store(Ring::pack(tail, id), kRelease), true)",
           "shared_ring(false, 2, 3)"),
    mutant("a ring with several producers is never full", SHARED_RING,
           "static_cast<int64_t>(tail - ring_.head_.load(kAcquire)) >= int64_t{kCapacity}", "false", "shared_ring(false, 2, 3)"),
    mutant("an old tail is compared without its sign", SHARED_RING,
           "static_cast<int64_t>(tail - ring_.head_.load(kAcquire)) >= int64_t{kCapacity}",
           "tail - ring_.head_.load(kAcquire) >= kCapacity", "shared_ring_with_room(3)"),
    mutant("resources are taken without the gate", RESOURCES,
           "    if (!gate_.compare_exchange(holder, self) && (is_member(holder) || !gate_.compare_exchange(holder, self))) return Taken::kBusy;\n",
           "    (void)holder, (void)is_member;\n", "resources(2, 2, false, false, 2)"),
    mutant("what is free is not added up", RESOURCES,
           "bool fits = are_free(asked);", "bool fits = true;", "resources(2, 2, false, false, 2)"),
    mutant("recovery leaves the gate to the dead", RESOURCES,
           "    uint32_t holder = dead;\n    (void)gate_.compare_exchange(holder, 0);\n", "", "resources(2, 2, true, false, 1)"),
    mutant("recovery leaves what the dead had", RESOURCES,
           "      if (members[dead].load(kRelaxed) != 0) members[dead].store(0, kRelease);\n", "      (void)members;\n",
           "resources(2, 2, true, false, 1)"),
    mutant("a class is not looked at again once it was said to be empty", SCHEDULING,
           "    if ((*this)[number].has_hints()) set_pending(number);\n", "", "resources(2, 2, false, false, 2)"),
    mutant("an offer for a collection that is over is not withdrawn", LOAN,
           "    if (phase_of(word) == kOffered && word != bear(collection, kOffered)) (void)change(word, 0);\n",
           "    (void)word, (void)collection;\n", "loans(3, 2, 2, 3, 0)"),
    mutant("a slot is offered by a store", LOAN,
           "{ return change(0, bear(collection, kOffered)); }",
           "{ word_.store(bear(collection, kOffered), kRelease); return true; }", "loans(2, 2, 2, 2, 2)"),
    mutant("a collection begins by a store", LOAN,
           "    return word_.compare_exchange(seen, mine);", "    word_.store(mine, kRelease);\n    return true;", "loans(2, 2, 2, 2, 2)"),
    mutant("recovery leaves what the dead one had borrowed", LOAN,
           "Collector::member_of(word) == dead && change(word, 0);",
           "Collector::member_of(word) == dead && phase_of(word) == kOffered && change(word, 0);", "loans(2, 1, 2, 0, 2)"),
    mutant("a collection is not ended", LOAN,
           "(void)word_.compare_exchange(mine, mine >> 32 << 32);", "(void)mine;", "loans(2, 2, 2, 2, 1)"),
    mutant("who takes an idle slot takes one that was lent meanwhile", LOAN,
           "return (word == 0 || phase_of(word) == kIdle) && change(word, bear(collection, kTaken));",
           "return (word == 0 || phase_of(word) == kIdle) && (word_.store(bear(collection, kTaken), kRelease), true);",
           "loan_of_one_that_waits(3)"),
    mutant("what a borrower that waits has cannot be lent on", LOAN,
           "(word == 0 || phase_of(word) == kIdle) &&", "word == 0 &&", "loan_of_a_loan(1)"),
    mutant("who is on duty does not look whether the slot is lent", SEAT_LENT,
           "(waiting_.load(kAcquire) & below) == below && !loan_.is_lent();", "(waiting_.load(kAcquire) & below) == below;",
           "loans(2, 1, 2, 2, 2)"),
    mutant("a hint is taken by a store", RING,
           "if (head_.compare_exchange(head, head + count)) return count;",
           "head_.store(head + count, kRelease); return count;", "ring_two_consumers(false, 2)"),
    mutant("a slot is valid without its lap", RING,
           "return slot >> 32 == lap(position);", "return slot != 0;", "ring_two_consumers(false, 3)"),
    mutant("the bit above is set only with the first of its groups", GROUPS,
           "    set(groups_[group / 64], uint64_t{1} << group % 64);\n    set(above_",
           "    if (groups_[group / 64].fetch_or(uint64_t{1} << group % 64) == 0) set(above_",
           "finished_groups(64, true, 2)"),
    mutant("the bit above is set first", GROUPS,
           "    set(groups_[group / 64], uint64_t{1} << group % 64);\n    set(above_[group / 4096], uint64_t{1} << group / 64 % 64);",
           "    set(above_[group / 4096], uint64_t{1} << group / 64 % 64);\n    set(groups_[group / 64], uint64_t{1} << group % 64);",
           "finished_groups(64, false, 3)"),
    mutant("what is taken is read and then cleared", GROUPS,
           "groups = groups_[word].exchange(0);", "groups = (groups_[word].load(kAcquire)), unused = (groups_[word].exchange(0));",
           "finished_groups(64, false, 3)"),
    mutant("a waiter does not look again before it sleeps", WAITERS,
           "if (!reached(events_.load(kSeqCst), now + missing)) return true;", "if (index < kCount) return true;",
           "waiters_one(1)"),
    mutant("a waiter says that it sleeps before it says how long", WAITERS,
           "    waiter.target.store(now + missing, kRelease);\n    parked_.fetch_or(uint64_t{1} << index);\n",
           "    parked_.fetch_or(uint64_t{1} << index);\n    waiter.target.store(now + missing, kRelease);\n",
           "waiters_one(1)"),
    mutant("events are counted by load and store", WAITERS,
           "uint32_t now = events_.fetch_add(1) + 1;\n    uint64_t wake",
           "uint32_t now = events_.load(kAcquire) + 1;\n    events_.store(now, kRelease);\n    uint64_t wake",
           "waiters_one(2)"),
    mutant("only the arrival that fills a word climbs", FAN_IN,
           "if ((words[index / 64].fetch_or(bit) | bit) != ~uint64_t{0}) return false;",
           "uint64_t old = words[index / 64].fetch_or(bit);\n"
           "      if (old == ~uint64_t{0} || (old | bit) != ~uint64_t{0}) return false;", "fan_in(true, 3)"),
    mutant("a leaf arrives by load and store", FAN_IN,
           "if ((words[index / 64].fetch_or(bit) | bit) != ~uint64_t{0}) return false;",
           "uint64_t now = words[index / 64].load(shm::kAcquire) | bit;\n"
           "      words[index / 64].store(now, shm::kRelease);\n"
           "      if (now != ~uint64_t{0}) return false;", "fan_in(false, 3)"),
    mutant("a task is claimed by a store", TASK,
           "if (record.state.compare_exchange(word, mine.pack())) return true;",
           "record.state.store(mine.pack(), kRelease);\n    return true;", "claim_finish_redo(0, 1, true)"),
    mutant("the arguments are kept without a stamp", TASK,
           "undo.stamp.store(undo_stamp(generation, id), kRelease);", "(void)undo_stamp(generation, id);",
           "claim_finish_redo(1, 4, false)"),
    mutant("the stamp comes before the arguments", TASK,
           "  memcpy(undo.payload, record.payload, kPayloadSize);\n"
           "  undo.stamp.store(undo_stamp(generation, id), kRelease);\n",
           "  undo.stamp.store(undo_stamp(generation, id), kRelease);\n"
           "  memcpy(undo.payload, record.payload, kPayloadSize);\n", "claim_finish_redo(1, 4, false)"),
    mutant("recovery does not bring the arguments back", TASK,
           "memcpy(record.payload, undo->payload, kPayloadSize);", ";", "claim_finish_redo(1, 4, false)"),
    mutant("a task is done before others are told", TASK,
           "quiet ? Phase::kDone : Phase::kFinished", "Phase::kDone", "claim_finish_redo(1, 4, false)"),
    mutant("a task finishes by a store", TASK,
           "if (!record.state.compare_exchange(word, next.pack())) continue;\n    if (!quiet)",
           "record.state.store(next.pack(), kRelease);\n    if (!quiet)", "claim_finish_redo(0, 1, false)"),
    mutant("recovery does not tell about what was finished", TASK,
           "tell(space, record, next);\n    return Recovered::kTold;", "return Recovered::kTold;",
           "claim_finish_redo(1, 4, false)"),
    mutant("recovery leaves alone what was running", TASK,
           "  if (state.claimant != dead) return Recovered::kNothing;",
           "  if (state.claimant != dead || state.phase == Phase::kRunning) return Recovered::kNothing;",
           "claim_finish_redo(1, 4, false)"),
    mutant("a doomed run finishes", TASK,
           "    if ((state.flags & ~mine.flags & kDoomed) != 0) return false;\n", "", "cancelling(true, false, 0)"),
    mutant("recovery does not look again when a run is cancelled meanwhile", TASK,
           "    if (!record.state.compare_exchange(word, next.pack())) continue;\n    if (again) {",
           "    while (!record.state.compare_exchange(word, next.pack())) next.flags = State::unpack(word).flags;\n"
           "    if (again) {", "cancelling(true, false, 1)"),
    mutant("what recovery gives up is taken for a run that is to be ended", TASK,
           "    if (runs && (state.flags & kDoomed) != 0) {", "    if (runs && state.phase == Phase::kFree) {",
           "cancelling(true, false, 1, 1)"),
    mutant("the error of a cancelled task is written before it is claimed", TASK,
           "    if (!record.state.compare_exchange(word, next.pack())) continue;\n    claimant",
           "    if (!runs) write_error(record);\n"
           "    if (!record.state.compare_exchange(word, next.pack())) continue;\n    claimant", "cancelling(false, false, 0)"),
    mutant("a task that waits is not orphaned", TASK,
           "phase == Phase::kFree) return 0;  // for ever",
           "phase <= Phase::kWaiting) return 0;", "orphans(1)"),
    mutant("an orphan's dead parent is to be ended for it", TASK,
           "state.claimant != dead && state.claimant != me ?", "state.claimant != me ?", "orphans(1)"),
    mutant("an orphan is given up by a store", TASK,
           "  if (cancel(space, record, me, kCancelled | kDoomed, claimant, write_error) != Cancelled::kRunning) return 0;",
           "  if (State::unpack(record.state.load(kAcquire)).phase < Phase::kRunning) {\n"
           "    record.state.store(State{1, me, Phase::kRunning, kCancelled | kDoomed}.pack(), kRelease);\n"
           "    write_error(record);\n"
           "    (void)finish(space, record, State{1, me, Phase::kRunning, kCancelled | kDoomed}, kFailed);\n    return 0;\n  }\n"
           "  if (cancel(space, record, me, kCancelled | kDoomed, claimant, write_error) != Cancelled::kRunning) return 0;",
           "orphans(1)"),
    mutant("only who makes a dependent ready publishes it", TASK,
           "    }\n    if (state.phase == Phase::kReady) space.publish(space.id(index));",
           "      space.publish(space.id(index));\n    }", "dependencies(1, 1, 1)"),
    mutant("a dependency bit is set without looking at the generation", TASK,
           "    if (word >> 32 != generation) return;\n", "", "reuse(Reuse::kDirect, false)"),
    mutant("an edge is hung without a swap when the flag is set", TASK,
           "    state.flags |= kEdges;\n",
           "    if ((state.flags & kEdges) != 0) return true;\n    state.flags |= kEdges;\n", "reuse(Reuse::kDirect, true)"),
    mutant("a node is claimed by a store", GRAPH,
           "return node.state.compare_exchange(word, mine.pack());",
           "node.state.store(mine.pack(), shm::kRelease);\n  return true;", "graph_runs(Shape::kChain, 1, 1, true)"),
    mutant("a node is claimed before all have arrived", GRAPH,
           "  if (!is_complete(node, epoch, has_failed)) return false;\n",
           "  (void)is_complete(node, epoch, has_failed);\n", "graph_runs(Shape::kChain, 1, 2, true, 4, 2)"),
    mutant("a node is claimed whatever run it bears", GRAPH,
           "NodePhase::kAgain : state.epoch == epoch - 1;", "NodePhase::kAgain : true;", "graph_runs(Shape::kRoots, 1, 2, true, 4, 2)"),
    mutant("an arrival does not begin anew in a new run", GRAPH,
           "at == epoch ? static_cast<uint32_t>(word) : initial_arrivals(node.predecessors());",
           "at != 0 ? static_cast<uint32_t>(word) : initial_arrivals(node.predecessors());",
           "graph_runs(Shape::kRoots, 0, 2, true)"),
    mutant("an arrival is a load and a store", GRAPH,
           "if (next == word || node.arrivals.compare_exchange(word, next)) return has_all(next);",
           "node.arrivals.store(next, shm::kRelease);\n    return has_all(next);", "graph_runs(Shape::kDiamond, 0, 1, true)"),
    mutant("followers are told before the node is finished", GRAPH,
           "  node.state.store(mine.pack(), shm::kRelease);\n"
           "  tell_followers(space, node, mine.epoch, (outcome & kFailed) != 0);\n",
           "  tell_followers(space, node, mine.epoch, (outcome & kFailed) != 0);\n"
           "  node.state.store(mine.pack(), shm::kRelease);\n", "graph_runs(Shape::kChain, 1, 1, true)"),
    mutant("recovery does not tell the followers of what was finished", GRAPH,
           "if (state.phase == NodePhase::kFinished) return tell_followers(space, node, epoch, (state.flags & kFailed) != 0);",
           "if (state.phase == NodePhase::kFinished) return;", "graph_runs(Shape::kChain, 1, 1, false)"),
    mutant("recovery leaves alone what was running in a graph", GRAPH,
           "if (state.phase == NodePhase::kRunning) {", "if (state.phase == NodePhase::kIdle) {",
           "graph_runs(Shape::kChain, 1, 1, false)"),
    mutant("recovery does not publish what is ready", GRAPH,
           "  if (is_ready(node, epoch)) space.publish(index);\n", "  (void)is_ready(node, epoch);\n",
           "graph_runs(Shape::kRoots, 1, 1, false)"),
    mutant("the writer of a stream says that it sleeps without a fence", STREAM,
           "    parked_.store(1, kRelease);\n    heavy_fence();\n", "    parked_.store(1, kRelease);\n",
           "stream(Window::kOneItem, 2, 100, 0, false)"),
    mutant("it does not look again before it sleeps", STREAM,
           "    if (!has_room(writer, bytes) && !is_gone()) return true;\n", "    return true;\n",
           "stream(Window::kOneItem, 2, 100, 0, false)"),
    mutant("the reader of a stream asks to be told without a fence", STREAM,
           "reader_.fetch_or(kWants);\n    heavy_fence();\n", "reader_.store(kWants, kRelease);\n",
           "stream(Window::kOneItem, 2, 100, 0, false)"),
    mutant("an item is there before its bytes are", STREAM,
           "    if (payload_size != 0) copy_payload(entry.payload, payload, payload_size);\n"
           "    entry.turn.store(++writer.position, kRelease);\n",
           "    entry.turn.store(++writer.position, kRelease);\n"
           "    if (payload_size != 0) copy_payload(entry.payload, payload, payload_size);\n",
           "stream(Window::kTwoItems, 2, 100, 0, false)"),
    mutant("the next run yields again what the reader has not taken", STREAM,
           "    while (writer.position - writer.head < capacity_ && peek(writer.position) != nullptr) ++writer.position;\n", "",
           "stream(Window::kTwoItems, 2, 100, 1, false)"),
    mutant("the window does not hold for items", STREAM,
           "(items < items_max_ &&", "(items != items_max_ + 1 &&", "stream(Window::kTwoItems, 4, 100, 0, false)"),
    mutant("the writer is woken an item too late", STREAM,
           "if (head < wake_head_.load(kRelaxed) ||", "if (head <= wake_head_.load(kRelaxed) ||",
           "stream(Window::kOneItem, 2, 100, 0, false)"),
    mutant("the reader's wish is taken by a store", STREAM,
           "(reader_.fetch_and(~kWants) & kWants) != 0;", "(reader_.store(0, kRelease), true);",
           "stream(Window::kOneItem, 3, 1, 0, false)"),
    mutant("who leaves does not wake the writer", STREAM,
           "    reader_.fetch_or(kGone);\n    return wake();\n", "    reader_.fetch_or(kGone);\n    return false;\n",
           "stream(Window::kOneItem, 3, 1, 0, false)"),
    mutant("the word that says when to look is cleared after the look", BACK_OFF,
           "  if (!retry_at.compare_exchange(at, 0)) return at;\n  uint64_t first = 0;\n"
           "  for (uint32_t i = 0; i < used; ++i)\n"
           "    if (uint64_t due = end_back_off(space, i, now); due != 0) first = first == 0 ? due : std::min(first, due);\n",
           "  uint64_t first = 0;\n"
           "  for (uint32_t i = 0; i < used; ++i)\n"
           "    if (uint64_t due = end_back_off(space, i, now); due != 0) first = first == 0 ? due : std::min(first, due);\n"
           "  if (!retry_at.compare_exchange(at, 0)) return at;\n", "back_offs(0, true, false)"),
    mutant("it is set before the task backs off", BACK_OFF,
           "  record.dependencies.store(back_off_word(mine.generation, due), kRelaxed);  // all its bits had come, and nobody sets one again\n",
           "  look_by(space.retry_at(), due);\n  record.dependencies.store(back_off_word(mine.generation, due), kRelaxed);\n"
           "  if (due != 0) { uint64_t w = mine.pack(); return record.state.compare_exchange(w, State{mine.generation, 0, Phase::kWaiting, mine.flags}.pack()); }\n",
           "back_offs(0, true, false)"),
    mutant("recovery does not have everybody look", BACK_OFF,
           "  look_by(space.retry_at(), 1);\n", "  (void)space;\n", "back_offs(1, true, false)"),
    mutant("a cancelled task backs off", ("task/task_protocol.hpp", "back_off_models.hpp"),
           "    if ((state.flags & (kCancelled | kDoomed | kLate)) != 0) return false;\n", "", "back_offs(0, false, true)"),
    mutant("what was early is not looked at again", BACK_OFF,
           "  if (first != 0) look_by(retry_at, first);\n", "", "back_offs(1, false, false)"),
    mutant("a reference is taken without looking at the generation", HOLDERS,
           "if (now.generation == generation && now.readable()) return Taken::kHeld;",
           "if (now.generation != 0 || generation != 0) return Taken::kHeld;", "holders_late_take(true, false)"),
    mutant("a reference is taken to what is dead", HOLDERS,
           "      if ((found & kDead) != 0) return Taken::kGone;\n", "", "holders_late_take(false, false)"),
    mutant("the last bit goes before the set is dead", HOLDERS,
           "while (!bits.compare_exchange(found, rest != 0 ? rest : dead_by(self)));\n    return rest == 0;",
           "while (!bits.compare_exchange(found, rest));\n    if (rest == 0) bits.store(dead_by(self), kRelease);\n"
           "    return rest == 0;", "holders_late_take(false, false)"),
    mutant("a dead set does not say who freed", HOLDERS,
           "rest != 0 ? rest : dead_by(self)", "rest != 0 ? rest : dead_by(0)", "holders_last_two(true)"),
    mutant("an object leaves although somebody pinned it meanwhile", PINS,
           "    return word.compare_exchange(nobody, nobody | kAway);",
           "    if (word.load(kAcquire) != nobody) return false;\n    word.store(nobody | kAway, kRelease);\n    return true;",
           "pins_out_and_in(false)"),
    mutant("an object is dropped although what it was made of went meanwhile", PINS,
           "    uint64_t nobody = can_be_made_again ? kRepeatable : 0;", "    uint64_t nobody = word.load(kAcquire) & kRepeatable;",
           "pins_out_and_in(false, true)"),
    mutant("what an object is made of goes while somebody makes it", PINS,
           "      if ((found & ~(kRepeatable | holder_bit(self))) != 0) return false;\n", "", "pins_out_and_in(false, true)"),
    mutant("who pins does not look whether the bytes are there", PINS,
           "return (word.fetch_or(holder_bit(member)) & kAway) == 0;",
           "return (word.fetch_or(holder_bit(member)) & kAway) != 1;", "pins_out_and_in(false)"),
    mutant("a pin is looked up before it is set", PINS,
           "return (word.fetch_or(holder_bit(member)) & kAway) == 0;",
           "bool there = (word.load(kAcquire) & kAway) == 0; word.fetch_or(holder_bit(member)); return there;",
           "pins_out_and_in(false)"),
]


def try_mutant(mutant: Mutant, main_file: Path, library: str, compiler: list[str]) -> tuple[bool, str]:
    text = (ROOT / "src" / mutant.header).read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        return False, f"src/{mutant.header} has the passage {text.count(mutant.old)} times, see mutants.py"
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / mutant.header
        changed.parent.mkdir(parents=True)
        changed.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        program = Path(folder) / "mutant"
        built = subprocess.run(
            [*compiler, "-std=c++20", "-O1", "-w", "-DTARN_MODEL", f"-I{folder}", f"-I{HERE}", f"-I{ROOT / 'src'}",
             f'-DMODEL_HEADER="{mutant.models}"', f"-DMODEL_CALL={mutant.call}",
             main_file, library, "-o", program],
            capture_output=True, text=True, check=False)
        if built.returncode != 0:
            return False, "does not compile: " + built.stderr[:2000]
        done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=60)
        return done.returncode == 0, f"{mutant.call}: {done.stdout.strip() or done.stderr.strip()}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Breaks the protocols on purpose.")
    parser.add_argument("--library", required=True, help="libmodel_explorer.a")
    parser.add_argument("--main", type=Path, default=HERE / "mutant_main.cpp")
    parser.add_argument("--only", default="", help="mutants with this in their description or header")
    parser.add_argument("compiler", nargs="+")
    arguments = parser.parse_args()
    mutants = [m for m in MUTANTS if arguments.only in m.what or arguments.only in m.header]
    print(f"1..{len(mutants)}")
    failed = 0
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        tried = pool.map(lambda m: try_mutant(m, arguments.main, arguments.library, arguments.compiler), mutants)
        for number, (m, (found, line)) in enumerate(zip(mutants, tried), 1):
            print(f"{'ok' if found else 'not ok'} {number} - {m.header}: {m.what} ({line})".replace("\n", " "), flush=True)
            failed += not found
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
