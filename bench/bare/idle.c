/* What a C process that does nothing holds resident: the size below which no daemon and no worker can come.
 *
 *   idle
 */
#include "../measure.h"
#include "../resident.h"

int main(void)
{
  measure_print("idle.rss", (double)resident_bytes(getpid()), "B", "anonymous and file pages");
  return 0;
}
