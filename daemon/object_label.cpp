#include "object_label.hpp"

#include <unistd.h>

#include <algorithm>

#include "log.hpp"
#include "store/object_meta.hpp"

namespace tarn::daemon {

std::string read_label(const Fd& slab, uint64_t slab_size, const LabelPlace& place) {
  if (place.meta_size < sizeof(store::MetaHead) || place.meta_size > store::kMetaSizeMax) return "";
  if (place.offset > slab_size || !store::fits_with_meta(place.size, place.meta_size, slab_size - place.offset)) return "";
  std::byte bytes[store::kMetaLabelEnd];
  size_t wanted = std::min<size_t>(sizeof bytes, place.meta_size);
  ssize_t got = pread(slab.get(), bytes, wanted, static_cast<off_t>(place.offset + store::meta_offset(place.size)));
  if (got < 0) return "";
  return printable(store::read_label(bytes, static_cast<size_t>(got), place.meta_size));
}

}  // namespace tarn::daemon
