/* The structs of tarn.h as they were frozen at 0.1: programs compiled then hand them to every later library. A struct that
 * begins with `size` may grow at its end; nothing else here ever changes. Included by a C and by a C++ program, so that the
 * two languages agree. */
#ifndef TARN_TESTS_ABI_LAYOUT_H
#define TARN_TESTS_ABI_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <tarn/tarn.h>

#define AT(type, member, offset) static_assert(offsetof(type, member) == (offset), #type "." #member " moved")
#define SIZE(type, size) static_assert(sizeof(type) == (size), "the size of " #type " changed")

SIZE(tarn_bytes, 16);
AT(tarn_bytes, data, 0);
AT(tarn_bytes, size, 8);

SIZE(tarn_options, 104);
AT(tarn_options, size, 0);
AT(tarn_options, address, 8);
AT(tarn_options, name, 16);
AT(tarn_options, workers, 24);
AT(tarn_options, flags, 28);
AT(tarn_options, timeout_ns, 32);
AT(tarn_options, output, 40);
AT(tarn_options, reserved2, 44);
AT(tarn_options, resources, 48);
AT(tarn_options, reserved, 56);

SIZE(tarn_client_info, 72);
AT(tarn_client_info, size, 0);
AT(tarn_client_info, workers, 8);
AT(tarn_client_info, is_private, 12);
AT(tarn_client_info, daemon_pid, 16);
AT(tarn_client_info, session, 20);
AT(tarn_client_info, reserved, 24);

SIZE(tarn_slot_info, 64);
AT(tarn_slot_info, size, 0);
AT(tarn_slot_info, slot, 8);
AT(tarn_slot_info, pid, 12);
AT(tarn_slot_info, core, 16);
AT(tarn_slot_info, node, 20);
AT(tarn_slot_info, tasks_done, 24);
AT(tarn_slot_info, reserved, 32);

SIZE(tarn_future, 8);
AT(tarn_future, id, 0);

SIZE(tarn_object, 32);
AT(tarn_object, origin, 0);
AT(tarn_object, id, 8);
AT(tarn_object, offset, 16);
AT(tarn_object, size, 24);

SIZE(tarn_arg, 40);
AT(tarn_arg, kind, 0);
AT(tarn_arg, part, 4);
AT(tarn_arg, u, 8);

SIZE(tarn_graph_options, 48);
AT(tarn_graph_options, size, 0);
AT(tarn_graph_options, retries, 8);
AT(tarn_graph_options, reserved, 16);

SIZE(tarn_node_options, 56);
AT(tarn_node_options, size, 0);
AT(tarn_node_options, name, 8);
AT(tarn_node_options, priority, 16);
AT(tarn_node_options, cost, 20);
AT(tarn_node_options, reserved, 24);

SIZE(tarn_stream_options, 56);
AT(tarn_stream_options, size, 0);
AT(tarn_stream_options, items, 8);
AT(tarn_stream_options, bytes, 16);
AT(tarn_stream_options, reserved, 24);

SIZE(tarn_graph_info, 72);
AT(tarn_graph_info, size, 0);
AT(tarn_graph_info, nodes, 8);
AT(tarn_graph_info, parameters, 12);
AT(tarn_graph_info, edges, 16);
AT(tarn_graph_info, critical_path, 24);
AT(tarn_graph_info, bytes, 32);
AT(tarn_graph_info, runs, 40);
AT(tarn_graph_info, reserved, 48);

SIZE(tarn_needs, 72);
AT(tarn_needs, size, 0);
AT(tarn_needs, memory, 8);
AT(tarn_needs, cores, 16);
AT(tarn_needs, where, 20);
AT(tarn_needs, where_number, 24);
AT(tarn_needs, is_strict, 28);
AT(tarn_needs, resources, 32);
AT(tarn_needs, reserved, 40);

SIZE(tarn_submit_options, 80);
AT(tarn_submit_options, size, 0);
AT(tarn_submit_options, signature, 8);
AT(tarn_submit_options, retries, 12);
AT(tarn_submit_options, timeout_ns, 16);
AT(tarn_submit_options, deadline_ns, 24);
AT(tarn_submit_options, priority, 32);
AT(tarn_submit_options, flags, 36);
AT(tarn_submit_options, retry_on_error, 40);
AT(tarn_submit_options, labels, 48);
AT(tarn_submit_options, needs, 56);
AT(tarn_submit_options, reserved, 64);

SIZE(tarn_retry, 64);
AT(tarn_retry, size, 0);
AT(tarn_retry, times, 8);
AT(tarn_retry, code_count, 12);
AT(tarn_retry, codes, 16);
AT(tarn_retry, first_ns, 24);
AT(tarn_retry, max_ns, 32);
AT(tarn_retry, factor, 40);
AT(tarn_retry, reserved, 48);

SIZE(tarn_task_error, 80);
AT(tarn_task_error, size, 0);
AT(tarn_task_error, code, 8);
AT(tarn_task_error, signal, 12);
AT(tarn_task_error, exit_status, 16);
AT(tarn_task_error, attempts, 20);
AT(tarn_task_error, type, 24);
AT(tarn_task_error, message, 32);
AT(tarn_task_error, task, 40);
AT(tarn_task_error, cause, 48);
AT(tarn_task_error, output, 56);
AT(tarn_task_error, reserved, 64);

SIZE(tarn_object_details, 72);
AT(tarn_object_details, size, 0);
AT(tarn_object_details, bytes, 8);
AT(tarn_object_details, is_sealed, 16);
AT(tarn_object_details, is_file, 20);
AT(tarn_object_details, node, 24);
AT(tarn_object_details, owner, 28);
AT(tarn_object_details, references, 32);
AT(tarn_object_details, holders, 36);
AT(tarn_object_details, type, 40);
AT(tarn_object_details, meta_bytes, 44);
AT(tarn_object_details, pins, 48);
AT(tarn_object_details, is_on_disk, 52);
AT(tarn_object_details, is_dropped, 56);
AT(tarn_object_details, reserved, 64);

SIZE(tarn_object_options, 64);
AT(tarn_object_options, size, 0);
AT(tarn_object_options, type, 8);
AT(tarn_object_options, placement, 12);
AT(tarn_object_options, label, 16);
AT(tarn_object_options, metadata, 24);
AT(tarn_object_options, metadata_size, 32);
AT(tarn_object_options, reserved2, 40);

SIZE(tarn_arg_details, 88);
AT(tarn_arg_details, size, 0);
AT(tarn_arg_details, type, 8);
AT(tarn_arg_details, is_object, 12);
AT(tarn_arg_details, bytes, 16);
AT(tarn_arg_details, offset, 24);
AT(tarn_arg_details, label, 32);
AT(tarn_arg_details, metadata, 40);
AT(tarn_arg_details, reserved, 56);

SIZE(tarn_event, 96);
AT(tarn_event, size, 0);
AT(tarn_event, kind, 8);
AT(tarn_event, is_over, 12);
AT(tarn_event, object, 16);
AT(tarn_event, bytes, 48);
AT(tarn_event, lost, 56);
AT(tarn_event, reserved, 64);

SIZE(tarn_array_layout, 568);
AT(tarn_array_layout, size, 0);
AT(tarn_array_layout, dtype, 8);
AT(tarn_array_layout, ndim, 12);
AT(tarn_array_layout, offset, 16);
AT(tarn_array_layout, shape, 24);
AT(tarn_array_layout, strides, 280);
AT(tarn_array_layout, reserved, 536);

#undef AT
#undef SIZE

#endif
