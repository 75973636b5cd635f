// SPDX-License-Identifier: Apache-2.0
#include "region/core/payload_spool.h"

namespace vmferry::region {

PayloadSpool::~PayloadSpool() {
  std::error_code ignored;  // usually it was moved away
  if (file_) std::filesystem::remove(path_, ignored);
}

void PayloadSpool::Expect(std::uint64_t size_bytes) {
  if (size_bytes <= memory_bytes_) memory_.reserve(static_cast<std::size_t>(size_bytes));
}

Result<void> PayloadSpool::Write(std::span<const std::byte> data) {
  digester_.Update(data);
  if (!file_ && size_bytes_ + data.size() <= memory_bytes_) {
    memory_.append(reinterpret_cast<const char*>(data.data()), data.size());
    size_bytes_ += data.size();
    return {};
  }
  if (!file_) VMFERRY_RETURN_IF_ERROR(Spill());
  VMFERRY_RETURN_IF_ERROR(file_->WriteAt(size_bytes_, data));
  size_bytes_ += data.size();
  return {};
}

Result<void> PayloadSpool::Spill() {
  VMFERRY_ASSIGN_OR_RETURN(sys::File file, sys::File::Open(path_, sys::File::Mode::kCreateNew));
  file_.emplace(std::move(file));
  VMFERRY_RETURN_IF_ERROR(file_->WriteAt(0, std::as_bytes(std::span(memory_))));
  memory_ = {};
  return {};
}

Payload PayloadSpool::Finish() {
  Payload payload;
  payload.size_bytes = size_bytes_;
  payload.memory = std::move(memory_);
  if (file_) payload.spool_path = path_;
  payload.digests = digester_.Finish();
  return payload;
}

}  // namespace vmferry::region
