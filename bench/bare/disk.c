/* What the disk takes and gives past the page cache, one request after the other, as `dd bs=4M oflag=direct` and
 * `iflag=direct` do it.
 *
 *   disk [--size BYTES] [--dir DIRECTORY]     BYTES a multiple of 4 MiB (268435456); /var/tmp
 */
#include "../measure.h"

#include <fcntl.h>

enum { kPiece = 4 << 20 };

int main(int argc, char **argv)
{
  int64_t size = measure_option_int(argc, argv, "--size", 256 << 20);
  const char *directory = measure_option(argc, argv, "--dir", "/var/tmp");
  char note[64];
  int file = open(directory, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC | O_DIRECT, 0600);
  if (file < 0) file = open(directory, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) measure_die(directory);
  char *piece = (char *)mmap(NULL, kPiece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (piece == MAP_FAILED) measure_die("mmap");
  memset(piece, 7, kPiece);
  int64_t begin_ns = measure_now_ns();
  for (int64_t at = 0; at < size; at += kPiece)
    if (pwrite(file, piece, kPiece, at) != kPiece) measure_die("pwrite");
  double write_ns = (double)(measure_now_ns() - begin_ns);
  begin_ns = measure_now_ns();
  for (int64_t at = 0; at < size; at += kPiece)
    if (pread(file, piece, kPiece, at) != kPiece) measure_die("pread");
  double read_ns = (double)(measure_now_ns() - begin_ns);
  snprintf(note, sizeof note, "%lld MiB past the page cache", (long long)(size >> 20));
  measure_print("disk.write", (double)size * 1e9 / write_ns, "B/s", note);
  measure_print("disk.read", (double)size * 1e9 / read_ns, "B/s", note);
  close(file);
  return 0;
}
