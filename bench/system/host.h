/* host.h: a host's tarnd that belongs to one case: its own folder, socket and limit of memory.
 *
 * It is what build trees have, found beside this program; it ends with this process, however that
 * ends. One at a time. */
#ifndef TARN_BENCH_HOST_H
#define TARN_BENCH_HOST_H

#include "../measure.h" /* first: it asks for the GNU interfaces */

typedef struct Host {
  char folder[64];
  char address[96]; /* for tarn_options */
  int pid;          /* of tarn-spawn, which has started it */
  uint32_t heavy_uid;    /* a user whose sessions weigh more than others' (100); 0: nobody */
  uint32_t heavy_weight;
} Host;

/* Starts it, and returns when it answers. A client may have `per_client` bytes; 0: all. */
void host_start(Host *host, int64_t memory_limit, int64_t per_client);
void host_stop(Host *host);

/* What `tarn status` says. */
typedef struct HostStatus {
  int64_t sessions;
  int64_t memory_used;
} HostStatus;

HostStatus host_status(const Host *host);

#endif
